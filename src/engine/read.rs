//! Reading: values → chunks → places → frames, by coalesced ranges, every chunk hashed again before it is used.
//!
//! A [`Reader`] sees the repository as of one view. When it is pinned, no prune drops what it may read; when it is not
//! and a pack has gone meanwhile, it looks at the head once more, and only then calls it damage.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ark_format::documents::Activity;
use ark_format::frame::Frame;
use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::tree::{Root, Value};
use ark_format::{ChunkId, PackName, layout};
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::error::DamagedAt;
use crate::index::{Index, Place};
use crate::map_read::MapReader;
use crate::repository::Repository;
use crate::session::Session;
use crate::store::StoreError;
use crate::view::View;
use crate::{Error, Result};

/// Frames closer than this in a pack are fetched by one request.
const GAP: u64 = 128 << 10;
/// The longest range of one request.
const RANGE_MAX: u64 = 4 << 20;
/// Requests under way at once.
const FETCHES: usize = 8;
/// Tree frames are read ahead so far, in stored bytes.
const READ_AHEAD: u64 = 512 << 10;

/// Reads backups. Clones share the pin and the cache of frames.
#[derive(Clone)]
pub struct Reader {
    inner: Arc<Reading>,
}

struct Reading {
    repository: Repository,
    session: Option<Session>,
    state: Mutex<Arc<Snapshot>>,
    frames: Mutex<FrameCache>,
}

/// What a reader looks at.
pub(crate) struct Snapshot {
    pub view: View,
    pub index: Index,
}

type FrameKey = (PackName, u16);

/// Decoded frames by last use, within a budget of bytes.
struct FrameCache {
    budget: usize,
    used: usize,
    tick: u64,
    frames: HashMap<FrameKey, (u64, Arc<Frame>)>,
    order: BTreeMap<u64, FrameKey>,
}

impl FrameCache {
    fn get(&mut self, key: &FrameKey) -> Option<Arc<Frame>> {
        self.tick += 1;
        let (last, frame) = self.frames.get_mut(key)?;
        self.order.remove(last);
        *last = self.tick;
        self.order.insert(self.tick, *key);
        Some(Arc::clone(frame))
    }

    fn put(&mut self, key: FrameKey, frame: &Arc<Frame>) {
        if self.frames.contains_key(&key) {
            return;
        }
        self.tick += 1;
        self.used += frame.memory();
        self.frames.insert(key, (self.tick, Arc::clone(frame)));
        self.order.insert(self.tick, key);
        while self.used > self.budget
            && let Some((_, oldest)) = self.order.pop_first()
        {
            if let Some((_, frame)) = self.frames.remove(&oldest) {
                self.used -= frame.memory();
            }
        }
    }
}

impl Repository {
    /// A reader that pins the repository while it is open. Where the store cannot be written, it reads without a pin.
    ///
    /// # Errors
    /// If the store fails or the head is damaged.
    pub async fn reader(&self) -> Result<Reader> {
        match self.open_session_with_index(Activity::Restore).await {
            Ok((session, view, index)) => Ok(self.reader_of(Some(session), view, index)),
            Err(Error::Store(StoreError::PermissionDenied { .. })) => {
                tracing::warn!(
                    "the repository cannot be written: reading without a pin; do not prune meanwhile"
                );
                self.browse().await
            }
            Err(error) => Err(error),
        }
    }

    /// A reader without a pin, for a short look.
    ///
    /// # Errors
    /// As [`Repository::reader`].
    pub async fn browse(&self) -> Result<Reader> {
        let (view, index) = self.view_with_index().await?;
        Ok(self.reader_of(None, view, index))
    }

    pub(crate) fn reader_of(&self, session: Option<Session>, view: View, index: Index) -> Reader {
        self.inner.data_keys.look_again();
        let frames = FrameCache {
            budget: (self.inner.memory / 4) as usize,
            used: 0,
            tick: 0,
            frames: HashMap::new(),
            order: BTreeMap::new(),
        };
        Reader {
            inner: Arc::new(Reading {
                repository: self.clone(),
                session,
                state: Mutex::new(Arc::new(Snapshot { view, index })),
                frames: Mutex::new(frames),
            }),
        }
    }
}

/// A frame to fetch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct FrameAt {
    pack: PackName,
    offset: u32,
    stored: u32,
    frame: u16,
    data_key: u16,
}

impl From<Place> for FrameAt {
    fn from(p: Place) -> FrameAt {
        FrameAt {
            pack: p.pack,
            offset: p.offset,
            stored: p.stored,
            frame: p.frame,
            data_key: p.data_key,
        }
    }
}

impl Reader {
    pub(crate) fn repository(&self) -> &Repository {
        &self.inner.repository
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(
            &self
                .inner
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The backups that it sees.
    pub fn backups(&self) -> Vec<crate::BackupRow> {
        self.snapshot().view.backups.clone()
    }

    /// A map of the repository.
    pub fn map(&self, root: Root) -> MapReader {
        MapReader::new(self.clone(), root)
    }

    /// The content of one value.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::ChunkUnknown`], or the store's.
    pub async fn read(&self, value: &Value) -> Result<Bytes> {
        match self.read_many(vec![value.clone()]).await.pop() {
            Some(result) => result,
            None => Err(Error::Stopped),
        }
    }

    /// The contents of values, in the same order. Frames that several of them share are read once, frames that are
    /// near each other by one request. The caller bounds memory by how much it asks for.
    pub async fn read_many(&self, values: Vec<Value>) -> Vec<Result<Bytes>> {
        let mut lists: Vec<Result<Vec<(ChunkId, u32)>>> = Vec::with_capacity(values.len());
        for value in &values {
            lists.push(self.chunks_of(value).await);
        }
        let ids: Vec<ChunkId> = lists
            .iter()
            .flatten()
            .flatten()
            .map(|(id, _)| *id)
            .collect();
        let chunks = self.chunks(ChunkKind::Data, ids).await;
        values
            .into_iter()
            .zip(lists)
            .map(|(value, list)| {
                if let Value::Inline(bytes) = value {
                    return Ok(bytes.into());
                }
                let list = list?;
                let fetch = |id: &ChunkId| match chunks.get(id) {
                    Some(Ok(bytes)) => Ok(bytes.clone()),
                    Some(Err(error)) => Err(error.again()),
                    None => Err(Error::ChunkUnknown { id: id.to_string() }),
                };
                match list.as_slice() {
                    [(id, _)] => fetch(id),
                    list => {
                        let mut whole = Vec::with_capacity(value.len() as usize);
                        for (id, _) in list {
                            whole.extend_from_slice(&fetch(id)?);
                        }
                        Ok(whole.into())
                    }
                }
            })
            .collect()
    }

    /// The chunks that a value consists of.
    pub(crate) async fn chunks_of(&self, value: &Value) -> Result<Vec<(ChunkId, u32)>> {
        match value {
            Value::Inline(_) => Ok(Vec::new()),
            Value::Chunk { id, len } => Ok(vec![(*id, *len)]),
            Value::List { chunks } => Ok(chunks.clone()),
            Value::Map { root, .. } => {
                let mut range = self.map(*root).range(&[], None);
                let mut chunks = Vec::new();
                while let Some((_, value)) = range.next().await? {
                    match value {
                        Value::Chunk { id, len } => chunks.push((id, len)),
                        _ => {
                            let source = ark_format::DecodeError::Invalid(
                                "a map of offsets holds something else",
                            );
                            return Err(Error::Damaged {
                                object: format!("chunk {}", root.id),
                                source,
                            });
                        }
                    }
                }
                Ok(chunks)
            }
        }
    }

    /// Chunks by id, each hashed again.
    pub(crate) async fn chunks(
        &self,
        kind: ChunkKind,
        ids: Vec<ChunkId>,
    ) -> HashMap<ChunkId, Result<Bytes>> {
        let mut found = self.chunks_now(kind, &ids).await;
        let failed: Vec<ChunkId> = found
            .iter()
            .filter(|(_, result)| result.as_ref().is_err_and(Error::is_absence))
            .map(|(id, _)| *id)
            .collect();
        // A prune may have moved them since the view was made.
        if !failed.is_empty() && self.refresh().await {
            found.extend(self.chunks_now(kind, &failed).await);
        }
        found
    }

    /// Looks at the head again; whether it is another one.
    async fn refresh(&self) -> bool {
        let Ok((view, index)) = self.repository().view_with_index().await else {
            return false;
        };
        if view.number == self.snapshot().view.number
            && view.segments == self.snapshot().view.segments
        {
            return false;
        }
        *self
            .inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(Snapshot { view, index });
        true
    }

    async fn chunks_now(
        &self,
        kind: ChunkKind,
        ids: &[ChunkId],
    ) -> HashMap<ChunkId, Result<Bytes>> {
        let mut results: HashMap<ChunkId, Result<Bytes>> = HashMap::with_capacity(ids.len());
        let mut missing: Vec<(ChunkId, Vec<Place>)> = Vec::new();
        let snapshot = self.snapshot();
        for id in ids {
            if results.contains_key(id) {
                continue;
            }
            let places = match snapshot.index.locate(id) {
                Ok(places) => places,
                Err(error) => {
                    results.insert(*id, Err(error));
                    continue;
                }
            };
            let cached = places
                .first()
                .and_then(|p| self.frame_cached(&(p.pack, p.frame)).map(|f| (f, p.slot)));
            let taken = cached.map(|(frame, slot)| self.take(kind, id, &frame, slot));
            if let Some(Ok(bytes)) = taken {
                results.insert(*id, Ok(bytes));
                continue;
            }
            results.insert(*id, Err(Error::ChunkUnknown { id: id.to_string() }));
            if !places.is_empty() {
                missing.push((*id, places));
            }
        }
        // Each round tries the next place of what could not be read from the one before.
        let mut attempt = 0;
        while !missing.is_empty() {
            let mut wanted: Vec<FrameAt> = missing
                .iter()
                .filter_map(|(_, places)| places.get(attempt))
                .map(|p| FrameAt::from(*p))
                .collect();
            if wanted.is_empty() {
                break;
            }
            wanted.sort_unstable();
            wanted.dedup();
            if kind == ChunkKind::Tree && wanted.len() == 1 {
                wanted = self.ahead(&snapshot.index, wanted[0]);
            }
            let frames = self.fetch(kind, wanted).await;
            missing.retain(|(id, places)| {
                let Some(place) = places.get(attempt) else {
                    return false;
                };
                let result = match frames.get(&(place.pack, place.frame)) {
                    Some(Ok(frame)) => self.take(kind, id, frame, place.slot),
                    Some(Err(error)) => Err(error.again()),
                    None => Err(Error::ChunkUnknown { id: id.to_string() }),
                };
                let again = result.is_err();
                results.insert(*id, result);
                again
            });
            attempt += 1;
        }
        results
    }

    /// A tree frame and those behind it that are not at hand: a scan will want them next.
    fn ahead(&self, index: &Index, first: FrameAt) -> Vec<FrameAt> {
        let mut wanted = vec![first];
        let found = index.segments().iter().find_map(|l| {
            l.segment
                .tables
                .packs
                .iter()
                .find(|p| p.name == first.pack)
                .map(|p| (&l.segment.tables, p))
        });
        let Some((tables, pack)) = found else {
            return wanted;
        };
        let mut budget = READ_AHEAD;
        for number in u32::from(first.frame) + 1..pack.frames {
            let Some(row) = tables.frames.get((pack.first_frame + number) as usize) else {
                break;
            };
            if row.chunks == 0 || u64::from(row.stored) > budget {
                break;
            }
            // Whoever comes from behind has had what follows.
            if self.frame_cached(&(first.pack, number as u16)).is_some() {
                break;
            }
            budget -= u64::from(row.stored);
            wanted.push(FrameAt {
                pack: first.pack,
                offset: row.offset,
                stored: row.stored,
                frame: number as u16,
                data_key: row.data_key,
            });
        }
        wanted
    }

    fn frame_cached(&self, key: &FrameKey) -> Option<Arc<Frame>> {
        self.inner
            .frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
    }

    fn take(&self, kind: ChunkKind, id: &ChunkId, frame: &Frame, slot: u16) -> Result<Bytes> {
        let damaged = |source| Error::Damaged {
            object: format!("chunk {id}"),
            source,
        };
        let bytes = frame.chunk(usize::from(slot)).ok_or_else(|| {
            damaged(ark_format::DecodeError::Invalid(
                "its frame has no such slot",
            ))
        })?;
        if self.repository().key_set().chunk_id(kind, bytes) != *id {
            return Err(damaged(ark_format::DecodeError::IdMismatch));
        }
        Ok(Bytes::copy_from_slice(bytes))
    }

    /// Fetches and decodes frames, sorted by pack and offset.
    async fn fetch(
        &self,
        kind: ChunkKind,
        wanted: Vec<FrameAt>,
    ) -> HashMap<FrameKey, Result<Arc<Frame>>> {
        let mut runs: Vec<Vec<FrameAt>> = Vec::new();
        for frame in wanted {
            match runs.last_mut() {
                Some(run) if joins(run, &frame) => run.push(frame),
                _ => runs.push(vec![frame]),
            }
        }
        let fetched: Vec<_> = stream::iter(runs)
            .map(|run| self.fetch_run(kind, run))
            .buffer_unordered(FETCHES)
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed()
            .collect()
            .await;
        let mut frames = HashMap::new();
        let mut cache = self
            .inner
            .frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (key, result) in fetched.into_iter().flatten() {
            if let Ok(frame) = &result {
                cache.put(key, frame);
            }
            frames.insert(key, result);
        }
        frames
    }

    async fn fetch_run(
        &self,
        kind: ChunkKind,
        run: Vec<FrameAt>,
    ) -> Vec<(FrameKey, Result<Arc<Frame>>)> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Vec::new();
        };
        let keys = run.iter().map(|frame| frame.data_key).collect();
        if let Err(error) = self.repository().learn_data_keys(keys).await {
            let failed = run.iter();
            return failed
                .map(|f| ((f.pack, f.frame), Err(error.again())))
                .collect();
        }
        let start = u64::from(first.offset);
        let key = layout::pack(&first.pack);
        let range: Range<u64> = start..u64::from(last.offset) + u64::from(last.stored);
        let bytes = match self.repository().store().get_range(&key, range).await {
            Ok(bytes) => bytes,
            // Cut short: what stands before the cut can still be read.
            Err(StoreError::Truncated { .. }) if run.len() > 1 => {
                let mut frames = Vec::with_capacity(run.len());
                for at in run {
                    frames.extend(Box::pin(self.fetch_run(kind, vec![at])).await);
                }
                return frames;
            }
            Err(error) => {
                let error = Error::from(error);
                return run
                    .iter()
                    .map(|f| ((f.pack, f.frame), Err(error.again())))
                    .collect();
            }
        };
        let repository = self.repository().clone();
        let class = match kind {
            ChunkKind::Data => PackClass::Data,
            ChunkKind::Tree => PackClass::Meta,
        };
        let keys: Vec<FrameKey> = run.iter().map(|f| (f.pack, f.frame)).collect();
        let decoded = repository.env().pool.clone().run(move || {
            run.into_iter()
                .map(|at| {
                    let from = u64::from(at.offset) - start;
                    let sealed = &bytes[from as usize..from as usize + at.stored as usize];
                    let frame = repository
                        .frame_sealer(class, at.data_key)
                        .and_then(|s| s.decode(sealed).at(&key));
                    ((at.pack, at.frame), frame.map(Arc::new))
                })
                .collect::<Vec<_>>()
        });
        match decoded.await {
            Ok(frames) => frames,
            Err(_) => keys
                .into_iter()
                .map(|key| (key, Err(Error::Stopped)))
                .collect(),
        }
    }

    /// Ends the pin. Without this it expires by itself.
    pub async fn close(self) {
        if let Some(session) = &self.inner.session
            && let Err(error) = session.close().await
        {
            tracing::warn!(%error, "the pin could not be ended; it expires by itself");
        }
    }
}

fn joins(run: &[FrameAt], next: &FrameAt) -> bool {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return false;
    };
    let end = u64::from(last.offset) + u64::from(last.stored);
    first.pack == next.pack
        && u64::from(next.offset) >= end
        && u64::from(next.offset) - end <= GAP
        && u64::from(next.offset) + u64::from(next.stored) - u64::from(first.offset) <= RANGE_MAX
}

impl Error {
    /// Whether something was not where it should be, which a newer view may explain.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(
            self,
            Error::ChunkUnknown { .. }
                | Error::Missing { .. }
                | Error::Store(StoreError::NotFound { .. })
        )
    }

    /// The same error for another value that it hit.
    fn again(&self) -> Error {
        match self {
            Error::Damaged { object, source } => Error::Damaged {
                object: object.clone(),
                source: source.clone(),
            },
            Error::Missing { object } => Error::Missing {
                object: object.clone(),
            },
            Error::ChunkUnknown { id } => Error::ChunkUnknown { id: id.clone() },
            Error::Store(StoreError::NotFound { key, .. }) => Error::Missing {
                object: key.clone(),
            },
            Error::Store(error) => Error::Store(error.clone()),
            other => Error::Unreadable(other.to_string()),
        }
    }
}
