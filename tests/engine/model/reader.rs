//! A restore or a verify: it pins as a writer does, reads what its view has, and never commits.
//!
//! It reads in any number of steps, at any time, chunks of any backup in force under its view, forgotten or not. So there is
//! no step for a read: in every state between the first and the last one, all that it may still read must be there.

use super::repository::{Chunks, Entries, Epoch, Repository, Slots, each, entries_of, has, one};
use super::rules::Mutant;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
enum Step {
    #[default]
    ReadHead,
    CreatePin,
    ListManifests,
    ReadView,
    ReadIndex,
    /// It reads, until it is done.
    Reading,
    Closed,
}

/// A reader, and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reader {
    step: Step,
    base: u8,
    commits: Slots,
    view: Epoch,
    /// The index of its view.
    index: Entries,
    /// What the backups in force under its view refer to.
    wants: Chunks,
}

impl Reader {
    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.step == Step::Closed
    }

    /// Whether everything that it may still read is there.
    pub fn reads(&self, repository: &Repository) -> bool {
        if self.step != Step::Reading {
            return true;
        }
        let found =
            each(repository.packs).fold(0, |found, pack| found | entries_of(self.index, pack));
        self.wants & !found == 0
    }

    /// A pruner has fenced its session: it may read on, and is promised nothing.
    pub fn taken_for_dead(&mut self) {
        *self = Reader {
            step: Step::Closed,
            ..Reader::default()
        };
    }

    /// Its session ends, with a fence of its own.
    fn close(&mut self, repository: &mut Repository, slot: usize) {
        if has(repository.pins, slot) && !has(repository.closed(), slot) {
            repository.fences |= one(slot);
        }
        self.taken_for_dead();
    }

    /// Takes its next step.
    pub fn step(&mut self, repository: &mut Repository, slot: usize, mutant: Option<Mutant>) {
        match self.step {
            Step::ReadHead => {
                self.base = repository.head.number;
                self.step = Step::CreatePin;
            }
            Step::CreatePin => {
                if mutant != Some(Mutant::NoReaderPin) {
                    repository.pins |= one(slot);
                    repository.bases[slot] = self.base;
                }
                self.step = Step::ListManifests;
            }
            Step::ListManifests => {
                self.commits = repository.commits;
                self.step = Step::ReadView;
            }
            Step::ReadView => {
                let head = repository.head;
                let moved = head.number != self.base && mutant != Some(Mutant::StalePin);
                // It begins again: that is another reader.
                if moved || self.base < head.watermark {
                    return self.close(repository, slot);
                }
                self.view = head;
                self.step = Step::ReadIndex;
            }
            Step::ReadIndex => {
                let listed = Repository {
                    commits: self.commits,
                    ..*repository
                };
                let Some(index) = listed.index(&self.view, mutant) else {
                    return self.close(repository, slot);
                };
                let backups = each(listed.counting(&self.view));
                *self = Reader {
                    step: Step::Reading,
                    index,
                    wants: backups.fold(0, |wants, backup| wants | repository.refs[backup]),
                    ..Reader::default()
                };
            }
            Step::Reading => self.close(repository, slot),
            Step::Closed => {}
        }
    }
}
