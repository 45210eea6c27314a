//! In which version a resource of the backup is created in the target cluster.
//!
//! The version that was backed up if the target serves it: then the objects are what its apiserver would have stored
//! itself. Else the version that the target prefers: the fields may have moved in between, so that these objects are
//! created with strict checks. Else the objects cannot be restored, and each says why.

use std::sync::Arc;

use thiserror::Error;

use crate::api::ResourceEntry;
use crate::cluster::{Discovery, GroupResource, Resource, Verbs};

/// A resource of the backup as the target serves it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The resource, in the version that is used.
    pub resource: Arc<Resource>,
    /// Group and version of the objects.
    pub api_version: String,
    /// Whether it is the version that was backed up.
    pub same_version: bool,
}

/// Why objects of a resource cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The cluster does not know the resource.
    #[error("the cluster does not serve {resource}")]
    NotServed {
        /// The resource.
        resource: String,
        /// What may be missing.
        custom: bool,
    },
    /// The cluster knows it but makes its objects itself.
    #[error("the cluster does not let anybody create {resource}")]
    NotCreatable {
        /// The resource.
        resource: String,
    },
    /// It lives in namespaces in one cluster and not in the other.
    #[error("{resource} is {} in the backup, but not in the cluster", if *.namespaced { "namespaced" } else { "cluster-scoped" })]
    Scope {
        /// The resource.
        resource: String,
        /// How it is in the backup.
        namespaced: bool,
    },
}

impl TargetError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TargetError::NotServed { custom: true, .. } => {
                Some("restore its CustomResourceDefinition too, or install what serves it")
            }
            TargetError::NotServed { .. } => {
                Some("the cluster's version may be too old or too new for it")
            }
            _ => None,
        }
    }
}

/// Finds the resource in the target.
pub fn choose(
    discovery: &Discovery,
    name: &GroupResource,
    entry: &ResourceEntry,
) -> Result<Target, TargetError> {
    let found = discovery
        .find_name(name)
        .or_else(|| discovery.find_kind(&name.group, &entry.kind))
        .ok_or_else(|| TargetError::NotServed {
            resource: name.to_string(),
            custom: !crate::cluster::kinds::is_builtin_group(&name.group),
        })?;
    if !found.verbs.has(Verbs::CREATE) {
        return Err(TargetError::NotCreatable {
            resource: name.to_string(),
        });
    }
    if found.namespaced != entry.namespaced {
        return Err(TargetError::Scope {
            resource: name.to_string(),
            namespaced: entry.namespaced,
        });
    }
    let same_version = found.versions.contains(&entry.version);
    let resource = match same_version && found.version != entry.version {
        true => Arc::new(Resource {
            version: entry.version.clone(),
            ..Resource::clone(found)
        }),
        false => Arc::clone(found),
    };
    Ok(Target {
        api_version: resource.api_version(),
        resource,
        same_version,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::Captured;
    use crate::cluster::discovery::sample;

    fn entry(version: &str, kind: &str, plural: &str, namespaced: bool) -> ResourceEntry {
        ResourceEntry {
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
            captured: Captured::Yes,
            reason: None,
        }
    }

    #[test]
    fn the_backed_up_version_goes_first_then_the_preferred_one() {
        let discovery = sample();
        let widgets = GroupResource::new("example.com", "widgets");
        let version = |version: &str| {
            let target = choose(
                &discovery,
                &widgets,
                &entry(version, "Widget", "widgets", true),
            )
            .unwrap();
            (target.api_version, target.same_version)
        };
        assert_eq!(version("v1"), ("example.com/v1".to_owned(), true));
        assert_eq!(version("v1beta1"), ("example.com/v1beta1".to_owned(), true));
        assert_eq!(version("v1alpha1"), ("example.com/v1".to_owned(), false));
    }

    #[test]
    fn what_cannot_be_created_says_why() {
        let discovery = sample();
        let says = |group: &str, plural: &str, kind: &str, namespaced: bool| {
            choose(
                &discovery,
                &GroupResource::new(group, plural),
                &entry("v1", kind, plural, namespaced),
            )
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
        };
        assert_eq!(
            says("gone.example.com", "things", "Thing", true),
            "the cluster does not serve things.gone.example.com"
        );
        assert_eq!(
            says("", "namespaces", "Namespace", true),
            "namespaces is namespaced in the backup, but not in the cluster"
        );
        assert_eq!(says("", "pods", "Pod", true), "");
    }
}
