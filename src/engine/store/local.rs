//! Folders of this machine.
//!
//! Reading and creating objects is the library's (staged file, fsync, hard link: a name appears
//! with all its bytes or not at all). Listing is done here, for three reasons: keys come in order,
//! so that the first one costs no walk over all; files that are not ours, with any name, are listed
//! instead of failing the listing; and what a killed process left half staged (`name#1`) is told
//! apart from objects.
//!
//! The folder is remembered by its device, inode and time of birth (inodes are used again). When a
//! disk is unmounted below a running ark, its mount point is another folder: that is reported, not
//! filled.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::ObjectInfo;
use super::error::{Cause, StoreError};

/// Folders below each other that a listing goes down. A repository has four.
const DEEPEST: usize = 32;

/// A file that a killed process left while it staged an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Path relative to the repository's folder.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its last change, milliseconds since 1970.
    pub modified_ms: i64,
}

/// The folder of a local store.
#[derive(Debug)]
pub(super) struct LocalRoot {
    path: PathBuf,
    identity: Identity,
}

impl LocalRoot {
    /// Opens an existing folder.
    pub(super) fn open(path: &Path, url: &str) -> Result<LocalRoot, StoreError> {
        let path = fs::canonicalize(path).map_err(|e| disk(url, "", &e))?;
        let metadata = fs::metadata(&path).map_err(|e| disk(url, "", &e))?;
        if !metadata.is_dir() {
            return Err(super::address::bad_url(url, "this is a file, not a folder"));
        }
        Ok(LocalRoot {
            path,
            identity: identity(&metadata),
        })
    }

    /// Creates the folder and what is missing above it, durably.
    pub(super) fn create(path: &Path, url: &str) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        let mut above = path;
        while !above.exists() {
            missing.push(above);
            match above.parent() {
                Some(parent) => above = parent,
                None => break,
            }
        }
        fs::create_dir_all(path).map_err(|e| disk(url, "", &e))?;
        for folder in missing.iter().copied().chain([above]) {
            sync(folder).map_err(|e| disk(url, "", &e))?;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if the folder is gone or is not the one that was opened.
    pub(super) fn check(&self, url: &str) -> Result<(), StoreError> {
        let metadata = fs::metadata(&self.path).map_err(|e| disk(url, "", &e))?;
        if identity(&metadata) == self.identity {
            return Ok(());
        }
        Err(StoreError::NoSuchLocation {
            url: url.to_owned(),
            what: "this is another folder than before: was its disk unmounted?".to_owned(),
        })
    }

    /// Makes an existing object durable: its bytes and its name.
    pub(super) fn sync_object(&self, key: &str) -> io::Result<()> {
        let path = self.path.join(key);
        sync(&path)?;
        path.parent().map_or(Ok(()), sync)
    }

    /// A walk over all objects below `prefix`, in the order of keys, one folder at a time.
    pub(super) fn walk(&self, prefix: &str) -> Walk {
        let start = self.path.join(prefix);
        Walk {
            key: Vec::new(),
            pending: vec![Entry {
                path: start,
                name: prefix.as_bytes().to_vec(),
                folder: true,
                depth: 0,
            }],
        }
    }

    /// The object with the first key below `prefix`. Of a folder with files only, as most are, no more is kept than that one
    /// name: what has been going on for years has thousands of epochs.
    pub(super) fn first(&self, prefix: &str, url: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let folder = self.path.join(prefix);
        let found = least_name(&folder).and_then(|name| {
            let metadata = present(fs::metadata(folder.join(&name))).ok()??;
            let key = Path::new(prefix).join(name).to_str()?.to_owned();
            metadata.is_file().then(|| ObjectInfo {
                key,
                size: metadata.len(),
                modified_ms: modified_ms(&metadata),
            })
        });
        match found {
            Some(found) => Ok(Some(found)),
            None => self.walk(prefix).next_object(url),
        }
    }

    /// Removes a half-staged file, and only such a file.
    pub(super) fn remove_leftover(&self, url: &str, path: &str) -> Result<(), StoreError> {
        if !is_staged(path.as_bytes()) {
            return Err(StoreError::Unsupported {
                url: url.to_owned(),
                what: format!("removing {path}, which is not a leftover"),
            });
        }
        present(fs::remove_file(self.path.join(path)))
            .map(|_| ())
            .map_err(|e| disk(url, path, &e))
    }

    /// Half-staged files anywhere in the folder.
    pub(super) fn leftovers(&self, url: &str) -> Result<Vec<Leftover>, StoreError> {
        let mut found = Vec::new();
        let mut walk = self.walk("");
        while let Some((key, path)) = walk.step(true).map_err(|e| disk(url, "", &e))? {
            if let Some(metadata) = present(fs::metadata(&path)).map_err(|e| disk(url, &key, &e))? {
                found.push(Leftover {
                    path: key,
                    size: metadata.len(),
                    modified_ms: modified_ms(&metadata),
                });
            }
        }
        Ok(found)
    }
}

type Identity = (u64, u64, Option<SystemTime>);

fn identity(metadata: &fs::Metadata) -> Identity {
    // Not every file system tells the time of birth.
    (metadata.dev(), metadata.ino(), metadata.created().ok())
}

struct Entry {
    path: PathBuf,
    name: Vec<u8>,
    folder: bool,
    depth: usize,
}

/// A depth-first walk that yields keys in byte order: the entries of a folder are sorted by name,
/// folders as if their name ended in `/`, and that is how the keys below them start.
pub(super) struct Walk {
    /// Names of the folders above, each with the depth it stands at.
    key: Vec<Vec<u8>>,
    pending: Vec<Entry>,
}

impl Walk {
    /// The next object, with its size and time.
    pub(super) fn next_object(&mut self, url: &str) -> Result<Option<ObjectInfo>, StoreError> {
        while let Some((key, path)) = self.step(false).map_err(|e| disk(url, "", &e))? {
            let metadata = present(fs::metadata(&path)).map_err(|e| disk(url, &key, &e))?;
            // Deleted meanwhile, a link to nowhere, a socket: not an object.
            if let Some(metadata) = metadata.filter(fs::Metadata::is_file) {
                return Ok(Some(ObjectInfo {
                    key,
                    size: metadata.len(),
                    modified_ms: modified_ms(&metadata),
                }));
            }
        }
        Ok(None)
    }

    /// The next file: a half-staged one, or any other.
    fn step(&mut self, staged: bool) -> io::Result<Option<(String, PathBuf)>> {
        while let Some(entry) = self.pending.pop() {
            self.key.truncate(entry.depth);
            if !entry.folder {
                if is_staged(&entry.name) != staged {
                    continue;
                }
                let mut key = self.key.concat();
                key.extend_from_slice(&entry.name);
                return Ok(Some((
                    String::from_utf8_lossy(&key).into_owned(),
                    entry.path,
                )));
            }
            let mut below = match fs::read_dir(&entry.path) {
                Ok(listing) => entries(listing, entry.depth + 1)?,
                Err(e) if is_absent(&e) => continue,
                Err(e) => return Err(e),
            };
            below.sort_unstable_by(|a, b| b.name.cmp(&a.name));
            let mut name = entry.name;
            if !name.is_empty() && !name.ends_with(b"/") {
                name.push(b'/');
            }
            self.key.push(name);
            self.pending.append(&mut below);
        }
        Ok(None)
    }
}

fn entries(listing: fs::ReadDir, depth: usize) -> io::Result<Vec<Entry>> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = Vec::new();
    for item in listing {
        let item = item?;
        let Some(kind) = present(item.file_type())? else {
            continue;
        };
        let mut name = OsStr::as_bytes(&item.file_name()).to_vec();
        if depth == 1 && name == b"lost+found" {
            // The file system's own, and closed to everybody but root.
            continue;
        }
        // A link to a folder is a folder (packs may live on another disk); the depth ends loops.
        let folder =
            depth < DEEPEST && (kind.is_dir() || (kind.is_symlink() && item.path().is_dir()));
        if folder {
            name.push(b'/');
        }
        found.push(Entry {
            path: item.path(),
            name,
            folder,
            depth,
        });
    }
    Ok(found)
}

/// The least name in a folder of nothing but files; `None` if that is not so, or could not be read.
fn least_name(folder: &Path) -> Option<OsString> {
    let mut least: Option<OsString> = None;
    for item in fs::read_dir(folder).ok()? {
        let item = item.ok()?;
        if !item.file_type().ok()?.is_file() {
            return None;
        }
        let name = item.file_name();
        if !is_staged(name.as_encoded_bytes()) && least.as_ref().is_none_or(|least| name < *least) {
            least = Some(name);
        }
    }
    least
}

/// The library stages `name` as `name#1`, `name#2`…
fn is_staged(name: &[u8]) -> bool {
    let mut parts = name.rsplitn(2, |byte| *byte == b'#');
    let digits = parts.next().unwrap_or_default();
    parts.next().is_some() && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn modified_ms(metadata: &fs::Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|time| {
        let passed = time.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(passed.as_millis()).ok()
    });
    since.unwrap_or(0)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a failure of the file system.
pub(super) fn disk(url: &str, key: &str, error: &io::Error) -> StoreError {
    let url = url.to_owned();
    let source = Cause::new(error.to_string());
    match error.kind() {
        io::ErrorKind::NotFound if key.is_empty() => StoreError::NoSuchLocation {
            url,
            what: "the folder does not exist".to_owned(),
        },
        io::ErrorKind::NotADirectory => StoreError::NoSuchLocation {
            url,
            what: "a part of the path is a file, not a folder".to_owned(),
        },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::PermissionDenied {
                url,
                key: key.to_owned(),
                code: None,
                source,
            }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full {
            url,
            key: key.to_owned(),
            source,
        },
        _ => StoreError::Other {
            url,
            key: key.to_owned(),
            source,
        },
    }
}
