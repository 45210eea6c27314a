//! Which objects of a backup are restored.
//!
//! The filters read as those of a backup and are evaluated on the objects as they were backed up, never on the cluster.
//! What a key alone decides is decided by [`Filter::by_key`]; only labels and relations need the objects themselves, and
//! [`Filter::needs_objects`] says so, so that a restore of everything reads each object once.
//!
//! A list of included resources is meant literally: only those are restored, and the namespaces they live in. Where no
//! such list is given, what the restored objects refer to comes with them, unless its resource is excluded.

use std::collections::HashSet;

use serde_json::Value;
use thiserror::Error;

use super::mutate::{at, text};
use super::object::Key;
use crate::api::{LabelSelector, ResourceEntry, RestoreSpec};
use crate::cluster::glob::GlobError;
use crate::cluster::{Discovery, Glob, GroupResource, Selector, SelectorError, kinds};

/// Why a filter cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// A pattern for namespaces is none.
    #[error("{text:?} is not a pattern for namespaces")]
    Namespace {
        /// What was given.
        text: String,
        /// Why.
        #[source]
        source: GlobError,
    },
    /// A label selector is none.
    #[error("the label selector cannot be used")]
    Selector {
        /// Why.
        #[source]
        source: SelectorError,
    },
    /// Both ways to select by labels are used at once.
    #[error("labelSelector and orLabelSelectors cannot be used together")]
    TwoSelectors,
    /// Neither the backup nor the cluster knows the resource.
    #[error("neither the backup nor the cluster has a resource {text:?}")]
    Resource {
        /// What was given.
        text: String,
    },
    /// Hooks make no sense.
    #[error("hooks: {}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Hooks {
        /// What is wrong with them.
        errors: Vec<crate::hooks::HookError>,
    },
    /// A namespace cannot be called so.
    #[error("namespaces cannot be mapped to {name:?}")]
    Mapping {
        /// What was given.
        name: String,
        /// Why.
        #[source]
        source: crate::api::names::NameError,
    },
}

impl FilterError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            FilterError::Namespace { .. } => {
                Some("use names, or the wildcards * ? [abc] {a,b}".to_owned())
            }
            FilterError::Selector { source } => Some(source.hint().to_owned()),
            FilterError::TwoSelectors => {
                Some("use --selector or --or-selector, not both".to_owned())
            }
            FilterError::Resource { .. } => Some(
                "`ark backup describe NAME --details` lists the resources of a backup".to_owned(),
            ),
            FilterError::Hooks { errors } => errors.first().map(crate::hooks::HookError::hint),
            FilterError::Mapping { source, .. } => Some(source.hint().to_owned()),
        }
    }
}

/// What a key alone says about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByKey {
    /// It is restored.
    Take,
    /// It is restored if its labels are selected, or if something restored refers to it.
    Ask,
    /// It is restored if something restored refers to it.
    IfRelated,
    /// It is not restored.
    Leave,
}

/// The filters of a restore, ready to be used.
#[derive(Debug, Clone)]
pub struct Filter {
    included_namespaces: Vec<Glob>,
    excluded_namespaces: Vec<Glob>,
    included_resources: Option<HashSet<GroupResource>>,
    excluded_resources: HashSet<GroupResource>,
    cluster_resources: Option<bool>,
    selectors: Vec<Selector>,
}

impl Filter {
    /// Reads the filters of a spec. Resources are looked up among those of the backup first, then in the cluster, which
    /// knows short names.
    pub fn new(
        spec: &RestoreSpec,
        backup: &[(GroupResource, ResourceEntry)],
        cluster: &Discovery,
    ) -> Result<Filter, FilterError> {
        for name in spec.namespace_mapping.values() {
            crate::api::names::check_namespace(name).map_err(|source| FilterError::Mapping {
                name: name.clone(),
                source,
            })?;
        }
        let selector = |spec: &LabelSelector| {
            Selector::from_spec(spec).map_err(|source| FilterError::Selector { source })
        };
        let selectors = match (&spec.label_selector, spec.or_label_selectors.as_slice()) {
            (Some(_), [_, ..]) => return Err(FilterError::TwoSelectors),
            (Some(one), []) => vec![selector(one)?],
            (None, any) => any.iter().map(selector).collect::<Result<_, _>>()?,
        };
        // One that selects everything, or-ed with others, selects everything.
        let selectors = match selectors.iter().any(Selector::is_everything) {
            true => Vec::new(),
            false => selectors,
        };
        let resources = |texts: &[String]| {
            let mut found = HashSet::new();
            for text in texts {
                found.extend(resolve(text, backup, cluster)?);
            }
            Ok(found)
        };
        let included = &spec.included_resources;
        Ok(Filter {
            included_namespaces: globs(&spec.included_namespaces)?,
            excluded_namespaces: globs(&spec.excluded_namespaces)?,
            included_resources: match included.is_empty() || included.iter().any(|r| is_all(r)) {
                true => None,
                false => Some(resources(included)?),
            },
            excluded_resources: resources(&spec.excluded_resources)?,
            cluster_resources: spec.include_cluster_resources,
            selectors,
        })
    }

    /// Whether objects of a namespace are restored.
    pub fn namespace(&self, name: &str) -> bool {
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        (self.included_namespaces.is_empty() || any(&self.included_namespaces))
            && !any(&self.excluded_namespaces)
    }

    /// Whether objects of a resource are restored at all.
    pub fn resource(&self, resource: &GroupResource) -> bool {
        self.included_resources
            .as_ref()
            .is_none_or(|included| included.contains(resource))
            && !self.excluded_resources.contains(resource)
    }

    /// Whether some namespaces are left out.
    fn filters_namespaces(&self) -> bool {
        !self.excluded_namespaces.is_empty()
            || !(self.included_namespaces.is_empty()
                || self.included_namespaces.iter().any(Glob::is_everything))
    }

    /// What the key alone decides.
    pub fn by_key(&self, key: &Key) -> ByKey {
        if key.resource == kinds::NAMESPACES {
            // A namespace that is excluded as a resource is still made for what lives in it.
            return match (self.namespace(&key.name), self.resource(&key.resource)) {
                (false, _) => ByKey::Leave,
                (true, false) => ByKey::IfRelated,
                (true, true) if self.selectors.is_empty() => ByKey::Take,
                (true, true) => ByKey::Ask,
            };
        }
        if !self.resource(&key.resource) {
            return ByKey::Leave;
        }
        let chosen = match self.selectors.is_empty() {
            true => ByKey::Take,
            false => ByKey::Ask,
        };
        match &key.namespace {
            Some(namespace) if self.namespace(namespace) => chosen,
            Some(_) => ByKey::Leave,
            None => match self.cluster_resources {
                Some(true) => chosen,
                Some(false) => ByKey::Leave,
                None if self.filters_namespaces() => ByKey::IfRelated,
                None => chosen,
            },
        }
    }

    /// Whether keys alone do not decide.
    pub fn needs_objects(&self) -> bool {
        !self.selectors.is_empty()
            || (self.filters_namespaces() && self.cluster_resources.is_none())
    }

    /// Whether labels are selected.
    pub fn labels<'l>(&self, labels: impl Iterator<Item = (&'l str, &'l str)> + Clone) -> bool {
        self.selectors.is_empty() || self.selectors.iter().any(|one| one.matches(labels.clone()))
    }
}

fn is_all(text: &str) -> bool {
    matches!(text, "*" | "*.*")
}

fn globs(texts: &[String]) -> Result<Vec<Glob>, FilterError> {
    texts
        .iter()
        .map(|text| {
            Glob::parse(text).map_err(|source| FilterError::Namespace {
                text: text.clone(),
                source,
            })
        })
        .collect()
}

/// The resources that a user means.
fn resolve(
    text: &str,
    backup: &[(GroupResource, ResourceEntry)],
    cluster: &Discovery,
) -> Result<Vec<GroupResource>, FilterError> {
    if is_all(text) {
        return Ok(backup.iter().map(|(name, _)| name.clone()).collect());
    }
    let wanted = text.trim().to_ascii_lowercase();
    let (name, group) = match wanted.split_once('.') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted.as_str(), None),
    };
    let found = backup.iter().find(|(resource, entry)| {
        (resource.resource == name || entry.kind.to_ascii_lowercase() == name)
            && group.is_none_or(|group| group == resource.group)
    });
    if let Some((resource, _)) = found {
        return Ok(vec![resource.clone()]);
    }
    match cluster.resolve(text) {
        Ok(resolved) => Ok(vec![resolved.resource.name.clone()]),
        Err(_) => Err(FilterError::Resource {
            text: text.to_owned(),
        }),
    }
}

/// What the objects of these resources refer to must be looked up in the objects themselves.
pub fn has_relations(resource: &GroupResource) -> bool {
    resource.is("", "pods")
        || resource.is("", "persistentvolumeclaims")
        || resource.is("networking.k8s.io", "ingresses")
        || *resource == kinds::ROLE_BINDINGS
        || *resource == kinds::CLUSTER_ROLE_BINDINGS
}

/// The objects that an object cannot work without.
pub fn related(key: &Key, object: &Value) -> Vec<Key> {
    let cluster = |resource: &GroupResource, name: &str| Key::new(resource.clone(), None, name);
    let same = |resource: &GroupResource, name: &str| {
        Key::new(resource.clone(), key.namespace.as_deref(), name)
    };
    let mut found = Vec::new();
    match (key.resource.group.as_ref(), key.resource.resource.as_ref()) {
        ("", "pods") => {
            let volumes = at(object, &["spec", "volumes"]).and_then(Value::as_array);
            for volume in volumes.into_iter().flatten() {
                // The claim of a generic ephemeral volume belongs to the pod, which gets a new one.
                if let Some(claim) = text(volume, &["persistentVolumeClaim", "claimName"]) {
                    found.push(same(&kinds::PERSISTENT_VOLUME_CLAIMS, claim));
                }
            }
            if let Some(class) = text(object, &["spec", "priorityClassName"]) {
                found.push(cluster(&kinds::PRIORITY_CLASSES, class));
            }
            if let Some(class) = text(object, &["spec", "runtimeClassName"]) {
                found.push(cluster(
                    &GroupResource::new("node.k8s.io", "runtimeclasses"),
                    class,
                ));
            }
            if let Some(account) = text(object, &["spec", "serviceAccountName"]) {
                found.push(same(&kinds::SERVICE_ACCOUNTS, account));
            }
        }
        ("", "persistentvolumeclaims") => {
            if let Some(volume) = text(object, &["spec", "volumeName"]) {
                found.push(cluster(&kinds::PERSISTENT_VOLUMES, volume));
            }
            if let Some(class) = text(object, &["spec", "storageClassName"]) {
                found.push(cluster(
                    &GroupResource::new("storage.k8s.io", "storageclasses"),
                    class,
                ));
            }
        }
        ("networking.k8s.io", "ingresses") => {
            if let Some(class) = text(object, &["spec", "ingressClassName"]) {
                found.push(cluster(
                    &GroupResource::new("networking.k8s.io", "ingressclasses"),
                    class,
                ));
            }
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            match (
                text(object, &["roleRef", "kind"]),
                text(object, &["roleRef", "name"]),
            ) {
                (Some("ClusterRole"), Some(role)) => {
                    found.push(cluster(&kinds::CLUSTER_ROLES, role))
                }
                (Some("Role"), Some(role)) => found.push(same(&kinds::ROLES, role)),
                _ => {}
            }
        }
        _ => {}
    }
    found
}

/// The service accounts that a binding gives a role to, as `namespace/name`.
pub fn bound_accounts(key: &Key, binding: &Value) -> Vec<String> {
    at(binding, &["subjects"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|subject| text(subject, &["kind"]) == Some("ServiceAccount"))
        .filter_map(|subject| {
            let namespace = text(subject, &["namespace"]).or(key.namespace.as_deref())?;
            Some(format!("{namespace}/{}", text(subject, &["name"])?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::Captured;
    use crate::cluster::discovery::sample;
    use serde_json::json;

    fn backup() -> Vec<(GroupResource, ResourceEntry)> {
        [
            ("", "configmaps", "ConfigMap", true),
            ("", "namespaces", "Namespace", false),
            ("", "persistentvolumes", "PersistentVolume", false),
            ("", "pods", "Pod", true),
            ("old.example.com", "relics", "Relic", true),
        ]
        .into_iter()
        .map(|(group, plural, kind, namespaced)| {
            let entry = ResourceEntry {
                version: "v1".to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
                namespaced,
                captured: Captured::Yes,
                reason: None,
            };
            (GroupResource::new(group, plural), entry)
        })
        .collect()
    }

    fn filter(spec: RestoreSpec) -> Filter {
        Filter::new(&spec, &backup(), &sample()).unwrap()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn key(resource: &str, namespace: &str, name: &str) -> Key {
        Key::new(
            GroupResource::new("", resource),
            (!namespace.is_empty()).then_some(namespace),
            name,
        )
    }

    #[test]
    fn keys_decide_what_they_can() {
        let none = || RestoreSpec::default();
        let namespaces = || RestoreSpec {
            included_namespaces: texts(&["a", "b-*"]),
            ..none()
        };
        let table = [
            (none(), key("pods", "a", "x"), ByKey::Take),
            (none(), key("persistentvolumes", "", "x"), ByKey::Take),
            (namespaces(), key("pods", "a", "x"), ByKey::Take),
            (namespaces(), key("pods", "b-1", "x"), ByKey::Take),
            (namespaces(), key("pods", "c", "x"), ByKey::Leave),
            (namespaces(), key("namespaces", "", "a"), ByKey::Take),
            (namespaces(), key("namespaces", "", "c"), ByKey::Leave),
            (
                namespaces(),
                key("persistentvolumes", "", "x"),
                ByKey::IfRelated,
            ),
            (
                RestoreSpec {
                    include_cluster_resources: Some(true),
                    ..namespaces()
                },
                key("persistentvolumes", "", "x"),
                ByKey::Take,
            ),
            (
                RestoreSpec {
                    include_cluster_resources: Some(false),
                    ..none()
                },
                key("persistentvolumes", "", "x"),
                ByKey::Leave,
            ),
            (
                RestoreSpec {
                    include_cluster_resources: Some(false),
                    ..none()
                },
                key("namespaces", "", "a"),
                ByKey::Take,
            ),
            (
                RestoreSpec {
                    excluded_namespaces: texts(&["kube-*"]),
                    ..none()
                },
                key("pods", "kube-system", "x"),
                ByKey::Leave,
            ),
            (
                RestoreSpec {
                    included_namespaces: texts(&["*"]),
                    ..none()
                },
                key("persistentvolumes", "", "x"),
                ByKey::Take,
            ),
            (
                RestoreSpec {
                    included_resources: texts(&["po"]),
                    ..none()
                },
                key("pods", "a", "x"),
                ByKey::Take,
            ),
            (
                RestoreSpec {
                    included_resources: texts(&["po"]),
                    ..none()
                },
                key("configmaps", "a", "x"),
                ByKey::Leave,
            ),
            (
                RestoreSpec {
                    included_resources: texts(&["po"]),
                    ..none()
                },
                key("namespaces", "", "a"),
                ByKey::IfRelated,
            ),
            (
                RestoreSpec {
                    excluded_resources: texts(&["ConfigMap"]),
                    ..none()
                },
                key("configmaps", "a", "x"),
                ByKey::Leave,
            ),
        ];
        for (spec, key, expected) in table {
            assert_eq!(
                filter(spec.clone()).by_key(&key),
                expected,
                "{key} under {spec:?}"
            );
        }
    }

    #[test]
    fn objects_are_read_only_if_labels_or_relations_decide() {
        assert!(!filter(RestoreSpec::default()).needs_objects());
        let by_namespace = RestoreSpec {
            included_namespaces: texts(&["a"]),
            ..RestoreSpec::default()
        };
        assert!(filter(by_namespace.clone()).needs_objects());
        assert!(
            !filter(RestoreSpec {
                include_cluster_resources: Some(true),
                ..by_namespace
            })
            .needs_objects()
        );
        let selector = Selector::parse("app=web").unwrap().to_spec();
        let by_label = filter(RestoreSpec {
            label_selector: Some(selector),
            ..RestoreSpec::default()
        });
        assert!(by_label.needs_objects());
        assert_eq!(by_label.by_key(&key("pods", "a", "x")), ByKey::Ask);
        assert!(by_label.labels([("app", "web")].into_iter()));
        assert!(!by_label.labels([("app", "db")].into_iter()));
    }

    #[test]
    fn a_resource_of_the_backup_need_not_be_served() {
        let wanted = RestoreSpec {
            included_resources: texts(&["relic"]),
            ..RestoreSpec::default()
        };
        assert!(filter(wanted).resource(&GroupResource::new("old.example.com", "relics")));
        let unknown = RestoreSpec {
            included_resources: texts(&["unicorns"]),
            ..RestoreSpec::default()
        };
        let error = Filter::new(&unknown, &backup(), &sample()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "neither the backup nor the cluster has a resource \"unicorns\""
        );
    }

    #[test]
    fn specs_that_contradict_themselves_are_refused() {
        let selector = Selector::parse("a=b").unwrap().to_spec();
        let both = RestoreSpec {
            label_selector: Some(selector.clone()),
            or_label_selectors: vec![selector],
            ..RestoreSpec::default()
        };
        assert_eq!(
            Filter::new(&both, &[], &sample()).unwrap_err(),
            FilterError::TwoSelectors
        );
        let bad = RestoreSpec {
            included_namespaces: texts(&["[a"]),
            ..RestoreSpec::default()
        };
        assert!(matches!(
            Filter::new(&bad, &[], &sample()),
            Err(FilterError::Namespace { .. })
        ));
        let bad = RestoreSpec {
            namespace_mapping: [("a".to_owned(), "A_b".to_owned())].into(),
            ..RestoreSpec::default()
        };
        assert!(matches!(
            Filter::new(&bad, &[], &sample()),
            Err(FilterError::Mapping { .. })
        ));
    }

    #[test]
    fn relations_are_found() {
        let pod = json!({"spec": {"priorityClassName": "high", "serviceAccountName": "web",
            "volumes": [{"persistentVolumeClaim": {"claimName": "data"}}, {"emptyDir": {}}]}});
        let names: Vec<String> = related(&key("pods", "a", "x"), &pod)
            .iter()
            .map(Key::to_string)
            .collect();
        assert_eq!(
            names,
            [
                "persistentvolumeclaims a/data",
                "priorityclasses.scheduling.k8s.io high",
                "serviceaccounts a/web"
            ]
        );
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "a", "name": "web"}, {"kind": "User", "name": "u"}]});
        let key = Key::new(kinds::ROLE_BINDINGS, Some("a"), "x");
        let found = related(&key, &binding);
        assert_eq!(found, [Key::new(kinds::CLUSTER_ROLES, None, "view")]);
        assert_eq!(bound_accounts(&key, &binding), ["a/web"]);
    }
}
