#![no_main]
//! A key slot, clear header and all.

use ark_format::slot;
use ark_fuzz::{CIPHER, KEY, OBJECT, REPOSITORY};
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = slot::SlotHeader::decode(bytes);
    let _ = slot::unwrap(CIPHER, REPOSITORY, OBJECT, &KEY, bytes);
});
