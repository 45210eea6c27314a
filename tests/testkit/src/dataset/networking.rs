//! Services and what leads to them.

use serde_json::{Value, json};

use super::random::Random;
use super::{Body, Shape, Share, Slot, text};

pub(super) fn shapes() -> Vec<Shape> {
    let shape = |group, version, plural, kind, wave, parts, build| Shape {
        group,
        version,
        plural,
        kind,
        namespaced: true,
        wave,
        share: Share::Parts(parts),
        build,
    };
    vec![
        shape("", "v1", "services", "Service", 1, 40, service),
        shape(
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            "EndpointSlice",
            2,
            40,
            endpoint_slice,
        ),
        shape(
            "networking.k8s.io",
            "v1",
            "ingresses",
            "Ingress",
            1,
            12,
            ingress,
        ),
        shape(
            "networking.k8s.io",
            "v1",
            "networkpolicies",
            "NetworkPolicy",
            1,
            12,
            network_policy,
        ),
    ]
}

/// Most have no selector: for those that have one, the control plane makes endpoints of its own.
fn service(slot: &Slot<'_>, random: &mut Random) -> Body {
    let count = random.between(1, 3);
    let ports: Vec<Value> =
        (0..count).map(|n| json!({"name": format!("{}-{n}", random.pick(&["http", "grpc", "metrics"])), "port": 8080 + n, "targetPort": 8080 + n, "protocol": "TCP"})).collect();
    let mut spec = json!({"ports": ports, "type": if slot.number.is_multiple_of(25) { "LoadBalancer" } else { "ClusterIP" }});
    if slot.number.is_multiple_of(7) {
        spec["clusterIP"] = "None".into();
        spec["type"] = "ClusterIP".into();
    }
    if slot.number % 10 == 1 {
        spec["selector"] =
            json!({"app.kubernetes.io/name": random.pick(text::APPS), "selected": "by-nobody"});
    }
    Body {
        fields: json!({"spec": spec}),
        annotations: vec![(
            "prometheus.io/path".to_owned(),
            format!("/{}", text::word(random)),
        )],
        applied: random.chance(40),
        ..Body::default()
    }
}

fn endpoint_slice(slot: &Slot<'_>, random: &mut Random) -> Body {
    let count = random.between(1, 12);
    let endpoints: Vec<Value> = (0..count)
        .map(|_| {
            json!({"addresses": [format!("10.{}.{}.{}", random.between(1, 90), random.below(256), random.between(1, 254))],
            "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": format!("node-{}", random.below(40)),
            "zone": random.pick(&["eu-1a", "eu-1b", "eu-1c"])})
        })
        .collect();
    let service = slot.sibling("services", random);
    let mut labels = vec![(
        "endpointslice.kubernetes.io/managed-by",
        format!("{}.ark.test", slot.data.prefix),
    )];
    labels.extend(
        service
            .iter()
            .map(|(_, name)| ("kubernetes.io/service-name", name.clone())),
    );
    let fields = json!({"addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]});
    Body {
        fields,
        labels,
        owner: service.map(|(number, _)| ("services", number, true)),
        ..Body::default()
    }
}

fn ingress(slot: &Slot<'_>, random: &mut Random) -> Body {
    let service = slot
        .sibling("services", random)
        .map_or_else(|| "nobody".to_owned(), |(_, name)| name);
    let count = random.between(1, 4);
    let rules: Vec<Value> = (0..count)
        .map(|n| {
            json!({"host": format!("{}-{}-{n}.example.com", random.pick(text::APPS), slot.number), "http": {"paths": [
            {"path": format!("/{}", text::word(random)), "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 8080}}}}]}})
        })
        .collect();
    let fields = json!({"spec": {"ingressClassName": slot.data.name("ingressclasses", slot.number % 2), "rules": rules,
        "tls": [{"hosts": [format!("{}.example.com", slot.number)], "secretName": format!("tls-{}", text::word(random))}]}});
    let snippet = format!(
        "more_set_headers \"X-Request-Owner: {}\";",
        text::foreign(random)
    );
    Body {
        fields,
        annotations: vec![(
            "nginx.ingress.kubernetes.io/configuration-snippet".to_owned(),
            snippet,
        )],
        applied: true,
        ..Body::default()
    }
}

fn network_policy(_: &Slot<'_>, random: &mut Random) -> Body {
    let fields = json!({"spec": {"podSelector": {"matchLabels": {"app.kubernetes.io/name": random.pick(text::APPS)}}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": random.pick(text::TEAMS)}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}],
                     "ports": [{"port": 8080, "protocol": "TCP"}]}],
        "egress": [{"to": [{"podSelector": {}}]}]}});
    Body {
        fields,
        ..Body::default()
    }
}
