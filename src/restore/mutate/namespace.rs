//! Namespaces: an object lives in the namespace that its own is restored into.

use serde_json::Value;

use super::{Context, at_mut, map_mut, remove_all};

/// The label that the apiserver puts on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Clears what the apiserver writes from the name.
pub(super) fn step(object: &mut Value) {
    remove_all(object, &["metadata", "labels"], &[NAME_LABEL]);
}

/// Moves an object to its new namespace; a Namespace takes the new name itself.
pub(super) fn map(object: &mut Value, context: &Context<'_>) {
    if context.mapping.is_empty() {
        return;
    }
    let field = match context.resource.is("", "namespaces") {
        true => "name",
        false => "namespace",
    };
    if let Some(namespace) = at_mut(object, &["metadata", field]) {
        rename(namespace, context);
    }
}

/// Maps one name of a namespace.
pub(super) fn rename(value: &mut Value, context: &Context<'_>) {
    let target = value.as_str().and_then(|name| context.mapping.get(name));
    if let Some(target) = target {
        *value = Value::from(target.as_str());
    }
}

/// Maps the namespace of a reference to a Service, as webhooks and API services have.
pub(super) fn rename_service(client_config: Option<&mut Value>, context: &Context<'_>) {
    let service = client_config.and_then(|config| map_mut(config, &["service"]));
    if let Some(namespace) = service.and_then(|service| service.get_mut("namespace")) {
        rename(namespace, context);
    }
}
