//! What an object belonged to.
//!
//! Owner references hold uids, and an object whose owner's uid does not exist is deleted by the garbage collector. So
//! they are never created as they were: they are kept here and put back with the uid that is true in this cluster.

use serde_json::Value;

use super::at;
use crate::restore::object::Uid;

/// One owner reference of the backup.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    /// The owner's uid in the backup.
    pub uid: Option<Uid>,
    /// Group and version of the owner.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it manages the object.
    pub is_controller: bool,
    /// Whether deleting it in the foreground waits for the object.
    pub blocks_deletion: Option<bool>,
}

impl Owner {
    /// The reference with the uid that is true now.
    pub fn reference(&self, uid: Uid) -> Value {
        let mut reference = serde_json::json!({
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": self.name,
            "uid": uid.to_string(),
        });
        if self.is_controller {
            reference["controller"] = Value::Bool(true);
        }
        if let Some(blocks) = self.blocks_deletion {
            reference["blockOwnerDeletion"] = Value::Bool(blocks);
        }
        reference
    }
}

/// The owners of an object.
pub fn owners(object: &Value) -> Vec<Owner> {
    let text = |reference: &Value, field: &str| {
        reference
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    at(object, &["metadata", "ownerReferences"])
        .and_then(Value::as_array)
        .map(|references| {
            references
                .iter()
                .map(|reference| Owner {
                    uid: reference
                        .get("uid")
                        .and_then(Value::as_str)
                        .and_then(Uid::parse),
                    api_version: text(reference, "apiVersion"),
                    kind: text(reference, "kind"),
                    name: text(reference, "name"),
                    is_controller: reference
                        .get("controller")
                        .and_then(Value::as_bool)
                        .unwrap_or(false),
                    blocks_deletion: reference.get("blockOwnerDeletion").and_then(Value::as_bool),
                })
                .collect()
        })
        .unwrap_or_default()
}
