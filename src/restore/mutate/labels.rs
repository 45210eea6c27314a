//! Every restored object names its backup and its restore.
//!
//! That is how an interrupted restore knows what it has done, and how a user finds what a restore put there.

use serde_json::{Map, Value};

use super::map_mut;
use crate::api::labels::{BACKUP_NAME, RESTORE_NAME};

/// Puts the two labels on an object. The values must fit a label.
pub fn mark(object: &mut Value, backup: &str, restore: &str) {
    let Some(metadata) = map_mut(object, &["metadata"]) else {
        return;
    };
    let labels = metadata
        .entry("labels")
        .or_insert_with(|| Value::Object(Map::new()));
    if labels.is_null() {
        *labels = Value::Object(Map::new());
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(BACKUP_NAME.to_owned(), Value::from(backup));
        labels.insert(RESTORE_NAME.to_owned(), Value::from(restore));
    }
}
