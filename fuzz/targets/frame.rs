#![no_main]
//! A frame behind the seal.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = ark_fuzz::FRAMES.decode(&ark_fuzz::frame(bytes)) {
        assert_eq!(frame.chunks().count(), frame.len());
    }
});
