//! The object of a backup, from what its manifest keeps.

use ark_engine::{BackupRow, BackupStatus as Ended};
use jiff::{SignedDuration, Timestamp};

use super::plan::has_ended;
use crate::api::labels::{self, label_value};
use crate::api::{Backup, BackupPhase, BackupSpec, BackupStatus, ObjectMeta, Time};

/// Where it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The namespace of ark's objects.
    pub namespace: &'a str,
    /// The location that holds it.
    pub location: &'a str,
    /// The id of this cluster.
    pub cluster: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// How long a backup is kept that is there although its time is over: it was taken back.
const REPRIEVE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The object.
pub fn shown(object: &str, row: &BackupRow, document: &[u8], place: &Place) -> Backup {
    let own = row.cluster.id == place.cluster;
    let document: Option<Backup> = serde_json::from_slice(document).ok();
    let (metadata, mut spec, status) = match document {
        Some(backup) => (backup.metadata, backup.spec, backup.status),
        None => (ObjectMeta::default(), BackupSpec::default(), None),
    };
    spec.storage_location = Some(place.location.to_owned());
    spec.cancel = None;
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.retain(|key, _| !key.starts_with("kubectl.kubernetes.io/") && is_key(key));
    annotations.insert(labels::BACKUP_ID.to_owned(), row.id.to_string());
    let mut pairs = metadata.labels.unwrap_or_default();
    // What was made directly never came by an apiserver.
    pairs.retain(|key, value| is_key(key) && is_value(value));
    pairs.remove(labels::CLUSTER_ID);
    pairs.insert(
        labels::STORAGE_LOCATION.to_owned(),
        label_value(place.location),
    );
    if !own {
        let cluster = label_value(&row.cluster.id);
        if is_value(&cluster) {
            pairs.insert(labels::CLUSTER_ID.to_owned(), cluster);
        }
        annotations.insert(labels::CLUSTER_NAME.to_owned(), row.cluster.name.clone());
    }
    let mut backup = Backup::named(place.namespace, object, spec);
    backup.metadata.labels = Some(pairs);
    backup.metadata.annotations = Some(annotations);
    let mut status = status.unwrap_or_default();
    if !has_ended(status.phase) {
        status = BackupStatus {
            phase: match row.status {
                Ended::Completed => BackupPhase::Completed,
                Ended::PartiallyFailed => BackupPhase::PartiallyFailed,
                Ended::Failed => BackupPhase::Failed,
            },
            start_timestamp: Timestamp::from_millisecond(row.created).ok().map(Time),
            ..status
        };
    }
    status.backup_id = Some(row.id.to_string());
    status.cluster_id = Some(row.cluster.id.clone());
    status.expiration = row
        .expires
        .and_then(|at| Timestamp::from_second(at).ok())
        .map(|at| Time(expiration(at, place.now)));
    status.logical_bytes = Some(row.counts.bytes);
    status.added_bytes = Some(row.added_bytes());
    backup.status = Some(status);
    backup
}

/// When a backup goes that is shown anew. One whose time was over long ago had been deleted: who took it back wants to use it.
fn expiration(expires: Timestamp, now: Timestamp) -> Timestamp {
    match expires <= now {
        true => now.saturating_add(REPRIEVE).unwrap_or(now),
        false => expires,
    }
}

/// Whether the apiserver takes the key of a label or annotation.
fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    !name.is_empty()
        && is_value(name)
        && prefix.is_none_or(|prefix| crate::api::names::check_name("label", prefix).is_ok())
}

/// Whether the apiserver takes the value of a label.
fn is_value(value: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= crate::api::names::MAX_LABEL
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_are_what_an_apiserver_takes() {
        let long = "a".repeat(63);
        for good in ["", "a", "A-b_c.9", long.as_str()] {
            assert!(is_value(good), "{good:?}");
        }
        let longer = "a".repeat(64);
        for bad in ["a b", "-a", "a-", "ä", "a/b", longer.as_str()] {
            assert!(!is_value(bad), "{bad:?}");
        }
        for good in ["team", "example.com/team", "ark.heptio.com/schedule-name"] {
            assert!(is_key(good), "{good:?}");
        }
        for bad in ["", "/a", "a/", "Example.com/a", "a b", "a/b/c"] {
            assert!(!is_key(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_was_taken_back_does_not_go_at_once() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-22T00:00:00Z");
        let soon = at("2026-11-22T00:00:01Z");
        assert_eq!(expiration(soon, now), soon);
        assert_eq!(
            expiration(at("2026-01-01T00:00:00Z"), now),
            at("2026-11-29T00:00:00Z")
        );
    }
}
