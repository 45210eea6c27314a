//! Plans a restore: reads the keys of a backup, and of the objects only those whose labels or relations decide.
//!
//! Relations are followed until nothing new is found: a pod brings its claim, the claim its volume. Only the names of what
//! was chosen are kept.

use std::collections::{BTreeMap, HashSet};

use futures::TryStreamExt;
use serde_json::Value;

use super::error::RestoreError;
use super::filter::{ByKey, Filter, bound_accounts, has_relations, related};
use super::mutate::{Facts, at, volume_is_kept};
use super::object::Key;
use super::plan::{Choice, Intent, Plan, Planner};
use super::source::{ObjectSource, SourceKey, Wanted};
use crate::api::{ResourceEntry, RestoreSpec};
use crate::cluster::{Discovery, GroupResource, ObjectMetaView, kinds};

/// Plans a restore and gathers the facts that single objects depend on.
pub async fn plan(
    source: &dyn ObjectSource,
    spec: &RestoreSpec,
    discovery: &Discovery,
) -> Result<(Plan, Facts), RestoreError> {
    let resources = entries(source).await?;
    let filter = Filter::new(spec, &resources, discovery)?;
    let choice = match filter.needs_objects() {
        true => Chooser::new(source, &filter, &resources).choose().await?,
        false => Choice::default(),
    };
    let mut planner = Planner::new(filter, choice, spec.namespace_mapping.clone());
    let mut jobs = Vec::new();
    let mut keys = source.keys();
    while let Some(key) = keys.try_next().await? {
        match key {
            SourceKey::Resource(name, entry) => planner.resource(name, entry),
            SourceKey::Object(key) => {
                planner.object(&key);
                if key.resource.is("batch", "jobs") {
                    jobs.push(key);
                }
            }
        }
    }
    drop(keys);
    let plan = planner.finish();
    let facts = facts(source, &plan, jobs).await?;
    Ok((plan, facts))
}

async fn entries(
    source: &dyn ObjectSource,
) -> Result<Vec<(GroupResource, ResourceEntry)>, RestoreError> {
    let mut resources = Vec::new();
    let mut keys = source.keys();
    while let Some(key) = keys.try_next().await? {
        if let SourceKey::Resource(name, entry) = key {
            resources.push((name, entry));
        }
    }
    Ok(resources)
}

/// What single objects must know of others.
async fn facts(
    source: &dyn ObjectSource,
    plan: &Plan,
    jobs: Vec<Key>,
) -> Result<Facts, RestoreError> {
    let planned = |key: &Key| plan.intent(key) == Intent::Apply;
    let has =
        |group: &str, resource: &str| plan.resources().any(|one| one.resource.is(group, resource));
    let mut facts = Facts {
        jobs: jobs
            .into_iter()
            .filter(|key| planned(key))
            .map(|key| key.path())
            .collect(),
        ..Facts::default()
    };
    if has("", "endpoints") {
        let services = GroupResource::new("", "services");
        each(source, &services, Box::new(planned), |key, object| {
            let selector = at(object, &["spec", "selector"]).and_then(Value::as_object);
            if selector.is_some_and(|selector| !selector.is_empty()) {
                facts.selecting_services.insert(key.path());
            }
        })
        .await?;
    }
    if has("", "persistentvolumeclaims") {
        each(
            source,
            &kinds::PERSISTENT_VOLUMES,
            Box::new(planned),
            |key, object| {
                if volume_is_kept(object) {
                    facts.kept_volumes.insert(key.name.clone());
                }
            },
        )
        .await?;
    }
    Ok(facts)
}

/// Reads objects one after the other. One that cannot be read is passed over here: it fails when it is applied.
async fn each(
    source: &dyn ObjectSource,
    resource: &GroupResource,
    wanted: Wanted<'_>,
    mut visit: impl FnMut(&Key, &Value),
) -> Result<(), RestoreError> {
    let mut batches = source.objects(resource, wanted);
    while let Some(batch) = batches.try_next().await? {
        for loaded in batch {
            let parsed = loaded
                .bytes
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            if let Some(object) = parsed {
                visit(&loaded.key, &object);
            }
        }
    }
    Ok(())
}

struct Chooser<'a> {
    source: &'a dyn ObjectSource,
    filter: &'a Filter,
    resources: &'a [(GroupResource, ResourceEntry)],
    choice: Choice,
    /// Service accounts that are restored, as `namespace/name`.
    accounts: HashSet<String>,
}

impl<'a> Chooser<'a> {
    fn new(
        source: &'a dyn ObjectSource,
        filter: &'a Filter,
        resources: &'a [(GroupResource, ResourceEntry)],
    ) -> Chooser<'a> {
        Chooser {
            source,
            filter,
            resources,
            choice: Choice::default(),
            accounts: HashSet::new(),
        }
    }

    async fn choose(mut self) -> Result<Choice, RestoreError> {
        let mut frontier = HashSet::new();
        self.by_keys(&mut frontier).await?;
        for (resource, _) in self.resources {
            self.by_objects(resource, &mut frontier).await?;
        }
        self.follow(frontier).await?;
        // Bindings are found from what they bind, so they come last; they bring their roles.
        let mut frontier = HashSet::new();
        for resource in [&kinds::ROLE_BINDINGS, &kinds::CLUSTER_ROLE_BINDINGS] {
            self.bindings(resource, &mut frontier).await?;
        }
        self.follow(frontier).await?;
        Ok(self.choice)
    }

    /// What keys say: definitions of custom resources that are taken, and accounts that are.
    async fn by_keys(&mut self, frontier: &mut HashSet<Key>) -> Result<(), RestoreError> {
        let mut keys = self.source.keys();
        while let Some(key) = keys.try_next().await? {
            if let SourceKey::Object(key) = key
                && self.filter.by_key(&key) == ByKey::Take
            {
                frontier.extend(definition(&key));
                if key.resource == kinds::SERVICE_ACCOUNTS {
                    self.accounts.insert(key.path());
                }
            }
        }
        Ok(())
    }

    /// What the objects themselves say: labels of those that may be selected, relations of those that are taken.
    async fn by_objects(
        &mut self,
        resource: &GroupResource,
        frontier: &mut HashSet<Key>,
    ) -> Result<(), RestoreError> {
        let filter = self.filter;
        let looks = has_relations(resource);
        let wanted: Wanted<'_> = Box::new(move |key| match filter.by_key(key) {
            ByKey::Ask => true,
            ByKey::Take => looks,
            ByKey::IfRelated | ByKey::Leave => false,
        });
        let mut batches = self.source.objects(resource, wanted);
        while let Some(batch) = batches.try_next().await? {
            for loaded in batch {
                let Ok(bytes) = loaded.bytes else {
                    // Whether it is selected cannot be known; it is tried, and its failure is reported.
                    self.choice.selected.insert(loaded.key);
                    continue;
                };
                if filter.by_key(&loaded.key) == ByKey::Ask {
                    let meta = std::str::from_utf8(&bytes)
                        .ok()
                        .and_then(|text| ObjectMetaView::parse(text).ok());
                    if !meta.is_some_and(|meta| {
                        filter.labels(meta.label_pairs().collect::<Vec<_>>().into_iter())
                    }) {
                        continue;
                    }
                    frontier.extend(definition(&loaded.key));
                    if *resource == kinds::SERVICE_ACCOUNTS {
                        self.accounts.insert(loaded.key.path());
                    }
                    self.choice.selected.insert(loaded.key.clone());
                }
                if looks && let Ok(object) = serde_json::from_slice(&bytes) {
                    frontier.extend(related(&loaded.key, &object));
                }
            }
        }
        Ok(())
    }

    /// Takes what is related, and what that is related to.
    async fn follow(&mut self, mut frontier: HashSet<Key>) -> Result<(), RestoreError> {
        while !frontier.is_empty() {
            let mut by_resource: BTreeMap<GroupResource, HashSet<Key>> = BTreeMap::new();
            for key in frontier.drain() {
                let open = matches!(self.filter.by_key(&key), ByKey::Ask | ByKey::IfRelated);
                if !open
                    || self.choice.selected.contains(&key)
                    || !self.choice.related.insert(key.clone())
                {
                    continue;
                }
                if key.resource == kinds::SERVICE_ACCOUNTS {
                    self.accounts.insert(key.path());
                }
                if has_relations(&key.resource) {
                    by_resource
                        .entry(key.resource.clone())
                        .or_default()
                        .insert(key);
                }
            }
            for (resource, keys) in by_resource {
                let wanted: Wanted<'_> = Box::new(|key| keys.contains(key));
                each(self.source, &resource, wanted, |key, object| {
                    frontier.extend(related(key, object))
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn bindings(
        &mut self,
        resource: &GroupResource,
        frontier: &mut HashSet<Key>,
    ) -> Result<(), RestoreError> {
        let (filter, selected) = (self.filter, &self.choice.selected);
        let wanted: Wanted<'_> = Box::new(move |key| {
            matches!(filter.by_key(key), ByKey::Ask | ByKey::IfRelated) && !selected.contains(key)
        });
        let accounts = &self.accounts;
        each(self.source, resource, wanted, |key, object| {
            if bound_accounts(key, object)
                .iter()
                .any(|account| accounts.contains(account))
            {
                frontier.insert(key.clone());
            }
        })
        .await
    }
}

/// The definition of a custom resource.
fn definition(key: &Key) -> Option<Key> {
    if kinds::is_builtin_group(&key.resource.group) {
        return None;
    }
    Some(Key::new(
        kinds::CUSTOM_RESOURCE_DEFINITIONS,
        None,
        &key.resource.to_string(),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::source::memory::MemorySource;
    use super::*;
    use crate::cluster::Selector;
    use crate::cluster::discovery::sample;
    use serde_json::json;

    fn source() -> MemorySource {
        let mut source = MemorySource::default();
        let mut add = |version: &str, kind: &str, plural: &str, object: Value| {
            source.add(version, kind, plural, &object)
        };
        let meta = |namespace: &str, name: &str| match namespace {
            "" => json!({"name": name}),
            _ => json!({"namespace": namespace, "name": name}),
        };
        for name in ["a", "b"] {
            add(
                "v1",
                "Namespace",
                "namespaces",
                json!({"metadata": meta("", name)}),
            );
            add(
                "v1",
                "ServiceAccount",
                "serviceaccounts",
                json!({"metadata": meta(name, "web")}),
            );
            add(
                "v1",
                "PersistentVolume",
                "persistentvolumes",
                json!({"metadata": meta("", &format!("pv-{name}")),
                "spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": {}}}),
            );
            add(
                "v1",
                "PersistentVolumeClaim",
                "persistentvolumeclaims",
                json!({"metadata": meta(name, "data"), "spec": {"volumeName": format!("pv-{name}")}}),
            );
            let mut pod = json!({"metadata": meta(name, "web-0"), "spec": {"serviceAccountName": "web",
                "volumes": [{"persistentVolumeClaim": {"claimName": "data"}}]}});
            pod["metadata"]["labels"] = json!({"app": "web", "in": name});
            add("v1", "Pod", "pods", pod);
            add(
                "rbac.authorization.k8s.io/v1",
                "ClusterRoleBinding",
                "clusterrolebindings",
                json!({"metadata": meta("", &format!("bind-{name}")), "roleRef": {"kind": "ClusterRole", "name": format!("role-{name}")},
                    "subjects": [{"kind": "ServiceAccount", "namespace": name, "name": "web"}]}),
            );
            add(
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                "clusterroles",
                json!({"metadata": meta("", &format!("role-{name}"))}),
            );
        }
        add(
            "example.com/v1",
            "Widget",
            "widgets",
            json!({"metadata": meta("a", "w")}),
        );
        for name in ["widgets.example.com", "gadgets.example.com"] {
            add(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                json!({"metadata": meta("", name)}),
            );
        }
        source
    }

    async fn taken(spec: RestoreSpec) -> Vec<String> {
        let source = source();
        let (plan, _) = plan(&source, &spec, &sample()).await.unwrap();
        let mut taken = Vec::new();
        let mut keys = source.keys();
        while let Some(key) = keys.try_next().await.unwrap() {
            if let SourceKey::Object(key) = key
                && plan.intent(&key) == Intent::Apply
            {
                taken.push(key.to_string());
            }
        }
        assert_eq!(taken.len() as u64, plan.objects());
        taken
    }

    #[tokio::test]
    async fn a_namespace_brings_what_it_refers_to_and_nothing_of_others() {
        let spec = RestoreSpec {
            included_namespaces: vec!["a".to_owned()],
            ..RestoreSpec::default()
        };
        assert_eq!(
            taken(spec).await,
            [
                "namespaces a",
                "persistentvolumeclaims a/data",
                "persistentvolumes pv-a",
                "pods a/web-0",
                "serviceaccounts a/web",
                "customresourcedefinitions.apiextensions.k8s.io widgets.example.com",
                "widgets.example.com a/w",
                "clusterrolebindings.rbac.authorization.k8s.io bind-a",
                "clusterroles.rbac.authorization.k8s.io role-a",
            ]
        );
    }

    #[tokio::test]
    async fn a_label_brings_what_the_pod_needs() {
        let selector = Selector::parse("in=b").unwrap().to_spec();
        let spec = RestoreSpec {
            label_selector: Some(selector.clone()),
            ..RestoreSpec::default()
        };
        assert_eq!(
            taken(spec.clone()).await,
            [
                "namespaces b",
                "persistentvolumeclaims b/data",
                "persistentvolumes pv-b",
                "pods b/web-0",
                "serviceaccounts b/web",
                "clusterrolebindings.rbac.authorization.k8s.io bind-b",
                "clusterroles.rbac.authorization.k8s.io role-b",
            ]
        );
        let literal = RestoreSpec {
            included_resources: vec!["pods".to_owned()],
            ..spec.clone()
        };
        assert_eq!(taken(literal).await, ["namespaces b", "pods b/web-0"]);
        let without = RestoreSpec {
            include_cluster_resources: Some(false),
            ..spec
        };
        assert_eq!(
            taken(without).await,
            [
                "namespaces b",
                "persistentvolumeclaims b/data",
                "pods b/web-0",
                "serviceaccounts b/web"
            ]
        );
    }

    #[tokio::test]
    async fn facts_are_gathered_for_what_is_planned() {
        let source = source();
        let (_, facts) = plan(&source, &RestoreSpec::default(), &sample())
            .await
            .unwrap();
        assert_eq!(
            facts.kept_volumes,
            ["pv-a".to_owned(), "pv-b".to_owned()].into()
        );
        let spec = RestoreSpec {
            included_namespaces: vec!["a".to_owned()],
            ..RestoreSpec::default()
        };
        let (_, facts) = plan(&source, &spec, &sample()).await.unwrap();
        assert_eq!(facts.kept_volumes, ["pv-a".to_owned()].into());
    }
}
