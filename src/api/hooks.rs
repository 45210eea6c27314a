//! Hooks: commands that are run around a backup or after a restore, as users write them.
//!
//! The fields are Velero's where they mean the same. What they lead to is decided in `hooks`.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{GoDuration, LabelSelector};

/// The hooks of a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupHooks {
    /// Commands to run in pods that the backup takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub resources: Vec<BackupResourceHooks>,
}

/// Commands to run in some of the pods that a backup takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupResourceHooks {
    /// What logs call it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Pods in these namespaces, as names or globs; none means all that the backup takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub included_namespaces: Vec<String>,
    /// Not pods in these namespaces, as names or globs. They win over the included ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub excluded_namespaces: Vec<String>,
    /// `pods`, `*`, or nothing: commands run in pods only. What leaves out pods is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub included_resources: Vec<String>,
    /// Anything but pods. What names pods is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub excluded_resources: Vec<String>,
    /// Only pods that this selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// What is run before anything is read, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub pre: Vec<BackupHook>,
    /// What is run after everything is read, one after the other. Also run if the backup fails or is cancelled, in every pod
    /// whose turn had come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub post: Vec<BackupHook>,
}

/// One hook of a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupHook {
    /// A command in a container of the pod.
    pub exec: ExecHook,
}

/// A command in a container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecHook {
    /// The container; absent means the first one of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The program and its arguments. No shell reads them unless one is named.
    #[schemars(length(min = 1, max = 64))]
    pub command: Vec<String>,
    /// What a failure means; absent means Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// How long to wait for the command to end; absent means 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
}

/// The hooks of a restore.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreHooks {
    /// What is done in pods that the restore creates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub resources: Vec<RestoreResourceHooks>,
}

/// What is done in some of the pods that a restore creates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreResourceHooks {
    /// What logs call it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Pods in these namespaces of the backup, as names or globs; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub included_namespaces: Vec<String>,
    /// Not pods in these namespaces of the backup, as names or globs. They win over the included ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub excluded_namespaces: Vec<String>,
    /// `pods`, `*`, or nothing: there are hooks for pods only. What leaves out pods is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub included_resources: Vec<String>,
    /// Anything but pods. What names pods is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub excluded_resources: Vec<String>,
    /// Only pods that this selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// What is done, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub post_hooks: Vec<RestoreHook>,
}

/// One hook of a restore: either a command or containers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.exec) != has(self.init)").message("give either exec or init"))]
pub struct RestoreHook {
    /// A command in a container of the pod, once that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<RestoreExecHook>,
    /// Containers that are put into the pod before it is created, and run before its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitHook>,
}

/// A command in a container of a restored pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreExecHook {
    /// The container; absent means the first one of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The program and its arguments. No shell reads them unless one is named.
    #[schemars(length(min = 1, max = 64))]
    pub command: Vec<String>,
    /// What a failure means; absent means Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// How long to wait for the command to end; absent means 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_timeout: Option<GoDuration>,
    /// How long after the pod was created its container may take until it runs; absent means 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_timeout: Option<GoDuration>,
    /// Wait until the container is ready, and not only until it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_ready: Option<bool>,
}

/// Containers that run in a restored pod before its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InitHook {
    /// The containers, as a pod's `initContainers`.
    #[schemars(schema_with = "free_objects")]
    pub init_containers: Vec<serde_json::Value>,
    /// Wait so long after the pod was created until they have ended well; absent means that nobody waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
}

/// Objects that the apiserver checks when they are used.
fn free_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
    })
}

/// What a hook that fails means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnError {
    /// An error: what follows it in the pod is not run, and the backup or restore is PartiallyFailed.
    #[default]
    Fail,
    /// A warning.
    Continue,
}

/// How many hooks were run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Hooks that were begun, or could not be.
    #[serde(default)]
    pub hooks_attempted: u64,
    /// Those of them that failed.
    #[serde(default)]
    pub hooks_failed: u64,
}

impl HookStatus {
    /// Both together; nothing if there were no hooks.
    pub fn and(self, other: HookStatus) -> HookStatus {
        HookStatus {
            hooks_attempted: self.hooks_attempted + other.hooks_attempted,
            hooks_failed: self.hooks_failed + other.hooks_failed,
        }
    }

    /// It, unless there were no hooks.
    pub fn any(self) -> Option<HookStatus> {
        (self.hooks_attempted > 0).then_some(self)
    }
}
