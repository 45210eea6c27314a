//! Content-defined chunking of large values: FastCDC (Xia et al., 2020) with a gear table that only the repository's
//! keys yield, so that chunk sizes do not tell what a file is by themselves.

use ark_format::KeySet;
use ark_format::config::ChunkSizes;
use fastcdc::v2020::{Normalization, cut_gear, select_masks};

/// Cuts byte strings where their content says.
#[derive(Clone)]
pub struct Chunker {
    sizes: ChunkSizes,
    mask_small: u64,
    mask_large: u64,
    gear: Box<[u64; 256]>,
    gear_shifted: Box<[u64; 256]>,
}

impl Chunker {
    /// The chunker of a repository.
    pub fn new(keys: &KeySet, sizes: ChunkSizes) -> Chunker {
        let (mask_small, mask_large) = select_masks(sizes.avg as usize, Normalization::Level1);
        let gear = keys.gear_table();
        let mut gear_shifted = gear.clone();
        for word in gear_shifted.iter_mut() {
            *word <<= 1;
        }
        Chunker {
            sizes,
            mask_small,
            mask_large,
            gear,
            gear_shifted,
        }
    }

    /// The chunks of `bytes`, in order; they concatenate to it.
    pub fn cut<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (_, end) = cut_gear(
                rest,
                self.sizes.min as usize,
                self.sizes.avg as usize,
                self.sizes.max as usize,
                self.mask_small,
                self.mask_large,
                self.mask_small << 1,
                self.mask_large << 1,
                self.gear.as_slice(),
                self.gear_shifted.as_slice(),
            );
            let (chunk, tail) = rest.split_at(end.clamp(1, rest.len()));
            rest = tail;
            Some(chunk)
        })
    }
}
