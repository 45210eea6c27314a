//! A local copy of control objects: epoch bodies, manifests, index segments.
//!
//! It keeps the objects as they are in the bucket, sealed; they are write-once, so a copy is never stale, and each use
//! authenticates it again, so a changed copy is only a miss. A cache that cannot be written is no error.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::store::Store;
use crate::{Error, Result};

/// So many bytes of copies are read at once.
const AT_ONCE: u64 = 4 << 20;

/// Copies of the control objects of one repository.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
    rests: Arc<AtomicBool>,
}

/// A cache that rests.
#[derive(Debug)]
pub struct Rest(Arc<AtomicBool>);

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Cache {
    /// A cache in `folder`, or none.
    pub fn new(folder: Option<PathBuf>) -> Cache {
        Cache {
            folder,
            rests: Arc::default(),
        }
    }

    /// Where something may be written.
    pub fn folder(&self) -> Option<&Path> {
        let rests = self.rests.load(Ordering::Relaxed);
        self.folder.as_deref().filter(|_| !rests)
    }

    /// Whether what it keeps takes room where `other` is.
    pub fn shares_a_disk_with(&self, other: &Path) -> bool {
        let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
        let folder = self.folder.as_deref().and_then(device);
        folder.is_some() && folder == device(other)
    }

    /// Keeps nothing more until what it gives is dropped; what is there is used.
    pub fn rest(&self) -> Rest {
        self.rests.store(true, Ordering::Relaxed);
        Rest(Arc::clone(&self.rests))
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(key.replace('/', "_")))
    }

    /// The object, from the cache if it is there with this size.
    ///
    /// # Errors
    /// If it has to be fetched and the store fails.
    pub async fn get(&self, store: &Store, key: &str, size: Option<u64>) -> Result<Bytes> {
        if let Some(path) = self.path(key)
            && let Ok(bytes) = tokio::fs::read(&path).await
            && size.is_none_or(|size| size == bytes.len() as u64)
        {
            return Ok(bytes.into());
        }
        let bytes = store.get(key).await?;
        self.put(key, &bytes).await;
        Ok(bytes)
    }

    /// Those of these objects that are in the cache, read in one go: to hand a small file to the thread that reads it costs
    /// more than to read it. Not more than fits into 4 MiB; what is left out is read when it is asked for.
    pub async fn copies(&self, keys: &[String]) -> Vec<Option<Bytes>> {
        let paths: Vec<_> = keys.iter().map_while(|key| self.path(key)).collect();
        let absent = vec![None; keys.len()];
        if paths.is_empty() {
            return absent;
        }
        let read = move || {
            let mut room = AT_ONCE;
            let read = |path: &PathBuf| {
                let size = path.metadata().ok()?.len();
                room = room.checked_sub(size)?;
                std::fs::read(path).ok().map(Bytes::from)
            };
            paths.iter().map(read).collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(absent)
    }

    /// As [`Cache::get_checked`], of which [`Cache::copies`] has read the copy, if there was one.
    ///
    /// # Errors
    /// Those of `open`, or the store's.
    pub async fn get_checked_in<T>(
        &self,
        copy: Option<Bytes>,
        store: &Store,
        key: &str,
        size: Option<u64>,
        open: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<T> {
        if let Some(copy) = copy.filter(|copy| size.is_none_or(|size| size == copy.len() as u64)) {
            match open(&copy) {
                Err(Error::Damaged { .. } | Error::Forged { .. }) => {}
                opened => return opened,
            }
        }
        self.get_checked(store, key, size, open).await
    }

    /// What `open` makes of the object. A cached copy that it finds damaged is fetched anew: only what the store has
    /// can be damage.
    ///
    /// # Errors
    /// Those of `open`, or the store's.
    pub async fn get_checked<T>(
        &self,
        store: &Store,
        key: &str,
        size: Option<u64>,
        open: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let bytes = self.get(store, key, size).await?;
        match open(&bytes) {
            Err(Error::Damaged { .. } | Error::Forged { .. }) if self.folder.is_some() => {}
            opened => return opened,
        }
        self.remove(key).await;
        let bytes = store.get(key).await?;
        let opened = open(&bytes)?;
        self.put(key, &bytes).await;
        Ok(opened)
    }

    /// Keeps a copy of an object.
    pub async fn put(&self, key: &str, bytes: &[u8]) {
        let Some(folder) = self.folder() else { return };
        let Some(path) = self.path(key) else { return };
        // Written aside and renamed: a torn copy would cost a fetch each time.
        let aside = path.with_extension(format!("tmp{}", std::process::id()));
        let written = async {
            tokio::fs::create_dir_all(folder).await?;
            tokio::fs::write(&aside, bytes).await?;
            tokio::fs::rename(&aside, &path).await
        };
        if let Err(error) = written.await {
            let _ = tokio::fs::remove_file(&aside).await;
            tracing::debug!(key, %error, "the local cache cannot be written");
        }
    }

    /// Drops a copy, after it turned out damaged or deleted.
    pub async fn remove(&self, key: &str) {
        if let Some(path) = self.path(key) {
            let _ = tokio::fs::remove_file(path).await;
        }
    }
}
