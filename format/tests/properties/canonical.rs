//! Nodes, segments, trailers, frames and names have one form; every other one is refused.

use ark_format::DecodeError;
use ark_format::layout::{self, Object};
use ark_format::limits::{CHUNK_MAX, FRAME_RAW_MAX, VALUE_MAX};
use ark_format::pack;
use ark_format::padme::padded;
use ark_format::segment::BLOCK;
use ark_format::tree::{Node, NodeBuilder, Value, decode_node};

use crate::sample::*;

/// If `bytes` decode as a node, then a writer writes exactly these bytes for it.
pub fn check_node(bytes: &[u8]) {
    let mut builder = NodeBuilder::default();
    let level = match decode_node(bytes) {
        Ok(Node::Leaf(entries)) => {
            for (key, value) in &entries {
                builder.push_value(key, value);
            }
            0
        }
        Ok(Node::Inner { level, children }) => {
            for (key, child) in &children {
                builder.push_child(key, *child);
            }
            level
        }
        Err(_) => return,
    };
    assert_eq!(builder.take(level), bytes);
}

/// The key of an object, where the object tells all of it.
pub fn name(object: &Object) -> Option<String> {
    Some(match object {
        Object::Config => layout::CONFIG.to_owned(),
        Object::Reserve => layout::RESERVE.to_owned(),
        Object::Slot(id) => layout::slot(id),
        Object::DataKey(number) => layout::data_key(*number),
        Object::EpochStub(number) => layout::epoch_stub(*number),
        Object::EpochBody(_) => return None,
        Object::Segment(session, number) => layout::segment(*session, *number),
        Object::Session(epoch, session) => layout::session(*epoch, *session),
        Object::Heartbeat(epoch, session, number) => layout::heartbeat(*epoch, *session, *number),
        Object::Manifest(epoch, session) => layout::manifest(*epoch, *session),
        Object::Tombstone(session, number) => layout::tombstone(*session, *number),
        Object::Undo(session, number) => layout::undo(*session, *number),
        Object::Claim(hash, number) => layout::claim(hash, *number),
        Object::Pack(name) => layout::pack(name),
        Object::Restore(id, number) => layout::restore(*id, *number),
        Object::Verify(id) => layout::verify(*id),
    })
}

#[test]
fn a_name_has_one_spelling() {
    let sid = "0".repeat(32);
    for key in [
        format!("forgotten/{sid}.00000000"),
        format!("forgotten/{sid}.00000000.undo"),
        format!("forgotten/{}", "A".repeat(32)),
        format!("sessions/0000000000000001-{sid}.hb1"),
        format!("packs/data/00/{sid}-00000000"),
        format!("packs/data/00/x/{sid}-00000000"),
        "keys/data/001".to_owned(),
        "keys/00112233445566FF".to_owned(),
        "epochs/+fffffffffffffff".to_owned(),
        "/ark.json".to_owned(),
    ] {
        assert_eq!(layout::parse(&key), None, "{key}");
    }
}

fn refused(bytes: &[u8]) -> DecodeError {
    decode_node(bytes).unwrap_err()
}

#[test]
fn nodes() {
    // One leaf with two inline values: keys "ab" and "ac".
    let good = [0, 2, 0, 2, b'a', b'b', 1, 1, b'c', 0, 0, 0, 0];
    assert!(decode_node(&good).is_ok());
    let unshared = [0, 2, 0, 2, b'a', b'b', 0, 2, b'a', b'c', 0, 0, 0, 0];
    assert_eq!(
        refused(&unshared),
        DecodeError::Invalid("a key repeats bytes that it shares with the one before")
    );
    let equal = [0, 2, 0, 1, b'a', 1, 0, 0, 0, 0, 0];
    assert_eq!(
        refused(&equal),
        DecodeError::Invalid("a node's keys do not ascend")
    );
    let falling = [0, 2, 0, 1, b'b', 0, 1, b'a', 0, 0, 0, 0];
    assert_eq!(
        refused(&falling),
        DecodeError::Invalid("a node's keys do not ascend")
    );
    let long_varint = [0, 0x81, 0, 0, 1, b'a', 0, 0];
    assert_eq!(
        refused(&long_varint),
        DecodeError::Invalid("a varint is not in its shortest form")
    );
    assert_eq!(refused(&[0, 0]), DecodeError::Invalid("a node is empty"));
    let trailing = [0, 1, 0, 1, b'a', 0, 0, 0];
    assert_eq!(refused(&trailing), DecodeError::Trailing(1));
    let mut empty_child = vec![1, 1, 0, 1, b'a'];
    empty_child.extend_from_slice(&[0; 17]);
    assert_eq!(
        refused(&empty_child),
        DecodeError::Invalid("a node has no entries below it")
    );
    let mut overflow = vec![1, 2, 0, 1, b'a', 0, 1, b'b'];
    for _ in 0..2 {
        overflow.extend_from_slice(&[0; 16]);
        overflow.extend_from_slice(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
    }
    assert_eq!(
        refused(&overflow),
        DecodeError::Invalid("a node's entry counts exceed 64 bits")
    );
    let mut list_of_one = vec![0, 1, 0, 1, b'a', 2, 1];
    list_of_one.extend_from_slice(&[0; 17]);
    assert_eq!(
        refused(&list_of_one),
        DecodeError::Invalid("a value lists fewer than 2 or more than 32 chunks")
    );
}

#[test]
fn an_encoded_value_is_at_most_4_kib_long() {
    let node = |length: usize| {
        let mut builder = NodeBuilder::default();
        builder.push_value(b"a", &Value::Inline(vec![1; length]));
        decode_node(&builder.take(0))
    };
    assert!(node(VALUE_MAX - 3).is_ok());
    assert!(matches!(
        node(VALUE_MAX - 2),
        Err(DecodeError::Limit { what: "value", .. })
    ));
}

fn frame(codec: u8, length: usize, body: &[u8]) -> Result<usize, DecodeError> {
    let plain = [&[codec], (length as u32).to_le_bytes().as_slice(), body].concat();
    FRAMES.decode(&sealed_frame(&plain)).map(|f| f.len())
}

#[test]
fn frames() {
    let raw = [1, 0, 3, 0, 0, 0, b'a', b'b', b'c'];
    assert_eq!(frame(0, raw.len(), &raw), Ok(1));
    assert!(frame(0, raw.len() + 1, &raw).is_err());
    assert!(frame(0, 2, &[0, 0]).is_err(), "no chunk");
    assert!(frame(0, 8, &raw[..8]).is_err(), "lengths do not add up");
    assert!(frame(0, FRAME_RAW_MAX + 1, &raw).is_err());
    let packed = zstd::bulk::compress(&raw, 3).unwrap();
    assert_eq!(frame(1, raw.len(), &packed), Ok(1));
    assert_eq!(
        frame(1, raw.len() + 1, &packed),
        Err(DecodeError::Compression)
    );
    let (head, tail) = raw.split_at(4);
    let split = [
        zstd::bulk::compress(head, 3).unwrap(),
        zstd::bulk::compress(tail, 3).unwrap(),
    ];
    assert_eq!(
        frame(1, raw.len(), &split.concat()),
        Err(DecodeError::Compression),
        "two zstd frames"
    );
    let skippable = [packed.as_slice(), &[0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0]].concat();
    assert_eq!(
        frame(1, raw.len(), &skippable),
        Err(DecodeError::Compression)
    );
    assert_eq!(frame(255, 0, &[0; 4]), Ok(0));
    assert!(frame(255, 1, &[0; 4]).is_err());
    assert!(frame(255, 0, &[0, 1]).is_err());
    assert!(frame(2, 0, &[]).is_err());
    let mut big = vec![1, 0];
    big.extend_from_slice(&(CHUNK_MAX as u32 + 1).to_le_bytes());
    big.resize(big.len() + CHUNK_MAX + 1, 0);
    assert!(matches!(
        frame(0, big.len(), &big),
        Err(DecodeError::Limit { .. })
    ));
}

#[test]
fn trailers() {
    let decode = |rows: &[(u32, u16, u16)], size: u64| {
        let mut plain = (rows.len() as u32).to_le_bytes().to_vec();
        let mut ids = 0;
        for (stored, data_key, chunks) in rows {
            plain.extend_from_slice(&stored.to_le_bytes());
            plain.extend_from_slice(&data_key.to_le_bytes());
            plain.extend_from_slice(&chunks.to_le_bytes());
            ids += usize::from(*chunks);
        }
        plain.resize(plain.len() + 16 * ids, 0);
        let sealed = sealed_trailer(&plain);
        let fixed = (pack::HEADER + sealed.len() + pack::FOOTER) as u64;
        pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, size + fixed, &sealed)
    };
    assert!(decode(&[(100, 1, 2), (45, 1, 0)], 145).is_ok());
    assert!(decode(&[(100, 1, 2), (45, 1, 0)], 146).is_err());
    assert!(decode(&[(44, 1, 0)], 44).is_err(), "shorter than any frame");
    assert!(decode(&[(100, 0, 2)], 100).is_err(), "no data key");
    assert!(decode(&[(100, 1, 4097)], 100).is_err(), "too many chunks");
    assert!(decode(&[(5 << 20, 1, 1)], 5 << 20).is_err(), "too long");
}

#[test]
fn segments() {
    let stream = |entries: u64, extra: usize| {
        let mut plain = entries.to_le_bytes().to_vec();
        plain.resize(16, 0);
        plain.resize(padded(16) as usize + extra, 0);
        plain
    };
    let decode = |blocks: &[&[u8]]| SEGMENTS.decode(&sealed_segment(blocks));
    assert!(decode(&[&stream(0, 0)]).is_ok());
    assert!(decode(&[&stream(1, 0)]).is_err(), "no such entry");
    assert!(decode(&[&stream(0, 1)]).is_err(), "padding too long");
    assert!(decode(&[&stream(0, 0), &[]]).is_err(), "an empty block");
    assert!(decode(&[]).is_err(), "no block");
    let mut dirty = stream(0, 0);
    dirty.resize(padded(17) as usize, 0);
    *dirty.last_mut().unwrap() = 1;
    assert!(decode(&[&dirty]).is_err(), "padding that is not zero");
    let long = vec![0; BLOCK + 1];
    assert!(decode(&[&long]).is_err(), "a block over 64 KiB");
}
