//! No byte can change, and nothing can stand in for something else.

use ark_format::config::Config;
use ark_format::documents::{Claim, Heartbeat};
use ark_format::envelope::Kind;
use ark_format::pack::{self, FrameEntry};
use ark_format::segment::Segment;
use ark_format::slot::{self, Method, Role, SlotDocument, SlotHeader};
use ark_format::{ChunkId, KeySet, SessionId, sign};

use crate::sample::*;

/// Checks that `accepts` takes `bytes`, and refuses them cut short, longer, or with any one bit flipped.
fn check(bytes: &[u8], accepts: impl Fn(&[u8]) -> bool) {
    assert!(accepts(bytes));
    for end in 0..bytes.len() {
        assert!(!accepts(&bytes[..end]), "cut at {end}");
    }
    assert!(!accepts(&[bytes, &[0]].concat()));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1 << bit;
            assert!(!accepts(&changed), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn settings() {
    let text = br#"{"magic":"ark repository","id":"00000000000000000000000000000000","version":1,"features":{"read":[],"write":[],"prune":[]},"cipher":"aes-256-gcm","ids":"blake3-128","chunks":{"min":1,"avg":2,"max":3},"public_key":""}"#;
    let settings = serde_json::from_slice(text).unwrap();
    let bytes = Config::encode(&settings, &KEY).unwrap();
    check(&bytes, |found| {
        Config::decode(found).is_ok_and(|config| config.authenticate(&KEY).is_ok())
    });
}

#[test]
fn slots() {
    let header = SlotHeader {
        method: Method::Passphrase {
            memory: 64,
            passes: 1,
            lanes: 1,
        },
        kdf_salt: [4; 32],
    };
    let keys = KeySet::from_random(|| KEY);
    let document = SlotDocument {
        role: Role::Full,
        created: 0,
        label: String::new(),
        keys: keys.clone(),
    };
    let bytes = slot::wrap(
        CIPHER, REPOSITORY, "keys/1", &header, &KEY, SALT_BYTES, &document,
    )
    .unwrap();
    check(&bytes, |found| {
        SlotHeader::decode(found).is_ok()
            && slot::unwrap(CIPHER, REPOSITORY, "keys/1", &KEY, found).is_ok()
    });
    // By another slot's owner, who has the keys and not the secret.
    check(&bytes, |found| {
        slot::authenticate(&keys, "keys/1", found).is_ok()
    });
    assert!(slot::authenticate(&keys, "keys/2", &bytes).is_err());
    assert!(slot::unwrap(CIPHER, REPOSITORY, "keys/2", &KEY, &bytes).is_err());
}

#[test]
fn documents() {
    let bytes = SEALER
        .encode(Kind::Heartbeat, OBJECT, SALT_BYTES, &Heartbeat { at: 5 })
        .unwrap();
    check(&bytes, |found| {
        SEALER
            .decode::<Heartbeat>(Kind::Heartbeat, OBJECT, found)
            .is_ok()
    });
    assert!(
        SEALER
            .decode::<Heartbeat>(Kind::Heartbeat, "index/y", &bytes)
            .is_err()
    );
    assert!(
        SEALER
            .decode::<Heartbeat>(Kind::Fence, OBJECT, &bytes)
            .is_err()
    );
    let long = Claim {
        session: SessionId([1; 16]),
        epoch: 0,
        name: "n".repeat(600),
        cluster: String::new(),
    };
    let bytes = SEALER
        .encode(Kind::Claim, OBJECT, SALT_BYTES, &long)
        .unwrap();
    assert_eq!(bytes[5], 2, "it is compressed");
    check(&bytes, |found| {
        SEALER.decode::<Claim>(Kind::Claim, OBJECT, found).is_ok()
    });
}

#[test]
fn signatures() {
    let public = sign::public_key(&KEY).unwrap();
    let signed = sign::sign(&KEY, REPOSITORY, Kind::Tombstone, OBJECT, vec![1]).unwrap();
    let verify = |kind, key, signed| sign::verify(&public, REPOSITORY, kind, key, signed);
    check(&signed.signature, |found| {
        let mut signed = signed.clone();
        signed.signature = found.to_vec();
        verify(Kind::Tombstone, OBJECT, signed).is_ok()
    });
    assert!(verify(Kind::Undo, OBJECT, signed.clone()).is_err());
    assert!(verify(Kind::Tombstone, "index/y", signed.clone()).is_err());
    let other = sign::Signed {
        payload: vec![2],
        ..signed
    };
    assert!(verify(Kind::Tombstone, OBJECT, other).is_err());
}

#[test]
fn frames() {
    let bytes = FRAMES.encode(3, SALT_BYTES, &[5, 3], b"chunkand").unwrap();
    check(&bytes, |found| FRAMES.decode(found).is_ok());
    let mut other = FRAMES;
    other.data_key = 2;
    assert!(other.decode(&bytes).is_err());
    other = FRAMES;
    other.kind = Kind::TreeFrame;
    assert!(other.decode(&bytes).is_err());
}

/// Every byte of a whole pack, as a verify reads it.
#[test]
fn packs() {
    let frame = FRAMES.encode(3, SALT_BYTES, &[5], b"chunk").unwrap();
    let padding = FRAMES.padding([8; 24], 9).unwrap();
    let mut bytes = pack::header(&PACK).to_vec();
    let mut rows = Vec::new();
    for (frame, ids) in [(&frame, vec![ChunkId([1; 16])]), (&padding, Vec::new())] {
        rows.push(FrameEntry {
            offset: bytes.len() as u32,
            stored: frame.len() as u32,
            data_key: 1,
            ids,
        });
        bytes.extend_from_slice(frame);
    }
    let trailer = pack::encode_trailer(CIPHER, REPOSITORY, &KEY, [6; 24], &PACK, &rows).unwrap();
    bytes.extend_from_slice(&trailer);
    check(&bytes, |found| {
        let Some((rest, footer)) = found.split_last_chunk::<{ pack::FOOTER }>() else {
            return false;
        };
        let Ok(length) = pack::decode_footer(footer) else {
            return false;
        };
        let Some(start) = rest.len().checked_sub(length as usize) else {
            return false;
        };
        let (size, sealed) = (found.len() as u64, &rest[start..]);
        let Ok(rows) = pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, size, sealed) else {
            return false;
        };
        pack::check_header(&PACK, found).is_ok()
            && rows.iter().all(|row| {
                let frame = &found[row.offset as usize..][..row.stored as usize];
                FRAMES
                    .decode(frame)
                    .is_ok_and(|frame| frame.len() == row.ids.len())
            })
    });
}

#[test]
fn segments() {
    let bytes = SEGMENTS.encode(&Segment::default(), || SALT_BYTES).unwrap();
    check(&bytes, |found| SEGMENTS.decode(found).is_ok());
    let mut other = SEGMENTS;
    other.object_key = "index/y";
    assert!(other.decode(&bytes).is_err());
}
