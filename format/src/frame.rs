//! A frame: chunks compressed together and sealed as one unit.
//!
//! Sealed plaintext: `codec u8 ‖ raw length u32 ‖ body`. The body, decompressed, is `count u16 ‖ length u32 × count ‖ the
//! chunks`. Codec 0 is stored, 1 is one zstd frame, 255 is padding (the body is zero bytes, count is none). The seal
//! names the kind and the data key's number only, so that a frame may be copied into another pack as it is.

use crate::compression::{compress, decompress};
use crate::cursor::Cursor;
use crate::envelope::Kind;
use crate::keys::{Binding, Key};
use crate::limits::{CHUNK_MAX, FRAME_CHUNKS_MAX, FRAME_RAW_MAX};
use crate::seal::{Cipher, SALT, open, seal};
use crate::{DecodeError, RepositoryId};

const STORED: u8 = 0;
const ZSTD: u8 = 1;
const PADDING: u8 = 255;
const PREFIX: usize = 5;
/// What a padding frame costs beside its zeros.
pub const PADDING_OVERHEAD: usize = PREFIX + crate::seal::OVERHEAD;

/// The keys and names that seal the frames of one kind.
#[derive(Clone, Copy)]
pub struct FrameSealer<'a> {
    /// The repository's cipher.
    pub cipher: Cipher,
    /// The repository.
    pub repository: RepositoryId,
    /// [`Kind::DataFrame`] or [`Kind::TreeFrame`].
    pub kind: Kind,
    /// The numbered data key, or the tree key.
    pub key: &'a Key,
    /// The data key's number; 0 for tree frames.
    pub data_key: u16,
}

impl FrameSealer<'_> {
    fn binding(&self) -> Binding<'static> {
        Binding {
            repository: self.repository,
            kind: self.kind,
            data_key: self.data_key,
            context: &[],
        }
    }

    /// Compresses (at `level`) and seals the chunks whose lengths are `lengths` and whose bytes follow one another in
    /// `bytes`.
    pub fn encode(
        &self,
        level: i32,
        salt: [u8; SALT],
        lengths: &[u32],
        bytes: &[u8],
    ) -> Result<Vec<u8>, DecodeError> {
        let mut raw = Vec::with_capacity(2 + 4 * lengths.len() + bytes.len());
        raw.extend_from_slice(&(lengths.len() as u16).to_le_bytes());
        for length in lengths {
            raw.extend_from_slice(&length.to_le_bytes());
        }
        raw.extend_from_slice(bytes);
        check_lengths(lengths, bytes.len())?;
        let compressed = compress(&raw, level)?;
        let (codec, body) = match &compressed {
            Some(body) => (ZSTD, body),
            None => (STORED, &raw),
        };
        let mut plain = Vec::with_capacity(PREFIX + body.len());
        plain.push(codec);
        plain.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        plain.extend_from_slice(body);
        seal(self.cipher, self.key, salt, &self.binding(), &plain)
    }

    /// A frame without chunks whose sealed length is `PADDING_OVERHEAD + zeros`.
    pub fn padding(&self, salt: [u8; SALT], zeros: usize) -> Result<Vec<u8>, DecodeError> {
        let mut plain = vec![0; PREFIX + zeros];
        plain[0] = PADDING;
        seal(self.cipher, self.key, salt, &self.binding(), &plain)
    }

    /// Opens, decompresses and cuts a frame. Chunks are not hashed here: the caller knows their ids.
    pub fn decode(&self, sealed: &[u8]) -> Result<Frame, DecodeError> {
        let plain = open(self.cipher, self.key, &self.binding(), sealed)?;
        let mut c = Cursor::new(&plain);
        let codec = c.u8("the codec")?;
        let raw_length = c.u32("the raw length")? as usize;
        if raw_length > FRAME_RAW_MAX {
            return Err(DecodeError::Limit {
                what: "frame length",
                found: raw_length as u64,
                limit: FRAME_RAW_MAX as u64,
            });
        }
        let raw = match codec {
            STORED => c.rest().to_vec(),
            ZSTD => decompress(c.rest(), raw_length)?,
            PADDING if raw_length == 0 && c.rest().iter().all(|&b| b == 0) => {
                return Ok(Frame::default());
            }
            PADDING => return Err(DecodeError::Invalid("padding is not zero")),
            other => {
                return Err(DecodeError::Unknown {
                    what: "codec",
                    found: other.into(),
                });
            }
        };
        if raw.len() != raw_length {
            return Err(DecodeError::Invalid("a frame's length is not what it says"));
        }
        Frame::cut(raw)
    }
}

fn check_lengths(lengths: &[u32], total: usize) -> Result<(), DecodeError> {
    if lengths.is_empty() || lengths.len() > FRAME_CHUNKS_MAX {
        return Err(DecodeError::Limit {
            what: "chunks in a frame",
            found: lengths.len() as u64,
            limit: FRAME_CHUNKS_MAX as u64,
        });
    }
    let sum: u64 = lengths.iter().map(|&l| u64::from(l)).sum();
    if sum != total as u64 {
        return Err(DecodeError::Invalid(
            "the lengths of a frame's chunks do not add up",
        ));
    }
    if total > CHUNK_MAX {
        return Err(DecodeError::Limit {
            what: "frame",
            found: total as u64,
            limit: CHUNK_MAX as u64,
        });
    }
    Ok(())
}

/// A decoded frame: its chunks by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    raw: Vec<u8>,
    /// Ends of the chunks within `raw`; the first starts at `start`.
    ends: Vec<u32>,
    start: usize,
}

impl Frame {
    fn cut(raw: Vec<u8>) -> Result<Frame, DecodeError> {
        let mut c = Cursor::new(&raw);
        let count = usize::from(c.u16("the chunk count")?);
        let mut lengths = Vec::with_capacity(count.min(FRAME_CHUNKS_MAX));
        if count > FRAME_CHUNKS_MAX {
            return Err(DecodeError::Limit {
                what: "chunks in a frame",
                found: count as u64,
                limit: FRAME_CHUNKS_MAX as u64,
            });
        }
        for _ in 0..count {
            lengths.push(c.u32("a chunk length")?);
        }
        check_lengths(&lengths, c.rest().len())?;
        let start = raw.len() - c.rest().len();
        let mut end = start as u32;
        let ends = lengths
            .iter()
            .map(|length| {
                end += length;
                end
            })
            .collect();
        Ok(Frame { raw, ends, start })
    }

    /// How many chunks it holds; 0 for padding.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it is padding.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The chunk in a slot.
    pub fn chunk(&self, slot: usize) -> Option<&[u8]> {
        let end = *self.ends.get(slot)? as usize;
        let start = match slot {
            0 => self.start,
            _ => *self.ends.get(slot - 1)? as usize,
        };
        self.raw.get(start..end)
    }

    /// All chunks in order.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|slot| self.chunk(slot))
    }

    /// Bytes that it occupies in memory.
    pub fn memory(&self) -> usize {
        self.raw.capacity() + 4 * self.ends.capacity()
    }
}
