//! The location that an installation begins with.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::secrets::CREDENTIAL;
use super::{Options, labels};
use crate::api::{
    AccessMode, BackupStorageLocation, BackupStorageLocationSpec, ObjectStorage, Provider,
    SecretKey,
};

/// The name of the location that an installation begins with.
pub const DEFAULT: &str = "default";

/// Where backups go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who stores it.
    pub provider: Provider,
    /// The bucket, or a folder.
    pub bucket: String,
    /// Where in the bucket.
    pub prefix: Option<String>,
    /// Settings of the provider.
    pub config: BTreeMap<String, String>,
    /// Certificates to trust, in PEM.
    pub ca_cert: Option<Vec<u8>>,
    /// Whether there is a Secret with a credential.
    pub credential: bool,
    /// Whether the server may write to it.
    pub access_mode: AccessMode,
}

impl Place {
    /// What the location says.
    pub fn spec(&self) -> BackupStorageLocationSpec {
        BackupStorageLocationSpec {
            provider: self.provider,
            object_storage: ObjectStorage {
                bucket: self.bucket.clone(),
                prefix: self.prefix.clone(),
                ca_cert: self.ca_cert.clone().map(ByteString),
            },
            config: self.config.clone(),
            credential: self.credential.then(|| SecretKey {
                name: CREDENTIAL.name.to_owned(),
                key: CREDENTIAL.key.to_owned(),
            }),
            default: true,
            access_mode: self.access_mode,
            backup_sync_period: None,
            validation_frequency: None,
            repository_key: None,
        }
    }

    /// The location.
    pub fn object(&self, options: &Options) -> Value {
        let mut object = json!(BackupStorageLocation::new(DEFAULT, self.spec()));
        object["metadata"]["namespace"] = json!(options.namespace);
        object["metadata"]["labels"] = labels();
        // The status is the server's.
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        object
    }
}
