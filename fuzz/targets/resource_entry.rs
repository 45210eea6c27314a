#![no_main]
//! The own entry of a resource in a backup.

use ark_fuzz::api::resource_entry::ResourceEntry;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = ResourceEntry::from_bytes(bytes) {
        let again = entry.to_bytes().expect("it can be written");
        assert_eq!(ResourceEntry::from_bytes(&again).expect("and read"), entry);
    }
});
