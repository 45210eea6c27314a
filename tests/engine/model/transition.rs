//! One transition of the repository from an epoch to the next, decided purely from what a pruner listed.
//!
//! Every pack goes live → condemned → dropped, a step an epoch, and only condemned → live goes back.

use super::repository::{
    CHUNKS, Chunks, Deletes, Epoch, Repository, SLOTS, Slots, each, entries_of, entry, has, one,
};
use super::rules::Mutant;

/// What a pruner has listed since it read the head, in the order of the listings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Listing {
    /// `index/`, before the sessions: a segment of a session that has no pin then is nobody's.
    pub segments: Slots,
    pub sessions: Slots,
    /// Sessions that an attempt to fence found closed.
    pub found_closed: Slots,
    pub commits: Slots,
    pub fences: Slots,
    pub forgotten: Slots,
    pub undone: Slots,
}

impl Listing {
    /// Lists `manifests/` and `forgotten/`.
    pub fn list_manifests(&mut self, repository: &Repository) {
        self.commits = repository.commits;
        self.fences = repository.fences;
        self.forgotten = repository.forgotten;
        self.undone = repository.undone;
    }
}

/// The next epoch, and what to delete once it is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plan {
    pub epoch: Epoch,
    pub deletes: Deletes,
    /// Live chunks of a partly dead pack to write into the pruner's own pack before it publishes; 0 for no repack.
    pub copy: Chunks,
}

/// Who plans.
#[derive(Clone, Copy, Debug)]
pub struct Planner {
    /// The pruner's own session, for its repack.
    pub own: Option<usize>,
    /// What fenced sessions left stays for now: their writers may come back.
    pub lenient: bool,
    pub mutant: Option<Mutant>,
}

impl Planner {
    /// Plans the transition from `parent`. `None` if a segment is gone that has to be absorbed: the head has moved on.
    ///
    /// Of `repository` this reads only objects that are never overwritten, and LIST `packs/`.
    pub fn plan(&self, parent: &Epoch, listing: &Listing, repository: &Repository) -> Option<Plan> {
        let number = parent.number + 1;
        let own = self.own.map_or(0, one);
        let at_the_time = Repository {
            commits: listing.commits,
            ..*repository
        };
        let counting = at_the_time.counting(parent);

        // Sessions: open ones hold back drops and the watermark.
        let closed = listing.commits | listing.fences | listing.found_closed;
        let mut open = 0;
        for slot in each(listing.sessions & !closed & !own) {
            if repository.bases[slot] >= parent.watermark
                || self.mutant == Some(Mutant::WatermarkGoesBack)
            {
                open |= one(slot);
            }
        }
        // Index: the parent's entries and every segment that became valid.
        let mut index = at_the_time.index(parent, self.mutant)?;
        let mut universe = 0;
        for pack in 0..SLOTS {
            if entries_of(index, pack) != 0 {
                universe |= one(pack);
            }
        }
        let mut watermark = if self.mutant == Some(Mutant::WatermarkAhead) {
            number
        } else {
            parent.number
        };
        let mut silent = 0;
        // Once an epoch may condemn a pack, its session is retired with it: what was adopted is left to nobody.
        let adopted = match self.mutant {
            Some(Mutant::LeftAfterAdoption) => 0,
            _ => universe,
        };
        for slot in each(listing.fences & !parent.retired & !adopted & !own) {
            if self.lenient && repository.bases[slot] >= parent.watermark {
                silent |= one(slot);
            }
        }
        for slot in each(open | silent) {
            watermark = watermark.min(repository.bases[slot]);
        }
        if self.mutant != Some(Mutant::WatermarkGoesBack) {
            watermark = watermark.max(parent.watermark);
        }

        // Backups.
        let forgotten = counting & listing.forgotten & !listing.undone;
        let marked = counting & !forgotten;
        let mut stays = 0;
        if self.mutant == Some(Mutant::ForgottenStaysListed) {
            for slot in each(forgotten).filter(|slot| repository.bases[*slot] >= watermark) {
                stays |= one(slot);
            }
        }
        // Who reads a backup that is taken away before any epoch has listed it may rely on a pack that was condemned
        // while that backup was written: what is condemned is condemned anew.
        let at_once = matches!(
            self.mutant,
            Some(Mutant::UnlistedDroppedAtOnce | Mutant::TrustUnmarkedParent)
        );
        let unlisted = forgotten & !parent.marked != 0 && !at_once;
        let mut epoch = Epoch {
            number,
            watermark,
            marked: marked | stays,
            gone: parent.gone | forgotten & !stays,
            retired: parent.retired | listing.fences & !silent | own,
            condemned: parent.condemned,
            ..Epoch::default()
        };
        for slot in each(epoch.gone | epoch.retired) {
            if repository.bases[slot] < watermark {
                epoch.gone &= !one(slot);
                epoch.retired &= !one(slot);
            }
        }

        // Orphans: packs of no open session that no index knows. The session may be one that was opened after the
        // listing: to condemn its pack is a waste and no loss, its commit reinstates it.
        let orphans = repository.packs & !universe & !parent.dropped & !open & !silent & !own;

        // Keep one location of every live chunk, a condemned one only where there is no other.
        let condemned_before = parent.condemned_set();
        let mut live = 0;
        for slot in each(marked) {
            live |= repository.refs[slot];
        }
        let holding = |set: Slots, chunk: usize| {
            each(set).find(|pack| entries_of(index, *pack) >> chunk & 1 != 0)
        };
        let sound = universe & !condemned_before;
        let mut keep = 0;
        for chunk in
            (0..CHUNKS).filter(|chunk| live >> chunk & 1 != 0 && holding(sound, *chunk).is_none())
        {
            keep |= holding(universe, chunk).map_or(0, one);
        }
        for chunk in (0..CHUNKS).filter(|chunk| live >> chunk & 1 != 0) {
            keep |= holding(keep, chunk)
                .or_else(|| holding(sound, chunk))
                .map_or(0, one);
        }

        // Repack: the live part of a partly dead pack moves into a pack of the pruner's own session.
        let mut copy = 0;
        let mut repacked = 0;
        if let Some(slot) = self.own
            && let Some(pack) = each(keep).find(|pack| entries_of(index, *pack) & !live != 0)
        {
            copy = entries_of(index, pack) & live;
            repacked = one(pack);
            keep = keep & !repacked | one(slot);
            index |= entry(slot, copy);
        }

        // Drop what was condemned before every open session began; condemn the rest.
        let mut dropping = 0;
        for pack in each((universe | orphans) & !keep) {
            let since = parent.condemned[pack];
            let quiescent = self.mutant == Some(Mutant::NoQuiescence)
                || each(open).all(|slot| repository.bases[slot] >= since);
            if since == 0 {
                epoch.condemned[pack] = number;
                if self.mutant == Some(Mutant::RepackDropsAtOnce) && has(repacked, pack) {
                    dropping |= one(pack);
                }
            } else if unlisted {
                epoch.condemned[pack] = number;
            } else if quiescent {
                dropping |= one(pack);
            }
        }
        for pack in each(keep) {
            epoch.condemned[pack] = 0;
        }
        for pack in 0..SLOTS {
            if has(dropping, pack) || !has(universe | repository.packs, pack) {
                epoch.condemned[pack] = 0;
            }
            if has(dropping, pack) {
                index &= !entry(pack, 0b11);
            }
            if self.mutant == Some(Mutant::EntriesDroppedEarly) {
                let kept = if has(keep, pack) { live } else { 0 };
                index &= !entry(pack, !kept & 0b11);
            }
        }
        epoch.index = index;
        let written = if copy == 0 { 0 } else { own };
        for slot in each(parent.segments | written) {
            if entries_of(index, slot) != 0 {
                epoch.segments |= one(slot);
            }
        }
        epoch.dropped = parent.dropped & repository.packs | dropping;

        // Deletes. A segment goes once it is absorbed, its session retired, or nobody's; a manifest only below the
        // watermark.
        let finished = counting | parent.absorbed() | epoch.retired | listing.fences;
        let nobodys = listing.segments & !listing.sessions & !listing.commits;
        let mut deletes = Deletes {
            packs: epoch.dropped,
            segments: (finished & repository.segments | nobodys | parent.segments) & !own,
            manifests: 0,
            pins: own,
        };
        for slot in each(listing.commits | listing.fences) {
            let below = repository.bases[slot] < watermark
                || self.mutant == Some(Mutant::FenceDeletedAboveWatermark)
                    && has(listing.fences, slot);
            if below && !has(epoch.marked, slot) {
                deletes.manifests |= one(slot);
                deletes.segments |= one(slot) & repository.segments;
            }
        }
        for slot in each(listing.sessions) {
            if has(listing.commits | listing.fences, slot)
                || repository.bases[slot] < parent.watermark
            {
                deletes.pins |= one(slot);
            }
        }
        deletes.segments &= !epoch.segments;
        Some(Plan {
            epoch,
            deletes,
            copy,
        })
    }
}
