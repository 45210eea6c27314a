//! The resources that ark knows by name.
//!
//! Nearly everything is treated alike, whatever discovery says exists. Only resources that take part in a relation, that
//! must be kept apart (Secrets), or that one apiserver serves under two names are named here.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A resource without its version. Ordered as the `objects` dataset is: by group, then by resource, as bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The plural name.
    pub resource: Cow<'static, str>,
}

impl GroupResource {
    /// A resource that is not known at compile time.
    pub fn new(group: impl Into<String>, resource: impl Into<String>) -> GroupResource {
        GroupResource {
            group: Cow::Owned(group.into()),
            resource: Cow::Owned(resource.into()),
        }
    }

    const fn known(group: &'static str, resource: &'static str) -> GroupResource {
        GroupResource {
            group: Cow::Borrowed(group),
            resource: Cow::Borrowed(resource),
        }
    }

    /// Whether it is that resource of that group.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }
}

/// `deployments.apps`, or `pods` for the core group.
impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// Namespaces.
pub const NAMESPACES: GroupResource = GroupResource::known("", "namespaces");
/// Pods.
pub const PODS: GroupResource = GroupResource::known("", "pods");
/// Secrets: never in one frame with anything else.
pub const SECRETS: GroupResource = GroupResource::known("", "secrets");
/// ServiceAccounts.
pub const SERVICE_ACCOUNTS: GroupResource = GroupResource::known("", "serviceaccounts");
/// PersistentVolumeClaims.
pub const PERSISTENT_VOLUME_CLAIMS: GroupResource =
    GroupResource::known("", "persistentvolumeclaims");
/// PersistentVolumes.
pub const PERSISTENT_VOLUMES: GroupResource = GroupResource::known("", "persistentvolumes");
/// PriorityClasses.
pub const PRIORITY_CLASSES: GroupResource =
    GroupResource::known("scheduling.k8s.io", "priorityclasses");
/// CustomResourceDefinitions.
pub const CUSTOM_RESOURCE_DEFINITIONS: GroupResource =
    GroupResource::known("apiextensions.k8s.io", "customresourcedefinitions");
/// Roles.
pub const ROLES: GroupResource = GroupResource::known("rbac.authorization.k8s.io", "roles");
/// RoleBindings.
pub const ROLE_BINDINGS: GroupResource =
    GroupResource::known("rbac.authorization.k8s.io", "rolebindings");
/// ClusterRoles.
pub const CLUSTER_ROLES: GroupResource =
    GroupResource::known("rbac.authorization.k8s.io", "clusterroles");
/// ClusterRoleBindings.
pub const CLUSTER_ROLE_BINDINGS: GroupResource =
    GroupResource::known("rbac.authorization.k8s.io", "clusterrolebindings");

/// Resources whose objects an apiserver serves under two names: the second is the first again.
const COHABITING: &[(GroupResource, GroupResource)] = &[
    (
        GroupResource::known("", "events"),
        GroupResource::known("events.k8s.io", "events"),
    ),
    (
        GroupResource::known("apps", "deployments"),
        GroupResource::known("extensions", "deployments"),
    ),
    (
        GroupResource::known("apps", "daemonsets"),
        GroupResource::known("extensions", "daemonsets"),
    ),
    (
        GroupResource::known("apps", "replicasets"),
        GroupResource::known("extensions", "replicasets"),
    ),
    (
        GroupResource::known("networking.k8s.io", "networkpolicies"),
        GroupResource::known("extensions", "networkpolicies"),
    ),
    (
        GroupResource::known("networking.k8s.io", "ingresses"),
        GroupResource::known("extensions", "ingresses"),
    ),
];

/// The name under which a resource is stored, if it is another name of one.
pub fn stored_as(group: &str, resource: &str) -> Option<&'static GroupResource> {
    COHABITING
        .iter()
        .find(|(_, alias)| alias.is(group, resource))
        .map(|(stored, _)| stored)
}

/// Whether the group belongs to Kubernetes itself, so that no custom resource definition stands behind it.
///
/// Groups under `k8s.io` are not all built in (`snapshot.storage.k8s.io` is not), hence a list.
pub fn is_builtin_group(group: &str) -> bool {
    matches!(
        group,
        "" | "apps"
            | "autoscaling"
            | "batch"
            | "extensions"
            | "policy"
            | "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "authentication.k8s.io"
            | "authorization.k8s.io"
            | "certificates.k8s.io"
            | "coordination.k8s.io"
            | "discovery.k8s.io"
            | "events.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "internal.apiserver.k8s.io"
            | "networking.k8s.io"
            | "node.k8s.io"
            | "rbac.authorization.k8s.io"
            | "resource.k8s.io"
            | "scheduling.k8s.io"
            | "storage.k8s.io"
            | "storagemigration.k8s.io"
    )
}
