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
use super::read::{describe, is_fatal};
use crate::cluster::kinds::NAMESPACES;
use crate::cluster::{Cluster, ListOptions, Lister};

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
    let narrowed =
        namespace.is_none() && (plan.namespaces.is_some() || !plan.excluded_by_label.is_empty());
    let cheap = plan.selectors.is_empty() && !(narrowed && (resource.namespaced || is_namespaces));
    let mut options = ListOptions {
        namespace,
        label_selector: listing.label_selector.clone(),
        ..ListOptions::default()
    };
    if cheap {
        options.page_limit = 1;
        let mut lister = Lister::without_prefetch(cluster, resource, &options);
        match lister.next().await? {
            None => return Ok(0),
            Some(page) if !page.has_more() => return Ok(page.len() as u64),
            Some(page) => {
                if let Some(remaining) = page.remaining() {
                    return Ok(page.len() as u64 + remaining);
                }
            }
        }
        options.page_limit = 0;
    }
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
