//! The Deployment and the Service.
//!
//! The pod passes the Pod Security Standard *restricted*: no root, no capabilities, a root file system that is read-only. It writes to two
//! emptyDirs: the cache, which may go at any time, and `/tmp`. A pod that is ended has more time than the server takes to stop.

use serde_json::{Value, json};

use super::options::{ANNOTATION, Options};
use super::{NAME, VERSION, labels};

/// Where metrics and probes are served.
const PORT: u16 = 8085;
/// Where downloads are served.
const DOWNLOADS: u16 = 8443;
/// Nobody in particular. It is the user of the image, and the group of its volumes.
const USER: u32 = 65532;
/// The server takes 20 seconds for its controllers and 3 for its sessions.
const GRACE: u32 = 40;

/// The Service that Prometheus finds, and through which the apiserver fetches downloads.
pub fn service(options: &Options) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": NAME, "namespace": options.namespace, "labels": labels() },
        "spec": {
            "selector": selector(),
            "ports": [
                { "name": "metrics", "port": PORT, "protocol": "TCP", "targetPort": "metrics" },
                { "name": "downloads", "port": DOWNLOADS, "protocol": "TCP", "targetPort": "downloads" },
            ],
        },
    })
}

/// The server.
pub fn deployment(options: &Options) -> Value {
    let mut of = labels();
    of[VERSION] = json!(env!("CARGO_PKG_VERSION"));
    // Two pods may not be able to mount one claim.
    let strategy = match options.claim {
        Some(_) => "Recreate",
        None => "RollingUpdate",
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": NAME,
            "namespace": options.namespace,
            "labels": of,
            "annotations": { ANNOTATION: options.annotation() },
        },
        "spec": {
            "replicas": options.replicas,
            "selector": { "matchLabels": selector() },
            "strategy": { "type": strategy },
            "template": pod(options),
        },
    })
}

fn selector() -> Value {
    json!({ super::COMPONENT: NAME })
}

fn pod(options: &Options) -> Value {
    let mut labels = labels();
    for (key, value) in &options.pod_labels {
        labels[key] = json!(value);
    }
    let mut annotations = json!({
        "prometheus.io/scrape": "true",
        "prometheus.io/port": PORT.to_string(),
        "prometheus.io/path": "/metrics",
    });
    for (key, value) in &options.pod_annotations {
        annotations[key] = json!(value);
    }
    let mut volumes = vec![
        json!({ "name": "cache", "emptyDir": {} }),
        json!({ "name": "tmp", "emptyDir": {} }),
    ];
    let mut mounts = vec![
        json!({ "name": "cache", "mountPath": "/var/cache/ark" }),
        json!({ "name": "tmp", "mountPath": "/tmp" }),
    ];
    if let Some(claim) = &options.claim {
        volumes.push(
            json!({ "name": "backups", "persistentVolumeClaim": { "claimName": claim.name } }),
        );
        mounts.push(json!({ "name": "backups", "mountPath": claim.path }));
    }
    let mut spec = json!({
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container(options, mounts)],
        "volumes": volumes,
    });
    if !options.image_pull_secrets.is_empty() {
        let named = options.image_pull_secrets.iter();
        spec["imagePullSecrets"] = named.map(|name| json!({ "name": name })).collect();
    }
    json!({ "metadata": { "labels": labels, "annotations": annotations }, "spec": spec })
}

/// The arguments of the container.
pub fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = vec![
        "server".to_owned(),
        format!("--namespace={}", options.namespace),
        format!("--metrics-address=0.0.0.0:{PORT}"),
        format!("--download-address=0.0.0.0:{DOWNLOADS}"),
        format!("--download-service={NAME}"),
        "--cache-dir=/var/cache/ark".to_owned(),
        "--log-format=json".to_owned(),
    ];
    arguments.extend(options.server_arguments.iter().cloned());
    arguments
}

fn container(options: &Options, mounts: Vec<Value>) -> Value {
    let probe = |path: &str, period: u32| json!({ "httpGet": { "path": path, "port": "metrics" }, "periodSeconds": period, "timeoutSeconds": 5 });
    let resources = &options.resources;
    json!({
        "name": NAME,
        "image": options.image,
        "args": arguments(options),
        "ports": [
            { "name": "metrics", "containerPort": PORT, "protocol": "TCP" },
            { "name": "downloads", "containerPort": DOWNLOADS, "protocol": "TCP" },
        ],
        "livenessProbe": probe("/healthz", 20),
        "readinessProbe": probe("/readyz", 5),
        "resources": {
            "requests": { "cpu": resources.cpu_request, "memory": resources.memory_request },
            "limits": { "memory": resources.memory_limit },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": mounts,
    })
}
