//! Persistent volumes and their claims.
//!
//! A volume whose policy is Retain outlives its claim, so it is restored as it is and its claim binds to it again. Any
//! other volume was deleted with its claim, or will be: the claim is restored without it and gets a new one.

use serde_json::Value;

use super::{Context, map_mut, remove_all, text};

/// Annotations that binding and provisioning leave on a claim.
pub const CLAIM_ANNOTATIONS: [&str; 5] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
];

/// Whether a volume is restored as it is: it outlives its claim, or nobody ever claimed it.
pub fn is_kept(object: &Value) -> bool {
    text(object, &["spec", "persistentVolumeReclaimPolicy"]) == Some("Retain")
        || super::at(object, &["spec", "claimRef"]).is_none_or(Value::is_null)
}

/// Makes a volume wait for the restored claim.
pub(super) fn volume(object: &mut Value, context: &Context<'_>) {
    remove_all(
        object,
        &["metadata", "annotations"],
        &["pv.kubernetes.io/bound-by-controller"],
    );
    let Some(claim) = map_mut(object, &["spec", "claimRef"]) else {
        return;
    };
    // They name the claim that is gone; with them the volume would count as released.
    claim.remove("uid");
    claim.remove("resourceVersion");
    if let Some(namespace) = claim.get_mut("namespace") {
        super::namespace::rename(namespace, context);
    }
}

/// Makes a claim bind again: to its own volume if that is restored, else to a new one.
pub(super) fn claim(object: &mut Value, context: &Context<'_>) {
    remove_all(object, &["metadata", "annotations"], &CLAIM_ANNOTATIONS);
    let kept = text(object, &["spec", "volumeName"])
        .is_some_and(|volume| context.facts.kept_volumes.contains(volume));
    if !kept {
        remove_all(object, &["spec"], &["volumeName"]);
    }
}
