//! Hooks around a whole backup or restore: a command in a pod of a workload, a Job, a request to a webhook.
//!
//! They are run one after the other. A hook before that fails with `Fail` ends the operation; those after are run all, whatever becomes
//! of one. What was done is put on record by whoever runs them, hook by hook, and is not done again by a process that goes on after an
//! interruption. A Job is called after the operation's uid and deleted after it is on record: so it is never made twice. A command or a
//! request during which the process was killed comes twice.

use std::fmt;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::JobTemplateSpec;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::report::{Level, Line, Report};
use super::rules::HookError;
use super::{http, job, workload};
use crate::api::{OnError, OperationHook};
use crate::cluster::Cluster;

/// How long a command or a request may take if nothing else is said.
const SHORT: Duration = Duration::from_secs(30);
/// How long a Job may take if nothing else is said.
const LONG: Duration = Duration::from_secs(600);

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before anything else is done.
    Before,
    /// When it is known how it went.
    After,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            When::Before => "before",
            When::After => "after",
        })
    }
}

/// What hooks are told of the operation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// `Backup` or `Restore`.
    pub kind: &'static str,
    /// Where its object is.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// When the hook is run.
    pub hook: When,
    /// How it went; `InProgress` before.
    pub phase: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Errors so far.
    pub errors: u64,
    /// Warnings so far.
    pub warnings: u64,
}

impl Subject {
    /// What a hook is told, by name.
    pub fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("ARK_KIND", self.kind.to_owned()),
            ("ARK_NAMESPACE", self.namespace.clone()),
            ("ARK_NAME", self.name.clone()),
            ("ARK_UID", self.uid.clone()),
            ("ARK_HOOK", self.hook.to_string()),
            ("ARK_PHASE", self.phase.clone()),
        ]
    }

    /// A text with `$(ARK_PHASE)` and the like filled in.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (name, value) in self.variables() {
            filled = filled.replace(&format!("$({name})"), &value);
        }
        filled
    }
}

/// Runs hooks around an operation.
pub struct Around {
    cluster: Cluster,
    hooks: Vec<OperationHook>,
    subject: Subject,
}

impl Around {
    /// These hooks of that operation.
    pub fn new(cluster: &Cluster, hooks: &[OperationHook], subject: Subject) -> Around {
        Around {
            cluster: cluster.clone(),
            hooks: hooks.to_vec(),
            subject,
        }
    }

    /// Runs them. Before, the first one that fails with `Fail` is the last; its failure is returned, too. When `stop` fires none is begun
    /// any more, and a Job is not waited for. The first `done` of them were run before; `note` is told of each one that is done with.
    pub async fn run(
        &self,
        stop: &CancellationToken,
        done: usize,
        note: &(dyn Fn(usize) -> BoxFuture<'static, ()> + Send + Sync),
    ) -> (Report, Option<String>) {
        let mut report = Report::default();
        for (at, hook) in self.hooks.iter().enumerate().skip(done) {
            if stop.is_cancelled() {
                break;
            }
            let on_error = hook.on_error.unwrap_or_default();
            let said = format!("{} hook {}", self.subject.hook, hook.name);
            let began = Instant::now();
            let ended = self.one(at, hook, stop).await;
            let took = began.elapsed().as_secs_f64();
            report.counts.hooks_attempted += 1;
            let (printed, why) = match ended {
                Ok(printed) => (printed, None),
                Err((printed, why)) => (printed, Some(why)),
            };
            report.lines.push(match &why {
                None => Line::new(Level::Info, format!("{said} done in {took:.1}s")),
                Some(why) => {
                    report.counts.hooks_failed += 1;
                    Line::of_hook(on_error, format!("{said} failed after {took:.1}s: {why}"))
                }
            });
            let printed = printed.into_iter();
            report
                .lines
                .extend(printed.map(|text| Line::new(Level::Info, format!("{said}: {text}"))));
            let fatal = match (why, on_error, self.subject.hook) {
                (Some(why), OnError::Fail, When::Before) => Some(format!("{said} failed: {why}")),
                _ => None,
            };
            if fatal.is_none() && !stop.is_cancelled() {
                note(at + 1).await;
            }
            if let Some(job) = &hook.job {
                job::delete(&self.cluster, job, &self.job_name(at), &self.subject).await;
            }
            if fatal.is_some() {
                return (report, fatal);
            }
        }
        (report, None)
    }

    /// Deletes Jobs that an interrupted run may have left.
    pub async fn sweep(&self) {
        for (at, hook) in self.hooks.iter().enumerate() {
            if let Some(job) = &hook.job {
                job::delete(&self.cluster, job, &self.job_name(at), &self.subject).await;
            }
        }
    }

    fn job_name(&self, at: usize) -> String {
        format!("ark-{}-{at}-{}", self.subject.hook, self.subject.uid)
    }

    async fn one(&self, at: usize, hook: &OperationHook, stop: &CancellationToken) -> Ended {
        let time = hook
            .timeout
            .and_then(|time| Duration::try_from(time.0).ok());
        let time = time.filter(|time| !time.is_zero());
        let subject = &self.subject;
        if let Some(exec) = &hook.exec {
            let limit = time.unwrap_or(SHORT);
            return workload::run(&self.cluster, exec, limit, subject).await;
        }
        if let Some(job) = &hook.job {
            let limit = time.unwrap_or(LONG);
            let name = self.job_name(at);
            return job::run(&self.cluster, job, &name, limit, subject, stop).await;
        }
        match &hook.http {
            Some(request) => http::run(request, time.unwrap_or(SHORT), subject).await,
            None => Err((Vec::new(), "it says nothing to do".to_owned())),
        }
    }
}

/// What is wrong with hooks.
pub(super) fn check<'a>(hooks: impl Iterator<Item = &'a OperationHook>) -> Vec<HookError> {
    let mut errors = Vec::new();
    for hook in hooks {
        let given = [hook.exec.is_some(), hook.job.is_some(), hook.http.is_some()];
        let mut wrong = Vec::new();
        if given.iter().filter(|given| **given).count() != 1 {
            wrong.push("give one of exec, job and http".to_owned());
        }
        let program = hook.exec.as_ref().map(|exec| exec.command.first());
        if program.is_some_and(|word| word.is_none_or(|word| word.is_empty())) {
            wrong.push("the command is empty".to_owned());
        }
        if let Some(job) = &hook.job {
            wrong.extend(check_template(&job.template).err());
        }
        if let Some(http) = &hook.http {
            let known = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
            if !Url::parse(&http.url).is_ok_and(known) {
                wrong.push(format!("{:?} is no address of a webhook", http.url));
            }
        }
        errors.extend(wrong.into_iter().map(|why| HookError::Operation {
            hook: hook.name.clone(),
            why,
        }));
    }
    errors
}

/// Whether a Job can be made of a template.
pub(super) fn check_template(template: &serde_json::Value) -> Result<(), String> {
    match serde_json::from_value::<JobTemplateSpec>(template.clone()) {
        Ok(template) if has_containers(&template) => Ok(()),
        Ok(_) => Err("the Job's template has no containers".to_owned()),
        Err(error) => Err(format!("the Job's template is none: {error}")),
    }
}

fn has_containers(template: &JobTemplateSpec) -> bool {
    let pod = template
        .spec
        .as_ref()
        .and_then(|job| job.template.spec.as_ref());
    pod.is_some_and(|pod| !pod.containers.is_empty())
}

/// What a hook printed, and why it failed.
pub(super) type Ended = Result<Vec<String>, (Vec<String>, String)>;

/// A failure without a word printed.
pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, (Vec<String>, String)> {
    Err((Vec::new(), why.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_makes_no_sense_is_told() {
        let hooks: Vec<OperationHook> = serde_json::from_value(json!([
            { "name": "none" },
            { "name": "two", "http": { "url": "https://x.example/y" }, "job": { "template": { "spec": {} } } },
            { "name": "url", "http": { "url": "file:///etc/passwd" } },
            { "name": "template", "job": { "template": { "metadata": "x", "spec": {} } } },
            { "name": "spec", "job": { "template": {} } },
            { "name": "command", "exec": { "namespace": "n", "kind": "Deployment", "name": "d", "command": [""] } },
            { "name": "good", "http": { "url": "http://127.0.0.1:1/x" } },
        ]))
        .unwrap();
        let errors: Vec<String> = check(hooks.iter())
            .iter()
            .map(ToString::to_string)
            .collect();
        for (at, part) in [
            "hook none: give one of",
            "hook two: give one of",
            "hook two: the Job's template has no containers",
            "hook url: \"file:///etc/passwd\" is no address",
            "hook template: the Job's template is none",
            "hook spec: the Job's template has no containers",
            "hook command: the command is empty",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(errors[at].contains(part), "{part}: {errors:?}");
        }
        assert_eq!(errors.len(), 7, "{errors:?}");
    }
}
