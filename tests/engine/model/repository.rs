//! What is in the bucket, as bits: everything that a process can observe of another one.
//!
//! A *slot* stands for one session and for whatever carries the session's id: its pin, its manifest key, its segment
//! and its only pack. A set of slots is a `u8`. Slot 0 is the backup that exists when a run starts.

use super::rules::Mutant;

/// Sessions in a run, at most.
pub const SLOTS: usize = 6;
/// Different chunks in a run, at most.
pub const CHUNKS: usize = 2;

/// A set of slots: sessions, packs, manifests or segments.
pub type Slots = u8;
/// A set of chunks.
pub type Chunks = u8;
/// Index entries: a set of chunks for each pack, two bits a pack.
pub type Entries = u16;

/// The slots in a set, ascending.
pub fn each(set: Slots) -> impl Iterator<Item = usize> {
    let mut rest = set;
    std::iter::from_fn(move || {
        let slot = rest.trailing_zeros() as usize;
        rest &= rest.wrapping_sub(1);
        (slot < 8).then_some(slot)
    })
}

/// The set that holds one slot.
pub fn one(slot: usize) -> Slots {
    1 << slot
}

/// Whether a set holds a slot.
pub fn has(set: Slots, slot: usize) -> bool {
    set >> slot & 1 != 0
}

/// The entries of one pack, as chunks.
pub fn entries_of(entries: Entries, pack: usize) -> Chunks {
    (entries >> (CHUNKS * pack)) as u8 & 0b11
}

/// Entries that place chunks in a pack.
pub fn entry(pack: usize, chunks: Chunks) -> Entries {
    Entries::from(chunks) << (CHUNKS * pack)
}

/// What an epoch's stub and body say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch {
    pub number: u8,
    /// Every session below is closed for ever; a commit below counts only if the epoch names it.
    pub watermark: u8,
    /// Entries in force.
    pub index: Entries,
    /// Segments that a pruner wrote and that hold some of them: without these the entries cannot be read.
    pub segments: Slots,
    /// For each pack the epoch that condemned it, 0 if none did.
    pub condemned: [u8; SLOTS],
    /// Packs that no later view contains; their objects may still be there.
    pub dropped: Slots,
    /// Backups marked.
    pub marked: Slots,
    /// Forgotten backups that would still count, at or above the watermark: nothing brings them back.
    pub gone: Slots,
    /// Sessions closed without a backup, at or above the watermark.
    pub retired: Slots,
}

impl Epoch {
    /// The packs that are condemned.
    pub fn condemned_set(&self) -> Slots {
        let mut set = 0;
        for (pack, since) in self.condemned.iter().enumerate() {
            if *since != 0 {
                set |= one(pack);
            }
        }
        set
    }

    /// The backups whose segments the epoch has absorbed.
    pub fn absorbed(&self) -> Slots {
        self.marked | self.gone
    }
}

/// Deletes that a pruner has sent and that have not taken effect. A delete may take effect at any later time, or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deletes {
    pub packs: Slots,
    pub segments: Slots,
    pub manifests: Slots,
    pub pins: Slots,
}

/// The bucket and what users were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Repository {
    pub head: Epoch,
    /// `sessions/`
    pub pins: Slots,
    /// The epoch in each session's keys.
    pub bases: [u8; SLOTS],
    /// `manifests/` that are commits.
    pub commits: Slots,
    /// `manifests/` that are fences. The same key as the commit's, so that never both are there.
    pub fences: Slots,
    /// Chunks that each commit refers to.
    pub refs: [Chunks; SLOTS],
    /// `forgotten/<sid>`
    pub forgotten: Slots,
    /// `forgotten/<sid>.undo`
    pub undone: Slots,
    /// `index/<sid>-<k>`
    pub segments: Slots,
    /// Packs that each session's segment lists: its own, and adopted ones.
    pub listed: [Slots; SLOTS],
    /// `packs/`
    pub packs: Slots,
    /// Chunks in each pack. Set when the pack is uploaded, for ever: packs are written once.
    pub content: [Chunks; SLOTS],
    pub deletes: Deletes,
    /// Backups that somebody was told are there: reported as finished and not forgotten, or undeleted.
    pub promised: Slots,
}

impl Repository {
    /// The session's manifest key is taken.
    pub fn closed(&self) -> Slots {
        self.commits | self.fences
    }

    /// The backups whose commits count under an epoch, with a tombstone or without.
    pub fn counting(&self, epoch: &Epoch) -> Slots {
        let mut counting = 0;
        for slot in each(self.commits & !epoch.gone) {
            if self.bases[slot] >= epoch.watermark || has(epoch.marked, slot) {
                counting |= one(slot);
            }
        }
        counting
    }

    /// Everything that a process finds in the index: the epoch's entries and those of segments not yet absorbed.
    /// `None` if such a segment is missing, which tells that the epoch is no longer the head.
    pub fn index(&self, epoch: &Epoch, mutant: Option<Mutant>) -> Option<Entries> {
        let mut valid = self.counting(epoch) & !epoch.absorbed();
        if mutant == Some(Mutant::ForgetInvalidatesSegments) {
            valid &= !self.forgotten | self.undone;
        }
        if epoch.segments & !self.segments != 0 {
            return None;
        }
        let mut index = epoch.index;
        for slot in each(valid) {
            if self.listed[slot] != 0 && !has(self.segments, slot) {
                return None;
            }
            for pack in each(self.listed[slot]) {
                index |= entry(pack, self.content[pack]);
            }
        }
        Some(index)
    }

    /// Whether every backup that was promised can be read in full.
    pub fn keeps_promises(&self, mutant: Option<Mutant>) -> bool {
        if self.promised == 0 {
            return true;
        }
        if self.promised & !self.counting(&self.head) != 0 {
            return false;
        }
        let Some(index) = self.index(&self.head, mutant) else {
            return false;
        };
        let mut found = 0;
        for pack in each(self.packs) {
            found |= entries_of(index, pack);
        }
        each(self.promised).all(|slot| self.refs[slot] & !found == 0)
    }

    /// Makes all deletes take effect that were sent.
    pub fn apply_deletes(&mut self) {
        self.packs &= !self.deletes.packs;
        self.segments &= !self.deletes.segments;
        self.apply_manifest_deletes();
        self.deletes = Deletes::default();
    }

    /// Makes the deletes of manifests take effect, and of what stands for the same sessions under `sessions/` and
    /// `forgotten/`.
    pub fn apply_manifest_deletes(&mut self) {
        self.commits &= !self.deletes.manifests;
        self.fences &= !self.deletes.manifests;
        self.forgotten &= !self.deletes.manifests;
        self.undone &= !self.deletes.manifests;
        self.pins &= !self.deletes.pins;
        self.deletes.manifests = 0;
        self.deletes.pins = 0;
    }
}
