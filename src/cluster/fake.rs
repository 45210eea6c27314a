//! Answers of an apiserver that a real one gives too rarely to wait for: expired tokens, lists out of order, lists that
//! break off. What a real apiserver does is tested against a real one.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use kube::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::connect::Cluster;

/// Path and query → status and body.
pub(crate) type Handler = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// A connection to an apiserver that answers so. The namespace `kube-system` is there.
pub(crate) async fn cluster(
    handler: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
) -> Cluster {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handler: Arc<Handler> = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&handler)));
        }
    });
    Cluster::over(Config::new(url.parse().unwrap()), "fake".to_owned())
        .await
        .unwrap()
}

async fn serve(mut stream: TcpStream, handler: Arc<Handler>) {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => request.extend_from_slice(&buffer[..read]),
            }
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        request.clear();
        let path = text.split(' ').nth(1).unwrap();
        let (status, body) = match path {
            "/api/v1/namespaces/kube-system" => (
                200,
                r#"{"metadata":{"name":"kube-system","uid":"u-1"}}"#.to_owned(),
            ),
            path => handler(path),
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(head.as_bytes()).await.is_err()
            || stream.write_all(body.as_bytes()).await.is_err()
        {
            return;
        }
    }
}

/// What `/api` and `/apis` answer for a cluster with these namespaced resources of the core group.
pub(crate) fn discovery(path: &str, resources: &[(&str, &str)]) -> Option<(u16, String)> {
    let served: Vec<_> = resources
        .iter()
        .map(|(plural, kind)| {
            serde_json::json!({"resource": plural, "responseKind": {"group": "", "version": "v1", "kind": kind},
                "scope": if *plural == "namespaces" { "Cluster" } else { "Namespaced" },
                "singularResource": kind.to_lowercase(), "verbs": ["list", "get", "create", "delete"]})
        })
        .collect();
    let items = match path {
        "/api" => {
            serde_json::json!([{"metadata": {"name": ""}, "versions": [{"version": "v1", "resources": served}]}])
        }
        "/apis" => serde_json::json!([]),
        _ => return None,
    };
    Some((
        200,
        serde_json::json!({"kind": "APIGroupDiscoveryList", "items": items}).to_string(),
    ))
}

/// One page of a list.
pub(crate) fn page(names: &[(&str, &str)], token: Option<&str>) -> (u16, String) {
    let items: Vec<_> = names
        .iter()
        .map(|(namespace, name)| serde_json::json!({"metadata": {"name": name, "namespace": namespace}}))
        .collect();
    (
        200,
        serde_json::json!({"metadata": {"continue": token.unwrap_or("")}, "items": items})
            .to_string(),
    )
}

/// A refusal.
pub(crate) fn refuse(code: u16, reason: &str, token: Option<&str>) -> (u16, String) {
    let status = serde_json::json!({"kind": "Status", "code": code, "reason": reason, "message": format!("it is {reason}"),
        "metadata": {"continue": token.unwrap_or("")}});
    (code, status.to_string())
}
