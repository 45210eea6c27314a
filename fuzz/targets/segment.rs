#![no_main]
//! The stream of an index segment behind the seal.

use ark_fuzz::SEGMENTS;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let sealed = ark_fuzz::segment(bytes);
    if let Ok(segment) = SEGMENTS.decode(&sealed) {
        for entry in &segment.entries {
            assert!(segment.frame(entry).is_some() && segment.find(&entry.id).contains(entry));
        }
        assert!(SEGMENTS.encode(&segment, || [0; 24]).as_ref() == Ok(&sealed));
    }
});
