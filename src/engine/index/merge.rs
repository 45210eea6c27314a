//! One segment for several, made row by row: nothing but its tables is ever whole in memory.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
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
    let mut taken: BTreeSet<PackName> = BTreeSet::new();
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
    let mut rows = RowsBuilder::new(folder);
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
    taken: &mut BTreeSet<PackName>,
    tables: &mut Tables,
) -> Vec<Option<u32>> {
    let mut numbers = Vec::with_capacity(segment.packs.len());
    for pack in &segment.packs {
        // A pack that an earlier segment listed too has the same frames there.
        if dropped.contains(&pack.name) || !taken.insert(pack.name) {
            numbers.push(None);
            continue;
        }
        numbers.push(Some(tables.packs.len() as u32));
        let first = pack.first_frame as usize;
        tables.packs.push(PackRow {
            first_frame: tables.frames.len() as u32,
            ..*pack
        });
        tables
            .frames
            .extend_from_slice(&segment.frames[first..first + pack.frames as usize]);
    }
    numbers
}
