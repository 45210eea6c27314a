#![no_main]
//! A page of a list, as an apiserver sends it.

use ark_fuzz::cluster::page::Page;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(page) = Page::parse(bytes.to_vec().into(), "/x") {
        assert_eq!(page.items().count(), page.len());
        for item in page.items().flatten() {
            assert!(!item.key().is_empty());
            let inside = std::str::from_utf8(bytes).is_ok_and(|text| text.contains(item.raw));
            assert!(inside);
        }
    }
});
