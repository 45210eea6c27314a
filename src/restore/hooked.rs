//! The hooks of a restore: put into pods before they are created, and run in them afterwards.

use std::sync::Arc;

use super::apply::State;
use super::error::RestoreError;
use super::filter::FilterError;
use super::mutate::Prepared;
use super::object::Key;
use super::report::Outcome;
use crate::api::labels::{RESTORE_NAME, label_value};
use crate::api::{Restore, RestoreSpec};
use crate::cluster::{Cluster, Discovery, kinds};
use crate::hooks::restore::{decide, put};
use crate::hooks::wait::{self, RestoredPods};
use crate::hooks::{Report, RestoreRules, WebSocket};

/// The hooks that the spec asks for; none if none are to be run.
pub fn rules(
    spec: &RestoreSpec,
    discovery: &Discovery,
    wanted: bool,
) -> Result<Option<RestoreRules>, RestoreError> {
    if !wanted {
        return Ok(None);
    }
    match RestoreRules::read(spec.hooks.as_ref(), discovery) {
        Ok(rules) => Ok(Some(rules)),
        Err(errors) => Err(FilterError::Hooks { errors }.into()),
    }
}

/// Gives a pod its hooks.
pub fn add(
    key: &Key,
    mut prepared: Prepared,
    rules: Option<&RestoreRules>,
) -> Result<Prepared, Outcome> {
    let (Some(rules), true) = (rules, key.resource == kinds::PODS) else {
        return Ok(prepared);
    };
    let namespace = key.namespace.as_deref().unwrap_or_default();
    match decide(&prepared.object, namespace, rules) {
        Ok(hooks) => {
            if let Some(hooks) = &hooks {
                put(&mut prepared.object, hooks);
            }
            prepared.hooks = hooks.map(Box::new);
            Ok(prepared)
        }
        Err(why) => Err(Outcome::Failed(format!("it is not created: {why}"))),
    }
}

/// Runs what is to be run in the pods that are there now.
pub async fn run(cluster: &Cluster, restore: &Restore, state: &State) {
    let mut done = Report::default();
    let mut restored = state.take_hooked();
    for one in &mut restored {
        std::mem::take(&mut one.hooks.remarks)
            .into_iter()
            .for_each(|line| done.remark(line));
    }
    restored.retain(|one| !one.hooks.is_done());
    if !restored.is_empty() {
        let name = restore.metadata.name.as_deref().unwrap_or_default();
        let by = restore.metadata.uid.as_deref().unwrap_or(name);
        let pods = RestoredPods::new(cluster, RESTORE_NAME, &label_value(name), by);
        let executor = Arc::new(WebSocket::new(cluster));
        done.extend(wait::run(restored, by, &pods, executor).await);
    }
    state.report().add_hooks(&done);
}
