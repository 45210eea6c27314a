//! Reading a suspected pack: what can be read in it, and what cannot.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::limits::PACK_MAX;
use ark_format::segment::Segment;
use ark_format::{ChunkId, PackName, layout};
use bytes::Bytes;

use crate::index::{Index, IndexSegment, Loaded};
use crate::repository::Repository;
use crate::store::StoreError;
use crate::{Error, Result};

/// A frame as the index has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexedFrame {
    pub offset: u32,
    pub stored: u32,
    pub data_key: u16,
    /// All chunks that the index has in it, by slot.
    pub chunks: Vec<(u16, ChunkId)>,
}

/// The frames of a pack, by number.
pub(crate) type Frames = BTreeMap<u16, IndexedFrame>;

/// A pack that is to be taken out of force.
pub(crate) struct Suspect {
    /// What is wrong with it.
    pub what: String,
    /// What can be read in it.
    pub readable: Frames,
    /// Chunks that cannot.
    pub unreadable: Vec<ChunkId>,
}

impl Suspect {
    fn whole(what: impl ToString, frames: &Frames) -> Suspect {
        Suspect {
            what: what.to_string(),
            readable: Frames::new(),
            unreadable: frames
                .values()
                .flat_map(|f| f.chunks.iter().map(|(_, id)| *id))
                .collect(),
        }
    }

    /// How many chunks can be read.
    pub fn chunks(&self) -> usize {
        self.readable.values().map(|f| f.chunks.len()).sum()
    }

    fn has(&self, frame: u16, slot: u16) -> bool {
        self.readable
            .get(&frame)
            .is_some_and(|f| f.chunks.iter().any(|(s, _)| *s == slot))
    }
}

/// What the index has in these packs.
pub(crate) fn frames_of(
    index: &Index,
    packs: &BTreeSet<PackName>,
) -> Result<BTreeMap<PackName, Frames>> {
    let mut found: BTreeMap<PackName, Frames> =
        packs.iter().map(|name| (*name, Frames::new())).collect();
    for loaded in index.segments() {
        let tables = &loaded.segment.tables;
        if !tables.packs.iter().any(|row| packs.contains(&row.name)) {
            continue;
        }
        for entry in loaded.segment.rows.iter() {
            let entry = entry.map_err(Error::IndexCopy)?;
            let Some(row) = tables.packs.get(entry.pack as usize) else {
                continue;
            };
            let (Some(frames), Some(at)) = (found.get_mut(&row.name), tables.frame(&entry)) else {
                continue;
            };
            let frame = frames.entry(entry.frame).or_default();
            (frame.offset, frame.stored, frame.data_key) = (at.offset, at.stored, at.data_key);
            frame.chunks.push((entry.slot, entry.id));
        }
    }
    for frame in found.values_mut().flat_map(BTreeMap::values_mut) {
        frame.chunks.sort_unstable();
        frame.chunks.dedup();
    }
    Ok(found)
}

/// The index without what cannot be read in bad packs.
pub(super) fn without(
    index: &Index,
    bad: &BTreeMap<PackName, Suspect>,
    folder: Option<&Path>,
) -> Result<Index> {
    let mut segments = Vec::new();
    for loaded in index.segments() {
        let tables = &loaded.segment.tables;
        if !tables.packs.iter().any(|row| bad.contains_key(&row.name)) {
            segments.push(loaded.clone());
            continue;
        }
        let mut kept = Segment {
            packs: tables.packs.clone(),
            frames: tables.frames.clone(),
            entries: Vec::new(),
        };
        for entry in loaded.segment.rows.iter() {
            let entry = entry.map_err(Error::IndexCopy)?;
            let suspect = tables
                .packs
                .get(entry.pack as usize)
                .and_then(|row| bad.get(&row.name));
            if suspect.is_none_or(|s| s.has(entry.frame, entry.slot)) {
                kept.entries.push(entry);
            }
        }
        segments.push(Loaded {
            reference: loaded.reference.clone(),
            segment: Arc::new(IndexSegment::of(&kept, folder)?),
        });
    }
    Ok(Index::new(segments, HashSet::new()))
}

impl Repository {
    /// Reads a pack; `None` if it is sound.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn examine(&self, name: PackName, frames: Frames) -> Result<Option<Suspect>> {
        let key = layout::pack(&name);
        let bytes = match self.store().get_bounded(&key, PACK_MAX).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => {
                return Ok(Some(Suspect::whole("it is missing", &frames)));
            }
            Err(error @ (StoreError::Truncated { .. } | StoreError::TooLarge { .. })) => {
                return Ok(Some(Suspect::whole(error, &frames)));
            }
            Err(error) => return Err(error.into()),
        };
        let what = match self.read_pack(&name, &bytes).await {
            Ok(check) => match (check.bad.first(), check.sealed.first()) {
                (None, None) => return Ok(None),
                (Some((frame, what)), _) => format!("frame {frame}: {what}"),
                (None, Some((frame, key))) => {
                    let key = layout::data_key(*key);
                    format!("frame {frame}: its key {key} is lost")
                }
            },
            Err(Error::Damaged { source, .. }) => source.to_string(),
            Err(error) => return Err(error),
        };
        self.learn_data_keys(frames.values().map(|frame| frame.data_key).collect())
            .await?;
        let repository = self.clone();
        let judged = self
            .env()
            .pool
            .clone()
            .run(move || repository.judge_pack(name, what, &bytes, frames));
        Ok(Some(judged.await?))
    }

    fn judge_pack(&self, name: PackName, what: String, bytes: &Bytes, frames: Frames) -> Suspect {
        let mut suspect = Suspect {
            what,
            readable: Frames::new(),
            unreadable: Vec::new(),
        };
        let kind = match name.class {
            PackClass::Data => ChunkKind::Data,
            PackClass::Meta => ChunkKind::Tree,
        };
        for (number, frame) in frames {
            let decoded = bytes
                .get(frame.offset as usize..frame.offset as usize + frame.stored as usize)
                .zip(self.frame_sealer(name.class, frame.data_key).ok())
                .and_then(|(sealed, sealer)| sealer.decode(sealed).ok());
            let (readable, unreadable): (Vec<_>, Vec<_>) =
                frame.chunks.iter().copied().partition(|(slot, id)| {
                    decoded
                        .as_ref()
                        .and_then(|d| d.chunk(usize::from(*slot)))
                        .is_some_and(|chunk| self.key_set().chunk_id(kind, chunk) == *id)
                });
            suspect
                .unreadable
                .extend(unreadable.into_iter().map(|(_, id)| id));
            if !readable.is_empty() {
                let chunks = readable;
                suspect
                    .readable
                    .insert(number, IndexedFrame { chunks, ..frame });
            }
        }
        suspect
    }
}
