#![no_main]
//! Names of backups, namespaces and labels.

use ark_fuzz::api::labels::label_value;
use ark_fuzz::api::names::{check_name, check_namespace};
libfuzzer_sys::fuzz_target!(|text: &str| {
    let tame = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if check_name("backup", text).is_ok() {
        assert!(!text.is_empty() && text.len() <= 253 && text.chars().all(tame));
    }
    if check_namespace(text).is_ok() {
        assert!(text.len() <= 63 && check_name("namespace", text).is_ok());
    }
    assert!(label_value(text).len() <= 63);
});
