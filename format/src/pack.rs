//! A pack: frames one after the other, and a sealed trailer that lists them.
//!
//! `header (32) ‖ frames ‖ sealed trailer ‖ trailer length u32 ‖ "ARKPEND0"`. Header: `"ARKPACK0" ‖ version u16 ‖ class u8 ‖
//! zero u8 ‖ sequence u32 ‖ session (16)`. Trailer: `frames u32 ‖ (stored length u32 ‖ data key u16 ‖ chunks u16) × frames ‖
//! id (16) × chunks`. Header, trailer length and the object's key are bound into the trailer's seal; frames authenticate
//! themselves, and their lengths, the trailer's and the fixed parts add up to the object's size: no byte is free.

use crate::cursor::Cursor;
use crate::envelope::Kind;
use crate::frame::PADDING_OVERHEAD;
use crate::id::PackClass;
use crate::keys::{Binding, Key};
use crate::limits::{
    FORMAT_VERSION, FRAME_CHUNKS_MAX, FRAME_STORED_MAX, PACK_FRAMES_MAX, PACK_MAX,
};
use crate::seal::{Cipher, OVERHEAD, SALT, open, seal};
use crate::{ChunkId, DecodeError, PackName, RepositoryId, SessionId, layout};

/// Bytes of the clear header.
pub const HEADER: usize = 32;
/// Bytes of the clear footer.
pub const FOOTER: usize = 12;
const MAGIC: &[u8; 8] = b"ARKPACK0";
const END: &[u8; 8] = b"ARKPEND0";

/// One frame as a trailer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameEntry {
    /// Where it starts in the pack.
    pub offset: u32,
    /// Its sealed length.
    pub stored: u32,
    /// The number of the data key; 0 for tree frames.
    pub data_key: u16,
    /// The ids of its chunks, by slot; none for padding.
    pub ids: Vec<ChunkId>,
}

/// The clear header of a pack.
pub fn header(name: &PackName) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(MAGIC);
    out[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[10] = name.class.byte();
    out[12..16].copy_from_slice(&name.sequence.to_le_bytes());
    out[16..].copy_from_slice(&name.session.0);
    out
}

/// Checks that `bytes` starts with the header of `name`.
pub fn check_header(name: &PackName, bytes: &[u8]) -> Result<(), DecodeError> {
    let found = bytes
        .first_chunk::<HEADER>()
        .ok_or(DecodeError::Truncated("the header"))?;
    if &found[..8] != MAGIC {
        return Err(DecodeError::Magic("a pack"));
    }
    let version = u16::from_le_bytes([found[8], found[9]]);
    if version != FORMAT_VERSION {
        return Err(DecodeError::Unknown {
            what: "pack version",
            found: version.into(),
        });
    }
    if found != &header(name) {
        return Err(DecodeError::Invalid("its header names another pack"));
    }
    Ok(())
}

/// The length of the sealed trailer for so many frames and chunks.
pub fn trailer_length(frames: usize, chunks: usize) -> usize {
    4 + 8 * frames + 16 * chunks + OVERHEAD
}

/// The sealed trailer and the footer for frames that follow one another from [`HEADER`] on.
pub fn encode_trailer(
    cipher: Cipher,
    repository: RepositoryId,
    index_key: &Key,
    salt: [u8; SALT],
    name: &PackName,
    frames: &[FrameEntry],
) -> Result<Vec<u8>, DecodeError> {
    let chunks = frames.iter().map(|f| f.ids.len()).sum();
    let mut plain = Vec::with_capacity(trailer_length(frames.len(), chunks));
    plain.extend_from_slice(&(frames.len() as u32).to_le_bytes());
    for frame in frames {
        plain.extend_from_slice(&frame.stored.to_le_bytes());
        plain.extend_from_slice(&frame.data_key.to_le_bytes());
        plain.extend_from_slice(&(frame.ids.len() as u16).to_le_bytes());
    }
    for id in frames.iter().flat_map(|f| &f.ids) {
        plain.extend_from_slice(&id.0);
    }
    let length = ((plain.len() + OVERHEAD) as u32).to_le_bytes();
    let key = layout::pack(name);
    let head = header(name);
    let context = [key.as_bytes(), head.as_slice(), length.as_slice()];
    let binding = Binding {
        repository,
        kind: Kind::Trailer,
        data_key: 0,
        context: &context,
    };
    let mut out = seal(cipher, index_key, salt, &binding, &plain)?;
    out.extend_from_slice(&length);
    out.extend_from_slice(END);
    Ok(out)
}

/// The length of the sealed trailer, from the footer.
pub fn decode_footer(footer: &[u8]) -> Result<u32, DecodeError> {
    let footer: &[u8; FOOTER] = footer
        .try_into()
        .map_err(|_| DecodeError::Truncated("the footer"))?;
    if &footer[4..] != END {
        return Err(DecodeError::Magic("the end of a pack"));
    }
    Ok(u32::from_le_bytes([
        footer[0], footer[1], footer[2], footer[3],
    ]))
}

/// Opens the trailer of the pack `name` whose object is `size` bytes long.
pub fn decode_trailer(
    cipher: Cipher,
    repository: RepositoryId,
    index_key: &Key,
    name: &PackName,
    size: u64,
    sealed: &[u8],
) -> Result<Vec<FrameEntry>, DecodeError> {
    if size > PACK_MAX {
        return Err(DecodeError::Limit {
            what: "pack size",
            found: size,
            limit: PACK_MAX,
        });
    }
    let length = (sealed.len() as u32).to_le_bytes();
    let key = layout::pack(name);
    let head = header(name);
    let context = [key.as_bytes(), head.as_slice(), length.as_slice()];
    let binding = Binding {
        repository,
        kind: Kind::Trailer,
        data_key: 0,
        context: &context,
    };
    let plain = open(cipher, index_key, &binding, sealed)?;
    let mut c = Cursor::new(&plain);
    let count = c.u32("the frame count")? as usize;
    if count > PACK_FRAMES_MAX {
        return Err(DecodeError::Limit {
            what: "frames in a pack",
            found: count as u64,
            limit: PACK_FRAMES_MAX as u64,
        });
    }
    let mut table = Cursor::new(c.take(8 * count, "the frame table")?);
    let mut offset = HEADER as u64;
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        let stored = table.u32("a frame length")?;
        let data_key = table.u16("a data key number")?;
        let chunks = usize::from(table.u16("a chunk count")?);
        if stored as usize > FRAME_STORED_MAX {
            return Err(DecodeError::Limit {
                what: "frame length",
                found: stored.into(),
                limit: FRAME_STORED_MAX as u64,
            });
        }
        if chunks > FRAME_CHUNKS_MAX {
            return Err(DecodeError::Limit {
                what: "chunks in a frame",
                found: chunks as u64,
                limit: FRAME_CHUNKS_MAX as u64,
            });
        }
        if (stored as usize) < PADDING_OVERHEAD {
            return Err(DecodeError::Invalid("a frame is shorter than any frame is"));
        }
        if (name.class == PackClass::Data) != (data_key != 0) {
            return Err(DecodeError::Invalid(
                "a data frame names no data key, or a tree frame does",
            ));
        }
        let ids = c
            .take(16 * chunks, "the chunk ids")?
            .as_chunks::<16>()
            .0
            .iter()
            .map(|id| ChunkId(*id))
            .collect();
        frames.push(FrameEntry {
            offset: offset as u32,
            stored,
            data_key,
            ids,
        });
        offset += u64::from(stored);
    }
    c.end()?;
    if offset + sealed.len() as u64 + FOOTER as u64 != size {
        return Err(DecodeError::Invalid(
            "the lengths of its parts do not add up to its size",
        ));
    }
    Ok(frames)
}

/// A pack name from a header, unauthenticated: for repair when an index is lost.
pub fn name_in_header(bytes: &[u8]) -> Result<PackName, DecodeError> {
    let mut c = Cursor::new(bytes);
    if c.take(8, "the magic")? != MAGIC {
        return Err(DecodeError::Magic("a pack"));
    }
    let version = c.u16("the version")?;
    if version != FORMAT_VERSION {
        return Err(DecodeError::Unknown {
            what: "pack version",
            found: version.into(),
        });
    }
    let class = PackClass::from_byte(c.u8("the class")?)?;
    if c.u8("a reserved field")? != 0 {
        return Err(DecodeError::Invalid("a reserved field is not zero"));
    }
    let sequence = c.u32("the sequence")?;
    Ok(PackName {
        session: SessionId(c.array("the session")?),
        sequence,
        class,
    })
}
