//! What a backup is committed with, by whoever made it: the Backup with its status, counts, expiration and log.

use ark_engine::{BackupStatus, Commit, Counts, Root};
use jiff::Timestamp;

use super::report::CaptureReport;
use crate::api::{self, Backup, BackupPhase, BackupSpec, Time};

/// When a backup that began then may be deleted.
pub fn expiration(spec: &BackupSpec, started: Timestamp) -> Option<Timestamp> {
    started.checked_add(spec.kept_for()?.0).ok()
}

/// The status of a backup whose capture ended with this report.
pub fn status(
    report: &CaptureReport,
    spec: &BackupSpec,
    started: Timestamp,
    finished: Timestamp,
) -> api::BackupStatus {
    let phase = report.phase();
    api::BackupStatus {
        phase,
        start_timestamp: Some(Time(started)),
        completion_timestamp: Some(Time(finished)),
        expiration: expiration(spec, started).map(Time),
        progress: Some(api::BackupProgress {
            total_items: report.objects,
            items_backed_up: report.objects,
        }),
        hook_status: report.hooks,
        warnings: report.warnings().count() as u64,
        errors: report.errors().count() as u64,
        failure_reason: (phase == BackupPhase::Failed)
            .then(|| report.errors().next().map(str::to_owned))
            .flatten(),
        ..api::BackupStatus::default()
    }
}

/// The commit of a backup that has its final status.
pub fn commit(
    backup: &Backup,
    root: Option<Root>,
    report: &CaptureReport,
) -> Result<Commit, serde_json::Error> {
    let status = backup.status.clone().unwrap_or_default();
    Ok(Commit {
        document: serde_json::to_vec(backup)?,
        datasets: root
            .map(|root| ("objects".to_owned(), root))
            .into_iter()
            .collect(),
        counts: Counts {
            items: report.objects,
            bytes: report.bytes,
            failed: report.failed,
        },
        status: match status.phase {
            BackupPhase::Completed => BackupStatus::Completed,
            BackupPhase::PartiallyFailed => BackupStatus::PartiallyFailed,
            _ => BackupStatus::Failed,
        },
        expires: status.expiration.map(|time| time.0.as_second()),
        log: report.log_text().into_bytes(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_to_live_of_zero_is_none() {
        let started = "2026-11-22T00:00:00Z".parse().unwrap();
        let expires = |ttl: Option<&str>| {
            let spec = BackupSpec {
                ttl: ttl.map(|ttl| ttl.parse().unwrap()),
                ..BackupSpec::default()
            };
            expiration(&spec, started).map(|at| at.to_string())
        };
        assert_eq!(expires(None), None);
        assert_eq!(expires(Some("0s")), None);
        assert_eq!(expires(Some("0")), None);
        assert_eq!(
            expires(Some("24h")).as_deref(),
            Some("2026-11-23T00:00:00Z")
        );
        // So long that no clock shows its end.
        assert_eq!(expires(Some("999999999w")), None);
    }
}
