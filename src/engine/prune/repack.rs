//! Rewriting packs: whole frames as they are, partly needed ones with what is needed of them.
//!
//! A frame is only ever cut down, never joined with another, so that what was kept apart stays apart. A pack of which a
//! needed chunk cannot be read is left alone: rewriting it would condemn the only object that a repair can work on.

use std::collections::BTreeMap;

use ark_format::ChunkId;
use ark_format::frame::Frame;
use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::limits::PACK_MAX;
use ark_format::pack;
use ark_format::segment::FrameRow;
use ark_format::{PackName, layout, seal};

use super::mark::Marked;
use crate::added::SEGMENT_CHUNKS;
use crate::data_keys::{SealedWith, lost};
use crate::error::DamagedAt;
use crate::index::Index;
use crate::packer::{Packer, SealedFrame};
use crate::repository::Repository;
use crate::{Error, Result};

/// zstd level of frames that are cut down.
const LEVEL: i32 = 3;

impl Repository {
    /// Copies what is needed of one pack into `packer`. The keys of frames that are cut down are noted in `sealed_with`, to be
    /// confirmed before anybody relies on the copies.
    pub(crate) async fn repack(
        &self,
        index: &Index,
        name: &PackName,
        needed: Needed,
        packer: &Packer,
        sealed_with: &SealedWith,
    ) -> Result<()> {
        let key = layout::pack(name);
        let bytes = self.store().get_bounded(&key, PACK_MAX).await?;
        pack::check_header(name, &bytes).at(&key)?;
        let (segment, row) = index
            .segments()
            .iter()
            .find_map(|l| {
                l.segment
                    .tables
                    .packs
                    .iter()
                    .find(|p| p.name == *name)
                    .map(|p| (&l.segment, *p))
            })
            .ok_or_else(|| Error::Missing {
                object: key.clone(),
            })?;
        let class = name.class;
        // Another segment may list the pack, and lie about it.
        let frame_at = |number: u16| -> Result<FrameRow> {
            let place = row.first_frame as usize + usize::from(number);
            let frame = segment.tables.frames.get(place).copied();
            frame
                .filter(|_| u32::from(number) < row.frames)
                .ok_or(ark_format::DecodeError::Truncated("a frame"))
                .at(&key)
        };
        let frames = needed.keys().filter_map(|number| frame_at(*number).ok());
        let keys = frames.map(|frame| frame.data_key).collect();
        self.learn_data_keys(keys).await?;
        // Read before anything is copied: prune must not multiply damage, and a damaged pack is left as it is.
        for (number, ids) in &needed {
            let (_, decoded) = self.open_frame(class, &key, &bytes, &frame_at(*number)?)?;
            let kind = match class {
                PackClass::Data => ChunkKind::Data,
                PackClass::Meta => ChunkKind::Tree,
            };
            for (slot, id) in ids {
                let chunk = decoded.chunk(usize::from(*slot)).unwrap_or_default();
                if self.key_set().chunk_id(kind, chunk) != *id {
                    return Err(Error::Damaged {
                        object: key,
                        source: ark_format::DecodeError::IdMismatch,
                    });
                }
            }
        }
        for (number, ids) in needed {
            let frame = frame_at(number)?;
            let (sealed, decoded) = self.open_frame(class, &key, &bytes, &frame)?;
            let sealed = if ids.len() == decoded.len() {
                SealedFrame {
                    bytes: sealed.to_vec(),
                    data_key: frame.data_key,
                    ids: ids.into_iter().map(|(_, id)| id).collect(),
                }
            } else {
                let data_key = if frame.data_key == 0 {
                    0
                } else {
                    self.write_key().map_err(lost)?
                };
                let salt: [u8; seal::SALT] = self.env().salt();
                let chunks: Vec<&[u8]> = ids
                    .iter()
                    .filter_map(|(slot, _)| decoded.chunk(usize::from(*slot)))
                    .collect();
                let lengths: Vec<u32> = chunks.iter().map(|c| c.len() as u32).collect();
                let seal = self.frame_sealer(class, data_key)?;
                sealed_with.note(&seal);
                let bytes = seal
                    .encode(LEVEL, salt, &lengths, &chunks.concat())
                    .making(&key)?;
                SealedFrame {
                    bytes,
                    data_key,
                    ids: ids.into_iter().map(|(_, id)| id).collect(),
                }
            };
            packer.add(class, sealed).await?;
        }
        Ok(())
    }

    fn open_frame<'a>(
        &self,
        class: PackClass,
        key: &str,
        bytes: &'a [u8],
        frame: &FrameRow,
    ) -> Result<(&'a [u8], Frame)> {
        let sealed = bytes
            .get(frame.offset as usize..frame.offset as usize + frame.stored as usize)
            .ok_or(ark_format::DecodeError::Truncated("a frame"))
            .at(key)?;
        let sealer = self.frame_sealer(class, frame.data_key).map_err(lost)?;
        Ok((sealed, sealer.decode(sealed).at(key)?))
    }
}

/// What is needed of one pack: slot and chunk by frame.
pub(crate) type Needed = BTreeMap<u16, Vec<(u16, ChunkId)>>;

/// Packs to rewrite in portions: what is needed of one portion fits into memory.
pub(crate) fn batches<'a>(index: &Index, packs: &'a [PackName]) -> Vec<&'a [PackName]> {
    let mut chunks: BTreeMap<PackName, usize> = BTreeMap::new();
    for loaded in index.segments() {
        let tables = &loaded.segment.tables;
        for pack in &tables.packs {
            let first = pack.first_frame as usize;
            let frames = &tables.frames[first..first + pack.frames as usize];
            let count = frames.iter().map(|f| usize::from(f.chunks)).sum();
            chunks.insert(pack.name, count);
        }
    }
    let mut batches = Vec::new();
    let (mut start, mut total) = (0, 0);
    for (number, pack) in packs.iter().enumerate() {
        total += chunks.get(pack).copied().unwrap_or(0);
        if total >= SEGMENT_CHUNKS {
            batches.push(&packs[start..=number]);
            (start, total) = (number + 1, 0);
        }
    }
    if start < packs.len() {
        batches.push(&packs[start..]);
    }
    batches
}

/// What is needed of each of these packs, in one pass over the index.
///
/// # Errors
/// [`Error::IndexCopy`].
pub(crate) fn needed(
    index: &Index,
    marked: &Marked,
    packs: &[PackName],
) -> Result<BTreeMap<PackName, Needed>> {
    let mut packs: BTreeMap<PackName, Needed> =
        packs.iter().map(|pack| (*pack, Needed::new())).collect();
    for (number, loaded) in index.segments().iter().enumerate() {
        let segment = &loaded.segment;
        let wanted: Vec<Option<PackName>> = segment
            .tables
            .packs
            .iter()
            .map(|row| packs.contains_key(&row.name).then_some(row.name))
            .collect();
        if wanted.iter().all(Option::is_none) {
            continue;
        }
        for (row, entry) in segment.rows.iter().enumerate() {
            let entry = entry.map_err(Error::IndexCopy)?;
            let Some(Some(name)) = wanted.get(entry.pack as usize) else {
                continue;
            };
            if marked.contains(number, row)
                && let Some(frames) = packs.get_mut(name)
            {
                let slots = frames.entry(entry.frame).or_default();
                slots.push((entry.slot, entry.id));
            }
        }
    }
    for slots in packs.values_mut().flat_map(BTreeMap::values_mut) {
        slots.sort_unstable();
    }
    Ok(packs)
}
