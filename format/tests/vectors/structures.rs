//! Frames, pack trailers, index segments, tree nodes and the rule that cuts them.

use ark_format::envelope::Kind;
use ark_format::frame::FrameSealer;
use ark_format::id::PackClass;
use ark_format::limits::NODE_ENTRIES_MAX;
use ark_format::pack::{self, FrameEntry};
use ark_format::segment::{Entry, FrameRow, PackRow, Segment, SegmentSealer};
use ark_format::tree::{Child, Dataset, Node, NodeBuilder, Ranker, Root, Value, decode_node};
use ark_format::{ChunkId, layout};
use serde_json::json;

use crate::Vector;
use crate::fixture::*;

pub fn vectors() -> Vec<Vector> {
    let mut list = frames();
    list.push(trailer());
    list.push(segment());
    list.extend(nodes());
    list.extend(rule());
    list
}

fn data_frame(key: &[u8; 32]) -> FrameSealer<'_> {
    FrameSealer {
        cipher: CIPHER,
        repository: REPOSITORY,
        kind: Kind::DataFrame,
        key,
        data_key: 1,
    }
}

fn frames() -> Vec<Vector> {
    let mut list = Vec::new();
    let long = "all work and no play makes ark a dull tool. ".repeat(5);
    for (name, chunks) in [
        (
            "frame, stored",
            vec!["chunk".to_owned(), String::new(), "another".to_owned()],
        ),
        ("frame, compressed", vec![long.clone(), long + "!"]),
    ] {
        let lengths: Vec<u32> = chunks.iter().map(|c| c.len() as u32).collect();
        let bytes = data_frame(&DATA_KEY)
            .encode(3, salt(name), &lengths, chunks.concat().as_bytes())
            .unwrap();
        let mut vector = Vector::new(
            name,
            "9",
            json!({
                "key": hex::encode(DATA_KEY), "data_key": 1, "salt": hex::encode(salt(name)), "chunks": chunks,
            }),
            bytes,
            move |found| {
                let frame = data_frame(&DATA_KEY).decode(found).unwrap();
                frame.chunks().eq(chunks.iter().map(String::as_bytes))
            },
        );
        vector.decode_only = name.ends_with("compressed");
        list.push(vector);
    }
    let tree = keys().tree;
    let sealer = FrameSealer {
        kind: Kind::TreeFrame,
        data_key: 0,
        ..data_frame(&tree)
    };
    let name = "frame, padding";
    list.push(Vector::new(
        name,
        "9",
        json!({"key": hex::encode(tree), "salt": hex::encode(salt(name)), "zeros": 7}),
        sealer.padding(salt(name), 7).unwrap(),
        move |found| {
            let sealer = FrameSealer {
                kind: Kind::TreeFrame,
                data_key: 0,
                ..data_frame(&tree)
            };
            sealer.decode(found).unwrap().is_empty()
        },
    ));
    list
}

fn trailer() -> Vector {
    let name = pack_name(PackClass::Data, 3);
    let frames = vec![
        FrameEntry {
            offset: 32,
            stored: 100,
            data_key: 1,
            ids: vec![ChunkId([1; 16]), ChunkId([2; 16])],
        },
        FrameEntry {
            offset: 132,
            stored: 45,
            data_key: 1,
            ids: Vec::new(),
        },
    ];
    let index = keys().index;
    let label = "pack trailer";
    let bytes =
        pack::encode_trailer(CIPHER, REPOSITORY, &index, salt(label), &name, &frames).unwrap();
    Vector::new(
        label,
        "10",
        json!({
            "object_key": layout::pack(&name), "header": hex::encode(pack::header(&name)),
            "index": hex::encode(index), "salt": hex::encode(salt(label)),
            "rows": [
                {"stored": 100, "data_key": 1, "ids": [ChunkId([1; 16]), ChunkId([2; 16])]},
                {"stored": 45, "data_key": 1, "ids": []},
            ],
            "note": "the bytes are the sealed trailer and the footer",
        }),
        bytes,
        move |found| {
            let (sealed, footer) = found.split_at(found.len() - pack::FOOTER);
            let size = 32 + 145 + found.len() as u64;
            pack::decode_footer(footer) == Ok(sealed.len() as u32)
                && pack::decode_trailer(CIPHER, REPOSITORY, &index, &name, size, sealed).as_ref()
                    == Ok(&frames)
        },
    )
}

fn segment() -> Vector {
    let row = |class, sequence, first_frame| PackRow {
        name: pack_name(class, sequence),
        first_frame,
        frames: 1,
        size: 1000,
    };
    let frame = |data_key| FrameRow {
        offset: 32,
        stored: 200,
        data_key,
        chunks: 2,
    };
    let entry = |byte, pack, slot| Entry {
        id: ChunkId([byte; 16]),
        pack,
        frame: 0,
        slot,
    };
    let segment = Segment {
        packs: vec![row(PackClass::Data, 0, 0), row(PackClass::Meta, 1, 1)],
        frames: vec![frame(1), frame(0)],
        entries: vec![
            entry(1, 1, 0),
            entry(2, 0, 0),
            entry(2, 0, 1),
            entry(3, 1, 1),
        ],
    };
    let index = keys().index;
    let key = layout::segment(session(), 0);
    let label = "index segment";
    let sealer = SegmentSealer {
        cipher: CIPHER,
        repository: REPOSITORY,
        key: &index,
        object_key: &key,
    };
    let bytes = sealer.encode(&segment, || salt(label)).unwrap();
    Vector::new(
        label,
        "11",
        json!({
            "object_key": key, "index": hex::encode(index), "salt": hex::encode(salt(label)),
            "packs": [
                {"object_key": layout::pack(&segment.packs[0].name), "first_frame": 0, "frames": 1, "size": 1000},
                {"object_key": layout::pack(&segment.packs[1].name), "first_frame": 1, "frames": 1, "size": 1000},
            ],
            "frames": [
                {"offset": 32, "stored": 200, "data_key": 1, "chunks": 2},
                {"offset": 32, "stored": 200, "data_key": 0, "chunks": 2},
            ],
            "entries": segment.entries.iter()
                .map(|e| json!({"id": e.id, "pack": e.pack, "frame": e.frame, "slot": e.slot}))
                .collect::<Vec<_>>(),
        }),
        bytes,
        move |found| {
            let sealer = SegmentSealer {
                cipher: CIPHER,
                repository: REPOSITORY,
                key: &index,
                object_key: &key,
            };
            sealer.decode(found).as_ref() == Ok(&segment)
        },
    )
}

fn nodes() -> Vec<Vector> {
    let id = |byte| ChunkId([byte; 16]);
    let entries: Vec<(Vec<u8>, Value)> = vec![
        (Vec::new(), Value::Inline(Vec::new())),
        (b"key/a".to_vec(), Value::Inline(b"inline".to_vec())),
        (
            b"key/b".to_vec(),
            Value::Chunk {
                id: id(1),
                len: 300,
            },
        ),
        (
            b"key/bc".to_vec(),
            Value::List {
                chunks: vec![(id(2), 65_536), (id(3), 1)],
            },
        ),
        (
            b"l".to_vec(),
            Value::Map {
                root: Root {
                    id: id(4),
                    level: 1,
                    entries: 33,
                },
                len: 1 << 40,
            },
        ),
    ];
    let mut builder = NodeBuilder::default();
    for (key, value) in &entries {
        builder.push_value(key, value);
    }
    let leaf = Node::Leaf(entries);
    let leaf_vector = Vector::new(
        "leaf",
        "12.1",
        json!({
            "keys": ["", "key/a", "key/b", "key/bc", "l"],
            "values": [
                {"inline": ""}, {"inline": "inline"}, {"chunk": id(1), "length": 300},
                {"list": [[id(2), 65_536], [id(3), 1]]},
                {"map": id(4), "level": 1, "entries": 33, "length": 1u64 << 40},
            ],
        }),
        builder.take(0),
        move |found| decode_node(found).as_ref() == Ok(&leaf),
    );
    let child = |byte, entries| Child {
        id: id(byte),
        entries,
    };
    let children = vec![
        (b"b".to_vec(), child(5, 16)),
        (b"bb".to_vec(), child(6, 200)),
    ];
    for (key, child) in &children {
        builder.push_child(key, *child);
    }
    let inner = Node::Inner { level: 1, children };
    let inner_vector = Vector::new(
        "inner node",
        "12.1",
        json!({"level": 1, "last_keys": ["b", "bb"], "children": [[id(5), 16], [id(6), 200]]}),
        builder.take(1),
        move |found| decode_node(found).as_ref() == Ok(&inner),
    );
    vec![leaf_vector, inner_vector]
}

/// Builds the tree of a map level by level, as the rule is written; hands every node to `store`.
pub fn build_map(
    dataset: Dataset,
    entries: &[(Vec<u8>, Value)],
    mut store: impl FnMut(&[u8]) -> ChunkId,
) -> Option<Root> {
    let ranker = Ranker::new(&keys().chunker, dataset);
    let mut level = 0u8;
    let mut children: Vec<(Vec<u8>, Child)> = Vec::new();
    loop {
        let mut nodes = Vec::new();
        let mut builder = NodeBuilder::default();
        let count = if level == 0 {
            entries.len()
        } else {
            children.len()
        };
        for i in 0..count {
            let key = if level == 0 {
                let (key, value) = &entries[i];
                builder.push_value(key, value);
                key
            } else {
                let (key, child) = &children[i];
                builder.push_child(key, *child);
                key
            };
            let ends = ranker.rank(key) > level || builder.len() == NODE_ENTRIES_MAX;
            assert_eq!(ends, ranker.ends_node(key, level, builder.len()));
            if ends || i + 1 == count {
                let below = builder.entries();
                let id = store(&builder.take(level));
                nodes.push((key.clone(), Child { id, entries: below }));
            }
        }
        match nodes.as_slice() {
            [] => return None,
            [(_, root)] => {
                return Some(Root {
                    id: root.id,
                    level,
                    entries: root.entries,
                });
            }
            _ => {}
        }
        children = nodes;
        level += 1;
    }
}

fn rule() -> Vec<Vector> {
    let chunker = keys().chunker;
    let mut list = Vec::new();
    for (name, kind, dataset) in [
        ("ranks, objects", "objects", Dataset::Objects),
        ("ranks, files", "files", Dataset::Files),
        ("ranks, blocks", "blocks", Dataset::Blocks),
    ] {
        let ranker = Ranker::new(&chunker, dataset);
        let ranks: Vec<u8> = (0u64..256).map(|n| ranker.rank(&n.to_be_bytes())).collect();
        list.push(Vector::one_way(
            name,
            "12.3",
            json!({
                "chunker": hex::encode(chunker), "kind": kind,
                "note": "a byte for the rank of each of the keys 0 to 255, as u64 big-endian",
            }),
            ranks,
        ));
    }
    let entries: Vec<(Vec<u8>, Value)> = (0u64..1000)
        .map(|n| (n.to_be_bytes().to_vec(), Value::Inline(vec![n as u8])))
        .collect();
    let keys = keys();
    let mut nodes = 0u32;
    let root = build_map(Dataset::Objects, &entries, |node| {
        nodes += 1;
        keys.chunk_id(ark_format::keys::ChunkKind::Tree, node)
    })
    .unwrap();
    list.push(Vector::one_way(
        "root of a map",
        "12.3",
        json!({
            "chunker": hex::encode(keys.chunker), "id_tree": hex::encode(keys.id_tree), "kind": "objects",
            "nodes": nodes, "level": root.level, "entries": root.entries,
            "note": "the map of the keys 0 to 999, as u64 big-endian, to their lowest byte, inline; the bytes are the root's id",
        }),
        root.id.0,
    ));
    list
}
