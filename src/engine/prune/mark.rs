//! Marking: which chunks the backups in force need.
//!
//! Each tree node is read once, whatever number of backups share it. A node that cannot be read hides what it needs, so
//! marking fails then, and with it the prune: nothing is deleted on the word of damage.
//!
//! Chunks of content lead nowhere, so they can wait: many are looked up in the order of the index, which is then read from one
//! end to the other and not all over the place. An index that does not fit into memory would else be read from disk a page
//! a chunk.

use std::collections::BTreeSet;

use ark_format::tree::{Child, Node, Root, Value};
use ark_format::{ChunkId, PackName};

use crate::index::Index;
use crate::read::Reader;
use crate::{Error, Result};

/// So many chunks wait to be looked up.
const WAITING: usize = 1 << 18;

/// The chunks that are needed: one bit for each entry of an index, set for the entry that is the chunk's own
/// ([`Index::home`]). So exactly one copy of each chunk keeps its pack.
#[derive(Clone, Debug)]
pub struct Marked {
    /// By segment, in the order of the index.
    bits: Vec<Vec<u64>>,
    /// Chunks that a backup needs and no segment has: damage, which verify explains.
    pub unknown: u64,
}

/// What marking a chunk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It was not marked before.
    Fresh,
    /// It was.
    Known,
    /// No segment has it.
    Unknown,
}

impl Marked {
    /// No chunk of `index` is needed.
    pub fn none(index: &Index) -> Marked {
        let segments = index.segments().iter();
        Marked {
            bits: segments
                .map(|l| vec![0; l.segment.rows.len().div_ceil(64)])
                .collect(),
            unknown: 0,
        }
    }

    /// Marks a chunk.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn insert(&mut self, index: &Index, id: &ChunkId) -> Result<Mark> {
        self.set(index.home(id)?)
    }

    fn set(&mut self, home: Option<(usize, usize)>) -> Result<Mark> {
        let Some((segment, row)) = home else {
            self.unknown += 1;
            return Ok(Mark::Unknown);
        };
        let Some(word) = self.bits.get_mut(segment).and_then(|b| b.get_mut(row / 64)) else {
            return Err(Error::Stopped);
        };
        let bit = 1 << (row % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        Ok(if fresh { Mark::Fresh } else { Mark::Known })
    }

    /// Marks what waits, in the order of the index.
    fn insert_all(&mut self, index: &Index, waiting: &mut Vec<ChunkId>) -> Result<()> {
        waiting.sort_unstable();
        waiting.dedup();
        for home in index.homes(waiting)? {
            self.set(home)?;
        }
        waiting.clear();
        Ok(())
    }

    /// Whether the entry is a needed chunk's own.
    pub fn contains(&self, segment: usize, row: usize) -> bool {
        self.bits
            .get(segment)
            .and_then(|bits| bits.get(row / 64))
            .is_some_and(|word| word & (1 << (row % 64)) != 0)
    }

    /// The packs that the needed chunks have as their own.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn packs(&self, index: &Index) -> Result<BTreeSet<PackName>> {
        let mut packs = BTreeSet::new();
        for (number, loaded) in index.segments().iter().enumerate() {
            for (row, entry) in loaded.segment.rows.iter().enumerate() {
                let entry = entry.map_err(Error::IndexCopy)?;
                if self.contains(number, row) {
                    let pack = loaded.segment.tables.packs.get(entry.pack as usize);
                    packs.extend(pack.map(|pack| pack.name));
                }
            }
        }
        Ok(packs)
    }
}

/// Marks everything below `roots`.
///
/// # Errors
/// [`Error::Damaged`] and the like for a node that cannot be read.
pub async fn mark(reader: &Reader, index: &Index, roots: &[Root]) -> Result<Marked> {
    let mut marked = Marked::none(index);
    let mut pending: Vec<(u8, Child)> = Vec::new();
    let mut waiting: Vec<ChunkId> = Vec::new();
    for root in roots {
        pending.push((
            root.level,
            Child {
                id: root.id,
                entries: root.entries,
            },
        ));
        while let Some((level, child)) = pending.pop() {
            match marked.insert(index, &child.id)? {
                Mark::Fresh => {}
                Mark::Known => continue,
                Mark::Unknown => {
                    return Err(Error::ChunkUnknown {
                        id: child.id.to_string(),
                    });
                }
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
                            Value::Chunk { id, .. } => waiting.push(id),
                            Value::List { chunks } => {
                                waiting.extend(chunks.into_iter().map(|(id, _)| id));
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
                    if waiting.len() >= WAITING {
                        marked.insert_all(index, &mut waiting)?;
                    }
                }
            }
        }
    }
    marked.insert_all(index, &mut waiting)?;
    Ok(marked)
}
