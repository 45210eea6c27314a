//! A tar.gz that is written as its parts come, and is there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// An archive that is being written. Dropped before [`Archive::finish`], it leaves nothing.
pub struct Archive {
    /// None when it is finished.
    tar: Option<tar::Builder<GzEncoder<File>>>,
    part: PathBuf,
    path: PathBuf,
    /// When its files were written, Unix seconds.
    at: u64,
}

impl Archive {
    /// An archive that will be at `path`, where nothing may be. Nobody else may read it.
    ///
    /// # Errors
    /// If something is there, or nothing can be written.
    pub fn create(path: &Path, at: u64) -> io::Result<Archive> {
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        let gz = GzEncoder::new(file, Compression::default());
        Ok(Archive {
            tar: Some(tar::Builder::new(gz)),
            part,
            path: path.to_owned(),
            at,
        })
    }

    /// Adds a file. Its name must not lead out of the folder in which somebody unpacks the archive.
    ///
    /// # Errors
    /// If the name does, or it cannot be written.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let odd = |part: &str| matches!(part, "" | "." | "..") || part.contains(['\0', '\\']);
        if name.split('/').any(odd) {
            return Err(io::Error::other(format!("{name:?} is no name for a file")));
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.at);
        match &mut self.tar {
            Some(tar) => tar.append_data(&mut header, name, bytes),
            None => Ok(()),
        }
    }

    /// Ends it, and puts it where it belongs.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(tar) = self.tar.take() {
            let mut file = tar.into_inner()?.finish()?;
            file.flush()?;
            file.sync_all()?;
            // Not over something that came meanwhile.
            std::fs::hard_link(&self.part, &self.path)?;
            std::fs::remove_file(&self.part)?;
        }
        Ok(())
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.part.exists() {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let mut archive = Archive::create(&path, 1).unwrap();
        archive.add("x/y.json", b"{}").unwrap();
        drop(archive);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut archive = Archive::create(&path, 1).unwrap();
        let long = format!("x/{}.json", "n".repeat(250));
        archive.add(&long, b"{}").unwrap();
        for name in ["../x", "/x", "x//y", "x/./y", ""] {
            assert!(archive.add(name, b"").is_err(), "{name}");
        }
        archive.finish().unwrap();
        assert!(Archive::create(&path, 1).is_err(), "nothing is overwritten");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let gz = flate2::read::GzDecoder::new(File::open(&path).unwrap());
        let mut tar = tar::Archive::new(gz);
        let mut entries = tar.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_string_lossy(), long);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{}");
        drop(entry);
        assert!(entries.next().is_none());
    }
}
