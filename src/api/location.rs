//! The BackupStorageLocation: a bucket (or a directory), the key of the repository in it, and whether it can be used.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{GoDuration, Time};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The Secret with the key of the repository where a location names none.
pub const REPOSITORY_KEY: &str = "ark-repository-key";
/// The key in that Secret.
pub const KEY_IN_SECRET: &str = "key";
/// What a Secret with a recovery key calls a passphrase.
pub const RECOVERY_PASSPHRASE: &str = "passphrase";
/// What a Secret with a recovery key calls a printable key, or a key file.
pub const RECOVERY_KEY: &str = "key";

/// The Secret whose recovery key the server adds to the repository of a location, and which it then deletes.
pub fn recovery_secret(location: &str) -> String {
    format!("ark-recovery-{location}")
}

/// Where backups are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "BackupStorageLocation",
    plural = "backupstoragelocations",
    namespaced,
    status = "BackupStorageLocationStatus",
    derive = "PartialEq",
    shortname = "arkbsl",
    category = "ark",
    label("component", "ark"),
    doc = "A bucket or directory that holds a repository of backups.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Last Validated",
        type_ = "date",
        json_path = ".status.lastValidationTime"
    ),
    printcolumn(name = "Access", type_ = "string", json_path = ".spec.accessMode"),
    printcolumn(name = "Default", type_ = "boolean", json_path = ".spec.default"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.provider != 'local' || self.objectStorage.bucket.startsWith('/')")
    .message("the bucket of a local location is the absolute path of a directory"))]
pub struct BackupStorageLocationSpec {
    /// Who stores it.
    pub provider: Provider,
    /// The bucket and where in it.
    pub object_storage: ObjectStorage,
    /// Settings of the provider, under Velero's names: `region`, `s3Url`, `s3ForcePathStyle`, and so on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// The Secret with the credentials for the bucket; absent means the server's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretKey>,
    /// Whether this is the location of backups that name none.
    #[serde(default)]
    pub default: bool,
    /// Whether the server may write to it.
    #[serde(default)]
    pub access_mode: AccessMode,
    /// How often the Backup objects are matched with what the bucket holds; absent or zero means the server's own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_sync_period: Option<GoDuration>,
    /// How often it is checked that the location can be used; absent or zero means the server's own setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_frequency: Option<GoDuration>,
    /// The Secret with the key of the repository; absent means the key `key` of the Secret `ark-repository-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_key: Option<SecretKey>,
}

/// Who stores a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Amazon S3, or what speaks its protocol, with AWS credentials.
    Aws,
    /// Google Cloud Storage.
    Gcp,
    /// Azure Blob Storage.
    Azure,
    /// What speaks the S3 protocol at an address of its own.
    S3,
    /// A directory that the server sees.
    Local,
}

impl Provider {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Aws => "aws",
            Provider::Gcp => "gcp",
            Provider::Azure => "azure",
            Provider::S3 => "s3",
            Provider::Local => "local",
        }
    }
}

/// A bucket and where in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStorage {
    /// The bucket (Azure: the container; `local`: the absolute path of a directory).
    #[schemars(length(min = 1, max = 1024))]
    pub bucket: String,
    /// Where in the bucket the repository is; absent means at its top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub prefix: Option<String>,
    /// Certificates of the authorities to trust when talking to the storage: PEM, encoded as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "base64")]
    pub ca_cert: Option<k8s_openapi::ByteString>,
}

fn base64(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "byte" })
}

/// A key of a Secret in ark's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Whether a location may be written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// Backups are made in it, and expired ones deleted from it.
    #[default]
    ReadWrite,
    /// Backups in it can be restored, nothing else.
    ReadOnly,
}

/// Whether a location can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LocationPhase {
    /// It can be used.
    Available,
    /// It cannot be used; `message` says why.
    Unavailable,
}

/// What is known of a location.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageLocationStatus {
    /// Whether it can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<LocationPhase>,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was checked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_validation_time: Option<Time>,
    /// When the Backup objects were last matched with what the bucket holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_synced_time: Option<Time>,
    /// What is true of it: `Available`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
