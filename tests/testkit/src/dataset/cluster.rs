//! Namespaces, custom resource definitions, and the objects of cluster scope.

use serde_json::{Value, json};

use super::random::Random;
use super::{Body, Dataset, Shape, Share, Slot, text};

/// The custom resources: shape, kind, whether namespaced.
const CUSTOM: &[(&str, &str, bool)] = &[
    ("workloads", "Workload", true),
    ("settings", "Setting", true),
    ("routes", "Route", true),
    ("topologies", "Topology", false),
    ("licenses", "License", false),
];

pub(super) fn shapes() -> Vec<Shape> {
    let shape = |group, version, plural, kind, share, build| Shape {
        group,
        version,
        plural,
        kind,
        namespaced: false,
        wave: 0,
        share,
        build,
    };
    let admission = "admissionregistration.k8s.io";
    let mut shapes = vec![
        shape(
            "",
            "v1",
            "namespaces",
            "Namespace",
            Share::Namespaces,
            namespace,
        ),
        shape(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            Share::Fixed(CUSTOM.len()),
            definition,
        ),
        shape(
            "scheduling.k8s.io",
            "v1",
            "priorityclasses",
            "PriorityClass",
            Share::Fixed(5),
            priority_class,
        ),
        shape(
            "node.k8s.io",
            "v1",
            "runtimeclasses",
            "RuntimeClass",
            Share::Fixed(3),
            runtime_class,
        ),
        shape(
            "storage.k8s.io",
            "v1",
            "storageclasses",
            "StorageClass",
            Share::Fixed(4),
            storage_class,
        ),
        shape(
            "storage.k8s.io",
            "v1",
            "csidrivers",
            "CSIDriver",
            Share::Fixed(2),
            csi_driver,
        ),
        shape(
            "networking.k8s.io",
            "v1",
            "ingressclasses",
            "IngressClass",
            Share::Fixed(2),
            ingress_class,
        ),
        shape(
            admission,
            "v1",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            Share::Fixed(4),
            webhooks,
        ),
        shape(
            admission,
            "v1",
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            Share::Fixed(3),
            webhooks,
        ),
        shape(
            admission,
            "v1",
            "validatingadmissionpolicies",
            "ValidatingAdmissionPolicy",
            Share::Fixed(2),
            policy,
        ),
        shape(
            "",
            "v1",
            "persistentvolumes",
            "PersistentVolume",
            Share::Same("persistentvolumeclaims"),
            volume,
        ),
    ];
    for (plural, kind, namespaced) in CUSTOM {
        let parts = match (*plural, *namespaced) {
            ("workloads", _) => 25,
            (_, true) => 15,
            (_, false) => 4,
        };
        shapes.push(Shape {
            group: "*",
            version: "v1",
            plural,
            kind,
            namespaced: *namespaced,
            wave: 1,
            share: Share::Parts(parts),
            build: custom,
        });
    }
    shapes
}

pub(super) fn definition_name(data: &Dataset, number: usize) -> String {
    let (plural, _, _) = CUSTOM[number % CUSTOM.len()];
    format!("{}-{plural}.{}", data.prefix, data.custom_group())
}

fn namespace(_: &Slot<'_>, random: &mut Random) -> Body {
    Body {
        labels: vec![
            ("team", random.pick(text::TEAMS).to_owned()),
            ("pod-security.kubernetes.io/warn", "baseline".to_owned()),
        ],
        annotations: vec![("contact".to_owned(), text::foreign(random).to_owned())],
        ..Body::default()
    }
}

fn definition(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (plural, kind, namespaced) = CUSTOM[slot.number % CUSTOM.len()];
    let mut properties = serde_json::Map::new();
    for key in [
        "size", "mode", "owner", "window", "endpoint", "weights", "notes", "items", "data",
    ] {
        let description = text::sentence(random);
        let schema = match key {
            "size" => json!({"type": "integer", "minimum": 0}),
            "mode" => json!({"type": "string", "enum": ["active", "passive", "drained"]}),
            "weights" => json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            "items" => {
                json!({"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}})
            }
            "data" => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            _ => json!({"type": "string"}),
        };
        let mut schema = schema;
        schema["description"] = description.into();
        properties.insert(key.to_owned(), schema);
    }
    let schema = json!({"type": "object", "description": text::sentence(random), "properties": {
        "spec": {"type": "object", "properties": properties},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let singular = format!("{}-{}", slot.data.prefix, kind.to_lowercase());
    let fields = json!({"spec": {
        "group": slot.data.custom_group(), "scope": if namespaced { "Namespaced" } else { "Cluster" },
        "names": {"plural": format!("{}-{plural}", slot.data.prefix), "singular": singular, "kind": kind, "listKind": format!("{kind}List"),
                  "categories": ["ark-demo"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
                      "additionalPrinterColumns": [{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}]}]}});
    Body {
        fields,
        ..Body::default()
    }
}

fn custom(slot: &Slot<'_>, random: &mut Random) -> Body {
    let entry = |random: &mut Random| -> Value {
        json!({"name": text::words(random, 2, "-"), "value": text::sentence(random), "digest": random.hex(64), "rank": random.below(1000)})
    };
    let count = random.between(1, 8);
    let items: Vec<Value> = (0..count).map(|_| entry(random)).collect();
    let spec = json!({"size": random.below(100), "mode": random.pick(&["active", "passive", "drained"]), "owner": text::foreign(random),
        "window": format!("{:02}:00", random.below(24)), "endpoint": format!("https://{}.example.com/{}", random.pick(text::APPS), random.hex(12)),
        "weights": {text::word(random): random.below(100), "größe": random.below(100)}, "notes": text::sentence(random), "items": items,
        "data": {"nested": {"deep": [1, null, true, {"k": text::word(random)}]}, "ratio": 0.25, "large": 9_007_199_254_740_993_i64}});
    let status = random.chance(30).then(
        || json!({"phase": "Ready", "observedGeneration": 1, "message": text::sentence(random)}),
    );
    Body {
        fields: json!({"spec": spec}),
        labels: vec![(
            "tier",
            random.pick(&["gold", "silver", "bronze"]).to_owned(),
        )],
        status,
        applied: slot.number.is_multiple_of(3),
        ..Body::default()
    }
}

fn priority_class(slot: &Slot<'_>, random: &mut Random) -> Body {
    let value = 1000 * (slot.number + 1);
    Body {
        fields: json!({"value": value, "globalDefault": false, "description": text::sentence(random)}),
        ..Body::default()
    }
}

fn runtime_class(_: &Slot<'_>, random: &mut Random) -> Body {
    Body {
        fields: json!({"handler": random.pick(&["gvisor", "kata", "runc"]), "overhead": {"podFixed": {"cpu": "10m"}}}),
        ..Body::default()
    }
}

fn storage_class(slot: &Slot<'_>, random: &mut Random) -> Body {
    let mode = if slot.number.is_multiple_of(2) {
        "WaitForFirstConsumer"
    } else {
        "Immediate"
    };
    let fields = json!({"provisioner": "disk.csi.example.com", "reclaimPolicy": "Retain", "volumeBindingMode": mode, "allowVolumeExpansion": true,
        "parameters": {"type": random.pick(&["gp3", "io2", "st1"]), "encrypted": "true", "tier": text::word(random)}});
    Body {
        fields,
        ..Body::default()
    }
}

fn csi_driver(_: &Slot<'_>, _: &mut Random) -> Body {
    Body {
        fields: json!({"spec": {"attachRequired": true, "podInfoOnMount": false, "volumeLifecycleModes": ["Persistent"]}}),
        ..Body::default()
    }
}

fn ingress_class(_: &Slot<'_>, random: &mut Random) -> Body {
    Body {
        fields: json!({"spec": {"controller": format!("example.com/{}", text::word(random))}}),
        ..Body::default()
    }
}

/// Webhooks that no request can reach: their namespace selector matches nothing, and their failure is ignored.
fn webhooks(slot: &Slot<'_>, random: &mut Random) -> Body {
    let count = random.between(1, 3);
    let hooks: Vec<Value> = (0..count)
        .map(|n| {
            json!({"name": format!("{}{n}.{}.example.com", text::word(random), slot.data.prefix), "failurePolicy": "Ignore", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
            "clientConfig": {"service": {"name": "nobody", "namespace": slot.data.namespaces[0], "path": format!("/{}", text::word(random)), "port": 443},
                             "caBundle": text::base64(format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", random.hex(600)).as_bytes())},
            "namespaceSelector": {"matchExpressions": [{"key": "ark.test/never", "operator": "In", "values": ["matches"]}]},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"], "scope": "Namespaced"}]})
        })
        .collect();
    Body {
        fields: json!({"webhooks": hooks}),
        ..Body::default()
    }
}

fn policy(_: &Slot<'_>, random: &mut Random) -> Body {
    let fields = json!({"spec": {"failurePolicy": "Ignore",
        "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]},
        "validations": [{"expression": "object.spec.replicas <= 50", "message": text::sentence(random)}]}});
    // Without a binding a policy does nothing.
    Body {
        fields,
        ..Body::default()
    }
}

/// A volume bound in advance to the claim of the same number.
fn volume(slot: &Slot<'_>, random: &mut Random) -> Body {
    let claims = &slot.data.placed["persistentvolumeclaims"];
    let home = claims
        .iter()
        .position(|numbers| numbers.contains(&slot.number))
        .unwrap_or(0);
    let fields = json!({"spec": {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "", "volumeMode": "Filesystem",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": slot.data.namespaces[home],
                     "name": slot.data.name("persistentvolumeclaims", slot.number)},
        "csi": {"driver": "disk.csi.example.com", "volumeHandle": format!("vol-{}", random.hex(17)), "fsType": "ext4",
                "volumeAttributes": {"storage.kubernetes.io/csiProvisionerIdentity": random.hex(24)}}}});
    Body {
        fields,
        labels: vec![(
            "topology.kubernetes.io/zone",
            random.pick(&["eu-1a", "eu-1b", "eu-1c"]).to_owned(),
        )],
        ..Body::default()
    }
}
