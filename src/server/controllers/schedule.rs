//! Schedules: a Backup object for every time that is due.
//!
//! What it guarantees:
//!
//! * A time that is due leads to one Backup: its name is made from the schedule's and the time, so that whoever comes
//!   second finds it there. Only then is the time put on record as dealt with. What has that name and is not of this schedule (another
//!   cluster's backup of the same time, above all) takes the place of none: then the backup gets another name.
//! * A time on record that is yet to come was written by a clock that was wrong, and keeps nothing from being made.
//! * What is due is decided by [`cron`], from what the object itself says.
//! * A backup that is not finished keeps the next one from being begun; so does one that somebody made by hand
//!   with the schedule's label.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ListParams, PostParams};
use kube::runtime::controller::Action as Requeue;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{AHEAD, patch_status};
use crate::api::labels::{self, SCHEDULE_NAME};
use crate::api::names::check_name;
use crate::api::{Backup, GoDuration, Schedule, SchedulePhase, Time};
use crate::server::context::Context;
use crate::server::counterpart::{backup_id, is_own};
use crate::server::cron::{self, Due, ScheduleError, When};
use crate::server::listing::list;

/// The longest pause between two looks: clocks are put right.
const LONGEST: Duration = Duration::from_secs(600);

/// What is to be done for a Schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Its spec is wrong.
    Refuse(Vec<String>),
    /// Its spec is right, which is not on record yet.
    Enable,
    /// Make the backup of that time.
    Make(Timestamp),
    /// Pass over that time.
    Skip(Timestamp),
    /// Nothing until then, or until it changes.
    Wait(Option<Timestamp>),
}

/// Decides. `busy` says whether a backup of the schedule is not finished.
pub fn decide(schedule: &Schedule, busy: bool, now: Timestamp) -> Action {
    let spec = &schedule.spec;
    let status = schedule.status.clone().unwrap_or_default();
    let when = match check(schedule) {
        Ok(when) => when,
        Err(errors) => {
            return match status.phase == SchedulePhase::FailedValidation
                && status.validation_errors == errors
            {
                true => Action::Wait(None),
                false => Action::Refuse(errors),
            };
        }
    };
    if status.phase != SchedulePhase::Enabled {
        return Action::Enable;
    }
    let dealt_with = [
        schedule.metadata.creation_timestamp.as_ref(),
        status.last_backup.as_ref(),
        status.last_skipped.as_ref(),
    ];
    let latest = now.saturating_add(AHEAD).unwrap_or(now);
    let times = dealt_with.into_iter().flatten().map(|time| time.0);
    let (passed, ahead): (Vec<_>, Vec<_>) = times.partition(|time| *time <= latest);
    let state = cron::State {
        last: match (passed.into_iter().max(), ahead.is_empty()) {
            (Some(last), _) => last,
            // Nothing says when it began: what is due now is the newest time of all.
            (None, false) => Timestamp::UNIX_EPOCH,
            (None, true) => now,
        },
        busy,
        paused: spec.paused,
        skip_immediately: spec.skip_immediately.unwrap_or(false),
    };
    match cron::due(&when, &state, now) {
        Due::Make(time) => Action::Make(time),
        Due::Skip(time) => Action::Skip(time),
        Due::Wait(time) => Action::Wait(time),
    }
}

fn check(schedule: &Schedule) -> Result<When, Vec<String>> {
    let spec = &schedule.spec;
    let when = When::parse(&spec.schedule, spec.time_zone.as_deref())
        .map_err(|error: ScheduleError| error.to_string());
    let name = check_name(
        "backup",
        &backup_name(&schedule.name_any(), Timestamp::UNIX_EPOCH),
    )
    .map_err(|error| error.to_string());
    match (when, name) {
        (Ok(when), Ok(())) => Ok(when),
        (when, name) => Err([when.err(), name.err()].into_iter().flatten().collect()),
    }
}

/// `nightly-20260301030000`, in UTC.
pub fn backup_name(schedule: &str, due: Timestamp) -> String {
    let stamp = due.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S");
    format!("{schedule}-{stamp}")
}

/// The Backup of a time that is due.
pub fn backup(
    schedule: &Schedule,
    namespace: &str,
    due: Timestamp,
    default_ttl: Option<GoDuration>,
) -> Backup {
    let name = schedule.name_any();
    let mut spec = schedule.spec.template.clone();
    spec.cancel = None;
    // Backups that the rules of the schedule judge do not expire by themselves.
    spec.ttl = match schedule.spec.retention {
        Some(_) => None,
        None => spec.kept_for().or(default_ttl),
    };
    let mut backup = Backup::named(namespace, &backup_name(&name, due), spec);
    let mut labels = schedule.labels().clone();
    labels.insert(SCHEDULE_NAME.to_owned(), labels::label_value(&name));
    backup.metadata.labels = Some(labels);
    if schedule
        .spec
        .use_owner_references_in_backup
        .unwrap_or(false)
    {
        backup.metadata.owner_references = owner(schedule).map(|owner| vec![owner]);
    }
    backup
}

fn owner(schedule: &Schedule) -> Option<OwnerReference> {
    schedule.controller_owner_ref(&())
}

fn is_unfinished(backup: &Backup) -> bool {
    backup.phase().is_under_way() && backup_id(backup).is_none()
}

/// Whether that object is the backup that the schedule was to make.
fn is_of(found: &Backup, schedule: &str, own: &str) -> bool {
    let label = found.labels().get(SCHEDULE_NAME);
    is_own(found, own) && label.is_some_and(|label| *label == labels::label_value(schedule))
}

/// Another name for a backup whose own is taken: the same whoever asks.
fn other_name(backup: &str, schedule: &Schedule) -> String {
    let uid = schedule.uid().unwrap_or_default();
    let hash = blake3::hash(uid.as_bytes()).to_hex();
    let short: String = backup.chars().take(240).collect();
    format!("{short}-{}", &hash[..6])
}

/// Works on Schedules until the server stops.
pub async fn run(context: Context) {
    super::watch(context, "schedule", reconcile).await;
}

async fn reconcile(seen: Arc<Schedule>, context: Arc<Context>) -> Result<Requeue, kube::Error> {
    let schedules = context.api::<Schedule>();
    let name = seen.name_any();
    // What was seen may be older than what this process wrote itself: then a time would be due twice.
    let Some(schedule) = schedules.get_opt(&name).await? else {
        return Ok(Requeue::await_change());
    };
    if schedule.metadata.deletion_timestamp.is_some() {
        return Ok(Requeue::await_change());
    }
    let now = context.now();
    let mut action = decide(&schedule, false, now);
    if matches!(action, Action::Make(_)) {
        let of = format!("{SCHEDULE_NAME}={}", labels::label_value(&name));
        let of = ListParams::default().labels(&of);
        let mut listed = list::<Backup>(&context, &of).await?;
        // Another cluster's backups of a schedule of this name are no business of this one.
        let own = context.cluster.id();
        listed.items.retain(|backup| is_own(backup, own));
        action = decide(&schedule, listed.items.iter().any(is_unfinished), now);
    }
    match action {
        Action::Wait(None) => return Ok(Requeue::await_change()),
        Action::Wait(Some(due)) => {
            let left = Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO);
            return Ok(Requeue::requeue(left.min(LONGEST)));
        }
        Action::Refuse(errors) => {
            let status = json!({
                "phase": SchedulePhase::FailedValidation,
                "validationErrors": errors,
            });
            patch_status(&schedules, &name, &status).await?;
            let events = &context.events;
            events
                .warning(&schedule, "FailedValidation", &errors.join("; "))
                .await;
        }
        Action::Enable => {
            let status = json!({ "phase": SchedulePhase::Enabled, "validationErrors": null });
            patch_status(&schedules, &name, &status).await?;
        }
        Action::Skip(due) => {
            patch_status(&schedules, &name, &json!({ "lastSkipped": Time(due) })).await?;
            if !schedule.spec.paused {
                let note =
                    format!("the backup of {due} is left out: the one before is not finished");
                context
                    .events
                    .warning(&schedule, "BackupSkipped", &note)
                    .await;
            }
        }
        Action::Make(due) => {
            let default_ttl = context.settings.default_ttl;
            let backup = backup(&schedule, &context.namespace, due, default_ttl);
            match make(&schedule, backup, &context).await {
                Ok(()) => {}
                // The template is wrong in a way that only the apiserver sees.
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                    let events = &context.events;
                    events
                        .warning(&schedule, "BackupRefused", &status.message)
                        .await;
                }
                Err(error) => return Err(error),
            }
            patch_status(&schedules, &name, &json!({ "lastBackup": Time(due) })).await?;
        }
    }
    Ok(Requeue::requeue(Duration::ZERO))
}

/// Makes the backup, or finds it there: it was made, and the process ended before that was on record.
async fn make(
    schedule: &Schedule,
    mut backup: Backup,
    context: &Context,
) -> Result<(), kube::Error> {
    let backups = context.api::<Backup>();
    let (name, own) = (schedule.name_any(), context.cluster.id());
    let first = backup.name_any();
    for name_of_backup in [first.clone(), other_name(&first, schedule)] {
        backup.metadata.name = Some(name_of_backup.clone());
        match backups.create(&PostParams::default(), &backup).await {
            Ok(_) => {
                tracing::info!(schedule = name, backup = name_of_backup, "due");
                return Ok(());
            }
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(error),
        }
        let found = backups.get_opt(&name_of_backup).await?;
        if found.is_some_and(|found| is_of(&found, &name, own)) {
            return Ok(());
        }
        let note = format!(
            "the name {name_of_backup} is taken by a backup that this schedule did not make, perhaps of another cluster: the \
             backup gets another name"
        );
        tracing::warn!(schedule = name, "{note}");
        context.events.warning(schedule, "NameTaken", &note).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::{
        BackupPhase, BackupSpec, BackupStatus, Retention, ScheduleSpec, ScheduleStatus,
    };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(when: &str, phase: SchedulePhase) -> Schedule {
        let spec = ScheduleSpec {
            schedule: when.to_owned(),
            ..ScheduleSpec::default()
        };
        let mut schedule = Schedule::new("nightly", spec);
        schedule.metadata.creation_timestamp = Some(Time(at("2026-03-01T12:00:00Z")));
        schedule.status = Some(ScheduleStatus {
            phase,
            ..ScheduleStatus::default()
        });
        schedule
    }

    #[test]
    fn what_is_done_for_a_schedule() {
        let due = at("2026-03-02T03:00:00Z");
        let noon = at("2026-03-02T12:00:00Z");
        let new = schedule("0 3 * * *", SchedulePhase::New);
        assert_eq!(decide(&new, false, noon), Action::Enable);
        let enabled = schedule("0 3 * * *", SchedulePhase::Enabled);
        assert_eq!(decide(&enabled, false, noon), Action::Make(due));
        assert_eq!(decide(&enabled, true, noon), Action::Skip(due));
        let early = at("2026-03-01T13:00:00Z");
        assert_eq!(decide(&enabled, false, early), Action::Wait(Some(due)));
        for dealt_with in [0, 1] {
            let mut done = enabled.clone();
            let status = done.status.as_mut().unwrap();
            match dealt_with {
                0 => status.last_backup = Some(Time(due)),
                _ => status.last_skipped = Some(Time(due)),
            }
            let next = at("2026-03-03T03:00:00Z");
            assert_eq!(decide(&done, false, noon), Action::Wait(Some(next)));
        }
        let mut paused = enabled.clone();
        paused.spec.paused = true;
        assert_eq!(decide(&paused, false, noon), Action::Wait(None));
        paused.spec.skip_immediately = Some(true);
        assert_eq!(decide(&paused, false, noon), Action::Skip(due));
        let mut wrong = schedule("at noon", SchedulePhase::Enabled);
        let Action::Refuse(errors) = decide(&wrong, false, noon) else {
            panic!("it is wrong");
        };
        let status = wrong.status.as_mut().unwrap();
        (status.phase, status.validation_errors) = (SchedulePhase::FailedValidation, errors);
        assert_eq!(decide(&wrong, false, noon), Action::Wait(None));
        wrong.spec.schedule = "@daily".to_owned();
        assert_eq!(decide(&wrong, false, noon), Action::Enable);
    }

    /// A leader's clock was a year ahead for some minutes.
    #[test]
    fn a_time_that_is_yet_to_come_stops_nothing() {
        let now = at("2026-03-02T12:00:00Z");
        let due = at("2026-03-02T03:00:00Z");
        let mut schedule = schedule("0 3 * * *", SchedulePhase::Enabled);
        let ahead = Some(Time(at("2027-03-02T03:00:00Z")));
        let status = schedule.status.as_mut().unwrap();
        (status.last_backup, status.last_skipped) = (ahead.clone(), ahead.clone());
        assert_eq!(decide(&schedule, false, now), Action::Make(due));
        schedule.metadata.creation_timestamp = ahead;
        assert_eq!(decide(&schedule, false, now), Action::Make(due));
        // Clocks may be apart a little.
        let status = schedule.status.as_mut().unwrap();
        status.last_backup = Some(Time(at("2026-03-02T12:00:30Z")));
        let next = at("2026-03-03T03:00:00Z");
        assert_eq!(decide(&schedule, false, now), Action::Wait(Some(next)));
    }

    #[test]
    fn another_clusters_backup_is_not_the_one_that_was_due() {
        let due = at("2026-03-02T03:00:00Z");
        let schedule = schedule("0 3 * * *", SchedulePhase::Enabled);
        let ours = backup(&schedule, "heptio-ark", due, None);
        assert!(is_of(&ours, "nightly", "own"));
        let mut theirs = ours.clone();
        theirs.status = Some(BackupStatus {
            cluster_id: Some("other".to_owned()),
            ..BackupStatus::default()
        });
        assert!(!is_of(&theirs, "nightly", "own"));
        let mut by_hand = ours.clone();
        by_hand.metadata.labels = None;
        assert!(!is_of(&by_hand, "nightly", "own"));
        let name = ours.name_any();
        assert_ne!(other_name(&name, &schedule), name);
        assert!(other_name(&"a".repeat(253), &schedule).len() <= 253);
    }

    #[test]
    fn a_name_that_is_too_long_is_refused() {
        let mut long = schedule("@daily", SchedulePhase::New);
        long.metadata.name = Some("a".repeat(240));
        let decision = decide(&long, false, at("2026-03-02T12:00:00Z"));
        assert!(matches!(decision, Action::Refuse(_)), "{decision:?}");
    }

    #[test]
    fn the_backup_of_a_time() {
        let due = at("2026-03-02T03:00:00Z");
        let mut schedule = schedule("0 3 * * *", SchedulePhase::Enabled);
        schedule.metadata.uid = Some("u".to_owned());
        schedule
            .labels_mut()
            .insert("team".to_owned(), "a".to_owned());
        let week: GoDuration = "168h".parse().unwrap();
        let made = backup(&schedule, "heptio-ark", due, Some(week));
        assert_eq!(made.name_any(), "nightly-20260302030000");
        assert_eq!(made.labels()[SCHEDULE_NAME], "nightly");
        assert_eq!(made.labels()["team"], "a");
        assert_eq!(made.spec.ttl, Some(week));
        assert_eq!(made.metadata.owner_references, None);
        // As Velero's clients write it: no time to live.
        schedule.spec.template.ttl = Some("0s".parse().unwrap());
        let made = backup(&schedule, "heptio-ark", due, Some(week));
        assert_eq!(made.spec.ttl, Some(week));
        assert_eq!(backup(&schedule, "heptio-ark", due, None).spec.ttl, None);
        let hour: GoDuration = "1h".parse().unwrap();
        schedule.spec.template = BackupSpec {
            ttl: Some(hour),
            hooks: Some(crate::api::BackupHooks::default()),
            ..BackupSpec::default()
        };
        schedule.spec.use_owner_references_in_backup = Some(true);
        let made = backup(&schedule, "heptio-ark", due, Some(week));
        assert_eq!(made.spec.ttl, Some(hour));
        assert_eq!(made.spec.hooks, schedule.spec.template.hooks);
        let owners = made.metadata.owner_references.unwrap();
        assert_eq!(
            (owners[0].kind.as_str(), owners[0].uid.as_str()),
            ("Schedule", "u")
        );
        schedule.spec.retention = Some(Retention {
            keep_last: Some(2),
            ..Retention::default()
        });
        assert_eq!(
            backup(&schedule, "heptio-ark", due, Some(week)).spec.ttl,
            None
        );
    }

    #[test]
    fn a_backup_that_is_not_finished_is_in_the_way() {
        for (phase, expected) in [
            (BackupPhase::New, true),
            (BackupPhase::InProgress, true),
            (BackupPhase::Canceling, true),
            (BackupPhase::Completed, false),
            (BackupPhase::Failed, false),
            (BackupPhase::Deleting, false),
        ] {
            let mut backup = Backup::named("heptio-ark", "b", BackupSpec::default());
            backup.status = Some(BackupStatus {
                phase,
                ..BackupStatus::default()
            });
            assert_eq!(is_unfinished(&backup), expected, "{phase}");
        }
    }
}
