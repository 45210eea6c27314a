//! What is done about an object that is there already: a pure decision on the two objects.
//!
//! The object in the cluster is the truth until the policy says otherwise. It is compared as `compare` compares, without
//! owner references: they depend on which owners came back. A patch never touches a field that does not count.

use serde_json::{Map, Value};

use super::compare::{merge_patch, normalise};
use super::mutate::{Skip, annotation, at, label, mark, merge_service_account, text};
use crate::api::ExistingResourcePolicy;
use crate::api::labels::{BACKUP_NAME, RESTORE_NAME};
use crate::cluster::{GroupResource, kinds};

/// What is done about an object that is there already.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It is on its way out: it is waited for and then created.
    WaitUntilGone,
    /// This restore put it there before.
    Done,
    /// It is as in the backup.
    Unchanged,
    /// It is left as it is.
    Leave(Skip),
    /// It is patched.
    Patch(Value),
}

/// What the decision depends on beside the two objects.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The resource of the objects.
    pub resource: &'a GroupResource,
    /// What the user wants.
    pub policy: ExistingResourcePolicy,
    /// Whether the object is only there because another one needs it.
    pub only_related: bool,
}

/// Decides what is done about `live`, given what would have been created.
pub fn decide(live: &Value, wanted: &Value, rules: Rules<'_>) -> Decision {
    if at(live, &["metadata", "deletionTimestamp"]).is_some_and(|time| !time.is_null()) {
        return Decision::WaitUntilGone;
    }
    let (from, to) = (
        normalised(live, rules.resource),
        normalised(wanted, rules.resource),
    );
    // What this restore put there is done, even if a controller or a default changed it since: with the policy to leave
    // what exists, nothing would be changed anyway.
    let ours = is_marked_alike(live, wanted);
    if ours && (from == to || rules.policy == ExistingResourcePolicy::None) {
        return Decision::Done;
    }
    if from == to {
        return Decision::Unchanged;
    }
    if *rules.resource == kinds::SERVICE_ACCOUNTS {
        return match merge_service_account(live, wanted) {
            Some(patch) => Decision::Patch(patch),
            None => Decision::Unchanged,
        };
    }
    let moving = rules.resource.is("coordination.k8s.io", "leases") || has_controller(live);
    if moving {
        return Decision::Leave(Skip::KeptByController);
    }
    // A binding that is there but names others does not do what it is needed for.
    let binding = [kinds::ROLE_BINDINGS, kinds::CLUSTER_ROLE_BINDINGS].contains(rules.resource);
    if rules.only_related && !binding {
        return Decision::Leave(Skip::OnlyNeeded);
    }
    match rules.policy {
        ExistingResourcePolicy::None if is_kept_up(live) => Decision::Leave(Skip::KeptByController),
        ExistingResourcePolicy::None => Decision::Leave(Skip::ExistsAndDiffers),
        ExistingResourcePolicy::Update => {
            let mut to = to;
            if let Value::Object(object) = &mut to {
                object
                    .entry("metadata")
                    .or_insert_with(|| Value::Object(Map::new()));
            }
            let value = |name| label(wanted, name).unwrap_or_default().to_owned();
            mark(&mut to, &value(BACKUP_NAME), &value(RESTORE_NAME));
            Decision::Patch(merge_patch(&from, &to))
        }
    }
}

/// An object as it is compared here.
pub fn normalised(object: &Value, resource: &GroupResource) -> Value {
    let mut object = object.clone();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("ownerReferences");
    }
    normalise(&mut object, resource);
    object
}

/// Whether both carry the labels of the same restore of the same backup.
fn is_marked_alike(live: &Value, wanted: &Value) -> bool {
    [BACKUP_NAME, RESTORE_NAME]
        .iter()
        .all(|name| label(live, name).is_some() && label(live, name) == label(wanted, name))
}

/// Whether an object in the cluster belongs to a controller that writes it.
fn has_controller(live: &Value) -> bool {
    at(live, &["metadata", "ownerReferences"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}

/// Whether the apiserver itself keeps the object at what its version wants.
fn is_kept_up(live: &Value) -> bool {
    label(live, "kubernetes.io/bootstrapping") == Some("rbac-defaults")
        || annotation(live, "rbac.authorization.kubernetes.io/autoupdate") == Some("true")
        || annotation(live, "apf.kubernetes.io/autoupdate-spec") == Some("true")
        || (text(live, &["kind"]) == Some("ServiceCIDR")
            && text(live, &["metadata", "name"]) == Some("kubernetes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(resource: &GroupResource, policy: ExistingResourcePolicy) -> Rules<'_> {
        Rules {
            resource,
            policy,
            only_related: false,
        }
    }

    #[test]
    fn equal_objects_are_left_and_own_work_is_recognised() {
        let resource = GroupResource::new("", "configmaps");
        let wanted = json!({"metadata": {"name": "a", "labels": {BACKUP_NAME: "b", RESTORE_NAME: "r"}}, "data": {"k": "v"}});
        let live = json!({"metadata": {"name": "a", "uid": "1"}, "data": {"k": "v"}});
        let rules = rules(&resource, ExistingResourcePolicy::None);
        assert_eq!(decide(&live, &wanted, rules), Decision::Unchanged);
        let ours = json!({"metadata": {"name": "a", "uid": "1", "labels": {BACKUP_NAME: "b", RESTORE_NAME: "r"}}, "data": {"k": "v"}});
        assert_eq!(decide(&ours, &wanted, rules), Decision::Done);
        let other = json!({"metadata": {"name": "a", "labels": {BACKUP_NAME: "b", RESTORE_NAME: "other"}}, "data": {"k": "v"}});
        assert_eq!(decide(&other, &wanted, rules), Decision::Unchanged);
        let changed = json!({"metadata": {"name": "a", "labels": {BACKUP_NAME: "b", RESTORE_NAME: "r"}}, "data": {"k": "x"}});
        assert_eq!(decide(&changed, &wanted, rules), Decision::Done);
    }

    #[test]
    fn the_policy_decides_about_what_differs() {
        let resource = GroupResource::new("", "configmaps");
        let wanted = json!({"metadata": {"name": "a", "labels": {"x": "1", BACKUP_NAME: "b", RESTORE_NAME: "r"}}, "data": {"k": "v"}});
        let live = json!({"metadata": {"name": "a", "uid": "1", "labels": {"y": "2"}}, "data": {"k": "x", "extra": "e"}});
        assert_eq!(
            decide(
                &live,
                &wanted,
                rules(&resource, ExistingResourcePolicy::None)
            ),
            Decision::Leave(Skip::ExistsAndDiffers)
        );
        assert_eq!(
            decide(
                &live,
                &wanted,
                rules(&resource, ExistingResourcePolicy::Update)
            ),
            Decision::Patch(json!({
                "metadata": {"labels": {"x": "1", "y": null, BACKUP_NAME: "b", RESTORE_NAME: "r"}},
                "data": {"k": "v", "extra": null}
            }))
        );
    }

    #[test]
    fn what_controllers_keep_is_left_to_them() {
        let policy = ExistingResourcePolicy::None;
        let lease = GroupResource::new("coordination.k8s.io", "leases");
        let (live, wanted) = (
            json!({"metadata": {}, "spec": 1}),
            json!({"metadata": {}, "spec": 2}),
        );
        assert_eq!(
            decide(&live, &wanted, rules(&lease, policy)),
            Decision::Leave(Skip::KeptByController)
        );
        let role = GroupResource::new("rbac.authorization.k8s.io", "clusterroles");
        let live = json!({"metadata": {"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}, "rules": []});
        assert_eq!(
            decide(&live, &wanted, rules(&role, policy)),
            Decision::Leave(Skip::KeptByController)
        );
        let set = GroupResource::new("apps", "replicasets");
        let live = json!({"metadata": {"ownerReferences": [{"controller": true}]}, "spec": 1});
        assert_eq!(
            decide(&live, &wanted, rules(&set, ExistingResourcePolicy::Update)),
            Decision::Leave(Skip::KeptByController)
        );
        let namespaces = kinds::NAMESPACES;
        let needed = Rules {
            only_related: true,
            ..rules(&namespaces, policy)
        };
        let live = json!({"metadata": {"labels": {"a": "b"}}});
        assert_eq!(
            decide(&live, &wanted, needed),
            Decision::Leave(Skip::OnlyNeeded)
        );
        let binding = kinds::CLUSTER_ROLE_BINDINGS;
        let needed = Rules {
            only_related: true,
            ..rules(&binding, policy)
        };
        assert_eq!(
            decide(&live, &wanted, needed),
            Decision::Leave(Skip::ExistsAndDiffers)
        );
    }

    #[test]
    fn accounts_are_merged_whatever_the_policy() {
        let resource = kinds::SERVICE_ACCOUNTS;
        let live = json!({"metadata": {"name": "default", "annotations": {"a": "live"}}, "imagePullSecrets": [{"name": "x"}]});
        let wanted = json!({"metadata": {"name": "default", "annotations": {"a": "old", "b": "new"},
            "labels": {BACKUP_NAME: "b", RESTORE_NAME: "r"}}, "imagePullSecrets": [{"name": "x"}, {"name": "y"}]});
        assert_eq!(
            decide(
                &live,
                &wanted,
                rules(&resource, ExistingResourcePolicy::None)
            ),
            Decision::Patch(json!({
                "imagePullSecrets": [{"name": "x"}, {"name": "y"}],
                "metadata": {"annotations": {"b": "new"}, "labels": {BACKUP_NAME: "b", RESTORE_NAME: "r"}}
            }))
        );
        let more = json!({"metadata": {"name": "default"}, "secrets": [{"name": "mine"}]});
        assert_eq!(
            decide(
                &more,
                &json!({"metadata": {"name": "default"}}),
                rules(&resource, ExistingResourcePolicy::None)
            ),
            Decision::Unchanged
        );
    }

    #[test]
    fn what_is_being_deleted_is_waited_for() {
        let live = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let resource = GroupResource::new("", "configmaps");
        assert_eq!(
            decide(
                &live,
                &live,
                rules(&resource, ExistingResourcePolicy::Update)
            ),
            Decision::WaitUntilGone
        );
    }
}
