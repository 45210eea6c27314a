//! One segment for several.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::PackName;
use ark_format::segment::{Entry, PackRow, Segment};

use super::{IndexSegment, Rows};
use crate::{Error, Result};

/// Segments are merged up to so many entries: a larger one would have to be held in memory to be written.
pub const MERGED_MAX: u64 = 1 << 20;

/// One segment that has what these have, without the dropped packs.
///
/// # Errors
/// [`Error::IndexCopy`].
pub fn merge(segments: &[&IndexSegment], dropped: &BTreeSet<PackName>) -> Result<Segment> {
    let mut merged = Segment::default();
    let mut taken: BTreeMap<PackName, u32> = BTreeMap::new();
    for segment in segments {
        let tables = &segment.tables;
        let mut map: Vec<Option<u32>> = Vec::with_capacity(tables.packs.len());
        for pack in &tables.packs {
            // A pack that an earlier segment listed too has the same frames there.
            if dropped.contains(&pack.name) || taken.contains_key(&pack.name) {
                map.push(None);
                continue;
            }
            let row = merged.packs.len() as u32;
            let first = pack.first_frame as usize;
            merged.packs.push(PackRow {
                first_frame: merged.frames.len() as u32,
                ..*pack
            });
            merged
                .frames
                .extend_from_slice(&tables.frames[first..first + pack.frames as usize]);
            taken.insert(pack.name, row);
            map.push(Some(row));
        }
        let rows: &Rows = &segment.rows;
        for entry in rows.iter() {
            let entry = entry.map_err(Error::IndexCopy)?;
            if let Some(Some(pack)) = map.get(entry.pack as usize) {
                merged.entries.push(Entry {
                    pack: *pack,
                    ..entry
                });
            }
        }
    }
    merged.entries.sort_unstable();
    merged.entries.dedup();
    Ok(merged)
}
