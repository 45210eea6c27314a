//! The example of Ark's quickstart: a namespace with a Deployment of nginx and a Service, all labelled `app: nginx`.

use serde_json::{Value, json};

use crate::cluster::Scope;

/// The objects and where to POST them, in order.
pub fn objects(scope: &Scope) -> Vec<(String, Value)> {
    let namespace = scope.nginx_namespace();
    // In a cluster with a cloud behind it a load balancer costs money.
    let (start, service) = match scope.yours {
        true => ("ark-demo-", "ClusterIP"),
        false => ("", "LoadBalancer"),
    };
    let labels = json!({"app": "nginx", "app.kubernetes.io/part-of": scope.prefix()});
    let meta = |name: &str| json!({"name": format!("{start}{name}"), "namespace": namespace, "labels": labels});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("nginx-deployment"),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:stable", "ports": [{"containerPort": 80}]}]},
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": meta("my-nginx"),
        "spec": {"type": service, "ports": [{"port": 80, "targetPort": 80}], "selector": {"app": "nginx"}},
    });
    let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
    vec![
        ("/api/v1/namespaces".to_owned(), home),
        (
            format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            deployment,
        ),
        (format!("/api/v1/namespaces/{namespace}/services"), service),
    ]
}
