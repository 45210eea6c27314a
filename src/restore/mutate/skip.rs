//! Which objects are not restored, and why.
//!
//! What has run to its end is not run again. What a controller makes by itself is left to it: restoring it would at best
//! be overwritten and at worst be believed. Only [`Skip::is_warning`] tells what a user should look at.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Context, annotation, at, label, text};
use crate::restore::object::Key;

/// Why an object is not restored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// It is a kind that describes a cluster and not what runs on it.
    NeverRestored,
    /// A pod that has run to its end.
    PodFinished,
    /// A Job that has run to its end.
    JobFinished,
    /// A kubelet mirrors it from its own files.
    MirrorPod,
    /// The Job is restored and makes its pods again.
    PodOfJob,
    /// A controller makes it by itself.
    ControllerMade,
    /// A claim that is restored gets a new volume; what was in this one is not in the backup.
    VolumeNotKept,
    /// It is in the cluster and differs, and the policy is to leave it.
    ExistsAndDiffers,
    /// It is in the cluster and differs, and a controller there keeps it as it is.
    KeptByController,
    /// It is in the cluster and differs, and is only there because what is restored needs one.
    OnlyNeeded,
    /// Two namespaces of the backup are restored into one, and this one was there first.
    MappedTwice,
    /// What the backup holds is not an object.
    NotAnObject,
}

impl Skip {
    /// Whether a user should look at it.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Skip::VolumeNotKept | Skip::ExistsAndDiffers | Skip::NotAnObject
        )
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Skip::NeverRestored => "describes a cluster, not what runs on it",
            Skip::PodFinished => "the pod has run to its end",
            Skip::JobFinished => "the job has run to its end",
            Skip::MirrorPod => "a kubelet mirrors the pod from its own files",
            Skip::PodOfJob => "its job makes the pod again",
            Skip::ControllerMade => "a controller makes it by itself",
            Skip::VolumeNotKept => {
                "its reclaim policy is not Retain: the claim gets a new volume, without the old contents"
            }
            Skip::ExistsAndDiffers => "it exists and differs from the backup",
            Skip::KeptByController => "it exists, and a controller keeps it as it is",
            Skip::OnlyNeeded => "it exists, and what is restored only needs it to be there",
            Skip::MappedTwice => "another namespace is restored into the same one",
            Skip::NotAnObject => "what the backup holds is not an object",
        })
    }
}

/// Kinds that are never restored, as group and resource.
const NEVER: &[(&str, &[&str])] = &[
    ("", &["nodes", "events", "componentstatuses", "bindings"]),
    ("events.k8s.io", &["events"]),
    (
        "storage.k8s.io",
        &["csinodes", "volumeattachments", "csistoragecapacities"],
    ),
    ("internal.apiserver.k8s.io", &["storageversions"]),
    ("resource.k8s.io", &["resourceslices"]),
    // Restoring a list of backups would shadow the one in the repository.
    (
        "ark.heptio.com",
        &[
            "backups",
            "restores",
            "deletebackuprequests",
            "downloadrequests",
            "serverstatusrequests",
            "podvolumebackups",
            "podvolumerestores",
            "backuprepositories",
        ],
    ),
    (
        "velero.io",
        &[
            "backups",
            "restores",
            "deletebackuprequests",
            "downloadrequests",
            "serverstatusrequests",
            "podvolumebackups",
            "podvolumerestores",
            "resticrepositories",
            "backuprepositories",
            "datauploads",
            "datadownloads",
        ],
    ),
];

/// Why an object is not restored, as far as its key tells.
pub fn reason_by_key(key: &Key) -> Option<Skip> {
    let (group, resource) = (key.resource.group.as_ref(), key.resource.resource.as_ref());
    if NEVER
        .iter()
        .any(|(g, names)| *g == group && names.contains(&resource))
    {
        return Some(Skip::NeverRestored);
    }
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let made = match (group, resource) {
        ("", "configmaps") => {
            key.name == "kube-root-ca.crt"
                || (namespace == "kube-system"
                    && matches!(
                        key.name.as_str(),
                        "extension-apiserver-authentication"
                            | "kube-apiserver-legacy-service-account-token-tracking"
                    ))
        }
        // Who leads kube-system and which node is alive is only true of the running cluster.
        ("coordination.k8s.io", "leases") => {
            matches!(namespace, "kube-system" | "kube-node-lease")
        }
        // The apiserver's own Service, wherever the namespace `default` is restored to.
        ("", "services" | "endpoints") | ("discovery.k8s.io", "endpointslices") => {
            namespace == "default" && key.name == "kubernetes"
        }
        _ => false,
    };
    made.then_some(Skip::ControllerMade)
}

/// Why an object is not restored.
pub(super) fn reason(object: &Value, key: &Key, context: &Context<'_>) -> Option<Skip> {
    if !object.is_object() {
        return Some(Skip::NotAnObject);
    }
    if let Some(reason) = reason_by_key(key) {
        return Some(reason);
    }
    match (key.resource.group.as_ref(), key.resource.resource.as_ref()) {
        ("", "pods") => pod(object, key, context),
        ("batch", "jobs") => job_is_finished(object).then_some(Skip::JobFinished),
        ("", "secrets") => super::secret::is_automatic(object).then_some(Skip::ControllerMade),
        ("", "endpoints") => {
            endpoints_are_made(object, key, context).then_some(Skip::ControllerMade)
        }
        ("discovery.k8s.io", "endpointslices") => {
            slice_is_made(object).then_some(Skip::ControllerMade)
        }
        ("apiregistration.k8s.io", "apiservices") => {
            label(object, "kube-aggregator.kubernetes.io/automanaged")
                .is_some()
                .then_some(Skip::ControllerMade)
        }
        ("networking.k8s.io", "ipaddresses") => label(object, "ipaddress.kubernetes.io/managed-by")
            .is_some_and(|by| by == "ipallocator.k8s.io")
            .then_some(Skip::ControllerMade),
        // The claim of a generic ephemeral volume is only good for the pod that it was made for.
        ("", "persistentvolumeclaims") => super::owners(object)
            .iter()
            .any(|owner| owner.is_controller && owner.kind == "Pod")
            .then_some(Skip::ControllerMade),
        ("", "persistentvolumes") => {
            (!super::volume::is_kept(object)).then_some(Skip::VolumeNotKept)
        }
        _ => None,
    }
}

fn pod(object: &Value, key: &Key, context: &Context<'_>) -> Option<Skip> {
    if annotation(object, "kubernetes.io/config.mirror").is_some() {
        return Some(Skip::MirrorPod);
    }
    if matches!(
        text(object, &["status", "phase"]),
        Some("Succeeded" | "Failed")
    ) {
        return Some(Skip::PodFinished);
    }
    // The selector of a restored Job is new, so it would not find this pod: its work would be done twice.
    let namespace = key.namespace.as_deref().unwrap_or_default();
    super::owners(object)
        .iter()
        .any(|owner| {
            owner.is_controller
                && owner.kind == "Job"
                && owner.api_version.starts_with("batch/")
                && context
                    .facts
                    .jobs
                    .contains(&format!("{namespace}/{}", owner.name))
        })
        .then_some(Skip::PodOfJob)
}

fn job_is_finished(object: &Value) -> bool {
    let condition = |condition: &Value| {
        matches!(text(condition, &["type"]), Some("Complete" | "Failed"))
            && text(condition, &["status"]) == Some("True")
    };
    text(object, &["status", "completionTime"]).is_some()
        || at(object, &["status", "conditions"])
            .and_then(Value::as_array)
            .is_some_and(|conditions| conditions.iter().any(condition))
}

fn endpoints_are_made(object: &Value, key: &Key, context: &Context<'_>) -> bool {
    label(object, "endpoints.kubernetes.io/managed-by").is_some_and(|by| by == "endpoint-controller")
        || context.facts.selecting_services.contains(&key.path())
        // Leader election of old clusters kept its lock here.
        || annotation(object, "control-plane.alpha.kubernetes.io/leader").is_some()
}

fn slice_is_made(object: &Value) -> bool {
    label(object, "endpointslice.kubernetes.io/managed-by").is_some_and(|by| {
        by == "endpointslice-controller.k8s.io" || by == "endpointslicemirroring-controller.k8s.io"
    })
}
