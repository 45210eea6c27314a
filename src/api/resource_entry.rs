//! What the `objects` dataset says of a resource: the entry with an empty name.
//!
//! It carries what list items leave out (version and kind), and whether the resource was read completely. Whoever
//! compares or restores must look at [`Captured`] first: an object that is missing under a resource that was not read
//! completely is a hole, not a deletion. Nothing in it changes from one backup to the next while the cluster stays
//! as it is; above all there is no resourceVersion.

use serde::{Deserialize, Serialize};

/// One resource of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceEntry {
    /// The version that the objects are in.
    pub version: String,
    /// The kind of the objects.
    pub kind: String,
    /// The name in the URL.
    pub plural: String,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
    /// Whether everything that the plan asked for was read.
    pub captured: Captured,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How much of a resource was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Captured {
    /// Everything that the plan asked for.
    Yes,
    /// Some objects are here, others may be missing.
    Partial,
    /// Nothing could be read.
    No,
}

impl ResourceEntry {
    /// The entry's bytes in the dataset.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads an entry. Fields of later versions are passed over.
    pub fn from_bytes(bytes: &[u8]) -> Result<ResourceEntry, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
