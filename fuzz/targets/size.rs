#![no_main]
//! Sizes as people type them.

use ark_fuzz::cli::size::{grouped, human_size, parse_size};
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(bytes) = parse_size(text) {
        assert_ne!(bytes, 0);
        assert_eq!(parse_size(&bytes.to_string()), Ok(bytes));
        assert!(!human_size(bytes).is_empty() && !grouped(bytes).is_empty());
    }
});
