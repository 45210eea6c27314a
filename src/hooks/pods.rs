//! The pods that may have hooks.
//!
//! All pods of a backup are looked at, because any may carry annotations; but only their metadata is asked for, and the rest only
//! of those that have hooks. Lists alone are used, which is all that an account for backups may do.

use std::borrow::Cow;
use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use super::annotations::MARK;
use super::plan::{Pairs, PodName};
use super::rules::Rules;
use crate::cluster::{Cluster, Error, ListOptions, Lister, ObjectMetaView, Resource, Result};

/// So many pods are asked for at once.
const AT_ONCE: usize = 8;

/// What must be known of a pod to decide about its hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: PodName,
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations.
    pub annotations: Pairs,
    /// Where it stands.
    pub phase: String,
    /// The containers that a command can be run in.
    pub containers: Vec<String>,
}

impl Pod {
    /// Reads a pod.
    pub fn parse(raw: &str) -> serde_json::Result<Pod> {
        let read: Read<'_> = serde_json::from_str(raw)?;
        let spec = read.spec.unwrap_or_default();
        // One that is started before the others and goes on beside them is as good as any.
        let beside = spec
            .init_containers
            .unwrap_or_default()
            .into_iter()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let containers = spec
            .containers
            .unwrap_or_default()
            .into_iter()
            .chain(beside);
        Ok(Pod {
            name: PodName {
                namespace: read.metadata.namespace.into_owned(),
                name: read.metadata.name.into_owned(),
            },
            labels: read.metadata.labels.unwrap_or_default(),
            annotations: read.metadata.annotations.unwrap_or_default(),
            phase: read.status.unwrap_or_default().phase.into_owned(),
            containers: containers
                .map(|container| container.name.into_owned())
                .collect(),
        })
    }

    /// The labels as pairs of text.
    pub fn label_pairs(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether commands can be run in it.
    pub fn is_running(&self) -> bool {
        self.phase == "Running"
    }

    /// Whether nothing will run in it any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// Which pods a backup takes.
pub struct Scope<'a> {
    /// Pods, as the cluster serves them.
    pub resource: &'a Resource,
    /// The namespaces that are listed one by one; none means all at once.
    pub namespaces: Option<&'a [String]>,
    /// What the apiserver selects by label.
    pub label_selector: Option<&'a str>,
    /// Whether one of them is taken.
    pub takes: &'a (dyn Fn(&ObjectMetaView<'_>) -> bool + Sync),
}

/// Finds the pods that have hooks.
pub async fn find(cluster: &Cluster, scope: &Scope<'_>, rules: &Rules) -> Result<Vec<Pod>> {
    let mut names = Vec::new();
    let all = [None];
    let one_by_one: Vec<Option<String>>;
    let namespaces = match scope.namespaces {
        None => all.as_slice(),
        Some(names) => {
            one_by_one = names.iter().cloned().map(Some).collect();
            one_by_one.as_slice()
        }
    };
    for namespace in namespaces {
        let options = ListOptions {
            namespace: namespace.clone(),
            label_selector: scope.label_selector.map(str::to_owned),
            metadata_only: true,
            ..ListOptions::default()
        };
        let mut lister = Lister::new(cluster, scope.resource, &options);
        while let Some(page) = lister.next().await? {
            for item in page.items() {
                let item = item?;
                let namespace = item.meta.namespace.as_ref();
                let wanted = item.raw.contains(MARK) || rules.takes(namespace, pairs(&item.meta));
                if wanted && (scope.takes)(&item.meta) {
                    names.push(PodName {
                        namespace: namespace.to_owned(),
                        name: item.meta.name.to_string(),
                    });
                }
            }
        }
    }
    named(cluster, scope.resource, names).await
}

/// Reads pods by name, each by itself: one that cannot be read holds up no other. `None` is one that is gone.
pub async fn each(
    cluster: &Cluster,
    resource: &Resource,
    names: Vec<PodName>,
) -> Vec<(PodName, Result<Option<Pod>>)> {
    let reads = names.into_iter().map(|name| async move {
        let read = one(cluster, resource, name.clone()).await;
        match read {
            Err(error) if error.is_not_found() => (name, Ok(None)),
            read => (name, read),
        }
    });
    let reads = futures::stream::iter(reads).buffer_unordered(AT_ONCE);
    reads.boxed().collect().await
}

/// Reads pods by name. Those that are gone are left out.
async fn named(cluster: &Cluster, resource: &Resource, names: Vec<PodName>) -> Result<Vec<Pod>> {
    let pods = futures::stream::iter(names.into_iter().map(|name| one(cluster, resource, name)))
        .buffer_unordered(AT_ONCE)
        .try_filter_map(async |pod| Ok(pod));
    // Boxed, so that whoever spawns this need not see into its closures.
    pods.boxed().try_collect().await
}

async fn one(cluster: &Cluster, resource: &Resource, name: PodName) -> Result<Option<Pod>> {
    let options = ListOptions {
        namespace: Some(name.namespace),
        field_selector: Some(format!("metadata.name={}", name.name)),
        ..ListOptions::default()
    };
    let mut lister = Lister::without_prefetch(cluster, resource, &options);
    let Some(page) = lister.next().await? else {
        return Ok(None);
    };
    let Some(item) = page.items().next().transpose()? else {
        return Ok(None);
    };
    Pod::parse(item.raw)
        .map(Some)
        .map_err(|source| Error::Decode {
            path: lister.path().to_owned(),
            source,
        })
}

fn pairs<'m>(meta: &'m ObjectMetaView<'_>) -> impl Iterator<Item = (&'m str, &'m str)> + Clone {
    meta.labels
        .iter()
        .map(|(key, value)| (key.as_ref(), value.as_ref()))
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
    #[serde(borrow)]
    status: Option<State<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(borrow)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    init_containers: Option<Vec<Container<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    restart_policy: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct State<'a> {
    #[serde(borrow, default)]
    phase: Cow<'a, str>,
}
