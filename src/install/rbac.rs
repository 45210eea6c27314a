//! What the server may do in the cluster.
//!
//! Three parts, each with a binding of its own, so that one can be taken away:
//!
//! * its own objects, in its own namespace alone: ark's kinds, the Lease, Events, its Secrets, the Jobs of hooks;
//! * listing everything. A backup only lists, and that is less than it sounds: `get` on all resources would also be `get` on `pods/exec`
//!   and `nodes/proxy`, which is running commands in other people's pods;
//! * everything, for restores. What a restore creates is not known in advance: it includes resources of definitions that the backup
//!   brings along, and Roles and RoleBindings, which the apiserver lets nobody create who does not hold all that they grant. The
//!   profile [`Profile::BackupOnly`] leaves this part out.

use serde_json::{Value, json};

use super::options::{Options, Profile};
use super::secrets::RECOVERY;
use super::{NAME, labels};

const RBAC: &str = "rbac.authorization.k8s.io";

/// The account that the server runs as.
pub fn service_account(options: &Options) -> Value {
    let mut account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": NAME, "namespace": options.namespace, "labels": labels() },
    });
    if !options.service_account_annotations.is_empty() {
        account["metadata"]["annotations"] = json!(options.service_account_annotations);
    }
    account
}

/// The roles and their bindings.
pub fn objects(options: &Options) -> Vec<Value> {
    let namespace = &options.namespace;
    let read = reading(namespace);
    let mut objects = vec![
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "Role",
            "metadata": { "name": NAME, "namespace": namespace, "labels": labels() },
            "rules": own(),
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "RoleBinding",
            "metadata": { "name": NAME, "namespace": namespace, "labels": labels() },
            "roleRef": { "apiGroup": RBAC, "kind": "Role", "name": NAME },
            "subjects": subjects(namespace),
        }),
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": read, "labels": labels() },
            "rules": [
                { "apiGroups": ["*"], "resources": ["*"], "verbs": ["list"] },
                // A cluster is known by the uid of this namespace.
                { "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"] },
            ],
        }),
        binding(&read, &read, namespace),
    ];
    if options.profile == Profile::Full {
        objects.push(binding(&writing(namespace), "cluster-admin", namespace));
    }
    objects
}

/// What of an installation with other options has to go: nothing is granted that is not asked for now.
pub fn surplus(options: &Options) -> Vec<Value> {
    match options.profile {
        Profile::Full => Vec::new(),
        Profile::BackupOnly => {
            let namespace = &options.namespace;
            vec![binding(&writing(namespace), "cluster-admin", namespace)]
        }
    }
}

/// Names in the cluster's scope: servers of several namespaces may stand beside each other.
fn reading(namespace: &str) -> String {
    format!("ark-read:{namespace}")
}

fn writing(namespace: &str) -> String {
    format!("ark-restore:{namespace}")
}

fn subjects(namespace: &str) -> Value {
    json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": namespace }])
}

fn binding(name: &str, role: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": { "name": name, "labels": labels() },
        "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": role },
        "subjects": subjects(namespace),
    })
}

/// Ark's own objects.
fn own() -> Value {
    let mut plurals = Vec::new();
    let mut statuses = Vec::new();
    for definition in crate::api::definitions() {
        let plural = definition.spec.names.plural;
        statuses.push(format!("{plural}/status"));
        plurals.push(plural);
    }
    json!([
        {
            "apiGroups": ["ark.heptio.com"],
            "resources": plurals,
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        },
        { "apiGroups": ["ark.heptio.com"], "resources": statuses, "verbs": ["get", "update", "patch"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"] },
        // Hooks around a backup: a Job of theirs is made, waited for, read and deleted, in this namespace.
        { "apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "create", "delete"] },
        { "apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
        // Credentials are read, the key of a repository is made where there is none, and none is ever changed.
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create"] },
        { "apiGroups": [""], "resources": ["secrets"], "resourceNames": [RECOVERY], "verbs": ["delete"] },
    ])
}
