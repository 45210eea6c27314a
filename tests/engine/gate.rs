//! A store in memory whose requests can be held up or refused one by one: for races.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use ark_engine::store::Store;
use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Semaphore;

/// The end of all locks.
pub const LOCKED_UNTIL: &str = "2026-12-24T17:00:00.000000+00:00";

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Put,
    Get,
    /// A get that is held up after the store has answered it.
    Got,
    List,
    Delete,
}

/// How a request that is waited for ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It waits until it is let go.
    Wait,
    /// It is refused.
    Refuse,
    /// It is refused because of a lock, as GCS does it.
    Locked,
    /// The connection breaks.
    Break,
    /// It is done, and the connection breaks before the answer.
    Lose,
    /// The answer's bytes are changed on the way.
    Garble,
}

/// A request that is waited for.
pub struct Stop {
    op: Op,
    part: String,
    skip: Mutex<usize>,
    times: Mutex<usize>,
    end: End,
    reached: Semaphore,
    go: Semaphore,
}

impl Stop {
    /// Returns when the request has come.
    pub async fn reached(&self) {
        let wait = self.reached.acquire();
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("the request never came")
            .unwrap()
            .forget();
    }

    /// Lets it go on.
    pub fn release(&self) {
        self.go.add_permits(1);
    }
}

/// The store.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<InMemory>,
    stops: Arc<Mutex<Vec<Arc<Stop>>>>,
    /// Prefix, moment, and by how much what was there at that moment is shown older.
    ages: Arc<Mutex<Vec<(String, SystemTime, Duration)>>>,
    asked: Arc<Mutex<Vec<(Op, String)>>>,
    /// Bytes that still fit.
    room: Arc<Mutex<Option<u64>>>,
}

impl Gate {
    pub fn new() -> Gate {
        Gate {
            inner: Arc::new(InMemory::new()),
            stops: Arc::default(),
            ages: Arc::default(),
            asked: Arc::default(),
            room: Arc::default(),
        }
    }

    /// The store as a disk.
    pub fn disk(&self) -> Store {
        Store::on_a_disk(Arc::new(self.clone()), "disk")
    }

    /// Lets no more than these bytes be added to what is there, unless something is deleted.
    pub fn fill_up(&self, but: u64) {
        *self.room.lock().unwrap() = Some(but);
    }

    /// Ends the limit, and says how many bytes were still free.
    pub fn empty(&self) -> u64 {
        self.room.lock().unwrap().take().unwrap()
    }

    pub fn store(&self) -> Store {
        Store::from_object_store(Arc::new(self.clone()), "gate")
    }

    /// Puts other bytes in the place of an object.
    pub async fn replace(&self, key: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let path = Path::from(key);
        let bytes = self.inner.get(&path).await.unwrap().bytes().await.unwrap();
        let changed = change(bytes.to_vec());
        self.inner.put(&path, changed.into()).await.unwrap();
    }

    /// Lets listings show what is there now with an earlier time.
    pub fn age(&self, prefix: &str, ms: i64) {
        let by = Duration::from_millis(ms as u64);
        let age = (prefix.to_owned(), SystemTime::now(), by);
        self.ages.lock().unwrap().push(age);
    }

    fn aged(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let written = SystemTime::from(meta.last_modified);
        for (prefix, at, by) in self.ages.lock().unwrap().iter() {
            if written <= *at && meta.location.as_ref().starts_with(prefix) {
                meta.last_modified -= *by;
            }
        }
        meta
    }

    /// Holds up the request number `nth` (from 1) whose key or prefix contains `part`.
    pub fn hold(&self, op: Op, part: &str, nth: usize) -> Arc<Stop> {
        self.add(op, part, nth, 1, End::Wait)
    }

    /// Ends the next `times` requests like that.
    pub fn fail(&self, op: Op, part: &str, times: usize, end: End) {
        self.add(op, part, 1, times, end);
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        self.stops.lock().unwrap().clear();
    }

    /// Changes what the next `times` reads of such a key give.
    pub fn garble(&self, part: &str, times: usize) {
        self.add(Op::Got, part, 1, times, End::Garble);
    }

    /// The keys of all requests of a kind so far that contain `part`.
    pub fn asked(&self, op: Op, part: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let hits = asked
            .iter()
            .filter(|(o, key)| *o == op && key.contains(part));
        hits.map(|(_, key)| key.clone()).collect()
    }

    fn add(&self, op: Op, part: &str, nth: usize, times: usize, end: End) -> Arc<Stop> {
        let stop = Arc::new(Stop {
            op,
            part: part.to_owned(),
            skip: Mutex::new(nth - 1),
            times: Mutex::new(times),
            end,
            reached: Semaphore::new(0),
            go: Semaphore::new(0),
        });
        self.stops.lock().unwrap().push(Arc::clone(&stop));
        stop
    }

    /// Holds up or refuses the request; how it is to end otherwise.
    async fn pass(&self, op: Op, key: &str) -> Result<End> {
        self.asked.lock().unwrap().push((op, key.to_owned()));
        let mut hit = None;
        for stop in self.stops.lock().unwrap().iter() {
            if stop.op != op || !key.contains(&stop.part) {
                continue;
            }
            let mut skip = stop.skip.lock().unwrap();
            let mut times = stop.times.lock().unwrap();
            if *skip > 0 {
                *skip -= 1;
            } else if *times > 0 {
                *times -= 1;
                hit = Some(Arc::clone(stop));
                break;
            }
        }
        let Some(stop) = hit else {
            return Ok(End::Wait);
        };
        stop.reached.add_permits(1);
        match stop.end {
            End::Wait => {
                let wait = stop.go.acquire();
                tokio::time::timeout(Duration::from_secs(20), wait)
                    .await
                    .expect("the request was never let go")
                    .unwrap()
                    .forget();
                Ok(End::Wait)
            }
            End::Lose | End::Garble => Ok(stop.end),
            End::Refuse => Err(Error::PermissionDenied {
                path: key.to_owned(),
                source: "403".into(),
            }),
            End::Locked => Err(Error::Generic {
                store: "gate",
                source: format!(
                    "Server returned non-2xx status code: 403 Forbidden: <Error><Code>AccessDenied</Code><Details>\
                     Object 'bucket/{key}' is subject to bucket's retention policy or object retention and cannot be \
                     deleted or overwritten until {LOCKED_UNTIL}</Details></Error>"
                )
                .into(),
            }),
            End::Break => Err(broken()),
        }
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "gate",
        source: "connection reset".into(),
    }
}

/// What a local store makes of an error of the disk.
pub fn disk_says(kind: io::ErrorKind) -> Error {
    Error::Generic {
        store: "disk",
        source: Box::new(io::Error::from(kind)),
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gate")
    }
}

#[async_trait]
impl ObjectStore for Gate {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let end = self.pass(Op::Put, path.as_ref()).await?;
        if let Some(room) = self.room.lock().unwrap().as_mut() {
            let size = payload.content_length() as u64;
            *room = room
                .checked_sub(size)
                .ok_or_else(|| disk_says(io::ErrorKind::StorageFull))?;
        }
        let result = self.inner.put_opts(path, payload, options).await;
        match end {
            End::Lose => result.and(Err(broken())),
            _ => result,
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("multipart uploads cannot be conditional")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.pass(Op::Get, path.as_ref()).await?;
        let mut result = self.inner.get_opts(path, options).await?;
        if self.pass(Op::Got, path.as_ref()).await? == End::Garble {
            let (meta, range) = (result.meta.clone(), result.range.clone());
            let mut bytes = result.bytes().await?.to_vec();
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            result = GetResult {
                payload: GetResultPayload::Stream(stream::iter([Ok(bytes.into())]).boxed()),
                meta,
                range,
                attributes: Attributes::new(),
                extensions: Extensions::default(),
            };
        }
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let gate = self.clone();
        let one = move |location: Result<Path>| {
            let gate = gate.clone();
            async move {
                let location = location?;
                gate.pass(Op::Delete, location.as_ref()).await?;
                let there = gate.inner.head(&location).await;
                gate.inner.delete(&location).await?;
                if let (Ok(meta), Some(room)) = (there, gate.room.lock().unwrap().as_mut()) {
                    *room += meta.size;
                }
                Ok(location)
            }
        };
        locations.then(one).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let gate = self.clone();
        let prefix = prefix.cloned();
        stream::once(async move {
            let name = prefix.as_ref().map_or("everything", Path::as_ref);
            if let Err(error) = gate.pass(Op::List, name).await {
                return stream::once(async { Err(error) }).boxed();
            }
            let listed = gate.inner.list(prefix.as_ref());
            listed.map_ok(move |meta| gate.aged(meta)).boxed()
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
