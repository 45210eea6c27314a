//! Hooks: commands that are run around a backup or after a restore, as users write them.
//!
//! The fields are Velero's where they mean the same. What they lead to is decided in `hooks`.

use schemars::JsonSchema;
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
