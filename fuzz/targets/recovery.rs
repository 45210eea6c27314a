#![no_main]
//! Recovery keys as people type them.

use ark_format::recovery::{decode, encode};
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(key) = decode(text) {
        assert_eq!(decode(&encode(&key)), Ok(key));
    }
});
