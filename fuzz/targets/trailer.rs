#![no_main]
//! The trailer of a pack behind the seal: the first three bytes are added to the size of the pack.

use ark_format::pack;
use ark_fuzz::{CIPHER, KEY, PACK, REPOSITORY};
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((size, plain)) = bytes.split_first_chunk::<3>() {
        let sealed = ark_fuzz::trailer(plain);
        let frames = u64::from(u32::from_le_bytes([size[0], size[1], size[2], 0]));
        let size = frames + (pack::HEADER + sealed.len() + pack::FOOTER) as u64;
        if let Ok(rows) = pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, size, &sealed) {
            assert_eq!(
                frames,
                rows.iter().map(|row| u64::from(row.stored)).sum::<u64>()
            );
        }
    }
});
