//! The places that count as their chunks' own, of many chunks at once.
//!
//! Where a large part of an index is asked for, reading it from one end to the other is much cheaper than a look-up a chunk:
//! each look-up asks the filter of every segment and reads a page. The answers are those of [`Index::home`].

use ark_format::ChunkId;

use super::{Index, Loaded, Standing};
use crate::{Error, Result};

/// Fewer chunks than one in so many are looked up one by one.
const SPARSE: u64 = 64;

/// The best place of a chunk so far.
#[derive(Clone, Copy)]
struct Best {
    standing: Standing,
    segment: u32,
    row: u32,
}

impl Index {
    /// [`Index::home`] of each of these chunks. They ascend, and none is there twice.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn homes(&self, ids: &[ChunkId]) -> Result<Vec<Option<(usize, usize)>>> {
        if (ids.len() as u64).saturating_mul(SPARSE) < self.chunks() {
            return ids.iter().map(|id| self.home(id)).collect();
        }
        let mut best: Vec<Option<Best>> = vec![None; ids.len()];
        // Places that only their names tell apart.
        let mut tied = Vec::new();
        for (number, loaded) in self.segments.iter().enumerate() {
            self.compare(number, loaded, ids, &mut best, &mut tied)?;
        }
        let homes = best.into_iter().map(|best| {
            let best = best?;
            Some((best.segment as usize, best.row as usize))
        });
        let mut homes: Vec<_> = homes.collect();
        for at in tied {
            if let (Some(home), Some(id)) = (homes.get_mut(at), ids.get(at)) {
                *home = self.home(id)?;
            }
        }
        Ok(homes)
    }

    /// Puts a segment's places where they are better than what was there.
    fn compare(
        &self,
        number: usize,
        loaded: &Loaded,
        ids: &[ChunkId],
        best: &mut [Option<Best>],
        tied: &mut Vec<usize>,
    ) -> Result<()> {
        let tables = &loaded.segment.tables;
        let packs: Vec<_> = tables.packs.iter().map(|row| row.name).collect();
        let standings: Vec<Standing> = packs.iter().map(|pack| self.standing(pack)).collect();
        let mut at = 0;
        for (row, entry) in loaded.segment.rows.iter().enumerate() {
            let entry = entry.map_err(Error::IndexCopy)?;
            while ids.get(at).is_some_and(|id| *id < entry.id) {
                at += 1;
            }
            let Some(id) = ids.get(at) else {
                break;
            };
            if *id != entry.id {
                continue;
            }
            let (Some(frame), Some(standing)) =
                (tables.frame(&entry), standings.get(entry.pack as usize))
            else {
                continue;
            };
            let found = Best {
                standing: standing.sealed_with(self.lost_keys.contains(&frame.data_key)),
                segment: number as u32,
                row: row as u32,
            };
            if let Some(place) = best.get_mut(at) {
                match place {
                    Some(known) if known.standing < found.standing => {}
                    Some(known) if known.standing == found.standing => tied.push(at),
                    _ => *place = Some(found),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeSet, HashMap, HashSet};
    use std::sync::Arc;

    use ark_format::documents::SegmentRef;
    use ark_format::id::PackClass;
    use ark_format::segment::{Entry, FrameRow, PackRow, Segment};
    use ark_format::{PackName, SessionId};
    use proptest::prelude::*;

    use super::*;
    use crate::index::IndexSegment;

    fn pack(number: u32) -> PackName {
        PackName {
            session: SessionId([1; 16]),
            sequence: number,
            class: PackClass::Data,
        }
    }

    fn id(number: u8) -> ChunkId {
        ChunkId([number; 16])
    }

    /// A segment of packs of one frame each, of which pack `n` is sealed with data key `n`.
    fn segment(number: u32, entries: &BTreeSet<(u8, u32)>) -> Loaded {
        let packs: BTreeSet<u32> = entries.iter().map(|(_, pack)| *pack).collect();
        let packs: Vec<u32> = packs.into_iter().collect();
        let rows = packs.iter().zip(0..).map(|(n, first_frame)| PackRow {
            name: pack(*n),
            first_frame,
            frames: 1,
            size: 1000,
        });
        let frames = packs.iter().map(|n| FrameRow {
            offset: 32,
            stored: 100,
            data_key: *n as u16,
            chunks: 300,
        });
        let mut entries: Vec<Entry> = entries
            .iter()
            .map(|(chunk, pack)| Entry {
                id: id(*chunk),
                pack: packs.iter().position(|n| n == pack).unwrap() as u32,
                frame: 0,
                slot: u16::from(*chunk),
            })
            .collect();
        entries.sort_unstable();
        let segment = Segment {
            packs: rows.collect(),
            frames: frames.collect(),
            entries,
        };
        let content = IndexSegment::of(&segment, None).unwrap();
        let session = SessionId([2; 16]);
        let reference: SegmentRef = content.reference(session, number, 0);
        Loaded {
            reference,
            segment: Arc::new(content),
        }
    }

    proptest! {
        #[test]
        fn many_chunks_have_the_homes_that_each_has(
            segments in prop::collection::vec(prop::collection::btree_set((0..40u8, 0..8u32), 0..60), 0..5),
            condemned in prop::collection::hash_set(0..8u32, 0..3),
            lost in prop::collection::btree_set(0..8u16, 0..3),
            stored in prop::option::of(prop::collection::hash_map(0..8u32, 0..3i64, 0..8)),
            asked in prop::collection::btree_set(0..44u8, 0..44),
        ) {
            let loaded = segments.iter().zip(0..).map(|(entries, n)| segment(n, entries));
            let condemned: HashSet<_> = condemned.into_iter().map(pack).collect();
            let mut index = Index::new(loaded.collect(), condemned).with_lost_keys(lost);
            if let Some(stored) = stored {
                let stored: HashMap<_, _> = stored.into_iter().map(|(n, at)| (pack(n), at)).collect();
                index = index.with_packs_stored(stored);
            }
            let asked: Vec<_> = asked.into_iter().map(id).collect();
            let one_by_one: Vec<_> = asked.iter().map(|id| index.home(id).unwrap()).collect();
            prop_assert_eq!(index.homes(&asked).unwrap(), one_by_one);
        }
    }
}
