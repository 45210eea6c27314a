#![no_main]
//! A signature.

use ark_format::envelope::{Kind, from_bytes};
use ark_format::sign;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = from_bytes::<sign::Signed>(bytes) {
        let _ = sign::verify(
            &ark_fuzz::KEY,
            ark_fuzz::REPOSITORY,
            Kind::EpochStub,
            ark_fuzz::OBJECT,
            signed,
        );
    }
});
