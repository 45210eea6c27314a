//! The hooks of a backup that the server makes.
//!
//! What it guarantees: before the first command is run, the pods that are to be thawed afterwards are on record in the Backup's
//! status. A process that finds that record runs their post hooks before it does anything else with the backup, whether it is to go
//! on or not. The record goes when they were run. So a process that is killed leaves nothing frozen for longer than it takes until
//! the next one works.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Stopped;
use crate::api::{Backup, HookStatus};
use crate::capture::{self, Monitor, Plan, hooked};
use crate::hooks::{PodName, Report, Run};
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
        let plan = loop {
            match hooked::due(&self.context.cluster, &self.object.spec, due.clone()).await {
                Ok(plan) => break plan,
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(backup = self.name, error, "cannot run post hooks yet");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let run = hooked::run(&self.context.cluster, plan, Arc::new(capture::Silent));
        run.thaw().await;
        let report = run.report();
        self.told(&report).await;
        self.ended_hooks(report.counts).await?;
        Ok(report)
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

    /// Counts what hooks did, and tells what failed.
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
