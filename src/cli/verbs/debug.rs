//! `ark debug`
//!
//! Everything that somebody needs who helps with a server, in one file, and no secret in it. Secrets are asked for without their data, so
//! that not even this process sees it; everything else goes through [`Redactor`]. What cannot be had is named in `errors.txt` and is no
//! reason to stop: what is broken is what one wants to hear about.

use std::path::PathBuf;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{
    DownloadKind, DownloadTarget, ObjectMeta, ServerStatusRequest, ServerStatusRequestSpec,
};
use crate::cli::archive::Archive;
use crate::cli::args::client::DebugArgs;
use crate::cli::context::Context;
use crate::cli::download::fetch;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::redact::Redactor;
use crate::cli::served::{Served, unasked};
use crate::cluster::{Call, Patience, Verb};

/// How long the server may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);
/// The last lines of a container's log, and the most bytes of them.
const LINES: u32 = 20_000;
const BYTES: u32 = 8 << 20;
/// Where metrics are, if a pod does not say so.
const METRICS: u64 = 8085;
/// Of Secrets nothing but the metadata is asked for.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

pub async fn run(args: DebugArgs, context: &mut Context) -> Result<Exit> {
    if context.is_direct() {
        return Err(Error::only_served("debug"));
    }
    let interrupt = context.interrupt.clone();
    let (file, missing) = interrupt.unless(collect(&args, context)).await??;
    let shown = file.display().to_string();
    let value = json!({ "file": shown, "missing": missing });
    context
        .printer
        .one(&value, &shown, || format!("{shown}\n"))?;
    if !missing.is_empty() {
        let count = missing.len();
        context.talk.note(&format!(
            "{count} things could not be had; errors.txt in it says which and why"
        ));
    }
    Ok(Exit::Ok)
}

async fn collect(args: &DebugArgs, context: &Context) -> Result<(PathBuf, Vec<String>)> {
    let served = context.serve().await?;
    // Nothing is written for a cluster that is not there.
    let version = get(&served, "/version", "application/json").await;
    let version = version.map_err(unasked)?;
    let now = context.now();
    let stamp = now.strftime("%Y%m%d%H%M%S").to_string();
    let name = format!("ark-debug-{stamp}");
    let file = args
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let failed = |source| Error::Write {
        path: file.clone(),
        source,
    };
    let archive = Archive::create(&file, now.as_second().unsigned_abs()).map_err(failed)?;
    let mut bundle = Bundle {
        archive,
        root: name,
        redactor: Redactor::new().map_err(|error| failed(std::io::Error::other(error)))?,
        missing: Vec::new(),
        broken: None,
    };
    let progress = context.talk.progress("collecting");
    progress.set("collecting versions".to_owned());
    versions(&served, &version, context, &mut bundle).await;
    progress.set("collecting objects".to_owned());
    objects(&served, &mut bundle).await;
    progress.set("collecting logs".to_owned());
    pods(&served, &mut bundle).await;
    for (names, kind, of) in [
        (&args.backups, DownloadKind::BackupLog, "backups"),
        (&args.restores, DownloadKind::RestoreLog, "restores"),
    ] {
        for name in names {
            let path = format!("{of}/{name}.log");
            match log(&served, kind, name, context).await {
                Ok(log) => bundle.text(&path, &log),
                Err(error) => bundle.lacks(&path, &error.chain()),
            }
        }
    }
    drop(progress);
    let missing = bundle.finish().map_err(failed)?;
    Ok((file, missing))
}

/// The file, and what could not be had.
struct Bundle {
    archive: Archive,
    root: String,
    redactor: Redactor,
    missing: Vec<String>,
    /// Why nothing more can be written.
    broken: Option<std::io::Error>,
}

impl Bundle {
    fn put(&mut self, path: &str, text: &str) {
        if self.broken.is_none() {
            let path = format!("{}/{path}", self.root);
            self.broken = self.archive.add(&path, text.as_bytes()).err();
        }
    }

    fn text(&mut self, path: &str, text: &str) {
        let text = self.redactor.text(text);
        self.put(path, &text);
    }

    fn value(&mut self, path: &str, mut value: Value) {
        self.redactor.value(&mut value);
        match serde_json::to_string_pretty(&value) {
            Ok(text) => self.put(path, &text),
            Err(error) => self.lacks(path, &error.to_string()),
        }
    }

    fn lacks(&mut self, path: &str, why: &str) {
        let line = self.redactor.text(&format!("{path}: {why}"));
        self.missing.push(line);
    }

    fn finish(mut self) -> std::io::Result<Vec<String>> {
        if !self.missing.is_empty() {
            let lines = format!("{}\n", self.missing.join("\n"));
            self.put("errors.txt", &lines);
        }
        match self.broken {
            Some(error) => Err(error),
            None => self.archive.finish().map(|()| self.missing),
        }
    }
}

async fn get(
    served: &Served,
    path: &str,
    accept: &'static str,
) -> Result<String, crate::cluster::Error> {
    let call = Call {
        patience: Patience::SHORT,
        accept,
        ..Call::new(Verb::Get, path)
    };
    let body = served.cluster().call(&call).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn get_value(served: &Served, path: &str, accept: &'static str) -> Result<Value, String> {
    let text = get(served, path, accept).await;
    let text = text.map_err(|error| crate::cluster::describe(&error))?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

async fn versions(served: &Served, apiserver: &str, context: &Context, bundle: &mut Bundle) {
    let server = match server_version(served, context).await {
        Ok(version) => version,
        Err(why) => {
            bundle.lacks("the version of the server", &why);
            Value::Null
        }
    };
    let value = json!({
        "client": env!("CARGO_PKG_VERSION"),
        "server": server,
        "kubernetes": serde_json::from_str(apiserver).unwrap_or(Value::Null),
        "apiserver": served.cluster().server(),
        "namespace": served.namespace(),
        "collected": context.now().to_string(),
    });
    bundle.value("versions.json", value);
}

async fn server_version(served: &Served, context: &Context) -> Result<Value, String> {
    let run: [u8; 6] = context.env.bytes();
    let mut request = ServerStatusRequest::new(
        &format!("debug-{}", hex::encode(run)),
        ServerStatusRequestSpec {},
    );
    request.metadata = ObjectMeta {
        namespace: Some(served.namespace().to_owned()),
        ..request.metadata
    };
    let name = request.name_any();
    let told = |error: Error| error.chain();
    served.create(&request).await.map_err(told)?;
    let began = Instant::now();
    let answer = loop {
        let found = served
            .get::<ServerStatusRequest>(&name)
            .await
            .map_err(told)?;
        let status = found.object.status.unwrap_or_default();
        if let Some(version) = status.server_version {
            break Ok(Value::from(version));
        }
        if began.elapsed() > PATIENCE {
            break Err("no server has answered in 10 s".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let _ = served.delete::<ServerStatusRequest>(&name).await;
    answer
}

async fn objects(served: &Served, bundle: &mut Bundle) {
    let namespace = served.namespace();
    let mut lists: Vec<(String, String, &'static str)> = Vec::new();
    for definition in crate::api::definitions() {
        let plural = definition.spec.names.plural;
        let path = format!(
            "/apis/{}/namespaces/{namespace}/{plural}",
            crate::api::API_VERSION
        );
        lists.push((plural, path, "application/json"));
    }
    let core = format!("/api/v1/namespaces/{namespace}");
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    for (name, path, accept) in [
        (
            "deployments",
            format!("{apps}/deployments"),
            "application/json",
        ),
        ("events", format!("{core}/events"), "application/json"),
        ("services", format!("{core}/services"), "application/json"),
        (
            "persistentvolumeclaims",
            format!("{core}/persistentvolumeclaims"),
            "application/json",
        ),
        (
            "leases",
            format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
            "application/json",
        ),
        (
            "roles",
            format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"),
            "application/json",
        ),
        ("secrets", format!("{core}/secrets"), METADATA),
    ] {
        lists.push((name.to_owned(), path, accept));
    }
    for (name, path, accept) in lists {
        let file = format!("objects/{name}.json");
        match get_value(served, &path, accept).await {
            Ok(list) => bundle.value(&file, list),
            Err(why) => bundle.lacks(&file, &why),
        }
    }
}

async fn pods(served: &Served, bundle: &mut Bundle) {
    let core = format!("/api/v1/namespaces/{}/pods", served.namespace());
    let path = format!("{core}?labelSelector=component%3Dark");
    let list = match get_value(served, &path, "application/json").await {
        Ok(list) => list,
        Err(why) => return bundle.lacks("pods", &why),
    };
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    if pods.is_empty() {
        bundle.lacks("pods", "no pod has the label component=ark");
    }
    for pod in pods {
        let Some(name) = pod["metadata"]["name"].as_str().map(str::to_owned) else {
            continue;
        };
        let restarted = |container: &str| {
            let statuses = pod["status"]["containerStatuses"].as_array();
            statuses.into_iter().flatten().any(|status| {
                status["name"] == container && status["restartCount"].as_u64().unwrap_or(0) > 0
            })
        };
        for kind in ["initContainers", "containers"] {
            for container in pod["spec"][kind].as_array().into_iter().flatten() {
                let Some(container) = container["name"].as_str() else {
                    continue;
                };
                for previous in [false, true] {
                    if previous && !restarted(container) {
                        continue;
                    }
                    let path = format!(
                        "{core}/{name}/log?container={container}&previous={previous}&tailLines={LINES}&limitBytes={BYTES}"
                    );
                    let file = match previous {
                        true => format!("pods/{name}/{container}.previous.log"),
                        false => format!("pods/{name}/{container}.log"),
                    };
                    match get(served, &path, "*/*").await {
                        Ok(log) => bundle.text(&file, &log),
                        Err(error) => bundle.lacks(&file, &crate::cluster::describe(&error)),
                    }
                }
            }
        }
        let port = port_of(&pod).unwrap_or(METRICS);
        let file = format!("pods/{name}/metrics.txt");
        let path = format!("{core}/http:{name}:{port}/proxy/metrics");
        match get(served, &path, "*/*").await {
            Ok(metrics) => bundle.text(&file, &metrics),
            Err(error) => bundle.lacks(&file, &crate::cluster::describe(&error)),
        }
        bundle.value(&format!("pods/{name}/pod.json"), pod);
    }
}

/// The port that a pod calls `metrics`.
fn port_of(pod: &Value) -> Option<u64> {
    let containers = pod["spec"]["containers"].as_array()?;
    let ports = containers
        .iter()
        .filter_map(|container| container["ports"].as_array())
        .flatten();
    let mut metrics = ports.filter(|port| port["name"] == "metrics");
    metrics.next()?["containerPort"].as_u64()
}

async fn log(served: &Served, kind: DownloadKind, name: &str, context: &Context) -> Result<String> {
    let target = DownloadTarget::new(kind, name);
    let mut pieces = fetch(served, target, &context.env).await?;
    let mut log = Vec::new();
    while let Some(piece) = pieces.next().await? {
        log.extend_from_slice(&piece.body);
    }
    Ok(String::from_utf8_lossy(&log).into_owned())
}
