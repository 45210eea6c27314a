#![no_main]
//! What is in the clear in a pack.

use ark_format::pack;
use ark_fuzz::{CIPHER, FRAMES, KEY, PACK, REPOSITORY};
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pack::check_header(&PACK, bytes);
    if let Ok(name) = pack::name_in_header(bytes) {
        assert_eq!(
            pack::check_header(&name, bytes).is_ok(),
            bytes.len() >= pack::HEADER
        );
    }
    let _ = pack::decode_footer(bytes);
    let _ = pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, bytes.len() as u64, bytes);
    let _ = FRAMES.decode(bytes);
});
