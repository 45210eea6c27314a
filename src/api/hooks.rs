//! Hooks: commands that are run around a backup or after a restore, as users write them.
//!
//! The fields are Velero's where they mean the same. What they lead to is decided in `hooks`.

use std::collections::BTreeMap;

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
    /// What is done before anything else, one after the other. A hook that fails with Fail ends it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub before: Vec<OperationHook>,
    /// What is done when it is known how it went: always, if those before were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub after: Vec<OperationHook>,
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
    /// What is done before anything else, one after the other. A hook that fails with Fail ends it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub before: Vec<OperationHook>,
    /// What is done when it is known how it went: always, if those before were begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub after: Vec<OperationHook>,
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
    /// What a failure means; absent means Continue.
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

/// What is done before or after a whole backup or restore: a command, a Job or a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.exec), has(self.job), has(self.http)].filter(given, given).size() == 1")
    .message("give one of exec, job and http"))]
pub struct OperationHook {
    /// What logs call it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A command in a pod of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<OperationExec>,
    /// A Job: a pod of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<OperationJob>,
    /// A request to a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<OperationHttp>,
    /// What a failure means; absent means Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// How long to wait for its end; absent means 30s, and 10m for a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
}

/// A command in a pod of a workload: the first by name of those that run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationExec {
    /// Where the workload is.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// What it is.
    pub kind: WorkloadKind,
    /// What it is called.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The container; absent means the first one of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The program and its arguments. `$(ARK_NAME)`, `$(ARK_PHASE)` and the like are filled in.
    #[schemars(length(min = 1, max = 64))]
    pub command: Vec<String>,
}

/// What has pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// A StatefulSet.
    #[default]
    StatefulSet,
    /// A Deployment.
    Deployment,
    /// A DaemonSet.
    DaemonSet,
    /// A pod itself.
    Pod,
}

/// A Job that is made, waited for and deleted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationJob {
    /// Where it is made; absent means the namespace of ark's own objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The Job, as the `jobTemplate` of a CronJob. Its containers are told `ARK_NAME`, `ARK_PHASE` and the like.
    #[schemars(schema_with = "free_object")]
    pub template: serde_json::Value,
}

/// A request to a webhook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationHttp {
    /// Where to: `http://` or `https://`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The method; absent means POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub method: Option<String>,
    /// Headers. `$(ARK_NAME)`, `$(ARK_PHASE)` and the like are filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body, with `$(ARK_PHASE)` and the like filled in; absent means an object with `kind`, `name`, `phase` and more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    pub body: Option<String>,
    /// The status codes that mean that it went well; none means 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub expected_status: Vec<u16>,
}

/// An object that the apiserver checks when it is used.
fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
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
