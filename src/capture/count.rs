//! How many objects a plan would take, without reading them where that can be avoided.
//!
//! One object of a list and the apiserver's word on how many follow is enough where everything listed is taken. That
//! count includes objects that exclude themselves by label. Where selectors or namespaces are judged here, the list is
//! read.

use futures::StreamExt;
use serde::Serialize;

use super::error::Result;
use super::filter::excludes_itself;
use super::plan::{Listing, Plan};
use super::read::is_fatal;
use crate::cluster::kinds::NAMESPACES;
use crate::cluster::{Cluster, ListOptions, Lister, Resource, describe};

/// So many namespaces that exclude themselves are counted apart and taken off; with more, everything is read.
const FEW_BY_LABEL: u64 = 8;

/// How many objects of one resource a plan would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// The resource.
    pub resource: String,
    /// The version it is read in.
    pub version: String,
    /// How many objects; nothing if they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// Why they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Counts what the plan's listings would take. Related objects are not in it.
pub async fn count(cluster: &Cluster, plan: &Plan) -> Result<Vec<Count>> {
    let counts: Vec<Result<Count>> = futures::stream::iter(&plan.listings)
        .map(|listing| count_one(cluster, plan, listing))
        .buffered(4)
        .collect()
        .await;
    counts.into_iter().collect()
}

async fn count_one(cluster: &Cluster, plan: &Plan, listing: &Listing) -> Result<Count> {
    let mut count = Count {
        resource: listing.resource.to_string(),
        version: listing.version.clone(),
        objects: None,
        error: None,
    };
    let scopes: Vec<Option<String>> = match &listing.namespaces {
        None => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    let mut objects = 0;
    for namespace in scopes {
        match count_scope(cluster, plan, listing, namespace).await {
            Ok(more) => objects += more,
            Err(error) if is_fatal(&error) => return Err(error.into()),
            Err(error) => {
                count.error = Some(describe(&error));
                return Ok(count);
            }
        }
    }
    count.objects = Some(objects);
    Ok(count)
}

async fn count_scope(
    cluster: &Cluster,
    plan: &Plan,
    listing: &Listing,
    namespace: Option<String>,
) -> Result<u64, crate::cluster::Error> {
    let resource = listing.resource.as_ref();
    let is_namespaces = resource.name == NAMESPACES;
    let filtered =
        namespace.is_none() && plan.namespaces.is_some() && (resource.namespaced || is_namespaces);
    let by_label = if namespace.is_none() {
        plan.excluded_by_label.len() as u64
    } else {
        0
    };
    if plan.selectors.is_empty()
        && !filtered
        && by_label <= FEW_BY_LABEL
        && let Some(mut objects) = count_all(cluster, resource, namespace.clone()).await?
    {
        if is_namespaces {
            objects = objects.saturating_sub(by_label);
        } else if resource.namespaced {
            for left_out in plan.excluded_by_label.iter().filter(|_| by_label > 0) {
                let inside = count_all(cluster, resource, Some(left_out.clone())).await?;
                objects = objects.saturating_sub(inside.unwrap_or_default());
            }
        }
        return Ok(objects);
    }
    let options = ListOptions {
        namespace,
        label_selector: listing.label_selector.clone(),
        ..ListOptions::default()
    };
    let mut lister = Lister::new(cluster, resource, &options);
    let mut objects = 0;
    while let Some(page) = lister.next().await? {
        for item in page.items() {
            let meta = item?.meta;
            let home = if is_namespaces {
                &meta.name
            } else {
                &meta.namespace
            };
            let taken = (home.is_empty() || plan.takes_namespace(home))
                && !excludes_itself(&meta)
                && plan.filter.selects(&meta);
            objects += u64::from(taken);
        }
    }
    Ok(objects)
}

/// What the apiserver says, if it does.
async fn count_all(
    cluster: &Cluster,
    resource: &Resource,
    namespace: Option<String>,
) -> Result<Option<u64>, crate::cluster::Error> {
    let options = ListOptions {
        namespace,
        page_limit: 1,
        ..ListOptions::default()
    };
    let Some(page) = Lister::without_prefetch(cluster, resource, &options)
        .next()
        .await?
    else {
        return Ok(Some(0));
    };
    Ok(match (page.has_more(), page.remaining()) {
        (false, _) => Some(page.len() as u64),
        (true, remaining) => remaining.map(|remaining| page.len() as u64 + remaining),
    })
}
