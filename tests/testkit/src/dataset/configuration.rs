//! ConfigMaps, Secrets, claims, limits, leases and events.

use serde_json::{Map, Value, json};

use super::random::Random;
use super::{Body, Shape, Share, Slot, text};

pub(super) fn shapes() -> Vec<Shape> {
    let shape = |group, plural, kind, wave, share, build| Shape {
        group,
        version: "v1",
        plural,
        kind,
        namespaced: true,
        wave,
        share,
        build,
    };
    vec![
        shape(
            "",
            "configmaps",
            "ConfigMap",
            1,
            Share::Parts(100),
            config_map,
        ),
        shape("", "secrets", "Secret", 1, Share::Parts(85), secret),
        shape(
            "",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            1,
            Share::Parts(20),
            claim,
        ),
        shape(
            "",
            "limitranges",
            "LimitRange",
            1,
            Share::EachNamespace(4),
            limit_range,
        ),
        shape(
            "",
            "resourcequotas",
            "ResourceQuota",
            1,
            Share::EachNamespace(3),
            quota,
        ),
        shape(
            "coordination.k8s.io",
            "leases",
            "Lease",
            1,
            Share::Parts(20),
            lease,
        ),
        shape("", "events", "Event", 3, Share::Parts(60), event),
    ]
}

fn config_map(slot: &Slot<'_>, random: &mut Random) -> Body {
    // One in ninety is a dashboard, a bundle or a word list that somebody put here for want of a better place.
    if slot.number % 90 == 3 {
        let size = random.between(200_000, 650_000);
        let fields = json!({"data": {"bundle.properties": text::properties(random, size)}});
        return Body {
            fields,
            annotations: vec![("checksum".to_owned(), random.hex(64))],
            ..Body::default()
        };
    }
    let mut data = Map::new();
    for n in 0..random.between(1, 3) {
        let size = if random.chance(6) {
            random.between(2000, 8_000)
        } else {
            random.between(80, 700)
        };
        let extension = random.pick(&["yaml", "properties", "conf", "json"]);
        data.insert(
            format!("{}-{n}.{extension}", text::word(random)),
            text::properties(random, size).into(),
        );
    }
    let mut fields = json!({"data": data});
    if random.chance(8) {
        let size = random.between(100, 4000);
        fields["binaryData"] = json!({"keystore.jks": text::base64(&random.bytes(size))});
    }
    if random.chance(5) {
        fields["immutable"] = true.into();
    }
    Body {
        fields,
        labels: vec![("config", text::word(random).to_owned())],
        applied: random.chance(25),
        ..Body::default()
    }
}

fn secret(slot: &Slot<'_>, random: &mut Random) -> Body {
    let binary = |random: &mut Random, from, to| {
        let size = random.between(from, to);
        text::base64(&random.bytes(size))
    };
    let fields = match slot.number % 20 {
        0..=3 => {
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": pem("CERTIFICATE", random, 1100), "tls.key": pem("PRIVATE KEY", random, 1200)}})
        }
        4 | 5 => {
            let auth = text::base64(format!("robot:{}", random.hex(40)).as_bytes());
            let config = json!({"auths": {"registry.example.com": {"auth": auth, "email": "robot@example.com"}}}).to_string();
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": text::base64(config.as_bytes())}})
        }
        // A package manager's release record: compressed, so that it does not compress again.
        6 => {
            json!({"type": "helm.sh/release.v1", "data": {"release": binary(random, 8000, 25_000)}})
        }
        7 => {
            json!({"type": "kubernetes.io/basic-auth", "data": {"username": text::base64(b"bj\xc3\xb6rk"), "password": binary(random, 24, 24)}})
        }
        _ => {
            let mut data = Map::new();
            for n in 0..random.between(1, 6) {
                data.insert(
                    format!("{}_{n}", text::word(random).to_uppercase()),
                    binary(random, 16, 120).into(),
                );
            }
            json!({"type": "Opaque", "data": data})
        }
    };
    Body {
        fields,
        ..Body::default()
    }
}

fn pem(name: &str, random: &mut Random, bytes: usize) -> String {
    let body = text::base64(&random.bytes(bytes));
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    text::base64(
        format!(
            "-----BEGIN {name}-----\n{}\n-----END {name}-----\n",
            lines.join("\n")
        )
        .as_bytes(),
    )
}

fn claim(slot: &Slot<'_>, _: &mut Random) -> Body {
    let volume = slot.data.name("persistentvolumes", slot.number);
    let fields = json!({"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeMode": "Filesystem", "volumeName": volume,
        "resources": {"requests": {"storage": "10Gi"}}}});
    Body {
        fields,
        ..Body::default()
    }
}

fn limit_range(_: &Slot<'_>, _: &mut Random) -> Body {
    let fields = json!({"spec": {"limits": [{"type": "Container", "default": {"memory": "512Mi"}, "defaultRequest": {"cpu": "50m", "memory": "64Mi"}}]}});
    Body {
        fields,
        ..Body::default()
    }
}

/// Limits something that the data set does not hold: otherwise each create would wait for the quota's own update.
fn quota(_: &Slot<'_>, random: &mut Random) -> Body {
    Body {
        fields: json!({"spec": {"hard": {"requests.nvidia.com/gpu": random.between(1, 16).to_string()}}}),
        ..Body::default()
    }
}

fn lease(slot: &Slot<'_>, random: &mut Random) -> Body {
    let moment = text::moment(random).replace('Z', ".000000Z");
    let holder = format!(
        "{}_{}",
        slot.data.name("leases", slot.number),
        random.hex(32)
    );
    let fields = json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "acquireTime": moment, "renewTime": moment, "leaseTransitions": random.below(9)}});
    Body {
        fields,
        ..Body::default()
    }
}

fn event(slot: &Slot<'_>, random: &mut Random) -> Body {
    let moment = text::moment(random);
    let (number, pod) = slot.sibling("pods", random).unwrap_or_default();
    let reason = random.pick(&[
        "Scheduled",
        "Pulled",
        "Created",
        "Started",
        "BackOff",
        "Unhealthy",
        "FailedMount",
    ]);
    let kind = if reason == "BackOff" {
        "Warning"
    } else {
        "Normal"
    };
    let involved: Value = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": slot.namespace(), "resourceVersion": number.to_string(),
        "fieldPath": "spec.containers{app}"});
    let fields = json!({"involvedObject": involved, "reason": reason, "type": kind, "message": text::sentence(random), "count": random.between(1, 40),
        "firstTimestamp": moment, "lastTimestamp": moment, "source": {"component": "kubelet", "host": format!("node-{}", random.below(40))},
        "reportingComponent": "kubelet", "reportingInstance": format!("node-{}", random.below(40))});
    Body {
        fields,
        ..Body::default()
    }
}
