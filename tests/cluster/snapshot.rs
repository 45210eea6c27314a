//! A cluster's objects at a moment, and whether they are the same at another.

use std::collections::BTreeMap;

use ark::cluster::GroupResource;
use ark::restore::compare;
use ark_testkit::Api;
use serde_json::Value;

/// `resource namespace/name` → the object.
pub type Snapshot = BTreeMap<String, (GroupResource, Value)>;

/// The objects that a restore puts back, of the namespaces and names that start with `prefix`.
pub async fn snapshot(api: &Api, prefix: &str) -> Snapshot {
    let mut all = Snapshot::new();
    for resource in api.resources().await.unwrap() {
        // Facts about a cluster, which a restore leaves to the new one.
        if ["events", "endpoints", "endpointslices", "leases"].contains(&resource.plural.as_str()) {
            continue;
        }
        for item in api.list(&resource.path(), "").await.unwrap() {
            let object: Value = serde_json::from_str(item.get()).unwrap();
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().unwrap();
            let namespace = metadata["namespace"].as_str();
            let by_controller = ["kube-root-ca.crt", "default"].contains(&name);
            if !namespace.unwrap_or(name).starts_with(prefix) || by_controller || has_ended(&object)
            {
                continue;
            }
            let key = format!(
                "{} {}/{name}",
                resource.full_name(),
                namespace.unwrap_or("")
            );
            let resource = GroupResource::new(resource.group.clone(), resource.plural.clone());
            all.insert(key, (resource, object));
        }
    }
    all
}

/// A pod that has run to its end is not started again by a restore.
fn has_ended(object: &Value) -> bool {
    matches!(
        object["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    ) && object["spec"]["containers"].is_array()
}

/// Both hold the same objects.
pub fn assert_same(before: &Snapshot, after: &Snapshot) {
    let mut problems = Vec::new();
    for (key, (resource, object)) in before {
        match after.get(key) {
            None => problems.push(format!("{key} is missing")),
            Some((_, other)) if !compare::equal(object, other, resource) => {
                let fields = compare::differences(object, other, resource);
                problems.push(format!("{key} differs: {}", fields.join(", ")));
            }
            Some(_) => {}
        }
    }
    let more = after.keys().filter(|key| !before.contains_key(*key));
    problems.extend(more.map(|key| format!("{key} was not there before")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
