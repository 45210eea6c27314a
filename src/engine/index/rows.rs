//! The entries of one segment, ready for look-ups.
//!
//! Few entries stay in memory. Many go to a file without a name, which only this process can reach and which ends with
//! it: written from what was authenticated, it needs no further check, and memory holds of it only one number a page
//! and a filter of nine bits a chunk that answers most questions for chunks which are not there without a read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ark_format::ChunkId;
use ark_format::segment::{ENTRY, Entry};
use xorf::{BinaryFuse8, Filter};

/// Entries up to this number stay in memory.
const MEMORY_ROWS: usize = 1 << 16;
/// Rows of a page: what one look-up reads.
const PAGE_ROWS: usize = 170;
const PAGE: usize = PAGE_ROWS * ENTRY;
/// Rows that a scan reads at once.
const SCAN_ROWS: usize = 4096;

/// Ascending entries.
#[derive(Debug)]
pub struct Rows {
    count: usize,
    held: Held,
}

enum Held {
    Memory(Vec<u8>),
    File {
        file: File,
        /// The start of the first id of each page.
        fences: Vec<u64>,
        /// `None` if it could not be built: then every question costs a read.
        filter: Option<BinaryFuse8>,
    },
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Held::Memory(_) => "in memory",
            Held::File { .. } => "in a file",
        })
    }
}

/// The first bytes of an id, in the order of ids.
fn prefix(row: &[u8]) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&row[..8]);
    u64::from_be_bytes(start)
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All entries of a chunk, each with its number.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, id: &ChunkId) -> io::Result<Vec<(usize, Entry)>> {
        let mut found = Vec::new();
        match &self.held {
            Held::Memory(bytes) => {
                let (mut low, mut high) = (0, self.count);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if bytes[middle * ENTRY..middle * ENTRY + 16] < id.0[..] {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                collect(&bytes[low * ENTRY..], low, id, &mut found);
            }
            Held::File {
                file,
                fences,
                filter,
            } => {
                let start = prefix(&id.0);
                if filter
                    .as_ref()
                    .is_some_and(|filter| !filter.contains(&start))
                {
                    return Ok(found);
                }
                let mut page = fences
                    .partition_point(|fence| *fence < start)
                    .saturating_sub(1);
                let mut buffer = [0; PAGE];
                while page * PAGE_ROWS < self.count {
                    let rows = PAGE_ROWS.min(self.count - page * PAGE_ROWS);
                    let buffer = &mut buffer[..rows * ENTRY];
                    file.read_exact_at(buffer, (page * PAGE) as u64)?;
                    if collect(buffer, page * PAGE_ROWS, id, &mut found) {
                        break;
                    }
                    page += 1;
                }
            }
        }
        Ok(found)
    }

    /// All entries in order.
    pub fn iter(&self) -> Scan<'_> {
        Scan {
            rows: self,
            next: 0,
            buffer: Vec::new(),
            at: 0,
        }
    }
}

/// Takes the entries of `id` from ascending rows; whether what follows them was seen.
fn collect(rows: &[u8], first: usize, id: &ChunkId, found: &mut Vec<(usize, Entry)>) -> bool {
    for (number, row) in rows.chunks_exact(ENTRY).enumerate() {
        match row[..16].cmp(&id.0[..]) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => {
                found.extend(Entry::from_row(row).map(|entry| (first + number, entry)));
            }
            std::cmp::Ordering::Greater => return true,
        }
    }
    false
}

/// Reads entries in order.
pub struct Scan<'a> {
    rows: &'a Rows,
    next: usize,
    buffer: Vec<u8>,
    at: usize,
}

impl Iterator for Scan<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        if self.next >= self.rows.count {
            return None;
        }
        let row = match &self.rows.held {
            Held::Memory(bytes) => &bytes[self.next * ENTRY..(self.next + 1) * ENTRY],
            Held::File { file, .. } => {
                if self.at >= self.buffer.len() {
                    let rows = SCAN_ROWS.min(self.rows.count - self.next);
                    self.buffer.resize(rows * ENTRY, 0);
                    self.at = 0;
                    let offset = (self.next * ENTRY) as u64;
                    if let Err(error) = file.read_exact_at(&mut self.buffer, offset) {
                        self.next = self.rows.count;
                        return Some(Err(error));
                    }
                }
                self.at += ENTRY;
                &self.buffer[self.at - ENTRY..self.at]
            }
        };
        self.next += 1;
        Entry::from_row(row).map(Ok)
    }
}

/// Takes ascending rows and decides where they stay.
pub struct RowsBuilder {
    folder: Option<PathBuf>,
    memory: Vec<u8>,
    file: Option<File>,
    count: usize,
    fences: Vec<u64>,
    /// What the filter of a file is made of.
    keys: Vec<u64>,
}

impl RowsBuilder {
    /// Rows whose file, if they need one, is in `folder`; without a folder all stay in memory. `expected` of them are said
    /// to come; that this is not so costs only time.
    pub fn new(folder: Option<&Path>, expected: u64) -> RowsBuilder {
        let expected = usize::try_from(expected).unwrap_or(MEMORY_ROWS);
        RowsBuilder {
            folder: folder.map(Path::to_owned),
            memory: Vec::with_capacity(expected.min(MEMORY_ROWS) * ENTRY),
            file: None,
            count: 0,
            fences: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// Adds whole rows.
    pub fn push(&mut self, rows: &[u8]) {
        for row in rows.chunks_exact(ENTRY) {
            if self.count.is_multiple_of(PAGE_ROWS) {
                self.fences.push(prefix(row));
            }
            self.count += 1;
        }
        if self.file.is_some() {
            self.note_keys(rows);
        }
        match &mut self.file {
            None => {
                self.memory.extend_from_slice(rows);
                if self.count > MEMORY_ROWS
                    && let Some(folder) = self.folder.take()
                {
                    let moved = std::fs::create_dir_all(&folder)
                        .and_then(|()| tempfile::tempfile_in(&folder))
                        .and_then(|mut file| {
                            file.write_all(&self.memory)?;
                            Ok(file)
                        });
                    match moved {
                        Ok(file) => {
                            let memory = std::mem::take(&mut self.memory);
                            self.note_keys(&memory);
                            self.file = Some(file);
                        }
                        Err(error) => tracing::debug!(%error, "the index stays in memory"),
                    }
                }
            }
            Some(file) => {
                if let Err(error) = file.write_all(rows) {
                    tracing::debug!(%error, "the index goes back to memory");
                    self.file_to_memory(rows);
                }
            }
        }
    }

    fn note_keys(&mut self, rows: &[u8]) {
        for row in rows.chunks_exact(ENTRY) {
            let key = prefix(row);
            if self.keys.last() != Some(&key) {
                self.keys.push(key);
            }
        }
    }

    /// A full disk is no reason to fail: what the file has is read back.
    fn file_to_memory(&mut self, rows: &[u8]) {
        let Some(mut file) = self.file.take() else {
            return;
        };
        let before = self.count * ENTRY - rows.len();
        let mut memory = Vec::with_capacity(self.count * ENTRY);
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(before as u64).read_to_end(&mut memory));
        // Short of rows, `finish` fails.
        if read.is_ok() {
            memory.extend_from_slice(rows);
        }
        self.memory = memory;
    }

    /// The rows.
    ///
    /// # Errors
    /// If what was put into the file could not be read back.
    pub fn finish(self) -> io::Result<Rows> {
        let held = match self.file {
            Some(file) => Held::File {
                file,
                filter: BinaryFuse8::try_from(self.keys.as_slice()).ok(),
                fences: self.fences,
            },
            None if self.memory.len() == self.count * ENTRY => {
                let mut memory = self.memory;
                memory.shrink_to_fit();
                Held::Memory(memory)
            }
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        Ok(Rows {
            count: self.count,
            held,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Ids in steps, some of them twice, so that runs of one id cross pages.
    fn entries(count: u64) -> Vec<Entry> {
        let id = |n: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(n / 3 * 0x0001_0003_0007_0001).to_be_bytes());
            ChunkId(id)
        };
        (0..count)
            .map(|n| Entry {
                id: id(n),
                pack: n as u32,
                frame: 1,
                slot: (n % 3) as u16,
            })
            .collect()
    }

    fn rows(entries: &[Entry], folder: Option<&Path>) -> Rows {
        let mut builder = RowsBuilder::new(folder, 0);
        for entries in entries.chunks(1000) {
            builder.push(&entries.iter().flat_map(Entry::to_row).collect::<Vec<u8>>());
        }
        builder.finish().unwrap()
    }

    #[test]
    fn a_file_answers_as_memory_does() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0, 1, 169, 170, 171, 65_536, 65_537, 100_000] {
            let entries = entries(count);
            let small = rows(&entries, None);
            let large = rows(&entries, Some(folder.path()));
            let in_file = matches!(large.held, Held::File { .. });
            assert_eq!(in_file, count as usize > MEMORY_ROWS);
            assert!(small.iter().map(Result::unwrap).eq(entries.iter().copied()));
            assert!(large.iter().map(Result::unwrap).eq(entries.iter().copied()));
            for (number, entry) in entries.iter().enumerate().step_by(37) {
                let found = large.find(&entry.id).unwrap();
                assert_eq!(found, small.find(&entry.id).unwrap());
                assert!(found.contains(&(number, *entry)));
                let mut absent = entry.id;
                absent.0[15] = 9;
                assert_eq!(large.find(&absent).unwrap(), []);
                assert_eq!(small.find(&absent).unwrap(), []);
            }
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "the files have no names");
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_only_memory() {
        let entries = entries(70_000);
        let rows = rows(&entries, Some(Path::new("/proc/nowhere")));
        assert!(matches!(rows.held, Held::Memory(_)));
        assert!(rows.iter().map(Result::unwrap).eq(entries.iter().copied()));
    }
}
