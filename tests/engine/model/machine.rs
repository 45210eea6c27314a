//! The processes of the protocol as a state machine: writers, readers, pruners and a user who forgets and undeletes.
//!
//! A step is one request to the bucket, or several of one process that no other process can tell from one. Any process
//! may stand still at any step for any time, so a crash needs no step of its own.

use super::reader::Reader;
use super::repository::{
    CHUNKS, Chunks, Epoch, Repository, SLOTS, Slots, each, entries_of, has, one,
};
use super::rules::Mutant;
use super::start::Start;
use super::transition::{Listing, Plan, Planner};
use stateright::{Model, Property};

/// Writers, at most.
pub const WRITERS: usize = 3;
/// Pruners, at most.
pub const PRUNERS: usize = 2;
/// Readers, at most.
pub const READERS: usize = 1;

/// A writer that makes one backup.
#[derive(Clone, Copy, Debug)]
pub struct WriterPlan {
    pub wants: Chunks,
    /// Sessions that it may open: when a session fails, the writer tries again with the next one.
    pub attempts: u8,
}

/// A pruner that runs transitions.
#[derive(Clone, Copy, Debug)]
pub struct PrunerPlan {
    pub rounds: u8,
    /// The first transition may repack.
    pub repack: bool,
    /// Transitions, the first ones, that leave what fenced sessions left.
    pub lenient: u8,
}

/// A run: who takes part, what may happen, which rule is left out.
#[derive(Clone, Debug)]
pub struct Run {
    pub writers: Vec<WriterPlan>,
    pub pruners: Vec<PrunerPlan>,
    /// How many read.
    pub readers: usize,
    /// What the first backup refers to.
    pub first: Chunks,
    /// What the first pack holds.
    pub stored: Chunks,
    /// How the first backup came to be there.
    pub start: Start,
    /// Backups that a user may forget once they are promised.
    pub forgettable: Slots,
    /// A user may undelete what was forgotten.
    pub undo: bool,
    /// Creates of packs and commits may take effect once more at any time, as a retried request does.
    pub late_creates: bool,
    /// Deletes of packs may take effect once more at any time.
    pub late_deletes: bool,
    /// In every state check that prune rounds alone reclaim all garbage.
    pub reclaim: bool,
    pub mutant: Option<Mutant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
enum WriterStep {
    #[default]
    ReadHead,
    CreatePin,
    ListManifests,
    ReadView,
    ReadIndex,
    Upload,
    /// Only where the fence has a key of its own.
    LookForFence,
    Commit,
    Confirm,
    Done,
    GivenUp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Writer {
    step: WriterStep,
    attempt: u8,
    base: u8,
    /// Manifests as listed: commits and fences.
    commits: Slots,
    fences: Slots,
    view: Epoch,
    missing: Chunks,
    adopted: Slots,
    /// Packs that the writer reads from, or counts on: they must stay while its pin is open.
    relied_on: Slots,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
enum PrunerStep {
    #[default]
    ReadHead,
    CreatePin,
    /// Only where manifests are listed before sessions.
    ListManifestsFirst,
    ListSessions,
    Fence,
    Upload,
    Publish,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Pruner {
    step: PrunerStep,
    rounds: u8,
    parent: Epoch,
    listing: Listing,
    plan: Plan,
}

/// The bucket and where each process stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub repository: Repository,
    writers: [Writer; WRITERS],
    pruners: [Pruner; PRUNERS],
    readers: [Reader; READERS],
    /// Undos whose outcome the user does not know yet.
    undoing: Slots,
}

/// One step of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Writer(usize),
    Pruner(usize),
    Reader(usize),
    /// A pruner takes a session for expired.
    Fence(usize, usize),
    Forget(usize),
    Undo(usize),
    ConfirmUndo(usize),
    DeletePack,
    DeleteSegments,
    DeleteManifests,
    LatePack(usize),
    LateCommit(usize),
}

impl Run {
    fn slot(&self, writer: usize, attempt: u8) -> usize {
        let before: u8 = self.writers[..writer]
            .iter()
            .map(|plan| plan.attempts)
            .sum();
        self.start.slots() + usize::from(before + attempt)
    }

    fn pruner_slot(&self, pruner: usize) -> usize {
        let writers: u8 = self.writers.iter().map(|plan| plan.attempts).sum();
        let before = self.pruners[..pruner]
            .iter()
            .filter(|plan| plan.repack)
            .count();
        self.start.slots() + usize::from(writers) + before
    }

    fn reader_slot(&self, reader: usize) -> usize {
        self.pruner_slot(self.pruners.len()) + reader
    }

    fn mutated(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether a pruner is in the transition in which it repacks, with a session of its own.
    fn repacks(&self, index: usize, pruner: &Pruner) -> bool {
        self.pruners[index].repack && pruner.rounds == 0
    }

    /// The session failed: the writer closes it with a fence of its own and tries again while it may.
    fn retry(&self, state: &mut State, index: usize) {
        let writer = state.writers[index];
        let slot = self.slot(index, writer.attempt);
        if !has(state.repository.closed(), slot) {
            state.repository.fences |= one(slot);
        }
        let attempt = writer.attempt + 1;
        let over = attempt == self.writers[index].attempts;
        state.writers[index] = Writer {
            step: if over {
                WriterStep::GivenUp
            } else {
                WriterStep::ReadHead
            },
            attempt,
            ..Writer::default()
        };
    }

    fn step_writer(&self, state: &mut State, index: usize) {
        let mut writer = state.writers[index];
        let slot = self.slot(index, writer.attempt);
        let wants = self.writers[index].wants;
        let repository = &mut state.repository;
        match writer.step {
            WriterStep::ReadHead => {
                writer.base = repository.head.number;
                writer.step = WriterStep::CreatePin;
            }
            WriterStep::CreatePin => {
                repository.pins |= one(slot);
                repository.bases[slot] = writer.base;
                writer.step = WriterStep::ListManifests;
            }
            WriterStep::ListManifests => {
                writer.commits = repository.commits;
                writer.fences = repository.fences;
                writer.step = WriterStep::ReadView;
            }
            WriterStep::ReadView => {
                let head = repository.head;
                let moved = head.number != writer.base && !self.mutated(Mutant::StalePin);
                if moved || writer.base < head.watermark {
                    return self.retry(state, index);
                }
                writer.view = head;
                writer.step = WriterStep::ReadIndex;
            }
            WriterStep::ReadIndex => {
                let mut listed = *repository;
                if !self.mutated(Mutant::HeadBeforeListing) {
                    listed.commits = writer.commits;
                    listed.fences = writer.fences;
                }
                let Some(index_read) = listed.index(&writer.view, self.mutant) else {
                    return self.retry(state, index);
                };
                self.deduplicate(&listed, &mut writer, index_read, wants);
                writer.view = Epoch::default();
                writer.commits = 0;
                writer.fences = 0;
                writer.step = WriterStep::Upload;
                if writer.missing == 0 {
                    if writer.adopted != 0 {
                        repository.segments |= one(slot);
                        repository.listed[slot] = writer.adopted;
                    }
                    writer.step = self.before_commit();
                }
            }
            WriterStep::Upload => {
                let mut pack = slot;
                if self.mutated(Mutant::PackNamesReused) {
                    let free = !repository.packs | repository.deletes.packs;
                    let same = each(free & 0b0011_1111)
                        .find(|pack| repository.content[*pack] == writer.missing);
                    pack = same.unwrap_or(slot);
                }
                repository.packs |= one(pack);
                repository.content[pack] = writer.missing;
                repository.segments |= one(slot);
                repository.listed[slot] = writer.adopted | one(pack);
                writer.relied_on |= one(pack);
                writer.step = self.before_commit();
            }
            WriterStep::LookForFence => {
                if has(repository.fences, slot) {
                    return self.retry(state, index);
                }
                writer.step = WriterStep::Commit;
            }
            WriterStep::Commit => {
                repository.refs[slot] = wants;
                let taken = match self.mutant {
                    Some(Mutant::FenceElsewhere) => repository.commits,
                    _ => repository.closed(),
                };
                if has(taken, slot) {
                    return self.retry(state, index);
                }
                repository.commits |= one(slot);
                writer.relied_on = 0;
                writer.step = WriterStep::Confirm;
            }
            WriterStep::Confirm => {
                let head = &repository.head;
                let counts = writer.base >= head.watermark || has(head.absorbed(), slot);
                if !counts && !self.mutated(Mutant::NoConfirm) {
                    return self.retry(state, index);
                }
                if !has(repository.forgotten, slot) {
                    repository.promised |= one(slot);
                }
                writer = Writer {
                    step: WriterStep::Done,
                    attempt: writer.attempt,
                    ..Writer::default()
                };
            }
            WriterStep::Done | WriterStep::GivenUp => {}
        }
        state.writers[index] = writer;
    }

    fn before_commit(&self) -> WriterStep {
        if self.mutated(Mutant::FenceElsewhere) {
            WriterStep::LookForFence
        } else {
            WriterStep::Commit
        }
    }

    /// Decides for each chunk whether the view has it, a crashed session has it, or it must be uploaded.
    fn deduplicate(&self, repository: &Repository, writer: &mut Writer, index: u16, wants: Chunks) {
        let view = &writer.view;
        let condemned = match self.mutant {
            Some(Mutant::ReuseCondemned) => 0,
            _ => view.condemned_set(),
        };
        // Every chunk of a backup that the head marked has a location that is not condemned: no need to look.
        let trusted_backups = match self.mutant {
            Some(Mutant::TrustUnmarkedParent) => repository.counting(view),
            _ => view.marked,
        };
        let trusted =
            each(trusted_backups).fold(0, |trusted, slot| trusted | repository.refs[slot]);
        let mut adoptable = 0;
        for slot in each(repository.fences & repository.packs) {
            let retired = repository.bases[slot] < view.watermark
                || has(view.retired | view.condemned_set() | view.dropped, slot);
            if !retired || self.mutated(Mutant::AdoptRetired) {
                adoptable |= one(slot);
            }
        }
        writer.missing = 0;
        for chunk in 0..CHUNKS {
            let bit = 1 << chunk;
            if wants & bit == 0 {
                continue;
            }
            let indexed = |set: Slots| each(set).find(|pack| entries_of(index, *pack) & bit != 0);
            if let Some(pack) = indexed(!condemned & 0b0011_1111) {
                writer.relied_on |= one(pack);
            } else if trusted & bit != 0 {
                // Taken on trust: no location was looked up.
            } else if let Some(pack) =
                each(adoptable).find(|pack| repository.content[*pack] & bit != 0)
            {
                writer.adopted |= one(pack);
                writer.relied_on |= one(pack);
            } else {
                writer.missing |= bit;
            }
        }
    }

    fn end_round(&self, pruner: &mut Pruner) {
        *pruner = Pruner {
            rounds: pruner.rounds + 1,
            ..Pruner::default()
        };
    }

    fn step_pruner(&self, state: &mut State, index: usize) {
        let mut pruner = state.pruners[index];
        let own = self.pruner_slot(index);
        let repacks = self.repacks(index, &pruner);
        let repository = &mut state.repository;
        match pruner.step {
            PrunerStep::ReadHead => {
                pruner.parent = repository.head;
                pruner.listing.segments = repository.segments;
                pruner.step = match self.mutant {
                    _ if repacks => PrunerStep::CreatePin,
                    Some(Mutant::ManifestsBeforeSessions) => PrunerStep::ListManifestsFirst,
                    _ => PrunerStep::ListSessions,
                };
            }
            PrunerStep::CreatePin => {
                repository.pins |= one(own);
                repository.bases[own] = pruner.parent.number;
                pruner.step = PrunerStep::ListSessions;
            }
            PrunerStep::ListManifestsFirst => {
                pruner.listing.list_manifests(repository);
                pruner.step = PrunerStep::ListSessions;
            }
            PrunerStep::ListSessions => {
                pruner.listing.sessions = repository.pins;
                pruner.step = PrunerStep::Fence;
            }
            PrunerStep::Fence => {
                if !self.mutated(Mutant::ManifestsBeforeSessions) {
                    pruner.listing.list_manifests(repository);
                }
                if self.mutated(Mutant::SegmentsAfterSessions) {
                    pruner.listing.segments = repository.segments;
                }
                let listing = &pruner.listing;
                let nobodys = listing.segments & !listing.sessions & !listing.commits;
                let planner = Planner {
                    own: repacks.then_some(own),
                    lenient: pruner.rounds < self.pruners[index].lenient,
                    mutant: self.mutant,
                };
                match planner.plan(&pruner.parent, &pruner.listing, repository) {
                    Some(plan) => {
                        if self.mutated(Mutant::DeleteBeforePublish) {
                            repository.deletes.packs |= plan.deletes.packs;
                        }
                        if self.mutated(Mutant::SegmentsDeletedBeforePublish) {
                            repository.deletes.segments |= plan.deletes.segments & nobodys;
                        }
                        pruner.listing = Listing::default();
                        pruner.plan = plan;
                        pruner.step = if plan.copy == 0 {
                            PrunerStep::Publish
                        } else {
                            PrunerStep::Upload
                        };
                    }
                    None => self.end_round(&mut pruner),
                }
            }
            PrunerStep::Upload => {
                repository.packs |= one(own);
                repository.content[own] = pruner.plan.copy;
                repository.segments |= one(own);
                pruner.step = PrunerStep::Publish;
            }
            PrunerStep::Publish => {
                let head = repository.head.number;
                let number = pruner.plan.epoch.number;
                let created = match self.mutant {
                    Some(Mutant::EpochOverwritten) => true,
                    Some(Mutant::StubsDeleted) => number != head,
                    _ => number > head,
                };
                if created {
                    if number >= head {
                        repository.head = pruner.plan.epoch;
                    }
                    let deletes = pruner.plan.deletes;
                    repository.deletes.packs |= deletes.packs & repository.packs;
                    repository.deletes.segments |= deletes.segments & repository.segments;
                    repository.deletes.manifests |= deletes.manifests & repository.closed();
                    repository.deletes.pins |= deletes.pins & repository.pins;
                } else if repacks && !has(repository.closed(), own) {
                    repository.fences |= one(own);
                }
                self.end_round(&mut pruner);
            }
        }
        state.pruners[index] = pruner;
    }

    fn fence(&self, state: &mut State, index: usize, slot: usize) {
        let repository = &mut state.repository;
        let taken = match self.mutant {
            Some(Mutant::FenceElsewhere) => false,
            _ => has(repository.closed(), slot),
        };
        if !taken && !self.mutated(Mutant::NoFence) {
            repository.fences |= one(slot);
        }
        state.pruners[index].listing.found_closed |= one(slot);
        for reader in (0..self.readers).filter(|reader| self.reader_slot(*reader) == slot) {
            state.readers[reader].taken_for_dead();
        }
    }

    /// Sessions that a pruner may take for expired.
    fn expirable(&self, state: &State, index: usize) -> Slots {
        let pruner = &state.pruners[index];
        let own = if self.repacks(index, pruner) {
            one(self.pruner_slot(index))
        } else {
            0
        };
        let seen = match self.mutant {
            Some(Mutant::ManifestsBeforeSessions) => pruner.listing.commits | pruner.listing.fences,
            _ => state.repository.closed(),
        };
        pruner.listing.sessions & !pruner.listing.found_closed & !seen & !own
    }

    /// Stops every process, loses the deletes under way, and runs prune rounds: the last state must hold nothing but
    /// what the backups in force need, and they must be whole.
    fn reclaims_garbage(&self, state: &State) -> bool {
        let mut repository = state.repository;
        repository.deletes = Default::default();
        let planner = Planner {
            own: None,
            lenient: false,
            mutant: self.mutant,
        };
        for round in 0..3 {
            let mut listing = Listing {
                segments: repository.segments,
                sessions: repository.pins,
                ..Listing::default()
            };
            for slot in each(repository.pins & !repository.closed()) {
                repository.fences |= one(slot);
            }
            listing.list_manifests(&repository);
            let parent = repository.head;
            let Some(plan) = planner.plan(&parent, &listing, &repository) else {
                return false;
            };
            repository.head = plan.epoch;
            repository.deletes = plan.deletes;
            repository.apply_deletes();
            let live = each(plan.epoch.marked).fold(0, |live, slot| live | repository.refs[slot]);
            if round == 1
                && each(repository.packs).any(|pack| entries_of(plan.epoch.index, pack) & live == 0)
            {
                return false;
            }
        }
        let head = &repository.head;
        let live = each(head.marked).fold(0, |live, slot| live | repository.refs[slot]);
        repository.keeps_promises(self.mutant)
            && head.condemned_set() == 0
            && head.dropped == 0
            && each(repository.packs).all(|pack| entries_of(head.index, pack) & live != 0)
            && repository.pins == 0
            && repository.segments == head.segments
            && repository.fences == 0
            && repository.commits == head.marked
            && repository.forgotten & !repository.undone == 0
    }

    /// Packs that an open session relies on are there: what restores and verifies count on as well.
    fn pins_hold(&self, state: &State) -> bool {
        (0..self.writers.len()).all(|index| {
            let writer = &state.writers[index];
            writer.relied_on & !state.repository.packs == 0
                || writer.base < state.repository.head.watermark
                || has(state.repository.fences, self.slot(index, writer.attempt))
        })
    }

    /// What the view of an open reader has can be read, forgotten or not.
    fn readers_read(&self, state: &State) -> bool {
        let readers = &state.readers[..self.readers];
        readers.iter().all(|reader| reader.reads(&state.repository))
    }
}

impl Model for Run {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        assert!(self.reader_slot(self.readers) <= SLOTS && self.readers <= READERS);
        vec![State {
            repository: self.start.repository(self.first, self.stored),
            ..State::default()
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let repository = &state.repository;
        for index in 0..self.writers.len() {
            if !matches!(
                state.writers[index].step,
                WriterStep::Done | WriterStep::GivenUp
            ) {
                actions.push(Action::Writer(index));
            }
        }
        for (index, plan) in self.pruners.iter().enumerate() {
            let pruner = &state.pruners[index];
            if pruner.rounds < plan.rounds {
                actions.push(Action::Pruner(index));
            }
            if pruner.step == PrunerStep::Fence {
                for slot in each(self.expirable(state, index)) {
                    actions.push(Action::Fence(index, slot));
                }
            }
        }
        for index in 0..self.readers {
            if !state.readers[index].is_closed() {
                actions.push(Action::Reader(index));
            }
        }
        for slot in each(repository.promised & self.forgettable & !repository.forgotten) {
            actions.push(Action::Forget(slot));
        }
        if self.undo {
            for slot in each(repository.forgotten & !repository.undone) {
                actions.push(Action::Undo(slot));
            }
            for slot in each(state.undoing) {
                actions.push(Action::ConfirmUndo(slot));
            }
        }
        let deletes = &repository.deletes;
        let packs = match self.late_deletes {
            true => deletes.packs & repository.packs,
            false => deletes.packs,
        };
        if packs != 0 {
            actions.push(Action::DeletePack);
        }
        if deletes.segments != 0 {
            actions.push(Action::DeleteSegments);
        }
        if deletes.manifests | deletes.pins != 0 {
            actions.push(Action::DeleteManifests);
        }
        if self.late_creates {
            for slot in 1..SLOTS {
                if has(repository.listed[slot], slot) && !has(repository.packs, slot) {
                    actions.push(Action::LatePack(slot));
                }
                if repository.refs[slot] != 0 && !has(repository.closed(), slot) {
                    actions.push(Action::LateCommit(slot));
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        let repository = &mut state.repository;
        match action {
            Action::Writer(index) => self.step_writer(&mut state, index),
            Action::Pruner(index) => self.step_pruner(&mut state, index),
            Action::Reader(index) => {
                state.readers[index].step(repository, self.reader_slot(index), self.mutant);
            }
            Action::Fence(index, slot) => self.fence(&mut state, index, slot),
            Action::Forget(slot) => {
                repository.forgotten |= one(slot);
                repository.promised &= !one(slot);
            }
            Action::Undo(slot) => {
                repository.undone |= one(slot);
                state.undoing |= one(slot);
            }
            Action::ConfirmUndo(slot) => {
                // Two requests, but one step: if the head moves between them, the Create fails and both are repeated.
                if has(repository.counting(&repository.head), slot) {
                    if !self.mutated(Mutant::UndoWithoutEpoch) {
                        repository.head.number += 1;
                    }
                    repository.promised |= one(slot);
                }
                state.undoing &= !one(slot);
            }
            Action::DeletePack => {
                let packs = match self.late_deletes {
                    true => repository.deletes.packs & repository.packs,
                    false => repository.deletes.packs,
                };
                let lowest = packs & packs.wrapping_neg();
                repository.packs &= !lowest;
                if !self.late_deletes {
                    repository.deletes.packs &= !lowest;
                }
            }
            Action::DeleteSegments => {
                repository.segments &= !repository.deletes.segments;
                repository.deletes.segments = 0;
            }
            Action::DeleteManifests => repository.apply_manifest_deletes(),
            Action::LatePack(slot) => repository.packs |= one(slot),
            Action::LateCommit(slot) => repository.commits |= one(slot),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(
                "promised backups are readable",
                |run: &Run, state: &State| state.repository.keeps_promises(run.mutant),
            ),
            Property::always("pins hold what they rely on", |run: &Run, state: &State| {
                run.pins_hold(state)
            }),
            Property::always("readers read", |run: &Run, state: &State| {
                run.readers_read(state)
            }),
        ];
        if self.reclaim {
            properties.push(Property::always(
                "garbage is reclaimed",
                |run: &Run, state: &State| run.reclaims_garbage(state),
            ));
        }
        properties
    }
}
