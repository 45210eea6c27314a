//! How ark is to be installed: everything that the manifests depend on, and no secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The annotation of the Deployment with the options that it was made from: `ark upgrade` makes the next one from the same.
pub const ANNOTATION: &str = "ark.heptio.com/install-options";

/// How ark is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Options {
    /// The namespace of the server and of ark's objects.
    pub namespace: String,
    /// The image of the server.
    pub image: String,
    /// Secrets to pull it with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// Servers; one works, the others are ready.
    pub replicas: u16,
    /// What the server may do.
    pub profile: Profile,
    /// Further arguments of `ark server`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_arguments: Vec<String>,
    /// Annotations of the ServiceAccount: a cloud's identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_account_annotations: BTreeMap<String, String>,
    /// Annotations of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_labels: BTreeMap<String, String>,
    /// What the container asks for and is held to.
    pub resources: Resources,
    /// The volume of a location of the provider `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// What the server may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Back up and restore anything.
    #[default]
    Full,
    /// Read everything, and write nothing but ark's own objects.
    BackupOnly,
}

/// What a container asks for and is held to, as Kubernetes writes quantities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// CPU asked for.
    pub cpu_request: String,
    /// Memory asked for.
    pub memory_request: String,
    /// The most memory.
    pub memory_limit: String,
}

/// What is measured (page *Measurements*), and room for several operations at once. CPU is not limited: a backup that is throttled
/// only takes longer, and longer is when clusters change under it.
impl Default for Resources {
    fn default() -> Resources {
        Resources {
            cpu_request: "100m".to_owned(),
            memory_request: "128Mi".to_owned(),
            memory_limit: "512Mi".to_owned(),
        }
    }
}

/// A PersistentVolumeClaim and where the server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Where it is mounted.
    pub path: String,
}

impl Options {
    /// The usual options.
    pub fn new(namespace: &str, image: &str) -> Options {
        Options {
            namespace: namespace.to_owned(),
            image: image.to_owned(),
            image_pull_secrets: Vec::new(),
            replicas: 1,
            profile: Profile::Full,
            server_arguments: Vec::new(),
            service_account_annotations: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            resources: Resources::default(),
            claim: None,
        }
    }

    /// The options that a Deployment was made from; `None` if `ark install` did not make it, or a newer one with options that this
    /// one does not know.
    pub fn of(deployment: &Value) -> Option<Options> {
        let text = deployment["metadata"]["annotations"][ANNOTATION].as_str()?;
        serde_json::from_str(text).ok()
    }

    /// What the annotation says.
    pub(super) fn annotation(&self) -> String {
        // A struct of strings and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}
