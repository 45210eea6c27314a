#![no_main]
//! Addresses of repositories.

use ark_fuzz::engine::address::StoreUrl;
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(url) = StoreUrl::parse(text)
        && !matches!(url, StoreUrl::Local(_))
    {
        assert_eq!(
            StoreUrl::parse(&url.to_string()).expect("its own text"),
            url
        );
    }
});
