//! Nodes of the ordered Merkle map, and the rule that cuts them.
//!
//! A map is a sequence of (key, value), keys ascending by bytes. Level 0 nodes (leaves) hold the entries; a node of
//! level n + 1 holds (last key, child) of nodes of level n. The rank of a key is the number of leading groups of 4 zero
//! bits of a keyed hash of it; a key of rank > n ends its node at level n. Boundaries thus depend on keys alone: a
//! changed value rewrites only the nodes on its path, and equal content gives equal nodes, whoever wrote it. A node also
//! ends after 128 entries. The root is the only node of its level.
//!
//! Node: `level u8 ‖ count varint ‖ keys ‖ values`. Key: `shared varint ‖ rest length varint ‖ rest`, shared with the key
//! before. Keys and values stand apart because ids do not compress and keys do.

use serde::{Deserialize, Serialize};

use crate::cursor::{Cursor, put_varint};
use crate::keys::{Key, derive};
use crate::limits::{CHUNK_MAX, KEY_MAX, NODE_ENTRIES_MAX, TREE_LEVELS_MAX, VALUE_MAX};
use crate::{ChunkId, DecodeError};

/// Most chunks that a value lists directly.
pub const LIST_MAX: usize = 32;

/// The root of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Root {
    /// The root node.
    pub id: ChunkId,
    /// Its level.
    pub level: u8,
    /// Entries in the whole map.
    pub entries: u64,
}

/// A value of a map: content, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The content itself.
    Inline(Vec<u8>),
    /// One chunk.
    Chunk {
        /// The chunk.
        id: ChunkId,
        /// Its length.
        len: u32,
    },
    /// Chunks one after the other: 2 to 32 of them.
    List {
        /// Chunk and length.
        chunks: Vec<(ChunkId, u32)>,
    },
    /// A map from big-endian u64 offsets to chunks.
    Map {
        /// Its root.
        root: Root,
        /// Length of the whole content.
        len: u64,
    },
}

impl Value {
    /// Length of the content in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Value::Inline(bytes) => bytes.len() as u64,
            Value::Chunk { len, .. } => u64::from(*len),
            Value::List { chunks } => chunks.iter().map(|(_, len)| u64::from(*len)).sum(),
            Value::Map { len, .. } => *len,
        }
    }

    /// Whether the content is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the value's encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Inline(bytes) => {
                out.push(0);
                put_varint(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Value::Chunk { id, len } => {
                out.push(1);
                out.extend_from_slice(&id.0);
                put_varint(out, u64::from(*len));
            }
            Value::List { chunks } => {
                out.push(2);
                out.push(chunks.len() as u8);
                for (id, len) in chunks {
                    out.extend_from_slice(&id.0);
                    put_varint(out, u64::from(*len));
                }
            }
            Value::Map { root, len } => {
                out.push(3);
                encode_root(root, out);
                put_varint(out, *len);
            }
        }
    }

    fn decode(c: &mut Cursor<'_>) -> Result<Value, DecodeError> {
        let before = c.rest().len();
        let value = Value::decode_any(c)?;
        let length = before - c.rest().len();
        if length > VALUE_MAX {
            return Err(DecodeError::Limit {
                what: "value",
                found: length as u64,
                limit: VALUE_MAX as u64,
            });
        }
        Ok(value)
    }

    fn decode_any(c: &mut Cursor<'_>) -> Result<Value, DecodeError> {
        match c.u8("a value's tag")? {
            0 => {
                let len = c.bounded("inline value", VALUE_MAX)?;
                Ok(Value::Inline(c.take(len, "an inline value")?.to_vec()))
            }
            1 => {
                let (id, len) = decode_chunk(c)?;
                Ok(Value::Chunk { id, len })
            }
            2 => {
                let count = usize::from(c.u8("a chunk count")?);
                if !(2..=LIST_MAX).contains(&count) {
                    return Err(DecodeError::Invalid(
                        "a value lists fewer than 2 or more than 32 chunks",
                    ));
                }
                let mut chunks = Vec::with_capacity(count);
                for _ in 0..count {
                    chunks.push(decode_chunk(c)?);
                }
                Ok(Value::List { chunks })
            }
            3 => Ok(Value::Map {
                root: decode_root(c)?,
                len: c.varint("a length")?,
            }),
            other => Err(DecodeError::Unknown {
                what: "value tag",
                found: other.into(),
            }),
        }
    }
}

fn decode_chunk(c: &mut Cursor<'_>) -> Result<(ChunkId, u32), DecodeError> {
    let id = ChunkId(c.array("a chunk id")?);
    Ok((id, c.bounded("chunk length", CHUNK_MAX)? as u32))
}

fn encode_root(root: &Root, out: &mut Vec<u8>) {
    out.extend_from_slice(&root.id.0);
    out.push(root.level);
    put_varint(out, root.entries);
}

fn decode_root(c: &mut Cursor<'_>) -> Result<Root, DecodeError> {
    let id = ChunkId(c.array("a node id")?);
    let level = c.u8("a level")?;
    if level > TREE_LEVELS_MAX {
        return Err(DecodeError::Limit {
            what: "tree level",
            found: level.into(),
            limit: TREE_LEVELS_MAX.into(),
        });
    }
    Ok(Root {
        id,
        level,
        entries: decode_entries(c)?,
    })
}

/// How many entries a map has: an empty map has no root.
fn decode_entries(c: &mut Cursor<'_>) -> Result<u64, DecodeError> {
    match c.varint("an entry count")? {
        0 => Err(DecodeError::Invalid("a node has no entries below it")),
        entries => Ok(entries),
    }
}

/// A child of an inner node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The node.
    pub id: ChunkId,
    /// Entries of the map below it.
    pub entries: u64,
}

/// A decoded node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Entries of the map.
    Leaf(Vec<(Vec<u8>, Value)>),
    /// Children with their last keys.
    Inner {
        /// At least 1.
        level: u8,
        /// Last key below, child.
        children: Vec<(Vec<u8>, Child)>,
    },
}

/// Builds the bytes of one node from entries pushed in order.
#[derive(Debug, Default)]
pub struct NodeBuilder {
    count: usize,
    entries: u64,
    keys: Vec<u8>,
    values: Vec<u8>,
    last: Vec<u8>,
}

impl NodeBuilder {
    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Entries of the map at or below this node.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The last key pushed.
    pub fn last_key(&self) -> &[u8] {
        &self.last
    }

    fn push_key(&mut self, key: &[u8]) {
        let shared = self
            .last
            .iter()
            .zip(key)
            .take_while(|(a, b)| a == b)
            .count();
        put_varint(&mut self.keys, shared as u64);
        put_varint(&mut self.keys, (key.len() - shared) as u64);
        self.keys.extend_from_slice(&key[shared..]);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.count += 1;
    }

    /// Adds an entry to a leaf.
    pub fn push_value(&mut self, key: &[u8], value: &Value) {
        self.push_key(key);
        value.encode(&mut self.values);
        self.entries += 1;
    }

    /// Adds a child to an inner node.
    pub fn push_child(&mut self, last_key: &[u8], child: Child) {
        self.push_key(last_key);
        self.values.extend_from_slice(&child.id.0);
        put_varint(&mut self.values, child.entries);
        self.entries += child.entries;
    }

    /// The node's bytes; the builder is empty again.
    pub fn take(&mut self, level: u8) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.keys.len() + self.values.len());
        out.push(level);
        put_varint(&mut out, self.count as u64);
        out.append(&mut self.keys);
        out.append(&mut self.values);
        *self = NodeBuilder::default();
        out
    }
}

/// Decodes a node and checks that its keys ascend strictly.
pub fn decode_node(bytes: &[u8]) -> Result<Node, DecodeError> {
    let mut c = Cursor::new(bytes);
    let level = c.u8("the level")?;
    if level > TREE_LEVELS_MAX {
        return Err(DecodeError::Limit {
            what: "tree level",
            found: level.into(),
            limit: TREE_LEVELS_MAX.into(),
        });
    }
    let count = c.bounded("entries of a node", NODE_ENTRIES_MAX)?;
    if count == 0 {
        return Err(DecodeError::Invalid("a node is empty"));
    }
    let mut keys: Vec<Vec<u8>> = Vec::with_capacity(count);
    for i in 0..count {
        let last = keys.last().map(Vec::as_slice).unwrap_or_default();
        let shared = c.bounded("shared key length", last.len())?;
        let rest = c.bounded("key length", KEY_MAX - shared)?;
        let mut key = Vec::with_capacity(shared + rest);
        key.extend_from_slice(&last[..shared]);
        key.extend_from_slice(c.take(rest, "a key")?);
        let maximal = shared == last.len() || key.get(shared) != last.get(shared);
        if i > 0 && key.as_slice() <= last {
            return Err(DecodeError::Invalid("a node's keys do not ascend"));
        }
        if !maximal {
            return Err(DecodeError::Invalid(
                "a key repeats bytes that it shares with the one before",
            ));
        }
        keys.push(key);
    }
    let node = if level == 0 {
        let mut entries = Vec::with_capacity(count);
        for key in keys {
            entries.push((key, Value::decode(&mut c)?));
        }
        Node::Leaf(entries)
    } else {
        let mut children = Vec::with_capacity(count);
        let mut sum = 0u64;
        for key in keys {
            let id = ChunkId(c.array("a child id")?);
            let entries = decode_entries(&mut c)?;
            sum = sum
                .checked_add(entries)
                .ok_or(DecodeError::Invalid("a node's entry counts exceed 64 bits"))?;
            children.push((key, Child { id, entries }));
        }
        Node::Inner { level, children }
    };
    c.end()?;
    Ok(node)
}

/// Which keyspace a map is: part of the boundary rule, so that equal keys of two kinds cut differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// API objects.
    Objects,
    /// Files of a volume.
    Files,
    /// Blocks of a device, and offsets within a large value.
    Blocks,
}

/// The rank of keys of one dataset.
#[derive(Clone)]
pub struct Ranker {
    key: Key,
}

impl Ranker {
    /// The rule of a repository (its chunker key) for a dataset.
    pub fn new(chunker: &Key, dataset: Dataset) -> Ranker {
        let context: &[u8] = match dataset {
            Dataset::Objects => b"objects",
            Dataset::Files => b"files",
            Dataset::Blocks => b"blocks",
        };
        Ranker {
            key: derive(chunker, b"ark 0 tree rank", context),
        }
    }

    /// Leading whole groups of 4 zero bits of BLAKE3 keyed with the rule.
    pub fn rank(&self, key: &[u8]) -> u8 {
        let hash = blake3::keyed_hash(&self.key, key);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        (u64::from_be_bytes(first).leading_zeros() / 4) as u8
    }

    /// Whether a node of `level` ends after `key`, given how many entries it has with it.
    pub fn ends_node(&self, key: &[u8], level: u8, entries: usize) -> bool {
        entries >= NODE_ENTRIES_MAX || self.rank(key) > level
    }
}
