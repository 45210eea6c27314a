//! Workloads and their pods.
//!
//! Nothing here asks the control plane for a pod: replicas are 0, deployments paused, jobs suspended. Pods belong to a
//! custom resource, so that no controller counts them, and the garbage collector only looks whether their owner exists.

use serde_json::{Map, Value, json};

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
        shape("", "v1", "pods", "Pod", 2, 330, pod),
        shape("apps", "v1", "deployments", "Deployment", 1, 36, deployment),
        shape(
            "apps",
            "v1",
            "replicasets",
            "ReplicaSet",
            2,
            70,
            replica_set,
        ),
        shape(
            "apps",
            "v1",
            "statefulsets",
            "StatefulSet",
            1,
            6,
            stateful_set,
        ),
        shape("apps", "v1", "daemonsets", "DaemonSet", 1, 4, daemon_set),
        shape("batch", "v1", "cronjobs", "CronJob", 1, 6, cron_job),
        shape("batch", "v1", "jobs", "Job", 2, 12, job),
        shape(
            "autoscaling",
            "v2",
            "horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            1,
            8,
            autoscaler,
        ),
        shape(
            "policy",
            "v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            1,
            8,
            disruption_budget,
        ),
    ]
}

fn app(slot: &Slot<'_>, plural: &str) -> (String, Vec<(&'static str, String)>) {
    let name = slot.data.name(plural, slot.number);
    let mut random = Random::new(slot.data.seed, &["app", plural, &slot.number.to_string()]);
    let app = random.pick(text::APPS).to_owned();
    let labels = vec![
        ("app.kubernetes.io/name", app.clone()),
        ("app.kubernetes.io/instance", name),
        (
            "app.kubernetes.io/version",
            format!(
                "{}.{}.{}",
                random.below(6),
                random.below(40),
                random.below(20)
            ),
        ),
    ];
    (app, labels)
}

fn environment(
    random: &mut Random,
    config: Option<&str>,
    secret: Option<&str>,
    from: usize,
    to: usize,
) -> Vec<Value> {
    let mut env = vec![
        json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
    ];
    for n in 0..random.between(from, to) {
        let name = format!("{}_{n}", text::words(random, 2, "_").to_uppercase());
        env.push(match (random.below(10), config, secret) {
            (0, Some(config), _) => json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": config, "key": text::word(random), "optional": true}}}),
            (1, _, Some(secret)) => json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": text::word(random), "optional": true}}}),
            (2, ..) => json!({"name": name, "value": random.hex(32)}),
            (3, ..) => json!({"name": name, "value": text::sentence(random)}),
            (4, ..) => json!({"name": name, "value": random.below(10_000).to_string()}),
            _ => json!({"name": name, "value": format!("http://{}.{}:8080", random.pick(text::APPS), random.pick(text::TEAMS))}),
        });
    }
    env
}

/// A pod specification; `weight` is about how many environment variables it holds.
fn pod_spec(slot: &Slot<'_>, random: &mut Random, app: &str, weight: usize) -> Value {
    let config = slot.sibling("configmaps", random).map(|(_, name)| name);
    let secret = slot.sibling("secrets", random).map(|(_, name)| name);
    let account = slot
        .sibling("serviceaccounts", random)
        .map(|(_, name)| name);
    let probe = |path: &str, delay: usize| json!({"httpGet": {"path": path, "port": "http"}, "initialDelaySeconds": delay, "periodSeconds": 10, "failureThreshold": 3});
    let mut containers = vec![
        json!({"name": "app", "image": text::image(random, app), "imagePullPolicy": "IfNotPresent",
        "args": [format!("--mode={}", text::word(random)), "--config=/etc/app/config.yaml"],
        "env": environment(random, config.as_deref(), secret.as_deref(), weight / 2, weight),
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "readinessProbe": probe("/ready", 3),
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}, {"name": "credentials", "mountPath": "/etc/keys", "readOnly": true},
                         {"name": "scratch", "mountPath": "/tmp"}]}),
    ];
    if random.chance(40) {
        containers[0]["livenessProbe"] = probe("/healthz", 10);
    }
    if random.chance(15) {
        containers.push(json!({"name": "sidecar", "image": text::image(random, "mesh-proxy"), "env": environment(random, None, None, 1, 4),
            "args": ["proxy", "--domain", "$(POD_NAME).svc.cluster.local", "--concurrency", "2"],
            "ports": [{"name": "mesh", "containerPort": 15_090}], "resources": {"requests": {"cpu": "10m", "memory": "40Mi"}}}));
    }
    let keep = |name: Option<String>| name.unwrap_or_else(|| "absent".to_owned());
    let mut spec = json!({"containers": containers, "serviceAccountName": account.unwrap_or_else(|| "default".to_owned()),
        "terminationGracePeriodSeconds": 30, "securityContext": {"runAsNonRoot": true, "runAsUser": 1000 + random.below(9000), "fsGroup": 2000},
        "volumes": [{"name": "config", "configMap": {"name": keep(config), "optional": true}},
                    {"name": "credentials", "secret": {"secretName": keep(secret), "optional": true}}, {"name": "scratch", "emptyDir": {}}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": text::word(random), "effect": "NoSchedule"}]});
    if random.chance(25) {
        spec["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/name": app}}}]);
    }
    if random.chance(20) {
        spec["initContainers"] = json!([{"name": "migrate", "image": text::image(random, app), "command": ["/bin/migrate", "--up"], "env": environment(random, None, None, 1, 2)}]);
    }
    spec
}

fn template(
    slot: &Slot<'_>,
    random: &mut Random,
    app: &str,
    labels: &[(&'static str, String)],
    weight: usize,
) -> Value {
    let labels: Map<String, Value> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_str().into()))
        .collect();
    json!({"metadata": {"labels": labels, "annotations": {"checksum/config": random.hex(64)}}, "spec": pod_spec(slot, random, app, weight)})
}

fn selector(labels: &[(&'static str, String)]) -> Value {
    let instance = labels
        .iter()
        .find(|(key, _)| *key == "app.kubernetes.io/instance")
        .map(|(_, value)| value.as_str());
    json!({"matchLabels": {"app.kubernetes.io/instance": instance}})
}

fn pod(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (app, labels) = app(slot, "pods");
    let mut spec = pod_spec(slot, random, &app, 5);
    if slot.number.is_multiple_of(5) {
        spec["priorityClassName"] = slot
            .data
            .name("priorityclasses", slot.number / 5 % 5)
            .into();
    }
    if slot.number.is_multiple_of(12)
        && let (Some((_, claim)), Some(volumes)) = (
            slot.sibling("persistentvolumeclaims", random),
            spec["volumes"].as_array_mut(),
        )
    {
        volumes.push(json!({"name": "data", "persistentVolumeClaim": {"claimName": claim}}));
    }
    let owner = slot
        .sibling("workloads", random)
        .filter(|_| !slot.number.is_multiple_of(4))
        .map(|(number, _)| ("workloads", number, true));
    let status = match slot.number % 10 {
        0 | 1 => Some(status(random, &spec, "Running")),
        2 if slot.number % 40 == 2 => Some(status(random, &spec, "Succeeded")),
        _ => None,
    };
    let annotations = vec![
        ("checksum/config".to_owned(), random.hex(64)),
        ("prometheus.io/scrape".to_owned(), "true".to_owned()),
        ("note".to_owned(), text::foreign(random).to_owned()),
    ];
    Body {
        fields: json!({"spec": spec}),
        labels,
        annotations,
        owner,
        status,
        ..Body::default()
    }
}

fn status(random: &mut Random, spec: &Value, phase: &str) -> Value {
    let (moment, running) = (text::moment(random), phase == "Running");
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let containers: Vec<Value> = containers
        .iter()
        .map(|container| {
            let id = format!("containerd://{}", random.hex(64));
            let state = if running {
                json!({"running": {"startedAt": moment}})
            } else {
                json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": moment, "finishedAt": moment, "containerID": id}})
            };
            json!({"name": container["name"], "image": container["image"], "imageID": container["image"], "containerID": id, "ready": running,
                "restartCount": random.below(4), "started": running, "state": state})
        })
        .collect();
    let condition = |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": moment});
    let address = format!(
        "10.{}.{}.{}",
        random.between(1, 90),
        random.below(256),
        random.between(1, 254)
    );
    json!({"phase": phase, "podIP": address, "podIPs": [{"ip": address}], "hostIP": "10.0.0.7", "startTime": moment, "containerStatuses": containers,
        "conditions": [condition("Initialized", true), condition("Ready", running), condition("ContainersReady", running), condition("PodScheduled", true)]})
}

fn deployment(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (app, labels) = app(slot, "deployments");
    let fields = json!({"spec": {"replicas": 0, "paused": true, "revisionHistoryLimit": 1000, "selector": selector(&labels),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}, "template": template(slot, random, &app, &labels, 3)}});
    Body {
        fields,
        labels,
        applied: random.chance(50),
        ..Body::default()
    }
}

/// The older revisions of deployments, as they pile up in every cluster.
fn replica_set(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (app, labels) = app(slot, "replicasets");
    let owner = slot
        .sibling("deployments", random)
        .map(|(number, _)| ("deployments", number, true));
    let fields = json!({"spec": {"replicas": 0, "selector": selector(&labels), "template": template(slot, random, &app, &labels, 2)}});
    let annotations = vec![(
        "deployment.kubernetes.io/desired-replicas".to_owned(),
        "0".to_owned(),
    )];
    Body {
        fields,
        labels,
        annotations,
        owner,
        ..Body::default()
    }
}

fn stateful_set(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (app, labels) = app(slot, "statefulsets");
    let service = slot
        .sibling("services", random)
        .map_or_else(|| "nobody".to_owned(), |(_, name)| name);
    let fields = json!({"spec": {"replicas": 0, "serviceName": service, "selector": selector(&labels), "template": template(slot, random, &app, &labels, 3),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}}}]}});
    Body {
        fields,
        labels,
        applied: true,
        ..Body::default()
    }
}

fn daemon_set(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (app, labels) = app(slot, "daemonsets");
    Body {
        fields: json!({"spec": {"selector": selector(&labels), "template": template(slot, random, &app, &labels, 2)}}),
        labels,
        ..Body::default()
    }
}

fn job_spec(slot: &Slot<'_>, random: &mut Random, app: &str) -> Value {
    let mut spec = pod_spec(slot, random, app, 2);
    spec["restartPolicy"] = "Never".into();
    json!({"suspend": true, "backoffLimit": 3, "template": {"metadata": {"labels": {"app.kubernetes.io/name": app}}, "spec": spec}})
}

fn cron_job(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (app, labels) = app(slot, "cronjobs");
    let schedule = format!("{} {} * * *", random.below(60), random.below(24));
    let fields = json!({"spec": {"suspend": true, "schedule": schedule, "timeZone": "Europe/Vienna", "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": job_spec(slot, random, &app)}}});
    Body {
        fields,
        labels,
        ..Body::default()
    }
}

fn job(slot: &Slot<'_>, random: &mut Random) -> Body {
    let (app, labels) = app(slot, "jobs");
    let owner = slot
        .sibling("cronjobs", random)
        .map(|(number, _)| ("cronjobs", number, true));
    Body {
        fields: json!({"spec": job_spec(slot, random, &app)}),
        labels,
        owner,
        ..Body::default()
    }
}

/// Scales deployments of no replicas, for which autoscaling is off: the controller says so once and is silent.
fn autoscaler(slot: &Slot<'_>, random: &mut Random) -> Body {
    let target = slot
        .sibling("deployments", random)
        .map_or_else(|| "nobody".to_owned(), |(_, name)| name);
    let fields = json!({"spec": {"minReplicas": 1, "maxReplicas": random.between(2, 40), "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": random.between(40, 90)}}}]}});
    Body {
        fields,
        ..Body::default()
    }
}

fn disruption_budget(_: &Slot<'_>, random: &mut Random) -> Body {
    let fields = json!({"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"ark.test/disruption": text::word(random)}}}});
    Body {
        fields,
        ..Body::default()
    }
}
