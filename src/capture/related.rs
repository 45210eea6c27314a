//! What objects refer to.
//!
//! | of | also taken |
//! |---|---|
//! | every namespaced object | its Namespace |
//! | a custom resource | its CustomResourceDefinition |
//! | a Pod | its PersistentVolumeClaims and its PriorityClass |
//! | a PersistentVolumeClaim | the PersistentVolume it is bound to |
//! | a ServiceAccount | the ClusterRoleBindings and RoleBindings that name it |
//! | a RoleBinding, a ClusterRoleBinding | its Role or ClusterRole |
//!
//! Only what the filter would pass over is looked for, and nothing that it excludes is ever taken.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cluster::kinds::{
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, PRIORITY_CLASSES, ROLE_BINDINGS, ROLES,
    SERVICE_ACCOUNTS, is_builtin_group,
};
use crate::cluster::{GroupResource, Item, Resource};

/// Namespace and name; the namespace is empty for cluster-scoped objects.
pub type ObjectName = (String, String);

/// What objects refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Objects that are referred to by name.
    pub objects: BTreeMap<GroupResource, BTreeSet<ObjectName>>,
    /// ServiceAccounts that were taken: bindings are looked for that name them.
    pub accounts: BTreeSet<ObjectName>,
}

impl References {
    /// Notes that an object is referred to.
    pub fn add(&mut self, resource: GroupResource, namespace: &str, name: &str) {
        if !name.is_empty() {
            self.objects
                .entry(resource)
                .or_default()
                .insert((namespace.to_owned(), name.to_owned()));
        }
    }

    /// Takes in others.
    pub fn merge(&mut self, other: References) {
        for (resource, names) in other.objects {
            self.objects.entry(resource).or_default().extend(names);
        }
        self.accounts.extend(other.accounts);
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.objects.values().all(BTreeSet::is_empty) && self.accounts.is_empty()
    }

    /// Notes what an object refers to. An object whose fields are not what its kind promises refers to nothing.
    pub fn note(&mut self, resource: &Resource, item: &Item<'_>) {
        let (namespace, name) = (item.meta.namespace.as_ref(), item.meta.name.as_ref());
        if !namespace.is_empty() {
            // One after the other comes from the same namespace: look before building strings.
            let namespaces = self.objects.entry(NAMESPACES).or_default();
            if namespaces.last().is_none_or(|(_, last)| last != namespace) {
                namespaces.insert((String::new(), namespace.to_owned()));
            }
        }
        if !is_builtin_group(resource.group()) {
            self.add(CUSTOM_RESOURCE_DEFINITIONS, "", &resource.to_string());
        } else if resource.name == PODS {
            self.note_pod(namespace, name, item.raw);
        } else if resource.name == PERSISTENT_VOLUME_CLAIMS {
            if let Ok(claim) = serde_json::from_str::<Claim<'_>>(item.raw) {
                self.add(PERSISTENT_VOLUMES, "", &claim.spec.volume_name);
            }
        } else if resource.name == SERVICE_ACCOUNTS {
            self.accounts
                .insert((namespace.to_owned(), name.to_owned()));
        } else if (resource.name == ROLE_BINDINGS || resource.name == CLUSTER_ROLE_BINDINGS)
            && let Ok(binding) = serde_json::from_str::<Binding<'_>>(item.raw)
        {
            match binding.role_ref.kind.as_ref() {
                "Role" => self.add(ROLES, namespace, &binding.role_ref.name),
                "ClusterRole" => self.add(CLUSTER_ROLES, "", &binding.role_ref.name),
                _ => {}
            }
        }
    }

    fn note_pod(&mut self, namespace: &str, name: &str, raw: &str) {
        let Ok(pod) = serde_json::from_str::<Pod<'_>>(raw) else {
            return;
        };
        self.add(
            PRIORITY_CLASSES,
            "",
            pod.spec.priority_class_name.as_deref().unwrap_or_default(),
        );
        for volume in pod.spec.volumes.unwrap_or_default() {
            if let Some(claim) = volume.persistent_volume_claim {
                self.add(PERSISTENT_VOLUME_CLAIMS, namespace, &claim.claim_name);
            } else if volume.ephemeral.is_some() {
                // The claim of a generic ephemeral volume is named after pod and volume.
                self.add(
                    PERSISTENT_VOLUME_CLAIMS,
                    namespace,
                    &format!("{name}-{}", volume.name),
                );
            }
        }
    }
}

/// Whether a relation can lead to objects of that resource.
pub fn can_be_referred_to(resource: &Resource) -> bool {
    [
        &NAMESPACES,
        &CUSTOM_RESOURCE_DEFINITIONS,
        &PERSISTENT_VOLUME_CLAIMS,
        &PERSISTENT_VOLUMES,
        &PRIORITY_CLASSES,
        &CLUSTER_ROLE_BINDINGS,
        &ROLE_BINDINGS,
        &CLUSTER_ROLES,
        &ROLES,
    ]
    .contains(&&resource.name)
}

/// Whether a binding names one of these ServiceAccounts.
pub fn binds_one_of(raw: &str, binding_namespace: &str, accounts: &BTreeSet<ObjectName>) -> bool {
    let Ok(binding) = serde_json::from_str::<Binding<'_>>(raw) else {
        return false;
    };
    binding
        .subjects
        .unwrap_or_default()
        .into_iter()
        .any(|subject| {
            let namespace = match subject.namespace.as_deref() {
                None | Some("") => binding_namespace,
                Some(namespace) => namespace,
            };
            subject.kind == "ServiceAccount"
                && accounts.contains(&(namespace.to_owned(), subject.name.into_owned()))
        })
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    spec: PodSpec<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec<'a> {
    #[serde(borrow, default)]
    volumes: Option<Vec<Volume<'a>>>,
    #[serde(borrow, default)]
    priority_class_name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    persistent_volume_claim: Option<ClaimSource<'a>>,
    #[serde(default)]
    ephemeral: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSource<'a> {
    #[serde(borrow)]
    claim_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Claim<'a> {
    #[serde(borrow)]
    spec: ClaimSpec<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec<'a> {
    #[serde(borrow, default)]
    volume_name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding<'a> {
    #[serde(borrow)]
    role_ref: Subject<'a>,
    #[serde(borrow, default)]
    subjects: Option<Vec<Subject<'a>>>,
}

#[derive(Deserialize)]
struct Subject<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::ObjectMetaView;
    use crate::cluster::discovery::sample;

    fn note(resource: &str, raw: &str) -> References {
        let resource = sample().resolve(resource).unwrap().resource;
        let mut references = References::default();
        references.note(
            &resource,
            &Item {
                raw,
                meta: ObjectMetaView::parse(raw).unwrap(),
            },
        );
        references
    }

    fn names(references: &References) -> Vec<String> {
        let all = references.objects.iter();
        all.flat_map(|(r, names)| {
            names
                .iter()
                .map(move |(ns, name)| format!("{r} {ns}/{name}"))
        })
        .collect()
    }

    #[test]
    fn relations_of_each_kind() {
        let pod = r#"{"metadata":{"name":"p","namespace":"n"},"spec":{"priorityClassName":"high","volumes":[
            {"name":"a","persistentVolumeClaim":{"claimName":"c"}},{"name":"e","ephemeral":{}},{"name":"x","emptyDir":{}}]}}"#;
        assert_eq!(
            names(&note("pods", pod)),
            [
                "namespaces /n",
                "persistentvolumeclaims n/c",
                "persistentvolumeclaims n/p-e",
                "priorityclasses.scheduling.k8s.io /high"
            ]
        );
        let claim = r#"{"metadata":{"name":"c","namespace":"n"},"spec":{"volumeName":"pv1"}}"#;
        assert_eq!(
            names(&note("pvc", claim)),
            ["namespaces /n", "persistentvolumes /pv1"]
        );
        let unbound = r#"{"metadata":{"name":"c","namespace":"n"},"spec":{}}"#;
        assert_eq!(names(&note("pvc", unbound)), ["namespaces /n"]);
        let widget = r#"{"metadata":{"name":"w","namespace":"n"},"spec":7}"#;
        assert_eq!(
            names(&note("widgets", widget)),
            [
                "namespaces /n",
                "customresourcedefinitions.apiextensions.k8s.io /widgets.example.com"
            ]
        );
        let account = r#"{"metadata":{"name":"s","namespace":"n"}}"#;
        assert_eq!(
            note("sa", account).accounts,
            [("n".to_owned(), "s".to_owned())].into()
        );
        let odd = r#"{"metadata":{"name":"p","namespace":"n"},"spec":{"volumes":3}}"#;
        assert_eq!(names(&note("pods", odd)), ["namespaces /n"]);
    }

    #[test]
    fn bindings_lead_to_roles_and_name_accounts() {
        let raw = r#"{"metadata":{"name":"b","namespace":"n"},"roleRef":{"apiGroup":"x","kind":"ClusterRole","name":"view"},
            "subjects":[{"kind":"User","name":"s"},{"kind":"ServiceAccount","name":"s","namespace":"m"},
            {"kind":"ServiceAccount","name":"t"}]}"#;
        assert!(
            names(&note("rolebindings", raw))
                .contains(&"clusterroles.rbac.authorization.k8s.io /view".to_owned())
        );
        let account = |ns: &str, name: &str| BTreeSet::from([(ns.to_owned(), name.to_owned())]);
        assert!(binds_one_of(raw, "n", &account("m", "s")));
        assert!(binds_one_of(raw, "n", &account("n", "t")));
        assert!(!binds_one_of(raw, "n", &account("n", "s")));
        assert!(!binds_one_of("{}", "n", &account("n", "s")));
    }
}
