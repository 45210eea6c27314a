//! Rewriting packs: whole frames as they are, partly needed ones with what is needed of them.
//!
//! A frame is only ever cut down, never joined with another, so that what was kept apart stays apart.

use ark_format::ChunkId;
use ark_format::limits::PACK_MAX;
use ark_format::pack;
use ark_format::segment::{PackRow, Segment};
use ark_format::{layout, seal};

use super::plan::{Facts, PackLine, home};
use crate::error::DamagedAt;
use crate::packer::{Packer, SealedFrame};
use crate::repository::Repository;
use crate::{Error, Result};

/// zstd level of frames that are cut down.
const LEVEL: i32 = 3;

impl Repository {
    /// Copies what is needed of one pack into `packer`.
    pub(super) async fn repack(
        &self,
        facts: &Facts,
        line: &PackLine,
        packer: &Packer,
    ) -> Result<()> {
        let key = layout::pack(&line.pack);
        let bytes = self.store().get_bounded(&key, PACK_MAX).await?;
        pack::check_header(&line.pack, &bytes).at(&key)?;
        let (segment, row) = facts
            .index
            .segments()
            .iter()
            .find_map(|l| {
                l.segment
                    .packs
                    .iter()
                    .find(|p| p.name == line.pack)
                    .map(|p| (&l.segment, *p))
            })
            .ok_or_else(|| Error::Missing {
                object: key.clone(),
            })?;
        let needed = self.needed(facts, segment, &row);
        for (number, ids) in needed {
            let frame = segment.frames[row.first_frame as usize + usize::from(number)];
            let class = line.pack.class;
            let sealed = bytes
                .get(frame.offset as usize..(frame.offset + frame.stored) as usize)
                .ok_or(ark_format::DecodeError::Truncated("a frame"))
                .at(&key)?;
            let decoded = self
                .frame_sealer(class, frame.data_key)?
                .decode(sealed)
                .at(&key)?;
            // Read before it is copied: prune must not multiply damage.
            for (slot, id) in &ids {
                let kind = match class {
                    ark_format::id::PackClass::Data => ark_format::keys::ChunkKind::Data,
                    ark_format::id::PackClass::Meta => ark_format::keys::ChunkKind::Tree,
                };
                let chunk = decoded.chunk(usize::from(*slot)).unwrap_or_default();
                if self.key_set().chunk_id(kind, chunk) != *id {
                    return Err(Error::Damaged {
                        object: key,
                        source: ark_format::DecodeError::IdMismatch,
                    });
                }
            }
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
                    self.inner.write_key
                };
                let salt: [u8; seal::SALT] = self.env().salt();
                let chunks: Vec<&[u8]> = ids
                    .iter()
                    .filter_map(|(slot, _)| decoded.chunk(usize::from(*slot)))
                    .collect();
                let lengths: Vec<u32> = chunks.iter().map(|c| c.len() as u32).collect();
                let bytes = self
                    .frame_sealer(class, data_key)?
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

    /// The needed chunks of a pack by frame and slot.
    fn needed(
        &self,
        facts: &Facts,
        segment: &Segment,
        row: &PackRow,
    ) -> std::collections::BTreeMap<u16, Vec<(u16, ChunkId)>> {
        let mut frames: std::collections::BTreeMap<u16, Vec<(u16, ChunkId)>> =
            std::collections::BTreeMap::new();
        for entry in &segment.entries {
            let here = segment
                .packs
                .get(entry.pack as usize)
                .is_some_and(|p| p.name == row.name);
            if !here || !facts.marked.contains(&entry.id) {
                continue;
            }
            let is_home = home(&facts.index, &entry.id).is_some_and(|h| {
                h.pack == row.name && h.frame == entry.frame && h.slot == entry.slot
            });
            if is_home {
                frames
                    .entry(entry.frame)
                    .or_default()
                    .push((entry.slot, entry.id));
            }
        }
        for slots in frames.values_mut() {
            slots.sort_unstable();
        }
        frames
    }
}
