#![no_main]
//! The keys of the `objects` dataset.

use ark_format::objects::parse_key;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(key) = parse_key(bytes) {
        assert!(key.to_bytes() == bytes);
    }
});
