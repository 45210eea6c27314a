//! A command in a pod of a workload.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::exec::{Executor, Target};
use super::operation::{Ended, Subject, failed};
use super::output::Output;
use super::plan::PodName;
use super::pods::Pod;
use super::websocket::WebSocket;
use crate::api::{OperationExec, WorkloadKind};
use crate::cluster::{Call, Cluster, Selector, Verb, describe};

/// Runs a command in a running pod of the workload.
pub async fn run(
    cluster: &Cluster,
    exec: &OperationExec,
    limit: Duration,
    subject: &Subject,
) -> Ended {
    let pod = match choose(cluster, exec).await {
        Ok(pod) => pod,
        Err(why) => return failed(why),
    };
    let container = match &exec.container {
        Some(name) => pod.containers.iter().find(|known| *known == name),
        None => pod.containers.first(),
    };
    let Some(container) = container else {
        return failed(format!(
            "pod {} has no container {:?}; it has {}",
            pod.name,
            exec.container.as_deref().unwrap_or_default(),
            pod.containers.join(", ")
        ));
    };
    let target = Target {
        pod: pod.name.clone(),
        container: container.clone(),
    };
    let command: Vec<String> = exec.command.iter().map(|word| subject.fill(word)).collect();
    let output = Output::default();
    let executor: Arc<dyn Executor> = Arc::new(WebSocket::new(cluster));
    let running = executor.exec(&target, &command, &output);
    let said = |why: String| format!("pod {}, container {container}: {why}", pod.name);
    match tokio::time::timeout(limit, running).await {
        Ok(Ok(())) => Ok(output.lines()),
        Ok(Err(error)) => Err((output.lines(), said(error.to_string()))),
        Err(_) => Err((
            output.lines(),
            said(format!("it had not ended after {limit:?}")),
        )),
    }
}

/// The first of the workload's pods that runs.
async fn choose(cluster: &Cluster, exec: &OperationExec) -> Result<Pod, String> {
    let (namespace, name) = (&exec.namespace, &exec.name);
    let by_name = format!("fieldSelector=metadata.name%3D{name}");
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let plural = match exec.kind {
        WorkloadKind::Pod => None,
        WorkloadKind::StatefulSet => Some("statefulsets"),
        WorkloadKind::Deployment => Some("deployments"),
        WorkloadKind::DaemonSet => Some("daemonsets"),
    };
    let what = format!("{:?} {namespace}/{name}", exec.kind);
    let found = match plural {
        None => list(cluster, &format!("{pods}?{by_name}")).await?,
        Some(plural) => {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}?{by_name}");
            let workloads = list(cluster, &path).await?;
            let Some(workload) = workloads.first() else {
                return Err(format!("there is no {what}"));
            };
            let selector = serde_json::from_value(workload["spec"]["selector"].clone());
            let selector = selector.map_err(|error| format!("{what}: {error}"))?;
            let selector = Selector::from_spec(&selector).map_err(|e| format!("{what}: {e}"))?;
            let selector = crate::cluster::encoded(&selector.to_string());
            list(cluster, &format!("{pods}?labelSelector={selector}")).await?
        }
    };
    if found.is_empty() {
        return Err(match exec.kind {
            WorkloadKind::Pod => format!("there is no {what}"),
            _ => format!("{what} has no pods"),
        });
    }
    let mut running = Vec::new();
    for pod in &found {
        let leaving = !pod["metadata"]["deletionTimestamp"].is_null();
        let pod = Pod::parse(&pod.to_string()).map_err(|error| error.to_string())?;
        if pod.is_running() && !leaving {
            running.push(pod);
        }
    }
    running.sort_by(|a: &Pod, b: &Pod| PodName::cmp(&a.name, &b.name));
    let none = || format!("no pod of {what} is running");
    running.into_iter().next().ok_or_else(none)
}

pub(super) async fn list(cluster: &Cluster, path: &str) -> Result<Vec<Value>, String> {
    let body = cluster.call(&Call::new(Verb::List, path)).await;
    let body = body.map_err(|error| describe(&error))?;
    let mut list: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    match list["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Ok(Vec::new()),
    }
}
