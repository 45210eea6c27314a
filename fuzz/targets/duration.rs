#![no_main]
//! Durations, as people and as manifests write them.

use ark_fuzz::api::GoDuration;
use ark_fuzz::cli::time::{human_duration, parse_duration};
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<GoDuration>() {
        // Written to the second.
        let again: GoDuration = duration
            .to_string()
            .parse()
            .expect("it reads what it writes");
        assert_eq!(again.seconds(), duration.seconds());
    }
    if let Ok(duration) = parse_duration(text) {
        assert!(duration.is_positive() && !human_duration(duration).is_empty());
    }
});
