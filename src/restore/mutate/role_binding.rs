//! RoleBindings and ClusterRoleBindings: their subjects move with their namespaces.

use serde_json::Value;

use super::{Context, at_mut};

/// Maps the namespaces of the subjects.
pub(super) fn step(object: &mut Value, context: &Context<'_>) {
    let Some(Value::Array(subjects)) = at_mut(object, &["subjects"]) else {
        return;
    };
    for subject in subjects {
        if let Some(namespace) = subject.get_mut("namespace") {
            super::namespace::rename(namespace, context);
        }
    }
}
