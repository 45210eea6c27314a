//! Restores: from the object to the objects of a backup in the cluster, once.
//!
//! What it guarantees:
//!
//! * Which backup is restored is on record before anything is touched: a restore of a schedule that is interrupted goes on
//!   with the same backup.
//! * One that was interrupted goes on where it stopped: the restored objects themselves say what is done
//!   (`restore::journal`).
//! * A schedule's backups are those of this cluster: one of the same name elsewhere has others.
//! * Only the very object is written to, never a later one of its name. A restore whose object was deleted is cancelled.
//! * A restore that is cancelled leaves what it has restored.
//! * The outcome is written until the apiserver takes it, and put on record in the repository, if that can be written.
//!
//! That it is done once at a time, and goes on after an interruption, is [`crate::server::operation`]'s.

mod hooks;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ark_engine::store::StoreError;
use ark_engine::{BackupRow, Repository};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::patch_own_status;
use crate::api::labels::{self, SCHEDULE_NAME, STORAGE_LOCATION};
use crate::api::{
    Backup, BackupPhase, ObjectMeta, Restore, RestorePhase, RestoreProgress, RestoreStatus, Time,
};
use crate::restore::{
    self, BackupSource, Key, Monitor, Options, Outcome, Plan, RestoreError, RestoreReport, document,
};
use crate::server::counterpart::is_own;
use crate::server::insist::insist;
use crate::server::listing::list;
use crate::server::metrics::of_schedule;
use crate::server::opening::{Patience, Refusal, open, passes};
use crate::server::operation::{Job, Operation, PROGRESS, outcome};
use crate::server::repositories::Opened;
use crate::server::stored;
use crate::server::told::{chain, told};

impl Operation for Restore {
    const WHAT: &'static str = "restore";

    fn is_wanted(&self) -> bool {
        match self.phase() {
            RestorePhase::New | RestorePhase::InProgress | RestorePhase::Canceling => true,
            RestorePhase::FailedValidation
            | RestorePhase::Completed
            | RestorePhase::PartiallyFailed
            | RestorePhase::Failed
            | RestorePhase::Canceled => false,
        }
    }

    fn is_canceled(&self) -> bool {
        self.spec.cancel.unwrap_or(false) || self.phase() == RestorePhase::Canceling
    }

    fn work(job: Job<Restore>) -> impl Future<Output = ()> + Send {
        job.restore()
    }
}

/// The newest Completed backup of this cluster.
pub fn newest<'a>(backups: &'a [Backup], own: &str) -> Option<&'a Backup> {
    backups
        .iter()
        .filter(|backup| is_own(backup, own))
        .filter(|backup| {
            let status = backup.status.as_ref();
            status.is_some_and(|status| status.phase == BackupPhase::Completed)
        })
        .max_by_key(|backup| {
            let status = backup.status.as_ref();
            let started = status.and_then(|status| status.start_timestamp.as_ref());
            (started.map(|time| time.0), backup.name_any())
        })
}

/// Why there is no outcome.
enum Stopped {
    /// It was not meant to go on.
    Canceled,
    /// What was asked for makes no sense.
    Invalid(Vec<String>),
    /// It could not be done.
    Failed(String),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Stopped {
        match refusal {
            Refusal::Invalid(why) => Stopped::Invalid(vec![why]),
            Refusal::Failed(why) => Stopped::Failed(why),
        }
    }
}

impl Job<Restore> {
    async fn restore(mut self) {
        let begun = self.started().is_some();
        let mut status = match self.attempt().await {
            Ok(status) => status,
            // Of what was begun something may be there.
            Err(Stopped::Invalid(errors)) if begun => RestoreStatus {
                errors: 1,
                failure_reason: Some(errors.join("; ")),
                ..self.ended(RestorePhase::Failed)
            },
            Err(Stopped::Canceled) => self.ended(RestorePhase::Canceled),
            Err(Stopped::Failed(reason)) => RestoreStatus {
                errors: 1,
                failure_reason: Some(reason),
                ..self.ended(RestorePhase::Failed)
            },
            Err(Stopped::Invalid(validation_errors)) => RestoreStatus {
                validation_errors,
                ..self.ended(RestorePhase::FailedValidation)
            },
        };
        self.after(&mut status).await;
        self.finish(status).await;
    }

    fn started(&self) -> Option<Timestamp> {
        Some(self.object.status.as_ref()?.start_timestamp.as_ref()?.0)
    }

    /// A status without a report.
    fn ended(&self, phase: RestorePhase) -> RestoreStatus {
        let before = self.object.status.clone().unwrap_or_default();
        RestoreStatus {
            phase,
            completion_timestamp: before
                .start_timestamp
                .as_ref()
                .map(|_| Time(self.context.now())),
            start_timestamp: before.start_timestamp,
            backup_name: before.backup_name,
            hook_status: before.hook_status,
            ..RestoreStatus::default()
        }
    }

    async fn attempt(&mut self) -> Result<RestoreStatus, Stopped> {
        let begun = self.started().is_some();
        if self.object.is_canceled() || self.cancel.is_cancelled() {
            return Err(Stopped::Canceled);
        }
        let backup = self.backup().await?;
        // Who waits for a location holds up nobody whose location answers.
        let opened = self.open(&backup, begun).await?;
        let _permit = tokio::select! {
            permit = Arc::clone(&self.context.limits.restores).acquire_owned() => permit.ok(),
            () = self.cancel.cancelled() => return Err(Stopped::Canceled),
        };
        let row = self.row(&backup, &opened.repository, begun).await?;
        let Some(root) = row.dataset("objects") else {
            return Err(Stopped::Failed(format!(
                "the backup {} holds no objects",
                backup.name_any()
            )));
        };
        let reader = opened.repository.reader().await;
        let reader = reader.map_err(|error| Stopped::Failed(told(&error)))?;
        let map = reader.map(root);
        let source = BackupSource::new(reader.clone(), map);
        let result = self.apply(&opened, &row, &source, begun).await;
        drop(source);
        // Ends the pin, however the restore ended.
        reader.close().await;
        result
    }

    async fn apply(
        &mut self,
        opened: &Opened,
        row: &BackupRow,
        source: &BackupSource,
        begun: bool,
    ) -> Result<RestoreStatus, Stopped> {
        self.check_hooks().await?;
        let started = self.begin().await?;
        let mut record = self.document(row);
        if !begun {
            self.keep(opened, &record, None).await;
        }
        let before = match self.before().await {
            Ok(before) => before,
            Err(stopped) => {
                let status = match &stopped {
                    Stopped::Failed(reason) => RestoreStatus {
                        errors: 1,
                        failure_reason: Some(reason.clone()),
                        ..self.ended(RestorePhase::Failed)
                    },
                    _ => self.ended(RestorePhase::Canceled),
                };
                record.status = Some(status);
                self.keep(opened, &record, None).await;
                return Err(stopped);
            }
        };
        let watch = Watch::default();
        let options = Options {
            resume: begun,
            ..Options::default()
        };
        let ran = tokio::select! {
            biased;
            ran = restore::restore(&self.context.cluster, source, &record, &options, &watch) => ran,
            () = self.cancel.cancelled() => {
                self.write_status(&json!({ "phase": RestorePhase::Canceling })).await;
                record.status = Some(self.ended(RestorePhase::Canceled));
                self.keep(opened, &record, None).await;
                return Err(Stopped::Canceled);
            }
            never = self.show(&watch) => match never {},
        };
        let report = match ran {
            Ok(mut report) => {
                report.add_hooks(&before);
                report
            }
            Err(RestoreError::Filter { source }) if !begun => {
                return Err(Stopped::Invalid(vec![chain(&source)]));
            }
            Err(error) => {
                let reason = chain(&error);
                record.status = Some(RestoreStatus {
                    errors: 1,
                    failure_reason: Some(reason.clone()),
                    ..self.ended(RestorePhase::Failed)
                });
                self.keep(opened, &record, None).await;
                return Err(Stopped::Failed(reason));
            }
        };
        self.count_hooks(&report, &before);
        let finished = self.context.now();
        let status = RestoreStatus {
            backup_name: self.ended(RestorePhase::New).backup_name,
            ..document::status(&report, started, finished)
        };
        record.status = Some(status.clone());
        self.keep(opened, &record, Some(&report)).await;
        let took = finished.duration_since(started).as_secs_f64();
        self.context
            .metrics
            .restore_duration
            .get_or_create(&of_schedule(self.object.spec.schedule_name.as_deref()))
            .observe(took);
        Ok(status)
    }

    /// The Backup to restore; from now on it stays this one.
    async fn backup(&mut self) -> Result<Backup, Stopped> {
        let decided = self
            .object
            .status
            .as_ref()
            .and_then(|status| status.backup_name.clone());
        let schedule = self.object.spec.schedule_name.clone();
        let name = match (decided, schedule) {
            (Some(name), _) => name,
            (None, Some(schedule)) => self.newest_of(&schedule).await?,
            (None, None) => self.object.spec.backup_name.clone(),
        };
        let status = json!({ "backupName": name });
        let restore = self.write_status(&status).await;
        self.object = restore.ok_or(Stopped::Canceled)?;
        let backups = self.context.api::<Backup>();
        let what = format!("backup {name}");
        let found = insist(&what, || backups.get_opt(&name)).await;
        let Some(backup) = found.flatten() else {
            return Err(Stopped::Invalid(vec![format!(
                "there is no Backup {name} in the namespace {}",
                self.context.namespace
            )]));
        };
        match backup.phase() {
            BackupPhase::Completed | BackupPhase::PartiallyFailed => Ok(backup),
            phase => Err(Stopped::Invalid(vec![format!(
                "the backup {name} is {phase}: only one that is Completed or PartiallyFailed can be restored"
            )])),
        }
    }

    async fn newest_of(&self, schedule: &str) -> Result<String, Stopped> {
        let of = format!("{SCHEDULE_NAME}={}", labels::label_value(schedule));
        let (what, of) = (
            format!("backups of {schedule}"),
            ListParams::default().labels(&of),
        );
        let listed = insist(&what, || list::<Backup>(&self.context, &of)).await;
        let listed = listed.map(|listed| listed.items).unwrap_or_default();
        match newest(&listed, self.context.cluster.id()) {
            Some(backup) => Ok(backup.name_any()),
            None if listed
                .iter()
                .any(|backup| !is_own(backup, self.context.cluster.id())) =>
            {
                Err(Stopped::Invalid(vec![format!(
                    "the schedule {schedule} has no Completed backup of this cluster; to restore one of another cluster, give its \
                     name as backupName"
                )]))
            }
            None => Err(Stopped::Invalid(vec![format!(
                "the schedule {schedule} has no Completed backup"
            )])),
        }
    }

    async fn open(&self, backup: &Backup, begun: bool) -> Result<Arc<Opened>, Stopped> {
        let location = backup.spec.storage_location.as_ref();
        let location = location.or(backup.labels().get(STORAGE_LOCATION));
        let Some(location) = location else {
            return Err(Stopped::Invalid(vec![format!(
                "the backup {} does not say which location holds it",
                backup.name_any()
            )]));
        };
        tokio::select! {
            opened = open(&self.context, location, begun, &self.object) => Ok(opened?),
            () = self.cancel.cancelled() => Err(Stopped::Canceled),
        }
    }

    /// The backup in the repository.
    async fn row(
        &self,
        backup: &Backup,
        repository: &Repository,
        begun: bool,
    ) -> Result<BackupRow, Stopped> {
        let mut patience = Patience::new(begun);
        let rows = loop {
            let error = match stored::of(repository, backup, self.context.cluster.id()).await {
                Ok(rows) => break rows,
                Err(error) => error,
            };
            tracing::warn!(restore = self.name, %error, "cannot see what the repository holds");
            let again = passes(&error)
                && tokio::select! {
                    again = patience.wait() => again,
                    () = self.cancel.cancelled() => return Err(Stopped::Canceled),
                };
            if !again {
                return Err(Stopped::Failed(told(&error)));
            }
        };
        rows.into_iter()
            .find(|row| row.forgotten.is_none() && !row.lost)
            .ok_or_else(|| {
                Stopped::Failed(format!(
                    "the backup {} is not in the repository",
                    backup.name_any()
                ))
            })
    }

    /// Puts on record that the restore is being done.
    async fn begin(&mut self) -> Result<Timestamp, Stopped> {
        if let Some(started) = self.started() {
            return Ok(started);
        }
        let started = self.context.now();
        let status = json!({ "phase": RestorePhase::InProgress, "startTimestamp": Time(started) });
        let restore = self.write_status(&status).await;
        self.object = restore.ok_or(Stopped::Canceled)?;
        let schedule = of_schedule(self.object.spec.schedule_name.as_deref());
        self.context
            .metrics
            .restore_attempts
            .get_or_create(&schedule)
            .inc();
        Ok(started)
    }

    /// The Restore as the repository keeps it: it names the backup as the repository knows it.
    fn document(&self, row: &BackupRow) -> Restore {
        let metadata = &self.object.metadata;
        let mut spec = self.object.spec.clone();
        spec.backup_name = row.name.clone();
        Restore {
            metadata: ObjectMeta {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                uid: metadata.uid.clone(),
                creation_timestamp: metadata.creation_timestamp.clone(),
                labels: metadata.labels.clone(),
                ..ObjectMeta::default()
            },
            spec,
            status: self.object.status.clone(),
        }
    }

    /// Puts the restore on record in the repository. The Restore object says the same, so that one that cannot be written
    /// holds up nothing.
    async fn keep(&self, opened: &Opened, restore: &Restore, report: Option<&RestoreReport>) {
        if opened.read_only {
            return;
        }
        let reason = restore
            .status
            .as_ref()
            .and_then(|status| status.failure_reason.as_ref());
        let log = match (report, reason) {
            (Some(report), _) => document::log(report),
            (None, Some(reason)) => format!("error: {reason}\n"),
            (None, None) => String::new(),
        };
        let record = match document::record(restore, report, log) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(restore = self.name, %error, "cannot encode the record");
                return;
            }
        };
        match opened.repository.record_restore(&record).await {
            Ok(_) | Err(ark_engine::Error::Store(StoreError::PermissionDenied { .. })) => {}
            Err(error) => {
                tracing::warn!(
                    restore = self.name,
                    error = told(&error),
                    "not put on record"
                );
            }
        }
    }

    async fn finish(&self, status: RestoreStatus) {
        let mut whole = json!(status);
        for record in ["afterHooksDue", "beforeHooksDone", "afterHooksDone"] {
            whole[record] = Value::Null;
        }
        let Some(written) = self.write_status(&whole).await else {
            return;
        };
        let metrics = &self.context.metrics;
        let schedule = of_schedule(self.object.spec.schedule_name.as_deref());
        match status.phase {
            RestorePhase::Completed => metrics.restore_success.get_or_create(&schedule).inc(),
            RestorePhase::PartiallyFailed => metrics.restore_partial.get_or_create(&schedule).inc(),
            RestorePhase::Failed => metrics.restore_failure.get_or_create(&schedule).inc(),
            RestorePhase::FailedValidation => metrics
                .restore_validation_failure
                .get_or_create(&schedule)
                .inc(),
            _ => 0,
        };
        let hooks = status.hook_status.unwrap_or_default();
        let (run, failed) = (hooks.hooks_attempted, hooks.hooks_failed);
        if failed > 0 {
            let note = format!("{failed} of {run} hooks failed: the log says which");
            let events = &self.context.events;
            events.warning(&written, "HookFailed", &note).await;
        }
        let note = outcome(
            status.failure_reason.as_ref(),
            &status.validation_errors,
            status.progress.unwrap_or_default().items_restored,
            status.warnings,
            status.errors,
        );
        let reason = format!("Restore{}", status.phase);
        let well = matches!(
            status.phase,
            RestorePhase::Completed | RestorePhase::Canceled
        );
        let events = &self.context.events;
        events.tell(&written, well, &reason, &note).await;
        tracing::info!(restore = self.name, phase = %status.phase, note);
    }

    async fn write_status(&self, status: &Value) -> Option<Restore> {
        let what = format!("status of the restore {}", self.name);
        let write = || patch_own_status(&self.api, &self.name, &self.uid, status);
        insist(&what, write).await.flatten()
    }

    /// Writes progress, and never ends.
    async fn show(&self, watch: &Watch) -> std::convert::Infallible {
        let mut shown = RestoreProgress::default();
        loop {
            tokio::time::sleep(PROGRESS).await;
            let now = RestoreProgress {
                total_items: watch.total.load(Ordering::Relaxed),
                items_restored: watch.done.load(Ordering::Relaxed),
            };
            if now == shown {
                continue;
            }
            let progress = json!({ "progress": now });
            match patch_own_status(&self.api, &self.name, &self.uid, &progress).await {
                Ok(_) => shown = now,
                Err(error) => tracing::debug!(restore = self.name, %error, "cannot write progress"),
            }
        }
    }
}

/// Counts.
#[derive(Default)]
struct Watch {
    total: AtomicU64,
    done: AtomicU64,
}

impl Monitor for Watch {
    fn planned(&self, plan: &Plan) {
        self.total.store(plan.objects(), Ordering::Relaxed);
    }

    fn object(&self, _key: &Key, _outcome: &Outcome) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::{BackupSpec, BackupStatus, RestoreSpec};
    use crate::server::operation::{Action, decide};

    fn restore(phase: Option<RestorePhase>, cancel: bool) -> Restore {
        let spec = RestoreSpec {
            cancel: cancel.then_some(true),
            ..RestoreSpec::default()
        };
        let mut restore = Restore::named("heptio-ark", "r", spec);
        restore.status = phase.map(|phase| RestoreStatus {
            phase,
            ..RestoreStatus::default()
        });
        restore
    }

    #[test]
    fn what_is_done_for_a_restore() {
        use RestorePhase::*;
        for (phase, cancel, running, expected) in [
            (None, false, false, Action::Work),
            (Some(New), true, false, Action::Work),
            (Some(New), true, true, Action::Cancel),
            (Some(InProgress), false, false, Action::Work),
            (Some(InProgress), false, true, Action::Watch),
            (Some(InProgress), true, true, Action::Cancel),
            (Some(Canceling), false, false, Action::Work),
            (Some(Canceling), false, true, Action::Cancel),
        ] {
            let decision = decide(&restore(phase, cancel), running);
            assert_eq!(decision, expected, "{phase:?} {cancel} {running}");
        }
        for phase in [
            FailedValidation,
            Completed,
            PartiallyFailed,
            Failed,
            Canceled,
        ] {
            for (cancel, running) in [(false, false), (true, false), (true, true)] {
                let decision = decide(&restore(Some(phase), cancel), running);
                assert_eq!(decision, Action::Nothing, "{phase} {cancel} {running}");
            }
        }
    }

    #[test]
    fn the_newest_completed_backup_of_a_schedule() {
        let backup = |name: &str, phase, started: &str| {
            let mut backup = Backup::named("heptio-ark", name, BackupSpec::default());
            backup.status = Some(BackupStatus {
                phase,
                start_timestamp: Some(Time(started.parse().unwrap())),
                ..BackupStatus::default()
            });
            backup
        };
        let backups = [
            backup("a", BackupPhase::Completed, "2026-03-01T00:00:00Z"),
            backup("b", BackupPhase::Completed, "2026-03-02T00:00:00Z"),
            backup("c", BackupPhase::PartiallyFailed, "2026-03-03T00:00:00Z"),
            backup("d", BackupPhase::InProgress, "2026-03-04T00:00:00Z"),
            Backup::named("heptio-ark", "e", BackupSpec::default()),
        ];
        let name = |backups: &[Backup]| newest(backups, "own").map(ResourceExt::name_any);
        assert_eq!(name(&backups).as_deref(), Some("b"));
        assert_eq!(name(&backups[2..]), None);
        // Another cluster's schedule of the same name has a newer one.
        let mut foreign = backup("f", BackupPhase::Completed, "2026-03-09T00:00:00Z");
        foreign.status.as_mut().unwrap().cluster_id = Some("other".to_owned());
        let [a, ..] = &backups;
        assert_eq!(name(&[foreign.clone(), a.clone()]).as_deref(), Some("a"));
        assert_eq!(name(&[foreign]), None);
    }
}
