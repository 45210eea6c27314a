//! What the apiserver sets itself is taken out, or it would refuse the object or give it a false past.

use serde_json::Value;

use super::{annotation, map_mut};
use crate::api::labels;
use crate::cluster::GroupResource;

/// Fields of `metadata` that belong to the one object that was backed up.
const STRIPPED: &[&str] = &[
    "generateName",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    // Put back once the owners' new uids are known.
    "ownerReferences",
    "managedFields",
];

/// Finalizers that only exist while an object is being deleted.
const OF_DELETION: &[&str] = &["foregroundDeletion", "orphan"];

/// The annotation that asks for the status to be restored.
const RESTORE_STATUS: &str = "restore-status";

/// Takes the managed fields out of the object and keeps them if somebody applied it server-side.
///
/// Without them the next apply would not know what it set before and could not remove it. Other managers lose nothing:
/// an update owns what it writes.
pub(super) fn applied_fields(object: &mut Value) -> Option<Value> {
    let managed = map_mut(object, &["metadata"])?.remove("managedFields")?;
    let Value::Array(mut entries) = managed else {
        return None;
    };
    // Entries of a subresource describe fields that are not created.
    entries.retain(|entry| {
        entry
            .get("subresource")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
    });
    entries
        .iter()
        .any(|entry| entry.get("operation").and_then(Value::as_str) == Some("Apply"))
        .then_some(Value::Array(entries))
}

/// Takes the status out of the object and keeps it if an annotation asks for it.
///
/// APIServices and the like have a status too; only for CustomResourceDefinitions nobody may ask, because the status is
/// what tells that the apiserver serves them.
pub(super) fn status(object: &mut Value, resource: &GroupResource) -> Option<Value> {
    let wanted = [labels::PREFIX, labels::VELERO_PREFIX]
        .iter()
        .find_map(|prefix| annotation(object, &format!("{prefix}{RESTORE_STATUS}")))
        == Some("true");
    let status = object.as_object_mut()?.remove("status")?;
    let definition = resource.is("apiextensions.k8s.io", "customresourcedefinitions");
    (wanted && !definition).then_some(status)
}

/// Takes out what the apiserver sets itself.
pub(super) fn strip(object: &mut Value) {
    let Some(metadata) = map_mut(object, &["metadata"]) else {
        return;
    };
    let was_deleted = metadata.contains_key("deletionTimestamp");
    for field in STRIPPED {
        metadata.remove(*field);
    }
    if was_deleted {
        finalizers_of_deletion(object);
    }
}

/// Removes the finalizers that the deletion itself put there: they would make the restored object impossible to keep.
pub fn finalizers_of_deletion(object: &mut Value) {
    let Some(metadata) = map_mut(object, &["metadata"]) else {
        return;
    };
    if let Some(Value::Array(finalizers)) = metadata.get_mut("finalizers") {
        finalizers.retain(|name| {
            name.as_str()
                .is_none_or(|name| !OF_DELETION.contains(&name))
        });
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        }
    }
}
