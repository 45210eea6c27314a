//! The hooks of a backup that the server makes.
//!
//! What it guarantees: before the first command is run, the pods that are to be thawed afterwards are on record in the Backup's
//! status. A process that finds that record runs their post hooks before it does anything else with the backup, whether it is to go
//! on or not. The record goes when they were run. So a process that is killed leaves nothing frozen for longer than it takes until
//! the next one works.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Stopped;
use crate::api::{Backup, BackupPhase, BackupStatus, HookStatus};
use crate::capture::{self, Monitor, Plan, hooked};
use crate::hooks::{PodName, Report, Run, Subject, When};
use crate::server::around::{self, Aftermath};
use crate::server::metrics::of_hooks;
use crate::server::operation::Job;
use crate::server::told::chain;

/// The pause before the cluster is asked again for pods that are to be thawed.
const AGAIN: Duration = Duration::from_secs(5);

impl Job<Backup> {
    /// Runs the post hooks that an interrupted run has left to be run.
    pub(super) async fn thaw(&mut self) -> Result<Report, Stopped> {
        let status = self.object.status.clone().unwrap_or_default();
        let due: Vec<PodName> = status
            .post_hooks_due
            .iter()
            .filter_map(|pod| pod.parse().ok())
            .collect();
        if due.is_empty() {
            return Ok(Report::default());
        }
        tracing::warn!(
            backup = self.name,
            pods = due.len(),
            "interrupted after pre hooks: running the post hooks"
        );
        let mut report = Report::default();
        let mut left = due;
        loop {
            let found = hooked::due(&self.context.cluster, &self.object.spec, left.clone()).await;
            let why = match found {
                Ok(due) => {
                    let silent = Arc::new(capture::Silent);
                    let run = hooked::run(&self.context.cluster, due.plan, silent);
                    run.thaw().await;
                    let thawed = run.report();
                    self.told(&thawed).await;
                    report.extend(thawed);
                    left = due.unread;
                    due.why
                }
                Err(error) => Some(chain(&error)),
            };
            if left.is_empty() {
                break;
            }
            tracing::warn!(
                backup = self.name,
                pods = left.len(),
                error = why,
                "cannot run post hooks yet"
            );
            // Those that are done with are not thawed again; and a backup whose object is gone ends here.
            let names: Vec<String> = left.iter().map(ToString::to_string).collect();
            let backup = self.write_status(&json!({ "postHooksDue": names })).await;
            self.object = backup.ok_or(Stopped::Canceled)?;
            tokio::time::sleep(AGAIN).await;
        }
        self.ended_hooks(report.counts).await?;
        Ok(report)
    }

    /// Runs the hooks before the backup.
    pub(super) async fn before(&mut self) -> Result<Report, Stopped> {
        let hooks = self.object.spec.hooks.clone().unwrap_or_default();
        if hooks.before.is_empty() && hooks.after.is_empty() {
            return Ok(Report::default());
        }
        let backup = self.write_status(&json!({ "afterHooksDue": true })).await;
        self.object = backup.ok_or(Stopped::Canceled)?;
        let subject = self.subject(When::Before, &BackupStatus::default());
        let subject = Subject {
            phase: BackupPhase::InProgress.to_string(),
            ..subject
        };
        let status = self.object.status.as_ref();
        let done = status.and_then(|status| status.before_hooks_done);
        let (report, failure) = around::run(self, &hooks.before, done, subject, &self.cancel).await;
        self.warn_of(&report).await;
        let status = json!({ "hookStatus": report.counts.any() });
        let backup = self.write_status(&status).await;
        self.object = backup.ok_or(Stopped::Canceled)?;
        match failure {
            _ if self.cancel.is_cancelled() => Err(Stopped::Canceled),
            Some(why) => Err(Stopped::Failed(why)),
            None => Ok(report),
        }
    }

    /// Runs the hooks after the backup, if those before it were begun, and adds what became of them to its outcome.
    pub(super) async fn after(&mut self, status: &mut BackupStatus) {
        let before = self.object.status.clone().unwrap_or_default();
        if before.after_hooks_due != Some(true) {
            return;
        }
        let done = before.after_hooks_done;
        let hooks = self.object.spec.hooks.clone().unwrap_or_default();
        let left = self.subject(When::Before, status);
        around::sweep(&self.context, &hooks.before, left).await;
        let subject = self.subject(When::After, status);
        // Also after one that was cancelled.
        let never = CancellationToken::new();
        let (report, _) = around::run(self, &hooks.after, done, subject, &never).await;
        self.warn_of(&report).await;
        let counts = status.hook_status.unwrap_or_default();
        status.hook_status = counts.and(report.counts).any();
        let aftermath = Aftermath::of(&report);
        status.warnings += aftermath.warnings;
        status.errors += aftermath.errors;
        if status.phase == BackupPhase::Completed && aftermath.errors > 0 {
            status.phase = BackupPhase::PartiallyFailed;
        }
        let reason = &mut status.failure_reason;
        *reason = reason.take().or(aftermath.reason);
    }

    fn subject(&self, hook: When, status: &BackupStatus) -> Subject {
        Subject {
            kind: "Backup",
            namespace: self.context.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            hook,
            phase: status.phase.to_string(),
            failure_reason: status.failure_reason.clone(),
            errors: status.errors,
            warnings: status.warnings,
        }
    }

    /// The hooks of the backup, with the pods on record that are to be thawed.
    pub(super) async fn hooks(
        &mut self,
        plan: &Plan,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Run, Stopped> {
        let cluster = &self.context.cluster;
        let found = hooked::hooks(cluster, plan).await;
        let found = found.map_err(|error| Stopped::Failed(chain(&error)))?;
        let run = hooked::run(cluster, found, monitor);
        let due: Vec<String> = run.plan().due().map(ToString::to_string).collect();
        if !due.is_empty() {
            let backup = self.write_status(&json!({ "postHooksDue": due })).await;
            self.object = backup.ok_or(Stopped::Canceled)?;
        }
        Ok(run)
    }

    /// Puts on record that nothing is to be thawed any more. What was thawed for an interrupted run is counted, too.
    pub(super) async fn hooked(&mut self, run: &Run, thawed: Report) -> Report {
        let report = run.report();
        if run.plan().is_empty() {
            return thawed;
        }
        self.told(&report).await;
        let mut both = thawed;
        both.extend(report);
        // One whose object is gone is stopped for that reason already.
        let _ = self.ended_hooks(both.counts).await;
        both
    }

    async fn ended_hooks(&mut self, counts: HookStatus) -> Result<(), Stopped> {
        let status = json!({ "postHooksDue": null, "hookStatus": counts.any() });
        let backup = self.write_status(&status).await;
        self.object = backup.ok_or(Stopped::Canceled)?;
        Ok(())
    }

    /// Counts what hooks in pods did, and tells what failed.
    async fn told(&self, report: &Report) {
        let HookStatus {
            hooks_attempted,
            hooks_failed,
        } = report.counts;
        let runs = &self.context.metrics.hook_runs;
        for (result, number) in [
            ("success", hooks_attempted - hooks_failed),
            ("failure", hooks_failed),
        ] {
            runs.get_or_create(&of_hooks("backup", result))
                .inc_by(number);
        }
        self.warn_of(report).await;
    }

    /// Tells what failed.
    async fn warn_of(&self, report: &Report) {
        if let Some(first) = report.failures().next() {
            let note = match report.failures().count() {
                1 => first.text.clone(),
                more => format!("{} (and {} more)", first.text, more - 1),
            };
            let events = &self.context.events;
            events.warning(&self.object, "HookFailed", &note).await;
        }
    }
}
