//! The DownloadRequest: what somebody wants to read of a backup or a restore, through the apiserver.
//!
//! The object holds no secret. Who asks makes a token and writes its hash here, so that whoever may read these objects, or a backup of
//! them, can read nothing by that. The token itself goes to the server once, with the request for the data.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Time;

/// What to read, and by which token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "DownloadRequest",
    plural = "downloadrequests",
    namespaced,
    status = "DownloadRequestStatus",
    derive = "PartialEq",
    shortname = "arkdl",
    category = "ark",
    label("component", "ark"),
    doc = "Asks the server to let somebody read what a repository holds, through the apiserver. Who may make one may read all backups. The server deletes it ten minutes later.",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.target.kind"),
    printcolumn(name = "Of", type_ = "string", json_path = ".spec.target.name"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DownloadRequestSpec {
    /// What to read.
    pub target: DownloadTarget,
    /// The BLAKE3 hash, in hex, of the token that opens the download: 32 random bytes that are used for nothing else.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub token_hash: String,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownloadTarget {
    /// Which part.
    pub kind: DownloadKind,
    /// The Backup or Restore.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// BackupObjectList and BackupContents: only this resource, as plural, short name or kind, with or without group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub resource: Option<String>,
    /// BackupContents: only this object of the resource, as `[NAMESPACE/]NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub object: Option<String>,
    /// BackupObjectList: only objects of the resource whose `[NAMESPACE/]NAME` starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub prefix: Option<String>,
    /// BackupDifference: the Backup to compare with, of the same repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub against: Option<String>,
    /// BackupDifference: with the objects that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with_objects: Option<bool>,
}

impl DownloadTarget {
    /// All of that part.
    pub fn new(kind: DownloadKind, name: &str) -> DownloadTarget {
        DownloadTarget {
            kind,
            name: name.to_owned(),
            resource: None,
            object: None,
            prefix: None,
            against: None,
            with_objects: None,
        }
    }
}

/// A part of a backup or a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DownloadKind {
    /// The log of a backup.
    BackupLog,
    /// What its repository knows of a backup: what it stored, and how many objects of each resource.
    BackupDetails,
    /// The names and sizes of the objects in a backup.
    BackupObjectList,
    /// The objects of a backup.
    BackupContents,
    /// What differs between two backups.
    BackupDifference,
    /// The log of a restore.
    RestoreLog,
    /// What became of the objects of a restore.
    RestoreResults,
}

/// How far a DownloadRequest is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DownloadPhase {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// The data can be fetched from `path`, once, until `expiration`.
    Ready,
    /// It cannot be read; `message` says why.
    Refused,
    /// It was fetched: the token opens nothing any more.
    Taken,
}

/// Where the data is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownloadRequestStatus {
    /// How far it is.
    #[serde(default)]
    pub phase: DownloadPhase,
    /// Where to fetch it, on the apiserver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Until when the token is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// Why it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
