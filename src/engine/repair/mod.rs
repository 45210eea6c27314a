//! Repair: a damaged repository becomes one in which everything in force can be read, and what was lost has a name.
//!
//! **What it does.** The index is rebuilt from the trailers of the packs where segments, or the head's body, are lost.
//! What is damaged in packs is taken out of the index, after everything readable in them was copied: a chunk of which
//! another copy exists is found there from now on, and one of which none exists is unknown, so that the next backup which
//! has it writes it again and makes every backup whole that needs it. Of each backup that stays incomplete a *repaired*
//! one is made: the same maps without the entries that are lost, with the status PartiallyFailed, the losses in its log,
//! and `repairs` naming the original. Originals stay, unless the user has them forgotten: they may become whole again.
//!
//! **It deletes nothing that it could not make anew**: index segments that an epoch has replaced and older epoch bodies, after
//! that epoch, as a prune does. No pack and no manifest: what looks damaged may be a bad disk of the machine that looks. What
//! is out of force is garbage, which prune collects by its own rules, and not while any chunk is unknown.
//!
//! **Why backups and prunes may run meanwhile.** A repair is a session with a pin, and each of its changes is one epoch,
//! *h* + 1, created only if *h* is still the head from which it was decided; who loses that race has changed nothing and
//! begins again (rule `EpochOverwritten` of `docs/src/internals/prune-protocol.md`). Its epochs condemn nothing that was live
//! in *h* and drop nothing, so no session loses a pack that it relies on. They reinstate all packs condemned in *h* (condemned
//! → live is always allowed), so each chunk that a backup in force needs and that exists has a location that may be reused;
//! the next prune condemns anew. They keep the watermark, the retired sessions and the packs whose deletion was ordered,
//! which are never put into a rebuilt index. Commits since *h* are absorbed with all their segments, as by a prune.
//!
//! *Entries live as long as their pack* has one exception: entries of frames that cannot be read. Nobody can rely on those;
//! a session that has found a chunk there commits a backup that lacks it, with this repair or without, and only without the
//! entry the next backup writes the chunk again. Entries of readable frames move to the copy, which exists before the epoch.
//!
//! Packs that a rebuilt index has found and that nothing needs are condemned in the same epoch: should a pack that was dropped
//! long ago have been brought back by a late request, nobody reuses it before a late delete takes it away again. What a
//! backup in force needs alone in the world was never dropped.
//!
//! **When the head itself cannot be read**, its watermark and its lists are lost with it. The epoch that follows takes as
//! backups all commits that can be read, and the greatest watermark that it may, *h*: so no process that was closed
//! under the lost watermark can commit any more. To know what closes, every session of an older epoch is fenced first. A
//! prune that is alive refuses the repair: it may be deleting what the lost head dropped, and these packs would be taken for
//! live. One that is dead sends no more deletes. Backups that the lost head had just removed may come back, without what
//! was deleted of them; they are then damaged like others. Tombstones and undos are objects of their own and still hold.
//!
//! **A commit that nobody can read** (damaged, or gone while the head lists it) is given up last, when what its row in the
//! head can still reach was saved: an epoch leaves it off the list and *retires* its session, whose key then never counts.
//! Retiring is what a fence would do, whose key the damaged object takes; whether it was a commit or a fence does not matter.

mod assess;
mod backups;
mod execute;
mod head;
mod plan;
mod scan;
pub(crate) mod suspects;

use ark_format::SessionId;
pub use ark_format::documents::BackupRow as Summary;
use serde::Serialize;

pub use plan::{BadPack, DamagedBackup, FoundPack, LostItems, RepairPlan, UnreadableCommit};

use self::assess::Assessment;
use crate::repository::Repository;
use crate::session::Session;
use crate::{Error, Result};

/// A race lost so often is somebody's fault.
const TRIES: u32 = 8;

/// How to repair.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepairOptions {
    /// Only rebuild the index.
    pub index_only: bool,
    /// Read every pack, instead of those that a verify found damaged.
    pub read_data: bool,
    /// Forget the damaged originals, and what could not be saved at all.
    pub forget_originals: bool,
}

/// What the engine cannot know of a backup's content, because it is the caller's.
pub trait RepairContent: Send + Sync {
    /// The document of a repaired backup, made from the original's, which may be lost.
    fn document(&self, original: Option<&[u8]>, row: &Summary, name: &str, lost: u64) -> Vec<u8>;

    /// A resource's own entry, made to say that objects of the resource are missing; `None` if this is no such entry.
    fn hole(&self, entry: &[u8], why: &str) -> Option<Vec<u8>>;
}

/// A backup that has what could be saved of another one.
#[derive(Clone, Debug, Serialize)]
pub struct RepairedBackup {
    /// The damaged one.
    pub original: SessionId,
    /// Its name.
    pub original_name: String,
    /// The repaired one.
    pub id: SessionId,
    /// Its name.
    pub name: String,
    /// Items of the original that are not in it.
    pub lost: u64,
}

/// What a repair did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RepairReport {
    /// What there was to do.
    pub plan: RepairPlan,
    /// Epochs published.
    pub epochs: u32,
    /// Chunks copied out of damaged packs.
    pub chunks_saved: u64,
    /// Backups made.
    pub repaired: Vec<RepairedBackup>,
    /// Originals forgotten.
    pub forgotten: Vec<String>,
}

fn busy() -> Error {
    Error::RepairBusy {
        by: "prunes that publish epochs all the time".to_owned(),
    }
}

impl Repository {
    /// What a repair would do now. Changes nothing.
    ///
    /// # Errors
    /// If the store fails, or the repository is damaged where nothing can be rebuilt: its keys and settings.
    pub async fn plan_repair(&self, options: &RepairOptions) -> Result<RepairPlan> {
        Ok(self.assess_newest(options, None).await?.plan)
    }

    /// What is wrong as of a head that is still the newest afterwards: what a prune takes away meanwhile is no damage.
    async fn assess_newest(
        &self,
        options: &RepairOptions,
        own: Option<&Session>,
    ) -> Result<Assessment> {
        for _ in 0..TRIES {
            let facts = self.repair_facts(own).await?;
            let number = facts.view.number;
            let assessment = self.assess(facts, options, own).await?;
            if !assessment.plan.changes() || self.newest_number().await?.0 == number {
                return Ok(assessment);
            }
        }
        Err(busy())
    }

    /// Repairs the repository: see the module.
    ///
    /// # Errors
    /// [`Error::Role`] without the signing key, [`Error::RepairBusy`], or the store's. What was published stays true; another
    /// repair goes on from there.
    pub async fn repair(
        &self,
        options: &RepairOptions,
        content: &dyn RepairContent,
        mut progress: impl FnMut(&RepairPlan),
    ) -> Result<RepairReport> {
        if self.key_set().signing.is_none() {
            return Err(Error::Role { what: "repair" });
        }
        self.may_write()?;
        self.may_prune()?;
        let session = self.open_repair_session().await?;
        let result = async {
            let mut report = RepairReport::default();
            let (mut tries, mut new_data_key) = (0, None);
            let assessment = loop {
                let assessment = self.assess_newest(options, Some(&session)).await?;
                if let Some(number) = assessment.plan.new_data_key {
                    self.make_data_key(number).await?;
                    new_data_key = Some(number);
                }
                if !assessment.needs_epoch() {
                    break assessment;
                }
                if let Some(saved) = self.put_out_of_force(&assessment, &session, tries).await? {
                    report.epochs += 1;
                    report.chunks_saved = saved;
                    break assessment;
                }
                tries += 1;
                if tries == TRIES {
                    return Err(busy());
                }
            };
            report.plan = assessment.plan;
            report.plan.new_data_key = new_data_key;
            progress(&report.plan);
            if !options.index_only {
                self.repair_backups(&mut report, content).await?;
                self.give_up_commits(&mut report).await?;
                if options.forget_originals {
                    self.forget_originals(&mut report).await?;
                }
            }
            Ok(report)
        }
        .await;
        let closed = session.close().await;
        let report = result?;
        closed?;
        Ok(report)
    }
}
