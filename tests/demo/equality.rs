//! Proof that what was restored is what was there: both read from the apiserver, without ark.
//!
//! Two objects count as equal if they are the same JSON but for the fields of `ark::restore::compare::IGNORED`, the documented list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Context;
use ark::api::labels::RESTORE_NAME;
use ark::cluster::GroupResource;
use ark::restore::compare;
use ark_testkit::{Api, Resource};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use crate::cluster::Scope;

/// Resources that are read at once.
const AT_ONCE: usize = 4;

/// The name of an object in a cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// `deployments.apps`
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{}/{}", self.resource, self.name),
            namespace => write!(f, "{}/{namespace}/{}", self.resource, self.name),
        }
    }
}

/// The demo's objects as the apiserver returned them.
pub struct Snapshot(BTreeMap<Name, Value>);

impl Snapshot {
    /// Reads every resource that users can create and delete.
    pub async fn take(api: &Api, scope: Scope) -> anyhow::Result<Snapshot> {
        let resources: Vec<Resource> = api
            .resources()
            .await?
            .into_iter()
            .filter(|resource| {
                // Events are served by two groups; a Lease says that somebody is alive.
                let name = resource.full_name();
                let verb = |wanted| resource.verbs.iter().any(|verb| verb == wanted);
                name != "events.events.k8s.io"
                    && name != "leases.coordination.k8s.io"
                    && verb("create")
                    && verb("delete")
            })
            .collect();
        let query = match scope.yours {
            true => format!("&labelSelector={}", scope.selector()),
            false => String::new(),
        };
        let parts: Vec<Vec<(Name, Value)>> = stream::iter(resources)
            .map(|resource| read(api, resource, scope, &query))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Snapshot(parts.into_iter().flatten().collect()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn objects(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// Bytes of all objects as JSON.
    pub fn bytes(&self) -> u64 {
        self.0
            .values()
            .map(|object| object.to_string().len() as u64)
            .sum()
    }

    /// How many resources they are of.
    pub fn resources(&self) -> usize {
        let names: BTreeSet<&str> = self.0.keys().map(|name| name.resource.as_str()).collect();
        names.len()
    }

    /// Whether it holds the same objects in the same versions.
    pub fn is_as_new_as(&self, other: &Snapshot) -> bool {
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        self.len() == other.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|((a, x), (b, y))| a == b && version(x) == version(y))
    }

    /// Compares the state before with the state after.
    pub fn compare(&self, after: &Snapshot) -> Comparison {
        let mut comparison = Comparison::default();
        for (name, object) in &self.0 {
            let Some(restored) = after.0.get(name) else {
                comparison.missing.push(name.clone());
                continue;
            };
            let (plural, group) = name
                .resource
                .split_once('.')
                .unwrap_or((&name.resource, ""));
            let paths = compare::differences(object, restored, &GroupResource::new(group, plural));
            if paths.is_empty() {
                comparison.equal += 1;
                comparison.identical_uids +=
                    usize::from(object["metadata"]["uid"] == restored["metadata"]["uid"]);
            } else if follows_a_service(name, restored)
                || !restored["metadata"]["labels"][RESTORE_NAME].is_string()
            {
                comparison.remade.push((name.clone(), paths));
            } else {
                comparison.different.push((name.clone(), paths));
            }
        }
        comparison.extra = after
            .0
            .keys()
            .filter(|name| !self.0.contains_key(*name))
            .cloned()
            .collect();
        comparison
    }
}

/// Whether a controller made it of a Service, with the Service's labels, the mark of a restore among them.
fn follows_a_service(name: &Name, object: &Value) -> bool {
    let by = &object["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    // The demo itself creates no Endpoints, and its slices say that it manages them.
    name.resource == "endpoints" || by.as_str().is_some_and(|by| by.ends_with(".k8s.io"))
}

async fn read(
    api: &Api,
    resource: Resource,
    scope: Scope,
    query: &str,
) -> anyhow::Result<Vec<(Name, Value)>> {
    let items = match api.list(&resource.path(), query).await {
        Ok(items) => items,
        // A definition that is being deleted: discovery still names it.
        Err(error) if error.code() == Some(404) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for item in items {
        let object: Value = serde_json::from_str(item.get())
            .with_context(|| format!("reading an object of {}", resource.full_name()))?;
        let text = |field: &str| {
            object["metadata"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let name = Name {
            resource: resource.full_name(),
            namespace: text("namespace"),
            name: text("name"),
        };
        let home = match name.namespace.as_str() {
            "" => &name.name,
            namespace => namespace,
        };
        if scope.holds(home) {
            found.push((name, object));
        }
    }
    Ok(found)
}

/// What a comparison found.
#[derive(Default)]
pub struct Comparison {
    pub equal: usize,
    /// Of the equal ones, those that were never away.
    pub identical_uids: usize,
    /// Restored, and not equal, with the paths that differ.
    pub different: Vec<(Name, Vec<String>)>,
    /// Not equal, and not restored: something else made them again.
    pub remade: Vec<(Name, Vec<String>)>,
    /// Before, not after.
    pub missing: Vec<Name>,
    /// After, not before.
    pub extra: Vec<Name>,
}
