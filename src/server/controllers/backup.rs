//! Backups: from the object to the commit in the repository, once.
//!
//! What it guarantees:
//!
//! * A Backup object leads to one backup. The document that is committed carries the object's uid; whoever goes on with a
//!   backup looks for that document first, and takes over what it says instead of making the backup again. A name that
//!   another backup of this cluster has in the repository is refused.
//! * What the operation ended with is written until the apiserver takes it, in an order that can be taken up again at any
//!   point: first the id of the commit, then the status.
//!
//! That it is made once at a time, and goes on after an interruption, is [`crate::server::operation`]'s.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_engine::{BeginBackup, ClusterRef, Repository, SessionId, WriteSession};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::patch_status;
use crate::api::labels::{self, BACKUP_ID, SCHEDULE_NAME, STORAGE_LOCATION};
use crate::api::names::check_name;
use crate::api::{Backup, BackupPhase, BackupProgress, BackupStatus, ObjectMeta, Time};
use crate::capture::{self, CaptureReport, LogLine, Monitor, document};
use crate::server::insist::insist;
use crate::server::metrics::of_schedule;
use crate::server::opening::{Refusal, open};
use crate::server::operation::{Job, Operation, PROGRESS, outcome};
use crate::server::repositories::Opened;
use crate::server::told::{chain, told};

/// How often it is asked whether a name is free that a process holds which may be dead.
const NAME_PAUSE: Duration = Duration::from_secs(5);

impl Operation for Backup {
    const WHAT: &'static str = "backup";

    fn is_wanted(&self) -> bool {
        match self.phase() {
            // One that is in a repository already is not made: its status is on its way.
            BackupPhase::New => !self.annotations().contains_key(BACKUP_ID),
            BackupPhase::InProgress | BackupPhase::Canceling => true,
            BackupPhase::FailedValidation
            | BackupPhase::Completed
            | BackupPhase::PartiallyFailed
            | BackupPhase::Failed
            | BackupPhase::Canceled
            | BackupPhase::Deleting
            | BackupPhase::Lost => false,
        }
    }

    fn is_canceled(&self) -> bool {
        self.spec.cancel.unwrap_or(false) || self.phase() == BackupPhase::Canceling
    }

    fn work(job: Job<Backup>) -> impl Future<Output = ()> + Send {
        job.make()
    }
}

/// Why there is no backup.
enum Stopped {
    /// It was not meant to be.
    Canceled,
    /// What was asked for makes no sense.
    Invalid(Vec<String>),
    /// It could not be made.
    Failed(String),
    /// It is in the repository after all: the document and the id of the commit.
    Made(Box<Backup>, SessionId),
}

/// What a backup that was made leaves.
struct Made {
    status: BackupStatus,
    id: SessionId,
}

impl Job<Backup> {
    async fn make(mut self) {
        let ended = self.attempt().await;
        let (status, id) = match ended {
            Ok(made) => (made.status, Some(made.id)),
            Err(Stopped::Made(document, id)) => (document.status.unwrap_or_default(), Some(id)),
            Err(Stopped::Canceled) => (self.ended(BackupPhase::Canceled), None),
            Err(Stopped::Failed(reason)) => (
                BackupStatus {
                    errors: 1,
                    failure_reason: Some(reason),
                    ..self.ended(BackupPhase::Failed)
                },
                None,
            ),
            Err(Stopped::Invalid(validation_errors)) => (
                BackupStatus {
                    validation_errors,
                    ..self.ended(BackupPhase::FailedValidation)
                },
                None,
            ),
        };
        self.finish(status, id).await;
    }

    /// A status of a backup that was not made.
    fn ended(&self, phase: BackupPhase) -> BackupStatus {
        let started = self.started();
        BackupStatus {
            phase,
            start_timestamp: started.map(Time),
            completion_timestamp: started.map(|_| Time(self.context.now())),
            ..BackupStatus::default()
        }
    }

    fn started(&self) -> Option<Timestamp> {
        Some(self.object.status.as_ref()?.start_timestamp.as_ref()?.0)
    }

    fn schedule(&self) -> Option<&str> {
        self.object.labels().get(SCHEDULE_NAME).map(String::as_str)
    }

    async fn attempt(&mut self) -> Result<Made, Stopped> {
        let begun = self.started().is_some();
        if let Err(error) = check_name("backup", &self.name) {
            return Err(Stopped::Invalid(vec![error.to_string()]));
        }
        // Who waits for a location holds up nobody whose location answers.
        let opened = self.open(begun).await?;
        let _permit = tokio::select! {
            permit = Arc::clone(&self.context.limits.backups).acquire_owned() => permit.ok(),
            () = self.cancel.cancelled(), if !begun => return Err(Stopped::Canceled),
        };
        // Whatever it was interrupted in, the commit counts: also one that cancel came too late for.
        self.look(&opened.repository).await?;
        if self.object.is_canceled() || self.cancel.is_cancelled() {
            return Err(Stopped::Canceled);
        }
        let plan = match capture::prepare(&self.context.cluster, &self.object.spec).await {
            Ok(plan) => Arc::new(plan),
            Err(capture::Error::Request(errors)) => {
                let errors = errors.0.iter().map(ToString::to_string);
                return Err(Stopped::Invalid(errors.collect()));
            }
            Err(error) => return Err(Stopped::Failed(chain(&error))),
        };
        let started = self.begin(&opened.name).await?;
        let session = self.session(&opened.repository).await?;
        let watch = Arc::new(Watch::default());
        let captured = tokio::select! {
            biased;
            captured = capture::capture(
                &self.context.cluster,
                &plan,
                &session,
                Arc::clone(&watch) as Arc<dyn Monitor>,
            ) => captured,
            () = self.cancel.cancelled() => {
                self.canceling().await;
                abort(&session).await;
                return Err(Stopped::Canceled);
            }
            () = self.show(&watch) => Err(capture::Error::Task),
        };
        let outcome = match captured {
            Ok(outcome) => outcome,
            Err(error) => {
                abort(&session).await;
                return Err(Stopped::Failed(chain(&error)));
            }
        };
        let report = outcome.report;
        let document = self.document(&report, started, &opened.name);
        let commit = match document::commit(&document, outcome.root, &report) {
            Ok(commit) => commit,
            Err(error) => {
                abort(&session).await;
                return Err(Stopped::Failed(chain(&error)));
            }
        };
        match session.commit(commit).await {
            Ok(committed) => {
                let added = committed.stats.added_bytes() + committed.manifest_bytes;
                self.measure(&report, started, added);
                Ok(Made {
                    status: BackupStatus {
                        logical_bytes: Some(report.bytes),
                        added_bytes: Some(added),
                        ..document.status.unwrap_or_default()
                    },
                    id: committed.id,
                })
            }
            Err(error) => {
                abort(&session).await;
                // A reply may have been lost.
                self.look(&opened.repository).await?;
                Err(Stopped::Failed(format!(
                    "cannot commit the backup: {}",
                    told(&error)
                )))
            }
        }
    }

    /// The repository that takes the backup.
    async fn open(&self, begun: bool) -> Result<Arc<Opened>, Stopped> {
        let location = match &self.object.spec.storage_location {
            Some(location) => location.clone(),
            None => self
                .context
                .repositories
                .default_location()
                .await
                .ok_or_else(|| {
                    Stopped::Invalid(vec![
                        "no storageLocation is given, and no BackupStorageLocation is the default one"
                            .to_owned(),
                    ])
                })?,
        };
        let opened = tokio::select! {
            opened = open(&self.context, &location, begun) => opened,
            () = self.cancel.cancelled() => return Err(Stopped::Canceled),
        };
        let opened = opened.map_err(|Refusal(why)| Stopped::Invalid(vec![why]))?;
        if opened.read_only {
            return Err(Stopped::Invalid(vec![format!(
                "the location {location} is read-only"
            )]));
        }
        Ok(opened)
    }

    /// Whether the repository has the backup, or another one of its name.
    async fn look(&self, repository: &Repository) -> Result<(), Stopped> {
        let failed = |error: ark_engine::Error| Stopped::Failed(told(&error));
        let rows = repository.backups().await.map_err(failed)?;
        let cluster = self.context.cluster.id();
        let Some(row) = rows.iter().find(|row| {
            row.name == self.name
                && row.cluster.id == cluster
                && row.forgotten.is_none()
                && !row.lost
        }) else {
            return Ok(());
        };
        let manifest = repository.manifest_of(row).await.map_err(failed)?;
        match serde_json::from_slice::<Backup>(&manifest.document) {
            Ok(mut document) if document.metadata.uid.as_deref() == Some(&self.uid) => {
                let status = document.status.get_or_insert_default();
                status.logical_bytes = Some(row.counts.bytes);
                status.added_bytes = Some(row.added_bytes());
                Err(Stopped::Made(Box::new(document), row.id))
            }
            _ => Err(Stopped::Invalid(vec![format!(
                "the repository has another backup named {} of this cluster: choose another name, or delete that backup first",
                self.name
            )])),
        }
    }

    /// Puts on record that the backup is being made.
    async fn begin(&mut self, location: &str) -> Result<Timestamp, Stopped> {
        if let Some(started) = self.started() {
            return Ok(started);
        }
        let started = self.context.now();
        let mut spec = json!({});
        if self.object.spec.storage_location.is_none() {
            spec["storageLocation"] = json!(location);
        }
        let metadata = json!({ "labels": { (STORAGE_LOCATION): labels::label_value(location) } });
        let patch = json!({ "metadata": metadata, "spec": spec });
        self.write(&patch).await.ok_or(Stopped::Canceled)?;
        self.object.spec.storage_location = Some(location.to_owned());
        let status = BackupStatus {
            phase: BackupPhase::InProgress,
            start_timestamp: Some(Time(started)),
            expiration: self.expiration(started).map(Time),
            ..BackupStatus::default()
        };
        let backup = self.write_status(&json!(status)).await;
        self.object = backup.ok_or(Stopped::Canceled)?;
        let schedule = of_schedule(self.schedule());
        self.context
            .metrics
            .backup_attempts
            .get_or_create(&schedule)
            .inc();
        Ok(started)
    }

    /// A backup of a schedule got from it what it is to have.
    fn expiration(&self, started: Timestamp) -> Option<Timestamp> {
        document::expiration(&self.effective_spec(), started)
    }

    fn effective_spec(&self) -> crate::api::BackupSpec {
        let mut spec = self.object.spec.clone();
        if self.schedule().is_none() {
            spec.ttl = spec.ttl.or(self.context.settings.default_ttl);
        }
        spec
    }

    /// The session that writes the backup. The name may still be held by the session of a process that was killed.
    async fn session(&self, repository: &Repository) -> Result<WriteSession, Stopped> {
        let begin = BeginBackup {
            name: self.name.clone(),
            cluster: ClusterRef {
                id: self.context.cluster.id().to_owned(),
                name: self.context.cluster.name().to_owned(),
            },
        };
        loop {
            match repository.begin_backup(begin.clone()).await {
                Ok(session) => return Ok(session),
                Err(error @ ark_engine::Error::NameBusy { .. }) => {
                    tracing::info!(backup = self.name, %error, "waiting for the name");
                    tokio::select! {
                        () = tokio::time::sleep(NAME_PAUSE) => self.look(repository).await?,
                        () = self.cancel.cancelled() => return Err(Stopped::Canceled),
                    }
                }
                Err(error) => {
                    self.look(repository).await?;
                    return Err(Stopped::Failed(told(&error)));
                }
            }
        }
    }

    /// The Backup as the repository keeps it.
    fn document(&self, report: &CaptureReport, started: Timestamp, location: &str) -> Backup {
        let metadata = &self.object.metadata;
        let mut spec = self.effective_spec();
        spec.storage_location = Some(location.to_owned());
        let status = document::status(report, &spec, started, self.context.now());
        let annotations = metadata.annotations.clone().map(|mut annotations| {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            annotations
        });
        Backup {
            metadata: ObjectMeta {
                name: metadata.name.clone(),
                namespace: metadata.namespace.clone(),
                uid: metadata.uid.clone(),
                creation_timestamp: metadata.creation_timestamp.clone(),
                labels: metadata.labels.clone(),
                annotations: annotations.filter(|annotations| !annotations.is_empty()),
                ..ObjectMeta::default()
            },
            spec,
            status: Some(status),
        }
    }

    fn measure(&self, report: &CaptureReport, started: Timestamp, added: u64) {
        let metrics = &self.context.metrics;
        let schedule = of_schedule(self.schedule());
        let took = self.context.now().duration_since(started).as_secs_f64();
        metrics
            .backup_duration
            .get_or_create(&schedule)
            .observe(took);
        metrics
            .backup_added_bytes
            .get_or_create(&schedule)
            .inc_by(added);
        metrics
            .backup_items
            .get_or_create(&schedule)
            .set(gauge(report.objects));
        metrics
            .backup_items_errors
            .get_or_create(&schedule)
            .set(gauge(report.errors().count() as u64));
        metrics
            .backup_warnings
            .get_or_create(&schedule)
            .inc_by(report.warnings().count() as u64);
    }

    async fn finish(&self, status: BackupStatus, id: Option<SessionId>) {
        if let Some(id) = id {
            let patch = json!({ "metadata": { "annotations": { (BACKUP_ID): id.to_string() } } });
            if self.write(&patch).await.is_none() {
                return;
            }
        }
        let Some(written) = self.write_status(&json!(status)).await else {
            return;
        };
        let metrics = &self.context.metrics;
        let schedule = of_schedule(self.schedule());
        let good = status.phase == BackupPhase::Completed;
        match status.phase {
            BackupPhase::Completed => metrics.backup_success.get_or_create(&schedule).inc(),
            BackupPhase::PartiallyFailed => metrics.backup_partial.get_or_create(&schedule).inc(),
            BackupPhase::Failed => metrics.backup_failure.get_or_create(&schedule).inc(),
            BackupPhase::FailedValidation => metrics
                .backup_validation_failure
                .get_or_create(&schedule)
                .inc(),
            _ => 0,
        };
        if status.phase != BackupPhase::Canceled {
            metrics
                .backup_last_status
                .get_or_create(&schedule)
                .set(i64::from(good));
        }
        if good {
            metrics
                .backup_last_success
                .get_or_create(&schedule)
                .set(self.context.now().as_second());
        }
        let note = outcome(
            status.failure_reason.as_ref(),
            &status.validation_errors,
            status.progress.unwrap_or_default().items_backed_up,
            status.warnings,
            status.errors,
        );
        let reason = format!("Backup{}", status.phase);
        let well = matches!(status.phase, BackupPhase::Completed | BackupPhase::Canceled);
        let events = &self.context.events;
        events.tell(&written, well, &reason, &note).await;
        tracing::info!(backup = self.name, phase = %status.phase, note);
    }

    async fn canceling(&self) {
        self.write_status(&json!({ "phase": BackupPhase::Canceling }))
            .await;
    }

    async fn write(&self, patch: &Value) -> Option<Backup> {
        let what = format!("backup {}", self.name);
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        insist(&what, || self.api.patch(&self.name, &params, &patch)).await
    }

    async fn write_status(&self, status: &Value) -> Option<Backup> {
        let what = format!("status of the backup {}", self.name);
        insist(&what, || patch_status(&self.api, &self.name, status)).await
    }

    /// Writes progress, and never ends.
    async fn show(&self, watch: &Watch) {
        let mut shown = 0;
        loop {
            tokio::time::sleep(PROGRESS).await;
            let now = watch.objects.load(Ordering::Relaxed);
            if now == shown {
                continue;
            }
            let progress = BackupProgress {
                total_items: now,
                items_backed_up: now,
            };
            match patch_status(&self.api, &self.name, &json!({ "progress": progress })).await {
                Ok(_) => shown = now,
                Err(error) => tracing::debug!(backup = self.name, %error, "cannot write progress"),
            }
        }
    }
}

async fn abort(session: &WriteSession) {
    if let Err(error) = session.abort().await {
        tracing::warn!(%error, "a session could not be closed; it expires in 30 minutes");
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Counts.
#[derive(Default)]
struct Watch {
    objects: AtomicU64,
}

impl Monitor for Watch {
    fn objects(&self, _resource: &str, objects: u64, _bytes: u64) {
        self.objects.fetch_add(objects, Ordering::Relaxed);
    }

    fn line(&self, line: &LogLine) {
        tracing::debug!("{}", line.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BackupSpec;
    use crate::server::operation::{Action, decide};

    fn backup(phase: Option<BackupPhase>, cancel: bool) -> Backup {
        let spec = BackupSpec {
            cancel: cancel.then_some(true),
            ..BackupSpec::default()
        };
        let mut backup = Backup::named("heptio-ark", "b", spec);
        backup.status = phase.map(|phase| BackupStatus {
            phase,
            ..BackupStatus::default()
        });
        backup
    }

    #[test]
    fn what_is_done_for_a_backup() {
        use BackupPhase::*;
        for (phase, cancel, running, expected) in [
            (None, false, false, Action::Work),
            (Some(New), false, false, Action::Work),
            (Some(New), false, true, Action::Watch),
            (Some(New), true, true, Action::Cancel),
            (Some(New), true, false, Action::Work),
            // Interrupted: it goes on, also to find out that it is not wanted any more.
            (Some(InProgress), false, false, Action::Work),
            (Some(InProgress), true, false, Action::Work),
            (Some(InProgress), false, true, Action::Watch),
            (Some(InProgress), true, true, Action::Cancel),
            (Some(Canceling), true, false, Action::Work),
            (Some(Canceling), false, true, Action::Cancel),
        ] {
            let decision = decide(&backup(phase, cancel), running);
            assert_eq!(decision, expected, "{phase:?} {cancel} {running}");
        }
        for phase in [
            FailedValidation,
            Completed,
            PartiallyFailed,
            Failed,
            Canceled,
            Deleting,
            Lost,
        ] {
            for (cancel, running) in [(false, false), (true, false), (true, true)] {
                let decision = decide(&backup(Some(phase), cancel), running);
                assert_eq!(decision, Action::Nothing, "{phase} {cancel} {running}");
            }
        }
    }

    #[test]
    fn what_a_repository_holds_is_not_made_again() {
        let mut synced = backup(None, false);
        synced
            .annotations_mut()
            .insert(BACKUP_ID.to_owned(), "id".to_owned());
        assert_eq!(decide(&synced, false), Action::Nothing);
        // One that was committed and whose status was not written goes on.
        let mut committed = backup(Some(BackupPhase::InProgress), false);
        committed
            .annotations_mut()
            .insert(BACKUP_ID.to_owned(), "id".to_owned());
        assert_eq!(decide(&committed, false), Action::Work);
    }

    #[test]
    fn what_is_being_deleted_is_not_begun() {
        let mut leaving = backup(None, false);
        leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(decide(&leaving, false), Action::Nothing);
        assert_eq!(decide(&leaving, true), Action::Cancel);
    }
}
