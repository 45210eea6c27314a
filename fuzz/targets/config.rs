#![no_main]
//! `ark.json`.

use ark_format::config::Config;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = Config::decode(bytes) {
        let _ = config.unauthenticated().public_key();
        let _ = config.authenticate(&ark_fuzz::KEY);
    }
});
