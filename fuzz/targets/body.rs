#![no_main]
//! The body of an envelope behind the seal: the first byte is the encoding.

use ark_format::documents::Manifest;
use ark_format::envelope::Kind;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((encoding, body)) = bytes.split_first() {
        // What claims to decompress to more than 16 MiB is within the limits, and only slow.
        if body.get(3).is_some_and(|high| *high > 0) && *encoding == 2 {
            return;
        }
        let sealed = ark_fuzz::envelope(Kind::Manifest, *encoding, body);
        let _ = ark_fuzz::SEALER.decode::<Manifest>(Kind::Manifest, ark_fuzz::OBJECT, &sealed);
    }
});
