#![no_main]
//! Key files.

use ark_fuzz::engine::key_file;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match key_file::parse(bytes) {
        // What is wrong is told without what stands there.
        Err(why) => assert!(why.len() < 200),
        Ok(key) => assert_eq!(key_file::parse(key.as_slice()).expect("raw"), key),
    }
});
