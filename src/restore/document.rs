//! What is put on record of a restore, by whoever ran it: the Restore with its status, the report, and the log.

use ark_engine::RestoreRecord;
use jiff::Timestamp;

use super::report::{Counts, RestoreReport};
use crate::api::{Restore, RestorePhase, RestoreProgress, RestoreStatus, Time};

/// The status of a restore that ended with this report.
pub fn status(report: &RestoreReport, started: Timestamp, finished: Timestamp) -> RestoreStatus {
    let phase = report.phase();
    RestoreStatus {
        phase,
        start_timestamp: Some(Time(started)),
        completion_timestamp: Some(Time(finished)),
        progress: Some(RestoreProgress {
            total_items: report.counts.total(),
            items_restored: report.counts.total() - report.counts.failed,
        }),
        hook_status: report.hooks,
        warnings: report.warnings,
        errors: report.errors,
        failure_reason: (phase == RestorePhase::Failed)
            .then(|| report.problems.first().map(ToString::to_string))
            .flatten(),
        ..RestoreStatus::default()
    }
}

/// The record of a restore. A restore that has begun, or ended early, has no report.
pub fn record(
    restore: &Restore,
    report: Option<&RestoreReport>,
    log: String,
) -> Result<RestoreRecord, serde_json::Error> {
    Ok(RestoreRecord {
        name: restore.metadata.name.clone().unwrap_or_default(),
        backup: restore.spec.backup_name.clone(),
        document: serde_json::to_vec(restore)?,
        report: match report {
            None => Vec::new(),
            Some(report) => serde_json::to_vec(report)?,
        },
        log: log.into_bytes(),
    })
}

/// The log that is kept: every problem, then what became of each resource.
pub fn log(report: &RestoreReport) -> String {
    let mut log = String::new();
    for problem in &report.problems {
        log.push_str(&format!("{problem}\n"));
    }
    for line in &report.hook_log {
        log.push_str(&format!("info: {line}\n"));
    }
    for (resource, counts) in &report.resources {
        let counts = counts.words(|n| n.to_string());
        log.push_str(&format!("info: {resource}: {counts}\n"));
        for (reason, objects) in report.skipped.get(resource).into_iter().flatten() {
            log.push_str(&format!("info: {resource}: {objects} skipped: {reason}\n"));
        }
    }
    log
}

impl Counts {
    /// `3 created, 1 unchanged`, with numbers written by `number`.
    pub fn words(&self, number: impl Fn(u64) -> String) -> String {
        let words: Vec<String> = [
            (self.created, "created"),
            (self.updated, "updated"),
            (self.unchanged, "unchanged"),
            (self.skipped, "skipped"),
            (self.failed, "failed"),
        ]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{} {word}", number(n)))
        .collect();
        match words.is_empty() {
            true => "nothing to do".to_owned(),
            false => words.join(", "),
        }
    }
}
