//! Fills a cluster with a data set, many requests at once, and empties it again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use serde::Serialize;

use crate::api::{Api, ApiError};
use crate::dataset::{Dataset, Item};

/// How many requests are on their way at once.
pub(crate) const IN_FLIGHT: usize = 32;
const RETRIES: u32 = 8;

/// What a load did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Objects created.
    pub created: usize,
    /// Objects that were there already.
    pub existed: usize,
    /// Statuses written.
    pub statuses: usize,
    /// Wall time.
    pub seconds: f64,
    /// Created objects a second.
    pub objects_per_second: f64,
}

/// Creates every object of a data set. What is there already stays as it is, so that a load can be repeated.
pub async fn load(api: &Api, data: &Dataset) -> anyhow::Result<LoadReport> {
    let began = Instant::now();
    let mut report = LoadReport::default();
    let mut uids: Arc<HashMap<String, String>> = Arc::default();
    let mut items = data.items().peekable();
    while let Some(wave) = items.peek().map(|item| item.wave) {
        let created: Vec<Created> = stream::iter(std::iter::from_fn(|| {
            items.next_if(|item| item.wave == wave)
        }))
        .map(|item| {
            let (api, uids) = (api.clone(), uids.clone());
            // A task each, so that encoding and TLS use every core.
            async move {
                tokio::spawn(async move { create(&api, item, &uids).await })
                    .await
                    .context("a task panicked")?
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
        let mut known = Arc::try_unwrap(uids).unwrap_or_else(|shared| (*shared).clone());
        for one in created {
            report.created += usize::from(one.new);
            report.existed += usize::from(!one.new);
            report.statuses += usize::from(one.status);
            known.insert(one.path, one.uid);
        }
        uids = Arc::new(known);
        if wave == 0 {
            wait_for_definitions(api, data).await?;
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    report.objects_per_second = report.created as f64 / report.seconds;
    Ok(report)
}

struct Created {
    path: String,
    uid: String,
    new: bool,
    status: bool,
}

async fn create(
    api: &Api,
    mut item: Item,
    uids: &HashMap<String, String>,
) -> anyhow::Result<Created> {
    let path = item.path();
    if let Some(owner) = &item.owner {
        let uid = uids
            .get(owner)
            .with_context(|| format!("{path} is owned by {owner}, which does not exist"))?;
        item.object["metadata"]["ownerReferences"][0]["uid"] = uid.as_str().into();
    }
    let (uid, new) = match post(
        api,
        &item.collection(),
        item.object.to_string().into_bytes(),
    )
    .await
    {
        Ok(uid) => (uid, true),
        Err(error) if exists(&error) => {
            let stored = api.get(&path).await?;
            (
                stored["metadata"]["uid"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                false,
            )
        }
        Err(error) => return Err(error).with_context(|| format!("creating {path}")),
    };
    let status = item.status.filter(|_| new);
    let has_status = status.is_some();
    if let Some(status) = status {
        let patch = serde_json::json!({"status": status})
            .to_string()
            .into_bytes();
        let target = format!("{path}/status?fieldManager=kubelet");
        retrying(api, Method::PATCH, &target, patch)
            .await
            .with_context(|| format!("writing the status of {path}"))?;
    }
    Ok(Created {
        path,
        uid,
        new,
        status: has_status,
    })
}

/// POST under the name of the manager that most manifests are applied by. Returns the uid.
pub(crate) async fn post(api: &Api, collection: &str, object: Vec<u8>) -> Result<String, ApiError> {
    let path = format!("{collection}?fieldManager=kubectl-client-side-apply");
    retrying(api, Method::POST, &path, object).await
}

pub(crate) fn exists(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { code: 409, message, .. } if message.contains("already exists"))
}

/// A write that is repeated while the apiserver is busy, or has not seen a fresh namespace, class or definition in its caches.
async fn retrying(
    api: &Api,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<String, ApiError> {
    let mut attempt = 0;
    loop {
        match api.write(method.clone(), path, body.clone()).await {
            Ok(uid) => return Ok(uid),
            Err(error) => {
                let passing = error
                    .code()
                    .is_none_or(|code| matches!(code, 403 | 404 | 409 | 429 | 500..=504))
                    && !exists(&error);
                if !passing || attempt == RETRIES {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
        attempt += 1;
    }
}

/// Waits until the apiserver serves the data set's own resources.
async fn wait_for_definitions(api: &Api, data: &Dataset) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let group = data.custom_group();
    for (name, _) in data.counts() {
        let Some(plural) = name.strip_suffix(&format!(".{group}")) else {
            continue;
        };
        let path = format!("/apis/{group}/v1/{plural}");
        while let Err(error) = api.list_page(&path, "", None).await {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("{name} is not served"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Removes everything of a data set from a cluster, by label and prefix: objects of cluster scope, definitions, namespaces with
/// what is in them. Waits for the namespaces to go, for which a controller-manager must run. Returns how many it deleted.
pub async fn unload(api: &Api, prefix: &str, within: Duration) -> anyhow::Result<usize> {
    let selector = format!("&labelSelector=app.kubernetes.io/part-of={prefix}");
    let mut paths = Vec::new();
    for resource in api
        .resources()
        .await?
        .iter()
        .filter(|r| !r.namespaced && r.verbs.iter().any(|verb| verb == "delete"))
    {
        for name in names(&api.list(&resource.path(), &selector).await?) {
            if name.starts_with(prefix) {
                paths.push((
                    resource.plural != "namespaces",
                    format!("{}/{name}", resource.path()),
                ));
            }
        }
    }
    // Namespaces go first: their content may need the classes and definitions to be deleted cleanly.
    paths.sort();
    let (later, namespaces): (Vec<_>, Vec<_>) = paths.into_iter().partition(|(later, _)| *later);
    let count = later.len() + namespaces.len();
    delete_all(api, &namespaces).await?;
    let deadline = Instant::now() + within;
    while !names(&api.list("/api/v1/namespaces", &selector).await?)
        .iter()
        .all(|name| !name.starts_with(prefix))
    {
        if Instant::now() > deadline {
            bail!("namespaces named {prefix}… are still being deleted after {within:?}");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    delete_all(api, &later).await?;
    Ok(count)
}

async fn delete_all(api: &Api, paths: &[(bool, String)]) -> anyhow::Result<()> {
    stream::iter(paths)
        .map(Ok)
        .try_for_each_concurrent(IN_FLIGHT, |(_, path)| async move {
            api.delete(path).await.context("deleting")
        })
        .await
}

fn names(items: &[Box<serde_json::value::RawValue>]) -> Vec<String> {
    items.iter().filter_map(|item| name(item.get())).collect()
}

fn name(object: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: String,
    }
    serde_json::from_str::<Named>(object)
        .ok()
        .map(|named| named.metadata.name)
}
