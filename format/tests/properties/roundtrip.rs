//! What goes in comes out.

use ark_format::config::{ChunkSizes, Config, Features, SETTINGS_MAGIC, Settings};
use ark_format::cursor::{Cursor, put_varint};
use ark_format::documents::*;
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};
use ark_format::pack::{self, FrameEntry};
use ark_format::tree::{Child, Node, NodeBuilder, decode_node};
use ark_format::{ChunkId, SessionId, objects, recovery};
use proptest::prelude::*;

use crate::sample::*;

fn manifest() -> impl Strategy<Value = Manifest> {
    let row = (
        any::<[u8; 16]>(),
        ".{0,40}",
        any::<u64>(),
        any::<i64>(),
        prop::option::of(any::<i64>()),
        prop::collection::vec((".{0,10}", root()), 0..4),
    );
    let bytes = prop::collection::vec(any::<u8>(), 0..2000);
    (row, bytes, any::<[u8; 32]>()).prop_map(
        |((id, name, number, time, expires, datasets), bytes, hash)| Manifest {
            row: BackupRow {
                id: SessionId(id),
                epoch: number,
                name: name.clone(),
                cluster: ClusterRef {
                    id: name.clone(),
                    name: String::new(),
                },
                created: time,
                status: BackupStatus::PartiallyFailed,
                counts: Counts {
                    items: number,
                    bytes: number / 3,
                    failed: number % 251,
                },
                stats: WriteStats {
                    data_bytes: number,
                    ..WriteStats::default()
                },
                expires,
                datasets,
                segments: vec![SegmentRef {
                    session: SessionId(id),
                    number: number as u32,
                    size: number,
                    entries: 0,
                }],
                previous: expires.map(|_| SessionId(id)),
                manifest_size: 0,
            },
            finished: time,
            view: number,
            view_hash: hash,
            tool: name,
            document: bytes.clone(),
            log: bytes.iter().map(|b| b % 3).collect(),
            repairs: expires.map(|_| SessionId(id)),
        },
    )
}

proptest! {
    #[test]
    fn varints(value: u64) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        let mut c = Cursor::new(&bytes);
        prop_assert_eq!(c.varint("a value"), Ok(value));
        prop_assert!(c.end().is_ok());
    }

    #[test]
    fn recovery_keys(key: [u8; 32]) {
        let text = recovery::encode(&key);
        prop_assert_eq!(recovery::decode(&text), Ok(key));
        prop_assert_eq!(recovery::decode(&text.to_lowercase().replace('-', " ")), Ok(key));
    }

    #[test]
    fn a_typing_error_in_a_recovery_key_is_seen(key: [u8; 32], at in 5usize..68, digit in 0usize..32) {
        let text = recovery::encode(&key);
        let digit = "0123456789ABCDEFGHJKMNPQRSTVWXYZ".as_bytes()[digit];
        let mut typed = text.clone().into_bytes();
        if typed[at] != b'-' && typed[at] != digit {
            typed[at] = digit;
            // 24 bits of checksum: one error in 16 million passes, and no case here is one.
            prop_assert!(recovery::decode(&String::from_utf8(typed).unwrap()) != Ok(key));
        }
    }

    #[test]
    fn documents(manifest in manifest()) {
        let bytes = SEALER.encode(Kind::Manifest, OBJECT, SALT_BYTES, &manifest).unwrap();
        prop_assert_eq!(SEALER.decode::<Manifest>(Kind::Manifest, OBJECT, &bytes), Ok(manifest));
    }

    #[test]
    fn settings(name in ".{0,20}", id: [u8; 16], sizes: [u32; 3]) {
        let settings = Settings {
            magic: SETTINGS_MAGIC.to_owned(),
            id: ark_format::RepositoryId(id),
            version: 1,
            features: Features { read: vec![name.clone()], write: vec![], prune: vec![name.clone(), name] },
            cipher: CIPHER,
            ids: "blake3-128".to_owned(),
            chunks: ChunkSizes { min: sizes[0], avg: sizes[1], max: sizes[2] },
            public_key: hex::encode([id, id].concat()),
        };
        let bytes = Config::encode(&settings, &KEY).unwrap();
        prop_assert_eq!(Config::decode(&bytes).unwrap().authenticate(&KEY), Ok(settings));
    }

    #[test]
    fn frames(chunks in prop::collection::vec(prop::collection::vec(0u8..4, 0..300), 1..40)) {
        let lengths: Vec<u32> = chunks.iter().map(|c| c.len() as u32).collect();
        let bytes = FRAMES.encode(3, SALT_BYTES, &lengths, &chunks.concat()).unwrap();
        let frame = FRAMES.decode(&bytes).unwrap();
        prop_assert_eq!(frame.len(), chunks.len());
        prop_assert!(frame.chunks().eq(chunks.iter().map(Vec::as_slice)));
        prop_assert_eq!(frame.chunk(chunks.len()), None);
    }

    #[test]
    fn padding(zeros in 0usize..5000) {
        let bytes = FRAMES.padding(SALT_BYTES, zeros).unwrap();
        prop_assert_eq!(bytes.len(), ark_format::frame::PADDING_OVERHEAD + zeros);
        prop_assert!(FRAMES.decode(&bytes).unwrap().is_empty());
    }

    #[test]
    fn trailers(rows in prop::collection::vec((45u32..5000, 1u16.., 0usize..20), 0..20), byte: u8) {
        let mut offset = 32;
        let frames: Vec<FrameEntry> = rows
            .into_iter()
            .map(|(stored, data_key, chunks)| {
                let ids = vec![ChunkId([byte; 16]); chunks];
                offset += stored;
                FrameEntry { offset: offset - stored, stored, data_key, ids }
            })
            .collect();
        let bytes = pack::encode_trailer(CIPHER, REPOSITORY, &KEY, SALT_BYTES, &PACK, &frames).unwrap();
        let (sealed, footer) = bytes.split_at(bytes.len() - pack::FOOTER);
        prop_assert_eq!(pack::decode_footer(footer), Ok(sealed.len() as u32));
        let chunks = frames.iter().map(|f| f.ids.len()).sum();
        prop_assert_eq!(sealed.len(), pack::trailer_length(frames.len(), chunks));
        let size = u64::from(offset) + bytes.len() as u64;
        let decode = |size| pack::decode_trailer(CIPHER, REPOSITORY, &KEY, &PACK, size, sealed);
        prop_assert_eq!(decode(size), Ok(frames));
        prop_assert!(decode(size + 1).is_err());
    }

    #[test]
    fn segments(segment in segment()) {
        let bytes = SEGMENTS.encode(&segment, || SALT_BYTES).unwrap();
        let found = SEGMENTS.decode(&bytes).unwrap();
        for entry in &segment.entries {
            prop_assert!(found.find(&entry.id).contains(entry));
        }
        prop_assert_eq!(found, segment);
    }

    #[test]
    fn object_keys(group in "[a-z.]{0,9}", resource in "[a-z]{1,9}", namespace in "[a-z0-9-]{0,9}", name in "[a-z0-9.:-]{1,9}") {
        let key = objects::object_key(&group, &resource, &namespace, &name);
        let parsed = objects::parse_key(&key).unwrap();
        prop_assert_eq!(parsed.to_bytes(), key.clone());
        prop_assert!(objects::resource_key(&group, &resource) < key);
        prop_assert_eq!((parsed.group, parsed.resource, parsed.namespace, parsed.name), (group, resource, namespace, name));
    }

    #[test]
    fn object_names(epoch: u64, id: [u8; 16], number: u32, key: u16) {
        let sid = SessionId(id);
        let stone = if number == 0 { 1 } else { number };
        let cases = [
            (layout::data_key(key), Object::DataKey(key)),
            (layout::epoch_stub(epoch), Object::EpochStub(epoch)),
            (layout::epoch_body(epoch, &id), Object::EpochBody(epoch)),
            (layout::segment(sid, number), Object::Segment(sid, number)),
            (layout::session(epoch, sid), Object::Session(epoch, sid)),
            (layout::heartbeat(epoch, sid, number), Object::Heartbeat(epoch, sid, number)),
            (layout::manifest(epoch, sid), Object::Manifest(epoch, sid)),
            (layout::tombstone(sid, stone), Object::Tombstone(sid, stone)),
            (layout::undo(sid, stone), Object::Undo(sid, stone)),
            (layout::claim(&sid.to_string(), number), Object::Claim(sid.to_string(), number)),
            (layout::restore(sid, number), Object::Restore(sid, number)),
            (layout::verify(sid), Object::Verify(sid)),
        ];
        for (key, object) in cases {
            prop_assert_eq!(layout::parse(&key), Some(object));
        }
    }
}

proptest! {
    // Large values are slow to make: fewer cases.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn leaves(keys in keys(1..=128usize), values in prop::collection::vec(value(), 128)) {
        let entries: Vec<_> = keys.into_iter().zip(values).collect();
        let mut builder = NodeBuilder::default();
        for (key, value) in &entries {
            builder.push_value(key, value);
        }
        prop_assert_eq!(builder.entries(), entries.len() as u64);
        prop_assert_eq!(decode_node(&builder.take(0)), Ok(Node::Leaf(entries)));
        prop_assert!(builder.is_empty());
    }

    #[test]
    fn inner_nodes(keys in keys(1..=128usize), level in 1u8..=40, ids in prop::collection::vec(chunk_id(), 128)) {
        let children: Vec<_> = keys
            .into_iter()
            .zip(ids)
            .map(|(key, id)| (key, Child { id, entries: 1 + u64::from(id.0[0]) }))
            .collect();
        let mut builder = NodeBuilder::default();
        for (key, child) in &children {
            builder.push_child(key, *child);
        }
        prop_assert_eq!(decode_node(&builder.take(level)), Ok(Node::Inner { level, children }));
    }
}
