//! Reading the facts of a transition, publishing its epoch, and deleting what the epoch no longer has.
//!
//! Order matters and is commented where it does: packs are listed before sessions, sessions before commits; the body is
//! written before the stub; nothing is deleted before the stub is the newest.

use std::collections::BTreeSet;

use ark_format::documents::{Activity, Claim, EpochBody, EpochStub, Retired, SegmentRef};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};
use ark_format::{PackName, SessionId};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::mark::{Marked, mark};
use super::plan::{Facts, PrunePlan};
use super::repack;
use super::{GRACE_MS, Kept, PruneOptions, SILENCE_MS};
use crate::added::SEGMENT_CHUNKS;
use crate::confirmation::{Confirmed, Damage, Trailers};
use crate::data_keys::SealedWith;
use crate::error::DamagedAt;
use crate::index::{IndexSegment, merge};
use crate::packer::Packer;
use crate::repository::{Made, Repository};
use crate::reserve::{ReserveDocument, noise};
use crate::session::{OpenSession, Session, is_dead, is_gone};
use crate::store::StoreError;
use crate::trailer::ListedPacks;
use crate::view::{Head, View};
use crate::{Error, Result};

/// Deletes under way at once.
const DELETES: usize = 8;

/// What a published transition did.
pub(super) struct Done {
    pub deleted: u64,
    /// Bytes of the packs, segments and the body that were deleted.
    pub freed_bytes: u64,
    /// Packs that were to be rewritten and cannot be read.
    pub damaged: BTreeSet<PackName>,
    /// What the bucket keeps of what was deleted.
    pub kept: Kept,
}

/// What the earlier transitions of the same prune have read.
#[derive(Default)]
pub(super) struct Cached {
    pub marked: Option<CachedMarks>,
    trailers: Trailers,
}

/// What was marked: the backups and segments decide whether it still holds, and which of their packs are there.
pub(super) struct CachedMarks {
    backups: BTreeSet<SessionId>,
    segments: Vec<SegmentRef>,
    missing: BTreeSet<PackName>,
    marked: Marked,
}

impl Repository {
    /// What the next transition decides on. Another prune may delete what this one is reading; then it starts anew.
    pub(super) async fn prune_facts(
        &self,
        options: &PruneOptions,
        own: Option<&Session>,
        cached: &mut Cached,
    ) -> Result<Facts> {
        let mut tries = 0;
        loop {
            let head = self.head().await?;
            let number = head.stub.number;
            match self.facts_at(head, options, own, cached).await {
                Ok(facts) => return Ok(facts),
                Err(error) if tries == 8 || self.head_stub().await?.0.number == number => {
                    return Err(error);
                }
                Err(_) => tries += 1,
            }
        }
    }

    async fn facts_at(
        &self,
        head: Head,
        options: &PruneOptions,
        own: Option<&Session>,
        cached: &mut Cached,
    ) -> Result<Facts> {
        // Packs first: a session that starts later is not in the list of open ones, but then neither are its packs.
        let ListedPacks {
            sizes: mut listed,
            stored,
        } = self.list_packs().await?;
        // Segments too: one whose session has neither pin nor commit in the later lists belongs to nobody.
        let indexed = self.store().list(layout::INDEX).await?;
        let body_size = head.stub.body_size;
        let earlier = self.view_at(head.clone()).await?;
        // Before any session is fenced: a fence would take the key of a commit that may be put back.
        refuse(&earlier.problems)?;
        let now = match own {
            Some(session) => self.store_now(session).await?,
            None => self.env().clock.now_ms(),
        };
        let (mut open, mut dead) = (Vec::new(), Vec::new());
        for session in self.open_sessions(&earlier).await? {
            if own.is_some_and(|own| own.id == session.id) {
                continue;
            }
            if !is_dead(&session, self.env().host.as_ref(), now) {
                open.push(session);
            } else if let Some(own) = own {
                // The fence decides: if the session has just committed, it is no longer dead but done.
                if self.fence(session.epoch, session.id, own.id).await? {
                    dead.push(session);
                }
            } else {
                dead.push(session);
            }
        }
        // Commits after sessions: whoever was not open in that list and commits is seen here.
        let view = self.view_at(head).await?;
        refuse(&view.problems)?;
        let index = self.load_index(&view).await?;
        refuse(&index.problems)?;
        let index = self
            .without_lost_keys(index.with_packs_stored(stored))
            .await?;
        let trailers = &mut cached.trailers;
        let Confirmed {
            mut index,
            corrected,
            lies,
            unreadable,
        } = self
            .confirmed(&view, index, &mut listed, trailers, Damage::IsLeftOut)
            .await?;
        refuse(&unreadable)?;
        if !corrected.is_empty() {
            index = self.without_lost_keys(index).await?;
            // Rows have other numbers there.
            cached.marked = None;
        }
        let mut silent = Vec::new();
        if !options.now {
            silent = self.silent_sessions(&view, now).await?;
            if own.is_none() {
                // A plan fences nobody; these would be.
                let host = self.env().host.as_ref();
                let silenced = dead.iter().filter(|s| is_writer(s) && !is_gone(s, host));
                silent.extend(silenced.cloned());
            }
        }
        // Once a backup has adopted what one of them wrote, the rest has no more use; and what was adopted may be condemned, so
        // that the session must be retired with it.
        let mut missing: BTreeSet<PackName> = index.packs().into_keys().collect();
        let adopted: BTreeSet<SessionId> = missing.iter().map(|pack| pack.session).collect();
        silent.retain(|session| !adopted.contains(&session.id));
        let due: BTreeSet<SessionId> = view
            .backups
            .iter()
            .filter(|b| {
                b.forgotten
                    .is_some_and(|at| options.now || self.env().clock.now_ms() - at >= GRACE_MS)
            })
            .map(|b| b.row.id)
            .collect();
        let needed: Vec<_> = view
            .backups
            .iter()
            .filter(|b| !due.contains(&b.row.id))
            .collect();
        let backups: BTreeSet<SessionId> = needed.iter().map(|b| b.row.id).collect();
        missing.retain(|pack| !listed.contains_key(pack));
        let marked = match cached.marked.take() {
            Some(cached)
                if cached.backups == backups
                    && cached.segments == view.segments
                    && cached.missing == missing =>
            {
                cached.marked
            }
            _ => {
                // The oldest first: so their nodes lie in packs, and what lies behind one is read with it.
                let roots: Vec<_> = needed
                    .iter()
                    .rev()
                    .flat_map(|b| b.row.datasets.iter().map(|(_, r)| *r))
                    .collect();
                let reader = self.reader_of(None, view.clone(), index.clone());
                mark(&reader, &index, &roots).await?
            }
        };
        if own.is_some() && corrected.is_empty() {
            cached.marked = Some(CachedMarks {
                backups,
                segments: view.segments.clone(),
                missing,
                marked: marked.clone(),
            });
        }
        if marked.unknown > 0 {
            tracing::warn!(
                chunks = marked.unknown,
                "some backups lack chunks; run `ark verify`"
            );
        }
        Ok(Facts {
            view,
            index,
            marked,
            open,
            dead,
            silent,
            own: own.map(|s| s.id),
            listed,
            indexed: indexed.into_iter().map(|object| object.key).collect(),
            due,
            damaged: BTreeSet::new(),
            refused: self.retained().into_keys().collect(),
            corrected,
            lies,
            body_size,
            room: None,
        })
    }

    /// Backups that were declared dead not long ago, although nobody knows that their processes are gone.
    async fn silent_sessions(&self, view: &View, now: i64) -> Result<Vec<OpenSession>> {
        let mut silent = Vec::new();
        for (id, since) in &view.declared_dead {
            let Some(epoch) = view.fences.get(id).copied() else {
                continue;
            };
            if now - since >= SILENCE_MS {
                continue;
            }
            let key = layout::session(epoch, *id);
            let pin = match self.read_document(Kind::Session, &key).await {
                Ok(pin) => Some(pin),
                Err(Error::Damaged { .. } | Error::Store(StoreError::NotFound { .. })) => None,
                Err(error) => return Err(error),
            };
            let session = OpenSession {
                id: *id,
                epoch,
                last_sign: *since,
                pin,
                elsewhere: false,
            };
            if is_writer(&session) && !is_gone(&session, self.env().host.as_ref()) {
                silent.push(session);
            }
        }
        Ok(silent)
    }

    /// The store's own time: when it says that this prune's pin was written, plus what passed since by our clock.
    pub(crate) async fn store_now(&self, session: &Session) -> Result<i64> {
        let key = layout::session(session.epoch, session.id);
        let written = self.store().head(&key).await?.map(|info| info.modified_ms);
        let passed = self.env().clock.now_ms() - session.id.unix_ms() as i64;
        Ok(written.map_or_else(|| self.env().clock.now_ms(), |at| at + passed.max(0)))
    }

    /// Publishes the epoch that `plan` describes and deletes what it dropped; `None` if another prune was faster.
    pub(super) async fn transition(
        &self,
        facts: &Facts,
        plan: &PrunePlan,
        session: &Session,
        round: u32,
    ) -> Result<Option<Done>> {
        let mut segments: BTreeSet<SegmentRef> = facts.view.segments.iter().cloned().collect();
        let folder = self.inner.cache.folder();
        let mut number = round << 16;
        let mut damaged = BTreeSet::new();
        let sealed = SealedWith::default();
        if !plan.repack.is_empty() {
            let packer = Packer::new(self.clone(), session.id)
                .numbered_from(round << 20)
                .sparing();
            let packs: Vec<PackName> = plan.repack.iter().map(|line| line.pack).collect();
            for batch in repack::batches(&facts.index, &packs) {
                for (pack, frames) in repack::needed(&facts.index, &facts.marked, batch)? {
                    let copied = self.repack(&facts.index, &pack, frames, &packer, &sealed);
                    match copied.await {
                        Ok(()) => {}
                        Err(error) if is_damage(&error) => {
                            tracing::error!(%pack, %error, "damaged: the pack is left as it is");
                            damaged.insert(pack);
                        }
                        Err(error) => return Err(error),
                    }
                }
                if let Some(segment) = packer.take_segment(SEGMENT_CHUNKS).await {
                    let segment = IndexSegment::of(&segment, folder)?;
                    segments.insert(self.write_segment(session.id, number, &segment).await?);
                    number += 1;
                }
            }
            packer.finish().await?;
            if let Some(segment) = packer.take_segment(0).await {
                let segment = IndexSegment::of(&segment, folder)?;
                segments.insert(self.write_segment(session.id, number, &segment).await?);
                number += 1;
            }
        }
        let dropped: BTreeSet<PackName> = plan.drop.iter().map(|l| l.pack).collect();
        for group in &plan.merge {
            let loaded = facts.index.segments().iter();
            let group_segments: Vec<_> = loaded
                .filter(|l| group.contains(&l.reference))
                .map(|l| l.segment.as_ref())
                .collect();
            let merged = merge(&group_segments, &dropped, folder)?;
            for old in group {
                segments.remove(old);
            }
            if !merged.tables.packs.is_empty() {
                segments.insert(self.write_segment(session.id, number, &merged).await?);
            }
            number += 1;
        }
        let removed: BTreeSet<SessionId> = plan.remove.iter().map(|(id, _)| *id).collect();
        let kept = facts
            .view
            .backups
            .iter()
            .filter(|b| !removed.contains(&b.row.id));
        // Every session that ended without a commit, whoever ended it: what it left is condemned by now, and nobody may adopt
        // it any more. Below the watermark its number says so.
        let fences = facts.view.fences.iter();
        let ended = fences
            .filter(|(id, _)| !facts.is_silent(id))
            .map(|(id, epoch)| (*id, *epoch));
        // A backup that is taken away is in force no more at once, its commit at or above the watermark or not: what is on the
        // list is marked, so that whoever finds it there can read it.
        let backups = facts.view.backups.iter().map(|b| (b.row.id, b.row.epoch));
        let given_up = backups.filter(|(id, _)| removed.contains(id));
        // Until the watermark has passed it, whatever stands there now: an object that is missing may be put back.
        let retired: BTreeSet<Retired> = ended
            .chain(given_up)
            .map(|(session, epoch)| Retired { epoch, session })
            .chain(facts.view.body.retired.iter().copied())
            .filter(|session| session.epoch >= plan.watermark)
            .collect();
        let body = EpochBody {
            number: facts.view.number + 1,
            segments: segments.into_iter().collect(),
            condemned: plan
                .condemned
                .iter()
                .filter(|c| !damaged.contains(&c.pack))
                .copied()
                .collect(),
            dropped: dropped
                .iter()
                .copied()
                .chain(plan.still_there.iter().copied())
                .collect(),
            retired: retired.into_iter().collect(),
            manifests: kept.map(|b| b.row.clone()).collect(),
            watermark: plan.watermark,
            features: facts.view.body.features.clone(),
        };
        self.confirm_data_keys(&sealed).await?;
        if !self.publish(&body, facts.view.hash).await? {
            return Ok(None);
        }
        // The epoch is the newest: what it does not have may go.
        let mut keys: Vec<String> = body.dropped.iter().map(layout::pack).collect();
        let deleted = dropped.len() as u64;
        keys.extend(
            plan.merge
                .iter()
                .flatten()
                .map(|old| layout::segment(old.session, old.number)),
        );
        // Segments that no epoch has and whose session has ended. Only now: until the Create above, another prune could
        // still have published an epoch with them.
        keys.extend(facts.stray_segments(&body.segments).cloned());
        keys.push(self.body_key_of(facts.view.number).await?);
        let mut stones = Vec::new();
        for (id, _) in &plan.remove {
            // At or above the watermark its key stays taken, so that a late copy of the commit does not make it count again.
            let row = facts.view.backup(id);
            let Some(row) = row.filter(|b| b.row.epoch < plan.watermark) else {
                continue;
            };
            keys.push(row.manifest_key());
            // After the commit: who finds the commit that it has made, and no tombstone, knows that it never counted.
            for number in facts
                .view
                .graves
                .get(id)
                .iter()
                .flat_map(|grave| &grave.numbers)
            {
                stones.push(layout::tombstone(*id, *number));
                stones.push(layout::undo(*id, *number));
            }
        }
        let kept = self.kept(&facts.listed, &body.dropped).await?;
        self.delete_all(keys).await?;
        self.delete_all(stones).await?;
        let packs = dropped.iter().filter_map(|pack| facts.listed.get(pack));
        let segments = plan.merge.iter().flatten().map(|old| &old.size);
        Ok(Some(Done {
            deleted,
            freed_bytes: packs.chain(segments).sum::<u64>() + facts.body_size,
            damaged,
            kept,
        }))
    }

    pub(crate) async fn body_key_of(&self, number: u64) -> Result<String> {
        let key = layout::epoch_stub(number);
        let bytes = self
            .store()
            .get_bounded(&key, ark_format::limits::SMALL_OBJECT_MAX)
            .await?;
        let stub: EpochStub = self.decode_signed(Kind::EpochStub, &key, &bytes)?;
        Ok(stub.body_key)
    }

    pub(crate) async fn write_segment(
        &self,
        session: SessionId,
        number: u32,
        segment: &IndexSegment,
    ) -> Result<SegmentRef> {
        let key = layout::segment(session, number);
        let bytes = Bytes::from(self.encode_segment(&key, segment)?);
        let size = bytes.len() as u64;
        self.create_segment(&key, bytes.clone()).await?;
        self.inner.cache.put(&key, &bytes).await;
        Ok(segment.reference(session, number, size))
    }

    /// Creates the next epoch; `false` if another prune has created it first.
    ///
    /// A number whose key holds a forged stub is void for everybody and for ever, so the next one takes its place.
    pub(crate) async fn publish(&self, body: &EpochBody, parent_hash: [u8; 32]) -> Result<bool> {
        let mut number = body.number;
        loop {
            let body = EpochBody {
                number,
                ..body.clone()
            };
            match self.publish_as(&body, parent_hash).await {
                Err(Error::Forged { object }) => self.pass_over(object),
                result => return result,
            }
            number += 1;
        }
    }

    async fn publish_as(&self, body: &EpochBody, parent_hash: [u8; 32]) -> Result<bool> {
        let nonce = self.env().bytes();
        let body_key = layout::epoch_body(body.number, &nonce);
        let bytes = self
            .sealer()
            .encode(Kind::EpochBody, &body_key, self.env().salt(), body)
            .making(&body_key)?;
        let stub = EpochStub {
            number: body.number,
            parent_hash,
            body_key: body_key.clone(),
            body_hash: *blake3::hash(&bytes).as_bytes(),
            body_size: bytes.len() as u64,
            nonce,
            created: self.env().clock.now_ms(),
        };
        self.store().create(&body_key, bytes.into()).await?;
        let key = layout::epoch_stub(body.number);
        if let Made::Exists(bytes) = self
            .create_signed(Kind::EpochStub, &key, &stub, "prune")
            .await?
        {
            // Only another's stub tells that this one lost: bytes that were garbled on the way may be this one's, whose
            // body is in force then.
            let other = self.decode_signed::<EpochStub>(Kind::EpochStub, &key, &bytes);
            if let Ok(_) | Err(Error::Forged { .. }) = &other {
                self.discard(&body_key).await?;
            }
            return other.map(|_| false);
        }
        // Stubs stay for ever, so a number is never free twice; still, act only as the newest.
        Ok(self.head_stub().await?.0.number == body.number)
    }

    /// Deletes what ended sessions left, as far as the head in force allows. Needs no new epoch, and so takes no segment:
    /// an epoch published since these facts were read may have it.
    pub(super) async fn clean_up(&self, facts: &Facts) -> Result<()> {
        let watermark = facts.view.body.watermark;
        let mut keys = Vec::new();
        // A pin goes before its fence: a pin without a fence would look open again.
        let listed: BTreeSet<SessionId> =
            facts.view.body.manifests.iter().map(|row| row.id).collect();
        let ended = |epoch: u64, id: &SessionId| {
            // Below the watermark nothing can be committed: not even a fence is needed. A prune passes its own pin, so one
            // that was killed leaves it there. A commit has its pin until an epoch lists it: its process may look whether
            // prunes know of it.
            listed.contains(id) || (epoch < watermark && facts.own != Some(*id))
        };
        for object in self.store().list(layout::SESSIONS).await? {
            match layout::parse(&object.key) {
                Some(Object::Session(epoch, id) | Object::Heartbeat(epoch, id, _))
                    if ended(epoch, &id) =>
                {
                    keys.push(object.key);
                }
                _ => {}
            }
        }
        let had_sessions = !keys.is_empty();
        self.delete_all(std::mem::take(&mut keys)).await?;
        // Below the watermark a fence is no longer needed: a commit there would not count.
        keys.extend(
            facts
                .view
                .fences
                .iter()
                .filter(|(_, epoch)| **epoch < watermark)
                .map(|(id, e)| layout::manifest(*e, *id)),
        );
        // Bodies of epochs that are not the newest.
        for key in &facts.indexed {
            match layout::parse(key) {
                Some(Object::EpochBody(number)) if number < facts.view.number => {
                    keys.push(key.clone())
                }
                _ => {}
            }
        }
        if had_sessions || !keys.is_empty() {
            keys.extend(self.free_claims(facts, watermark).await?);
        }
        self.delete_all(keys).await
    }

    /// Claims of sessions below the watermark that have no backup.
    async fn free_claims(&self, facts: &Facts, watermark: u64) -> Result<Vec<String>> {
        let mut free = Vec::new();
        for object in self.store().list(layout::NAMES).await? {
            let bytes = match self
                .inner
                .cache
                .get(self.store(), &object.key, Some(object.size))
                .await
            {
                Ok(bytes) => bytes,
                Err(Error::Store(StoreError::NotFound { .. })) => continue,
                Err(error) => return Err(error),
            };
            let Ok(claim) = self
                .sealer()
                .decode::<Claim>(Kind::Claim, &object.key, &bytes)
            else {
                continue;
            };
            let ended = |claim: &Claim| {
                claim.epoch < watermark && facts.view.backup(&claim.session).is_none()
            };
            // The number of a freed claim is used again: the copy may be of the claim before.
            if ended(&claim)
                && let Ok(claim) = self.read_document(Kind::Claim, &object.key).await
                && ended(&claim)
            {
                free.push(object.key);
            }
        }
        Ok(free)
    }

    async fn delete_all(&self, keys: Vec<String>) -> Result<()> {
        let retained = self.retained();
        let keys = keys.into_iter().filter(|key| !retained.contains_key(key));
        let deletes = keys.map(|key| async move {
            self.inner.cache.remove(&key).await;
            self.discard(&key).await
        });
        stream::iter(deletes)
            .buffer_unordered(DELETES)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// On a full disk the reserve makes room for the epoch that frees the rest.
    pub(super) async fn lend_reserve(&self) -> Result<()> {
        Ok(self.store().delete(layout::RESERVE).await?)
    }

    /// Puts the reserve back, if there is room.
    pub(super) async fn restore_reserve(&self) -> Result<()> {
        if !self.store().is_on_a_disk() || self.store().head(layout::RESERVE).await?.is_some() {
            return Ok(());
        }
        let document = ReserveDocument {
            filling: noise(&self.env().salt()),
        };
        match self
            .create_document(Kind::Reserve, layout::RESERVE, &document)
            .await
        {
            Ok(_) | Err(Error::Store(StoreError::Full { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// While anything that decides on what is needed is damaged, everything is.
fn refuse(problems: &[(String, String)]) -> Result<()> {
    match problems.first() {
        Some((object, problem)) => {
            tracing::error!(%object, %problem, "damaged");
            Err(Error::PruneBlocked {
                object: object.clone(),
                problem: problem.clone(),
            })
        }
        None => Ok(()),
    }
}

/// Whether the session is a backup's.
fn is_writer(session: &OpenSession) -> bool {
    let pin = session.pin.as_ref();
    pin.is_some_and(|pin| pin.activity == Activity::Backup)
}

/// Whether a pack cannot be read because of what it is, and not because the store fails.
fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Damaged { .. }
            | Error::Store(StoreError::NotFound { .. } | StoreError::Truncated { .. })
    )
}
