#![no_main]
//! The names of objects.

use ark_format::layout::{self, Object};
libfuzzer_sys::fuzz_target!(|key: &str| {
    if let Some(Object::Pack(name)) = layout::parse(key) {
        assert_eq!(layout::pack(&name), key);
    }
});
