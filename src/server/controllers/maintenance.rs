//! Upkeep of the repositories: freeing the space of what was deleted, and reading everything again.
//!
//! What it guarantees:
//!
//! * Each repository that may be written to is pruned at the server's pace. A prune runs beside backups and restores, here and anywhere,
//!   and may be cut off at any point.
//! * Each is verified in portions, so that within the verify period every byte of it has been read and hashed again. A portion is as large
//!   as the time since the last one asks for: rounds that were missed are made up for.
//! * What fails is tried again later each time: a repository that is damaged is not read anew every half minute.
//! * What was done when is in the BackupRepository, so that a restart begins nothing anew; damage is told by Event, log and metric.

use std::time::Duration;

use ark_engine::{Portion, PruneOptions, VerifyReport};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::patch_status;
use super::sync::{logical, repository_object};
use crate::api::{
    AccessMode, BackupRepository, BackupRepositoryStatus, BackupStorageLocation, LocationPhase,
    Time,
};
use crate::server::context::Context;
use crate::server::listing::list;
use crate::server::metrics::of_location;
use crate::server::repositories::{Opened, RepositoriesError};
use crate::server::told::{chain, told};

/// How many portions a verify period has: one a day of a month.
const PORTIONS: u32 = 30;
/// A portion is read with so much to spare, in hundredths: what a backup adds meanwhile has to be read too.
const SPARE: f64 = 1.1;
/// How often it is looked what is due.
const TICK: Duration = Duration::from_secs(30);

/// What is due for one repository.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// Free the space of what was deleted.
    Prune,
    /// Find out for the first time how much is stored: a prune tells it too, and may be a day away.
    Measure,
    /// Read so many hundredths of the data.
    Verify {
        /// How much.
        percent: f64,
    },
}

impl Task {
    fn name(&self) -> &'static str {
        match self {
            Task::Prune => "prune",
            Task::Measure => "measure",
            Task::Verify { .. } => "verify",
        }
    }
}

/// Decides what is due for a repository, with the first thing first.
pub fn plan(
    location: &BackupStorageLocation,
    known: &BackupRepositoryStatus,
    prune_frequency: Duration,
    verify_period: Duration,
    now: Timestamp,
) -> Vec<Task> {
    let phase = location.status.as_ref().and_then(|status| status.phase);
    if phase != Some(LocationPhase::Available) || !is_kept_up(location) {
        return Vec::new();
    }
    let made = location.creation_timestamp().map_or(now, |made| made.0);
    let mut tasks = Vec::new();
    // A new repository has nothing to prune and nothing to verify: the first time is one pace after the location was made.
    let last = |time: &Option<Time>| time.as_ref().map_or(made, |time| time.0);
    if super::remaining(last(&known.last_prune_time), None, prune_frequency, now).is_none() {
        tasks.push(Task::Prune);
    } else if known.stored_bytes.is_none() && known.backups > Some(0) {
        tasks.push(Task::Measure);
    }
    let pace = (verify_period / PORTIONS).max(Duration::from_secs(1));
    let verified = last(&known.last_verify_time);
    if super::remaining(verified, None, pace, now).is_none() {
        let since = now.duration_since(verified).as_secs_f64();
        let since = since.max(pace.as_secs_f64());
        let share = 100.0 * since / verify_period.as_secs_f64() * SPARE;
        tasks.push(Task::Verify {
            percent: share.min(100.0),
        });
    }
    tasks
}

/// Whether this server prunes and verifies the repository.
fn is_kept_up(location: &BackupStorageLocation) -> bool {
    location.spec.access_mode != AccessMode::ReadOnly
}

/// Why a task did not come to its end.
#[derive(Debug, Error)]
pub enum MaintenanceError {
    /// The repository is not there.
    #[error(transparent)]
    Location(#[from] RepositoriesError),
    /// The repository fails.
    #[error(
        "cannot {doing} the repository of the location {location}: {}",
        told(source)
    )]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// The location.
        location: String,
        /// Why.
        source: Box<ark_engine::Error>,
    },
    /// The apiserver refuses.
    #[error("cannot read or write the objects of ark")]
    Cluster(#[from] kube::Error),
}

/// Runs until `context.stop` fires.
pub async fn run(context: Context) {
    let pace = TICK.min(context.settings.prune_frequency);
    // A round may be dropped anywhere: every step of a prune or verify leaves a whole repository.
    super::rounds(&context, "maintenance", pace, pace, round).await;
}

async fn round(context: &Context) -> Result<(), MaintenanceError> {
    let locations = list::<BackupStorageLocation>(context, &ListParams::default()).await?;
    for location in locations.items {
        let phase = location.status.as_ref().and_then(|status| status.phase);
        if phase != Some(LocationPhase::Available) {
            continue;
        }
        let known = repository_object(&location, context).await?;
        let known = known.status.unwrap_or_default();
        show(&location, &known, context);
        let settings = &context.settings;
        let tasks = plan(
            &location,
            &known,
            settings.prune_frequency,
            settings.verify_period,
            context.now(),
        );
        for task in tasks {
            let what = format!("{} {}", task.name(), location.name_any());
            if context.backoff.is_waiting(&what) {
                continue;
            }
            let done = work(&task, &location, context).await;
            if done.is_ok() {
                context.backoff.succeeded(&what);
            }
            // One repository that fails holds up no other.
            if let Err(error) = done {
                context.backoff.failed(&what);
                tracing::warn!(controller = "maintenance", "{}", chain(&error));
                let note = chain(&error);
                context
                    .events
                    .warning(&location, "MaintenanceFailed", &note)
                    .await;
                if task == Task::Prune {
                    let label = of_location(&location.name_any());
                    let failed = &context.metrics.maintenance_failure;
                    failed.get_or_create_owned(&label).inc();
                }
            }
        }
    }
    Ok(())
}

/// What is known counts also for a process that has just begun.
fn show(location: &BackupStorageLocation, known: &BackupRepositoryStatus, context: &Context) {
    let metrics = &context.metrics;
    let label = of_location(&location.name_any());
    metrics.measured(&label, known.stored_bytes, None);
    if !is_kept_up(location) {
        metrics.leave_to_others(&label);
        return;
    }
    let made = location.creation_timestamp();
    for (gauge, last) in [
        (&metrics.prune_last, &known.last_prune_time),
        (&metrics.verify_last, &known.last_verify_time),
    ] {
        if let Some(time) = last.as_ref().or(made.as_ref()) {
            gauge.get_or_create_owned(&label).set(time.0.as_second());
        }
    }
    if let Some(damaged) = known.damaged_objects {
        let damaged = i64::try_from(damaged).unwrap_or(i64::MAX);
        metrics
            .verify_damaged
            .get_or_create_owned(&label)
            .set(damaged);
    }
}

async fn work(
    task: &Task,
    location: &BackupStorageLocation,
    context: &Context,
) -> Result<(), MaintenanceError> {
    let name = location.name_any();
    let opened = context.repositories.get(&name).await?;
    let status = match task {
        Task::Prune => prune(&opened, context).await?,
        Task::Measure => measure(&opened, context).await?,
        Task::Verify { percent } => verify(*percent, &opened, location, context).await?,
    };
    let api = context.api::<BackupRepository>();
    patch_status(&api, &name, &status).await?;
    Ok(())
}

async fn prune(opened: &Opened, context: &Context) -> Result<serde_json::Value, MaintenanceError> {
    let failed = |source| MaintenanceError::Engine {
        doing: "prune",
        location: opened.name.clone(),
        source: Box::new(source),
    };
    let began = context.now();
    let report = opened
        .repository
        .prune(&PruneOptions::default(), |_| {})
        .await
        .map_err(failed)?;
    let now = context.now();
    let measured = measure(opened, context).await?;
    let freed = report.bytes_before.saturating_sub(report.bytes_after);
    let label = of_location(&opened.name);
    let metrics = &context.metrics;
    metrics
        .maintenance_success
        .get_or_create_owned(&label)
        .inc();
    metrics
        .prune_reclaimed
        .get_or_create_owned(&label)
        .inc_by(freed);
    metrics
        .maintenance_duration
        .get_or_create(&label)
        .observe(now.duration_since(began).as_secs_f64());
    metrics
        .prune_last
        .get_or_create_owned(&label)
        .set(now.as_second());
    tracing::info!(
        location = opened.name,
        freed,
        packs = report.packs_after,
        removed = report.backups_removed.len(),
        waiting = report.waiting_for.len(),
        "pruned the repository"
    );
    let mut status = json!({ "lastPruneTime": Time(now) });
    if let (Some(status), serde_json::Value::Object(measured)) = (status.as_object_mut(), measured)
    {
        status.extend(measured);
    }
    Ok(status)
}

/// How much is stored, and how much that stands for.
async fn measure(
    opened: &Opened,
    context: &Context,
) -> Result<serde_json::Value, MaintenanceError> {
    let failed = |source| MaintenanceError::Engine {
        doing: "measure",
        location: opened.name.clone(),
        source: Box::new(source),
    };
    let info = opened.repository.info().await.map_err(failed)?;
    let rows = opened.repository.backups().await.map_err(failed)?;
    let stored = info.pack_bytes + info.index_bytes;
    let label = of_location(&opened.name);
    context
        .metrics
        .measured(&label, Some(stored), Some(logical(&rows)));
    Ok(json!({ "storedBytes": stored }))
}

async fn verify(
    percent: f64,
    opened: &Opened,
    location: &BackupStorageLocation,
    context: &Context,
) -> Result<serde_json::Value, MaintenanceError> {
    let report = opened
        .repository
        .verify_portion(
            Portion::Percent(percent),
            None,
            &ark_engine::verify::Unwatched,
        )
        .await
        .map_err(|source| MaintenanceError::Engine {
            doing: "verify",
            location: opened.name.clone(),
            source: Box::new(source),
        })?;
    let now = context.now();
    let label = of_location(&opened.name);
    let metrics = &context.metrics;
    metrics
        .verify_last
        .get_or_create_owned(&label)
        .set(now.as_second());
    metrics
        .verify_oldest
        .get_or_create_owned(&label)
        .set(oldest(&report));
    metrics
        .verify_damaged
        .get_or_create_owned(&label)
        .set(i64::try_from(report.damage.len()).unwrap_or(i64::MAX));
    match damage(&report) {
        None => tracing::info!(
            location = opened.name,
            read = report.coverage.read_bytes,
            all = report.coverage.bytes,
            "verified a portion of the repository: sound"
        ),
        Some(told) => {
            tracing::error!(location = opened.name, "{told}");
            context.events.warning(location, "DamageFound", &told).await;
        }
    }
    Ok(json!({ "lastVerifyTime": Time(now), "damagedObjects": report.damage.len() }))
}

/// When the data was verified that was verified longest ago, Unix seconds; 0 if some never was.
fn oldest(report: &VerifyReport) -> i64 {
    match report.coverage.never_packs {
        0 => report.coverage.oldest.unwrap_or(0) / 1000,
        _ => 0,
    }
}

fn damage(report: &VerifyReport) -> Option<String> {
    let first = report.damage.first()?;
    let mut backups: Vec<&str> = report
        .damage
        .iter()
        .flat_map(|damage| damage.backups.iter().map(String::as_str))
        .collect();
    backups.sort_unstable();
    backups.dedup();
    Some(format!(
        "{} damaged objects, the first is {} ({}); backups hit: {}. Run ark repair",
        report.damage.len(),
        first.object,
        first.what,
        match backups.is_empty() {
            true => "none".to_owned(),
            false => backups.join(", "),
        }
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use ark_engine::Damage;

    const DAY: Duration = Duration::from_secs(86_400);

    fn location(access: &str, phase: &str) -> BackupStorageLocation {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "BackupStorageLocation",
            "metadata": {"name": "default", "creationTimestamp": "2026-11-01T00:00:00Z"},
            "spec": {"provider": "local", "objectStorage": {"bucket": "/b"}, "accessMode": access},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn tasks(
        location: &BackupStorageLocation,
        pruned: Option<&str>,
        verified: Option<&str>,
        now: &str,
    ) -> String {
        let time = |text: Option<&str>| text.map(|text| Time(text.parse().unwrap()));
        let known = BackupRepositoryStatus {
            last_prune_time: time(pruned),
            last_verify_time: time(verified),
            ..BackupRepositoryStatus::default()
        };
        let tasks = plan(location, &known, DAY, 30 * DAY, now.parse().unwrap());
        let shown = tasks.iter().map(|task| match task {
            Task::Prune => "prune".to_owned(),
            Task::Measure => "measure".to_owned(),
            Task::Verify { percent } => format!("verify {percent:.1}"),
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn each_comes_at_its_pace_and_missed_portions_are_made_up_for() {
        let good = location("ReadWrite", "Available");
        let yesterday = Some("2026-11-21T00:00:00Z");
        for (pruned, verified, now, expected) in [
            (None, None, "2026-11-01T23:59:59Z", ""),
            (None, None, "2026-11-02T00:00:00Z", "prune, verify 3.7"),
            (yesterday, yesterday, "2026-11-21T23:00:00Z", ""),
            (
                yesterday,
                yesterday,
                "2026-11-22T00:00:00Z",
                "prune, verify 3.7",
            ),
            (
                Some("2026-11-22T00:00:00Z"),
                yesterday,
                "2026-11-22T00:00:00Z",
                "verify 3.7",
            ),
            (
                Some("2026-11-22T00:00:00Z"),
                Some("2026-11-12T00:00:00Z"),
                "2026-11-22T00:00:00Z",
                "verify 36.7",
            ),
            (
                yesterday,
                Some("2026-01-01T00:00:00Z"),
                "2026-11-21T01:00:00Z",
                "verify 100.0",
            ),
            // Written by a clock that was wrong.
            (
                Some("2027-11-22T00:00:00Z"),
                Some("2027-11-22T00:00:00Z"),
                "2026-11-22T00:00:00Z",
                "prune, verify 3.7",
            ),
        ] {
            assert_eq!(
                tasks(&good, pruned, verified, now),
                expected,
                "{pruned:?} {verified:?} {now}"
            );
        }
        for other in [
            location("ReadOnly", "Available"),
            location("ReadWrite", "Unavailable"),
        ] {
            assert_eq!(tasks(&other, None, None, "2026-11-22T00:00:00Z"), "");
        }
    }

    #[test]
    fn what_is_stored_is_known_before_the_first_prune() {
        let known = |backups, stored| BackupRepositoryStatus {
            backups,
            stored_bytes: stored,
            ..BackupRepositoryStatus::default()
        };
        let due = |known: &BackupRepositoryStatus, now: &str| {
            let now = now.parse().unwrap();
            let tasks = plan(
                &location("ReadWrite", "Available"),
                known,
                DAY,
                30 * DAY,
                now,
            );
            tasks.first().map(Task::name)
        };
        let first_day = "2026-11-01T01:00:00Z";
        assert_eq!(due(&known(Some(1), None), first_day), Some("measure"));
        assert_eq!(due(&known(Some(0), None), first_day), None);
        assert_eq!(due(&known(None, None), first_day), None);
        assert_eq!(due(&known(Some(1), Some(1)), first_day), None);
        // A prune measures too.
        let due = due(&known(Some(1), None), "2026-11-02T00:00:00Z");
        assert_eq!(due, Some("prune"));
    }

    #[test]
    fn damage_is_told_with_whom_it_hits() {
        let mut report = VerifyReport::default();
        assert_eq!(damage(&report), None);
        let hit = |object: &str, backups: &[&str]| Damage {
            object: object.to_owned(),
            what: "it is missing".to_owned(),
            backups: backups.iter().map(|name| (*name).to_owned()).collect(),
            items: Vec::new(),
        };
        report.damage = vec![hit("packs/x", &["b", "a"]), hit("packs/y", &["b"])];
        let told = damage(&report).unwrap();
        assert!(
            told.contains("2 damaged objects, the first is packs/x (it is missing)"),
            "{told}"
        );
        assert!(told.contains("backups hit: a, b"), "{told}");
        report.coverage.oldest = Some(5000);
        assert_eq!(oldest(&report), 5);
        report.coverage.never_packs = 1;
        assert_eq!(oldest(&report), 0);
    }
}
