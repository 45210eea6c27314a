//! Marking: which chunks the backups in force need.
//!
//! Each tree node is read once, whatever number of backups share it. A node that cannot be read hides what it needs, so
//! marking fails then, and with it the prune: nothing is deleted on the word of damage.

use ark_format::ChunkId;
use ark_format::tree::{Child, Node, Root, Value};

use crate::index::Index;
use crate::read::Reader;
use crate::{Error, Result};

/// A set of chunks: one bit for each chunk of an index.
#[derive(Clone, Debug)]
pub struct Marked {
    ids: Vec<ChunkId>,
    bits: Vec<u64>,
    /// Chunks that a backup needs and no segment has: damage, which verify explains.
    pub unknown: u64,
}

impl Marked {
    /// No chunk of `index` is needed.
    pub fn none(index: &Index) -> Marked {
        let mut ids: Vec<ChunkId> = index
            .segments()
            .iter()
            .flat_map(|l| l.segment.entries.iter().map(|e| e.id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let bits = vec![0; ids.len().div_ceil(64)];
        Marked {
            ids,
            bits,
            unknown: 0,
        }
    }

    /// Marks a chunk; whether it was not marked before.
    pub fn insert(&mut self, id: &ChunkId) -> bool {
        match self.ids.binary_search(id) {
            Ok(n) => {
                let fresh = self.bits[n / 64] & (1 << (n % 64)) == 0;
                self.bits[n / 64] |= 1 << (n % 64);
                fresh
            }
            Err(_) => {
                self.unknown += 1;
                true
            }
        }
    }

    /// Whether a chunk is needed.
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.ids
            .binary_search(id)
            .is_ok_and(|n| self.bits[n / 64] & (1 << (n % 64)) != 0)
    }
}

/// Marks everything below `roots`.
///
/// # Errors
/// [`Error::Damaged`] and the like for a node that cannot be read.
pub async fn mark(reader: &Reader, index: &Index, roots: &[Root]) -> Result<Marked> {
    let mut marked = Marked::none(index);
    let mut pending: Vec<(u8, Child)> = Vec::new();
    for root in roots {
        pending.push((
            root.level,
            Child {
                id: root.id,
                entries: root.entries,
            },
        ));
        while let Some((level, child)) = pending.pop() {
            if index.locate(&child.id).is_empty() {
                return Err(Error::ChunkUnknown {
                    id: child.id.to_string(),
                });
            }
            if !marked.insert(&child.id) {
                continue;
            }
            match reader.node(child.id, level).await? {
                Node::Inner { level, children } => {
                    pending.extend(
                        children
                            .into_iter()
                            .rev()
                            .map(|(_, child)| (level - 1, child)),
                    );
                }
                Node::Leaf(entries) => {
                    for (_, value) in entries {
                        match value {
                            Value::Inline(_) => {}
                            Value::Chunk { id, .. } => {
                                marked.insert(&id);
                            }
                            Value::List { chunks } => {
                                for (id, _) in chunks {
                                    marked.insert(&id);
                                }
                            }
                            Value::Map { root, .. } => {
                                pending.push((
                                    root.level,
                                    Child {
                                        id: root.id,
                                        entries: root.entries,
                                    },
                                ));
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(marked)
}
