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

/// What is still to be run in pods of an interrupted backup.
pub struct Due {
    /// What can be run now.
    pub plan: hooks::Plan,
    /// The pods that cannot be read at present.
    pub unread: Vec<PodName>,
    /// Why the first of them cannot.
    pub why: Option<String>,
}

/// What is still to be run in pods of which an interrupted backup has said so. Those that are gone are done with, and what is
/// wrong with the spec by now is no matter.
pub async fn due(cluster: &Cluster, spec: &BackupSpec, pods: Vec<PodName>) -> Result<Due> {
    let discovery = Discovery::load(cluster).await?;
    let Some(resource) = discovery.find_name(&PODS) else {
        return Ok(Due {
            plan: hooks::Plan::default(),
            unread: pods,
            why: Some("the apiserver does not serve pods".to_owned()),
        });
    };
    let rules = Rules::read(spec.hooks.as_ref(), &discovery, &mut Vec::new());
    Ok(sorted(hooks::each(cluster, resource, pods).await, &rules))
}

fn sorted(reads: Vec<(PodName, crate::cluster::Result<Option<hooks::Pod>>)>, rules: &Rules) -> Due {
    let (mut pods, mut unread, mut why) = (Vec::new(), Vec::new(), None);
    for (name, read) in reads {
        match read {
            Ok(pod) => pods.extend(pod),
            Err(error) => {
                why.get_or_insert_with(|| format!("pod {name}: {}", describe(&error)));
                unread.push(name);
            }
        }
    }
    Due {
        plan: hooks::Plan::afterwards(&pods, rules),
        unread,
        why,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pod_that_cannot_be_read_stays_due_and_holds_up_no_other() {
        let raw = serde_json::json!({
            "metadata": { "namespace": "shop", "name": "good",
                "annotations": { "post.hook.backup.velero.io/command": "thaw" } },
            "spec": { "containers": [{ "name": "db" }] },
            "status": { "phase": "Running" },
        });
        let good = hooks::Pod::parse(&raw.to_string()).unwrap();
        let name = |name: &str| format!("shop/{name}").parse::<PodName>().unwrap();
        let path = "/api/v1/namespaces/shop/pods".to_owned();
        let due = sorted(
            vec![
                (name("bad"), Err(crate::cluster::Error::NotText { path })),
                (name("good"), Ok(Some(good))),
                (name("gone"), Ok(None)),
            ],
            &Rules::default(),
        );
        assert_eq!(due.plan.pods.len(), 1);
        assert_eq!(due.plan.pods[0].pod, name("good"));
        assert_eq!(due.unread, [name("bad")]);
        assert!(due.why.unwrap().starts_with("pod shop/bad: "));
    }
}
