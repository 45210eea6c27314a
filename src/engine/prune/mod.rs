//! Garbage collection: pin, condemn, drop.
//!
//! A prune runs transitions. Each reads the head, lists the open sessions, then the commits, marks what they need, and
//! publishes the next epoch by create-if-absent; only after that it deletes. A pack that nothing needs is condemned in
//! one epoch and dropped in a later one, and only when every session that is open looked at an epoch in which it was
//! condemned already. So whoever found a chunk in a pack, and may still commit, either is seen as open (no drop), or
//! has committed (marked), or was fenced (cannot commit). Names are used once, so late deletes hit nothing new.
//!
//! Clocks decide liveness only: when a session counts as dead, and when a tombstone's grace is over.

mod kept;
mod leftovers;
pub(crate) mod mark;
mod plan;
mod publish;
pub(crate) mod repack;
mod room;

use std::collections::BTreeSet;

use ark_format::documents::Activity;
use ark_format::layout;
use serde::Serialize;

pub use plan::{PackLine, PrunePlan};

use self::publish::Cached;
use self::room::Room;
use crate::confirmation::Lie;
use crate::repository::Repository;
use crate::session::Session;
use crate::store::{RequestCounts, StoreError};
use crate::{Error, Result};

/// Transitions of one prune at most: condemn, drop, and what a lost race adds.
const TRANSITIONS_MAX: u32 = 16;
/// And on a full disk, where each one frees the room for the next.
const SMALL_TRANSITIONS_MAX: u32 = 256;
/// How long a tombstone waits before prune honours it.
pub const GRACE_MS: i64 = 7 * 24 * 3600 * 1000;

/// How long after it was declared dead a writer may come back for what it wrote, if its process is not known to be gone.
pub const SILENCE_MS: i64 = 24 * 3600 * 1000;

/// How to prune.
#[derive(Clone, Copy, Debug)]
pub struct PruneOptions {
    /// Honour tombstones at once instead of after 7 days, and keep nothing of sessions that were declared dead.
    pub now: bool,
    /// Share of bytes that nothing needs, inside packs that are needed, which is not worth a rewrite.
    pub max_unused: f64,
}

impl Default for PruneOptions {
    fn default() -> Self {
        PruneOptions {
            now: false,
            max_unused: 0.05,
        }
    }
}

/// What a prune did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PruneReport {
    /// Epochs published.
    pub epochs: u32,
    /// Backups collected.
    pub backups_removed: Vec<String>,
    /// Packs in the bucket before.
    pub packs_before: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Packs in the bucket after.
    pub packs_after: u64,
    /// Their bytes.
    pub bytes_after: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Packs rewritten because much of them was not needed, or because they were small.
    pub packs_repacked: u64,
    /// Sessions whose process was gone.
    pub sessions_ended: Vec<String>,
    /// Bytes that nothing needs, held back for open sessions.
    pub held_back_bytes: u64,
    /// The sessions that they wait for.
    pub waiting_for: Vec<String>,
    /// Bytes that backups wrote which gave no sign of life and may come back for them.
    pub kept_bytes: u64,
    /// The sessions of these.
    pub kept_for: Vec<String>,
    /// Bytes that nothing needs inside packs that are needed.
    pub unused_bytes: u64,
    /// Bytes that nothing needs and that stay because freeing them takes room first, of which a full disk has none.
    pub left_for_room_bytes: u64,
    /// Packs that were to be rewritten, cannot be read, and are left as they are.
    pub damaged: Vec<String>,
    /// What the bucket keeps of the packs that were deleted.
    pub kept: Kept,
    /// Objects that the store refused to delete for now. A later prune tries again.
    pub refused: Vec<Refused>,
    /// Objects that were not written by a client of the full role and were passed over.
    pub forged: Vec<String>,
    /// Index segments that say of packs what is not true, and were passed over.
    pub lies: Vec<Lie>,
    /// Requests to the store.
    pub requests: RequestCounts,
}

/// Packs that ark no longer has and the bucket still does, as older versions.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kept {
    /// How many.
    pub packs: u64,
    /// Their bytes: they come back when a lifecycle rule, or somebody, removes the versions.
    pub bytes: u64,
    /// The one whose lock ends last: nobody can remove its version before.
    pub last: Option<Refused>,
}

/// An object that the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its key.
    pub object: String,
    /// Until when, in the store's words, if it says so.
    pub until: Option<String>,
}

impl Repository {
    /// What a prune would do now. Changes nothing.
    ///
    /// # Errors
    /// If the store fails, or damage hides what is needed.
    pub async fn plan_prune(&self, options: &PruneOptions) -> Result<PrunePlan> {
        let facts = self
            .prune_facts(options, None, &mut Cached::default())
            .await?;
        plan::plan(&facts, options)
    }

    /// Collects garbage until nothing more can be dropped. With no other session open, the bytes are gone when it
    /// returns. On a full disk it works in steps, none of which writes more than was lent or freed before; what no step has
    /// the room for stays, and the report says how much.
    ///
    /// # Errors
    /// [`Error::Role`] without the signing key, damage that hides what is needed, or the store's. What was published
    /// stays true; a later prune goes on from there.
    pub async fn prune(
        &self,
        options: &PruneOptions,
        mut progress: impl FnMut(&PrunePlan),
    ) -> Result<PruneReport> {
        if self.key_set().signing.is_none() {
            return Err(Error::Role { what: "prune" });
        }
        self.may_write()?;
        self.may_prune()?;
        let before = self.store().counters();
        // An earlier prune's: it may be possible now.
        self.locked().clear();
        let mut report = PruneReport::default();
        let pruned = self
            .prune_in_room(options, &mut report, &mut progress)
            .await;
        if !pruned.as_ref().is_err_and(is_full) {
            self.restore_reserve().await?;
        }
        pruned?;
        self.remove_replaced_records().await?;
        report.forged = self.forged();
        let refused = self.retained().into_iter();
        report.refused = refused
            .map(|(object, until)| Refused { object, until })
            .collect();
        report.requests = self.store().counters() - before;
        Ok(report)
    }

    async fn prune_in_room(
        &self,
        options: &PruneOptions,
        report: &mut PruneReport,
        progress: &mut impl FnMut(&PrunePlan),
    ) -> Result<()> {
        let mut room = None;
        let mut rest = None;
        for next in room::TRIES {
            match self.prune_once(options, room, report, progress).await {
                Err(error) if is_full(&error) && self.store().is_on_a_disk() => {}
                result => return result,
            }
            self.lend_reserve().await?;
            room = Some(next);
            // What it would write of what is lent is not counted.
            let (cache, repository) = (&self.inner.cache, self.store().local_path());
            if repository.is_some_and(|folder| cache.shares_a_disk_with(folder)) {
                rest.get_or_insert_with(|| cache.rest());
            }
        }
        self.prune_once(options, room, report, progress).await
    }

    async fn prune_once(
        &self,
        options: &PruneOptions,
        room: Option<Room>,
        report: &mut PruneReport,
        progress: &mut impl FnMut(&PrunePlan),
    ) -> Result<()> {
        let (session, _) = self.open_session(Activity::Prune).await?;
        let result = self
            .prune_rounds(options, room, &session, report, progress)
            .await;
        let closed = match session.close().await {
            // Ending the session takes some room too; an open one would hold back what the next try can free.
            Err(error) if is_full(&error) && self.store().is_on_a_disk() => {
                self.lend_reserve().await?;
                session.close().await
            }
            closed => closed,
        };
        result?;
        closed
    }

    async fn prune_rounds(
        &self,
        options: &PruneOptions,
        mut room: Option<Room>,
        session: &Session,
        report: &mut PruneReport,
        progress: &mut impl FnMut(&PrunePlan),
    ) -> Result<()> {
        let mut cached = Cached::default();
        let mut damaged = BTreeSet::new();
        let most = match room {
            None => TRANSITIONS_MAX,
            Some(_) => SMALL_TRANSITIONS_MAX,
        };
        for round in 0..most {
            let written = self.store().counters().bytes_written;
            let mut facts = self
                .prune_facts(options, Some(session), &mut cached)
                .await?;
            facts.damaged.clone_from(&damaged);
            facts.room = room;
            let plan = plan::plan(&facts, options)?;
            if round == 0 {
                // The first try may have failed before it got here.
                if report.packs_before == 0 {
                    report.packs_before = plan.packs;
                    report.bytes_before = plan.bytes;
                }
                progress(&plan);
            }
            report.packs_after = plan.packs;
            report.bytes_after = plan.bytes;
            report.held_back_bytes = plan.held_back_bytes;
            report.waiting_for.clone_from(&plan.waiting_for);
            report.kept_bytes = plan.kept_bytes;
            report.kept_for.clone_from(&plan.kept_for);
            report.unused_bytes = plan.unused_bytes;
            report.left_for_room_bytes = plan.left_for_room_bytes;
            for lie in plan.lies.iter().cloned() {
                if !report.lies.contains(&lie) {
                    report.lies.push(lie);
                }
            }
            self.clean_up(&facts).await?;
            self.remove_tombstones(&facts).await?;
            self.remove_leftovers(&facts, options).await?;
            if !plan.changes() {
                break;
            }
            if !plan.reinstate.is_empty() {
                // What lies elsewhere may have its own place there from now on.
                cached.marked = None;
            }
            let mut freed = 0;
            if let Some(done) = self.transition(&facts, &plan, session, round).await? {
                report.epochs += 1;
                report.packs_repacked += (plan.repack.len() - done.damaged.len()) as u64;
                damaged.extend(done.damaged);
                report.kept.add(done.kept);
                report.packs_deleted += done.deleted;
                report
                    .backups_removed
                    .extend(plan.remove.iter().map(|(_, name)| name.clone()));
                report
                    .sessions_ended
                    .extend(plan.dead_sessions.iter().cloned());
                freed = done.freed_bytes;
            }
            if let Some(room) = &mut room {
                let written = self.store().counters().bytes_written - written;
                room.bytes = (room.bytes + freed).saturating_sub(written);
            }
        }
        report.damaged = damaged.iter().map(layout::pack).collect();
        Ok(())
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Store(StoreError::Full { .. }))
}
