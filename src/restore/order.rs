//! The order of a restore: waves, one after the other, parallel inside.
//!
//! What others need comes before what needs it: definitions before custom resources, namespaces before what lives in
//! them, classes and volumes before claims, accounts and configuration before pods, pods before the controllers that
//! would otherwise make new ones. What can refuse or rewrite other objects (webhook configurations, admission policies)
//! or answers for a group that is not up yet (APIServices) comes last: its own backend must be restored first.
//! Network policies come before pods, so that no pod runs without them.
//!
//! Inside a wave the resources start in the order given here; those of [`Wave::Rest`] start in alphabetical order.

use std::fmt;

use serde::Serialize;

use crate::cluster::GroupResource;

/// A step of a restore. The order of the variants is the order of the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wave {
    /// CustomResourceDefinitions, established before anything else starts.
    Definitions,
    /// Namespaces.
    Namespaces,
    /// What objects name and admission looks up.
    Classes,
    /// Contents of volume snapshots.
    SnapshotContents,
    /// Volume snapshots.
    Snapshots,
    /// Persistent volumes.
    Volumes,
    /// Their claims.
    Claims,
    /// Roles and service accounts.
    Identities,
    /// Bindings of the two.
    Bindings,
    /// Secrets and ConfigMaps.
    Configuration,
    /// What limits pods.
    Limits,
    /// Pods.
    Pods,
    /// What owns pods directly, and the revisions that controllers look for.
    Replicas,
    /// Cluster classes of Cluster API.
    ClusterClasses,
    /// Endpoints made by hand.
    Endpoints,
    /// Services.
    Services,
    /// Everything else, alphabetically.
    Rest,
    /// What must find everything else in place.
    Late,
    /// What can refuse or rewrite other objects.
    Gates,
}

/// The resources that have a place of their own.
const PLACES: &[(Wave, &[&str])] = &[
    (
        Wave::Definitions,
        &["customresourcedefinitions.apiextensions.k8s.io"],
    ),
    (Wave::Namespaces, &["namespaces"]),
    (
        Wave::Classes,
        &[
            "storageclasses.storage.k8s.io",
            "volumesnapshotclasses.snapshot.storage.k8s.io",
            "csidrivers.storage.k8s.io",
            "priorityclasses.scheduling.k8s.io",
            "runtimeclasses.node.k8s.io",
            "ingressclasses.networking.k8s.io",
            "servicecidrs.networking.k8s.io",
        ],
    ),
    (
        Wave::SnapshotContents,
        &["volumesnapshotcontents.snapshot.storage.k8s.io"],
    ),
    (
        Wave::Snapshots,
        &["volumesnapshots.snapshot.storage.k8s.io"],
    ),
    (Wave::Volumes, &["persistentvolumes"]),
    (Wave::Claims, &["persistentvolumeclaims"]),
    (
        Wave::Identities,
        &[
            "clusterroles.rbac.authorization.k8s.io",
            "roles.rbac.authorization.k8s.io",
            "serviceaccounts",
        ],
    ),
    (
        Wave::Bindings,
        &[
            "clusterrolebindings.rbac.authorization.k8s.io",
            "rolebindings.rbac.authorization.k8s.io",
        ],
    ),
    (Wave::Configuration, &["secrets", "configmaps"]),
    (
        Wave::Limits,
        &["limitranges", "networkpolicies.networking.k8s.io"],
    ),
    (Wave::Pods, &["pods"]),
    (
        Wave::Replicas,
        &["replicasets.apps", "controllerrevisions.apps"],
    ),
    (Wave::ClusterClasses, &["clusterclasses.cluster.x-k8s.io"]),
    (Wave::Endpoints, &["endpoints"]),
    (Wave::Services, &["services"]),
    (
        Wave::Late,
        &[
            "clusterbootstraps.run.tanzu.vmware.com",
            "clusters.cluster.x-k8s.io",
            "clusterresourcesets.addons.cluster.x-k8s.io",
            "apps.kappctrl.k14s.io",
            "packageinstalls.packaging.carvel.dev",
        ],
    ),
    (
        Wave::Gates,
        &[
            "apiservices.apiregistration.k8s.io",
            "validatingadmissionpolicies.admissionregistration.k8s.io",
            "validatingadmissionpolicybindings.admissionregistration.k8s.io",
            "mutatingadmissionpolicies.admissionregistration.k8s.io",
            "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        ],
    ),
];

/// Where a resource stands: its wave, and its place inside the wave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The wave.
    pub wave: Wave,
    index: usize,
    name: String,
}

/// The place of a resource. Sorting by it gives the order of the restore.
pub fn place(resource: &GroupResource) -> Place {
    let name = resource.to_string();
    for (wave, names) in PLACES {
        if let Some(index) = names.iter().position(|candidate| *candidate == name) {
            return Place {
                wave: *wave,
                index,
                name,
            };
        }
    }
    Place {
        wave: Wave::Rest,
        index: 0,
        name,
    }
}

impl fmt::Display for Wave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wave::Definitions => "definitions",
            Wave::Namespaces => "namespaces",
            Wave::Classes => "classes",
            Wave::SnapshotContents => "snapshot contents",
            Wave::Snapshots => "snapshots",
            Wave::Volumes => "volumes",
            Wave::Claims => "claims",
            Wave::Identities => "identities",
            Wave::Bindings => "bindings",
            Wave::Configuration => "configuration",
            Wave::Limits => "limits",
            Wave::Pods => "pods",
            Wave::Replicas => "replicas",
            Wave::ClusterClasses => "cluster classes",
            Wave::Endpoints => "endpoints",
            Wave::Services => "services",
            Wave::Rest => "rest",
            Wave::Late => "late",
            Wave::Gates => "gates",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: &[&str]) -> Vec<String> {
        let mut resources: Vec<GroupResource> = names
            .iter()
            .map(|name| match name.split_once('.') {
                Some((plural, group)) => GroupResource::new(group, plural),
                None => GroupResource::new("", name.to_owned()),
            })
            .collect();
        resources.sort_by_key(place);
        resources.iter().map(GroupResource::to_string).collect()
    }

    #[test]
    fn what_others_need_comes_first_and_gates_come_last() {
        assert_eq!(
            sorted(&[
                "mutatingwebhookconfigurations.admissionregistration.k8s.io",
                "widgets.example.com",
                "apiservices.apiregistration.k8s.io",
                "services",
                "clusters.cluster.x-k8s.io",
                "deployments.apps",
                "pods",
                "configmaps",
                "secrets",
                "replicasets.apps",
                "networkpolicies.networking.k8s.io",
                "rolebindings.rbac.authorization.k8s.io",
                "serviceaccounts",
                "persistentvolumeclaims",
                "persistentvolumes",
                "storageclasses.storage.k8s.io",
                "namespaces",
                "endpoints",
                "customresourcedefinitions.apiextensions.k8s.io",
            ]),
            [
                "customresourcedefinitions.apiextensions.k8s.io",
                "namespaces",
                "storageclasses.storage.k8s.io",
                "persistentvolumes",
                "persistentvolumeclaims",
                "serviceaccounts",
                "rolebindings.rbac.authorization.k8s.io",
                "secrets",
                "configmaps",
                "networkpolicies.networking.k8s.io",
                "pods",
                "replicasets.apps",
                "endpoints",
                "services",
                "deployments.apps",
                "widgets.example.com",
                "clusters.cluster.x-k8s.io",
                "apiservices.apiregistration.k8s.io",
                "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            ]
        );
    }

    #[test]
    fn only_the_exact_group_has_the_place() {
        assert_eq!(
            place(&GroupResource::new("example.com", "pods")).wave,
            Wave::Rest
        );
        assert_eq!(place(&GroupResource::new("", "pods")).wave, Wave::Pods);
    }

    #[test]
    fn the_places_stand_in_the_order_of_the_waves() {
        assert!(PLACES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let mut names: Vec<&str> = PLACES
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
