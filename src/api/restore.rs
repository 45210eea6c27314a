//! The Restore: what to put back into a cluster, and what became of it.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HookStatus, LabelSelector, ObjectMeta, RestoreHooks, Time};

impl Restore {
    /// The kind as it stands in `kind`.
    pub const KIND: &'static str = "Restore";

    /// A new restore of that name in that namespace.
    pub fn named(namespace: &str, name: &str, spec: RestoreSpec) -> Restore {
        Restore {
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
    pub fn phase(&self) -> RestorePhase {
        let status = self.status.as_ref();
        status.map(|status| status.phase).unwrap_or_default()
    }
}

/// What a restore puts back. The filters read as those of a Backup and apply to the objects as they were backed up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "Restore",
    plural = "restores",
    namespaced,
    status = "RestoreStatus",
    derive = "PartialEq",
    shortname = "arkr",
    category = "ark",
    label("component", "ark"),
    doc = "One restore of one backup into the cluster that this object is in.",
    printcolumn(name = "Backup", type_ = "string", json_path = ".status.backupName"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Warnings", type_ = "integer", json_path = ".status.warnings"),
    printcolumn(name = "Errors", type_ = "integer", json_path = ".status.errors"),
    printcolumn(
        name = "Created",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Selector",
        type_ = "string",
        json_path = ".spec.labelSelector",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.labelSelector) && has(self.orLabelSelectors) && size(self.orLabelSelectors) > 0)")
        .message("labelSelector and orLabelSelectors exclude each other: give one of them"),
    validation = Rule::new("(has(self.backupName) && self.backupName != '') != (has(self.scheduleName) && self.scheduleName != '')")
        .message("give either backupName or scheduleName"),
)]
pub struct RestoreSpec {
    /// The backup to restore. Either this or `scheduleName`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub backup_name: String,
    /// Restore the newest Completed backup of this Schedule. `status.backupName` says which one that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub schedule_name: Option<String>,
    /// Namespaces to restore, as names or globs; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out, as names or globs. They win over the included ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Resources to restore; none or `*` means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_resources: Vec<String>,
    /// Resources to leave out. They win over the included ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_resources: Vec<String>,
    /// Cluster-scoped objects: all (`true`), none (`false`), or, when absent, all if no namespace is filtered and else
    /// those that the restored objects refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Restore only objects that this selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Restore only objects that at least one of these selects. Not together with `labelSelector`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Namespace in the backup → namespace to restore it into.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_mapping: BTreeMap<String, String>,
    /// What happens to objects that are in the cluster already and differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_resource_policy: Option<ExistingResourcePolicy>,
    /// Keep the node ports that Services had. Absent or false: only those that were set by hand are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_node_ports: Option<bool>,
    /// What is done in pods that the restore creates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<RestoreHooks>,
    /// Stops a restore that is not finished: its phase becomes Canceling, then Canceled. What is restored stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
}

/// What a restore does with an object that exists and differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExistingResourcePolicy {
    /// Leaves it as it is and says so.
    #[default]
    None,
    /// Patches it to what the backup holds.
    Update,
}

/// Where a restore stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RestorePhase {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// The spec is wrong; `validationErrors` says why.
    FailedValidation,
    /// It is being applied.
    InProgress,
    /// Everything of the plan is in the cluster.
    Completed,
    /// Something of the plan could not be put back.
    PartiallyFailed,
    /// Nothing could be put back.
    Failed,
    /// It is being stopped because `spec.cancel` asks for it.
    Canceling,
    /// It was stopped; what was restored until then stays.
    Canceled,
}

impl RestorePhase {
    /// Whether anything may yet be restored by it.
    pub fn is_under_way(self) -> bool {
        matches!(
            self,
            RestorePhase::New | RestorePhase::InProgress | RestorePhase::Canceling
        )
    }
}

impl std::fmt::Display for RestorePhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RestorePhase::New => "New",
            RestorePhase::FailedValidation => "FailedValidation",
            RestorePhase::InProgress => "InProgress",
            RestorePhase::Completed => "Completed",
            RestorePhase::PartiallyFailed => "PartiallyFailed",
            RestorePhase::Failed => "Failed",
            RestorePhase::Canceling => "Canceling",
            RestorePhase::Canceled => "Canceled",
        })
    }
}

/// What became of a restore.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// Where it stands.
    #[serde(default)]
    pub phase: RestorePhase,
    /// The backup that is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// When work on it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When work on it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How much of it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RestoreProgress>,
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

/// How much of a restore is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreProgress {
    /// Objects of the plan.
    pub total_items: u64,
    /// Objects that the apiserver has answered for.
    pub items_restored: u64,
}
