//! What packs say of themselves: their trailers, sealed like the index and written with the pack.

use ark_format::limits::PACK_MAX;
use ark_format::pack::{self, FOOTER, FrameEntry};
use ark_format::segment::PackRow;
use ark_format::{PackName, layout};

use crate::Result;
use crate::error::DamagedAt;
use crate::repository::Repository;

/// Read at once from the end of a pack: few trailers are longer.
const TAIL: u64 = 64 << 10;

impl Repository {
    /// The frames and chunks of a pack, from its authenticated trailer.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`], or the store's.
    pub(crate) async fn read_trailer(
        &self,
        name: &PackName,
        size: u64,
    ) -> Result<(PackRow, Vec<FrameEntry>)> {
        let key = layout::pack(name);
        let short = ark_format::DecodeError::Truncated("the pack");
        // Before anything is read: the footer can say any length up to this.
        if size > PACK_MAX {
            let limit = ark_format::DecodeError::Limit {
                what: "pack size",
                found: size,
                limit: PACK_MAX,
            };
            return Err(limit).at(&key);
        }
        let start = size.saturating_sub(TAIL);
        let mut tail = self.store().get_range(&key, start..size).await?;
        let Some(footer) = tail.len().checked_sub(FOOTER) else {
            return Err(short).at(&key);
        };
        let length = u64::from(pack::decode_footer(&tail[footer..]).at(&key)?);
        let Some(begin) = (size - FOOTER as u64).checked_sub(length) else {
            return Err(short).at(&key);
        };
        if begin < start {
            tail = self.store().get_range(&key, begin..size).await?;
        }
        let sealed = &tail[tail.len() - FOOTER - length as usize..tail.len() - FOOTER];
        let frames = pack::decode_trailer(
            self.cipher(),
            self.id(),
            &self.key_set().index,
            name,
            size,
            sealed,
        )
        .at(&key)?;
        let row = PackRow {
            name: *name,
            first_frame: 0,
            frames: frames.len() as u32,
            size,
        };
        Ok((row, frames))
    }
}
