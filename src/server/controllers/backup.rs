//! Backups: from the object to the commit in the repository, once.
//!
//! What it guarantees:
//!
//! * A Backup object leads to one backup. The document that is committed carries the object's uid; whoever goes on with a
//!   backup looks for that document first, and takes over what it says instead of making the backup again. A name that
//!   another backup of this cluster has in the repository is refused.
//! * What the operation ended with is written until the apiserver takes it, in an order that can be taken up again at any
//!   point: first the id of the commit as an annotation, then the status, which says it again and alone counts.
//! * Only the very object is written to, never a later one of its name. Work for an object that was deleted is stopped.
//! * A repository that does not answer is no outcome. Whether a commit came to be is asked until it is answered.
//! * A backup of which not all is sure to be there is not called Completed.
//!
//! * What its hooks froze is thawed ([`hooks`]).
//!
//! That it is made once at a time, and goes on after an interruption, is [`crate::server::operation`]'s.

mod hooks;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ark_engine::{BeginBackup, ClusterRef, Repository, WriteSession};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{patch_own, patch_own_status};
use crate::api::labels::{self, BACKUP_ID, CLUSTER_ID, SCHEDULE_NAME, STORAGE_LOCATION};
use crate::api::names::check_name;
use crate::api::{Backup, BackupPhase, BackupProgress, BackupStatus, ObjectMeta, Time};
use crate::capture::{self, CaptureReport, LogLine, Monitor, document};
use crate::server::counterpart::{Object, backup_id};
use crate::server::insist::insist;
use crate::server::metrics::of_schedule;
use crate::server::opening::{Patience, Refusal, open, passes};
use crate::server::operation::{Job, Operation, PROGRESS, outcome};
use crate::server::repositories::Opened;
use crate::server::stored;
use crate::server::told::{chain, told};

/// How long an object waits that sync may have made: it writes the status right after.
const SETTLING: Duration = Duration::from_secs(5);
/// How often it is asked whether a name is free that a process holds which may be dead.
const NAME_PAUSE: Duration = Duration::from_secs(5);

impl Operation for Backup {
    const WHAT: &'static str = "backup";

    fn is_wanted(&self) -> bool {
        match self.phase() {
            // One that is in a repository already is not made.
            BackupPhase::New => backup_id(self).is_none(),
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
    /// It is in the repository after all.
    Made(Box<Made>),
    /// The object shows a backup of the repository: sync has made it, and writes its status.
    Shown,
    /// The commit was sent, and nobody knows what became of it.
    Unknown(String),
}

/// What a backup that was made leaves.
struct Made {
    status: BackupStatus,
    id: String,
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Stopped {
        match refusal {
            Refusal::Invalid(why) => Stopped::Invalid(vec![why]),
            Refusal::Failed(why) => Stopped::Failed(why),
        }
    }
}

impl Job<Backup> {
    async fn make(mut self) {
        let ended = self.attempt().await;
        let (mut status, id) = match ended {
            Ok(made) => (made.status, Some(made.id)),
            Err(Stopped::Made(made)) => (made.status, Some(made.id)),
            Err(Stopped::Shown) => return,
            Err(Stopped::Canceled) => (self.ended(BackupPhase::Canceled), None),
            Err(Stopped::Failed(reason) | Stopped::Unknown(reason)) => (
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
        self.after(&mut status).await;
        self.finish(status, id).await;
    }

    /// A status of a backup that was not made.
    fn ended(&self, phase: BackupPhase) -> BackupStatus {
        let started = self.started();
        BackupStatus {
            phase,
            start_timestamp: started.map(Time),
            completion_timestamp: started.map(|_| Time(self.context.now())),
            hook_status: self
                .object
                .status
                .as_ref()
                .and_then(|status| status.hook_status),
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
        let thawed = self.thaw().await?;
        let begun = self.started().is_some();
        if !begun && self.is_said() && self.settles().await? {
            return Err(Stopped::Shown);
        }
        if let Err(error) = check_name("backup", &self.name) {
            return Err(Stopped::Invalid(vec![error.to_string()]));
        }
        // Who waits for a location holds up nobody whose location answers.
        let opened = self.open(begun).await?;
        // Whatever it was interrupted in, the commit counts: also one that cancel came too late for.
        self.look(&opened.repository, Patience::new(begun)).await?;
        if opened.read_only {
            return Err(Stopped::Invalid(vec![format!(
                "the location {} is read-only",
                opened.name
            )]));
        }
        match self.write_backup(&opened, thawed).await {
            // Nobody waits for the permit of who only asks.
            Err(Stopped::Unknown(why)) => {
                self.look(&opened.repository, Patience::new(true)).await?;
                Err(Stopped::Failed(why))
            }
            ended => ended,
        }
    }

    /// Whether the object has the annotation of one that sync has made. A copy of one has it, too.
    fn is_said(&self) -> bool {
        self.object.annotations().contains_key(BACKUP_ID)
    }

    /// Gives sync the time to write the status of an object that it has just made; whether it has.
    async fn settles(&self) -> Result<bool, Stopped> {
        tokio::select! {
            () = tokio::time::sleep(SETTLING) => Ok(self.is_shown().await),
            () = self.cancel.cancelled() => Err(Stopped::Canceled),
        }
    }

    /// Whether the object shows a backup of a repository by now.
    async fn is_shown(&self) -> bool {
        let what = format!("backup {}", self.name);
        let found = insist(&what, || self.api.get_opt(&self.name)).await;
        let found = found.flatten();
        found.is_some_and(|found| backup_id(&found).is_some())
    }

    async fn write_backup(
        &mut self,
        opened: &Opened,
        mut done: crate::hooks::Report,
    ) -> Result<Made, Stopped> {
        let _permit = tokio::select! {
            permit = Arc::clone(&self.context.limits.backups).acquire_owned() => permit.ok(),
            () = self.cancel.cancelled() => return Err(Stopped::Canceled),
        };
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
        done.extend(self.before().await?);
        let session = self.session(&opened.repository).await?;
        let watch = Arc::new(Watch::default());
        let monitor = Arc::clone(&watch) as Arc<dyn Monitor>;
        let hooks = match self.hooks(&plan, Arc::clone(&monitor)).await {
            Ok(hooks) => hooks,
            Err(stopped) => {
                abort(&session).await;
                return Err(stopped);
            }
        };
        // From here on nothing is given up before the post hooks were run.
        hooks.pre(&self.cancel).await;
        let captured = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            captured = capture::capture(&self.context.cluster, &plan, &session, monitor) => {
                Some(captured)
            }
            never = self.show(&watch) => match never {},
        };
        hooks.post().await;
        let hooked = self.hooked(&hooks, done).await;
        let Some(captured) = captured else {
            self.canceling().await;
            abort(&session).await;
            return Err(Stopped::Canceled);
        };
        let outcome = match captured {
            Ok(outcome) => outcome,
            Err(error) => {
                abort(&session).await;
                return Err(Stopped::Failed(chain(&error)));
            }
        };
        let mut report = outcome.report;
        report.add_hooks(&hooked);
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
                    id: committed.id.to_string(),
                })
            }
            Err(error) => {
                abort(&session).await;
                Err(uncommitted(&error, document))
            }
        }
    }

    /// The repository that takes the backup.
    async fn open(&self, begun: bool) -> Result<Arc<Opened>, Stopped> {
        let location = match &self.object.spec.storage_location {
            Some(location) => location.clone(),
            None => self.default_location().await?.ok_or_else(|| {
                Stopped::Invalid(vec![
                    "no storageLocation is given, and no BackupStorageLocation is the default one"
                        .to_owned(),
                ])
            })?,
        };
        let opened = tokio::select! {
            opened = open(&self.context, &location, begun, &self.object) => opened?,
            () = self.cancel.cancelled() => return Err(Stopped::Canceled),
        };
        Ok(opened)
    }

    /// An apiserver that does not answer says nothing about locations.
    async fn default_location(&self) -> Result<Option<String>, Stopped> {
        let repositories = &self.context.repositories;
        tokio::select! {
            found = insist("the default location", || repositories.default_location()) => {
                Ok(found.flatten())
            }
            () = self.cancel.cancelled() => Err(Stopped::Canceled),
        }
    }

    /// Whether the repository has the backup, or another one of its name. Asked until it is answered, as long as there is patience.
    async fn look(&self, repository: &Repository, mut patience: Patience) -> Result<(), Stopped> {
        loop {
            let error = match self.find(repository).await {
                Ok(found) => return found.map_or(Ok(()), Err),
                Err(error) => error,
            };
            tracing::warn!(backup = self.name, %error, "cannot see what the repository holds");
            if !self.again(&error, &mut patience).await? {
                return Err(Stopped::Failed(told(&error)));
            }
        }
    }

    /// Waits until what failed is to be tried again; false if it is not.
    async fn again(
        &self,
        error: &ark_engine::Error,
        patience: &mut Patience,
    ) -> Result<bool, Stopped> {
        if !passes(error) {
            return Ok(false);
        }
        tokio::select! {
            again = patience.wait() => Ok(again),
            () = self.cancel.cancelled() => Err(Stopped::Canceled),
        }
    }

    /// What the repository holds that decides about this backup.
    async fn find(&self, repository: &Repository) -> Result<Option<Stopped>, ark_engine::Error> {
        let own = self.context.cluster.id();
        let object = Object::of(&self.object);
        let rows = repository.backups().await?;
        for row in rows
            .iter()
            .filter(|row| row.forgotten.is_none() && !row.lost)
        {
            let shown = || {
                let is_new = object.phase == BackupPhase::New;
                is_new && object.stands_for(&stored::row(row), own)
            };
            if !(row.name == self.name && row.cluster.id == own) {
                match shown() {
                    true => return Ok(Some(Stopped::Shown)),
                    false => continue,
                }
            }
            let manifest = repository.manifest_of(row).await?;
            let document = serde_json::from_slice::<Backup>(&manifest.document).ok();
            let of_this = document.filter(|of| of.metadata.uid.as_deref() == Some(&self.uid));
            return Ok(Some(match of_this {
                Some(document) => Stopped::Made(Box::new(Made {
                    status: BackupStatus {
                        logical_bytes: Some(row.counts.bytes),
                        added_bytes: Some(row.added_bytes()),
                        ..document.status.unwrap_or_default()
                    },
                    id: row.id.to_string(),
                })),
                None if shown() => Stopped::Shown,
                None => Stopped::Invalid(vec![format!(
                    "the repository has another backup named {} of this cluster: choose another name, or delete that backup first",
                    self.name
                )]),
            }));
        }
        Ok(None)
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
        // What came with a copy of another object says nothing about this one.
        let metadata = json!({
            "labels": { (STORAGE_LOCATION): labels::label_value(location), (CLUSTER_ID): null },
            "annotations": { (BACKUP_ID): null },
        });
        let patch = json!({ "metadata": metadata, "spec": spec });
        self.write(&patch).await.ok_or(Stopped::Canceled)?;
        self.object.spec.storage_location = Some(location.to_owned());
        let status = BackupStatus {
            phase: BackupPhase::InProgress,
            cluster_id: Some(self.context.cluster.id().to_owned()),
            start_timestamp: Some(Time(started)),
            expiration: self.expiration(started).map(Time),
            ..BackupStatus::default()
        };
        let backup = self.write_status(&status.whole()).await;
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
        spec.ttl = spec.kept_for();
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
        let mut patience = Patience::new(false);
        loop {
            match repository.begin_backup(begin.clone()).await {
                Ok(session) => return Ok(session),
                Err(error @ ark_engine::Error::NameBusy { .. }) => {
                    tracing::info!(backup = self.name, %error, "waiting for the name");
                    tokio::select! {
                        () = tokio::time::sleep(NAME_PAUSE) => {}
                        () = self.cancel.cancelled() => return Err(Stopped::Canceled),
                    }
                    self.look(repository, Patience::new(false)).await?;
                }
                Err(error) => {
                    let again = self.again(&error, &mut patience).await?;
                    self.look(repository, Patience::new(false)).await?;
                    if !again {
                        return Err(Stopped::Failed(told(&error)));
                    }
                    tracing::warn!(backup = self.name, %error, "cannot begin; trying again");
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
            annotations.remove(BACKUP_ID);
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

    async fn finish(&self, mut status: BackupStatus, id: Option<String>) {
        let begun = status.start_timestamp.is_some();
        if id.is_none() && !begun && self.is_said() && self.is_shown().await {
            return;
        }
        if let Some(id) = &id {
            let patch = json!({ "metadata": { "annotations": { (BACKUP_ID): id } } });
            if self.write(&patch).await.is_none() {
                return;
            }
        }
        status.backup_id = id;
        status.cluster_id = Some(self.context.cluster.id().to_owned());
        let Some(written) = self.write_status(&status.whole()).await else {
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
        let write = || patch_own(&self.api, &self.name, &self.uid, patch);
        insist(&what, write).await.flatten()
    }

    async fn write_status(&self, status: &Value) -> Option<Backup> {
        let what = format!("status of the backup {}", self.name);
        let write = || patch_own_status(&self.api, &self.name, &self.uid, status);
        insist(&what, write).await.flatten()
    }

    /// Writes progress, and never ends.
    async fn show(&self, watch: &Watch) -> std::convert::Infallible {
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
            let progress = json!({ "progress": progress });
            match patch_own_status(&self.api, &self.name, &self.uid, &progress).await {
                Ok(_) => shown = now,
                Err(error) => tracing::debug!(backup = self.name, %error, "cannot write progress"),
            }
        }
    }
}

/// What a commit means that did not go as it should.
fn uncommitted(error: &ark_engine::Error, document: Backup) -> Stopped {
    let why = told(error);
    match error {
        // It is there, and may lack something: good enough to look at, not to count on.
        ark_engine::Error::Unconfirmed { session } => {
            let status = document.status.unwrap_or_default();
            Stopped::Made(Box::new(Made {
                status: BackupStatus {
                    phase: BackupPhase::PartiallyFailed,
                    errors: status.errors + 1,
                    failure_reason: Some(why),
                    ..status
                },
                id: session.clone(),
            }))
        }
        // A reply may have been lost.
        ark_engine::Error::Store(_) => Stopped::Unknown(format!("cannot commit the backup: {why}")),
        _ => Stopped::Failed(format!("cannot commit the backup: {why}")),
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::BackupSpec;
    use crate::server::operation::{Action, decide};
    use ark_engine::store::StoreError;

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

    /// Retention would let good ones go for one that cannot be restored.
    #[test]
    fn what_is_not_sure_to_be_there_is_not_completed() {
        let document = || backup(Some(BackupPhase::Completed), false);
        let unconfirmed = ark_engine::Error::Unconfirmed {
            session: "01".to_owned(),
        };
        let Stopped::Made(made) = uncommitted(&unconfirmed, document()) else {
            panic!("it is there");
        };
        assert_eq!(made.id, "01");
        assert_eq!(made.status.phase, BackupPhase::PartiallyFailed);
        assert!(made.status.failure_reason.is_some() && made.status.errors == 1);
        let lost = StoreError::NotFound {
            url: "s3://b".to_owned(),
            key: "k".to_owned(),
        };
        let lost = uncommitted(&ark_engine::Error::Store(lost), document());
        assert!(matches!(lost, Stopped::Unknown(_)));
        let fenced = ark_engine::Error::Fenced {
            session: "01".to_owned(),
        };
        let fenced = uncommitted(&fenced, document());
        assert!(matches!(fenced, Stopped::Failed(_)));
    }

    #[test]
    fn what_a_repository_holds_is_not_made_again() {
        let mut copy = backup(None, false);
        copy.annotations_mut()
            .insert(BACKUP_ID.to_owned(), "id".to_owned());
        // Anybody may write an annotation.
        assert_eq!(decide(&copy, false), Action::Work);
        let mut synced = backup(Some(BackupPhase::New), false);
        synced.status.as_mut().unwrap().backup_id = Some("id".to_owned());
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
