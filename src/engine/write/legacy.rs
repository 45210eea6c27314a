//! What backups that died have left: packs that no segment lists.
//!
//! Until a prune collects them, another backup of much the same content *adopts* those that it has use for, by listing them in
//! a segment of its own, instead of uploading the same again. It may do so with packs of sessions that were declared dead, under
//! the rules of the format (`View::may_adopt`); what is in them is told by their authenticated trailers. Where no session
//! was declared dead, which is nearly always, this costs no request.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ark_format::pack::FrameEntry;
use ark_format::segment::PackRow;
use ark_format::{ChunkId, PackName, SessionId};
use futures::stream::StreamExt;

use crate::added::{Added, SEGMENT_CHUNKS};
use crate::index::{IndexSegment, merge};
use crate::packer::build_segment;
use crate::repository::Repository;
use crate::store::StoreError;
use crate::view::View;
use crate::{Error, Result};

/// Packs that may be adopted.
#[derive(Default)]
pub(super) struct Legacy {
    segments: Vec<IndexSegment>,
    /// Those that the backup refers to.
    used: Mutex<BTreeSet<PackName>>,
}

impl Legacy {
    /// Whether one of the packs has the chunk. It will be adopted then.
    pub(super) fn take(&self, id: &ChunkId) -> Result<bool> {
        for segment in &self.segments {
            if let Some((_, place)) = segment.places(id)?.first() {
                let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
                used.insert(place.pack);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lists the packs that are used in segments of `session`.
    pub(super) async fn adopt(
        &self,
        repository: &Repository,
        session: SessionId,
        added: &Added,
    ) -> Result<()> {
        let used = self
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let folder = repository.inner.cache.folder();
        for segment in &self.segments {
            let packs = segment.tables.packs.iter().map(|row| row.name);
            let unused = packs.filter(|name| !used.contains(name)).collect();
            let kept = merge(&[segment], &unused, folder)?;
            if !kept.tables.packs.is_empty() {
                added.write(repository, session, kept).await?;
            }
        }
        Ok(())
    }

    fn add(&mut self, repository: &Repository, batch: &[(PackRow, Vec<FrameEntry>)]) -> Result<()> {
        let packs = batch.iter().map(|(row, frames)| (*row, frames.as_slice()));
        if let Some(segment) = build_segment(packs) {
            let folder = repository.inner.cache.folder();
            self.segments.push(IndexSegment::of(&segment, folder)?);
        }
        Ok(())
    }
}

impl Repository {
    /// What may be adopted under this view.
    pub(super) async fn legacy(&self, view: &View) -> Result<Legacy> {
        let mut legacy = Legacy::default();
        if view.declared_dead.is_empty() {
            return Ok(legacy);
        }
        let packs = self.list_packs().await?.sizes.into_iter();
        let mut trailers = self.trailers(packs.filter(|(name, _)| view.may_adopt(name)));
        let mut batch: Vec<(PackRow, Vec<FrameEntry>)> = Vec::new();
        let mut chunks = 0;
        while let Some((_, trailer)) = trailers.next().await {
            match trailer {
                Ok((row, frames)) => {
                    let keys: BTreeSet<u16> = frames.iter().map(|frame| frame.data_key).collect();
                    self.learn_data_keys(keys.clone()).await?;
                    if !self.lost_data_keys(&keys).is_empty() {
                        tracing::warn!(pack = %row.name, "a dead backup's pack cannot be adopted: its data key is lost");
                        continue;
                    }
                    chunks += frames.iter().map(|frame| frame.ids.len()).sum::<usize>();
                    batch.push((row, frames));
                }
                // What it holds is written again.
                Err(Error::Damaged { object, source }) => {
                    tracing::warn!(%object, %source, "a dead backup's pack cannot be adopted");
                }
                Err(Error::Store(StoreError::NotFound { .. } | StoreError::Truncated { .. })) => {}
                Err(error) => return Err(error),
            }
            if chunks >= SEGMENT_CHUNKS {
                legacy.add(self, &std::mem::take(&mut batch))?;
                chunks = 0;
            }
        }
        legacy.add(self, &batch)?;
        Ok(legacy)
    }
}
