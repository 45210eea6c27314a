//! APIServices: the Service behind one moves with its namespace. Those that the apiserver makes are skipped.

use serde_json::Value;

use super::{Context, at_mut};

/// Maps the namespace of the backend.
pub(super) fn step(object: &mut Value, context: &Context<'_>) {
    super::namespace::rename_service(at_mut(object, &["spec"]), context);
}
