//! What must be true of each backup, given what was reported about it.
//!
//! An operation that ended well makes its outcome certain; one that was disturbed makes it uncertain, until the repository is looked
//! at with nothing else running. A deleted backup may go as soon as a prune that does not wait for the grace has run since. Everything
//! here is pure: time is a number that the caller counts up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::Content;

/// Counts up while a run goes on.
pub(super) type Moment = u64;

/// Where a backup may be.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// What it must contain.
    pub content: Arc<Content>,
    /// Whose it is.
    pub owner: usize,
    /// It may be listed.
    listed: bool,
    /// It may have been deleted, but not before this moment.
    deleted: Option<Moment>,
    /// It may have come to nothing.
    absent: bool,
}

/// How the world differs from what was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// A committed backup that was not deleted is not listed any more.
    Lost(String),
    /// A backup is listed although it was reported to be deleted or never to have been made.
    Back(String),
    /// A backup is listed that nobody made.
    Unknown(String),
}

/// All backups of one repository.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<String, Entry>,
    /// Prunes under way that honour deletions at once.
    pruning: usize,
    /// When the last such prune ended.
    pruned: Option<Moment>,
}

impl Ledger {
    /// A backup was made, or, if not `certain`, may have been.
    pub(super) fn created(
        &mut self,
        name: &str,
        owner: usize,
        content: &Arc<Content>,
        certain: bool,
    ) {
        let entry = Entry {
            content: Arc::clone(content),
            owner,
            listed: true,
            deleted: None,
            absent: !certain,
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// It was deleted by an operation that began at `since`, or, if not `certain`, may have been.
    pub(super) fn deleted(&mut self, name: &str, since: Moment, certain: bool) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.deleted = Some(since);
            entry.listed &= !certain;
        }
    }

    /// It was undeleted, or, if not `certain`, may have been.
    pub(super) fn undeleted(&mut self, name: &str, certain: bool) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.listed = true;
            if certain {
                entry.deleted = None;
            }
        }
    }

    /// It is gone for good, as an undelete was told.
    pub(super) fn gone(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// A prune that honours deletions at once begins.
    pub(super) fn prune_begins(&mut self) {
        self.pruning += 1;
    }

    /// It ended, in whatever way.
    pub(super) fn prune_ends(&mut self, now: Moment) {
        self.pruning -= 1;
        self.pruned = Some(now);
    }

    /// Whether a prune may have taken away a backup that was deleted at `since` or later.
    fn may_be_pruned(&self, since: Moment) -> bool {
        self.pruning > 0 || self.pruned.is_some_and(|pruned| pruned >= since)
    }

    /// Whether a backup may be gone.
    pub(super) fn may_be_gone(&self, name: &str) -> bool {
        let entry = self.entries.get(name);
        entry.is_none_or(|entry| {
            entry.absent || entry.deleted.is_some_and(|since| self.may_be_pruned(since))
        })
    }

    /// Backups of `owner` that are certain to be listed.
    pub(super) fn listed(&self, owner: usize) -> Vec<(String, Arc<Content>)> {
        let certain = |entry: &&Entry| {
            entry.owner == owner && entry.listed && entry.deleted.is_none() && !entry.absent
        };
        let entries = self.entries.iter().filter(|(_, entry)| certain(entry));
        entries
            .map(|(name, entry)| (name.clone(), Arc::clone(&entry.content)))
            .collect()
    }

    /// Backups of `owner` that are certain to be deleted; some may be gone.
    pub(super) fn deleted_ones(&self, owner: usize) -> Vec<String> {
        let certain =
            |entry: &&Entry| entry.owner == owner && !entry.listed && entry.deleted.is_some();
        let entries = self.entries.iter().filter(|(_, entry)| certain(entry));
        entries.map(|(name, _)| name.clone()).collect()
    }

    /// Compares with what the repository lists while nothing runs, and takes it for certain from then on.
    pub(super) fn observe(
        &mut self,
        listed: &BTreeSet<String>,
        deleted: &BTreeSet<String>,
    ) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for name in listed.iter().chain(deleted) {
            if !self.entries.contains_key(name) {
                breaches.push(Breach::Unknown(name.clone()));
            }
        }
        let names: Vec<String> = self.entries.keys().cloned().collect();
        for name in names {
            let gone = self.may_be_gone(&name);
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            if listed.contains(&name) {
                if !entry.listed {
                    breaches.push(Breach::Back(name.clone()));
                }
                (entry.listed, entry.deleted, entry.absent) = (true, None, false);
            } else if deleted.contains(&name) {
                if entry.deleted.is_none() {
                    breaches.push(Breach::Lost(name.clone()));
                }
                entry.deleted = entry.deleted.or(Some(0));
                (entry.listed, entry.absent) = (false, false);
            } else {
                if !gone {
                    breaches.push(Breach::Lost(name.clone()));
                }
                self.entries.remove(&name);
            }
        }
        breaches
    }

    /// What a backup must contain.
    pub(super) fn content(&self, name: &str) -> Option<Arc<Content>> {
        self.entries
            .get(name)
            .map(|entry| Arc::clone(&entry.content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn ledger(certain: bool) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.created("a", 0, &Arc::default(), certain);
        ledger
    }

    #[test]
    fn a_committed_backup_must_be_listed() {
        assert_eq!(ledger(true).observe(&names(&["a"]), &names(&[])), []);
        let lost = [Breach::Lost("a".to_owned())];
        assert_eq!(ledger(true).observe(&names(&[]), &names(&[])), lost);
        assert_eq!(ledger(true).observe(&names(&[]), &names(&["a"])), lost);
        let unknown = [Breach::Unknown("b".to_owned())];
        assert_eq!(
            ledger(true).observe(&names(&["a", "b"]), &names(&[])),
            unknown
        );
    }

    #[test]
    fn a_killed_one_may_be_either_and_then_is_what_it_was_seen_to_be() {
        let mut absent = ledger(false);
        assert!(absent.listed(0).is_empty());
        assert_eq!(absent.observe(&names(&[]), &names(&[])), []);
        let mut present = ledger(false);
        assert_eq!(present.observe(&names(&["a"]), &names(&[])), []);
        assert_eq!(present.listed(0).len(), 1);
        let lost = [Breach::Lost("a".to_owned())];
        assert_eq!(present.observe(&names(&[]), &names(&[])), lost);
    }

    #[test]
    fn a_deleted_one_goes_only_with_a_prune() {
        let mut kept = ledger(true);
        kept.prune_begins();
        kept.prune_ends(4);
        kept.deleted("a", 5, true);
        assert!(!kept.may_be_gone("a"));
        let lost = [Breach::Lost("a".to_owned())];
        assert_eq!(kept.observe(&names(&[]), &names(&[])), lost);

        let mut pruned = ledger(true);
        pruned.prune_begins();
        pruned.deleted("a", 5, true);
        assert!(pruned.may_be_gone("a"));
        pruned.prune_ends(6);
        assert_eq!(pruned.observe(&names(&[]), &names(&[])), []);
    }

    #[test]
    fn an_undelete_that_said_so_holds() {
        let mut ledger = ledger(true);
        ledger.deleted("a", 1, true);
        assert_eq!(ledger.deleted_ones(0), ["a"]);
        ledger.prune_begins();
        ledger.undeleted("a", true);
        ledger.prune_ends(9);
        let lost = [Breach::Lost("a".to_owned())];
        assert_eq!(ledger.observe(&names(&[]), &names(&["a"])), lost);
    }

    #[test]
    fn what_was_deleted_does_not_come_back() {
        let mut ledger = ledger(true);
        ledger.deleted("a", 1, true);
        let back = [Breach::Back("a".to_owned())];
        assert_eq!(ledger.observe(&names(&["a"]), &names(&[])), back);
    }
}
