//! What the repository consists of, as of one epoch.
//!
//! The newest epoch's stub is the first key under `epochs/`. A commit counts if its epoch is at or above the head's
//! watermark, or if the head lists it; everything else under `manifests/` is a fence, or the work of a process that was
//! declared dead. Index segments count if the head lists them or their session's commit counts.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::documents::{self, EpochBody, EpochStub, Fence, Manifest, SegmentRef};
use ark_format::envelope::{Kind, kind_of};
use ark_format::layout::{self, Object};
use ark_format::limits::SMALL_OBJECT_MAX;
use ark_format::{PackName, SessionId};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde::Serialize;

use crate::error::DamagedAt;
use crate::graves::Grave;
use crate::index::Index;
use crate::repository::{Repository, require};
use crate::store::{ObjectInfo, StoreError};
use crate::{Error, Result};

/// Manifests that no epoch lists yet are read so many at once,
const FETCHES: usize = 8;
/// and their copies in the cache so many in one go.
const READ_TOGETHER: usize = 512;

/// A backup in force.
#[derive(Clone, Debug, Serialize)]
pub struct BackupRow {
    /// What its manifest says.
    #[serde(flatten)]
    pub row: documents::BackupRow,
    /// When it was forgotten, Unix ms.
    pub forgotten: Option<i64>,
    /// Whether its manifest object is there; if not, the backup is Lost although the head lists it.
    pub lost: bool,
}

impl std::ops::Deref for BackupRow {
    type Target = documents::BackupRow;
    fn deref(&self) -> &documents::BackupRow {
        &self.row
    }
}

impl BackupRow {
    /// Bytes that the backup added to the repository, its manifest included.
    pub fn added_bytes(&self) -> u64 {
        self.row.stats.added_bytes() + self.row.manifest_size
    }

    /// The key of its manifest.
    pub fn manifest_key(&self) -> String {
        layout::manifest(self.row.epoch, self.row.id)
    }
}

/// The newest epoch.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its stub.
    pub stub: EpochStub,
    /// BLAKE3 of the stub object.
    pub hash: [u8; 32],
    /// Its body.
    pub body: EpochBody,
}

/// What stands in the place of a session's commit.
pub(crate) enum Ending {
    /// It has committed.
    Commit(Box<Manifest>),
    /// It ended without a commit.
    Fence(Fence),
}

/// What was listed before the head was read.
struct Listing {
    manifests: Vec<ObjectInfo>,
    forgotten: Vec<ObjectInfo>,
}

/// What the repository consists of.
#[derive(Clone, Debug)]
pub struct View {
    /// The epoch's number.
    pub number: u64,
    /// BLAKE3 of its stub object.
    pub hash: [u8; 32],
    /// Its body.
    pub body: EpochBody,
    /// Backups in force, newest first.
    pub backups: Vec<BackupRow>,
    /// Ended sessions: fenced or closed, by the epoch in their key.
    pub fences: BTreeMap<SessionId, u64>,
    /// Those of them that another process has declared dead, and whose packs may be adopted: neither below the watermark
    /// nor retired. With when, by the store's clock, Unix ms.
    pub declared_dead: BTreeMap<SessionId, i64>,
    /// Tombstones.
    pub graves: BTreeMap<SessionId, Grave>,
    /// Index segments in force: the head's and those of commits since.
    pub segments: Vec<SegmentRef>,
    /// Packs that must not be reused.
    pub condemned: BTreeMap<PackName, u64>,
    /// Control objects that should be there and are damaged or missing.
    pub problems: Vec<(String, String)>,
}

impl View {
    /// A backup by the id of its session.
    pub fn backup(&self, id: &SessionId) -> Option<&BackupRow> {
        self.backups.iter().find(|b| b.row.id == *id)
    }

    /// Whether a writer with this view may list the pack of a session that was declared dead in a segment of its own.
    pub fn may_adopt(&self, pack: &PackName) -> bool {
        self.declared_dead.contains_key(&pack.session)
            && !self.condemned.contains_key(pack)
            && !self.body.dropped.contains(pack)
    }
}

impl Repository {
    /// The newest epoch.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Missing`], [`Error::RolledBack`], or the store's.
    pub async fn head(&self) -> Result<Head> {
        // A prune deletes the body of the epoch before its own: read the head again then.
        for _ in 0..8 {
            // Looked up first: another process may see a newer one while this one reads the head.
            let seen = self.seen_epoch();
            let (stub, hash) = self.head_stub().await?;
            if let Some(seen) = seen.filter(|seen| *seen > stub.number) {
                return Err(Error::RolledBack {
                    found: stub.number,
                    seen,
                });
            }
            let key = &stub.body_key;
            let open = |bytes: &[u8]| {
                if *blake3::hash(bytes).as_bytes() != stub.body_hash {
                    return Err(ark_format::DecodeError::Unauthentic).at(key);
                }
                self.sealer().decode(Kind::EpochBody, key, bytes).at(key)
            };
            let body = self
                .inner
                .cache
                .get_checked(self.store(), key, Some(stub.body_size), open)
                .await;
            match body {
                Ok(body) => {
                    let body: EpochBody = body;
                    require(self.store().url(), &body.features)?;
                    self.remember_epoch(stub.number);
                    return Ok(Head { stub, hash, body });
                }
                Err(Error::Store(StoreError::NotFound { key, .. })) => {
                    let (newer, _) = self.head_stub().await?;
                    if newer.number == stub.number {
                        return Err(Error::Missing { object: key });
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Missing {
            object: layout::EPOCHS.to_owned(),
        })
    }

    /// The newest stub and its hash.
    ///
    /// A stub that opens and is not signed by the full role is passed over, like a key that is not an epoch's: whoever may
    /// write there and holds the keys of the backup role could else end the repository with one object.
    pub(crate) async fn head_stub(&self) -> Result<(EpochStub, [u8; 32])> {
        let missing = || Error::Missing {
            object: layout::EPOCHS.to_owned(),
        };
        let first = self.store().first(layout::EPOCHS).await?;
        if let Some(head) = self.read_stub(&first.ok_or_else(missing)?.key).await? {
            return Ok(head);
        }
        for object in self.store().list(layout::EPOCHS).await? {
            if let Some(head) = self.read_stub(&object.key).await? {
                return Ok(head);
            }
        }
        Err(missing())
    }

    /// A stub and its hash; `None` if the object is none.
    async fn read_stub(&self, key: &str) -> Result<Option<(EpochStub, [u8; 32])>> {
        let Some(Object::EpochStub(number)) = layout::parse(key) else {
            return Ok(None);
        };
        let bytes = self.store().get_bounded(key, SMALL_OBJECT_MAX).await?;
        let stub: EpochStub = match self.decode_signed(Kind::EpochStub, key, &bytes) {
            Err(Error::Forged { object }) => {
                self.pass_over(object);
                return Ok(None);
            }
            stub => stub?,
        };
        if stub.number != number {
            return Err(Error::Damaged {
                object: key.to_owned(),
                source: ark_format::DecodeError::Unauthentic,
            });
        }
        Ok(Some((stub, *blake3::hash(&bytes).as_bytes())))
    }

    /// The hash of the stub with this number, whatever it is; `None` if there is none.
    pub(crate) async fn hash_of_epoch(&self, number: u64) -> Result<Option<[u8; 32]>> {
        let key = layout::epoch_stub(number);
        match self.store().get_bounded(&key, SMALL_OBJECT_MAX).await {
            Ok(bytes) => Ok(Some(*blake3::hash(&bytes).as_bytes())),
            // Nobody has looked at something so large as at an epoch.
            Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What the repository consists of now.
    ///
    /// # Errors
    /// If the store fails or the head is damaged. A damaged manifest is a problem of the view, not an error.
    pub async fn view(&self) -> Result<View> {
        // Listed before the head is read that judges it: a commit that an older head would still count, although a
        // newer one has closed its session for ever, can be created only after that newer head is there.
        let listing = self.list_commits().await?;
        let head = self.head().await?;
        self.view_of(head, listing).await
    }

    /// The view and its index. Segments that are missing because the head has moved on are not damage.
    pub(crate) async fn view_with_index(&self) -> Result<(View, Index)> {
        for _ in 0..8 {
            let view = self.view().await?;
            let index = self.load_index(&view).await?;
            if !index.lacks_segments || self.head_stub().await?.0.number == view.number {
                return Ok((view, index));
            }
        }
        Err(Error::Missing {
            object: layout::INDEX.to_owned(),
        })
    }

    async fn list_commits(&self) -> Result<Listing> {
        let manifests = self.store().list(layout::MANIFESTS).await?;
        let forgotten = self.store().list(layout::FORGOTTEN).await?;
        Ok(Listing {
            manifests,
            forgotten,
        })
    }

    /// What the repository consists of under a head that was read before: for a prune, which can only publish what
    /// follows that very head.
    pub(crate) async fn view_at(&self, head: Head) -> Result<View> {
        let listing = self.list_commits().await?;
        self.view_of(head, listing).await
    }

    async fn view_of(&self, head: Head, listing: Listing) -> Result<View> {
        let Head { stub, hash, body } = head;
        let mut problems = Vec::new();
        let mut fences = BTreeMap::new();
        let mut declared_dead = BTreeMap::new();
        let mut rows: BTreeMap<SessionId, BackupRow> = body
            .manifests
            .iter()
            .map(|row| {
                (
                    row.id,
                    BackupRow {
                        row: row.clone(),
                        forgotten: None,
                        lost: true,
                    },
                )
            })
            .collect();
        let mut listed = BTreeSet::new();
        let mut recent = BTreeSet::new();
        let mut undecided = Vec::new();
        for object in listing.manifests {
            let Some(Object::Manifest(epoch, id)) = layout::parse(&object.key) else {
                continue;
            };
            listed.insert(id);
            if let Some(row) = rows.get_mut(&id) {
                row.lost = false;
                if row.row.manifest_size != object.size {
                    problems.push((
                        object.key,
                        format!("its size is {}, not {}", object.size, row.row.manifest_size),
                    ));
                }
            } else if epoch < body.watermark || body.is_retired(&id) {
                // A fence that prune has not deleted yet, a commit that came too late, or one that an epoch has given up
                // because nobody can read it: none counts.
                fences.insert(id, epoch);
            } else {
                undecided.push((epoch, id, object));
            }
        }
        for some in undecided.chunks(READ_TOGETHER) {
            let keys: Vec<String> = some.iter().map(|(.., object)| object.key.clone()).collect();
            let copies = self.inner.cache.copies(&keys).await;
            let endings = some.iter().zip(copies);
            let mut endings = stream::iter(endings)
                .map(|((epoch, id, _), copy)| self.read_ending(*epoch, *id, copy))
                .buffered(FETCHES)
                .boxed();
            for (epoch, id, object) in some {
                match endings.next().await.ok_or(Error::Stopped)? {
                    Ok(Ending::Commit(manifest)) => {
                        let mut row = manifest.row;
                        row.manifest_size = object.size;
                        recent.insert((*epoch, *id));
                        rows.insert(
                            *id,
                            BackupRow {
                                row,
                                forgotten: None,
                                lost: false,
                            },
                        );
                    }
                    Ok(Ending::Fence(fence)) => {
                        fences.insert(*id, *epoch);
                        if fence.by != *id {
                            declared_dead.insert(*id, object.modified_ms);
                        }
                    }
                    Err(Error::Damaged { object, source }) => {
                        problems.push((object, source.to_string()))
                    }
                    Err(Error::Store(StoreError::NotFound { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let seen = self.seen_commits();
        for (epoch, id) in &seen {
            // Without a head there is no watermark, and nothing can be said.
            let decided = *epoch < body.watermark || body.is_retired(id);
            if decided || rows.contains_key(id) || stub.body_key.is_empty() {
                continue;
            }
            let key = layout::manifest(*epoch, *id);
            if fences.contains_key(id) {
                problems.push((
                    key,
                    "a fence stands where this client has seen a backup".into(),
                ));
            } else if !listed.contains(id) && self.store().head(&key).await?.is_none() {
                problems.push((key, "it is missing, and this client has seen it".into()));
            }
            recent.insert((*epoch, *id));
        }
        self.remember_commits(&seen, &recent);
        // It may have been committed, and listed by the head, since the listing.
        for row in rows.values_mut().filter(|row| row.lost) {
            row.lost = self.store().head(&row.manifest_key()).await?.is_none();
        }
        let graves = self.graves(listing.forgotten, &mut problems).await?;
        for (id, grave) in &graves {
            if let Some(row) = rows.get_mut(id) {
                row.forgotten = grave.forgotten;
            }
        }
        let mut segments: BTreeSet<SegmentRef> = body.segments.iter().cloned().collect();
        let known: BTreeSet<SessionId> = body.manifests.iter().map(|row| row.id).collect();
        for row in rows.values() {
            if !known.contains(&row.row.id) {
                // Of another session's segments nobody but that session has the say.
                let own = row.row.segments.iter().filter(|s| s.session == row.row.id);
                segments.extend(own.cloned());
            }
        }
        let mut backups: Vec<BackupRow> = rows.into_values().collect();
        backups.sort_by_key(|b| std::cmp::Reverse((b.row.created, b.row.id)));
        Ok(View {
            number: stub.number,
            hash,
            condemned: body.condemned.iter().map(|c| (c.pack, c.epoch)).collect(),
            backups,
            fences,
            declared_dead,
            graves,
            segments: segments.into_iter().collect(),
            problems,
            body,
        })
    }

    /// The commit of a session; `None` if it is a fence.
    pub(crate) async fn read_commit(&self, epoch: u64, id: SessionId) -> Result<Option<Manifest>> {
        Ok(match self.read_ending(epoch, id, None).await? {
            Ending::Commit(manifest) => Some(*manifest),
            Ending::Fence(_) => None,
        })
    }

    /// How a session has ended; `copy` is what the cache has of it, if that was looked up.
    async fn read_ending(&self, epoch: u64, id: SessionId, copy: Option<Bytes>) -> Result<Ending> {
        let key = layout::manifest(epoch, id);
        let open = |bytes: &[u8]| self.decode_ending(&key, id, bytes);
        self.inner
            .cache
            .get_checked_in(copy, self.store(), &key, None, open)
            .await
    }

    pub(crate) fn decode_ending(&self, key: &str, id: SessionId, bytes: &[u8]) -> Result<Ending> {
        if kind_of(bytes).at(key)? == Kind::Fence.byte() {
            let fence = self.sealer().decode(Kind::Fence, key, bytes).at(key)?;
            return Ok(Ending::Fence(fence));
        }
        let manifest: Manifest = self.sealer().decode(Kind::Manifest, key, bytes).at(key)?;
        if manifest.row.id != id || layout::manifest(manifest.row.epoch, id) != key {
            return Err(Error::Damaged {
                object: key.to_owned(),
                source: ark_format::DecodeError::Unauthentic,
            });
        }
        Ok(Ending::Commit(Box::new(manifest)))
    }

    /// Every backup in force, newest first, forgotten ones included.
    ///
    /// # Errors
    /// As [`Repository::view`].
    pub async fn backups(&self) -> Result<Vec<BackupRow>> {
        Ok(self.view().await?.backups)
    }

    /// The whole manifest of a backup.
    ///
    /// # Errors
    /// [`Error::NoSuchBackup`], [`Error::Damaged`], or the store's.
    pub async fn manifest(&self, id: &SessionId) -> Result<Manifest> {
        let view = self.view().await?;
        let row = view.backup(id).ok_or_else(|| Error::NoSuchBackup {
            name: id.to_string(),
        })?;
        self.manifest_of(row).await
    }

    /// The whole manifest of a listed backup.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub async fn manifest_of(&self, row: &BackupRow) -> Result<Manifest> {
        match self.read_commit(row.row.epoch, row.row.id).await {
            Ok(Some(mut manifest)) => {
                manifest.row.manifest_size = row.row.manifest_size;
                Ok(manifest)
            }
            Ok(None) => Err(Error::NoSuchBackup {
                name: row.row.name.clone(),
            }),
            Err(Error::Store(StoreError::NotFound { .. })) => {
                // Deleted, and taken away since the row was read: that is no damage.
                if let Ok(view) = self.view().await
                    && view.backup(&row.row.id).is_none()
                {
                    return Err(Error::NoSuchBackup {
                        name: row.row.name.clone(),
                    });
                }
                Err(Error::Missing {
                    object: row.manifest_key(),
                })
            }
            Err(error) => Err(error),
        }
    }
}
