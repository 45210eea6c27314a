//! From the object as it was backed up to the object as it is created: pure steps, one file each.
//!
//! [`prepare`] decides first whether the object is restored at all ([`skip`]), then takes out what the cluster sets
//! itself, then lets the step of its kind have its say, then moves it to its new namespace and labels it. Nothing here
//! talks to anybody: what a step must know of other objects of the backup stands in [`Facts`], gathered before.
//!
//! The steps only look at built-in kinds of the exact group; a custom resource named `services` is left alone.

mod api_service;
mod custom_resource;
mod job;
mod labels;
mod metadata;
mod namespace;
mod owners;
mod pod;
mod role_binding;
mod secret;
mod service;
mod service_account;
mod skip;
mod volume;
mod webhook;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::object::{Key, Uid};
use crate::cluster::GroupResource;
use crate::hooks::RestoredHooks;

pub use labels::mark;
pub use metadata::finalizers_of_deletion;
pub use owners::{Owner, owners};
pub use service::release_node_ports;
pub use service_account::{merge as merge_service_account, step as drop_token_references};
pub use skip::{Skip, reason_by_key};
pub use volume::is_kept as volume_is_kept;

/// What the steps must know beside the object.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The resource the object belongs to.
    pub resource: &'a GroupResource,
    /// Namespace in the backup → namespace in the cluster.
    pub mapping: &'a BTreeMap<String, String>,
    /// The value of the label that names the backup.
    pub backup_label: &'a str,
    /// The value of the label that names the restore.
    pub restore_label: &'a str,
    /// Keep all node ports, not only those set by hand.
    pub preserve_node_ports: bool,
    /// What the backup holds beside this object.
    pub facts: &'a Facts,
}

impl Context<'_> {
    /// The namespace that a namespace of the backup is restored into.
    pub fn target_namespace<'n>(&'n self, namespace: &'n str) -> &'n str {
        self.mapping
            .get(namespace)
            .map_or(namespace, String::as_str)
    }
}

/// What one object's step must know of the others that are restored with it.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Jobs of the plan, as `namespace/name`.
    pub jobs: HashSet<String>,
    /// Services of the plan that have a selector, as `namespace/name`.
    pub selecting_services: HashSet<String>,
    /// Persistent volumes that are restored as they are.
    pub kept_volumes: HashSet<String>,
}

/// An object that is ready to be created, and what is done after that.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The object to create.
    pub object: Value,
    /// Its uid in the backup.
    pub old_uid: Option<Uid>,
    /// What owned it in the backup.
    pub owners: Vec<Owner>,
    /// The managed fields, if somebody applied the object server-side and will want to do it again.
    pub managed_fields: Option<Value>,
    /// The status, if the object asks for it to be restored.
    pub status: Option<Value>,
    /// What is done in it once it runs, if it is a pod.
    pub hooks: Option<Box<RestoredHooks>>,
}

/// Turns an object of the backup into the one to create, or says why it is not created.
///
/// `api_version` and `kind` are set on it: list items of built-in kinds lack them, and the target may serve another
/// version than the one that was backed up.
pub fn prepare(
    mut object: Value,
    key: &Key,
    api_version: &str,
    kind: &str,
    context: &Context<'_>,
) -> Result<Prepared, Skip> {
    if let Some(reason) = skip::reason(&object, key, context) {
        return Err(reason);
    }
    let root = match object.as_object_mut() {
        Some(root) => root,
        None => return Err(Skip::NotAnObject),
    };
    root.insert("apiVersion".to_owned(), Value::from(api_version));
    root.insert("kind".to_owned(), Value::from(kind));
    let owners = owners(&object);
    let old_uid = text(&object, &["metadata", "uid"]).and_then(Uid::parse);

    kind_step(&mut object, context);

    let managed_fields = metadata::applied_fields(&mut object);
    let status = metadata::status(&mut object, context.resource);
    metadata::strip(&mut object);
    namespace::map(&mut object, context);
    mark(&mut object, context.backup_label, context.restore_label);
    Ok(Prepared {
        object,
        old_uid,
        owners,
        managed_fields,
        status,
        hooks: None,
    })
}

fn kind_step(object: &mut Value, context: &Context<'_>) {
    let resource = context.resource;
    match (resource.group.as_ref(), resource.resource.as_ref()) {
        ("", "pods") => pod::step(object),
        ("", "services") => service::step(object, context.preserve_node_ports),
        ("", "serviceaccounts") => service_account::step(object),
        ("", "secrets") => secret::step(object),
        ("", "namespaces") => namespace::step(object),
        ("", "persistentvolumes") => volume::volume(object, context),
        ("", "persistentvolumeclaims") => volume::claim(object, context),
        ("batch", "jobs") => job::step(object),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            role_binding::step(object, context);
        }
        ("apiregistration.k8s.io", "apiservices") => api_service::step(object, context),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            custom_resource::step(object, context);
        }
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations" | "mutatingwebhookconfigurations",
        ) => webhook::step(object, context),
        _ => {}
    }
}

/// The value at a path of field names.
pub(in crate::restore) fn at<'v>(value: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, field| value.get(field))
}

/// The value at a path of field names, to change it.
pub(in crate::restore) fn at_mut<'v>(value: &'v mut Value, path: &[&str]) -> Option<&'v mut Value> {
    path.iter()
        .try_fold(value, |value, field| value.get_mut(field))
}

/// The map at a path of field names, to change it.
pub(super) fn map_mut<'v>(
    value: &'v mut Value,
    path: &[&str],
) -> Option<&'v mut Map<String, Value>> {
    at_mut(value, path)?.as_object_mut()
}

/// The text at a path of field names.
pub(in crate::restore) fn text<'v>(value: &'v Value, path: &[&str]) -> Option<&'v str> {
    at(value, path)?.as_str()
}

/// An annotation of an object.
pub(in crate::restore) fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    text(object, &["metadata", "annotations", name])
}

/// A label of an object.
pub(in crate::restore) fn label<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    text(object, &["metadata", "labels", name])
}

/// Removes fields of a map, and the map itself from its parent if nothing is left of it.
pub(super) fn remove_all(object: &mut Value, path: &[&str], fields: &[&str]) {
    let Some(map) = map_mut(object, path) else {
        return;
    };
    let before = map.len();
    for field in fields {
        map.remove(*field);
    }
    if map.is_empty()
        && before > 0
        && let Some((last, parent)) = path.split_last()
        && let Some(parent) = map_mut(object, parent)
    {
        parent.remove(*last);
    }
}

#[cfg(test)]
mod tests;
