//! Keys and generators that the properties share.

use ark_format::envelope::{Kind, Sealer};
use ark_format::frame::FrameSealer;
use ark_format::id::PackClass;
use ark_format::keys::{Binding, Key};
use ark_format::seal::{Cipher, SALT, seal};
use ark_format::segment::{Entry, FrameRow, PackRow, Segment, SegmentSealer};
use ark_format::tree::{Root, Value};
use ark_format::{ChunkId, PackName, RepositoryId, SessionId};
use proptest::prelude::*;

pub const REPOSITORY: RepositoryId = RepositoryId([9; 16]);
pub const KEY: Key = [7; 32];
pub const SALT_BYTES: [u8; SALT] = [3; SALT];
pub const CIPHER: Cipher = Cipher::Aes256Gcm;
pub const OBJECT: &str = "index/x";
pub const PACK: PackName = PackName {
    session: SessionId([1; 16]),
    sequence: 5,
    class: PackClass::Data,
};

pub const SEALER: Sealer<'static> = Sealer {
    cipher: CIPHER,
    repository: REPOSITORY,
    key: &KEY,
};

pub const FRAMES: FrameSealer<'static> = FrameSealer {
    cipher: CIPHER,
    repository: REPOSITORY,
    kind: Kind::DataFrame,
    key: &KEY,
    data_key: 1,
};

pub const SEGMENTS: SegmentSealer<'static> = SegmentSealer {
    cipher: CIPHER,
    repository: REPOSITORY,
    key: &KEY,
    object_key: OBJECT,
};

/// Seals any plaintext as a unit of the given kind: what lies behind authentication must hold too.
pub fn sealed(kind: Kind, data_key: u16, context: &[&[u8]], plain: &[u8]) -> Vec<u8> {
    let binding = Binding {
        repository: REPOSITORY,
        kind,
        data_key,
        context,
    };
    seal(CIPHER, &KEY, SALT_BYTES, &binding, plain).unwrap()
}

pub fn sealed_frame(plain: &[u8]) -> Vec<u8> {
    sealed(Kind::DataFrame, 1, &[], plain)
}

pub fn sealed_document(kind: Kind, encoding: u8, plain: &[u8]) -> Vec<u8> {
    let header = [b'A', b'R', b'K', b'0', kind.byte(), encoding, 0, 0];
    let body = sealed(kind, 0, &[OBJECT.as_bytes(), &header], plain);
    [header.as_slice(), &body].concat()
}

pub fn sealed_trailer(plain: &[u8]) -> Vec<u8> {
    let head = ark_format::pack::header(&PACK);
    let length = ((plain.len() + ark_format::seal::OVERHEAD) as u32).to_le_bytes();
    let key = ark_format::layout::pack(&PACK);
    sealed(Kind::Trailer, 0, &[key.as_bytes(), &head, &length], plain)
}

pub fn sealed_segment(blocks: &[&[u8]]) -> Vec<u8> {
    let mut out = b"ARKINDX0\x01\0\0\0".to_vec();
    out.extend_from_slice(&(blocks.len() as u32).to_le_bytes());
    let header = out.clone();
    for (number, block) in blocks.iter().enumerate() {
        let number = (number as u32).to_le_bytes();
        let context: [&[u8]; 3] = [OBJECT.as_bytes(), &header, &number];
        out.extend_from_slice(&sealed(Kind::Segment, 0, &context, block));
    }
    out
}

pub fn chunk_id() -> impl Strategy<Value = ChunkId> {
    any::<[u8; 16]>().prop_map(ChunkId)
}

pub fn root() -> impl Strategy<Value = Root> {
    (chunk_id(), 0u8..=40, 1u64..).prop_map(|(id, level, entries)| Root { id, level, entries })
}

pub fn value() -> impl Strategy<Value = Value> {
    let chunk = || (chunk_id(), 0u32..=4 << 20);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Inline),
        chunk().prop_map(|(id, len)| Value::Chunk { id, len }),
        prop::collection::vec(chunk(), 2..=32).prop_map(|chunks| Value::List { chunks }),
        (root(), any::<u64>()).prop_map(|(root, len)| Value::Map { root, len }),
    ]
}

/// Keys that share prefixes.
pub fn keys(count: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let key = prop::collection::vec(
        prop::sample::select(vec![0u8, b'/', b'a', b'b', 255]),
        0..12,
    );
    prop::collection::btree_set(key, count).prop_map(|set| set.into_iter().collect())
}

pub fn segment() -> impl Strategy<Value = Segment> {
    let frames = prop::collection::vec(prop::collection::vec(0u16..4, 0..6), 0..5);
    (frames, any::<u64>()).prop_map(|(packs, seed)| {
        let mut segment = Segment::default();
        let mut number = seed;
        for (pack, frames) in packs.iter().enumerate() {
            segment.packs.push(PackRow {
                name: PackName {
                    sequence: pack as u32,
                    ..PACK
                },
                first_frame: segment.frames.len() as u32,
                frames: frames.len() as u32,
                size: 1 << 20,
            });
            for (frame, chunks) in frames.iter().enumerate() {
                segment.frames.push(FrameRow {
                    offset: 32 + 100 * frame as u32,
                    stored: 100,
                    data_key: 1,
                    chunks: *chunks,
                });
                for slot in 0..*chunks {
                    number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
                    let mut id = [0; 16];
                    id[..8].copy_from_slice(&(number % 64).to_be_bytes());
                    segment.entries.push(Entry {
                        id: ChunkId(id),
                        pack: pack as u32,
                        frame: frame as u16,
                        slot,
                    });
                }
            }
        }
        segment.entries.sort();
        segment
    })
}
