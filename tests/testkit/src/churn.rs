//! Changes or deletes a share of a data set in a cluster, picked at random from a seed.
//!
//! Only objects that others do not hang on are picked, so that the number of changed objects is the number asked for: no namespace,
//! definition, volume or claim (kept by finalizers), service account, or owner (whose dependents the garbage collector deletes).

use std::time::Instant;

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{Api, Resource};
use crate::dataset::random::Random;
use crate::dataset::text;
use crate::load::IN_FLIGHT;

/// What to do to which share.
#[derive(Clone, Debug)]
pub struct Churn {
    /// The data set's prefix.
    pub prefix: String,
    /// Share of all its objects, in percent.
    pub percent: f64,
    /// Which of them.
    pub seed: u64,
    /// Delete them, instead of changing them.
    pub delete: bool,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct ChurnReport {
    /// Objects of the data set.
    pub objects: usize,
    /// Objects changed or deleted.
    pub touched: usize,
    /// Wall time.
    pub seconds: f64,
    /// Their paths.
    #[serde(skip)]
    pub paths: Vec<String>,
    /// Changed objects as the apiserver returned them; empty after deleting.
    #[serde(skip)]
    pub changed: Vec<Value>,
}

const LEFT_ALONE: &[&str] = &[
    "namespaces",
    "customresourcedefinitions",
    "persistentvolumes",
    "persistentvolumeclaims",
    "serviceaccounts",
    "deployments",
    "cronjobs",
    "services",
    "priorityclasses",
    "clusterroles",
    "roles",
];

/// Changes or deletes `percent` of a data set's objects.
pub async fn churn(api: &Api, churn: &Churn) -> anyhow::Result<ChurnReport> {
    let began = Instant::now();
    let selector = format!("&labelSelector=app.kubernetes.io/part-of={}", churn.prefix);
    let (mut all, mut eligible) = (0, Vec::new());
    for resource in api.resources().await? {
        // Served by two groups: once is enough.
        if resource.group == "events.k8s.io" || !resource.verbs.iter().any(|verb| verb == "patch") {
            continue;
        }
        let objects = api.list(&resource.path(), &selector).await?;
        all += objects.len();
        if left_alone(&resource, &churn.prefix) {
            continue;
        }
        for object in objects {
            let object: Value = serde_json::from_str(object.get()).context("reading an object")?;
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!(
                "{}/{name}",
                resource.path_in(object["metadata"]["namespace"].as_str())
            );
            eligible.push((path, object));
        }
    }
    let count = ((all as f64 * churn.percent / 100.0).round() as usize).min(eligible.len());
    let mut random = Random::new(churn.seed, &["churn"]);
    eligible.sort_by(|(a, _), (b, _)| a.cmp(b));
    for place in 0..count {
        let other = random.between(place, eligible.len() - 1);
        eligible.swap(place, other);
    }
    eligible.truncate(count);
    let work = eligible.into_iter().map(|(path, object)| {
        let mut random = Random::new(churn.seed, &["change", &path]);
        async move {
            if churn.delete {
                api.delete(&format!(
                    "{path}?propagationPolicy=Background&gracePeriodSeconds=0"
                ))
                .await?;
                return anyhow::Ok((path, None));
            }
            let changed = api
                .patch(
                    &format!("{path}?fieldManager=kubectl-edit"),
                    &change(&object, &mut random),
                )
                .await?;
            Ok((path, Some(changed)))
        }
    });
    let done: Vec<(String, Option<Value>)> = stream::iter(work)
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    let mut report = ChurnReport {
        objects: all,
        touched: done.len(),
        seconds: 0.0,
        paths: Vec::new(),
        changed: Vec::new(),
    };
    for (path, changed) in done {
        report.paths.push(path);
        report.changed.extend(changed);
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

fn left_alone(resource: &Resource, prefix: &str) -> bool {
    // The custom resource that owns pods.
    LEFT_ALONE.contains(&resource.plural.as_str())
        || resource.plural == format!("{prefix}-workloads")
}

/// A small edit, as people and controllers make them: an annotation, and a value where the object holds some.
fn change(object: &Value, random: &mut Random) -> Value {
    let mut patch = json!({"metadata": {"annotations": {"ark.test/changed": text::sentence(random), "checksum/config": random.hex(64)}}});
    let first = |field: &str| {
        object[field]
            .as_object()
            .and_then(|map| map.keys().next())
            .cloned()
    };
    // Other kinds of Secrets have a form to keep.
    let editable =
        object["immutable"] != true && object["type"].as_str().is_none_or(|kind| kind == "Opaque");
    if let Some(key) = first("data").filter(|_| editable) {
        let value = match object["data"][&key].as_str() {
            Some(old) if object.get("type").is_none() => {
                format!("{old}{} = {}\n", text::word(random), random.hex(16))
            }
            _ => text::base64(random.hex(40).as_bytes()),
        };
        patch["data"] = json!({key: value});
    }
    patch
}
