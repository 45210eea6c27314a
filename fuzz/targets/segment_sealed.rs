#![no_main]
//! An index segment as it is stored.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = ark_fuzz::SEGMENTS.decode(bytes);
});
