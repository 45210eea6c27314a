//! Reading an ordered Merkle map: look-ups and range scans.

use std::collections::VecDeque;

use ark_format::ChunkId;
use ark_format::keys::ChunkKind;
use ark_format::tree::{Child, Node, Root, Value, decode_node};

use crate::error::DamagedAt;
use crate::read::Reader;
use crate::{Error, Result};

/// A map of the repository.
#[derive(Clone)]
pub struct MapReader {
    reader: Reader,
    root: Root,
}

impl MapReader {
    pub(crate) fn new(reader: Reader, root: Root) -> MapReader {
        MapReader { reader, root }
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.root.entries
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::ChunkUnknown`], or the store's.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let mut range = self.range(key, None);
        Ok(range
            .next()
            .await?
            .filter(|(found, _)| found == key)
            .map(|(_, value)| value))
    }

    /// The entries from `from` on, up to but without `to`.
    pub fn range(&self, from: &[u8], to: Option<&[u8]>) -> RangeReader {
        RangeReader {
            reader: self.reader.clone(),
            from: from.to_vec(),
            to: to.map(<[u8]>::to_vec),
            start: Some(self.root),
            stack: Vec::new(),
            entries: VecDeque::new(),
        }
    }
}

impl Reader {
    /// A tree node, which must be of `level`.
    pub(crate) async fn node(&self, id: ChunkId, level: u8) -> Result<Node> {
        let mut found = self.chunks(ChunkKind::Tree, vec![id]).await;
        let bytes = found
            .remove(&id)
            .unwrap_or_else(|| Err(Error::ChunkUnknown { id: id.to_string() }))?;
        let object = format!("tree node {id}");
        let node = decode_node(&bytes).at(&object)?;
        let found = match &node {
            Node::Leaf(_) => 0,
            Node::Inner { level, .. } => *level,
        };
        if found != level {
            return Err(Error::Damaged {
                object,
                source: ark_format::DecodeError::Invalid("a node is not of its parent's level"),
            });
        }
        Ok(node)
    }
}

/// A scan over a map.
pub struct RangeReader {
    reader: Reader,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    start: Option<Root>,
    /// Children still to visit, with their level; the next one last.
    stack: Vec<(u8, Child)>,
    entries: VecDeque<(Vec<u8>, Value)>,
}

impl RangeReader {
    /// The next entry.
    ///
    /// # Errors
    /// As [`MapReader::get`]. The scan cannot go on after an error.
    pub async fn next(&mut self) -> Result<Option<(Vec<u8>, Value)>> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                if self.to.as_ref().is_some_and(|to| entry.0 >= *to) {
                    self.stack.clear();
                    self.entries.clear();
                    return Ok(None);
                }
                return Ok(Some(entry));
            }
            let (level, child) = match (self.start.take(), self.stack.pop()) {
                (Some(root), _) => (
                    root.level,
                    Child {
                        id: root.id,
                        entries: root.entries,
                    },
                ),
                (None, Some(next)) => next,
                (None, None) => return Ok(None),
            };
            match self.reader.node(child.id, level).await? {
                Node::Leaf(entries) => {
                    self.entries
                        .extend(entries.into_iter().filter(|(key, _)| *key >= self.from));
                }
                Node::Inner { level, children } => {
                    // A child whose last key is below the start holds nothing of interest.
                    let wanted = children.into_iter().filter(|(last, _)| *last >= self.from);
                    let mut next: Vec<_> = wanted.map(|(_, child)| (level - 1, child)).collect();
                    next.reverse();
                    self.stack.append(&mut next);
                }
            }
        }
    }
}
