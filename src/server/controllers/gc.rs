//! Garbage collection: which backups are to go, because their time is over or their schedule keeps others.
//!
//! What it guarantees:
//!
//! * Only backups of this cluster are judged; those of others are theirs to expire.
//! * A backup counts once, however many objects show it, and only where its location can be used: what cannot be restored now never takes the
//!   place of what can. A location that is read-only or cannot be used is left alone until it can.
//! * A schedule that has `retention` decides about its backups by that alone: the newest Completed one always stays, and a PartiallyFailed
//!   one never pushes a Completed one out. All others go when their time to live has ended. What did not become a backup goes after a while.
//! * A backup whose time is yet to come was dated by a clock that was wrong: it stays, and counts for nothing.
//! * What is to go is only asked for, by a DeleteBackupRequest that names the very object by its uid, and whose name follows from it: asking
//!   twice is asking once.
//! * Of a location that is gone only the objects go: the data stays where it is, and they come back with the location.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde::Serialize;

use super::AHEAD;
use super::sync::remove;
use crate::api::labels::{self, label_value};
use crate::api::retention::{Candidate, KeepRules, Outcome, decide};
use crate::api::{
    AccessMode, Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest,
    DeleteBackupRequestSpec, LocationPhase, Schedule,
};
use crate::server::context::Context;
use crate::server::counterpart::{backup_id, is_own, may_be_stored};
use crate::server::cron::When;
use crate::server::listing::list;

/// How long an object stays that did not become a backup and that nothing else decides about.
const SHOWN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why a backup goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// Its time to live has ended.
    Expired,
    /// Its schedule keeps others.
    Retention,
    /// Its location is gone: only its object goes.
    LocationGone,
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

/// What is decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What goes.
    pub going: Vec<Going>,
    /// Backups that are dated in the future.
    pub ahead: Vec<String>,
}

/// What is known of the cluster.
#[derive(Debug)]
pub struct Known<'a> {
    /// The objects of backups.
    pub backups: &'a [Backup],
    /// The schedules.
    pub schedules: &'a [Schedule],
    /// The names of schedules that cannot be read: what they keep is not known.
    pub broken_schedules: &'a [String],
    /// The locations.
    pub locations: &'a [BackupStorageLocation],
    /// The names of locations that cannot be read.
    pub broken_locations: &'a [String],
    /// The id of this cluster.
    pub own: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// Decides which backups go.
pub fn plan(known: &Known) -> Plan {
    let now = known.now;
    let mut plan = Plan::default();
    let rules = rules(known.schedules);
    let open: BTreeSet<String> = known
        .broken_schedules
        .iter()
        .map(|name| label_value(name))
        .collect();
    let mut seen = BTreeSet::new();
    let mut by_schedule: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
    for backup in known.backups {
        if location_gone(backup, known) {
            plan.going.push(Going {
                backup: backup.name_any(),
                why: Why::LocationGone,
            });
            continue;
        }
        let Some(candidate) = candidate(backup, known) else {
            continue;
        };
        if !seen.insert(candidate.id.clone()) {
            continue;
        }
        if candidate.created > now.saturating_add(AHEAD).unwrap_or(now) {
            plan.ahead.push(candidate.name);
            continue;
        }
        let schedule = backup.labels().get(labels::SCHEDULE_NAME);
        if schedule.is_some_and(|schedule| open.contains(schedule)) {
            continue;
        }
        match schedule.and_then(|name| rules.get_key_value(name.as_str())) {
            Some((schedule, _)) => by_schedule.entry(schedule).or_default().push(candidate),
            None if candidate.expires.is_some_and(|at| at <= now) => plan.going.push(Going {
                backup: candidate.name,
                why: Why::Expired,
            }),
            None => {}
        }
    }
    for (schedule, candidates) in by_schedule {
        if let Some((rules, zone)) = rules.get(schedule) {
            let decided = decide(rules, "", &candidates, now, zone);
            plan.going.extend(decided.forgotten().map(|backup| Going {
                backup: backup.name.clone(),
                why: Why::Retention,
            }));
        }
    }
    plan
}

/// The rules of the schedules that have some, and the zone of their days.
fn rules(schedules: &[Schedule]) -> BTreeMap<String, (KeepRules, TimeZone)> {
    schedules
        .iter()
        .filter_map(|schedule| {
            let spec = &schedule.spec;
            let rules = spec.retention.as_ref()?.rules();
            let zone = When::zone(&spec.schedule, spec.time_zone.as_deref());
            Some((label_value(&schedule.name_any()), (rules, zone)))
        })
        .collect()
}

/// Whether only an object is left here of a backup that is stored somewhere.
fn location_gone(backup: &Backup, known: &Known) -> bool {
    let there = |name: &str| {
        known
            .locations
            .iter()
            .any(|location| location.name_any() == name)
            || known.broken_locations.iter().any(|broken| broken == name)
    };
    let ended = !backup.phase().is_under_way();
    let location = backup.spec.storage_location.as_deref();
    ended && backup_id(backup).is_some() && location.is_some_and(|name| !there(name))
}

/// A backup that may be judged: of this cluster, ended, and nothing of it where nobody can delete it.
fn candidate(backup: &Backup, known: &Known) -> Option<Candidate> {
    if !is_own(backup, known.own) {
        return None;
    }
    let status = backup.status.as_ref()?;
    let outcome = match status.phase {
        BackupPhase::Completed => Outcome::Completed,
        BackupPhase::PartiallyFailed => Outcome::PartiallyFailed,
        BackupPhase::Failed | BackupPhase::FailedValidation | BackupPhase::Canceled => {
            Outcome::Failed
        }
        _ => return None,
    };
    let location = backup.spec.storage_location.as_deref();
    if may_be_stored(backup) && !location.is_some_and(|name| usable(name, known.locations)) {
        return None;
    }
    let created = status
        .start_timestamp
        .as_ref()
        .or(backup.metadata.creation_timestamp.as_ref())?
        .0;
    let kept = backup.spec.kept_for().map_or(SHOWN, |ttl| ttl.0);
    let expires = match (&status.expiration, &status.backup_id) {
        (Some(time), _) => Some(time.0),
        (None, Some(_)) => None,
        (None, None) if outcome == Outcome::Failed => created.checked_add(kept).ok(),
        (None, None) => None,
    };
    Some(Candidate {
        id: status
            .backup_id
            .clone()
            .unwrap_or_else(|| format!("object {}", backup.name_any())),
        name: backup.name_any(),
        // One cluster's alone are judged, so all have the same.
        cluster: String::new(),
        created,
        expires,
        outcome,
    })
}

/// Whether backups can be deleted from the location.
fn usable(name: &str, locations: &[BackupStorageLocation]) -> bool {
    locations
        .iter()
        .find(|location| location.name_any() == name)
        .is_some_and(|location| {
            let phase = location.status.as_ref().and_then(|status| status.phase);
            location.spec.access_mode == AccessMode::ReadWrite
                && phase == Some(LocationPhase::Available)
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
    let backups = list::<Backup>(context, &all).await?;
    let schedules = list::<Schedule>(context, &all).await?;
    let locations = list::<BackupStorageLocation>(context, &all).await?;
    let names: Vec<String> = locations.names().collect();
    context.repositories.retain(&names);
    let of_schedules = schedules.names().map(|name| label_value(&name));
    context
        .metrics
        .keep(&names, &of_schedules.collect::<Vec<_>>());
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let plan = plan(&Known {
        backups: &backups.items,
        schedules: &schedules.items,
        broken_schedules: &owned(schedules.broken_names().collect()),
        locations: &locations.items,
        broken_locations: &owned(locations.broken_names().collect()),
        own: context.cluster.id(),
        now: context.now(),
    });
    let object = |name: &str| {
        backups
            .items
            .iter()
            .find(|backup| backup.name_any() == name)
    };
    for backup in plan.ahead.iter().filter_map(|name| object(name)) {
        let note = "it is dated in the future, by a clock that was wrong: retention does not count it, and it stays until that \
                    time or until somebody deletes it";
        context
            .events
            .warning(backup, "DatedInTheFuture", note)
            .await;
    }
    let mut failed = None;
    for going in &plan.going {
        let Some(backup) = object(&going.backup) else {
            continue;
        };
        // One that the apiserver refuses holds up no other.
        if let Err(error) = let_go(backup, going.why, context).await {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn let_go(backup: &Backup, why: Why, context: &Context) -> Result<(), kube::Error> {
    let name = backup.name_any();
    if why == Why::LocationGone {
        remove(backup, &context.api()).await?;
        tracing::info!(backup = name, "its location is gone: removed the object");
        return Ok(());
    }
    let requests = context.api::<DeleteBackupRequest>();
    let spec = DeleteBackupRequestSpec {
        backup_name: name.clone(),
        backup_uid: backup.uid(),
    };
    let request = DeleteBackupRequest::new(&request_name(backup), spec);
    match requests.create(&PostParams::default(), &request).await {
        Ok(_) => {
            tracing::info!(backup = name, ?why, "asked for its deletion");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error),
    }
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
            "status": {
                "phase": phase,
                "startTimestamp": started,
                "expiration": expires,
                "backupId": format!("id-{name}"),
                "clusterId": "own",
            },
        }))
        .unwrap()
    }

    /// One whose status says other things.
    fn with(mut backup: Backup, status: serde_json::Value) -> Backup {
        let mut changed = json!(backup.status);
        changed
            .as_object_mut()
            .unwrap()
            .extend(status.as_object().unwrap().clone());
        backup.status = Some(serde_json::from_value(changed).unwrap());
        backup
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
        let decided = decided(backups, schedules, &[location], &[]);
        let mut going: Vec<String> = decided
            .going
            .into_iter()
            .map(|going| format!("{} {:?}", going.backup, going.why))
            .collect();
        going.sort();
        going
    }

    fn decided(
        backups: &[Backup],
        schedules: &[Schedule],
        locations: &[BackupStorageLocation],
        broken: &[String],
    ) -> Plan {
        plan(&Known {
            backups,
            schedules,
            broken_schedules: broken,
            locations,
            broken_locations: &[],
            own: "own",
            now: "2026-11-22T00:00:00Z".parse().unwrap(),
        })
    }

    const OLD: &str = "2026-11-01T00:00:00Z";
    const PAST: Option<&str> = Some("2026-11-21T00:00:00Z");
    const FUTURE: Option<&str> = Some("2026-11-23T00:00:00Z");

    #[test]
    fn what_has_expired_goes_if_it_is_ours_and_its_location_can_be_written() {
        let backups = [
            backup("expired", "Completed", OLD, PAST, json!({})),
            backup("partial", "PartiallyFailed", OLD, PAST, json!({})),
            backup("failed", "Failed", OLD, PAST, json!({})),
            backup("living", "Completed", OLD, FUTURE, json!({})),
            backup("forever", "Completed", OLD, None, json!({})),
            backup("working", "InProgress", OLD, PAST, json!({})),
            backup("lost", "Lost", OLD, PAST, json!({})),
            with(
                backup("theirs", "Completed", OLD, PAST, json!({})),
                json!({"clusterId": "other"}),
            ),
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

    fn hourly(name: &str, started: &str) -> Backup {
        let of = json!({"ark.heptio.com/schedule-name": "hourly"});
        backup(name, "Completed", started, None, of)
    }

    fn available() -> BackupStorageLocation {
        location("ReadWrite", "Available")
    }

    #[test]
    fn a_backup_that_two_objects_show_counts_once() {
        let one = hourly("h1", "2026-11-20T01:00:00Z");
        let twin = with(
            hourly("h1-twin", "2026-11-20T01:00:00Z"),
            json!({"backupId": "id-h1"}),
        );
        let two = hourly("h2", "2026-11-20T00:00:00Z");
        let backups = [one, twin, two];
        let none = Vec::<String>::new();
        assert_eq!(going(&backups, &[schedule(2)], available()), none);
    }

    #[test]
    fn what_cannot_be_restored_takes_no_place() {
        let mut elsewhere = hourly("h2", "2026-11-20T02:00:00Z");
        elsewhere.spec.storage_location = Some("away".to_owned());
        let mut away = location("ReadWrite", "Unavailable");
        away.metadata.name = Some("away".to_owned());
        let backups = [hourly("h1", "2026-11-20T01:00:00Z"), elsewhere];
        let decided = decided(&backups, &[schedule(1)], &[available(), away], &[]);
        assert_eq!(decided, Plan::default());
    }

    #[test]
    fn what_is_dated_in_the_future_stays_and_counts_for_nothing() {
        let backups = [
            hourly("next-year", "2027-11-20T01:00:00Z"),
            // As far as clocks may be apart.
            hourly("newest", "2026-11-22T00:00:30Z"),
            hourly("older", "2026-11-20T01:00:00Z"),
        ];
        let decided = decided(&backups, &[schedule(1)], &[available()], &[]);
        assert_eq!(decided.ahead, ["next-year"]);
        let going = decided.going.iter().map(|going| going.backup.as_str());
        assert_eq!(going.collect::<Vec<_>>(), ["older"]);
    }

    /// Its `retention` may keep what its older backups' time to live would not.
    #[test]
    fn backups_of_a_schedule_that_cannot_be_read_stay() {
        let mut old = hourly("h1", OLD);
        old = with(old, json!({"expiration": PAST}));
        let broken = ["hourly".to_owned()];
        assert_eq!(
            decided(std::slice::from_ref(&old), &[], &[available()], &broken),
            Plan::default()
        );
        assert_eq!(going(&[old], &[], available()), ["h1 Expired"]);
    }

    #[test]
    fn what_did_not_become_a_backup_goes_after_a_while() {
        let failed = |name: &str, phase: &str, started: &str, ttl: Option<&str>| {
            let backup = backup(name, phase, started, None, json!({}));
            let mut backup = with(backup, json!({"backupId": null}));
            backup.spec.storage_location = None;
            backup.spec.ttl = ttl.map(|ttl| ttl.parse().unwrap());
            backup
        };
        let backups = [
            failed("invalid", "FailedValidation", "2026-10-20T00:00:00Z", None),
            failed("canceled", "Canceled", "2026-10-20T00:00:00Z", None),
            failed("recent", "Canceled", OLD, None),
            failed("short", "Canceled", OLD, Some("24h")),
            failed("zero", "Canceled", OLD, Some("0s")),
        ];
        assert_eq!(
            going(&backups, &[], available()),
            ["canceled Expired", "invalid Expired", "short Expired"]
        );
    }

    #[test]
    fn objects_go_with_their_location_and_nothing_else_does() {
        let mut gone = backup("gone", "Completed", OLD, None, json!({}));
        gone.spec.storage_location = Some("gone".to_owned());
        let mut begun = gone.clone();
        begun.metadata.name = Some("begun".to_owned());
        let begun = with(begun, json!({"phase": "InProgress"}));
        let mut never = gone.clone();
        never.metadata.name = Some("never".to_owned());
        let never = with(never, json!({"backupId": null}));
        let backups = [
            gone,
            begun,
            never,
            backup("here", "Completed", OLD, None, json!({})),
        ];
        assert_eq!(going(&backups, &[], available()), ["gone LocationGone"]);
    }
}
