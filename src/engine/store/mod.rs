//! Where a repository's objects live: a folder, S3, GCS, Azure, or memory.
//!
//! What the rest of the engine may rely on:
//! - [`Store::create`] never overwrites, and says truthfully whether the object under the key is
//!   ours, however the store's answer got lost or garbled (see `creation`).
//! - A read returns exactly the bytes asked for, or an error: a short object is
//!   [`StoreError::Truncated`], never fewer bytes.
//! - An empty listing means that the place exists and holds nothing there: a folder that vanished
//!   or a bucket that does not exist is [`StoreError::NoSuchLocation`].
//! - A store that never answered fails within 30 s. One that did gets two minutes to come back, so
//!   that a short outage does not end a long backup.
//!
//! Keys are relative to the address's prefix, `/`-separated; prefixes are whole folders.

mod address;
mod counters;
mod creation;
mod error;
mod limit;
mod local;
mod protection;
mod url;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    GetOptions, GetResult, GetResultPayload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta,
    ObjectStore, ObjectStoreExt, coalesce_ranges,
};
use tokio::time::Instant;

use self::counters::{Counters, PAGE, add};
use self::error::Place;
use self::limit::Limit;
use self::local::{LocalRoot, Walk};

pub use self::address::StoreUrl;
pub use self::counters::RequestCounts;
pub use self::creation::Created;
pub use self::error::{Cause, StoreError};
pub use self::local::Leftover;
pub use self::protection::Protection;
pub use self::url::StoreOptions;

/// Seconds that a request without a body may take, its repetitions included. A write that gets no
/// answer is followed by a short question, so this stays below the 30 s that a dead store may take.
const ANSWER: u64 = 25;

/// Seconds between two pieces of a body or two pages of a listing.
const STALL: u64 = 45;

/// How long a store that has answered before may be away.
const PATIENCE: Duration = Duration::from_secs(120);

/// Keys asked for where only the first is wanted: some tools make an object of the folder itself, which comes before it.
const FEW: usize = 2;

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Key relative to the store's prefix.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// Last change, milliseconds since 1970, by the store's clock.
    pub modified_ms: i64,
}

/// A place that holds objects. Clones share one connection, its counters and limits.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    /// Gives pages of a listing of any size.
    pages: Option<Arc<dyn PaginatedListStore>>,
    prefix: String,
    place: Place,
    local: Option<LocalRoot>,
    /// Room ends as a disk's does.
    disk: bool,
    /// Requests go over a network: they get time limits.
    remote: bool,
    /// Listings come in the order of keys.
    ordered: bool,
    storage_class: Option<String>,
    upload: Option<Limit>,
    download: Option<Limit>,
    counters: Counters,
    answered: AtomicBool,
}

impl Store {
    /// Opens the store at `url`: `file:///path` or a plain path, `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `az://container/prefix`, or `memory://`. A local folder must exist; a
    /// remote store is not asked anything yet.
    pub fn open(url: &str, options: &StoreOptions) -> Result<Store, StoreError> {
        let parsed = StoreUrl::parse(url)?;
        let shown = parsed.to_string();
        let mut inner = match &parsed {
            StoreUrl::Local(path) => {
                url::not_here(&parsed, "SSE-KMS", options.sse_kms_key.is_some())?;
                url::not_here(&parsed, "storage classes", options.storage_class.is_some())?;
                let root = LocalRoot::open(path, &shown)?;
                let objects = LocalFileSystem::new_with_prefix(root.path())
                    .map_err(|e| address::bad_url(&shown, &e.to_string()))?
                    .with_fsync(true)
                    .with_automatic_cleanup(true);
                let mut inner = Inner::new(Arc::new(objects), shown.clone(), shown);
                inner.local = Some(root);
                inner.disk = true;
                inner.ordered = true;
                inner
            }
            StoreUrl::Memory => {
                let mut inner = Inner::new(Arc::new(InMemory::new()), shown.clone(), shown);
                inner.ordered = true;
                inner
            }
            _ => {
                let connection = url::connect(&parsed, options)?;
                let mut inner = Inner::new(connection.objects, shown, connection.endpoint);
                inner.pages = Some(connection.pages);
                inner.prefix = parsed.prefix().to_owned();
                inner.remote = true;
                inner.ordered = connection.ordered;
                inner.storage_class = options.storage_class.clone();
                inner
            }
        };
        inner.upload = Limit::new(options.limit_upload);
        inner.download = Limit::new(options.limit_download);
        Ok(Store {
            inner: Arc::new(inner),
        })
    }

    /// Opens the store at `url` for a new repository: a missing local folder is created. Buckets
    /// and containers are not.
    pub fn create_root(url: &str, options: &StoreOptions) -> Result<Store, StoreError> {
        if let StoreUrl::Local(path) = StoreUrl::parse(url)?
            && !path.exists()
        {
            LocalRoot::create(&path, &StoreUrl::Local(path.clone()).to_string())?;
        }
        Store::open(url, options)
    }

    /// Wraps a connection made elsewhere: tests and fault injection. Nothing is assumed about the
    /// order of its listings.
    pub fn from_object_store(inner: Arc<dyn ObjectStore>, description: &str) -> Store {
        Store {
            inner: Arc::new(Inner::new(
                inner,
                description.to_owned(),
                description.to_owned(),
            )),
        }
    }

    /// Wraps a connection made elsewhere like one over a network: requests get the time limits of a bucket, and listings
    /// come in the order of keys, as S3 gives them.
    pub fn over_network(inner: Arc<dyn ObjectStore>, description: &str) -> Store {
        let mut inner = Inner::new(inner, description.to_owned(), description.to_owned());
        inner.remote = true;
        inner.ordered = true;
        Store {
            inner: Arc::new(inner),
        }
    }

    /// As [`Store::over_network`], of a connection that gives pages of a listing of the size asked for, as S3 does.
    pub fn over_network_in_pages<S>(objects: Arc<S>, description: &str) -> Store
    where
        S: ObjectStore + PaginatedListStore,
    {
        let inner: Arc<dyn ObjectStore> = objects.clone();
        let mut inner = Inner::new(inner, description.to_owned(), description.to_owned());
        inner.remote = true;
        inner.ordered = true;
        inner.pages = Some(objects);
        Store {
            inner: Arc::new(inner),
        }
    }

    /// Wraps a connection made elsewhere like a disk, whose room ends: a repository keeps a reserve there.
    pub fn on_a_disk(inner: Arc<dyn ObjectStore>, description: &str) -> Store {
        let mut inner = Inner::new(inner, description.to_owned(), description.to_owned());
        inner.disk = true;
        Store {
            inner: Arc::new(inner),
        }
    }

    /// The address, without secrets.
    pub fn url(&self) -> &str {
        &self.inner.place.url
    }

    /// True for a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.inner.local.is_some()
    }

    /// True for a place whose room ends as a disk's does.
    pub fn is_on_a_disk(&self) -> bool {
        self.inner.disk
    }

    /// The folder of a local store.
    pub fn local_path(&self) -> Option<&Path> {
        self.inner.local.as_ref().map(LocalRoot::path)
    }

    /// Requests and bytes since the store was opened.
    pub fn counters(&self) -> RequestCounts {
        self.inner.counters.read()
    }

    /// The whole object.
    pub async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.get_bounded(key, u64::MAX).await
    }

    /// The whole object, if it has at most `max` bytes; its size is known before it is read.
    pub async fn get_bounded(&self, key: &str, max: u64) -> Result<Bytes, StoreError> {
        self.persist(|| self.read(key, None, max)).await
    }

    /// Exactly the bytes of `range`.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.start > range.end {
            return Err(StoreError::Unsupported {
                url: self.url().to_owned(),
                what: format!("reading {key} backwards"),
            });
        }
        if range.start == range.end {
            return Ok(Bytes::new());
        }
        let result = self
            .persist(|| self.read(key, Some(range.clone()), u64::MAX))
            .await;
        match result {
            // A range that starts behind the end is refused, by each store in its own words.
            Err(error @ StoreError::Other { .. }) => match self.head(key).await? {
                Some(info) if info.size < range.end => {
                    Err(self.truncated(key, range.end, info.size))
                }
                _ => Err(error),
            },
            result => result,
        }
    }

    /// Exactly the bytes of each range, in the order of `ranges`. Ranges close to each other are
    /// read in one request, several requests at a time.
    pub async fn get_ranges(
        &self,
        key: &str,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, StoreError> {
        // On a disk a gap costs less than reading over it.
        let gap = match self.is_local() {
            true => 0,
            false => OBJECT_STORE_COALESCE_DEFAULT,
        };
        coalesce_ranges(ranges, |range| self.get_range(key, range), gap).await
    }

    /// Size and time of an object; `None` if it does not exist.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.persist(|| self.head_within(key, ANSWER)).await
    }

    async fn head_within(&self, key: &str, seconds: u64) -> Result<Option<ObjectInfo>, StoreError> {
        let path = self.path(key)?;
        add(&self.inner.counters.head, 1);
        let asked = self.inner.objects.head(&path);
        match self.within(seconds, key, asked).await {
            Ok(meta) => Ok(Some(self.info(key.to_owned(), &meta))),
            Err(error) if error.is_not_found() => self.still_there().await.map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// All objects below a folder (`""` is everything), sorted by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let mut found: Vec<ObjectInfo> = self
            .persist(|| async { self.list_stream(prefix).try_collect().await })
            .await?;
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// All objects below a folder as they come, page by page.
    pub fn list_stream(&self, prefix: &str) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        add(&self.inner.counters.list, 1);
        let path = match self.folder(prefix) {
            Ok(path) => path,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        if self.is_local() {
            return self.walk(prefix.trim_matches('/').to_owned());
        }
        let start = self.inner.objects.list(path.as_ref());
        let prefix = prefix.to_owned();
        stream::try_unfold(
            (start, prefix, 0),
            move |(mut listing, prefix, mut seen)| async move {
                loop {
                    let next = async { listing.next().await.transpose() };
                    let seconds = if seen == 0 { ANSWER } else { STALL };
                    let Some(meta) = self.within(seconds, &prefix, next).await? else {
                        return Ok(None);
                    };
                    if seen > 0 && seen % PAGE == 0 {
                        add(&self.inner.counters.list, 1);
                    }
                    seen += 1;
                    if let Some(key) = self.relative(&meta.location) {
                        return Ok(Some((self.info(key, &meta), (listing, prefix, seen))));
                    }
                }
            },
        )
        .boxed()
    }

    fn walk(&self, prefix: String) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        let start: (Option<Walk>, bool) = (None, false);
        stream::try_unfold(start, move |(walk, done)| {
            let prefix = prefix.clone();
            async move {
                if done {
                    return Ok(None);
                }
                let batch = self
                    .on_disk(move |root, url| {
                        let mut walk = match walk {
                            Some(walk) => walk,
                            None => {
                                root.check(url)?;
                                root.walk(&prefix)
                            }
                        };
                        let mut found = Vec::new();
                        while found.len() < PAGE as usize {
                            match walk.next_object(url)? {
                                Some(info) => found.push(info),
                                None => return Ok((found, walk, true)),
                            }
                        }
                        Ok((found, walk, false))
                    })
                    .await?;
                let (found, walk, done) = batch;
                let found = stream::iter(found.into_iter().map(Ok));
                Ok(Some((found, (Some(walk), done))))
            }
        })
        .try_flatten()
        .boxed()
    }

    /// The object with the first key below a folder. One page where listings are in order.
    pub async fn first(&self, prefix: &str) -> Result<Option<ObjectInfo>, StoreError> {
        if !self.inner.ordered {
            return Ok(self.list(prefix).await?.into_iter().next());
        }
        if self.is_local() {
            add(&self.inner.counters.list, 1);
            self.folder(prefix)?;
            let prefix = prefix.trim_matches('/').to_owned();
            return self
                .on_disk(move |root, url| {
                    root.check(url)?;
                    root.first(&prefix, url)
                })
                .await;
        }
        match &self.inner.pages {
            Some(pages) => self.persist(|| self.first_of(&**pages, prefix)).await,
            None => {
                self.persist(|| async { self.list_stream(prefix).next().await.transpose() })
                    .await
            }
        }
    }

    /// The first object below a folder, of a listing that is asked for a few keys at a time.
    async fn first_of(
        &self,
        pages: &dyn PaginatedListStore,
        prefix: &str,
    ) -> Result<Option<ObjectInfo>, StoreError> {
        let folder = self.folder(prefix)?.map(|path| format!("{path}/"));
        let mut page_token = None;
        loop {
            add(&self.inner.counters.list, 1);
            let options = PaginatedListOptions {
                max_keys: Some(FEW),
                page_token,
                ..PaginatedListOptions::default()
            };
            let asked = pages.list_paginated(folder.as_deref(), options);
            let page = self.within(ANSWER, prefix, asked).await?;
            let below = page.result.objects.iter().find(|meta| {
                folder
                    .as_deref()
                    .is_none_or(|folder| meta.location.as_ref().starts_with(folder))
            });
            if let Some(meta) = below
                && let Some(key) = self.relative(&meta.location)
            {
                return Ok(Some(self.info(key, meta)));
            }
            // A page may be empty and yet not be the last.
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok(None);
            }
        }
    }

    /// Deletes an object; one that does not exist is deleted already.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let result = self
            .persist(|| async {
                add(&self.inner.counters.delete, 1);
                self.within(ANSWER, key, self.inner.objects.delete(&path))
                    .await
            })
            .await;
        match result {
            Err(error) if error.is_not_found() => self.still_there().await,
            result => result,
        }
    }

    /// What killed processes left half written. Only local stores have such files: elsewhere an
    /// object appears complete or not at all.
    pub async fn list_leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        if !self.is_local() {
            return Ok(Vec::new());
        }
        self.on_disk(|root, url| root.leftovers(url)).await
    }

    /// Removes a leftover. The caller knows that no running process still writes it.
    pub async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), StoreError> {
        let path = leftover.path.clone();
        self.on_disk(move |root, url| root.remove_leftover(url, &path))
            .await
    }

    /// One read: all of it, or `range`.
    async fn read(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        max: u64,
    ) -> Result<Bytes, StoreError> {
        let path = self.path(key)?;
        add(&self.inner.counters.get, 1);
        let options = GetOptions::new().with_range(range.clone());
        let asked = self.inner.objects.get_opts(&path, options);
        let result = match self.within(ANSWER, key, asked).await {
            Err(error) if error.is_not_found() => {
                self.still_there().await?;
                return Err(error);
            }
            result => result?,
        };
        let size = result.range.end.saturating_sub(result.range.start);
        if let Some(range) = range
            && result.range != range
        {
            return Err(self.truncated(key, range.end, result.meta.size));
        }
        if size > max {
            return Err(StoreError::TooLarge {
                url: self.url().to_owned(),
                key: key.to_owned(),
                size,
                max,
            });
        }
        let start = result.range.start;
        let bytes = self.body(key, result, size).await?;
        if bytes.len() as u64 != size {
            return Err(self.truncated(key, start + size, start + bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// The body of an answer, at the limited rate: what is not read yet waits at the sender.
    async fn body(&self, key: &str, result: GetResult, size: u64) -> Result<Bytes, StoreError> {
        let counters = &self.inner.counters;
        if matches!(result.payload, GetResultPayload::File(..)) {
            if let Some(limit) = &self.inner.download {
                limit.acquire(size).await;
            }
            let bytes = result.bytes().await.map_err(|e| self.failed(key, &e))?;
            add(&counters.bytes_read, bytes.len() as u64);
            return Ok(bytes);
        }
        let mut pieces = result.into_stream();
        let mut whole = BytesMut::new();
        while let Some(piece) = {
            let next = async { pieces.next().await.transpose() };
            self.within(STALL, key, next).await?
        } {
            add(&counters.bytes_read, piece.len() as u64);
            if let Some(limit) = &self.inner.download {
                limit.acquire(piece.len() as u64).await;
            }
            if piece.len() as u64 == size {
                return Ok(piece);
            }
            if whole.is_empty() {
                // The size is the sender's word: trust it for a pack's length, not for more.
                whole.reserve(size.min(128 << 20) as usize);
            }
            whole.extend_from_slice(&piece);
            if whole.len() as u64 > size {
                break;
            }
        }
        Ok(whole.freeze())
    }

    /// Runs `op`, again if the store was there before and is away now.
    async fn persist<T, F, R>(&self, op: F) -> Result<T, StoreError>
    where
        F: Fn() -> R,
        R: Future<Output = Result<T, StoreError>>,
    {
        let start = Instant::now();
        loop {
            let result = op().await;
            match &result {
                Err(error @ StoreError::Unreachable { .. }) if self.may_come_back(start) => {
                    tracing::warn!(%error, "the store is away; trying again");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                Err(StoreError::Unreachable { .. }) => return result,
                _ => {
                    self.inner.answered.store(true, Ordering::Relaxed);
                    return result;
                }
            }
        }
    }

    fn may_come_back(&self, since: Instant) -> bool {
        self.inner.answered.load(Ordering::Relaxed) && since.elapsed() < PATIENCE
    }

    /// Awaits one answer of the library, for a limited time if it comes over a network.
    async fn within<T>(
        &self,
        seconds: u64,
        key: &str,
        answer: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let answer = match self.inner.remote {
            true => match tokio::time::timeout(Duration::from_secs(seconds), answer).await {
                Ok(answer) => answer,
                Err(_) => return Err(self.inner.place.timed_out(seconds)),
            },
            false => answer.await,
        };
        answer.map_err(|error| self.failed(key, &error))
    }

    fn failed(&self, key: &str, error: &object_store::Error) -> StoreError {
        self.inner.place.read(key, error)
    }

    fn truncated(&self, key: &str, expected: u64, found: u64) -> StoreError {
        StoreError::Truncated {
            url: self.url().to_owned(),
            key: key.to_owned(),
            expected,
            found,
        }
    }

    /// An absent object proves something only while the folder is there.
    async fn still_there(&self) -> Result<(), StoreError> {
        match self.is_local() {
            true => self.on_disk(|root, url| root.check(url)).await,
            false => Ok(()),
        }
    }

    /// Runs blocking work on the folder of a local store.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalRoot, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        let run = move || match &inner.local {
            Some(root) => work(root, &inner.place.url),
            None => Err(StoreError::Unsupported {
                url: inner.place.url.clone(),
                what: "work on a folder".to_owned(),
            }),
        };
        tokio::task::spawn_blocking(run)
            .await
            .unwrap_or_else(|error| {
                Err(StoreError::Other {
                    url: self.url().to_owned(),
                    key: String::new(),
                    source: Cause::new(error.to_string()),
                })
            })
    }

    fn path(&self, key: &str) -> Result<ObjectPath, StoreError> {
        let whole = match self.inner.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}/{key}"),
        };
        match ObjectPath::parse(&whole) {
            Ok(path) if !key.is_empty() => Ok(path),
            _ => Err(StoreError::Unsupported {
                url: self.url().to_owned(),
                what: format!("the key {key:?}"),
            }),
        }
    }

    fn folder(&self, prefix: &str) -> Result<Option<ObjectPath>, StoreError> {
        match prefix.trim_matches('/') {
            "" if self.inner.prefix.is_empty() => Ok(None),
            "" => Ok(ObjectPath::parse(&self.inner.prefix).ok()),
            prefix => self.path(prefix).map(Some),
        }
    }

    /// The key of a listed object; `None` for the marker that some tools make of the prefix itself.
    fn relative(&self, location: &ObjectPath) -> Option<String> {
        let rest = location.as_ref().strip_prefix(self.inner.prefix.as_str())?;
        let key = rest.trim_start_matches('/');
        (!key.is_empty()).then(|| key.to_owned())
    }

    fn info(&self, key: String, meta: &ObjectMeta) -> ObjectInfo {
        ObjectInfo {
            key,
            size: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.place.url).finish()
    }
}

impl Inner {
    fn new(objects: Arc<dyn ObjectStore>, url: String, endpoint: String) -> Inner {
        Inner {
            objects,
            pages: None,
            prefix: String::new(),
            place: Place { url, endpoint },
            local: None,
            disk: false,
            remote: false,
            ordered: false,
            storage_class: None,
            upload: None,
            download: None,
            counters: Counters::default(),
            answered: AtomicBool::new(false),
        }
    }
}
