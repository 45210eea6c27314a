//! Which packs are in the bucket, and what they say of themselves: their trailers, sealed like the index and written with the
//! pack.

use std::collections::{BTreeMap, HashMap};

use ark_format::PackName;
use ark_format::layout::{self, Object};
use ark_format::limits::PACK_MAX;
use ark_format::pack::{self, FOOTER, FrameEntry};
use ark_format::segment::PackRow;
use futures::stream::{self, BoxStream, StreamExt};

use crate::Result;
use crate::error::DamagedAt;
use crate::repository::Repository;

/// Trailers are read so many at once.
const FETCHES: usize = 8;

/// Read at once from the end of a pack: few trailers are longer.
const TAIL: u64 = 64 << 10;

/// The packs in the bucket.
#[derive(Default)]
pub(crate) struct ListedPacks {
    /// Their sizes.
    pub sizes: BTreeMap<PackName, u64>,
    /// When the store got them, by its clock, Unix ms.
    pub stored: HashMap<PackName, i64>,
}

/// A pack with its frames and chunks.
pub(crate) type Trailer = (PackRow, Vec<FrameEntry>);

impl Repository {
    /// The packs in the bucket.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn list_packs(&self) -> Result<ListedPacks> {
        let mut packs = ListedPacks::default();
        for object in self.store().list(layout::PACKS).await? {
            if let Some(Object::Pack(name)) = layout::parse(&object.key) {
                packs.sizes.insert(name, object.size);
                packs.stored.insert(name, object.modified_ms);
            }
        }
        Ok(packs)
    }

    /// The trailers of packs of these sizes, in this order, several read at once.
    pub(crate) fn trailers(
        &self,
        packs: impl IntoIterator<Item = (PackName, u64)>,
    ) -> BoxStream<'_, (PackName, Result<Trailer>)> {
        let reads: Vec<_> = packs
            .into_iter()
            .map(|(pack, size)| async move { (pack, self.read_trailer(&pack, size).await) })
            .collect();
        // Boxed: the compiler cannot see through it that the futures above are Send.
        stream::iter(reads).buffered(FETCHES).boxed()
    }

    /// The frames and chunks of a pack, from its authenticated trailer.
    ///
    /// # Errors
    /// [`crate::Error::Damaged`], or the store's.
    async fn read_trailer(&self, name: &PackName, size: u64) -> Result<Trailer> {
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
