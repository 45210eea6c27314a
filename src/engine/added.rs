//! What a session has added to the index so far.
//!
//! The chunks of a large backup do not wait in memory for its end: once there are many, the packs that are in the store
//! get a segment. It counts for nobody until the manifest names it; if the session dies, prune removes it. The session
//! itself looks its own chunks up in it, as in any other.

use std::sync::{Arc, Mutex, PoisonError};

use ark_format::documents::SegmentRef;
use ark_format::{ChunkId, SessionId, layout};

use bytes::Bytes;

use crate::Result;
use crate::index::{IndexSegment, Loaded};
use crate::repository::Repository;

/// So many chunks are put into a segment while a backup still runs.
pub const SEGMENT_CHUNKS: usize = 1 << 18;

/// The segments of a session.
#[derive(Default)]
pub struct Added {
    segments: Mutex<Vec<Loaded>>,
    /// One is written at a time.
    writing: tokio::sync::Mutex<u32>,
}

impl Added {
    /// Whether a chunk is in one of them.
    ///
    /// # Errors
    /// [`crate::Error::IndexCopy`].
    pub fn has(&self, id: &ChunkId) -> Result<bool> {
        let segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        for loaded in segments.iter() {
            if !loaded.segment.places(id)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a segment. Its packs must be in the store.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn write(
        &self,
        repository: &Repository,
        session: SessionId,
        segment: IndexSegment,
    ) -> Result<()> {
        let mut number = self.writing.lock().await;
        let key = layout::segment(session, *number);
        let bytes = Bytes::from(repository.encode_segment(&key, &segment)?);
        let size = bytes.len() as u64;
        repository.create_segment(&key, bytes.clone()).await?;
        repository.inner.cache.put(&key, &bytes).await;
        self.segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Loaded {
                reference: segment.reference(session, *number, size),
                segment: Arc::new(segment),
            });
        *number += 1;
        Ok(())
    }

    /// All of them.
    pub fn loaded(&self) -> Vec<Loaded> {
        self.segments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the manifest must name.
    pub fn references(&self) -> Vec<SegmentRef> {
        let loaded = self.loaded();
        loaded.into_iter().map(|loaded| loaded.reference).collect()
    }
}
