//! Metrics that describe the objects as they are: a process that has just begun has to know them too.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::ListParams;

use crate::api::labels;
use crate::api::{Backup, BackupPhase, BackupStatus, Restore, Schedule};
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
    for schedule in &schedules.items {
        if let Some(made) = schedule.creation_timestamp() {
            let label = of_schedule(Some(&labels::label_value(&schedule.name_any())));
            let gauge = metrics.schedule_created.get_or_create_owned(&label);
            gauge.set(made.0.as_second());
        }
    }
    let schedules: Vec<String> = schedules
        .names()
        .map(|name| labels::label_value(&name))
        .collect();
    metrics.expect_schedule(&of_schedule(None));
    for schedule in &schedules {
        metrics.expect_schedule(&of_schedule(Some(schedule)));
    }
    for (schedule, status) in newest(listed, context.cluster.id()) {
        if schedule.is_empty() || schedules.contains(&schedule) {
            show(&schedule, status, context);
        }
    }
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

/// The newest backup of a schedule as the gauges have it. What this process has seen end is not overwritten: the list may be older.
fn show(schedule: &str, status: &BackupStatus, context: &Context) {
    let metrics = &context.metrics;
    let label = of_schedule(Some(schedule));
    if let Some(bytes) = status.logical_bytes {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        metrics.backup_size.get_or_create_owned(&label).set(bytes);
    }
    let items = status.progress.unwrap_or_default().items_backed_up;
    for (gauge, value) in [
        (
            &metrics.backup_last_status,
            i64::from(status.phase == BackupPhase::Completed),
        ),
        (
            &metrics.backup_items,
            i64::try_from(items).unwrap_or(i64::MAX),
        ),
        (
            &metrics.backup_items_errors,
            i64::try_from(status.errors).unwrap_or(i64::MAX),
        ),
    ] {
        let known = gauge.get(&label).is_some();
        if !known {
            gauge.get_or_create_owned(&label).set(value);
        }
    }
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

/// How many of the backups of a location are Lost.
pub fn lost_objects(backups: &[Backup], location: &str) -> i64 {
    let lost = backups.iter().filter(|backup| {
        backup.phase() == BackupPhase::Lost
            && backup.spec.storage_location.as_deref() == Some(location)
    });
    number(lost.count())
}

/// The status of the backup of each schedule of this cluster that ended last; those made by hand have the name "".
pub fn newest<'a>(backups: &'a [Backup], own: &str) -> BTreeMap<String, &'a BackupStatus> {
    let mut newest: BTreeMap<String, &BackupStatus> = BTreeMap::new();
    for backup in backups.iter().filter(|backup| is_own(backup, own)) {
        let Some(status) = &backup.status else {
            continue;
        };
        let counts = matches!(
            status.phase,
            BackupPhase::Completed | BackupPhase::PartiallyFailed | BackupPhase::Failed
        );
        let ended = |status: &BackupStatus| status.completion_timestamp.as_ref().map(|at| at.0);
        if !counts || ended(status).is_none() {
            continue;
        }
        let schedule = backup.labels().get(labels::SCHEDULE_NAME).cloned();
        let known = newest.entry(schedule.unwrap_or_default()).or_insert(status);
        if ended(known) < ended(status) {
            *known = status;
        }
    }
    newest
}
