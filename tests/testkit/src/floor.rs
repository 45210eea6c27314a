//! The floors that ark's times are compared with: reading a cluster with plain paged LISTs, and filling one with plain POSTs.
//!
//! Both use the client that ark uses and do nothing but the requests. Compare release builds with release builds.

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::{Api, Resource};
use crate::load::{IN_FLIGHT, exists, post};

/// Resources that are read at the same time.
const AT_ONCE: usize = 2;

/// Resources that are views of others: the events of the second group, and what the apiserver computes.
const VIEWS: &[&str] = &["events.events.k8s.io", "componentstatuses"];

/// What reading everything cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FloorReport {
    /// Wall time, discovery included.
    pub seconds: f64,
    /// Objects read.
    pub objects: usize,
    /// Bytes of JSON received.
    pub bytes: u64,
    /// Requests sent.
    pub requests: u64,
    /// Resources read.
    pub resources: usize,
    /// Bytes of an object, on average.
    pub mean_bytes: f64,
}

/// Lists every resource in its preferred version: JSON, pages of 500, two resources at a time, no compression.
pub async fn floor(api: &Api, exclude: &[String]) -> anyhow::Result<FloorReport> {
    #[derive(Deserialize)]
    struct Page {
        metadata: Metadata,
        #[serde(default)]
        items: Option<Vec<IgnoredAny>>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default, rename = "continue")]
        next: String,
    }
    let (requests, bytes, began) = (api.requests(), api.bytes(), Instant::now());
    let resources = readable(api, exclude).await?;
    let read = |resource: Resource| {
        let api = api.clone();
        let task = async move {
            let (mut objects, mut next) = (0, String::new());
            loop {
                let token = if next.is_empty() {
                    next
                } else {
                    format!("&continue={next}")
                };
                let path = format!("{}?limit=500{token}", resource.path());
                let body = api
                    .send(
                        Method::GET,
                        &path,
                        "application/json",
                        "application/json",
                        Vec::new(),
                    )
                    .await?;
                let page: Page = serde_json::from_slice(&body)
                    .with_context(|| format!("reading a page of {}", resource.full_name()))?;
                objects += page.items.map_or(0, |items| items.len());
                next = page.metadata.next;
                if next.is_empty() {
                    return anyhow::Ok(objects);
                }
            }
        };
        async move { tokio::spawn(task).await.context("a task panicked")? }
    };
    let count = resources.len();
    let objects: Vec<usize> = stream::iter(resources)
        .map(read)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let (objects, bytes) = (objects.iter().sum(), api.bytes() - bytes);
    let seconds = began.elapsed().as_secs_f64();
    let mean_bytes = bytes as f64 / objects as f64;
    Ok(FloorReport {
        seconds,
        objects,
        bytes,
        requests: api.requests() - requests,
        resources: count,
        mean_bytes,
    })
}

async fn readable(api: &Api, exclude: &[String]) -> anyhow::Result<Vec<Resource>> {
    let mut resources = api.resources().await?;
    resources
        .retain(|r| !VIEWS.contains(&r.full_name().as_str()) && !exclude.contains(&r.full_name()));
    Ok(resources)
}

/// One line of a dump.
#[derive(Serialize, Deserialize)]
struct Line {
    resource: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    collection: String,
    object: Box<RawValue>,
}

/// Writes every object of a cluster, as the apiserver returns it, one to a line. Returns how many.
pub async fn dump(api: &Api, exclude: &[String], out: &mut dyn Write) -> anyhow::Result<usize> {
    #[derive(Deserialize)]
    struct Placed {
        metadata: Place,
    }
    #[derive(Deserialize)]
    struct Place {
        namespace: Option<String>,
    }
    let mut count = 0;
    for resource in readable(api, exclude).await? {
        for object in api.list(&resource.path(), "").await? {
            let placed: Placed = serde_json::from_str(object.get()).context("reading an object")?;
            let line = Line {
                resource: resource.full_name(),
                api_version: resource.api_version(),
                kind: resource.kind.clone(),
                collection: resource.path_in(placed.metadata.namespace.as_deref()),
                object,
            };
            serde_json::to_writer(&mut *out, &line).context("writing the dump")?;
            out.write_all(b"\n").context("writing the dump")?;
            count += 1;
        }
    }
    Ok(count)
}

/// What posting a dump cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PostReport {
    /// Objects created.
    pub created: usize,
    /// Objects that were there already, as those that a control plane makes for itself.
    pub existed: usize,
    /// Objects that the apiserver refused.
    pub refused: usize,
    /// The first few refusals.
    pub reasons: Vec<String>,
    /// Wall time of the requests.
    pub seconds: f64,
    /// Objects posted a second.
    pub objects_per_second: f64,
}

/// Creates the objects of a dump in another cluster with concurrent POSTs. What only the apiserver may write is taken off before the
/// clock starts; owner references too, since the owners' uids are gone.
pub async fn post_floor(api: &Api, dump: &str) -> anyhow::Result<PostReport> {
    let mut waves: Vec<Vec<(String, Vec<u8>)>> = vec![Vec::new(); 4];
    for line in dump.lines() {
        let line: Line = serde_json::from_str(line).context("reading the dump")?;
        let mut object: Value =
            serde_json::from_str(line.object.get()).context("reading an object")?;
        object["apiVersion"] = line.api_version.into();
        object["kind"] = line.kind.into();
        if line.collection == "/api/v1/namespaces/default/services"
            && object["metadata"]["name"] == "kubernetes"
        {
            continue;
        }
        strip(&mut object);
        waves[wave(&line.resource)].push((line.collection, object.to_string().into_bytes()));
    }
    let began = Instant::now();
    let report = Mutex::new(PostReport::default());
    for wave in waves {
        stream::iter(wave)
            .map(|(collection, object)| {
                let api = api.clone();
                async move {
                    tokio::spawn(async move { post(&api, &collection, object).await })
                        .await
                        .context("a task panicked")
                }
            })
            .buffer_unordered(IN_FLIGHT)
            .try_for_each(|result| {
                if let Ok(mut report) = report.lock() {
                    match result {
                        Ok(_) => report.created += 1,
                        Err(error) if exists(&error) => report.existed += 1,
                        Err(error) => {
                            report.refused += 1;
                            if report.reasons.len() < 10 {
                                report
                                    .reasons
                                    .push(error.to_string().chars().take(300).collect());
                            }
                        }
                    }
                }
                std::future::ready(Ok(()))
            })
            .await?;
    }
    let mut report = report
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a task panicked"))?;
    report.seconds = began.elapsed().as_secs_f64();
    report.objects_per_second = report.created as f64 / report.seconds;
    Ok(report)
}

/// What others need comes first.
fn wave(resource: &str) -> usize {
    match resource {
        "namespaces"
        | "customresourcedefinitions.apiextensions.k8s.io"
        | "priorityclasses.scheduling.k8s.io" => 0,
        "serviceaccounts"
        | "storageclasses.storage.k8s.io"
        | "persistentvolumes"
        | "secrets"
        | "configmaps" => 1,
        "events" => 3,
        _ => 2,
    }
}

fn strip(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
            "generation",
            "ownerReferences",
            "selfLink",
        ] {
            metadata.remove(field);
        }
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    // A job's selector and its template's labels carry the uid of the job.
    if object["kind"] == "Job" {
        let of_the_job =
            |label: &str| label.ends_with("controller-uid") || label.ends_with("job-name");
        if let Some(labels) = object["spec"]["template"]["metadata"]["labels"].as_object_mut() {
            labels.retain(|label, _| !of_the_job(label));
        }
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("selector");
        }
    }
}
