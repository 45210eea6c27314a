//! Which location holds a repository: one alone.
//!
//! Two locations at one repository would show each backup twice, and their schedules and requests would judge each other's. So the second
//! one is refused. Which is the second is on record in the cluster (the BackupRepositories), and for as long as it is not, in this process:
//! who was first stays first.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{BackupRepository, BackupStorageLocation};

/// The repositories that locations hold in this process.
#[derive(Default)]
pub struct Holders(Mutex<BTreeMap<String, String>>);

impl Holders {
    /// Notes that the location holds the repository, unless another one does: that one.
    pub fn claim(&self, location: &str, repository: &str) -> Result<(), String> {
        let mut held = self.held();
        let other = held
            .iter()
            .find(|(name, id)| *name != location && *id == repository);
        if let Some((other, _)) = other {
            return Err(other.clone());
        }
        held.insert(location.to_owned(), repository.to_owned());
        Ok(())
    }

    /// The location holds none any more.
    pub fn release(&self, location: &str) {
        self.held().remove(location);
    }

    /// Releases those of locations that are no more.
    pub fn retain(&self, locations: &[String]) {
        self.held().retain(|name, _| locations.contains(name));
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The location that holds the repository according to the cluster, if it is not this one.
pub fn on_record(
    location: &str,
    repository: &str,
    locations: &[BackupStorageLocation],
    known: &[BackupRepository],
) -> Option<String> {
    let mut holders: Vec<(Option<Timestamp>, String)> = locations
        .iter()
        .map(|there| (there.creation_timestamp().map(|at| at.0), there.name_any()))
        .filter(|(_, name)| {
            known.iter().any(|known| {
                let status = known.status.as_ref();
                let id = status.and_then(|status| status.repository_id.as_deref());
                known.name_any() == *name && id == Some(repository)
            })
        })
        .collect();
    // Of several, which there should not be, the oldest.
    holders.sort();
    let (_, first) = holders.into_iter().next()?;
    (first != location).then_some(first)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn who_comes_second_in_this_process_is_refused() {
        let holders = Holders::default();
        assert_eq!(holders.claim("a", "1"), Ok(()));
        assert_eq!(holders.claim("a", "1"), Ok(()));
        assert_eq!(holders.claim("b", "1"), Err("a".to_owned()));
        assert_eq!(holders.claim("b", "2"), Ok(()));
        holders.retain(&["b".to_owned()]);
        assert_eq!(holders.claim("c", "1"), Ok(()));
        holders.release("b");
        assert_eq!(holders.claim("c", "2"), Ok(()));
    }

    #[test]
    fn who_was_first_stays_first() {
        let location = |name: &str, made: &str| -> BackupStorageLocation {
            serde_json::from_value(json!({
                "apiVersion": "ark.heptio.com/v1", "kind": "BackupStorageLocation",
                "metadata": {"name": name, "creationTimestamp": made},
                "spec": {"provider": "local", "objectStorage": {"bucket": "/b"}},
            }))
            .unwrap()
        };
        let known = |name: &str, id: Option<&str>| -> BackupRepository {
            serde_json::from_value(json!({
                "apiVersion": "ark.heptio.com/v1", "kind": "BackupRepository",
                "metadata": {"name": name}, "spec": {"backupStorageLocation": name},
                "status": {"repositoryId": id},
            }))
            .unwrap()
        };
        let locations = [
            location("old", "2026-01-01T00:00:00Z"),
            location("new", "2026-02-01T00:00:00Z"),
        ];
        let holder = |location: &str, known: &[BackupRepository]| {
            on_record(location, "1", &locations, known)
        };
        assert_eq!(holder("new", &[]), None);
        assert_eq!(
            holder("new", &[known("old", None), known("new", Some("1"))]),
            None
        );
        let by_old = [known("old", Some("1"))];
        assert_eq!(holder("new", &by_old).as_deref(), Some("old"));
        assert_eq!(holder("old", &by_old), None);
        // An older location that was pointed at it later.
        let by_new = [known("old", Some("2")), known("new", Some("1"))];
        assert_eq!(holder("old", &by_new).as_deref(), Some("new"));
        let by_both = [known("old", Some("1")), known("new", Some("1"))];
        assert_eq!(holder("new", &by_both).as_deref(), Some("old"));
        assert_eq!(holder("old", &by_both), None);
        // The BackupRepository of a location that is gone goes a little later.
        let gone = [known("gone", Some("1"))];
        assert_eq!(holder("new", &gone), None);
    }
}
