//! What a capture did, as values: counts, what is missing and why, and the lines of its log.

use serde::Serialize;

use crate::api::{BackupPhase, Captured, HookStatus};
use crate::cluster::RequestCounts;
use crate::hooks;

/// Told what a capture is doing, while it does it. Called from several tasks; must not block.
pub trait Monitor: Send + Sync {
    /// The reading of a resource begins.
    fn resource_started(&self, resource: &str) {
        let _ = resource;
    }

    /// So many objects of a resource, of so many bytes, are with the repository.
    fn objects(&self, resource: &str, objects: u64, bytes: u64) {
        let _ = (resource, objects, bytes);
    }

    /// The reading of a resource has ended.
    fn resource_finished(&self, report: &ResourceReport) {
        let _ = report;
    }

    /// Something that goes into the log.
    fn line(&self, line: &LogLine) {
        let _ = line;
    }
}

/// A monitor that looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What was done.
    Info,
    /// What may not be as the user thinks.
    Warning,
    /// What is missing from the backup.
    Error,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
}

impl From<&hooks::Line> for LogLine {
    fn from(line: &hooks::Line) -> LogLine {
        LogLine {
            level: match line.level {
                hooks::Level::Info => Level::Info,
                hooks::Level::Warning => Level::Warning,
                hooks::Level::Error => Level::Error,
            },
            text: line.text.clone(),
        }
    }
}

impl std::fmt::Display for LogLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        write!(f, "{level:<8}{}", self.text)
    }
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceReport {
    /// The resource.
    pub resource: String,
    /// The version it was read in.
    pub version: String,
    /// Objects in the backup.
    pub objects: u64,
    /// Their bytes, as the apiserver sent them.
    pub bytes: u64,
    /// How much of what the plan asked for was read.
    pub captured: Captured,
    /// Why not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether only objects that others refer to were asked for.
    pub referenced_only: bool,
}

/// What a capture did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureReport {
    /// Every resource of the plan, in key order.
    pub resources: Vec<ResourceReport>,
    /// Objects in the backup.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Resources that could not be read completely.
    pub failed: u64,
    /// Requests to the apiserver since the capture began.
    pub requests: RequestCounts,
    /// How many hooks were run in pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HookStatus>,
    /// The log.
    pub log: Vec<LogLine>,
}

impl CaptureReport {
    /// The warnings of the log.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.of_level(Level::Warning)
    }

    /// The errors of the log.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.of_level(Level::Error)
    }

    /// Takes in what hooks did around the capture.
    pub fn add_hooks(&mut self, done: &hooks::Report) {
        self.hooks = self.hooks.unwrap_or_default().and(done.counts).any();
        self.log.extend(done.lines.iter().map(LogLine::from));
    }

    /// The phase that a backup with this report ends in.
    pub fn phase(&self) -> BackupPhase {
        match (self.errors().next(), self.objects) {
            (None, _) => BackupPhase::Completed,
            (Some(_), 0) => BackupPhase::Failed,
            (Some(_), _) => BackupPhase::PartiallyFailed,
        }
    }

    /// The log as text, one line each.
    pub fn log_text(&self) -> String {
        self.log.iter().map(|line| format!("{line}\n")).collect()
    }

    fn of_level(&self, level: Level) -> impl Iterator<Item = &str> {
        self.log
            .iter()
            .filter(move |line| line.level == level)
            .map(|line| line.text.as_str())
    }
}
