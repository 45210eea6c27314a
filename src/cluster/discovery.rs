//! What the apiserver serves.
//!
//! Two requests where the apiserver knows aggregated discovery, one for each group version else. Of each resource the
//! most preferred version that has it is taken. Subresources are not resources. A group whose discovery fails is a
//! warning, not an error: an aggregated apiserver that is down must not stop the backup of everything else.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList, APIVersions};
use kube::client::APIGroupDiscoveryList;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::call::{Call, Verb};
use super::connect::Cluster;
use super::error::{Error, Result};
use super::kinds::{self, GroupResource};
use super::resource::{Resource, Verbs};

/// In order of preference: aggregated discovery in its two versions, or the plain lists of old.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// What one apiserver serves.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    resources: Vec<Arc<Resource>>,
    unread: Vec<Unread>,
}

/// A group version that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Group and version.
    pub group_version: String,
    /// Why.
    pub reason: String,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the resources of {} are not known: {}",
            self.group_version, self.reason
        )
    }
}

/// One resource of one group version, before versions are chosen.
#[derive(Debug, Clone)]
struct Served {
    group: String,
    version: String,
    plural: String,
    singular: String,
    kind: String,
    namespaced: bool,
    verbs: Verbs,
    short_names: Vec<String>,
}

impl Discovery {
    /// Asks the apiserver.
    pub async fn load(cluster: &Cluster) -> Result<Discovery> {
        let (core, groups) = futures::try_join!(
            ask(cluster, "/api".to_owned()),
            ask(cluster, "/apis".to_owned())
        )?;
        let (mut served, mut unread) = (Vec::new(), Vec::new());
        for (path, body) in [("/api", core), ("/apis", groups)] {
            match decode::<Kind>(path, &body)?.kind.as_str() {
                "APIGroupDiscoveryList" => {
                    aggregated(decode(path, &body)?, &mut served, &mut unread)
                }
                "APIVersions" => {
                    let versions = decode::<APIVersions>(path, &body)?.versions;
                    one_by_one(cluster, versions, &mut served, &mut unread).await;
                }
                _ => {
                    let groups = decode::<APIGroupList>(path, &body)?.groups;
                    let versions = groups.into_iter().flat_map(|group| {
                        // The preferred version first; the others keep their order.
                        let preferred = group
                            .preferred_version
                            .map(|preferred| preferred.group_version);
                        let mut versions: Vec<String> = group
                            .versions
                            .into_iter()
                            .map(|v| v.group_version)
                            .collect();
                        versions.sort_by_key(|version| Some(version) != preferred.as_ref());
                        versions
                    });
                    one_by_one(cluster, versions.collect(), &mut served, &mut unread).await;
                }
            }
        }
        Ok(Discovery::new(served, unread))
    }

    fn new(served: Vec<Served>, unread: Vec<Unread>) -> Discovery {
        let mut found: BTreeMap<GroupResource, Resource> = BTreeMap::new();
        for (rank, one) in served.into_iter().enumerate() {
            let name = GroupResource::new(one.group, one.plural);
            if let Some(known) = found.get_mut(&name) {
                known.versions.push(one.version);
                continue;
            }
            let singular = if one.singular.is_empty() {
                one.kind.to_ascii_lowercase()
            } else {
                one.singular
            };
            let resource = Resource {
                versions: vec![one.version.clone()],
                version: one.version,
                kind: one.kind,
                singular,
                short_names: one.short_names,
                namespaced: one.namespaced,
                verbs: one.verbs,
                stored_as: None,
                rank,
                name: name.clone(),
            };
            found.insert(name, resource);
        }
        let names: Vec<GroupResource> = found.keys().cloned().collect();
        let resources = found.into_values().map(|mut resource| {
            resource.stored_as = kinds::stored_as(resource.group(), resource.plural())
                .filter(|stored| names.binary_search(stored).is_ok())
                .cloned();
            Arc::new(resource)
        });
        Discovery {
            resources: resources.collect(),
            unread,
        }
    }

    /// Every resource, in the order of the `objects` dataset.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// The group versions that could not be read.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// The resource of that group and plural name.
    pub fn find(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        let key =
            |resource: &Arc<Resource>| (resource.group(), resource.plural()).cmp(&(group, plural));
        self.resources
            .binary_search_by(key)
            .ok()
            .map(|at| &self.resources[at])
    }

    /// The resource of that name.
    pub fn find_name(&self, name: &GroupResource) -> Option<&Arc<Resource>> {
        self.find(&name.group, &name.resource)
    }

    /// The resource whose objects are of that kind.
    pub fn find_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.resources
            .iter()
            .filter(|r| r.group() == group && r.kind == kind)
            .min_by_key(|r| r.rank)
    }
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

fn decode<T: DeserializeOwned>(path: &str, body: &Bytes) -> Result<T> {
    serde_json::from_slice(body).map_err(|source| Error::Decode {
        path: path.to_owned(),
        source,
    })
}

async fn ask(cluster: &Cluster, path: String) -> Result<Bytes> {
    cluster
        .call(&Call {
            accept: ACCEPT,
            ..Call::new(Verb::Discover, path)
        })
        .await
}

fn aggregated(list: APIGroupDiscoveryList, served: &mut Vec<Served>, unread: &mut Vec<Unread>) {
    for group in list.items {
        let name = group
            .metadata
            .and_then(|metadata| metadata.name)
            .unwrap_or_default();
        for version in group.versions {
            let version_name = version.version.unwrap_or_default();
            if version.freshness.as_deref() == Some("Stale") {
                let group_version = if name.is_empty() {
                    version_name.clone()
                } else {
                    format!("{name}/{version_name}")
                };
                unread.push(Unread {
                    group_version,
                    reason: "its apiserver does not answer".to_owned(),
                });
            }
            for resource in version.resources {
                let (Some(plural), Some(kind)) = (
                    resource.resource,
                    resource.response_kind.and_then(|k| k.kind),
                ) else {
                    continue;
                };
                served.push(Served {
                    group: name.clone(),
                    version: version_name.clone(),
                    plural,
                    singular: resource.singular_resource.unwrap_or_default(),
                    kind,
                    namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    verbs: Verbs::from_names(&resource.verbs),
                    short_names: resource.short_names,
                });
            }
        }
    }
}

async fn one_by_one(
    cluster: &Cluster,
    versions: Vec<String>,
    served: &mut Vec<Served>,
    unread: &mut Vec<Unread>,
) {
    let answers = futures::stream::iter(versions)
        .map(|group_version| async move {
            let path = match group_version.contains('/') {
                true => format!("/apis/{group_version}"),
                false => format!("/api/{group_version}"),
            };
            let answer = match ask(cluster, path.clone()).await {
                Ok(body) => decode::<APIResourceList>(&path, &body),
                Err(error) => Err(error),
            };
            (group_version, answer)
        })
        .buffered(4)
        .collect::<Vec<_>>()
        .await;
    for (group_version, answer) in answers {
        let list = match answer {
            Ok(list) => list,
            Err(error) => {
                unread.push(Unread {
                    group_version,
                    reason: error.to_string(),
                });
                continue;
            }
        };
        let (group, version) = match group_version.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", group_version.as_str()),
        };
        for resource in list
            .resources
            .into_iter()
            .filter(|resource| !resource.name.contains('/'))
        {
            served.push(Served {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: resource.name,
                singular: resource.singular_name,
                kind: resource.kind,
                namespaced: resource.namespaced,
                verbs: Verbs::from_names(&resource.verbs),
                short_names: resource.short_names.unwrap_or_default(),
            });
        }
    }
}

/// A discovery made by hand, for tests.
#[cfg(test)]
pub(crate) fn sample() -> Discovery {
    let all = [
        "list", "get", "create", "delete", "watch", "patch", "update",
    ];
    let one =
        |group: &str, version: &str, plural: &str, kind: &str, namespaced: bool, short: &[&str]| {
            Served {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: plural.to_owned(),
                singular: kind.to_ascii_lowercase(),
                kind: kind.to_owned(),
                namespaced,
                verbs: Verbs::from_names(&all),
                short_names: short.iter().map(|s| (*s).to_owned()).collect(),
            }
        };
    let mut served = vec![
        one("", "v1", "configmaps", "ConfigMap", true, &["cm"]),
        one("", "v1", "events", "Event", true, &["ev"]),
        one("", "v1", "namespaces", "Namespace", false, &["ns"]),
        one("", "v1", "nodes", "Node", false, &["no"]),
        one(
            "",
            "v1",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            true,
            &["pvc"],
        ),
        one(
            "",
            "v1",
            "persistentvolumes",
            "PersistentVolume",
            false,
            &["pv"],
        ),
        one("", "v1", "pods", "Pod", true, &["po"]),
        one("", "v1", "secrets", "Secret", true, &[]),
        one("", "v1", "serviceaccounts", "ServiceAccount", true, &["sa"]),
        one("", "v1", "services", "Service", true, &["svc"]),
        one("apps", "v1", "deployments", "Deployment", true, &["deploy"]),
        one("events.k8s.io", "v1", "events", "Event", true, &["ev"]),
        one(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            false,
            &["crd"],
        ),
        one(
            "rbac.authorization.k8s.io",
            "v1",
            "clusterroles",
            "ClusterRole",
            false,
            &[],
        ),
        one(
            "rbac.authorization.k8s.io",
            "v1",
            "clusterrolebindings",
            "ClusterRoleBinding",
            false,
            &[],
        ),
        one(
            "rbac.authorization.k8s.io",
            "v1",
            "rolebindings",
            "RoleBinding",
            true,
            &[],
        ),
        one(
            "rbac.authorization.k8s.io",
            "v1",
            "roles",
            "Role",
            true,
            &[],
        ),
        one(
            "scheduling.k8s.io",
            "v1",
            "priorityclasses",
            "PriorityClass",
            false,
            &["pc"],
        ),
        one(
            "serving.knative.dev",
            "v1",
            "services",
            "Service",
            true,
            &["ksvc"],
        ),
        one("example.com", "v1", "widgets", "Widget", true, &["po"]),
        one("example.com", "v1beta1", "widgets", "Widget", true, &["po"]),
        one("example.com", "v1beta1", "gadgets", "Gadget", false, &[]),
    ];
    served.push(Served {
        verbs: Verbs::CREATE,
        ..one(
            "authentication.k8s.io",
            "v1",
            "tokenreviews",
            "TokenReview",
            false,
            &[],
        )
    });
    let reason = "its apiserver does not answer".to_owned();
    Discovery::new(
        served,
        vec![Unread {
            group_version: "metrics.k8s.io/v1beta1".to_owned(),
            reason,
        }],
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn resources_come_once_in_key_order_with_their_versions() {
        let discovery = sample();
        let names: Vec<_> = discovery
            .resources()
            .iter()
            .map(|r| (r.group().to_owned(), r.plural().to_owned()))
            .collect();
        assert!(names.is_sorted());
        let widgets = discovery.find("example.com", "widgets").unwrap();
        assert_eq!(
            (widgets.version.as_str(), widgets.versions.len()),
            ("v1", 2)
        );
        assert_eq!(
            discovery.find("example.com", "gadgets").unwrap().version,
            "v1beta1"
        );
        assert_eq!(
            discovery.find_kind("apps", "Deployment").unwrap().plural(),
            "deployments"
        );
        assert!(
            !discovery
                .find("authentication.k8s.io", "tokenreviews")
                .unwrap()
                .can_be_backed_up()
        );
    }

    #[test]
    fn what_is_served_twice_is_stored_once() {
        let discovery = sample();
        assert_eq!(
            discovery.find("events.k8s.io", "events").unwrap().stored_as,
            Some(GroupResource::new("", "events"))
        );
        assert_eq!(discovery.find("", "events").unwrap().stored_as, None);
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let discovery = sample();
        let pods = discovery.find("", "pods").unwrap();
        assert_eq!(pods.collection_path(None), "/api/v1/pods");
        assert_eq!(
            pods.object_path(Some("a"), "b c"),
            "/api/v1/namespaces/a/pods/b%20c"
        );
        let roles = discovery
            .find("rbac.authorization.k8s.io", "clusterroles")
            .unwrap();
        assert_eq!(
            roles.object_path(Some("ignored"), "system:node"),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"
        );
    }

    #[test]
    fn aggregated_answers_are_read_and_stale_groups_reported() {
        let list = serde_json::json!({"items": [
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "freshness": "Current", "resources": [
                {"resource": "deployments", "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                 "scope": "Namespaced", "singularResource": "deployment", "verbs": ["list", "get"], "shortNames": ["deploy"],
                 "subresources": [{"subresource": "status", "verbs": ["get"]}]}]}]}]});
        let (mut served, mut unread) = (Vec::new(), Vec::new());
        aggregated(
            serde_json::from_value(list).unwrap(),
            &mut served,
            &mut unread,
        );
        let discovery = Discovery::new(served, unread);
        assert_eq!(discovery.resources().len(), 1);
        assert!(
            discovery.resources()[0].namespaced
                && discovery.resources()[0].verbs.has(Verbs::LIST | Verbs::GET)
        );
        assert_eq!(
            discovery.unread()[0].group_version,
            "metrics.k8s.io/v1beta1"
        );
    }
}
