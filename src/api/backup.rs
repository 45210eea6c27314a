//! The Backup: what to take from a cluster, and what became of it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BackupHooks, GoDuration, HookStatus, LabelSelector, ObjectMeta, Time};

impl Backup {
    /// The kind as it stands in `kind`.
    pub const KIND: &'static str = "Backup";

    /// A new backup of that name in that namespace.
    pub fn named(namespace: &str, name: &str, spec: BackupSpec) -> Backup {
        Backup {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> BackupPhase {
        let status = self.status.as_ref();
        status.map(|status| status.phase).unwrap_or_default()
    }
}

/// What a backup takes. Everything left out means: everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "Backup",
    plural = "backups",
    namespaced,
    status = "BackupStatus",
    derive = "PartialEq",
    shortname = "arkb",
    category = "ark",
    label("component", "ark"),
    doc = "One backup of one cluster. Deleting the object deletes no data: `ark backup delete` does.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Errors", type_ = "integer", json_path = ".status.errors"),
    printcolumn(name = "Warnings", type_ = "integer", json_path = ".status.warnings"),
    printcolumn(
        name = "Created",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiration"),
    printcolumn(
        name = "Storage Location",
        type_ = "string",
        json_path = ".spec.storageLocation"
    ),
    printcolumn(
        name = "Selector",
        type_ = "string",
        json_path = ".spec.labelSelector",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.labelSelector) && has(self.orLabelSelectors) && size(self.orLabelSelectors) > 0)")
    .message("labelSelector and orLabelSelectors exclude each other: give one of them"))]
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
    /// How long the backup is kept; absent or zero means as long as the server's default says, and without one until somebody
    /// deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<GoDuration>,
    /// The BackupStorageLocation whose repository takes the backup; absent means the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_location: Option<String>,
    /// Commands to run around the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<BackupHooks>,
    /// Stops a backup that is not finished: its phase becomes Canceling, then Canceled, and nothing of it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
}

impl BackupSpec {
    /// How long the backup is kept, if it says so.
    pub fn kept_for(&self) -> Option<GoDuration> {
        self.ttl.and_then(GoDuration::given)
    }
}

/// Where a backup stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// It is being stopped because `spec.cancel` asks for it.
    Canceling,
    /// It was stopped, and nothing of it is kept.
    Canceled,
    /// Its data is being deleted.
    Deleting,
    /// It is gone from the repository, and nobody deleted it.
    Lost,
}

impl BackupPhase {
    /// Whether a backup may yet become of it.
    pub fn is_under_way(self) -> bool {
        matches!(
            self,
            BackupPhase::New | BackupPhase::InProgress | BackupPhase::Canceling
        )
    }
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
            BackupPhase::Canceling => "Canceling",
            BackupPhase::Canceled => "Canceled",
            BackupPhase::Deleting => "Deleting",
            BackupPhase::Lost => "Lost",
        })
    }
}

/// What became of a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Where it stands.
    #[serde(default)]
    pub phase: BackupPhase,
    /// The id of its commit in the repository. What it stands for there is decided by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// The id of the cluster that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
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
    /// How many bytes its objects have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_bytes: Option<u64>,
    /// How many bytes it added to the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
    /// Whether the hooks after it are still to be run: also if the server is interrupted, after its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_hooks_due: Option<bool>,
    /// How many of the hooks before it are done with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_hooks_done: Option<u32>,
    /// How many of the hooks after it are done with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_hooks_done: Option<u32>,
    /// How many hooks were run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<HookStatus>,
    /// Pods (`namespace/name`) whose post hooks are still to be run: also if the server is interrupted, after its next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_hooks_due: Vec<String>,
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

impl BackupStatus {
    /// All of it: a field that is absent is `null`, so that nothing of an earlier status stays beside it.
    pub fn whole(&self) -> serde_json::Value {
        let mut whole = serde_json::json!({
            "backupId": null,
            "clusterId": null,
            "startTimestamp": null,
            "completionTimestamp": null,
            "expiration": null,
            "progress": null,
            "logicalBytes": null,
            "addedBytes": null,
            "hookStatus": null,
            "afterHooksDue": null,
            "beforeHooksDone": null,
            "afterHooksDone": null,
            "postHooksDue": null,
            "validationErrors": null,
            "failureReason": null,
        });
        if let (Some(whole), serde_json::Value::Object(set)) =
            (whole.as_object_mut(), serde_json::json!(self))
        {
            whole.extend(set);
        }
        whole
    }
}

/// How much of a backup is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// Objects known so far.
    pub total_items: u64,
    /// Objects in the repository.
    pub items_backed_up: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What repositories hold: written by an `ark` before the type was derived.
    const DOCUMENT: &str = r#"{"apiVersion":"ark.heptio.com/v1","kind":"Backup","metadata":{"creationTimestamp":"2026-11-20T01:02:03Z","name":"b","namespace":"heptio-ark"},"spec":{"includedNamespaces":["a"],"ttl":"720h0m0s"},"status":{"phase":"Completed","startTimestamp":"2026-11-20T01:02:03Z","progress":{"totalItems":3,"itemsBackedUp":3},"warnings":0,"errors":0}}"#;

    /// Else what an earlier outcome wrote would stay.
    #[test]
    fn a_whole_status_names_every_field() {
        let crd = <Backup as kube::CustomResourceExt>::crd();
        let schema = crd.spec.versions[0].schema.clone().unwrap();
        let root = schema.open_api_v3_schema.unwrap().properties.unwrap();
        let fields = root["status"].properties.clone().unwrap();
        let whole = BackupStatus::default().whole();
        for field in fields.keys() {
            assert!(whole.get(field).is_some(), "{field}");
        }
        let failed = BackupStatus {
            failure_reason: Some("x".to_owned()),
            ..BackupStatus::default()
        };
        assert_eq!(failed.whole()["failureReason"], "x");
    }

    #[test]
    fn documents_of_repositories_are_read_and_written_as_ever() {
        let backup: Backup = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(backup.metadata.name.as_deref(), Some("b"));
        assert_eq!(serde_json::to_string(&backup).unwrap(), DOCUMENT);
    }
}
