//! Pods: free of the node they ran on and of the tokens they were given.

use serde_json::Value;

use super::{at_mut, map_mut, text};

/// Clears what scheduling, admission and debugging added.
pub(super) fn step(object: &mut Value) {
    let prefix = text(object, &["spec", "serviceAccountName"])
        .or_else(|| text(object, &["spec", "serviceAccount"]))
        .map(|account| format!("{account}-token-"));
    let Some(spec) = map_mut(object, &["spec"]) else {
        return;
    };
    spec.remove("nodeName");
    // Admission computes it from the priority class and refuses any other value.
    spec.remove("priority");
    // They can only be added to a pod that runs.
    spec.remove("ephemeralContainers");
    if let Some(prefix) = prefix {
        drop_token_volumes(object, &prefix);
    }
}

/// Tokens that old clusters mounted from a Secret per account: the Secret is not restored.
fn drop_token_volumes(object: &mut Value, prefix: &str) {
    let is_token = |item: &Value| {
        item.get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| name.starts_with(prefix))
    };
    if let Some(Value::Array(volumes)) = at_mut(object, &["spec", "volumes"]) {
        // A volume of the user's may carry such a name; only one that mounts a Secret is a token.
        let before = volumes.len();
        volumes.retain(|volume| !(is_token(volume) && volume.get("secret").is_some()));
        if volumes.len() == before {
            return;
        }
    } else {
        return;
    }
    for containers in ["containers", "initContainers"] {
        let Some(Value::Array(containers)) = at_mut(object, &["spec", containers]) else {
            continue;
        };
        for container in containers {
            if let Some(Value::Array(mounts)) = container.get_mut("volumeMounts") {
                mounts.retain(|mount| !is_token(mount));
            }
        }
    }
}
