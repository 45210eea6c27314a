//! Any bytes give a value or an error, in the clear and behind a valid seal.

use ark_format::config::Config;
use ark_format::documents::*;
use ark_format::envelope::{Kind, from_bytes, kind_of};
use ark_format::sign::Signed;
use ark_format::slot::{self, SlotDocument, SlotHeader};
use ark_format::tree::decode_node;
use ark_format::{layout, objects, pack, recovery};
use proptest::prelude::*;

use crate::sample::*;

/// Bytes that look like numbers and tags more often than random ones do.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => 0u8..5,
        2 => any::<u8>(),
        1 => prop::sample::select(vec![0x7f, 0x80, 250, 251, 252, 253, 254, 255]),
    ];
    prop::collection::vec(byte, 0..200)
}

fn every_document(bytes: &[u8]) {
    let _ = from_bytes::<SlotDocument>(bytes);
    let _ = from_bytes::<DataKey>(bytes);
    let _ = from_bytes::<Signed>(bytes);
    let _ = from_bytes::<EpochStub>(bytes);
    let _ = from_bytes::<EpochBody>(bytes);
    let _ = from_bytes::<Pin>(bytes);
    let _ = from_bytes::<Heartbeat>(bytes);
    let _ = from_bytes::<Fence>(bytes);
    let _ = from_bytes::<Manifest>(bytes);
    let _ = from_bytes::<Tombstone>(bytes);
    let _ = from_bytes::<Claim>(bytes);
    let _ = from_bytes::<RestoreRecord>(bytes);
    let _ = from_bytes::<VerifyRecord>(bytes);
}

proptest! {
    #[test]
    fn clear_parsers(bytes in bytes(), text in ".{0,80}") {
        let _ = Config::decode(&bytes);
        let _ = Config::decode(format!("{{\"settings\":{text},\"mac\":\"{}\"}}\n", "0".repeat(64)).as_bytes());
        let _ = SlotHeader::decode(&bytes);
        let _ = slot::unwrap(CIPHER, REPOSITORY, "keys/x", &KEY, &bytes);
        let _ = kind_of(&bytes);
        let _ = pack::check_header(&PACK, &bytes);
        let _ = pack::name_in_header(&bytes);
        let _ = pack::decode_footer(&bytes);
        let _ = pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, 1000, &bytes);
        let _ = FRAMES.decode(&bytes);
        let _ = SEGMENTS.decode(&bytes);
        let _ = SEALER.decode::<Manifest>(Kind::Manifest, OBJECT, &bytes);
        let _ = recovery::decode(&text);
        let _ = recovery::decode(&format!("ARK0{text}"));
    }

    #[test]
    fn documents(bytes in bytes()) {
        every_document(&bytes);
        for encoding in 0..4 {
            let sealed = sealed_document(Kind::Manifest, encoding, &bytes);
            let _ = SEALER.decode::<Manifest>(Kind::Manifest, OBJECT, &sealed);
        }
    }

    #[test]
    fn frames(bytes in bytes(), length in 0u32..500) {
        let _ = FRAMES.decode(&sealed_frame(&bytes));
        for codec in [0, 1, 2, 255] {
            let plain = [&[codec], length.to_le_bytes().as_slice(), &bytes].concat();
            let _ = FRAMES.decode(&sealed_frame(&plain));
        }
    }

    #[test]
    fn trailers(bytes in bytes(), size in 0u64..1000) {
        let sealed = sealed_trailer(&bytes);
        let _ = pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, size, &sealed);
    }

    #[test]
    fn segments(bytes in bytes(), rows in 0u32..4) {
        let _ = SEGMENTS.decode(&sealed_segment(&[&bytes]));
        let mut plain = u64::from(rows).to_le_bytes().to_vec();
        plain.extend_from_slice(&rows.to_le_bytes());
        plain.extend_from_slice(&rows.to_le_bytes());
        plain.extend_from_slice(&bytes);
        let _ = SEGMENTS.decode(&sealed_segment(&[&plain]));
    }

    #[test]
    fn nodes(bytes in bytes()) {
        let _ = decode_node(&bytes);
    }

    #[test]
    fn a_node_that_decodes_is_what_a_writer_writes(bytes in bytes()) {
        crate::canonical::check_node(&bytes);
    }

    #[test]
    fn names(text in "[a-z0-9./-]{0,60}|.{0,30}", bytes in bytes()) {
        for folder in ["", "keys/", "epochs/", "index/", "sessions/", "manifests/", "forgotten/", "names/", "packs/data/", "verify/"] {
            let key = format!("{folder}{text}");
            if let Some(object) = layout::parse(&key) {
                prop_assert!(crate::canonical::name(&object).is_none_or(|name| name == key), "{key}");
            }
        }
        if let Some(key) = objects::parse_key(&bytes) {
            prop_assert_eq!(key.to_bytes(), bytes);
        }
    }
}
