#![allow(clippy::unwrap_used)]
//! Each kind as a table: what was backed up, what is created.

use serde_json::{Value, json};

use super::*;
use crate::api::labels::{BACKUP_NAME, RESTORE_NAME};

fn resource(name: &str) -> GroupResource {
    let (plural, group) = name.split_once('.').unwrap_or((name, ""));
    GroupResource::new(group, plural)
}

struct Case {
    facts: Facts,
    mapping: BTreeMap<String, String>,
    preserve_node_ports: bool,
}

impl Default for Case {
    fn default() -> Case {
        Case {
            facts: Facts::default(),
            mapping: [("old".to_owned(), "new".to_owned())].into(),
            preserve_node_ports: false,
        }
    }
}

impl Case {
    fn prepare(&self, name: &str, object: Value) -> Result<Prepared, Skip> {
        let resource = resource(name);
        let key = Key::new(
            resource.clone(),
            object["metadata"]["namespace"].as_str(),
            object["metadata"]["name"].as_str().unwrap_or_default(),
        );
        let context = Context {
            resource: &resource,
            mapping: &self.mapping,
            backup_label: "b",
            restore_label: "r",
            preserve_node_ports: self.preserve_node_ports,
            facts: &self.facts,
        };
        prepare(object, &key, "v1", "Kind", &context)
    }

    /// The object without what every object gets.
    fn object(&self, name: &str, object: Value) -> Value {
        let mut object = self.prepare(name, object).unwrap().object;
        let root = object.as_object_mut().unwrap();
        assert_eq!(root.remove("apiVersion").unwrap(), "v1");
        assert_eq!(root.remove("kind").unwrap(), "Kind");
        let metadata = root["metadata"].as_object_mut().unwrap();
        let labels = metadata["labels"].as_object_mut().unwrap();
        assert_eq!(labels.remove(BACKUP_NAME).unwrap(), "b");
        assert_eq!(labels.remove(RESTORE_NAME).unwrap(), "r");
        if labels.is_empty() {
            metadata.remove("labels");
        }
        object
    }
}

fn object(name: &str, before: Value) -> Value {
    Case::default().object(name, before)
}

fn skip(name: &str, before: Value) -> Option<Skip> {
    Case::default().prepare(name, before).err()
}

#[test]
fn what_the_apiserver_sets_is_taken_out_and_the_rest_is_kept() {
    let prepared = Case::default()
        .prepare(
            "configmaps",
            json!({"metadata": {"name": "a", "namespace": "old", "uid": "01234567-89ab-cdef-0123-456789abcdef",
                "resourceVersion": "5", "generation": 1, "creationTimestamp": "t", "selfLink": "/x", "generateName": "a-",
                "deletionTimestamp": "t", "deletionGracePeriodSeconds": 30,
                "finalizers": ["foregroundDeletion", "example.com/keep"],
                "labels": {"app": "web"}, "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "X", "name": "x", "controller": true,
                    "uid": "11111111-1111-1111-1111-111111111111"}],
                "managedFields": [{"manager": "m", "operation": "Update"}]},
                "data": {"k": "v"}, "status": {"s": 1}}),
        )
        .unwrap();
    assert_eq!(
        prepared.object,
        json!({"apiVersion": "v1", "kind": "Kind", "data": {"k": "v"}, "metadata": {
            "name": "a", "namespace": "new", "finalizers": ["example.com/keep"],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "labels": {"app": "web", BACKUP_NAME: "b", RESTORE_NAME: "r"}}})
    );
    assert_eq!(
        prepared.old_uid,
        Uid::parse("01234567-89ab-cdef-0123-456789abcdef")
    );
    assert_eq!(prepared.owners.len(), 1);
    let uid = Uid::parse("22222222-2222-2222-2222-222222222222").unwrap();
    assert_eq!(
        prepared.owners[0].reference(uid),
        json!({"apiVersion": "apps/v1", "kind": "X", "name": "x", "controller": true, "uid": uid.to_string()})
    );
    assert_eq!(prepared.managed_fields, None, "nobody applied it");
    assert_eq!(prepared.status, None, "nobody asked for it");
}

#[test]
fn applied_fields_and_a_wanted_status_are_kept_for_later() {
    let applied = json!([{"manager": "a", "operation": "Apply", "fieldsV1": {}},
        {"manager": "b", "operation": "Update", "subresource": "status"}]);
    for prefix in ["ark.heptio.com", "velero.io"] {
        let prepared = Case::default()
            .prepare(
                "widgets.example.com",
                json!({"metadata": {"name": "a", "annotations": {format!("{prefix}/restore-status"): "true"},
                    "managedFields": applied}, "status": {"s": 1}}),
            )
            .unwrap();
        assert_eq!(
            prepared.managed_fields,
            Some(json!([{"manager": "a", "operation": "Apply", "fieldsV1": {}}]))
        );
        assert_eq!(prepared.status, Some(json!({"s": 1})));
    }
}

#[test]
fn pods() {
    assert_eq!(
        object(
            "pods",
            json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "priority": 5, "serviceAccountName": "web",
                "ephemeralContainers": [{}],
                "volumes": [{"name": "web-token-abc12", "secret": {}}, {"name": "data", "emptyDir": {}},
                    {"name": "kube-api-access-x", "projected": {}}],
                "containers": [{"name": "c", "volumeMounts": [{"name": "web-token-abc12"}, {"name": "data"}]}],
                "initContainers": [{"name": "i", "volumeMounts": [{"name": "web-token-abc12"}]}]}})
        ),
        json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "web",
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "kube-api-access-x", "projected": {}}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "data"}]}],
            "initContainers": [{"name": "i", "volumeMounts": []}]}})
    );
    let phase = |phase: &str| json!({"metadata": {"name": "p", "namespace": "old"}, "spec": {}, "status": {"phase": phase}});
    assert_eq!(skip("pods", phase("Succeeded")), Some(Skip::PodFinished));
    assert_eq!(skip("pods", phase("Failed")), Some(Skip::PodFinished));
    assert_eq!(skip("pods", phase("Running")), None);
    let mirror =
        json!({"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"}}});
    assert_eq!(skip("pods", mirror), Some(Skip::MirrorPod));
    // A custom resource that is called pods is left alone.
    assert_eq!(skip("pods.example.com", phase("Failed")), None);
}

#[test]
fn pods_of_a_job_are_left_to_it_if_it_is_restored() {
    let pod = json!({"metadata": {"name": "p", "namespace": "old", "ownerReferences": [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]}});
    assert_eq!(skip("pods", pod.clone()), None);
    let case = Case {
        facts: Facts {
            jobs: ["old/j".to_owned()].into(),
            ..Facts::default()
        },
        ..Case::default()
    };
    assert_eq!(case.prepare("pods", pod).err(), Some(Skip::PodOfJob));
}

#[test]
fn services() {
    let table = [
        (
            "given addresses are given anew",
            json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "healthCheckNodePort": 3,
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]}),
            json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}),
        ),
        (
            "headless stays headless",
            json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}),
            json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}),
        ),
        (
            "external names have no addresses",
            json!({"type": "ExternalName", "externalName": "x.example.com", "clusterIP": ""}),
            json!({"type": "ExternalName", "externalName": "x.example.com", "clusterIP": ""}),
        ),
    ];
    for (what, before, after) in table {
        let made = object(
            "services",
            json!({"metadata": {"name": "s"}, "spec": before}),
        );
        assert_eq!(made["spec"], after, "{what}");
    }
}

#[test]
fn node_ports_that_somebody_chose_are_kept() {
    let spec = json!({"type": "LoadBalancer", "healthCheckNodePort": 31000, "ports": [
        {"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 80, "protocol": "UDP", "nodePort": 30081},
        {"port": 443, "protocol": "TCP", "nodePort": 30443}]});
    let ports = |case: Case, metadata: Value| {
        let made = case.object("services", json!({"metadata": metadata, "spec": spec}));
        let ports: Vec<u64> = made["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["nodePort"].as_u64().unwrap_or(0))
            .collect();
        (ports, made["spec"]["healthCheckNodePort"].as_u64())
    };
    let applied =
        json!({"spec": {"healthCheckNodePort": 31000, "ports": [{"port": 80, "nodePort": 30080}]}})
            .to_string();
    let managed = json!([{"manager": "k", "operation": "Update", "fieldsV1": {"f:spec": {"f:ports": {
        "k:{\"port\":443,\"protocol\":\"TCP\"}": {"f:nodePort": {}}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:port": {}}}}}}]);
    assert_eq!(
        ports(Case::default(), json!({"name": "s"})),
        (vec![0, 0, 0], None)
    );
    assert_eq!(
        ports(
            Case::default(),
            json!({"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}})
        ),
        (vec![30080, 0, 0], Some(31000))
    );
    assert_eq!(
        ports(
            Case::default(),
            json!({"name": "s", "managedFields": managed})
        ),
        (vec![0, 0, 30443], None)
    );
    let all = Case {
        preserve_node_ports: true,
        ..Case::default()
    };
    assert_eq!(
        ports(all, json!({"name": "s"})),
        (vec![30080, 30081, 30443], Some(31000))
    );
}

#[test]
fn service_accounts_and_their_tokens() {
    assert_eq!(
        object(
            "serviceaccounts",
            json!({"metadata": {"name": "web"}, "secrets": [{"name": "web-token-x7k2p"}, {"name": "mine"}],
                "imagePullSecrets": [{"name": "pull"}]})
        ),
        json!({"metadata": {"name": "web"}, "secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}]})
    );
    let token = |name: &str| {
        json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "web",
            "kubernetes.io/service-account.uid": "u"}},
            "type": "kubernetes.io/service-account-token",
            "data": {"token": "t", "ca.crt": "c", "namespace": "n", "extra": "e"}})
    };
    assert_eq!(
        skip("secrets", token("web-token-x7k2p")),
        Some(Skip::ControllerMade)
    );
    assert_eq!(
        object("secrets", token("web-token-mine")),
        json!({"metadata": {"name": "web-token-mine", "annotations": {"kubernetes.io/service-account.name": "web"}},
            "type": "kubernetes.io/service-account-token", "data": {"extra": "e"}})
    );
    let opaque =
        json!({"metadata": {"name": "web-token-x7k2p"}, "type": "Opaque", "data": {"token": "t"}});
    assert_eq!(object("secrets", opaque.clone()), opaque);
}

#[test]
fn jobs() {
    let labels =
        json!({"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "j"});
    assert_eq!(
        object(
            "jobs.batch",
            json!({"metadata": {"name": "j", "labels": labels}, "spec": {
                "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": labels}}}})
        ),
        json!({"metadata": {"name": "j", "labels": {"job-name": "j"}},
            "spec": {"template": {"metadata": {"labels": {"job-name": "j"}}}}})
    );
    let manual = json!({"metadata": {"name": "j"}, "spec": {"manualSelector": true, "selector": {"matchLabels": labels}}});
    assert_eq!(object("jobs.batch", manual.clone()), manual);
    let with = |status: Value| json!({"metadata": {"name": "j"}, "spec": {}, "status": status});
    assert_eq!(
        skip("jobs.batch", with(json!({"completionTime": "t"}))),
        Some(Skip::JobFinished)
    );
    let failed = json!({"conditions": [{"type": "Failed", "status": "True"}]});
    assert_eq!(skip("jobs.batch", with(failed)), Some(Skip::JobFinished));
    assert_eq!(skip("jobs.batch", with(json!({"active": 1}))), None);
}

#[test]
fn bindings_and_backends_move_with_their_namespaces() {
    for name in [
        "rolebindings.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
    ] {
        let made = object(
            name,
            json!({"metadata": {"name": "x"}, "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "old"},
                {"kind": "ServiceAccount", "name": "b", "namespace": "other"}, {"kind": "User", "name": "u"}]}),
        );
        assert_eq!(made["subjects"][0]["namespace"], "new", "{name}");
        assert_eq!(made["subjects"][1]["namespace"], "other", "{name}");
    }
    let service = json!({"service": {"name": "s", "namespace": "old"}});
    let made = object(
        "apiservices.apiregistration.k8s.io",
        json!({"metadata": {"name": "x"}, "spec": service}),
    );
    assert_eq!(made["spec"]["service"]["namespace"], "new");
    for kind in ["validating", "mutating"] {
        let name = format!("{kind}webhookconfigurations.admissionregistration.k8s.io");
        let made = object(
            &name,
            json!({"metadata": {"name": "x"}, "webhooks": [
                {"clientConfig": service, "sideEffects": "Unknown"}, {"clientConfig": {"url": "https://x"}, "sideEffects": "NoneOnDryRun"}]}),
        );
        assert_eq!(
            made["webhooks"][0]["clientConfig"]["service"]["namespace"],
            "new"
        );
        assert_eq!(made["webhooks"][0]["sideEffects"], "None");
        assert_eq!(made["webhooks"][1]["sideEffects"], "NoneOnDryRun");
    }
}

#[test]
fn api_services_and_other_objects_of_controllers_are_skipped() {
    let labelled = |key: &str, value: &str| json!({"metadata": {"name": "x", "namespace": "n", "labels": {key: value}}});
    let table = [
        (
            "apiservices.apiregistration.k8s.io",
            labelled("kube-aggregator.kubernetes.io/automanaged", "onstart"),
            true,
        ),
        (
            "apiservices.apiregistration.k8s.io",
            labelled("a", "b"),
            false,
        ),
        (
            "endpointslices.discovery.k8s.io",
            labelled(
                "endpointslice.kubernetes.io/managed-by",
                "endpointslice-controller.k8s.io",
            ),
            true,
        ),
        (
            "endpointslices.discovery.k8s.io",
            labelled("endpointslice.kubernetes.io/managed-by", "me"),
            false,
        ),
        (
            "endpoints",
            labelled("endpoints.kubernetes.io/managed-by", "endpoint-controller"),
            true,
        ),
        ("endpoints", labelled("a", "b"), false),
        (
            "ipaddresses.networking.k8s.io",
            labelled("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"),
            true,
        ),
        (
            "configmaps",
            json!({"metadata": {"name": "kube-root-ca.crt", "namespace": "n"}}),
            true,
        ),
        (
            "leases.coordination.k8s.io",
            json!({"metadata": {"name": "x", "namespace": "kube-node-lease"}}),
            true,
        ),
        (
            "leases.coordination.k8s.io",
            json!({"metadata": {"name": "x", "namespace": "mine"}}),
            false,
        ),
        (
            "services",
            json!({"metadata": {"name": "kubernetes", "namespace": "default"}}),
            true,
        ),
        (
            "services",
            json!({"metadata": {"name": "kubernetes", "namespace": "mine"}}),
            false,
        ),
    ];
    for (name, object, made) in table {
        assert_eq!(
            skip(name, object.clone()),
            made.then_some(Skip::ControllerMade),
            "{name} {object}"
        );
    }
    for name in [
        "nodes",
        "events",
        "events.events.k8s.io",
        "csinodes.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
        "backups.ark.heptio.com",
        "backups.velero.io",
    ] {
        assert_eq!(
            skip(name, json!({"metadata": {"name": "x"}})),
            Some(Skip::NeverRestored),
            "{name}"
        );
    }
    assert_eq!(
        skip("schedules.velero.io", json!({"metadata": {"name": "x"}})),
        None
    );
    let case = Case {
        facts: Facts {
            selecting_services: ["n/x".to_owned()].into(),
            ..Facts::default()
        },
        ..Case::default()
    };
    let endpoints = json!({"metadata": {"name": "x", "namespace": "n"}});
    assert_eq!(
        case.prepare("endpoints", endpoints).err(),
        Some(Skip::ControllerMade)
    );
}

#[test]
fn volumes_and_claims() {
    let volume = |policy: &str| {
        json!({"metadata": {"name": "pv", "annotations": {"pv.kubernetes.io/bound-by-controller": "yes",
            "pv.kubernetes.io/provisioned-by": "x"}},
            "spec": {"persistentVolumeReclaimPolicy": policy,
                "claimRef": {"namespace": "old", "name": "c", "uid": "u", "resourceVersion": "1"}},
            "status": {"phase": "Bound"}})
    };
    assert_eq!(
        object("persistentvolumes", volume("Retain")),
        json!({"metadata": {"name": "pv", "annotations": {"pv.kubernetes.io/provisioned-by": "x"}},
            "spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "new", "name": "c"}}})
    );
    assert_eq!(
        skip("persistentvolumes", volume("Delete")),
        Some(Skip::VolumeNotKept)
    );
    let unclaimed =
        json!({"metadata": {"name": "pv"}, "spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    assert_eq!(object("persistentvolumes", unclaimed.clone()), unclaimed);
    let claim = json!({"metadata": {"name": "c", "namespace": "x", "annotations": {"pv.kubernetes.io/bind-completed": "yes",
        "volume.kubernetes.io/selected-node": "n"}}, "spec": {"volumeName": "pv", "storageClassName": "s"}});
    assert_eq!(
        object("persistentvolumeclaims", claim.clone()),
        json!({"metadata": {"name": "c", "namespace": "x"}, "spec": {"storageClassName": "s"}})
    );
    let case = Case {
        facts: Facts {
            kept_volumes: ["pv".to_owned()].into(),
            ..Facts::default()
        },
        ..Case::default()
    };
    assert_eq!(
        case.object("persistentvolumeclaims", claim)["spec"]["volumeName"],
        "pv"
    );
}

#[test]
fn namespaces_take_their_new_name() {
    assert_eq!(
        object(
            "namespaces",
            json!({"metadata": {"name": "old", "labels": {"kubernetes.io/metadata.name": "old", "team": "x"}},
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}})
        ),
        json!({"metadata": {"name": "new", "labels": {"team": "x"}}, "spec": {"finalizers": ["kubernetes"]}})
    );
    // A custom resource whose name is that of a namespace keeps it.
    assert_eq!(
        object("tenants.example.com", json!({"metadata": {"name": "old"}})),
        json!({"metadata": {"name": "old"}})
    );
}

#[test]
fn definitions_are_said_in_the_words_of_v1() {
    let made = object(
        "customresourcedefinitions.apiextensions.k8s.io",
        json!({"metadata": {"name": "x"}, "spec": {"preserveUnknownFields": true, "versions": [
            {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}, {"name": "v2"}],
            "conversion": {"webhook": {"clientConfig": {"service": {"namespace": "old"}}}}},
            "status": {"conditions": []}}),
    );
    assert_eq!(made["spec"]["preserveUnknownFields"], false);
    for version in made["spec"]["versions"].as_array().unwrap() {
        assert_eq!(
            version["schema"]["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"],
            true
        );
    }
    assert_eq!(
        made["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["namespace"],
        "new"
    );
    assert_eq!(made.get("status"), None);
}

#[test]
fn what_is_no_object_is_no_panic() {
    for bad in [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"metadata": null}),
        json!({"metadata": []}),
    ] {
        for name in [
            "pods",
            "services",
            "secrets",
            "jobs.batch",
            "namespaces",
            "persistentvolumes",
            "serviceaccounts",
        ] {
            let _ = Case::default().prepare(name, bad.clone());
        }
    }
}
