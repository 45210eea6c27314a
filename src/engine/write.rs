//! Writing a backup: chunk → id → dedup → frame → pack → index segment → manifest.
//!
//! A chunk is reused only if the index has it in a pack that is not condemned, which the session's pin keeps true until
//! the commit. Objects are written in the order packs, segment, manifest; the manifest is the commit. Whatever happens
//! before it leaves garbage that prune collects, never a backup that lacks something.

mod adoption;
mod commit;
mod legacy;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ark_format::documents::{Activity, ClusterRef};
use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::limits::{CHUNK_MAX, FRAME_CHUNKS_MAX};
use ark_format::tree::{Dataset, LIST_MAX, Value};
use ark_format::{ChunkId, SessionId, layout};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::added::{Added, SEGMENT_CHUNKS};
use crate::chunker::Chunker;
use crate::data_keys::{self, SealedWith};
use crate::error::DamagedAt;
use crate::index::{Index, IndexSegment};
use crate::map_write::MapWriter;
use crate::packer::{Packer, SealedFrame};
use crate::repository::Repository;
use crate::session::Session;
use crate::view::View;
use crate::{Error, Result};

pub use self::commit::{Commit, Committed};
use self::legacy::Legacy;

/// Values up to this length stand in the tree itself: an id, its trailer and its index entry would cost more.
const INLINE_MAX: usize = 96;
/// Values up to this length are one chunk; longer ones are cut by content.
const SINGLE_CHUNK_MAX: usize = 1 << 20;
/// zstd level of data and tree frames.
const LEVEL: i32 = 3;

/// What may share a frame with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameClass {
    /// API objects: frames of 256 KiB; leftovers of several writers share frames.
    Objects,
    /// Secrets: as objects, but their frames are never shared with another writer's, and nothing stands in the tree.
    Secrets,
    /// File content: frames of 1 MiB.
    Files,
}

impl FrameClass {
    fn target(self) -> usize {
        match self {
            FrameClass::Objects | FrameClass::Secrets => 256 << 10,
            FrameClass::Files => 1 << 20,
        }
    }
}

/// At least so many bytes may wait to be sealed: the largest frame.
const FRAMES_UNDER_WAY: u64 = CHUNK_MAX as u64;
/// Frames of tree nodes reach this size.
const TREE_TARGET: usize = 64 << 10;

/// How a backup starts.
#[derive(Clone, Debug)]
pub struct BeginBackup {
    /// Its name, unique within the cluster.
    pub name: String,
    /// Its cluster.
    pub cluster: ClusterRef,
}

/// Counters of a session so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteProgress {
    /// Bytes of all values put.
    pub read_bytes: u64,
    /// Chunks that were new.
    pub new_chunks: u64,
    /// Chunks that the repository had.
    pub reused_chunks: u64,
}

/// A backup being written. Clones are handles of the same backup.
#[derive(Clone)]
pub struct WriteSession {
    inner: Arc<Writing>,
}

struct Writing {
    repository: Repository,
    footing: Footing,
    /// Epoch and id of the session that the backup is committed by: another one if this one was taken for dead.
    current: Mutex<(u64, SessionId)>,
    begin: BeginBackup,
    index: Index,
    legacy: Legacy,
    added: Added,
    chunker: Chunker,
    packer: Packer,
    /// Chunks that this session has taken in; another of its writers may refer to them.
    taken: Mutex<HashSet<ChunkId>>,
    /// Data keys of its frames, and of copies that it made when it went on with another session.
    sealed: SealedWith,
    /// How many of them stand in buffers of writers that have not ended.
    unsent: AtomicU64,
    leftovers: tokio::sync::Mutex<Buffer>,
    tasks: tokio::sync::Mutex<JoinSet<Result<()>>>,
    budget: Arc<Semaphore>,
    poison: Mutex<Option<String>>,
    read_bytes: AtomicU64,
    new_chunks: AtomicU64,
    reused_chunks: AtomicU64,
}

/// The session that a commit belongs to, and what it says of its view.
struct Footing {
    session: Session,
    previous: Option<SessionId>,
    view: u64,
    view_hash: [u8; 32],
    claim_bytes: u64,
}

impl Footing {
    fn new(session: Session, view: &View, begin: &BeginBackup, claim_bytes: u64) -> Footing {
        let same_cluster = |b: &&crate::BackupRow| b.row.cluster.id == begin.cluster.id;
        Footing {
            session,
            previous: view.backups.iter().find(same_cluster).map(|b| b.row.id),
            view: view.number,
            view_hash: view.hash,
            claim_bytes,
        }
    }
}

#[derive(Default)]
struct Buffer {
    ids: Vec<ChunkId>,
    lengths: Vec<u32>,
    bytes: Vec<u8>,
}

impl Repository {
    /// Starts a backup: pins the repository, claims the name, loads the index.
    ///
    /// # Errors
    /// [`Error::NameTaken`], [`Error::NameBusy`], or the store's.
    pub async fn begin_backup(&self, begin: BeginBackup) -> Result<WriteSession> {
        self.may_write()?;
        let (session, view, index) = self.open_session_with_index(Activity::Backup).await?;
        let ready = async {
            let used = data_keys::used(&index);
            self.learn_data_keys(used.clone()).await?;
            self.write_key()?;
            let lost = self.lost_data_keys(&used);
            let claim = self.claim(&view, &session, &begin.cluster, &begin.name);
            Ok((lost, claim.await?, self.legacy(&view).await?))
        };
        let (lost, claim_bytes, legacy) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(session.give_up(error).await),
        };
        for (number, what) in &lost {
            let object = layout::data_key(*number);
            tracing::warn!(%object, %what, "damaged; this backup writes again what it needs of what the key sealed");
        }
        for (key, problem) in view.problems.iter().chain(&index.problems) {
            tracing::warn!(object = %key, %problem, "damaged; this backup writes again what it needs of it");
        }
        let budget = (self.inner.memory / 16).clamp(FRAMES_UNDER_WAY, 512 << 20) as usize;
        Ok(WriteSession {
            inner: Arc::new(Writing {
                packer: Packer::new(self.clone(), session.id),
                chunker: Chunker::new(self.key_set(), self.inner.settings.chunks),
                repository: self.clone(),
                current: Mutex::new((session.epoch, session.id)),
                footing: Footing::new(session, &view, &begin, claim_bytes),
                begin,
                index: index.with_lost_keys(lost.into_keys().collect()),
                legacy,
                added: Added::default(),
                taken: Mutex::default(),
                sealed: SealedWith::default(),
                unsent: AtomicU64::new(0),
                leftovers: tokio::sync::Mutex::default(),
                tasks: tokio::sync::Mutex::default(),
                budget: Arc::new(Semaphore::new(budget)),
                poison: Mutex::default(),
                read_bytes: AtomicU64::new(0),
                new_chunks: AtomicU64::new(0),
                reused_chunks: AtomicU64::new(0),
            }),
        })
    }
}

impl WriteSession {
    pub(crate) fn repository(&self) -> &Repository {
        &self.inner.repository
    }

    /// The id of the session, and of the backup once it is committed. If the session was taken for dead, the commit goes
    /// on with another one.
    pub fn id(&self) -> SessionId {
        self.current().1
    }

    fn current(&self) -> (u64, SessionId) {
        let current = &self.inner.current;
        *current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A neighbourhood: chunks put into it in order share frames.
    pub fn chunks(&self, class: FrameClass) -> ChunkWriter {
        ChunkWriter {
            session: self.clone(),
            class: Some(class),
            target: class.target(),
            buffer: Buffer::default(),
        }
    }

    /// A map to be written.
    pub fn map(&self, dataset: Dataset) -> MapWriter {
        let chunks = ChunkWriter {
            session: self.clone(),
            class: None,
            target: TREE_TARGET,
            buffer: Buffer::default(),
        };
        MapWriter::new(self.clone(), chunks, dataset)
    }

    /// What was done so far.
    pub fn progress(&self) -> WriteProgress {
        WriteProgress {
            read_bytes: self.inner.read_bytes.load(Ordering::Relaxed),
            new_chunks: self.inner.new_chunks.load(Ordering::Relaxed),
            reused_chunks: self.inner.reused_chunks.load(Ordering::Relaxed),
        }
    }

    /// Whether the repository has the chunk where this session may rely on it.
    pub(crate) fn may_reuse(&self, id: &ChunkId) -> Result<bool> {
        Ok(self.inner.index.reusable(id)?.is_some())
    }

    /// Whether the chunk need not be written. Otherwise the caller must write it now.
    fn has(&self, id: &ChunkId) -> Result<bool> {
        let reused = self.may_reuse(id)?
            || self.inner.added.has(id)?
            || self.inner.legacy.take(id)?
            || !self
                .inner
                .taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(*id);
        let counter = if reused {
            &self.inner.reused_chunks
        } else {
            &self.inner.new_chunks
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(reused)
    }

    /// Nothing that refers to chunks of a writer that failed may be committed.
    fn poison(&self, why: &str) {
        let mut poison = self
            .inner
            .poison
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        poison.get_or_insert_with(|| why.to_owned());
    }

    fn check(&self) -> Result<()> {
        match &*self
            .inner
            .poison
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Some(why) => Err(Error::Poisoned(why.clone())),
            None => Ok(()),
        }
    }

    /// Compresses and seals a frame on the CPU pool; waits while too many bytes are on their way.
    async fn submit(&self, class: PackClass, buffer: Buffer) -> Result<()> {
        if buffer.ids.is_empty() {
            return Ok(());
        }
        // If this future is dropped before the task has the frame, its chunks are lost, and others may refer to them.
        let mut guard = PoisonGuard {
            session: self,
            why: "a frame was dropped before it was stored",
            armed: true,
        };
        self.check()?;
        let weight = buffer.bytes.len().clamp(1, FRAMES_UNDER_WAY as usize) as u32;
        let permit = Arc::clone(&self.inner.budget)
            .acquire_many_owned(weight)
            .await
            .map_err(|_| Error::Stopped)?;
        let session = self.clone();
        let mut tasks = self.inner.tasks.lock().await;
        while let Some(result) = tasks.try_join_next() {
            result??;
        }
        tasks.spawn(async move {
            let result = session.seal(class, buffer).await;
            drop(permit);
            if let Err(error) = &result {
                session.poison(&error.to_string());
            }
            result
        });
        guard.armed = false;
        Ok(())
    }

    async fn seal(&self, class: PackClass, mut buffer: Buffer) -> Result<()> {
        // They stay until the segment is written.
        buffer.ids.shrink_to_fit();
        let inner = &self.inner;
        let repository = inner.repository.clone();
        let salt = repository.env().salt();
        let data_key = match class {
            PackClass::Data => repository.write_key()?,
            PackClass::Meta => 0,
        };
        let pool = repository.env().pool.clone();
        let session = self.clone();
        let sealed = pool
            .run(move || {
                let seal = repository.frame_sealer(class, data_key)?;
                session.inner.sealed.note(&seal);
                let bytes = seal
                    .encode(LEVEL, salt, &buffer.lengths, &buffer.bytes)
                    .making("a frame")?;
                Ok::<_, Error>(SealedFrame {
                    bytes,
                    data_key,
                    ids: buffer.ids,
                })
            })
            .await??;
        inner.packer.add(class, sealed).await?;
        self.write_index(SEGMENT_CHUNKS).await
    }

    /// Writes a segment of what is in the store and in none, if that has so many chunks.
    async fn write_index(&self, least: usize) -> Result<()> {
        let inner = &self.inner;
        let Some(segment) = inner.packer.take_segment(least).await else {
            return Ok(());
        };
        let rows = IndexSegment::of(&segment, inner.repository.inner.cache.folder())?;
        inner
            .added
            .write(&inner.repository, inner.footing.session.id, rows)
            .await?;
        // The segment knows them now.
        let mut taken = inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in &segment.entries {
            taken.remove(&entry.id);
        }
        taken.shrink_to(SEGMENT_CHUNKS);
        Ok(())
    }

    /// Gives up: ends the pin, so that the next prune reclaims what was written.
    ///
    /// # Errors
    /// If the store fails; the session expires by itself then.
    pub async fn abort(&self) -> Result<()> {
        self.poison("it was aborted");
        self.inner.tasks.lock().await.shutdown().await;
        let (epoch, id) = self.current();
        let first = &self.inner.footing.session;
        if id != first.id {
            self.inner.repository.close_session(epoch, id).await?;
        }
        first.close().await
    }
}

struct PoisonGuard<'a> {
    session: &'a WriteSession,
    why: &'static str,
    armed: bool,
}

impl Drop for PoisonGuard<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.session.poison(self.why);
        }
    }
}

/// Puts chunks into one neighbourhood. Owned by one task; must be finished.
pub struct ChunkWriter {
    session: WriteSession,
    /// `None`: tree nodes.
    class: Option<FrameClass>,
    target: usize,
    buffer: Buffer,
}

impl ChunkWriter {
    fn pack_class(&self) -> PackClass {
        if self.class.is_some() {
            PackClass::Data
        } else {
            PackClass::Meta
        }
    }

    /// Stores `bytes` and returns the value that stands for them.
    ///
    /// # Errors
    /// If an earlier frame could not be sealed or stored.
    pub async fn put_value(&mut self, bytes: &[u8]) -> Result<Value> {
        self.session
            .inner
            .read_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.is_empty()
            || (bytes.len() <= INLINE_MAX && self.class != Some(FrameClass::Secrets))
        {
            return Ok(Value::Inline(bytes.to_vec()));
        }
        if bytes.len() <= SINGLE_CHUNK_MAX {
            let id = self.put_data(bytes).await?;
            return Ok(Value::Chunk {
                id,
                len: bytes.len() as u32,
            });
        }
        let chunker = self.session.inner.chunker.clone();
        let mut chunks = Vec::new();
        for piece in chunker.cut(bytes) {
            chunks.push((self.put_data(piece).await?, piece.len() as u32));
        }
        if chunks.len() <= LIST_MAX {
            return Ok(Value::List { chunks });
        }
        let mut map = self.session.map(Dataset::Blocks);
        let mut offset = 0u64;
        for (id, len) in chunks {
            map.push(&offset.to_be_bytes(), &Value::Chunk { id, len })
                .await?;
            offset += u64::from(len);
        }
        let root = map.finish().await?.ok_or(Error::Stopped)?;
        Ok(Value::Map { root, len: offset })
    }

    async fn put_data(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self
            .session
            .repository()
            .key_set()
            .chunk_id(ChunkKind::Data, bytes);
        self.put_chunk(id, bytes).await?;
        Ok(id)
    }

    /// Stores a chunk whose id is known.
    pub(crate) async fn put_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<()> {
        if bytes.len() > CHUNK_MAX {
            return Err(Error::TooLong {
                what: "a chunk",
                length: bytes.len() as u64,
                limit: CHUNK_MAX as u64,
            });
        }
        if self.session.has(&id)? {
            return Ok(());
        }
        if self.buffer.bytes.len() + bytes.len() > CHUNK_MAX
            || self.buffer.ids.len() == FRAME_CHUNKS_MAX
        {
            self.cut().await?;
        }
        self.buffer.ids.push(id);
        self.buffer.lengths.push(bytes.len() as u32);
        self.buffer.bytes.extend_from_slice(bytes);
        self.session.inner.unsent.fetch_add(1, Ordering::SeqCst);
        if self.buffer.bytes.len() >= self.target {
            self.cut().await?;
        }
        Ok(())
    }

    /// Ends the current frame: what follows shares none with what came before.
    ///
    /// # Errors
    /// As [`ChunkWriter::put_value`].
    pub async fn cut(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let sent = buffer.ids.len() as u64;
        self.session.inner.unsent.fetch_sub(sent, Ordering::SeqCst);
        let class = self.pack_class();
        let result = self.session.submit(class, buffer).await;
        if let Err(error) = &result {
            self.session.poison(&error.to_string());
        }
        result
    }

    /// Hands over what is left. API objects that do not fill a frame share one with other writers' leftovers.
    ///
    /// # Errors
    /// As [`ChunkWriter::put_value`].
    pub async fn finish(mut self) -> Result<()> {
        if self.class != Some(FrameClass::Objects) || self.buffer.bytes.len() >= self.target / 2 {
            return self.cut().await;
        }
        let session = self.session.clone();
        let mut shared = session.inner.leftovers.lock().await;
        let fits = shared.bytes.len() + self.buffer.bytes.len() <= self.target * 2
            && shared.ids.len() + self.buffer.ids.len() <= FRAME_CHUNKS_MAX;
        if !fits {
            let full = std::mem::take(&mut *shared);
            session.submit(PackClass::Data, full).await?;
        }
        let sent = self.buffer.ids.len() as u64;
        session.inner.unsent.fetch_sub(sent, Ordering::SeqCst);
        shared.ids.append(&mut self.buffer.ids);
        shared.lengths.append(&mut self.buffer.lengths);
        shared.bytes.append(&mut self.buffer.bytes);
        Ok(())
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        if !self.buffer.ids.is_empty() {
            self.session
                .poison("a writer ended before it stored what others may refer to");
        }
    }
}
