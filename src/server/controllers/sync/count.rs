//! Metrics that describe the objects as they are: a process that has just begun has to know them too.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::ListParams;

use crate::api::labels;
use crate::api::{Backup, BackupPhase, Restore, Schedule};
use crate::server::context::Context;
use crate::server::counterpart::is_own;
use crate::server::listing::list;
use crate::server::metrics::of_schedule;

/// Sets them.
///
/// # Errors
/// The apiserver's.
pub async fn count(listed: &[Backup], context: &Context) -> Result<(), kube::Error> {
    let metrics = &context.metrics;
    metrics.backups.set(number(listed.len()));
    let restores = context.api::<Restore>();
    let first = restores
        .list_metadata(&ListParams::default().limit(1))
        .await?;
    let rest = first.metadata.remaining_item_count.unwrap_or(0);
    metrics.restores.set(number(first.items.len()) + rest);
    let schedules = list::<Schedule>(context, &ListParams::default()).await?;
    let schedules: Vec<String> = schedules
        .names()
        .map(|name| labels::label_value(&name))
        .collect();
    for (schedule, at) in last_successes(listed, context.cluster.id()) {
        // Of a schedule that is gone nobody expects another one.
        if schedule.is_empty() || schedules.contains(&schedule) {
            let gauge = metrics
                .backup_last_success
                .get_or_create_owned(&of_schedule(Some(&schedule)));
            gauge.set(gauge.get().max(at));
        }
    }
    Ok(())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// When the newest Completed backup of each schedule of this cluster ended, Unix seconds; those made by hand have the name "".
pub fn last_successes(backups: &[Backup], own: &str) -> BTreeMap<String, i64> {
    let mut last = BTreeMap::new();
    for backup in backups {
        let status = backup.status.as_ref();
        let completed = status.filter(|status| status.phase == BackupPhase::Completed);
        let ended = completed.and_then(|status| status.completion_timestamp.as_ref());
        if let Some(ended) = ended
            && is_own(backup, own)
        {
            let schedule = backup.labels().get(labels::SCHEDULE_NAME).cloned();
            let known = last.entry(schedule.unwrap_or_default()).or_insert(0);
            *known = ended.0.as_second().max(*known);
        }
    }
    last
}
