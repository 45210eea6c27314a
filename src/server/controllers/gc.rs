//! Garbage collection: which backups are to go, because their time is over or their schedule keeps others.
//!
//! What it guarantees:
//!
//! * Only backups of this cluster are judged; those of others are theirs to expire.
//! * A schedule that has `retention` decides about its backups by that alone: the newest Completed one always stays, and a PartiallyFailed
//!   one never pushes a Completed one out. All others go when their time to live has ended.
//! * What is to go is only asked for, by a DeleteBackupRequest whose name follows from the backup: asking twice is asking once.
//! * A location that is read-only or cannot be used is left alone until it can.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde::Serialize;

use crate::api::labels::{self, label_value};
use crate::api::retention::{Candidate, KeepRules, Outcome, decide};
use crate::api::{
    AccessMode, Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest,
    DeleteBackupRequestSpec, LocationPhase, Schedule,
};
use crate::server::context::Context;

/// Why a backup goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// Its time to live has ended.
    Expired,
    /// Its schedule keeps others.
    Retention,
}

/// A backup that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Going {
    /// The Backup object.
    pub backup: String,
    /// Why.
    pub why: Why,
}

/// Decides which backups go.
pub fn plan(
    backups: &[Backup],
    schedules: &[Schedule],
    locations: &[BackupStorageLocation],
    now: Timestamp,
) -> Vec<Going> {
    let usable: BTreeSet<String> = locations
        .iter()
        .filter(|location| {
            let phase = location.status.as_ref().and_then(|status| status.phase);
            location.spec.access_mode == AccessMode::ReadWrite
                && phase == Some(LocationPhase::Available)
        })
        .map(ResourceExt::name_any)
        .collect();
    let rules: BTreeMap<String, (KeepRules, TimeZone)> = schedules
        .iter()
        .filter_map(|schedule| {
            let rules = schedule.spec.retention.as_ref()?.rules();
            let zone = schedule.spec.time_zone.as_deref();
            let zone = zone.and_then(|zone| TimeZone::get(zone).ok());
            let value = label_value(&schedule.name_any());
            Some((value, (rules, zone.unwrap_or(TimeZone::UTC))))
        })
        .collect();
    let mut going = Vec::new();
    let mut by_schedule: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
    for backup in backups {
        let Some(candidate) = candidate(backup) else {
            continue;
        };
        let schedule = backup
            .labels()
            .get(labels::SCHEDULE_NAME)
            .and_then(|name| rules.get_key_value(name.as_str()));
        match schedule {
            Some((schedule, _)) => by_schedule.entry(schedule).or_default().push(candidate),
            None if candidate.expires.is_some_and(|at| at <= now) => going.push(Going {
                backup: candidate.name,
                why: Why::Expired,
            }),
            None => {}
        }
    }
    for (schedule, candidates) in by_schedule {
        if let Some((rules, zone)) = rules.get(schedule) {
            let plan = decide(rules, "", &candidates, now, zone);
            going.extend(plan.forgotten().map(|backup| Going {
                backup: backup.name.clone(),
                why: Why::Retention,
            }));
        }
    }
    let stored: BTreeMap<String, &str> = backups
        .iter()
        .filter_map(|backup| Some((backup.name_any(), backup.spec.storage_location.as_deref()?)))
        .collect();
    going.retain(|going| {
        stored
            .get(&going.backup)
            .is_some_and(|location| usable.contains(*location))
    });
    going
}

/// A backup of this cluster that is in a repository.
fn candidate(backup: &Backup) -> Option<Candidate> {
    if backup.labels().contains_key(labels::CLUSTER_ID) {
        return None;
    }
    let status = backup.status.as_ref()?;
    let outcome = match status.phase {
        BackupPhase::Completed => Outcome::Completed,
        BackupPhase::PartiallyFailed => Outcome::PartiallyFailed,
        BackupPhase::Failed => Outcome::Failed,
        _ => return None,
    };
    let created = status
        .start_timestamp
        .as_ref()
        .or(backup.metadata.creation_timestamp.as_ref())?;
    Some(Candidate {
        id: backup.name_any(),
        name: backup.name_any(),
        // One cluster's alone are judged, so all have the same.
        cluster: String::new(),
        created: created.0,
        expires: status.expiration.as_ref().map(|time| time.0),
        outcome,
    })
}

/// The name of the request to delete a backup: the same for the same object, another one for a later one of its name.
pub fn request_name(backup: &Backup) -> String {
    let name = backup.name_any();
    let uid = backup.uid().unwrap_or_default();
    let hash = blake3::hash(format!("{name}/{uid}").as_bytes()).to_hex();
    let short: String = name.chars().take(200).collect();
    format!("{}-{}", short.trim_end_matches(['-', '.']), &hash[..10])
}

/// Runs until `context.stop` fires.
pub async fn run(context: Context) {
    let pace = context.settings.gc_frequency;
    // The first round waits until the locations have been looked at.
    let first = pace.min(Duration::from_secs(60));
    super::rounds(&context, "gc", first, pace, collect).await;
}

async fn collect(context: &Context) -> Result<(), kube::Error> {
    let all = ListParams::default();
    let backups = context.api::<Backup>();
    let backups = backups.list(&all).await?.items;
    let schedules = context.api::<Schedule>();
    let schedules = schedules.list(&all).await?.items;
    let locations = context.api::<BackupStorageLocation>();
    let locations = locations.list(&all).await?.items;
    let names: Vec<String> = locations.iter().map(ResourceExt::name_any).collect();
    context.repositories.retain(&names);
    let requests = context.api::<DeleteBackupRequest>();
    for going in plan(&backups, &schedules, &locations, context.now()) {
        let Some(backup) = backups
            .iter()
            .find(|backup| backup.name_any() == going.backup)
        else {
            continue;
        };
        let spec = DeleteBackupRequestSpec {
            backup_name: going.backup.clone(),
        };
        let request = DeleteBackupRequest::new(&request_name(backup), spec);
        match requests.create(&PostParams::default(), &request).await {
            Ok(_) => {
                tracing::info!(backup = going.backup, why = ?going.why, "asked for its deletion")
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    fn backup(
        name: &str,
        phase: &str,
        started: &str,
        expires: Option<&str>,
        labels: serde_json::Value,
    ) -> Backup {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "Backup",
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": labels},
            "spec": {"storageLocation": "default"},
            "status": {"phase": phase, "startTimestamp": started, "expiration": expires},
        }))
        .unwrap()
    }

    fn location(access: &str, phase: &str) -> BackupStorageLocation {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "BackupStorageLocation",
            "metadata": {"name": "default"},
            "spec": {"provider": "local", "objectStorage": {"bucket": "/b"}, "accessMode": access},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn schedule(keep: u32) -> Schedule {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "Schedule",
            "metadata": {"name": "hourly"},
            "spec": {"schedule": "@hourly", "retention": {"keepLast": keep}},
        }))
        .unwrap()
    }

    fn going(
        backups: &[Backup],
        schedules: &[Schedule],
        location: BackupStorageLocation,
    ) -> Vec<String> {
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        let mut going: Vec<String> = plan(backups, schedules, &[location], now)
            .into_iter()
            .map(|going| format!("{} {:?}", going.backup, going.why))
            .collect();
        going.sort();
        going
    }

    const OLD: &str = "2026-11-01T00:00:00Z";
    const PAST: Option<&str> = Some("2026-11-21T00:00:00Z");
    const FUTURE: Option<&str> = Some("2026-11-23T00:00:00Z");

    #[test]
    fn what_has_expired_goes_if_it_is_ours_and_its_location_can_be_written() {
        let foreign = json!({"ark.heptio.com/cluster-id": "other"});
        let backups = [
            backup("expired", "Completed", OLD, PAST, json!({})),
            backup("partial", "PartiallyFailed", OLD, PAST, json!({})),
            backup("failed", "Failed", OLD, PAST, json!({})),
            backup("living", "Completed", OLD, FUTURE, json!({})),
            backup("forever", "Completed", OLD, None, json!({})),
            backup("working", "InProgress", OLD, PAST, json!({})),
            backup("lost", "Lost", OLD, PAST, json!({})),
            backup("theirs", "Completed", OLD, PAST, foreign),
        ];
        let expected = ["expired Expired", "failed Expired", "partial Expired"];
        assert_eq!(
            going(&backups, &[], location("ReadWrite", "Available")),
            expected
        );
        for location in [
            location("ReadOnly", "Available"),
            location("ReadWrite", "Unavailable"),
        ] {
            assert_eq!(going(&backups, &[], location), Vec::<String>::new());
        }
    }

    #[test]
    fn a_schedule_with_retention_decides_by_that_alone() {
        let of = || json!({"ark.heptio.com/schedule-name": "hourly"});
        let backups = [
            backup("h1", "Completed", "2026-11-20T01:00:00Z", PAST, of()),
            backup("h2", "Completed", "2026-11-20T02:00:00Z", PAST, of()),
            backup("h3", "PartiallyFailed", "2026-11-20T03:00:00Z", None, of()),
            backup("h4", "Failed", "2026-11-20T01:30:00Z", None, of()),
            backup(
                "other",
                "Completed",
                OLD,
                PAST,
                json!({"ark.heptio.com/schedule-name": "gone"}),
            ),
        ];
        let available = || location("ReadWrite", "Available");
        // The newest Completed one stays although a PartiallyFailed one is newer, and although its time is over.
        assert_eq!(
            going(&backups, &[schedule(1)], available()),
            ["h1 Retention", "h4 Retention", "other Expired"]
        );
        assert_eq!(
            going(&backups, &[schedule(2)], available()),
            ["h4 Retention", "other Expired"]
        );
    }

    #[test]
    fn asking_twice_is_asking_once() {
        let one = backup("b", "Completed", OLD, None, json!({}));
        assert_eq!(request_name(&one), request_name(&one));
        let mut later = one.clone();
        later.metadata.uid = Some("another".to_owned());
        assert_ne!(request_name(&one), request_name(&later));
        let long = backup(&"x".repeat(253), "Completed", OLD, None, json!({}));
        assert!(request_name(&long).len() <= 253);
    }
}
