//! Hooks around a whole backup or restore.
//!
//! What it guarantees: hooks after an operation are run if those before it were begun, whatever became of it. That they are to be run is
//! on record in the object's status (`afterHooksDue`) before the first one before is begun; a process that goes on with the operation,
//! or finds that it is over, runs them, and the outcome that is written takes the record away.

use futures::FutureExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::controllers::patch_own_status;
use super::insist::insist;
use super::metrics::of_hooks;
use super::operation::{Job, Operation};
use crate::api::{HookStatus, OperationHook};
use crate::hooks::{Around, Level, Line, Report, Subject, When};

/// Runs hooks, logs and counts what they do. The failure that ends the operation is returned, too.
///
/// The first `done` of them were run before; each further one that is done with is put on record in the status.
pub async fn run<K: Operation>(
    job: &Job<K>,
    hooks: &[OperationHook],
    done: Option<u32>,
    subject: Subject,
    stop: &CancellationToken,
) -> (Report, Option<String>) {
    let context = &job.context;
    let kind = subject.kind.to_ascii_lowercase();
    let field = match subject.hook {
        When::Before => "beforeHooksDone",
        When::After => "afterHooksDone",
    };
    let (api, name, uid) = (job.api.clone(), job.name.clone(), job.uid.clone());
    let note = move |done: usize| {
        let (api, name, uid) = (api.clone(), name.clone(), uid.clone());
        async move {
            let what = format!("status of {name}");
            let status = json!({ (field): done });
            insist(&what, || patch_own_status(&api, &name, &uid, &status)).await;
        }
        .boxed()
    };
    let around = Around::new(&context.cluster, hooks, subject);
    let done = usize::try_from(done.unwrap_or(0)).unwrap_or(usize::MAX);
    let (report, failure) = around.run(stop, done, &note).await;
    for line in &report.lines {
        tracing::info!("{}", line.text);
    }
    let HookStatus {
        hooks_attempted,
        hooks_failed,
    } = report.counts;
    for (result, number) in [
        ("success", hooks_attempted - hooks_failed),
        ("failure", hooks_failed),
    ] {
        let runs = &context.metrics.hook_runs;
        runs.get_or_create(&of_hooks(&kind, result)).inc_by(number);
    }
    (report, failure)
}

/// Takes away what hooks before an operation may have left when they were interrupted.
pub async fn sweep(context: &Context, hooks: &[OperationHook], subject: Subject) {
    Around::new(&context.cluster, hooks, subject).sweep().await;
}

/// What the hooks after an operation add to its outcome.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// Warnings.
    pub warnings: u64,
    /// Errors.
    pub errors: u64,
    /// The first error.
    pub reason: Option<String>,
}

impl Aftermath {
    /// Of that report.
    pub fn of(report: &Report) -> Aftermath {
        let of = |level: Level| {
            let failures = report.failures();
            failures.filter(move |line: &&Line| line.level == level)
        };
        Aftermath {
            warnings: of(Level::Warning).count() as u64,
            errors: of(Level::Error).count() as u64,
            reason: of(Level::Error).next().map(|line| line.text.clone()),
        }
    }
}
