//! Secrets that hold the token of a service account: a token is only good in the cluster that signed it.

use serde_json::Value;

use super::{annotation, remove_all, text};

const TOKEN: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// Clears what the token controller fills in, so that it fills it in again.
pub(super) fn step(object: &mut Value) {
    if text(object, &["type"]) != Some(TOKEN) {
        return;
    }
    remove_all(
        object,
        &["metadata", "annotations"],
        &["kubernetes.io/service-account.uid"],
    );
    remove_all(object, &["data"], &["token", "ca.crt", "namespace"]);
}

/// Whether a controller made the Secret for an account, as Kubernetes did before 1.24.
pub(super) fn is_automatic(object: &Value) -> bool {
    if text(object, &["type"]) != Some(TOKEN) {
        return false;
    }
    match (
        annotation(object, ACCOUNT),
        text(object, &["metadata", "name"]),
    ) {
        (Some(account), Some(name)) => has_automatic_name(name, &format!("{account}-token-")),
        _ => false,
    }
}

/// Whether the name is the prefix and five characters of the set that Kubernetes draws from.
pub(super) fn has_automatic_name(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|suffix| {
        suffix.len() == 5
            && suffix
                .bytes()
                .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
    })
}
