//! Requests to the server that are objects: each is done once and says in its status what came of it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// Which backup to delete.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema,
)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "DeleteBackupRequest",
    plural = "deletebackuprequests",
    namespaced,
    status = "DeleteBackupRequestStatus",
    derive = "PartialEq",
    shortname = "arkdbr",
    category = "ark",
    label("component", "ark"),
    doc = "Asks the server to delete a backup: its object here and its data in the repository.",
    printcolumn(name = "Backup", type_ = "string", json_path = ".spec.backupName"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DeleteBackupRequestSpec {
    /// The backup to delete.
    #[schemars(length(min = 1, max = 253))]
    pub backup_name: String,
    /// The uid of the Backup object to delete: a later one of the same name stays. Absent means the one that the server finds first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub backup_uid: Option<String>,
}

/// How far a DeleteBackupRequest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeleteBackupRequestPhase {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// The backup is being deleted.
    InProgress,
    /// It is done, or could not be done: `errors` says so.
    Processed,
}

/// What became of a DeleteBackupRequest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteBackupRequestStatus {
    /// How far it is.
    #[serde(default)]
    pub phase: DeleteBackupRequestPhase,
    /// The uid of the Backup object that is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_uid: Option<String>,
    /// What went wrong. Nothing here and `Processed`: the backup is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Nothing: the question is always the same.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema,
)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "ServerStatusRequest",
    plural = "serverstatusrequests",
    namespaced,
    status = "ServerStatusRequestStatus",
    derive = "PartialEq",
    shortname = "arkssr",
    category = "ark",
    label("component", "ark"),
    doc = "Asks the server for its version. The server deletes the request some time after it has answered.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.serverVersion"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct ServerStatusRequestSpec {}

/// Whether a ServerStatusRequest is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ServerStatusRequestPhase {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// It is answered.
    Processed,
}

/// The answer to a ServerStatusRequest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatusRequestStatus {
    /// Whether it is answered.
    #[serde(default)]
    pub phase: ServerStatusRequestPhase,
    /// The version of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// When it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_timestamp: Option<Time>,
}
