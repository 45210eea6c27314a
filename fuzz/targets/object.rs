#![no_main]
//! The metadata of an object in a list.

use ark_fuzz::cluster::object::ObjectMetaView;
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(meta) = ObjectMetaView::parse(text) {
        assert!(!meta.name.is_empty());
        assert_eq!(meta.label_pairs().count(), meta.labels.len());
    }
});
