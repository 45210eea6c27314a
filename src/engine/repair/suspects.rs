//! Reading a suspected pack: what can be read in it, and what cannot.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::limits::PACK_MAX;
use ark_format::segment::{Entry, FrameRow, Segment};
use ark_format::{ChunkId, PackName, layout};
use bytes::Bytes;

use crate::index::{Index, IndexSegment, Loaded};
use crate::repository::Repository;
use crate::store::StoreError;
use crate::{Error, Result};

/// A frame as a segment has it. Segments that say different things of one pack have different frames in it: none of them hides
/// what another one has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FramePlace {
    pub number: u16,
    pub offset: u32,
    pub stored: u32,
    pub data_key: u16,
}

impl FramePlace {
    fn of(entry: &Entry, row: &FrameRow) -> FramePlace {
        FramePlace {
            number: entry.frame,
            offset: row.offset,
            stored: row.stored,
            data_key: row.data_key,
        }
    }
}

/// The frames of a pack, each with all chunks that the index has in it, by slot.
pub(crate) type Frames = BTreeMap<FramePlace, Vec<(u16, ChunkId)>>;

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
                .flat_map(|chunks| chunks.iter().map(|(_, id)| *id))
                .collect(),
        }
    }

    /// How many chunks can be read.
    pub fn chunks(&self) -> usize {
        self.readable.values().map(Vec::len).sum()
    }

    fn has(&self, place: &FramePlace, slot: u16, id: ChunkId) -> bool {
        let chunks = self.readable.get(place);
        chunks.is_some_and(|chunks| chunks.contains(&(slot, id)))
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
            let chunks = frames.entry(FramePlace::of(&entry, at)).or_default();
            chunks.push((entry.slot, entry.id));
        }
    }
    for chunks in found.values_mut().flat_map(BTreeMap::values_mut) {
        chunks.sort_unstable();
        chunks.dedup();
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
            let place = tables.frame(&entry).map(|row| FramePlace::of(&entry, row));
            let has = |suspect: &Suspect| {
                place.is_some_and(|place| suspect.has(&place, entry.slot, entry.id))
            };
            if suspect.is_none_or(has) {
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
        self.learn_data_keys(frames.keys().map(|frame| frame.data_key).collect())
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
        for (frame, chunks) in frames {
            let decoded = bytes
                .get(frame.offset as usize..frame.offset as usize + frame.stored as usize)
                .zip(self.frame_sealer(name.class, frame.data_key).ok())
                .and_then(|(sealed, sealer)| sealer.decode(sealed).ok());
            let (readable, unreadable): (Vec<_>, Vec<_>) =
                chunks.iter().copied().partition(|(slot, id)| {
                    decoded
                        .as_ref()
                        .and_then(|d| d.chunk(usize::from(*slot)))
                        .is_some_and(|chunk| self.key_set().chunk_id(kind, chunk) == *id)
                });
            suspect
                .unreadable
                .extend(unreadable.into_iter().map(|(_, id)| id));
            if !readable.is_empty() {
                suspect.readable.insert(frame, readable);
            }
        }
        suspect
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ark_format::SessionId;
    use ark_format::documents::SegmentRef;
    use ark_format::segment::PackRow;

    use super::*;

    /// A segment that has one frame of one pack.
    fn loaded(pack: PackName, frame: FrameRow, ids: &[u8]) -> Loaded {
        let entry = |(slot, id): (u16, &u8)| Entry {
            id: ChunkId([*id; 16]),
            pack: 0,
            frame: 0,
            slot,
        };
        let segment = Segment {
            packs: vec![PackRow {
                name: pack,
                first_frame: 0,
                frames: 1,
                size: 1000,
            }],
            frames: vec![frame],
            entries: (0..).zip(ids).map(entry).collect(),
        };
        Loaded {
            reference: SegmentRef {
                session: pack.session,
                number: 0,
                size: 0,
                entries: 0,
            },
            segment: Arc::new(IndexSegment::of(&segment, None).unwrap()),
        }
    }

    #[test]
    fn what_one_segment_says_of_a_frame_does_not_hide_what_another_one_says() {
        let pack = PackName {
            session: SessionId([1; 16]),
            sequence: 0,
            class: PackClass::Data,
        };
        let frame = FrameRow {
            offset: 32,
            stored: 100,
            data_key: 1,
            chunks: 2,
        };
        let elsewhere = FrameRow {
            offset: 40,
            ..frame
        };
        let honest = loaded(pack, frame, &[1, 2]);
        let liar = loaded(pack, elsewhere, &[3, 4]);
        for segments in [[honest.clone(), liar.clone()], [liar, honest]] {
            let index = Index::new(segments.to_vec(), HashSet::new());
            let found = frames_of(&index, &BTreeSet::from([pack])).unwrap();
            let frames = &found[&pack];
            assert_eq!(frames.len(), 2, "{frames:?}");
            let readable = frames.iter().filter(|(place, _)| place.offset == 32);
            let readable: Frames = readable.map(|(p, c)| (*p, c.clone())).collect();
            assert_eq!(readable.values().map(Vec::len).sum::<usize>(), 2);
            let suspect = Suspect {
                what: String::new(),
                readable,
                unreadable: Vec::new(),
            };
            let clean = without(&index, &BTreeMap::from([(pack, suspect)]), None).unwrap();
            for (id, there) in [(1, true), (2, true), (3, false), (4, false)] {
                let places = clean.locate(&ChunkId([id; 16])).unwrap();
                assert_eq!(!places.is_empty(), there, "{id}");
            }
        }
    }
}
