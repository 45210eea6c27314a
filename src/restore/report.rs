//! What became of every object of a restore.
//!
//! Everything is counted by resource; only what a user should look at is listed object by object: warnings and errors.
//! What was skipped for a reason that is no concern of the user's is counted under that reason. So the report of a large
//! restore that went well is small.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::mutate::Skip;
use super::object::Key;
use crate::api::{HookStatus, RestorePhase};
use crate::cluster::{GroupResource, RequestCounts};
use crate::hooks;

/// Problems that are listed; further ones are only counted.
pub const PROBLEMS_MAX: usize = 10_000;

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was created, by this run or by the interrupted one before.
    Created,
    /// It was there and was patched.
    Updated,
    /// It was there and is the same.
    Unchanged,
    /// It was left out.
    Skipped(Skip),
    /// It could not be restored.
    Failed(String),
}

/// Objects by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Created.
    pub created: u64,
    /// Were there and were patched.
    pub updated: u64,
    /// Were there and are the same.
    pub unchanged: u64,
    /// Left out.
    pub skipped: u64,
    /// Could not be restored.
    pub failed: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.skipped + self.failed
    }

    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Updated => &mut self.updated,
            Outcome::Unchanged => &mut self.unchanged,
            Outcome::Skipped(_) => &mut self.skipped,
            Outcome::Failed(_) => &mut self.failed,
        } += 1;
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something of the backup could not be restored.
    Error,
    /// Something is not as in the backup, on purpose.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// Something that a user should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The object in the backup, or the resource; none for the restore as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What it is.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        if let Some(subject) = &self.subject {
            write!(f, "{subject}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// What became of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// All objects.
    pub counts: Counts,
    /// The objects of each resource.
    pub resources: BTreeMap<String, Counts>,
    /// Why objects were skipped that nobody need look at: resource, reason, how many.
    pub skipped: BTreeMap<String, BTreeMap<String, u64>>,
    /// What a user should look at.
    pub problems: Vec<Problem>,
    /// How many warnings there are, listed or not.
    pub warnings: u64,
    /// How many errors there are, listed or not.
    pub errors: u64,
    /// Objects that an interrupted run of the same restore had created. They count as created.
    pub resumed: u64,
    /// Objects whose owner references were put back with new uids.
    pub relinked: u64,
    /// Owner references that were dropped because their owner is not there.
    pub owners_dropped: u64,
    /// How many hooks were run in pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HookStatus>,
    /// What hooks did that went well, and what they printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hook_log: Vec<String>,
    /// Requests that were sent.
    pub requests: RequestCounts,
}

impl RestoreReport {
    /// The phase that says it in one word.
    pub fn phase(&self) -> RestorePhase {
        let done = self.counts.total() - self.counts.failed;
        match (self.errors, done) {
            (0, _) => RestorePhase::Completed,
            (_, 0) => RestorePhase::Failed,
            _ => RestorePhase::PartiallyFailed,
        }
    }

    /// Takes in what hooks did.
    pub fn add_hooks(&mut self, done: &hooks::Report) {
        self.hooks = self.hooks.unwrap_or_default().and(done.counts).any();
        for line in &done.lines {
            let text = line.text.clone();
            match line.level {
                hooks::Level::Error => self.problem(Severity::Error, None, text),
                hooks::Level::Warning => self.problem(Severity::Warning, None, text),
                hooks::Level::Info => self.hook_log.push(text),
            }
        }
    }

    /// Counts an object.
    pub fn record(&mut self, key: &Key, outcome: &Outcome) {
        self.counts.add(outcome);
        let resource = key.resource.to_string();
        self.resources
            .entry(resource.clone())
            .or_default()
            .add(outcome);
        match outcome {
            Outcome::Skipped(skip) if skip.is_warning() => self.warn(key, skip.to_string()),
            Outcome::Skipped(skip) => self.count_skipped(resource, skip, 1),
            Outcome::Failed(reason) => {
                self.problem(Severity::Error, Some(key.to_string()), reason.clone())
            }
            Outcome::Created | Outcome::Updated | Outcome::Unchanged => {}
        }
    }

    /// Counts objects of a resource that the plan leaves out for a reason.
    pub fn record_skipped(&mut self, resource: &GroupResource, skip: &Skip, objects: u64) {
        self.counts.skipped += objects;
        let name = resource.to_string();
        self.resources.entry(name.clone()).or_default().skipped += objects;
        self.count_skipped(name, skip, objects);
    }

    fn count_skipped(&mut self, resource: String, skip: &Skip, objects: u64) {
        let reasons = self.skipped.entry(resource).or_default();
        *reasons.entry(skip.to_string()).or_default() += objects;
    }

    /// Adds a warning about an object.
    pub fn warn(&mut self, key: &Key, reason: String) {
        self.problem(Severity::Warning, Some(key.to_string()), reason);
    }

    /// Adds a problem.
    pub fn problem(&mut self, severity: Severity, subject: Option<String>, reason: String) {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                severity,
                subject,
                reason,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(GroupResource::new("", "configmaps"), Some("a"), name)
    }

    #[test]
    fn only_what_a_user_should_look_at_is_listed() {
        let mut report = RestoreReport::default();
        report.record(&key("one"), &Outcome::Created);
        report.record(&key("two"), &Outcome::Unchanged);
        report.record(&key("three"), &Outcome::Skipped(Skip::ControllerMade));
        assert_eq!(
            (report.warnings, report.errors, report.problems.len()),
            (0, 0, 0)
        );
        assert_eq!(report.phase(), RestorePhase::Completed);
        report.record(&key("four"), &Outcome::Skipped(Skip::ExistsAndDiffers));
        assert_eq!((report.warnings, report.errors), (1, 0));
        assert_eq!(report.phase(), RestorePhase::Completed);
        report.record(&key("five"), &Outcome::Failed("no".to_owned()));
        assert_eq!((report.warnings, report.errors), (1, 1));
        assert_eq!(report.phase(), RestorePhase::PartiallyFailed);
        assert_eq!(report.counts.total(), 5);
        assert_eq!(report.resources["configmaps"].skipped, 2);
        assert_eq!(
            report.problems[1].to_string(),
            "error: configmaps a/five: no"
        );
    }

    #[test]
    fn nothing_restored_is_a_failure() {
        let mut report = RestoreReport::default();
        report.record(&key("one"), &Outcome::Failed("no".to_owned()));
        assert_eq!(report.phase(), RestorePhase::Failed);
        assert_eq!(RestoreReport::default().phase(), RestorePhase::Completed);
    }
}
