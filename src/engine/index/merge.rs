//! One segment for several, made row by row: nothing but its tables is ever whole in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::Path;

use ark_format::segment::{Entry, PackRow, Tables};
use ark_format::{ChunkId, PackName};

use super::{IndexSegment, RowsBuilder};
use crate::{Error, Result};

/// Segments are merged up to so many entries: a reader holds the object of a segment, and so many keys of its filter, in
/// memory while it opens it.
pub const MERGED_MAX: u64 = 1 << 18;

/// One segment that has what these have, without the dropped packs. Its rows, if many, go to a file in `folder`.
///
/// # Errors
/// [`Error::IndexCopy`].
pub fn merge(
    segments: &[&IndexSegment],
    dropped: &BTreeSet<PackName>,
    folder: Option<&Path>,
) -> Result<IndexSegment> {
    let mut tables = Tables::default();
    let mut taken: BTreeMap<PackName, u32> = BTreeMap::new();
    let mut sources = Vec::with_capacity(segments.len());
    for segment in segments {
        sources.push(Source {
            rows: segment.rows.iter(),
            packs: take_packs(&segment.tables, dropped, &mut taken, &mut tables),
        });
    }
    let mut waiting = BinaryHeap::new();
    for (number, source) in sources.iter_mut().enumerate() {
        waiting.extend(source.next()?.map(|entry| Reverse((entry, number))));
    }
    let mut rows = RowsBuilder::new(folder, 0);
    // Renumbering the packs can change the order among the entries of one chunk, of no others.
    let mut same: Vec<Entry> = Vec::new();
    let mut flush = |same: &mut Vec<Entry>| {
        same.sort_unstable();
        same.dedup();
        same.drain(..).for_each(|entry| rows.push(&entry.to_row()));
    };
    let mut current: Option<ChunkId> = None;
    while let Some(Reverse((entry, number))) = waiting.pop() {
        if current != Some(entry.id) {
            flush(&mut same);
            current = Some(entry.id);
        }
        same.push(entry);
        let next = sources.get_mut(number).map_or(Ok(None), Source::next)?;
        waiting.extend(next.map(|entry| Reverse((entry, number))));
    }
    flush(&mut same);
    Ok(IndexSegment {
        tables,
        rows: rows.finish().map_err(Error::IndexCopy)?,
    })
}

/// The entries of one segment that the result takes, with their packs' numbers there.
struct Source<'s> {
    rows: super::rows::Scan<'s>,
    packs: Vec<Option<u32>>,
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<Entry>> {
        for entry in self.rows.by_ref() {
            let entry = entry.map_err(Error::IndexCopy)?;
            if let Some(Some(pack)) = self.packs.get(entry.pack as usize) {
                let pack = *pack;
                return Ok(Some(Entry { pack, ..entry }));
            }
        }
        Ok(None)
    }
}

/// Adds the packs of a segment to `tables`; returns the number that each has there.
fn take_packs(
    segment: &Tables,
    dropped: &BTreeSet<PackName>,
    taken: &mut BTreeMap<PackName, u32>,
    tables: &mut Tables,
) -> Vec<Option<u32>> {
    let mut numbers = Vec::with_capacity(segment.packs.len());
    for pack in &segment.packs {
        if dropped.contains(&pack.name) {
            numbers.push(None);
            continue;
        }
        let first = pack.first_frame as usize;
        let frames = &segment.frames[first..first + pack.frames as usize];
        // Two segments that list a pack should say the same of it. If not one of them lies, and must not hide the other.
        if let Some(&number) = taken.get(&pack.name)
            && tables.packs.get(number as usize).is_some_and(|taken| {
                let first = taken.first_frame as usize;
                taken.size == pack.size
                    && tables.frames[first..first + taken.frames as usize] == *frames
            })
        {
            numbers.push(Some(number));
            continue;
        }
        let number = tables.packs.len() as u32;
        taken.insert(pack.name, number);
        numbers.push(Some(number));
        tables.packs.push(PackRow {
            first_frame: tables.frames.len() as u32,
            ..*pack
        });
        tables.frames.extend_from_slice(frames);
    }
    numbers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ark_format::SessionId;
    use ark_format::id::PackClass;
    use ark_format::segment::{FrameRow, Segment};

    use super::*;

    fn segment(frames: &[u16], entries: &[u8]) -> IndexSegment {
        let name = PackName {
            session: SessionId([1; 16]),
            sequence: 0,
            class: PackClass::Data,
        };
        let segment = Segment {
            packs: vec![PackRow {
                name,
                first_frame: 0,
                frames: frames.len() as u32,
                size: 1000,
            }],
            frames: frames
                .iter()
                .map(|chunks| FrameRow {
                    offset: 16,
                    stored: 100,
                    data_key: 1,
                    chunks: *chunks,
                })
                .collect(),
            entries: entries
                .iter()
                .map(|id| Entry {
                    id: ChunkId([*id; 16]),
                    pack: 0,
                    frame: 0,
                    slot: 0,
                })
                .collect(),
        };
        IndexSegment::of(&segment, None).unwrap()
    }

    #[test]
    fn a_segment_that_lies_about_a_pack_hides_no_entry_of_another_one() {
        let honest = segment(&[3], &[1, 2, 3]);
        for liar in [segment(&[], &[]), segment(&[3], &[]), segment(&[1], &[9])] {
            for segments in [[&liar, &honest], [&honest, &liar]] {
                let merged = merge(&segments, &BTreeSet::new(), None).unwrap();
                let places = |segment: &IndexSegment, id| -> Vec<_> {
                    let places = segment.places(&ChunkId([id; 16])).unwrap();
                    places.into_iter().map(|(_, place)| place).collect()
                };
                for id in [1, 2, 3] {
                    assert_eq!(places(&merged, id), places(&honest, id));
                }
            }
        }
        let twice = merge(&[&honest, &honest], &BTreeSet::new(), None).unwrap();
        assert_eq!((twice.rows.len(), twice.tables.packs.len()), (3, 1));
    }
}
