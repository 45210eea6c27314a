//! An index segment: where chunks are, sorted by id.
//!
//! Object: `"ARKINDX0" ‖ version u16 ‖ zero u16 ‖ blocks u32`, then the blocks: a stream cut every 64 KiB, each cut sealed by
//! itself (bound to the object's key, the header and its number), so that any part can be read alone and none can be
//! exchanged. Stream: `entries u64 ‖ packs u32 ‖ frames u32 ‖ pack rows (40) ‖ frame rows (12) ‖ entries (24) ‖ zeros (Padmé)`.
//!
//! Pack row: `session (16) ‖ sequence u32 ‖ class u8 ‖ zero (3) ‖ first frame row u32 ‖ frames u32 ‖ object size u64`.
//! Frame row: `offset u32 ‖ stored length u32 ‖ data key u16 ‖ chunks u16`. Entry: `id (16) ‖ pack u32 ‖ frame u16 ‖ slot u16`,
//! where frame counts within the pack; entries ascend strictly.

use crate::cursor::Cursor;
use crate::envelope::Kind;
use crate::id::PackClass;
use crate::keys::{Binding, Key};
use crate::limits::{
    FORMAT_VERSION, FRAME_CHUNKS_MAX, FRAME_STORED_MAX, PACK_FRAMES_MAX, PACK_MAX, SEGMENT_MAX,
};
use crate::padme::padded;
use crate::seal::{Cipher, OVERHEAD, SALT, open, seal};
use crate::{ChunkId, DecodeError, PackName, RepositoryId, SessionId};

const MAGIC: &[u8; 8] = b"ARKINDX0";
const HEADER: usize = 16;
/// Plaintext bytes of a block.
pub const BLOCK: usize = 64 << 10;
const HEAD: usize = 16;
const PACK_ROW: usize = 40;
const FRAME_ROW: usize = 12;
/// Bytes of an entry.
pub const ENTRY: usize = 24;

/// A pack of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// Its name.
    pub name: PackName,
    /// Its first row in the frame table.
    pub first_frame: u32,
    /// How many frames it has.
    pub frames: u32,
    /// The size of its object.
    pub size: u64,
}

/// A frame of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRow {
    /// Where it starts in its pack.
    pub offset: u32,
    /// Its sealed length.
    pub stored: u32,
    /// The data key's number.
    pub data_key: u16,
    /// How many chunks it holds.
    pub chunks: u16,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The chunk.
    pub id: ChunkId,
    /// Row in the pack table.
    pub pack: u32,
    /// Frame within the pack.
    pub frame: u16,
    /// Slot within the frame.
    pub slot: u16,
}

/// A whole index segment in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The pack table.
    pub packs: Vec<PackRow>,
    /// The frame table.
    pub frames: Vec<FrameRow>,
    /// The entries, ascending.
    pub entries: Vec<Entry>,
}

/// The keys and names that seal a segment.
#[derive(Clone, Copy)]
pub struct SegmentSealer<'a> {
    /// The repository's cipher.
    pub cipher: Cipher,
    /// The repository.
    pub repository: RepositoryId,
    /// The index key.
    pub key: &'a Key,
    /// The object's key.
    pub object_key: &'a str,
}

impl SegmentSealer<'_> {
    fn with_binding<T>(
        &self,
        header: &[u8],
        number: u32,
        act: impl FnOnce(&Binding<'_>) -> T,
    ) -> T {
        let number = number.to_le_bytes();
        let context = [self.object_key.as_bytes(), header, number.as_slice()];
        act(&Binding {
            repository: self.repository,
            kind: Kind::Segment,
            data_key: 0,
            context: &context,
        })
    }

    /// Encodes and seals a segment. `salt` gives a fresh salt for each block.
    pub fn encode(
        &self,
        segment: &Segment,
        salt: impl FnMut() -> [u8; SALT],
    ) -> Result<Vec<u8>, DecodeError> {
        let tables = Tables {
            packs: segment.packs.clone(),
            frames: segment.frames.clone(),
        };
        let entries = segment.entries.iter().copied();
        self.encode_rows(&tables, segment.entries.len() as u64, entries, salt)
    }

    /// Encodes and seals the segment of `count` entries as they come: nothing but the result is ever whole in memory.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] and the like if the entries do not ascend, do not fit the tables, or are not `count`.
    pub fn encode_rows(
        &self,
        tables: &Tables,
        count: u64,
        entries: impl IntoIterator<Item = Entry>,
        mut salt: impl FnMut() -> [u8; SALT],
    ) -> Result<Vec<u8>, DecodeError> {
        tables.check_tables()?;
        let content = HEAD as u64
            + (PACK_ROW * tables.packs.len() + FRAME_ROW * tables.frames.len()) as u64
            + ENTRY as u64 * count;
        let length = padded(content) as usize;
        let blocks = length.div_ceil(BLOCK);
        let mut out = Vec::with_capacity(HEADER + length + blocks * OVERHEAD);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(blocks as u32).to_le_bytes());
        let header = out.clone();
        let mut block = Vec::with_capacity(2 * BLOCK);
        let mut number = 0;
        let mut write = |bytes: &[u8], last: bool| -> Result<(), DecodeError> {
            block.extend_from_slice(bytes);
            while block.len() >= BLOCK || (last && !block.is_empty()) {
                let full = block.len().min(BLOCK);
                let sealed = self.with_binding(&header, number, |b| {
                    seal(self.cipher, self.key, salt(), b, &block[..full])
                })?;
                out.extend_from_slice(&sealed);
                block.drain(..full);
                number += 1;
            }
            Ok(())
        };
        write(&count.to_le_bytes(), false)?;
        write(&(tables.packs.len() as u32).to_le_bytes(), false)?;
        write(&(tables.frames.len() as u32).to_le_bytes(), false)?;
        for pack in &tables.packs {
            write(&pack.to_row(), false)?;
        }
        for frame in &tables.frames {
            write(&frame.to_row(), false)?;
        }
        let (mut before, mut written) = (None, 0);
        for entry in entries {
            tables.check(before.as_ref(), &entry)?;
            write(&entry.to_row(), false)?;
            before = Some(entry);
            written += 1;
        }
        if written != count {
            return Err(DecodeError::Invalid(
                "its entries are not as many as it says",
            ));
        }
        let zeros = [0; 4096];
        let mut left = length - content as usize;
        while left > 0 {
            let part = left.min(zeros.len());
            write(&zeros[..part], false)?;
            left -= part;
        }
        write(&[], true)?;
        Ok(out)
    }

    /// Opens and checks a segment.
    pub fn decode(&self, bytes: &[u8]) -> Result<Segment, DecodeError> {
        let mut entries = Vec::new();
        let tables = self.decode_rows(bytes, |rows| {
            entries.extend(rows.chunks_exact(ENTRY).filter_map(Entry::from_row));
        })?;
        Ok(Segment {
            packs: tables.packs,
            frames: tables.frames,
            entries,
        })
    }

    /// Opens and checks a segment block by block. `sink` gets its entries in order as they stand, whole rows of [`ENTRY`]
    /// bytes, so that whoever has no room for all of them at once can put them elsewhere. What it got counts for nothing
    /// if this fails.
    pub fn decode_rows(
        &self,
        bytes: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Tables, DecodeError> {
        if bytes.len() as u64 > SEGMENT_MAX {
            return Err(DecodeError::Limit {
                what: "segment size",
                found: bytes.len() as u64,
                limit: SEGMENT_MAX,
            });
        }
        let (header, mut rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(DecodeError::Truncated("the header"))?;
        let mut c = Cursor::new(header);
        if c.take(8, "the magic")? != MAGIC {
            return Err(DecodeError::Magic("an index segment"));
        }
        let version = c.u16("the version")?;
        if version != FORMAT_VERSION {
            return Err(DecodeError::Unknown {
                what: "segment version",
                found: version.into(),
            });
        }
        if c.u16("a reserved field")? != 0 {
            return Err(DecodeError::Invalid("a reserved field is not zero"));
        }
        let blocks = c.u32("the block count")?;
        let mut parser = Parser::new(bytes.len());
        for number in 0..blocks {
            let length = if number + 1 == blocks {
                rest.len()
            } else {
                BLOCK + OVERHEAD
            };
            let (block, tail) = rest
                .split_at_checked(length)
                .ok_or(DecodeError::Truncated("a block"))?;
            rest = tail;
            let plain =
                self.with_binding(header, number, |b| open(self.cipher, self.key, b, block))?;
            if plain.is_empty() || plain.len() > BLOCK {
                return Err(DecodeError::Invalid("a block is empty or over 64 KiB long"));
            }
            parser.feed(&plain, &mut sink)?;
        }
        if !rest.is_empty() {
            return Err(DecodeError::Trailing(rest.len()));
        }
        parser.finish()
    }
}

impl PackRow {
    fn to_row(self) -> [u8; PACK_ROW] {
        let mut row = [0; PACK_ROW];
        row[..16].copy_from_slice(&self.name.session.0);
        row[16..20].copy_from_slice(&self.name.sequence.to_le_bytes());
        row[20] = self.name.class.byte();
        row[24..28].copy_from_slice(&self.first_frame.to_le_bytes());
        row[28..32].copy_from_slice(&self.frames.to_le_bytes());
        row[32..].copy_from_slice(&self.size.to_le_bytes());
        row
    }
}

impl FrameRow {
    fn to_row(self) -> [u8; FRAME_ROW] {
        let mut row = [0; FRAME_ROW];
        row[..4].copy_from_slice(&self.offset.to_le_bytes());
        row[4..8].copy_from_slice(&self.stored.to_le_bytes());
        row[8..10].copy_from_slice(&self.data_key.to_le_bytes());
        row[10..].copy_from_slice(&self.chunks.to_le_bytes());
        row
    }
}

impl Entry {
    /// The entry of a row, as it stands in a segment; `None` if that is not [`ENTRY`] bytes long.
    pub fn from_row(row: &[u8]) -> Option<Entry> {
        let row: &[u8; ENTRY] = row.try_into().ok()?;
        let (id, rest) = row.split_first_chunk()?;
        let (pack, rest) = rest.split_first_chunk()?;
        let (frame, rest) = rest.split_first_chunk()?;
        Some(Entry {
            id: ChunkId(*id),
            pack: u32::from_le_bytes(*pack),
            frame: u16::from_le_bytes(*frame),
            slot: u16::from_le_bytes(rest.try_into().ok()?),
        })
    }

    /// Its row.
    pub fn to_row(&self) -> [u8; ENTRY] {
        let mut row = [0; ENTRY];
        row[..16].copy_from_slice(&self.id.0);
        row[16..20].copy_from_slice(&self.pack.to_le_bytes());
        row[20..22].copy_from_slice(&self.frame.to_le_bytes());
        row[22..].copy_from_slice(&self.slot.to_le_bytes());
        row
    }
}

/// What a segment's entries refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The pack table.
    pub packs: Vec<PackRow>,
    /// The frame table.
    pub frames: Vec<FrameRow>,
}

impl Tables {
    /// The frame of an entry.
    pub fn frame(&self, entry: &Entry) -> Option<&FrameRow> {
        frame_of(&self.packs, &self.frames, entry)
    }

    /// What an entry, and the order of two, must satisfy, so that look-ups need no checks.
    fn check(&self, before: Option<&Entry>, entry: &Entry) -> Result<(), DecodeError> {
        if before.is_some_and(|before| before >= entry) {
            return Err(DecodeError::Invalid("its entries do not ascend"));
        }
        let frame = self.frame(entry).ok_or(DecodeError::Invalid(
            "an entry names a pack or frame that is not there",
        ))?;
        if entry.slot >= frame.chunks {
            return Err(DecodeError::Invalid(
                "an entry names a slot that is not there",
            ));
        }
        Ok(())
    }

    /// Rows within the limits, and packs within the frame table.
    fn check_tables(&self) -> Result<(), DecodeError> {
        for frame in &self.frames {
            if frame.stored as usize > FRAME_STORED_MAX {
                return Err(DecodeError::Limit {
                    what: "frame length",
                    found: frame.stored.into(),
                    limit: FRAME_STORED_MAX as u64,
                });
            }
            if usize::from(frame.chunks) > FRAME_CHUNKS_MAX {
                return Err(DecodeError::Limit {
                    what: "chunks in a frame",
                    found: frame.chunks.into(),
                    limit: FRAME_CHUNKS_MAX as u64,
                });
            }
        }
        for pack in &self.packs {
            if pack.size > PACK_MAX {
                return Err(DecodeError::Limit {
                    what: "pack size",
                    found: pack.size,
                    limit: PACK_MAX,
                });
            }
            let end = u64::from(pack.first_frame) + u64::from(pack.frames);
            if end > self.frames.len() as u64 || pack.frames as usize > PACK_FRAMES_MAX {
                return Err(DecodeError::Invalid(
                    "a pack's frames are not in the frame table",
                ));
            }
        }
        Ok(())
    }

    fn parse(packs: &[u8], frames: &[u8]) -> Result<Tables, DecodeError> {
        let mut tables = Tables {
            packs: Vec::with_capacity(packs.len() / PACK_ROW),
            frames: Vec::with_capacity(frames.len() / FRAME_ROW),
        };
        for row in packs.chunks_exact(PACK_ROW) {
            let mut c = Cursor::new(row);
            let session = SessionId(c.array("a session")?);
            let sequence = c.u32("a sequence")?;
            let class = PackClass::from_byte(c.u8("a class")?)?;
            if c.array::<3>("a reserved field")? != [0; 3] {
                return Err(DecodeError::Invalid("a reserved field is not zero"));
            }
            tables.packs.push(PackRow {
                name: PackName {
                    session,
                    sequence,
                    class,
                },
                first_frame: c.u32("a frame row")?,
                frames: c.u32("a frame count")?,
                size: c.u64("a size")?,
            });
        }
        for row in frames.chunks_exact(FRAME_ROW) {
            let mut c = Cursor::new(row);
            tables.frames.push(FrameRow {
                offset: c.u32("an offset")?,
                stored: c.u32("a length")?,
                data_key: c.u16("a data key number")?,
                chunks: c.u16("a chunk count")?,
            });
        }
        tables.check_tables()?;
        Ok(tables)
    }
}

fn frame_of<'a>(packs: &[PackRow], frames: &'a [FrameRow], entry: &Entry) -> Option<&'a FrameRow> {
    let pack = packs.get(entry.pack as usize)?;
    if u32::from(entry.frame) >= pack.frames {
        return None;
    }
    frames.get(pack.first_frame as usize + usize::from(entry.frame))
}

/// Reads the stream as it comes. Holds what has no place yet: the tables until they are whole, then less than a row.
struct Parser {
    /// More than the stream can be long: no count may ask for more.
    bound: usize,
    held: Vec<u8>,
    /// Bytes of the stream so far, and bytes of it before its padding.
    seen: u64,
    content: u64,
    tables: Option<Tables>,
    entries: u64,
    last: Option<Entry>,
}

impl Parser {
    fn new(bound: usize) -> Parser {
        Parser {
            bound,
            held: Vec::new(),
            seen: 0,
            content: 0,
            tables: None,
            entries: 0,
            last: None,
        }
    }

    fn feed(&mut self, plain: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<(), DecodeError> {
        self.seen += plain.len() as u64;
        self.held.extend_from_slice(plain);
        if self.tables.is_none() && !self.start()? {
            return Ok(());
        }
        let Some(tables) = &self.tables else {
            return Ok(());
        };
        let rows =
            (self.held.len() / ENTRY).min(usize::try_from(self.entries).unwrap_or(usize::MAX));
        let rows = &self.held[..rows * ENTRY];
        for entry in rows.chunks_exact(ENTRY).filter_map(Entry::from_row) {
            tables.check(self.last.as_ref(), &entry)?;
            self.last = Some(entry);
        }
        sink(rows);
        let taken = rows.len();
        self.entries -= (taken / ENTRY) as u64;
        self.held.drain(..taken);
        if self.entries == 0 {
            if self.held.iter().any(|&byte| byte != 0) {
                return Err(DecodeError::Invalid(
                    "its padding is not as the format says",
                ));
            }
            self.held.clear();
        }
        Ok(())
    }

    /// Reads counts and tables once they are there.
    fn start(&mut self) -> Result<bool, DecodeError> {
        if self.held.len() < HEAD {
            return Ok(false);
        }
        let mut c = Cursor::new(&self.held);
        let entries = c.u64("the entry count")?;
        let packs = u64::from(c.u32("the pack count")?) * PACK_ROW as u64;
        let frames = u64::from(c.u32("the frame count")?) * FRAME_ROW as u64;
        // Each count is checked against the bytes that are there before anything is allocated for it.
        let content = entries
            .checked_mul(ENTRY as u64)
            .and_then(|rows| rows.checked_add(packs + frames + HEAD as u64))
            .filter(|content| *content <= self.bound as u64)
            .ok_or(DecodeError::Truncated("a table"))?;
        let end = (packs + frames) as usize;
        if self.held.len() - HEAD < end {
            return Ok(false);
        }
        let packs = c.take(packs as usize, "the pack table")?;
        let frames = c.take(frames as usize, "the frame table")?;
        self.tables = Some(Tables::parse(packs, frames)?);
        self.held.drain(..HEAD + end);
        self.entries = entries;
        self.content = content;
        Ok(true)
    }

    fn finish(self) -> Result<Tables, DecodeError> {
        let tables = self.tables.ok_or(DecodeError::Truncated("the tables"))?;
        if self.entries > 0 {
            return Err(DecodeError::Truncated("the entries"));
        }
        if self.seen != padded(self.content) {
            return Err(DecodeError::Invalid(
                "its padding is not as the format says",
            ));
        }
        Ok(tables)
    }
}

impl Segment {
    /// The frame of an entry.
    pub fn frame(&self, entry: &Entry) -> Option<&FrameRow> {
        frame_of(&self.packs, &self.frames, entry)
    }

    /// All entries of a chunk.
    pub fn find(&self, id: &ChunkId) -> &[Entry] {
        let start = self.entries.partition_point(|e| e.id < *id);
        let tail = &self.entries[start..];
        &tail[..tail.iter().take_while(|e| e.id == *id).count()]
    }
}
