//! The decision of one transition: a pure function from what was read to what to publish.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ark_format::documents::{Condemned, SegmentRef};
use ark_format::layout::{self, Object};
use ark_format::{PackName, SessionId};
use serde::Serialize;

use super::PruneOptions;
use super::room::{self, Room};
use crate::confirmation::Lie;
use crate::index::{Index, Loaded, MERGED_MAX};
use crate::prune::mark::Marked;
use crate::session::{OpenSession, may_rely_on};
use crate::view::View;
use crate::{Error, Result};

/// Packs smaller than this are merged when there are many.
const SMALL_PACK: u64 = 1 << 20;
/// So many small packs of one class are merged.
const SMALL_PACKS: usize = 16;
/// So many index segments of one size class are merged.
const TIER: usize = 8;

/// What a transition decides on.
pub struct Facts {
    /// The repository as of the head.
    pub view: View,
    /// Its index.
    pub index: Index,
    /// What the backups in force need.
    pub marked: Marked,
    /// Sessions listed before the commits were: neither ended nor dead, and not this prune's own.
    pub open: Vec<OpenSession>,
    /// Sessions whose process is gone, fenced by now (in a plan: to be fenced).
    pub dead: Vec<OpenSession>,
    /// Sessions of backups that were declared dead because they were silent: they may come back for what they wrote.
    pub silent: Vec<OpenSession>,
    /// This prune's own session.
    pub own: Option<SessionId>,
    /// Packs in the bucket, with their size.
    pub listed: BTreeMap<PackName, u64>,
    /// Keys under `index/`, listed before the sessions were.
    pub indexed: Vec<String>,
    /// Backups whose tombstone is due.
    pub due: BTreeSet<SessionId>,
    /// Packs that this prune has found damaged: they stay as they are.
    pub damaged: BTreeSet<PackName>,
    /// Objects that the store has refused to delete while this prune runs: no reason for another epoch.
    pub refused: BTreeSet<String>,
    /// Segments that the index has otherwise than their objects: the next epoch has others in their place.
    pub corrected: BTreeSet<SegmentRef>,
    /// What was not true in them.
    pub lies: Vec<Lie>,
    /// Bytes of the head's body.
    pub body_size: u64,
    /// On a full disk: what the transition may write.
    pub(super) room: Option<Room>,
}

impl Facts {
    /// Whether a session may come back for what it wrote.
    pub fn is_silent(&self, id: &SessionId) -> bool {
        self.silent.iter().any(|session| session.id == *id)
    }

    /// Keys of segments that are not among these and belong to nobody who is open.
    pub fn stray_segments(&self, kept: &[SegmentRef]) -> impl Iterator<Item = &String> {
        self.indexed
            .iter()
            .filter(move |key| match layout::parse(key) {
                Some(Object::Segment(id, number)) if !self.refused.contains(*key) => {
                    !self.open.iter().any(|s| s.id == id)
                        && !kept.iter().any(|s| s.session == id && s.number == number)
                }
                _ => false,
            })
    }
}

/// A pack in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PackLine {
    /// The pack.
    pub pack: PackName,
    /// The size of its object.
    pub size: u64,
    /// Bytes of its frames that nothing needs.
    pub unused: u64,
}

/// What the next epoch will say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PrunePlan {
    /// Packs in the bucket.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Backups to take off the list.
    pub remove: Vec<(SessionId, String)>,
    /// Packs that nothing needs: not to be reused from now on.
    pub condemn: Vec<PackLine>,
    /// Condemned packs that are needed after all.
    pub reinstate: Vec<PackName>,
    /// Packs to delete.
    pub drop: Vec<PackLine>,
    /// Packs to rewrite.
    pub repack: Vec<PackLine>,
    /// Segments to merge or rewrite, each group into one.
    pub merge: Vec<Vec<SegmentRef>>,
    /// Commits and segments since the head, to be taken into it.
    pub absorb: u64,
    /// Sessions whose process is gone.
    pub dead_sessions: Vec<String>,
    /// Open sessions that keep condemned packs.
    pub waiting_for: Vec<String>,
    /// Bytes of condemned packs that stay for them.
    pub held_back_bytes: u64,
    /// Sessions of backups that gave no sign of life and may come back for what they wrote.
    pub kept_for: Vec<String>,
    /// Its bytes.
    pub kept_bytes: u64,
    /// Bytes that nothing needs in packs that stay.
    pub unused_bytes: u64,
    /// Bytes that nothing needs and that stay for now, because there is no room for what freeing them takes.
    pub left_for_room_bytes: u64,
    /// What segments say of packs and is not true: none of it takes part.
    pub lies: Vec<Lie>,
    /// Commits below it count only if listed.
    #[serde(skip)]
    pub watermark: u64,
    /// The condemned list of the next epoch.
    #[serde(skip)]
    pub condemned: Vec<Condemned>,
    /// Deletes that the last epoch ordered and that are still to be seen done.
    #[serde(skip)]
    pub still_there: Vec<PackName>,
    /// How many of them the store has refused just now.
    #[serde(skip)]
    pub refused: u64,
    /// Segments that the head does not have and whose session has ended: they go once another epoch is there.
    #[serde(skip)]
    pub stray: u64,
    /// Commits of backups that are off the list: another epoch has its watermark above them, and then they go.
    #[serde(skip)]
    pub passed: u64,
}

impl PrunePlan {
    /// Whether there is anything to publish.
    pub fn changes(&self) -> bool {
        !(self.remove.is_empty()
            && self.condemn.is_empty()
            && self.reinstate.is_empty()
            && self.drop.is_empty()
            && self.repack.is_empty()
            && self.merge.is_empty()
            && self.still_there.len() as u64 == self.refused
            && self.stray == 0
            && self.passed == 0
            && self.absorb == 0)
    }

    /// Bytes that this prune can free once all transitions are done.
    pub fn reclaimable_bytes(&self) -> u64 {
        let whole = self
            .condemn
            .iter()
            .chain(&self.drop)
            .map(|p| p.size)
            .sum::<u64>();
        whole + self.repack.iter().map(|p| p.unused).sum::<u64>()
    }
}

impl PrunePlan {
    /// The text, a line for each step, with bytes as `size` writes them.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, f: &mut dyn fmt::Write, size: &dyn Fn(u64) -> String) -> fmt::Result {
        writeln!(
            f,
            "packs in the repository: {} ({})",
            self.packs,
            size(self.bytes)
        )?;
        for (id, name) in &self.remove {
            writeln!(f, "collect backup {name} ({id})")?;
        }
        for session in &self.dead_sessions {
            writeln!(f, "end dead session {session}")?;
        }
        for lie in &self.lies {
            writeln!(f, "pass over a lie: {lie}")?;
        }
        for line in &self.drop {
            writeln!(f, "delete {} ({})", line.pack, size(line.size))?;
        }
        for line in &self.condemn {
            let (pack, size) = (line.pack, size(line.size));
            writeln!(f, "condemn, then delete {pack} ({size})")?;
        }
        for line in &self.repack {
            let (unused, size) = (size(line.unused), size(line.size));
            writeln!(
                f,
                "rewrite {} ({unused} of {size} are not needed)",
                line.pack
            )?;
        }
        for pack in &self.reinstate {
            writeln!(f, "keep {pack} after all: it is needed again")?;
        }
        for session in &self.waiting_for {
            let held = size(self.held_back_bytes);
            writeln!(f, "wait for session {session}: {held} are held back")?;
        }
        for session in &self.kept_for {
            let kept = size(self.kept_bytes);
            writeln!(
                f,
                "keep for a day what session {session} wrote, in case that it comes back: {kept} in all"
            )?;
        }
        if self.left_for_room_bytes > 0 {
            let left = size(self.left_for_room_bytes);
            writeln!(f, "leave for later, as there is no room: {left}")?;
        }
        writeln!(
            f,
            "reclaimable: {}; not needed, not worth a rewrite: {}",
            size(self.reclaimable_bytes()),
            size(self.unused_bytes)
        )
    }
}

impl fmt::Display for PrunePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|bytes| format!("{bytes} bytes"))
    }
}

/// How much of a pack is needed.
#[derive(Default)]
pub(super) struct Usage {
    /// Bytes of frames; headers, trailers and padding are nobody's.
    frames: u64,
    /// The share of them that is needed, each frame by its chunks.
    pub used: u64,
    /// Bytes of the frames of which anything is needed.
    pub touched: u64,
    /// Chunks needed.
    pub chunks: u64,
}

/// Decides one transition.
///
/// # Errors
/// [`Error::IndexCopy`].
pub fn plan(facts: &Facts, options: &PruneOptions) -> Result<PrunePlan> {
    let Facts {
        view, index, open, ..
    } = facts;
    let least = |sessions: &[OpenSession]| sessions.iter().map(|s| s.epoch).min();
    let quiet_since = least(open).unwrap_or(view.number).min(view.number);
    let mut plan = PrunePlan {
        packs: facts.listed.len() as u64,
        bytes: facts.listed.values().sum(),
        // Below the watermark nothing can be adopted.
        watermark: least(&facts.silent)
            .map_or(quiet_since, |silent| silent.min(quiet_since))
            .max(view.body.watermark),
        dead_sessions: facts.dead.iter().map(ToString::to_string).collect(),
        lies: facts.lies.clone(),
        ..PrunePlan::default()
    };
    plan.remove = view
        .backups
        .iter()
        .filter(|b| facts.due.contains(&b.row.id))
        .map(|b| (b.row.id, b.row.name.clone()))
        .collect();

    // One that was forgotten before any epoch listed it may need a pack that was condemned while it was written, and
    // that no epoch has reinstated for it. Who reads it now relies on the pack: it is condemned anew.
    let rows = view.body.manifests.iter();
    let listed: BTreeSet<_> = rows.map(|row| row.id).collect();
    let unlisted = facts.due.iter().any(|id| !listed.contains(id));
    let usage = usage(facts)?;
    let rows = index.packs();
    let next = view.number + 1;
    let mut held = BTreeSet::new();
    let mut kept = BTreeSet::new();
    let mut keep: Vec<PackLine> = Vec::new();
    let everything: BTreeMap<PackName, u64> = rows
        .iter()
        .map(|(name, row)| (*name, row.size))
        .chain(facts.listed.iter().map(|(name, size)| (*name, *size)))
        .collect();
    for (&pack, &size) in &everything {
        let used = usage.get(&pack);
        let needed = used.is_some_and(|u| u.chunks > 0);
        let unused = used.map_or(size, |u| u.frames.saturating_sub(u.used));
        let line = PackLine { pack, size, unused };
        let known = rows.contains_key(&pack);
        let ordered = view.body.dropped.contains(&pack);
        if ordered && !known {
            if facts.listed.contains_key(&pack) {
                plan.still_there.push(pack);
                plan.refused += u64::from(facts.refused.contains(&layout::pack(&pack)));
            }
            continue;
        }
        // An open session's packs are its own business until it ends.
        if !known && (open.iter().any(|s| s.id == pack.session) || facts.own == Some(pack.session))
        {
            continue;
        }
        if !known && facts.is_silent(&pack.session) && !view.condemned.contains_key(&pack) {
            plan.kept_bytes += size;
            kept.insert(pack.session);
            continue;
        }
        // While a needed chunk is in no segment, a pack that is in no segment may be where it is.
        if !known && facts.marked.unknown > 0 {
            continue;
        }
        match (needed, view.condemned.get(&pack)) {
            (true, Some(_)) => plan.reinstate.push(pack),
            (true, None) => keep.push(line),
            (false, None) => {
                plan.condemn.push(line);
                plan.condemned.push(Condemned {
                    pack,
                    epoch: next,
                    size,
                });
            }
            (false, Some(&epoch))
                if !open.iter().any(|s| may_rely_on(s, epoch))
                    && epoch <= quiet_since
                    && !unlisted =>
            {
                plan.drop.push(line);
            }
            (false, Some(&since)) => {
                let epoch = if unlisted { next } else { since };
                plan.held_back_bytes += size;
                held.extend(
                    open.iter()
                        .filter(|s| may_rely_on(s, epoch))
                        .map(ToString::to_string),
                );
                plan.condemned.push(Condemned { pack, epoch, size });
            }
        }
    }
    plan.waiting_for = held.into_iter().collect();
    let silent = facts.silent.iter().filter(|s| kept.contains(&s.id));
    plan.kept_for = silent.map(ToString::to_string).collect();

    let readable: Vec<PackLine> = keep
        .iter()
        .filter(|l| facts.listed.contains_key(&l.pack) && !facts.damaged.contains(&l.pack))
        .copied()
        .collect();
    let worth = choose_repack(&readable, options);
    plan.repack = match facts.room {
        None => worth,
        Some(room) => {
            let left = room::drop_within(&mut plan, facts, room);
            room::rewrite_within(&mut plan, facts, worth, left, &usage)
        }
    };
    let rewritten: BTreeSet<PackName> = plan.repack.iter().map(|l| l.pack).collect();
    plan.condemned.extend(plan.repack.iter().map(|l| Condemned {
        pack: l.pack,
        epoch: next,
        size: l.size,
    }));
    plan.unused_bytes = keep
        .iter()
        .filter(|l| !rewritten.contains(&l.pack))
        .map(|l| l.unused)
        .sum();
    plan.condemned.sort();

    let listed: BTreeSet<SessionId> = view.body.manifests.iter().map(|row| row.id).collect();
    plan.stray = facts.stray_segments(&view.segments).count() as u64;
    let passed = view.body.watermark..plan.watermark;
    let off_the_list = view.graves.keys().filter_map(|id| view.fences.get(id));
    plan.passed = off_the_list.filter(|epoch| passed.contains(epoch)).count() as u64;
    plan.absorb = view
        .backups
        .iter()
        .filter(|b| !listed.contains(&b.row.id))
        .count() as u64;
    let dropped: BTreeSet<PackName> = plan.drop.iter().map(|l| l.pack).collect();
    plan.merge = choose_merge(index, &facts.corrected, &dropped, facts.room.is_none());
    Ok(plan)
}

/// How much of each pack is needed, counting each chunk at its own place only.
fn usage(facts: &Facts) -> Result<BTreeMap<PackName, Usage>> {
    let mut usage: BTreeMap<PackName, Usage> = BTreeMap::new();
    for (number, loaded) in facts.index.segments().iter().enumerate() {
        let segment = &loaded.segment;
        let tables = &segment.tables;
        let mut needed: Vec<u16> = vec![0; tables.frames.len()];
        for (row, entry) in segment.rows.iter().enumerate() {
            let entry = entry.map_err(Error::IndexCopy)?;
            if facts.marked.contains(number, row)
                && let Some(pack) = tables.packs.get(entry.pack as usize)
                && let Some(chunks) =
                    needed.get_mut(pack.first_frame as usize + usize::from(entry.frame))
            {
                *chunks += 1;
            }
        }
        for pack in &tables.packs {
            let total = usage.entry(pack.name).or_default();
            // Two segments may list the same pack: each chunk is marked in one of them.
            total.frames = 0;
            let frames = tables.frames.iter().zip(&needed);
            let own = frames
                .skip(pack.first_frame as usize)
                .take(pack.frames as usize);
            for (row, chunks) in own.filter(|(row, _)| row.chunks > 0) {
                let chunks = u64::from(*chunks);
                total.frames += u64::from(row.stored);
                total.used += u64::from(row.stored) * chunks / u64::from(row.chunks);
                total.touched += u64::from(row.stored) * chunks.min(1);
                total.chunks += chunks;
            }
        }
    }
    Ok(usage)
}

/// The packs worth a rewrite: the least used ones until little enough is unused, and small ones when there are many.
fn choose_repack(keep: &[PackLine], options: &PruneOptions) -> Vec<PackLine> {
    let mut chosen = BTreeSet::new();
    let total: u64 = keep.iter().map(|l| l.size).sum();
    let allowed = (total as f64 * options.max_unused) as u64;
    let mut candidates: Vec<&PackLine> = keep.iter().filter(|l| l.unused > 0).collect();
    candidates.sort_by(|a, b| (b.unused * a.size.max(1)).cmp(&(a.unused * b.size.max(1))));
    let mut unused: u64 = candidates.iter().map(|l| l.unused).sum();
    for line in candidates {
        if unused <= allowed {
            break;
        }
        unused -= line.unused;
        chosen.insert(*line);
    }
    for class in [
        ark_format::id::PackClass::Data,
        ark_format::id::PackClass::Meta,
    ] {
        let small: Vec<&PackLine> = keep
            .iter()
            .filter(|l| l.pack.class == class && l.size < SMALL_PACK)
            .collect();
        if small.len() >= SMALL_PACKS {
            chosen.extend(small.into_iter().copied());
        }
    }
    chosen.into_iter().collect()
}

/// The segments to replace: those that name dropped packs or are not true; to be `tidy` also 8 of a size class, and several at once. Each
/// group becomes one segment, none larger than what fits into memory.
fn choose_merge(
    index: &Index,
    corrected: &BTreeSet<SegmentRef>,
    dropped: &BTreeSet<PackName>,
    tidy: bool,
) -> Vec<Vec<SegmentRef>> {
    let outdated = |loaded: &Loaded| {
        let packs = &loaded.segment.tables.packs;
        corrected.contains(&loaded.reference) || packs.iter().any(|p| dropped.contains(&p.name))
    };
    let mut chosen = BTreeSet::new();
    let mut tiers: BTreeMap<u32, Vec<&SegmentRef>> = BTreeMap::new();
    for loaded in index.segments() {
        if outdated(loaded) {
            chosen.insert((loaded.reference.entries, &loaded.reference));
        }
        if tidy && loaded.reference.entries <= MERGED_MAX / 2 {
            tiers
                .entry(loaded.reference.entries.max(1).ilog2() / 3)
                .or_default()
                .push(&loaded.reference);
        }
    }
    for tier in tiers.values().filter(|tier| tier.len() >= TIER) {
        chosen.extend(tier.iter().map(|reference| (reference.entries, *reference)));
    }
    // The smallest first: they fit together.
    let mut groups: Vec<Vec<SegmentRef>> = Vec::new();
    let mut entries = 0;
    for (size, reference) in chosen {
        entries += size;
        match groups.last_mut() {
            Some(group) if tidy && entries <= MERGED_MAX => group.push(reference.clone()),
            _ => {
                entries = size;
                groups.push(vec![reference.clone()]);
            }
        }
    }
    // A segment by itself that has nothing to lose stays as it is.
    groups.retain(|group| {
        group.len() > 1
            || index
                .segments()
                .iter()
                .any(|l| group.contains(&l.reference) && outdated(l))
    });
    groups
}
