//! Ending a backup: everything to the store, then the manifest, which is the commit.
//!
//! The commit of a session and the fence that declares it dead have one key, so exactly one of them is there. Whoever finds
//! a fence goes on with another session ([`super::adoption`]), which relies on nothing that it has not looked at itself.
//!
//! A commit is reported as made after a last look: the object that the session wrote last before it is there, the head
//! continues the session's view, and the commit is in force. Objects are written in order, so a state of the bucket that has
//! the last one has them all. Whenever anything of this does not hold, because the bucket was put back to an older state, or because a
//! prune was fast, everything that the backup needs is looked up in the repository as it is.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::atomic;

use ark_format::documents::{
    BackupRow, BackupStatus, Counts, EpochBody, Manifest, SegmentRef, WriteStats,
};
use ark_format::envelope::Kind;
use ark_format::id::PackClass;
use ark_format::layout::{self, Object};
use ark_format::tree::Root;
use ark_format::{PackName, SessionId};

use super::adoption::Adopted;
use super::{Footing, PoisonGuard, WriteSession};
use crate::index::Index;
use crate::prune::mark::mark;
use crate::repository::Made;
use crate::session::Session;
use crate::view::{Ending, View};
use crate::{Error, Result};

/// A backup is taken for dead so often before it gives up.
const RETRIES: u32 = 3;
/// It is looked up so often while prunes move what it needs.
const LOOKS: u32 = 8;

/// How a backup ends.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The Backup as JSON.
    pub document: Vec<u8>,
    /// Name and root of each dataset.
    pub datasets: Vec<(String, Root)>,
    /// What is in it.
    pub counts: Counts,
    /// How it went.
    pub status: BackupStatus,
    /// When it may go, Unix seconds.
    pub expires: Option<i64>,
    /// The log, UTF-8 lines.
    pub log: Vec<u8>,
}

/// A committed backup.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its id.
    pub id: SessionId,
    /// What was stored.
    pub stats: WriteStats,
    /// Bytes of the manifest object.
    pub manifest_bytes: u64,
}

/// What came of an attempt to commit.
enum Attempt {
    /// The manifest is there and counts.
    Committed {
        /// Its bytes.
        bytes: u64,
    },
    /// Another process has declared the session dead.
    TakenForDead,
    /// This process has ended the session itself.
    Ended,
}

impl WriteSession {
    /// Ends the backup: waits for all uploads, writes the index segment and then the manifest. If the session was taken
    /// for dead meanwhile, the backup goes on with another one; [`Committed::id`] is its.
    ///
    /// # Errors
    /// [`Error::Fenced`] if the session was declared dead, or ended, and what it wrote is gone; [`Error::Poisoned`] if a writer
    /// failed or was dropped unfinished: nothing is committed then. [`Error::Unconfirmed`] if it is committed and something
    /// that it needs may be gone; [`Error::DeletedMeanwhile`] if it was; [`Error::FencedOrDeleted`] if nobody can tell. With
    /// an error of the store it may be committed or not: the name is taken if it is. None of them can be tried again.
    pub async fn commit(&self, commit: Commit) -> Result<Committed> {
        self.commit_repairing(commit, None).await
    }

    /// As [`WriteSession::commit`], for a backup that has what could be saved of a damaged one.
    pub(crate) async fn commit_repairing(
        &self,
        commit: Commit,
        repairs: Option<SessionId>,
    ) -> Result<Committed> {
        let inner = &self.inner;
        // Packs that an attempt could not upload are gone with it: another one would refer to them.
        let mut guard = PoisonGuard {
            session: self,
            why: "an earlier attempt did not end",
            armed: true,
        };
        self.store_all().await?;
        let mut stats = inner.packer.stats().await;
        let progress = self.progress();
        stats.new_chunks = progress.new_chunks;
        stats.reused_chunks = progress.reused_chunks;
        stats.control_bytes = inner.footing.session.pin_bytes + inner.footing.claim_bytes;

        let mut log = commit.log.clone();
        let mut adopted: Option<Adopted> = None;
        for retries in 0.. {
            let (footing, added) = match &adopted {
                Some(adopted) => (&adopted.footing, &adopted.added),
                None => (&inner.footing, &inner.added),
            };
            let segments = added.references();
            stats.index_bytes = segments.iter().map(|segment| segment.size).sum();
            let manifest = Manifest {
                row: BackupRow {
                    id: footing.session.id,
                    epoch: footing.session.epoch,
                    name: inner.begin.name.clone(),
                    cluster: inner.begin.cluster.clone(),
                    created: self.inner.footing.session.id.unix_ms() as i64,
                    status: commit.status,
                    counts: commit.counts,
                    stats,
                    expires: commit.expires,
                    datasets: commit.datasets.clone(),
                    segments,
                    previous: footing.previous,
                    manifest_size: 0,
                },
                finished: inner.repository.env().clock.now_ms(),
                view: footing.view,
                view_hash: footing.view_hash,
                tool: concat!("ark ", env!("CARGO_PKG_VERSION")).to_owned(),
                document: commit.document.clone(),
                log: log.clone(),
                repairs,
            };
            let roots: Vec<Root> = commit.datasets.iter().map(|(_, root)| *root).collect();
            let attempt = match self.attempt(footing, &manifest, &roots).await {
                Ok(attempt) => attempt,
                Err(error) => {
                    if let Some(adopted) = adopted {
                        adopted.give_up().await;
                    }
                    return Err(error);
                }
            };
            let again = match attempt {
                Attempt::Committed { bytes } => {
                    guard.armed = false;
                    return Ok(Committed {
                        id: footing.session.id,
                        stats,
                        manifest_bytes: bytes,
                    });
                }
                Attempt::TakenForDead => retries < RETRIES,
                Attempt::Ended => false,
            };
            if !again {
                return Err(self.fenced());
            }
            let next = self.adopt(&roots, added).await?;
            tracing::warn!("{}", next.account);
            log.extend_from_slice(format!("{}\n", next.account).as_bytes());
            stats.data_bytes += next.stats.data_bytes;
            stats.tree_bytes += next.stats.tree_bytes;
            stats.trailer_bytes += next.stats.trailer_bytes;
            stats.padding_bytes += next.stats.padding_bytes;
            stats.control_bytes += next.stats.control_bytes;
            stats.packs += next.stats.packs;
            adopted = Some(next);
        }
        Err(self.fenced())
    }

    pub(super) fn fenced(&self) -> Error {
        Error::Fenced {
            session: self.inner.footing.session.id.to_string(),
        }
    }

    /// Waits until everything that was put is in the store and in a segment.
    async fn store_all(&self) -> Result<()> {
        let inner = &self.inner;
        let leftovers = std::mem::take(&mut *inner.leftovers.lock().await);
        self.submit(PackClass::Data, leftovers).await?;
        let mut tasks = inner.tasks.lock().await;
        while let Some(result) = tasks.join_next().await {
            result??;
        }
        drop(tasks);
        self.check()?;
        if inner.unsent.load(atomic::Ordering::SeqCst) > 0 {
            self.poison("a writer has not ended");
            self.check()?;
        }
        inner.packer.finish().await?;
        self.write_index(0).await?;
        let session = inner.footing.session.id;
        let adopted = inner.legacy.adopt(&inner.repository, session, &inner.added);
        adopted.await
    }

    async fn attempt(
        &self,
        footing: &Footing,
        manifest: &Manifest,
        roots: &[Root],
    ) -> Result<Attempt> {
        let repository = &self.inner.repository;
        let session = &footing.session;
        repository.confirm_data_keys(&self.inner.sealed).await?;
        let key = session.commit_key();
        let made = repository.create_document(Kind::Manifest, &key, manifest);
        let bytes = match made.await? {
            Made::New { size } => size,
            Made::Exists(bytes) => {
                // Unless it was garbled on the way: then nobody knows.
                let ending = repository.decode_ending(&key, session.id, &bytes)?;
                session.ended();
                return Ok(match ending {
                    Ending::Fence(fence) if fence.by != session.id => Attempt::TakenForDead,
                    _ => Attempt::Ended,
                });
            }
        };
        session.ended();
        let segments = &manifest.row.segments;
        let other = match self.last_look(footing, segments, roots).await {
            // This client can look no further, and there is a commit.
            Err(Error::RolledBack { .. }) => Err(unconfirmed(session)),
            other => other,
        };
        if let Some(other) = other? {
            return Ok(other);
        }
        repository.remember_commit((session.epoch, session.id));
        Ok(Attempt::Committed { bytes })
    }

    /// Whether the commit that this session has just created is in force and has everything: `None`, or what else came of it.
    async fn last_look(
        &self,
        footing: &Footing,
        segments: &[SegmentRef],
        roots: &[Root],
    ) -> Result<Option<Attempt>> {
        let repository = &self.inner.repository;
        let session = &footing.session;
        let last = segments.last().map_or_else(
            || layout::session(session.epoch, session.id),
            |segment| layout::segment(segment.session, segment.number),
        );
        let looked = futures::join!(repository.store().head(&last), repository.head_stub());
        let (there, (stub, hash)) = (looked.0?.is_some(), looked.1?);
        if there && (stub.number, hash) == (footing.view, footing.view_hash) {
            return Ok(None);
        }
        if there {
            let head = repository.head().await?;
            if let Some(passed) = overruled(&head.body, session) {
                return self.out_of_force(session, passed).await.map(Some);
            }
            let continued = match head.stub.number.cmp(&footing.view) {
                Ordering::Less => false,
                Ordering::Equal => head.hash == footing.view_hash,
                Ordering::Greater => {
                    repository.hash_of_epoch(footing.view).await? == Some(footing.view_hash)
                }
            };
            // Prunes have dropped what it relies on if they could not know of it.
            if continued && (lists(&head.body, session) || self.is_pinned(session).await?) {
                return Ok(None);
            }
        }
        self.look_at_all(session, roots).await
    }

    /// Why a commit that this session has created does not count, under a head in which it does not.
    ///
    /// Either it never did: the session was fenced, the watermark passed it, the fence was cleaned away, and only then was the
    /// commit created. Or it did, and the backup was deleted and taken away before this process looked again: then going on
    /// would bring back what somebody has deleted. A fence is cleaned away below the watermark only, so a
    /// session that is retired at or above it had none when the commit was created. A tombstone is made only of what
    /// counts, and is cleaned away after the commit: so a commit that is still there when no tombstone is, never counted.
    /// When neither is there, nobody can tell.
    async fn out_of_force(&self, session: &Session, passed: bool) -> Result<Attempt> {
        let store = self.inner.repository.store();
        let deleted = || Error::DeletedMeanwhile {
            session: session.id.to_string(),
        };
        if !passed {
            return Err(deleted());
        }
        let listed = store.list(layout::FORGOTTEN).await?;
        let of_it = |key: &str| match layout::parse(key) {
            Some(Object::Tombstone(id, _) | Object::Undo(id, _)) => id == session.id,
            _ => false,
        };
        if listed.iter().any(|object| of_it(&object.key)) {
            return Err(deleted());
        }
        match store.head(&session.commit_key()).await? {
            Some(_) => Ok(Attempt::TakenForDead),
            None => Err(Error::FencedOrDeleted {
                session: session.id.to_string(),
            }),
        }
    }

    async fn is_pinned(&self, session: &Session) -> Result<bool> {
        let pin = layout::session(session.epoch, session.id);
        Ok(self.inner.repository.store().head(&pin).await?.is_some())
    }

    /// As [`WriteSession::last_look`], where something was lost: the backup has everything in the repository as it is now, or is
    /// [`Error::Unconfirmed`].
    ///
    /// That it keeps it takes the pin: every prune of what the bucket was put back to has found this session open, and has
    /// dropped nothing, or its commit, and has marked what that needs.
    async fn look_at_all(&self, session: &Session, roots: &[Root]) -> Result<Option<Attempt>> {
        let repository = &self.inner.repository;
        for _ in 0..LOOKS {
            // Before the head: a prune deletes the pin of a commit when an epoch lists it.
            let pinned = self.is_pinned(session).await?;
            let (view, index) = repository.view_with_index().await?;
            if let Some(passed) = overruled(&view.body, session) {
                return self.out_of_force(session, passed).await.map(Some);
            }
            let number = view.number;
            let counts = view.backup(&session.id).is_some_and(|row| !row.lost);
            let known = pinned || lists(&view.body, session);
            if counts && known && self.is_whole(view, index, roots).await? {
                return Ok(None);
            }
            // What a prune has moved since is not lost.
            if repository.head_stub().await?.0.number == number {
                break;
            }
        }
        Err(unconfirmed(session))
    }

    /// Whether the bucket has the segments of a view, and by these everything that the maps need.
    async fn is_whole(&self, view: View, index: Index, roots: &[Root]) -> Result<bool> {
        let repository = &self.inner.repository;
        // The index may come from the cache.
        let listed = repository.store().list(layout::INDEX).await?;
        let sizes: BTreeMap<&str, u64> = listed.iter().map(|o| (o.key.as_str(), o.size)).collect();
        let is_there = |segment: &SegmentRef| {
            let key = layout::segment(segment.session, segment.number);
            sizes.get(key.as_str()) == Some(&segment.size)
        };
        if !view.segments.iter().all(is_there) {
            return Ok(false);
        }
        let there = repository.list_packs().await?;
        let index = repository
            .without_lost_keys(index.with_packs_stored(there.stored))
            .await?;
        let reader = repository.reader_of(None, view, index.clone());
        let marked = match mark(&reader, &index, roots).await {
            Ok(marked) if marked.unknown == 0 => marked,
            Ok(_) | Err(Error::Damaged { .. }) => return Ok(false),
            Err(error) if error.is_absence() => return Ok(false),
            Err(error) => return Err(error),
        };
        let packs = index.packs();
        let whole = |name: &PackName| packs.get(name).map(|row| &row.size) == there.sizes.get(name);
        Ok(marked.packs(&index)?.iter().all(whole))
    }
}

fn lists(body: &EpochBody, session: &Session) -> bool {
    body.manifests.iter().any(|row| row.id == session.id)
}

/// Whether a commit of this session does not count under an epoch, and if so, whether because the watermark has passed it.
fn overruled(body: &EpochBody, session: &Session) -> Option<bool> {
    let passed = body.watermark > session.epoch;
    (!lists(body, session) && (passed || body.is_retired(&session.id))).then_some(passed)
}

fn unconfirmed(session: &Session) -> Error {
    Error::Unconfirmed {
        session: session.id.to_string(),
    }
}
