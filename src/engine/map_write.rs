//! Writing an ordered Merkle map, streaming: entries come in ascending order, nodes go out as they fill.
//!
//! Memory is one open node per level. A node is closed when the next entry arrives, not before, so that a level whose
//! only node is the last one becomes the root without leaving orphans.

use ark_format::keys::ChunkKind;
use ark_format::limits::{KEY_MAX, VALUE_MAX};
use ark_format::tree::{Child, Dataset, NodeBuilder, Ranker, Root, Value};

use crate::write::{ChunkWriter, WriteSession};
use crate::{Error, Result};

#[derive(Default)]
struct Level {
    node: NodeBuilder,
    closed: u64,
}

/// Writes one map.
pub struct MapWriter {
    session: WriteSession,
    chunks: ChunkWriter,
    ranker: Ranker,
    levels: Vec<Level>,
    encoded: Vec<u8>,
}

impl MapWriter {
    pub(crate) fn new(session: WriteSession, chunks: ChunkWriter, dataset: Dataset) -> MapWriter {
        let ranker = Ranker::new(&session.repository().key_set().chunker, dataset);
        MapWriter {
            session,
            chunks,
            ranker,
            levels: vec![Level::default()],
            encoded: Vec::new(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`Error::KeyOrder`] if `key` is not above the last one, [`Error::TooLong`], or those of writing chunks.
    pub async fn push(&mut self, key: &[u8], value: &Value) -> Result<()> {
        if key.len() > KEY_MAX {
            return Err(Error::TooLong {
                what: "a key",
                length: key.len() as u64,
                limit: KEY_MAX as u64,
            });
        }
        self.encoded.clear();
        value.encode(&mut self.encoded);
        if self.encoded.len() > VALUE_MAX {
            let length = self.encoded.len() as u64;
            return Err(Error::TooLong {
                what: "a value",
                length,
                limit: VALUE_MAX as u64,
            });
        }
        let leaf = &self.levels[0];
        if (leaf.closed > 0 || !leaf.node.is_empty()) && key <= leaf.node.last_key() {
            return Err(Error::KeyOrder {
                key: String::from_utf8_lossy(key).into_owned(),
            });
        }
        self.make_room(0).await?;
        self.levels[0].node.push_value(key, value);
        Ok(())
    }

    /// Closes the open node of a level if its last key ends it, and the ones above that this ends in turn.
    async fn make_room(&mut self, level: usize) -> Result<()> {
        let mut full = level;
        while let Some(state) = self.levels.get(full) {
            let node = &state.node;
            if node.is_empty()
                || !self
                    .ranker
                    .ends_node(node.last_key(), full as u8, node.len())
            {
                break;
            }
            full += 1;
        }
        // From the top, so that each closed node finds room above it.
        for level in (level..full).rev() {
            self.close(level).await?;
        }
        Ok(())
    }

    /// Closes a level's open node and hands it to the level above.
    async fn close(&mut self, level: usize) -> Result<()> {
        let last_key = self.levels[level].node.last_key().to_vec();
        let child = self.store(level).await?;
        if self.levels.len() == level + 1 {
            self.levels.push(Level::default());
        }
        self.levels[level + 1].node.push_child(&last_key, child);
        Ok(())
    }

    async fn store(&mut self, level: usize) -> Result<Child> {
        let state = &mut self.levels[level];
        let entries = state.node.entries();
        let bytes = state.node.take(level as u8);
        state.closed += 1;
        let id = self
            .session
            .repository()
            .key_set()
            .chunk_id(ChunkKind::Tree, &bytes);
        self.chunks.put_chunk(id, &bytes).await?;
        Ok(Child { id, entries })
    }

    /// Closes the map; `None` if it is empty.
    ///
    /// # Errors
    /// Those of writing chunks.
    pub async fn finish(mut self) -> Result<Option<Root>> {
        if self.levels[0].node.is_empty() {
            self.chunks.finish().await?;
            return Ok(None);
        }
        let mut level = 0;
        let root = loop {
            if self.levels[level].closed == 0 {
                let child = self.store(level).await?;
                break Root {
                    id: child.id,
                    level: level as u8,
                    entries: child.entries,
                };
            }
            self.make_room(level + 1).await?;
            self.close(level).await?;
            level += 1;
        };
        self.chunks.finish().await?;
        Ok(Some(root))
    }
}
