//! Jobs: free of the labels by which the old Job knew its pods; the apiserver writes new ones.

use serde_json::Value;

use super::{at, remove_all};

/// The labels that carry the uid of a Job.
pub const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Clears the uid of the old Job, unless the user chose the selector.
pub(super) fn step(object: &mut Value) {
    if at(object, &["spec", "manualSelector"]).and_then(Value::as_bool) == Some(true) {
        return;
    }
    remove_all(object, &["spec", "selector", "matchLabels"], &UID_LABELS);
    remove_all(
        object,
        &["spec", "template", "metadata", "labels"],
        &UID_LABELS,
    );
    remove_all(object, &["metadata", "labels"], &UID_LABELS);
    let selector = at(object, &["spec", "selector"]).and_then(Value::as_object);
    if selector.is_some_and(serde_json::Map::is_empty) {
        remove_all(object, &["spec"], &["selector"]);
    }
}
