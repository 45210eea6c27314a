//! Labels and annotations that ark reads and writes.
//!
//! Everything is read under `ark.heptio.com/` and `velero.io/`; ours wins. What ark writes, it writes under
//! `ark.heptio.com/`. A label value holds 63 characters at most; a longer name is cut to its first 57 characters
//! followed by the first 6 hex digits of the BLAKE3 hash of the whole name, so that two long names stay apart.

use super::names::MAX_LABEL;

/// ark's own prefix.
pub const PREFIX: &str = "ark.heptio.com/";
/// The prefix of Velero, read wherever ours is.
pub const VELERO_PREFIX: &str = "velero.io/";

/// Leaves the object, or the namespace and all in it, out of every backup when it is `true`.
pub const EXCLUDE_FROM_BACKUP: &str = "exclude-from-backup";
/// Names the backup that an object was restored from.
pub const BACKUP_NAME: &str = "ark.heptio.com/backup-name";
/// Names the restore that put an object there.
pub const RESTORE_NAME: &str = "ark.heptio.com/restore-name";
/// Annotation of a Backup that is in a repository: the id of its commit there.
pub const BACKUP_ID: &str = "ark.heptio.com/backup-id";
/// Names the location that holds a Backup.
pub const STORAGE_LOCATION: &str = "ark.heptio.com/storage-location";
/// Label of a Backup of another cluster: the id of that cluster.
pub const CLUSTER_ID: &str = "ark.heptio.com/cluster-id";
/// Annotation of a Backup of another cluster: what that cluster was called.
pub const CLUSTER_NAME: &str = "ark.heptio.com/cluster-name";
/// Names the Schedule that a Backup was made by.
pub const SCHEDULE_NAME: &str = "ark.heptio.com/schedule-name";

/// The value of a label or annotation under our prefix, or else under Velero's.
pub fn lookup<K, V>(pairs: impl IntoIterator<Item = (K, V)>, suffix: &str) -> Option<V>
where
    K: AsRef<str>,
{
    let mut theirs = None;
    for (key, value) in pairs {
        let key = key.as_ref();
        if key.strip_prefix(PREFIX) == Some(suffix) {
            return Some(value);
        }
        if key.strip_prefix(VELERO_PREFIX) == Some(suffix) {
            theirs = Some(value);
        }
    }
    theirs
}

/// A value that fits a label: the name itself or, if it is too long, its beginning and a hash.
pub fn label_value(name: &str) -> String {
    if name.len() <= MAX_LABEL {
        return name.to_owned();
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let mut end = MAX_LABEL - 6;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &name[..end], &hash[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_prefix_wins() {
        let labels = [
            ("velero.io/exclude-from-backup", "true"),
            ("ark.heptio.com/exclude-from-backup", "false"),
        ];
        assert_eq!(lookup(labels, EXCLUDE_FROM_BACKUP), Some("false"));
        assert_eq!(lookup([labels[0]], EXCLUDE_FROM_BACKUP), Some("true"));
        assert_eq!(
            lookup([("exclude-from-backup", "true")], EXCLUDE_FROM_BACKUP),
            None
        );
    }

    #[test]
    fn long_values_are_cut_and_stay_apart() {
        let (a, b) = ("a".repeat(80), format!("{}b", "a".repeat(79)));
        assert_eq!(label_value("short"), "short");
        assert_eq!(label_value(&"a".repeat(63)).len(), 63);
        assert_eq!(label_value(&a).len(), 63);
        assert!(label_value(&a).starts_with(&"a".repeat(57)));
        assert_ne!(label_value(&a), label_value(&b));
    }
}
