//! ServiceAccounts: without the token Secrets that a controller made for them, and merged into the one that is there.
//!
//! A namespace's account `default` is there before any restore can create it, so accounts are always merged, whatever
//! the policy: what is in the cluster stays and wins, what only the backup has is added.

use serde_json::{Map, Value};

use super::{at_mut, map_mut, text};

/// Drops the references to automatic token Secrets.
pub fn step(object: &mut Value) {
    let Some(prefix) = text(object, &["metadata", "name"]).map(|name| format!("{name}-token-"))
    else {
        return;
    };
    let Some(Value::Array(secrets)) = at_mut(object, &["secrets"]) else {
        return;
    };
    secrets.retain(|secret| {
        secret
            .get("name")
            .and_then(Value::as_str)
            .is_none_or(|name| !super::secret::has_automatic_name(name, &prefix))
    });
    if secrets.is_empty()
        && let Some(object) = object.as_object_mut()
    {
        object.remove("secrets");
    }
}

/// The merge patch that adds to the account in the cluster what only the backup's has; none if it has it all.
pub fn merge(live: &Value, wanted: &Value) -> Option<Value> {
    let mut patch = Map::new();
    for field in ["secrets", "imagePullSecrets"] {
        let mut list = live
            .get(field)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let before = list.len();
        for item in wanted
            .get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let same_name = |other: &Value| other.get("name") == item.get("name");
            if !list.iter().any(same_name) {
                list.push(item.clone());
            }
        }
        if list.len() > before {
            patch.insert(field.to_owned(), Value::Array(list));
        }
    }
    let automount = "automountServiceAccountToken";
    if let (None, Some(value)) = (live.get(automount), wanted.get(automount)) {
        patch.insert(automount.to_owned(), value.clone());
    }
    for field in ["labels", "annotations"] {
        let path = ["metadata", field];
        let Some(Value::Object(entries)) = super::at(wanted, &path) else {
            continue;
        };
        let missing: Map<String, Value> = entries
            .iter()
            .filter(|(name, _)| !is_own_label(name))
            .filter(|(name, _)| {
                super::at(live, &path)
                    .and_then(|there| there.get(name.as_str()))
                    .is_none()
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !missing.is_empty() {
            let metadata = patch
                .entry("metadata")
                .or_insert_with(|| Value::Object(Map::new()));
            metadata[field] = Value::Object(missing);
        }
    }
    if patch.is_empty() {
        return None;
    }
    let mut patch = Value::Object(patch);
    let labels = [
        crate::api::labels::BACKUP_NAME,
        crate::api::labels::RESTORE_NAME,
    ];
    if patch.get("metadata").is_none() {
        patch["metadata"] = Value::Object(Map::new());
    }
    if let Some(metadata) = map_mut(&mut patch, &["metadata"]) {
        let entry = metadata
            .entry("labels")
            .or_insert_with(|| Value::Object(Map::new()));
        for name in labels {
            if let Some(value) = super::label(wanted, name) {
                entry[name] = Value::from(value);
            }
        }
    }
    Some(patch)
}

fn is_own_label(name: &str) -> bool {
    name == crate::api::labels::BACKUP_NAME || name == crate::api::labels::RESTORE_NAME
}
