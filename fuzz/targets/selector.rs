#![no_main]
//! Label selectors, and their form in a manifest; in the next line a label.

use ark_fuzz::cluster::select::Selector;
libfuzzer_sys::fuzz_target!(|text: &str| {
    let (text, label) = text.split_once('\n').unwrap_or((text, "tier=db"));
    let (key, value) = label.split_once('=').unwrap_or((label, ""));
    let Ok(selectors) = Selector::parse_any(text) else {
        return;
    };
    for selector in selectors {
        assert_eq!(
            Selector::parse(&selector.to_string()).as_ref(),
            Ok(&selector)
        );
        let spec = Selector::from_spec(&selector.to_spec()).expect("it reads what it writes");
        let labels = [(key, value), ("app", "web")];
        assert_eq!(
            spec.matches(labels.iter().copied()),
            selector.matches(labels.iter().copied())
        );
    }
});
