//! The repository's folder as the file system shows it: an account of what ark wrote that does not come from ark.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

/// The files of a folder, with their sizes.
#[derive(Clone, Default)]
pub struct Folder(BTreeMap<String, u64>);

/// What became of a folder.
#[derive(Clone, Default)]
pub struct Change {
    pub new_objects: usize,
    pub new_bytes: u64,
    pub gone_objects: usize,
    pub gone_bytes: u64,
    /// All that there is afterwards.
    pub total_bytes: u64,
}

impl Folder {
    /// Reads the names and sizes. A folder that does not exist is empty.
    pub fn read(root: &Path) -> anyhow::Result<Folder> {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            if !folder.is_dir() {
                continue;
            }
            let reading = || format!("reading {}", folder.display());
            for entry in fs::read_dir(&folder).with_context(reading)? {
                let entry = entry.with_context(reading)?;
                let meta = entry.metadata().with_context(reading)?;
                if meta.is_dir() {
                    folders.push(entry.path());
                } else if let Ok(name) = entry.path().strip_prefix(root)
                    // Room that a repository in a folder keeps free for prune.
                    && name != Path::new(ark_format::layout::RESERVE)
                {
                    files.insert(name.to_string_lossy().into_owned(), meta.len());
                }
            }
        }
        Ok(Folder(files))
    }

    /// What happened between an older state and this one.
    pub fn since(&self, before: &Folder) -> Change {
        let only = |a: &Folder, b: &Folder| {
            let sizes: Vec<u64> =
                a.0.iter()
                    .filter(|(name, _)| !b.0.contains_key(*name))
                    .map(|(_, size)| *size)
                    .collect();
            (sizes.len(), sizes.iter().sum())
        };
        let (new_objects, new_bytes) = only(self, before);
        let (gone_objects, gone_bytes) = only(before, self);
        Change {
            new_objects,
            new_bytes,
            gone_objects,
            gone_bytes,
            total_bytes: self.0.values().sum(),
        }
    }

    /// The largest file whose name starts so.
    pub fn largest(&self, prefix: &str) -> Option<(&str, u64)> {
        self.0
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .max_by_key(|(_, size)| **size)
            .map(|(name, size)| (name.as_str(), *size))
    }

    /// Files whose name starts so, and their bytes.
    pub fn count(&self, prefix: &str) -> (usize, u64) {
        let sizes: Vec<u64> = self
            .0
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, size)| *size)
            .collect();
        (sizes.len(), sizes.iter().sum())
    }
}

/// A byte of a file that was turned over, and can be put back.
pub struct Flipped {
    file: PathBuf,
    offset: u64,
    was: u8,
}

/// Turns over one bit of the byte at `offset`.
pub fn flip(file: &Path, offset: u64) -> anyhow::Result<Flipped> {
    let mut byte = [0];
    let mut open = fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    open.seek(SeekFrom::Start(offset))
        .and_then(|_| open.read_exact(&mut byte))
        .with_context(|| format!("reading {}", file.display()))?;
    let flipped = Flipped {
        file: file.to_owned(),
        offset,
        was: byte[0],
    };
    flipped.write(byte[0] ^ 0x10)?;
    Ok(flipped)
}

impl Flipped {
    /// Makes the file what it was.
    pub fn put_back(self) -> anyhow::Result<()> {
        self.write(self.was)
    }

    fn write(&self, byte: u8) -> anyhow::Result<()> {
        let writing = || format!("writing {}", self.file.display());
        let before = fs::metadata(&self.file).with_context(writing)?.len();
        let mut file = fs::OpenOptions::new()
            .write(true)
            .open(&self.file)
            .with_context(writing)?;
        file.seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.write_all(&[byte]))
            .with_context(writing)?;
        let after = fs::metadata(&self.file).with_context(writing)?.len();
        ensure!(before == after, "{} changed its size", self.file.display());
        Ok(())
    }
}
