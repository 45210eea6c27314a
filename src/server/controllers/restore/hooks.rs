//! The hooks around a restore that the server does: as those around a backup.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Stopped;
use crate::api::{HookStatus, Restore, RestorePhase, RestoreStatus};
use crate::cluster::Discovery;
use crate::hooks::{Report, RestoreRules, Subject, When};
use crate::restore::RestoreReport;
use crate::server::around::{self, Aftermath};
use crate::server::metrics::of_hooks;
use crate::server::operation::Job;
use crate::server::told::chain;

impl Job<Restore> {
    /// Runs the hooks before the restore.
    pub(super) async fn before(&mut self) -> Result<Report, Stopped> {
        let hooks = self.object.spec.hooks.clone().unwrap_or_default();
        if hooks.before.is_empty() && hooks.after.is_empty() {
            return Ok(Report::default());
        }
        let restore = self.write_status(&json!({ "afterHooksDue": true })).await;
        self.object = restore.ok_or(Stopped::Canceled)?;
        let subject = Subject {
            phase: RestorePhase::InProgress.to_string(),
            ..self.subject(When::Before, &RestoreStatus::default())
        };
        let status = self.object.status.as_ref();
        let done = status.and_then(|status| status.before_hooks_done);
        let (report, failure) = around::run(self, &hooks.before, done, subject, &self.cancel).await;
        let status = json!({ "hookStatus": report.counts.any() });
        let restore = self.write_status(&status).await;
        self.object = restore.ok_or(Stopped::Canceled)?;
        match failure {
            _ if self.cancel.is_cancelled() => Err(Stopped::Canceled),
            Some(why) => Err(Stopped::Failed(why)),
            None => Ok(report),
        }
    }

    /// Runs the hooks after the restore, if those before it were begun, and adds what became of them to its outcome.
    pub(super) async fn after(&mut self, status: &mut RestoreStatus) {
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
        let counts = status.hook_status.unwrap_or_default();
        status.hook_status = counts.and(report.counts).any();
        let aftermath = Aftermath::of(&report);
        status.warnings += aftermath.warnings;
        status.errors += aftermath.errors;
        if status.phase == RestorePhase::Completed && aftermath.errors > 0 {
            status.phase = RestorePhase::PartiallyFailed;
        }
        let reason = &mut status.failure_reason;
        *reason = reason.take().or(aftermath.reason);
    }

    /// Counts what hooks did in pods; those before the restore are counted already.
    pub(super) fn count_hooks(&self, report: &RestoreReport, before: &Report) {
        let all = report.hooks.unwrap_or_default();
        let HookStatus {
            hooks_attempted,
            hooks_failed,
        } = before.counts;
        let failed = all.hooks_failed - hooks_failed;
        let good = all.hooks_attempted - hooks_attempted - failed;
        for (result, number) in [("success", good), ("failure", failed)] {
            let runs = &self.context.metrics.hook_runs;
            runs.get_or_create(&of_hooks("restore", result))
                .inc_by(number);
        }
    }

    /// Checks the hooks before any of them is run.
    pub(super) async fn check_hooks(&self) -> Result<(), Stopped> {
        let Some(hooks) = &self.object.spec.hooks else {
            return Ok(());
        };
        let discovery = Discovery::load(&self.context.cluster).await;
        let discovery = discovery.map_err(|error| Stopped::Failed(chain(&error)))?;
        let read = RestoreRules::read(Some(hooks), &discovery);
        read.map(|_| ()).map_err(|errors| {
            let told = errors.iter().map(|e| format!("{e}; {}", e.hint()));
            Stopped::Invalid(told.collect())
        })
    }

    fn subject(&self, hook: When, status: &RestoreStatus) -> Subject {
        Subject {
            kind: "Restore",
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
}
