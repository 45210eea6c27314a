//! The Backup: what to take from a cluster, and what became of it.

use serde::{Deserialize, Serialize};

use super::{API_VERSION, GoDuration, LabelSelector, ObjectMeta, Time};

/// One backup of one cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always `Backup`.
    pub kind: String,
    /// Name, namespace of ark's objects, labels and annotations.
    pub metadata: ObjectMeta,
    /// What the user asked for.
    #[serde(default)]
    pub spec: BackupSpec,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<BackupStatus>,
}

impl Backup {
    /// The kind as it stands in `kind`.
    pub const KIND: &'static str = "Backup";

    /// A new backup of that name in that namespace.
    pub fn new(namespace: &str, name: &str, spec: BackupSpec) -> Backup {
        Backup {
            api_version: API_VERSION.to_owned(),
            kind: Backup::KIND.to_owned(),
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        }
    }
}

/// What a backup takes. Everything left out means: everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSpec {
    /// Namespaces to take, as names or globs (`* ? [abc] {a,b}`); none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out, as names or globs. They win over the included ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Resources to take: plural, singular, short name or kind, with or without group; none or `*` means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_resources: Vec<String>,
    /// Resources to leave out, written in the same ways. They win over the included ones and over relations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_resources: Vec<String>,
    /// Cluster-scoped objects: all (`true`), none but namespaces (`false`), or, when absent, all if no namespace is
    /// filtered and else those that the objects taken refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Take only objects that this selects, and what they refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Take only objects that at least one of these selects. Not together with `labelSelector`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or_label_selectors: Vec<LabelSelector>,
    /// How long the backup is kept; absent means until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<GoDuration>,
}

/// Where a backup stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BackupPhase {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// The spec is wrong; `validationErrors` says why.
    FailedValidation,
    /// It is being made.
    InProgress,
    /// Everything of the plan is in the repository.
    Completed,
    /// It is in the repository, but something of the plan is not in it.
    PartiallyFailed,
    /// Nothing was written that could be restored.
    Failed,
}

impl std::fmt::Display for BackupPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackupPhase::New => "New",
            BackupPhase::FailedValidation => "FailedValidation",
            BackupPhase::InProgress => "InProgress",
            BackupPhase::Completed => "Completed",
            BackupPhase::PartiallyFailed => "PartiallyFailed",
            BackupPhase::Failed => "Failed",
        })
    }
}

/// What became of a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Where it stands.
    #[serde(default)]
    pub phase: BackupPhase,
    /// When work on it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When work on it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// When it may be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// How much of it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,
    /// How many warnings its log holds.
    #[serde(default)]
    pub warnings: u64,
    /// How many errors its log holds.
    #[serde(default)]
    pub errors: u64,
    /// What is wrong with the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation_errors: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
}

/// How much of a backup is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// Objects known so far.
    pub total_items: u64,
    /// Objects in the repository.
    pub items_backed_up: u64,
}
