//! The BackupRepository: what the server knows of the repository of a location. Only the server writes it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// Whose repository it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "BackupRepository",
    plural = "backuprepositories",
    namespaced,
    status = "BackupRepositoryStatus",
    derive = "PartialEq",
    shortname = "arkrepo",
    category = "ark",
    label("component", "ark"),
    doc = "What the server knows of the repository of a BackupStorageLocation. The server makes and writes it.",
    printcolumn(
        name = "Storage Location",
        type_ = "string",
        json_path = ".spec.backupStorageLocation"
    ),
    printcolumn(
        name = "Repository",
        type_ = "string",
        json_path = ".status.repositoryId"
    ),
    printcolumn(name = "Backups", type_ = "integer", json_path = ".status.backups"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepositorySpec {
    /// The BackupStorageLocation that holds it.
    #[schemars(length(min = 1, max = 253))]
    pub backup_storage_location: String,
}

/// What is known of a repository.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepositoryStatus {
    /// The id that it was given when it was made. It never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<String>,
    /// The version of its format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_version: Option<u32>,
    /// The newest epoch seen in it: an older one later means that the bucket was put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Backups in it, of all clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<u64>,
    /// Bytes stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// When it was last pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_prune_time: Option<Time>,
    /// When it was last verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verify_time: Option<Time>,
    /// Damaged objects that the last verify found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged_objects: Option<u64>,
}
