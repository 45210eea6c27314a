//! The hooks of a backup: which pods it takes, and what is to be run in them.

use std::sync::Arc;

use super::error::{Error, Result};
use super::plan::Plan;
use super::report::{LogLine, Monitor};
use crate::api::BackupSpec;
use crate::cluster::kinds::PODS;
use crate::cluster::{Cluster, Discovery, ObjectMetaView, describe};
use crate::hooks::{self, Level, Line, PodName, Rules, Run, Scope, WebSocket};

/// Finds out what is to be run in the pods that the backup takes. Pods that cannot be read are what the capture will report.
pub async fn hooks(cluster: &Cluster, plan: &Plan) -> Result<hooks::Plan> {
    let listing = plan
        .listings
        .iter()
        .find(|listing| listing.resource.name == PODS);
    let Some(listing) = listing else {
        let mut none = hooks::Plan::default();
        if !plan.hooks.is_empty() {
            let text = "the backup takes no pods: its hooks are not run".to_owned();
            none.remarks.push(Line::new(Level::Warning, text));
        }
        return Ok(none);
    };
    let takes = |meta: &ObjectMetaView<'_>| {
        plan.takes_namespace(&meta.namespace) && plan.takes_by_labels(meta)
    };
    let scope = Scope {
        resource: &listing.resource,
        namespaces: listing.namespaces.as_deref(),
        label_selector: listing.label_selector.as_deref(),
        takes: &takes,
    };
    match hooks::find(cluster, &scope, &plan.hooks).await {
        Ok(pods) => Ok(hooks::Plan::of(&pods, &plan.hooks)),
        Err(error) => unread(error),
    }
}

/// What is still to be run in pods of which an interrupted backup has said so. Those that are gone are done with, and what is
/// wrong with the spec by now is no matter.
pub async fn due(cluster: &Cluster, spec: &BackupSpec, pods: Vec<PodName>) -> Result<hooks::Plan> {
    let discovery = Discovery::load(cluster).await?;
    let Some(resource) = discovery.find_name(&PODS) else {
        return Ok(hooks::Plan::default());
    };
    let rules = Rules::read(spec.hooks.as_ref(), &discovery, &mut Vec::new());
    match hooks::named(cluster, resource, pods).await {
        Ok(pods) => Ok(hooks::Plan::afterwards(&pods, &rules)),
        Err(error) => unread(error),
    }
}

fn unread(error: crate::cluster::Error) -> Result<hooks::Plan> {
    if super::read::is_fatal(&error) {
        return Err(Error::Cluster(error));
    }
    let text = format!(
        "the pods cannot be read, and no hooks are run in them: {}",
        describe(&error)
    );
    let mut none = hooks::Plan::default();
    none.remarks.push(Line::new(Level::Error, text));
    Ok(none)
}

/// The hooks of that plan, run in the pods of that cluster; the monitor is told what they do.
pub fn run(cluster: &Cluster, plan: hooks::Plan, monitor: Arc<dyn Monitor>) -> Run {
    let executor = Arc::new(WebSocket::new(cluster));
    Run::new(plan, executor, move |line| {
        monitor.line(&LogLine::from(line))
    })
}
