#![no_main]
//! An envelope as it is stored.

use ark_format::documents::Manifest;
use ark_format::envelope::{Kind, kind_of};
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = kind_of(bytes);
    let _ = ark_fuzz::SEALER.decode::<Manifest>(Kind::Manifest, ark_fuzz::OBJECT, bytes);
});
