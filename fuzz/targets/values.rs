#![no_main]
//! Pairs and portions on the command line.

use ark_fuzz::Portion;
use ark_fuzz::cli::values::{Labels, Mappings, parse_portion};
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(Mappings(map)) = text.parse::<Mappings>() {
        assert!(
            map.iter()
                .all(|(from, to)| !from.is_empty() && !to.is_empty())
        );
    }
    if let Ok(Labels(map)) = text.parse::<Labels>() {
        assert!(map.keys().all(|key| !key.is_empty()));
    }
    match parse_portion(text) {
        Ok(Portion::Percent(percent)) => assert!(percent > 0.0 && percent <= 100.0),
        Ok(Portion::Part { number, of }) => assert!(number >= 1 && number <= of),
        Ok(Portion::Bytes(bytes)) => assert_ne!(bytes, 0),
        Err(_) => {}
    }
});
