//! Carries out the hooks of a backup.
//!
//! Pods are independent of each other; within a pod one command follows the other. [`Run::pre`] notes a pod before it begins its
//! first command, and [`Run::post`] runs the post hooks of every pod that was noted, each once. A command that is under way when
//! the backup is stopped is waited for, up to its time-out: a freeze that ends after the thaw would stay.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::exec::{ExecError, Executor, Target};
use super::output::Output;
use super::plan::{Hook, Plan, PodHooks, PodName, Stage};
use super::report::{Level, Line, Report};
use crate::api::OnError;

/// In so many pods something is run at once.
pub(super) const PODS_AT_ONCE: usize = 16;
/// The pause before a command is tried again that could not be begun.
const AGAIN: Duration = Duration::from_millis(500);

/// For so much longer than it may take a post hook is tried again that could not be begun: what is frozen must be thawed.
const INSISTENCE: Duration = Duration::from_secs(120);
/// The longest pause between two such tries.
const LONGEST: Duration = Duration::from_secs(8);

/// The hooks of one backup, while it is made.
pub struct Run {
    plan: Plan,
    runner: Runner,
    begun: Mutex<BTreeSet<PodName>>,
}

impl Run {
    /// The hooks of that plan. `listener` is told each line as it comes.
    pub fn new(
        plan: Plan,
        executor: Arc<dyn Executor>,
        listener: impl Fn(&Line) + Send + Sync + 'static,
    ) -> Run {
        let runner = Runner::new(executor, listener);
        for line in &plan.remarks {
            runner.remark(line.clone());
        }
        Run {
            plan,
            runner,
            begun: Mutex::default(),
        }
    }

    /// What is run in which pods.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs the pre hooks. When `stop` fires no further ones are begun.
    pub async fn pre(&self, stop: &CancellationToken) {
        let pods = futures::stream::iter(&self.plan.pods).for_each_concurrent(
            PODS_AT_ONCE,
            async |pod: &PodHooks| {
                if stop.is_cancelled() {
                    return;
                }
                lock(&self.begun).insert(pod.pod.clone());
                for hook in &pod.pre {
                    let good = self
                        .runner
                        .run(&pod.pod, &Stage::Pre.to_string(), hook)
                        .await;
                    if stop.is_cancelled() || (!good && hook.on_error == OnError::Fail) {
                        break;
                    }
                }
            },
        );
        // Boxed, so that whoever spawns a backup need not see into its closures.
        Box::pin(pods).await;
    }

    /// Runs the post hooks of all pods whose turn had come, all of them, whatever becomes of one.
    pub async fn post(&self) {
        let begun = std::mem::take(&mut *lock(&self.begun));
        let pods = self.plan.pods.iter().filter(|pod| begun.contains(&pod.pod));
        self.afterwards(pods).await;
    }

    /// Runs the post hooks of all pods: an earlier run was interrupted after their turn had come.
    pub async fn thaw(&self) {
        self.afterwards(self.plan.pods.iter()).await;
    }

    async fn afterwards(&self, pods: impl Iterator<Item = &PodHooks> + Send) {
        let pods: Vec<&PodHooks> = pods.collect();
        let pods = futures::stream::iter(pods).for_each_concurrent(
            PODS_AT_ONCE,
            async |pod: &PodHooks| {
                for hook in &pod.post {
                    self.runner
                        .insist(&pod.pod, &Stage::Post.to_string(), hook)
                        .await;
                }
            },
        );
        Box::pin(pods).await;
    }

    /// What was done so far.
    pub fn report(&self) -> Report {
        self.runner.report()
    }
}

/// Runs commands and reports on them.
pub(super) struct Runner {
    executor: Arc<dyn Executor>,
    report: Mutex<Report>,
    listener: Box<dyn Fn(&Line) + Send + Sync>,
}

impl Runner {
    pub fn new(
        executor: Arc<dyn Executor>,
        listener: impl Fn(&Line) + Send + Sync + 'static,
    ) -> Runner {
        Runner {
            executor,
            report: Mutex::default(),
            listener: Box::new(listener),
        }
    }

    /// Takes in a line.
    pub fn remark(&self, line: Line) {
        (self.listener)(&line);
        lock(&self.report).remark(line);
    }

    /// Takes in a line about something that was waited for and went well.
    pub fn counted(&self, line: Line) {
        (self.listener)(&line);
        let mut report = lock(&self.report);
        report.counts.hooks_attempted += 1;
        report.lines.push(line);
    }

    /// Runs a command; whether it did what it was to do.
    pub async fn run(&self, pod: &PodName, what: &str, hook: &Hook) -> bool {
        self.told(pod, what, hook, false).await
    }

    /// Runs a command; one that could not be begun is tried again for longer than it may take.
    async fn insist(&self, pod: &PodName, what: &str, hook: &Hook) -> bool {
        self.told(pod, what, hook, true).await
    }

    async fn told(&self, pod: &PodName, what: &str, hook: &Hook, insist: bool) -> bool {
        let output = Output::default();
        let target = Target {
            pod: pod.clone(),
            container: hook.container.clone(),
        };
        let began = Instant::now();
        let ended = match insist {
            true => self.insisting(&target, hook, &output).await,
            false => self.within(&target, hook, &output).await,
        };
        let took = began.elapsed().as_secs_f64();
        let said = format!(
            "pod {pod}, container {}: {what} ({})",
            hook.container, hook.origin
        );
        let line = match &ended {
            Ok(()) => Line::new(
                Level::Info,
                format!("{said} done in {took:.1}s: {}", hook.shown()),
            ),
            Err(why) => Line::of_hook(
                hook.on_error,
                format!("{said} failed after {took:.1}s: {why}: {}", hook.shown()),
            ),
        };
        let printed = output.lines().into_iter().map(|text| {
            let text = format!("pod {pod}, container {}: {text}", hook.container);
            Line::new(Level::Info, text)
        });
        let lines: Vec<Line> = std::iter::once(line).chain(printed).collect();
        lines.iter().for_each(|line| (self.listener)(line));
        let mut report = lock(&self.report);
        report.counts.hooks_attempted += 1;
        report.counts.hooks_failed += u64::from(ended.is_err());
        report.lines.extend(lines);
        ended.is_ok()
    }

    /// Runs a command for as long as it may take. One that could not be begun is tried again.
    async fn within(&self, target: &Target, hook: &Hook, output: &Output) -> Result<(), String> {
        let mut last: Option<ExecError> = None;
        let attempts = async {
            loop {
                match self.executor.exec(target, &hook.command, output).await {
                    Err(error) if error.may_pass() => {
                        last = Some(error);
                        tokio::time::sleep(AGAIN).await;
                    }
                    ended => return ended,
                }
            }
        };
        match tokio::time::timeout(hook.timeout, attempts).await {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(_) => Err(match last {
                Some(error) => error.to_string(),
                None => not_ended(hook.timeout),
            }),
        }
    }

    /// Runs a command that must be run: the time that it may take is for each try.
    async fn insisting(&self, target: &Target, hook: &Hook, output: &Output) -> Result<(), String> {
        let end = tokio::time::Instant::now() + hook.timeout + INSISTENCE;
        let mut pause = AGAIN;
        loop {
            let exec = self.executor.exec(target, &hook.command, output);
            match tokio::time::timeout(hook.timeout, exec).await {
                Ok(Err(error))
                    if error.was_not_begun() && tokio::time::Instant::now() + pause < end =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
                Ok(ended) => return ended.map_err(|error| error.to_string()),
                Err(_) => return Err(not_ended(hook.timeout)),
            }
        }
    }

    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }
}

fn not_ended(limit: Duration) -> String {
    format!(
        "it had not ended after {limit:?}; nobody waits for it any more, but it may go on in the container"
    )
}

/// A panic elsewhere does not make a report wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
