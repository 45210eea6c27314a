//! Whether a restored object is the one that was backed up.
//!
//! Two objects are equal if they are the same JSON after the fields of [`IGNORED`] are taken out of both, and nothing
//! else. Each of these fields is written by the cluster and not by a user, or names the one object that was backed up;
//! the table gives the reason. A field that is null and one that is absent are the same, as for the apiserver, and so is
//! an empty map on the way to an ignored field: taking the field out may have emptied it.
//!
//! A restore uses this to tell *unchanged* from *differs*, and a test or a demonstration to prove that what was restored
//! is what was backed up.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::labels::{BACKUP_NAME, RESTORE_NAME};
use crate::cluster::GroupResource;

/// A field that does not count when objects are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// The resource that it is ignored for, as `services` or `deployments.apps`; none for all.
    pub resource: Option<&'static str>,
    /// The field; `*` stands for every element of a list and every value of a map.
    pub path: &'static [&'static str],
    /// When it is ignored.
    pub when: When,
    /// Why.
    pub reason: &'static str,
}

/// A condition on the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Always.
    Always,
    /// The field at the path is this text.
    Is(&'static [&'static str], &'static str),
    /// The field at the path is anything but this text.
    IsNot(&'static [&'static str], &'static str),
    /// There is a field at the path.
    Has(&'static [&'static str]),
}

const fn everywhere(path: &'static [&'static str], reason: &'static str) -> Ignored {
    Ignored {
        resource: None,
        path,
        when: When::Always,
        reason,
    }
}

const fn of(
    resource: &'static str,
    path: &'static [&'static str],
    reason: &'static str,
) -> Ignored {
    Ignored {
        resource: Some(resource),
        path,
        when: When::Always,
        reason,
    }
}

const fn of_when(
    resource: &'static str,
    path: &'static [&'static str],
    when: When,
    reason: &'static str,
) -> Ignored {
    Ignored {
        resource: Some(resource),
        path,
        when,
        reason,
    }
}

const IDENTITY: &str = "names the one object that was backed up";
const MARK: &str = "says which restore put the object there";
const ADDRESS: &str = "given by the cluster from its own range";
const BINDING: &str = "written by binding and provisioning";
const JOB_UID: &str = "names the pods of the one Job that was backed up";
const TOKEN: &str = "a token is only good in the cluster that signed it";
const REVISION: &str = "counted by the Deployment's controller";
const TOKEN_SECRET: When = When::Is(&["type"], "kubernetes.io/service-account-token");
const CLUSTER_CHOICE: When = When::IsNot(&["spec", "clusterIP"], "None");

/// Every field that does not count.
pub const IGNORED: &[Ignored] = &[
    everywhere(&["metadata", "uid"], IDENTITY),
    everywhere(&["metadata", "resourceVersion"], IDENTITY),
    everywhere(
        &["metadata", "generation"],
        "counts the changes of the one object that was backed up",
    ),
    everywhere(&["metadata", "creationTimestamp"], IDENTITY),
    everywhere(
        &["metadata", "deletionTimestamp"],
        "the object was being deleted when it was backed up",
    ),
    everywhere(
        &["metadata", "deletionGracePeriodSeconds"],
        "the object was being deleted when it was backed up",
    ),
    everywhere(
        &["metadata", "selfLink"],
        "no longer filled in by apiservers",
    ),
    everywhere(
        &["metadata", "generateName"],
        "the name was made from it once",
    ),
    everywhere(
        &["metadata", "managedFields"],
        "the history of changes, with times; applied fields are put back",
    ),
    everywhere(
        &["metadata", "ownerReferences", "*", "uid"],
        "follows the owner's new uid",
    ),
    everywhere(&["metadata", "labels", BACKUP_NAME], MARK),
    everywhere(&["metadata", "labels", RESTORE_NAME], MARK),
    everywhere(&["status"], "written by controllers"),
    of(
        "namespaces",
        &["metadata", "labels", "kubernetes.io/metadata.name"],
        "written by the apiserver from the name",
    ),
    of("pods", &["spec", "nodeName"], "chosen by the scheduler"),
    of(
        "pods",
        &["spec", "priority"],
        "computed from the priority class",
    ),
    of(
        "pods",
        &["spec", "ephemeralContainers"],
        "can only be added to a pod that runs",
    ),
    of_when("services", &["spec", "clusterIP"], CLUSTER_CHOICE, ADDRESS),
    of_when("services", &["spec", "clusterIPs"], CLUSTER_CHOICE, ADDRESS),
    of("services", &["spec", "ports", "*", "nodePort"], ADDRESS),
    of("services", &["spec", "healthCheckNodePort"], ADDRESS),
    of("persistentvolumeclaims", &["spec", "volumeName"], BINDING),
    of(
        "persistentvolumeclaims",
        &["metadata", "annotations", "pv.kubernetes.io/bind-completed"],
        BINDING,
    ),
    of(
        "persistentvolumeclaims",
        &[
            "metadata",
            "annotations",
            "pv.kubernetes.io/bound-by-controller",
        ],
        BINDING,
    ),
    of(
        "persistentvolumeclaims",
        &[
            "metadata",
            "annotations",
            "volume.beta.kubernetes.io/storage-provisioner",
        ],
        BINDING,
    ),
    of(
        "persistentvolumeclaims",
        &[
            "metadata",
            "annotations",
            "volume.kubernetes.io/storage-provisioner",
        ],
        BINDING,
    ),
    of(
        "persistentvolumeclaims",
        &[
            "metadata",
            "annotations",
            "volume.kubernetes.io/selected-node",
        ],
        BINDING,
    ),
    of(
        "persistentvolumes",
        &[
            "metadata",
            "annotations",
            "pv.kubernetes.io/bound-by-controller",
        ],
        BINDING,
    ),
    of(
        "persistentvolumes",
        &["spec", "claimRef", "apiVersion"],
        BINDING,
    ),
    of("persistentvolumes", &["spec", "claimRef", "kind"], BINDING),
    of("persistentvolumes", &["spec", "claimRef", "uid"], BINDING),
    of(
        "persistentvolumes",
        &["spec", "claimRef", "resourceVersion"],
        BINDING,
    ),
    of_when("secrets", &["data", "token"], TOKEN_SECRET, TOKEN),
    of_when("secrets", &["data", "ca.crt"], TOKEN_SECRET, TOKEN),
    of_when("secrets", &["data", "namespace"], TOKEN_SECRET, TOKEN),
    of_when(
        "secrets",
        &[
            "metadata",
            "annotations",
            "kubernetes.io/service-account.uid",
        ],
        TOKEN_SECRET,
        TOKEN,
    ),
    of(
        "jobs.batch",
        &["metadata", "labels", "controller-uid"],
        JOB_UID,
    ),
    of(
        "jobs.batch",
        &["metadata", "labels", "batch.kubernetes.io/controller-uid"],
        JOB_UID,
    ),
    of(
        "jobs.batch",
        &["spec", "selector", "matchLabels", "controller-uid"],
        JOB_UID,
    ),
    of(
        "jobs.batch",
        &[
            "spec",
            "selector",
            "matchLabels",
            "batch.kubernetes.io/controller-uid",
        ],
        JOB_UID,
    ),
    of(
        "jobs.batch",
        &["spec", "template", "metadata", "labels", "controller-uid"],
        JOB_UID,
    ),
    of(
        "jobs.batch",
        &[
            "spec",
            "template",
            "metadata",
            "labels",
            "batch.kubernetes.io/controller-uid",
        ],
        JOB_UID,
    ),
    of(
        "endpoints",
        &[
            "metadata",
            "annotations",
            "endpoints.kubernetes.io/last-change-trigger-time",
        ],
        "a time written by the endpoints controller",
    ),
    of(
        "deployments.apps",
        &[
            "metadata",
            "annotations",
            "deployment.kubernetes.io/revision",
        ],
        REVISION,
    ),
    of(
        "replicasets.apps",
        &[
            "metadata",
            "annotations",
            "deployment.kubernetes.io/revision",
        ],
        REVISION,
    ),
    of(
        "replicasets.apps",
        &[
            "metadata",
            "annotations",
            "deployment.kubernetes.io/revision-history",
        ],
        REVISION,
    ),
    of(
        "replicasets.apps",
        &[
            "metadata",
            "annotations",
            "deployment.kubernetes.io/desired-replicas",
        ],
        REVISION,
    ),
    of(
        "replicasets.apps",
        &[
            "metadata",
            "annotations",
            "deployment.kubernetes.io/max-replicas",
        ],
        REVISION,
    ),
    of(
        "daemonsets.apps",
        &[
            "metadata",
            "annotations",
            "deprecated.daemonset.template.generation",
        ],
        "counted by the apiserver",
    ),
    of_when(
        "clusterroles.rbac.authorization.k8s.io",
        &["rules"],
        When::Has(&["aggregationRule"]),
        "gathered by a controller from other roles",
    ),
];

/// Takes out of an object what does not count.
pub fn normalise(object: &mut Value, resource: &GroupResource) {
    let name = resource.to_string();
    // Conditions look at the object as it was: a field they read may itself be taken out.
    let applies: Vec<&Ignored> = IGNORED
        .iter()
        .filter(|ignored| {
            ignored.resource.is_none_or(|only| only == name) && holds(ignored.when, object)
        })
        .collect();
    for ignored in applies {
        remove(object, ignored.path);
    }
    if name == "serviceaccounts" {
        super::mutate::drop_token_references(object);
    }
    drop_nulls(object);
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            let empty = match metadata.get(field) {
                Some(Value::Object(map)) => map.is_empty(),
                Some(Value::Array(list)) => list.is_empty(),
                _ => false,
            };
            if empty {
                metadata.remove(field);
            }
        }
    }
}

/// Whether two objects of a resource are the same as far as it counts.
pub fn equal(a: &Value, b: &Value, resource: &GroupResource) -> bool {
    let (mut a, mut b) = (a.clone(), b.clone());
    normalise(&mut a, resource);
    normalise(&mut b, resource);
    a == b
}

/// The paths at which two objects of a resource differ, as `spec.ports[0].port`. Empty if they are equal.
pub fn differences(a: &Value, b: &Value, resource: &GroupResource) -> Vec<String> {
    let (mut a, mut b) = (a.clone(), b.clone());
    normalise(&mut a, resource);
    normalise(&mut b, resource);
    let mut found = Vec::new();
    walk(&a, &b, &mut String::new(), &mut found);
    found
}

/// The JSON merge patch that turns one object into the other.
pub fn merge_patch(from: &Value, to: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (from, to) else {
        return to.clone();
    };
    let mut patch = Map::new();
    for (field, value) in after {
        match before.get(field) {
            Some(old) if old == value => {}
            Some(old @ Value::Object(_)) if value.is_object() => {
                patch.insert(field.clone(), merge_patch(old, value));
            }
            _ => {
                patch.insert(field.clone(), value.clone());
            }
        }
    }
    for field in before.keys() {
        if !after.contains_key(field) {
            patch.insert(field.clone(), Value::Null);
        }
    }
    Value::Object(patch)
}

fn holds(when: When, object: &Value) -> bool {
    let text = |path| super::mutate::at(object, path).and_then(Value::as_str);
    match when {
        When::Always => true,
        When::Is(path, wanted) => text(path) == Some(wanted),
        When::IsNot(path, unwanted) => text(path) != Some(unwanted),
        When::Has(path) => super::mutate::at(object, path).is_some_and(|value| !value.is_null()),
    }
}

fn remove(value: &mut Value, path: &[&str]) {
    match path {
        [] => {}
        [last] => {
            if let Value::Object(map) = value {
                map.remove(*last);
            }
        }
        ["*", rest @ ..] => match value {
            Value::Array(list) => list.iter_mut().for_each(|item| remove(item, rest)),
            Value::Object(map) => map.values_mut().for_each(|item| remove(item, rest)),
            _ => {}
        },
        [field, rest @ ..] => {
            if let Some(inner) = value.get_mut(*field) {
                remove(inner, rest);
                let empty = inner.as_object().is_some_and(Map::is_empty);
                if let (true, Some(map)) = (empty, value.as_object_mut()) {
                    map.remove(*field);
                }
            }
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn walk(a: &Value, b: &Value, path: &mut String, found: &mut Vec<String>) {
    let length = path.len();
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let fields: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for field in fields {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(field);
                match (x.get(field), y.get(field)) {
                    (Some(a), Some(b)) => walk(a, b, path, found),
                    _ => found.push(path.clone()),
                }
                path.truncate(length);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (index, (a, b)) in x.iter().zip(y).enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(a, b, path, found);
                path.truncate(length);
            }
        }
        _ if a == b => {}
        _ => found.push(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resource(name: &str) -> GroupResource {
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        GroupResource::new(group, plural)
    }

    #[test]
    fn what_the_cluster_writes_does_not_count() {
        let original = json!({
            "metadata": {"name": "web", "uid": "1", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [{}], "labels": {"app": "web"},
                "ownerReferences": [{"kind": "X", "name": "x", "uid": "2"}]},
            "spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
                "ports": [{"port": 80, "nodePort": 30001}]},
            "status": {"loadBalancer": {}}
        });
        let restored = json!({
            "metadata": {"name": "web", "uid": "9", "resourceVersion": "99", "creationTimestamp": "2027-01-01T00:00:00Z",
                "labels": {"app": "web", BACKUP_NAME: "b", RESTORE_NAME: "r"},
                "ownerReferences": [{"kind": "X", "name": "x", "uid": "3"}]},
            "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                "ports": [{"port": 80, "nodePort": 30002}], "externalName": null},
        });
        assert_eq!(
            differences(&original, &restored, &resource("services")),
            Vec::<String>::new()
        );
        assert!(equal(&original, &restored, &resource("services")));
        // The same fields of another kind do count.
        assert!(!equal(
            &original,
            &restored,
            &resource("services.example.com")
        ));
    }

    #[test]
    fn what_a_user_writes_counts() {
        let table = [
            (
                "configmaps",
                json!({"data": {"a": "1"}}),
                json!({"data": {"a": "2"}}),
                "data.a",
            ),
            (
                "configmaps",
                json!({"metadata": {"name": "x", "labels": {"a": "1"}}}),
                json!({"metadata": {"name": "x"}}),
                "metadata.labels",
            ),
            (
                "services",
                json!({"spec": {"type": "A", "clusterIP": "None"}}),
                json!({"spec": {"type": "A", "clusterIP": "10.0.0.1"}}),
                "spec.clusterIP",
            ),
            (
                "services",
                json!({"spec": {"ports": [{"port": 1}]}}),
                json!({"spec": {"ports": [{"port": 2}]}}),
                "spec.ports[0].port",
            ),
            (
                "secrets",
                json!({"data": {"token": "x"}}),
                json!({"data": {"token": "y"}}),
                "data.token",
            ),
            (
                "clusterroles.rbac.authorization.k8s.io",
                json!({"rules": [1]}),
                json!({"rules": [2]}),
                "rules[0]",
            ),
            (
                "pods",
                json!({"spec": {"volumes": [{"emptyDir": {}}]}}),
                json!({"spec": {"volumes": [{}]}}),
                "spec.volumes[0].emptyDir",
            ),
        ];
        for (name, a, b, path) in table {
            assert_eq!(differences(&a, &b, &resource(name)), [path], "{name}");
            assert!(!equal(&a, &b, &resource(name)), "{name}");
        }
    }

    #[test]
    fn conditions_look_at_the_object() {
        let secret = |value: &str| json!({"type": "kubernetes.io/service-account-token", "data": {"token": value, "mine": "1"}});
        assert!(equal(&secret("a"), &secret("b"), &resource("secrets")));
        let role =
            |rules: Value| json!({"aggregationRule": {"clusterRoleSelectors": []}, "rules": rules});
        let name = resource("clusterroles.rbac.authorization.k8s.io");
        assert!(equal(&role(json!([1])), &role(Value::Null), &name));
    }

    #[test]
    fn a_map_that_only_held_ignored_fields_is_as_good_as_absent() {
        let job = |selector: Value| json!({"metadata": {"labels": {"controller-uid": "u"}}, "spec": {"suspend": true, "selector": selector}});
        let other = json!({"metadata": {}, "spec": {"suspend": true}});
        assert!(equal(
            &job(json!({"matchLabels": {"controller-uid": "u"}})),
            &other,
            &resource("jobs.batch")
        ));
        assert!(!equal(
            &job(json!({"matchLabels": {"a": "u"}})),
            &other,
            &resource("jobs.batch")
        ));
        let secret = json!({"type": "kubernetes.io/service-account-token", "data": {"token": "x"}});
        let bare = json!({"type": "kubernetes.io/service-account-token"});
        assert!(equal(&secret, &bare, &resource("secrets")));
    }

    #[test]
    fn a_merge_patch_turns_one_into_the_other() {
        let from = json!({"a": 1, "b": {"c": 1, "d": [1, 2]}, "gone": true});
        let to = json!({"a": 1, "b": {"c": 2, "d": [2], "e": {}}, "new": "x"});
        let patch = merge_patch(&from, &to);
        assert_eq!(
            patch,
            json!({"b": {"c": 2, "d": [2], "e": {}}, "gone": null, "new": "x"})
        );
        let mut patched = from;
        json_patch::merge(&mut patched, &patch);
        assert_eq!(patched, to);
        assert_eq!(merge_patch(&to, &to), json!({}));
    }

    #[test]
    fn every_ignored_field_has_a_reason_and_stands_once() {
        for (index, one) in IGNORED.iter().enumerate() {
            assert!(!one.reason.is_empty());
            assert!(
                IGNORED[..index]
                    .iter()
                    .all(|other| (other.resource, other.path) != (one.resource, one.path))
            );
        }
    }
}
