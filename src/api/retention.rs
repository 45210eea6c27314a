//! Which backups the keep rules keep.
//!
//! The decision is a pure function of the rules, the rows and the time: it can be printed (`--dry-run`), tested in
//! tables, and used by the command line and the server alike. What it guarantees, whatever the rules say:
//!
//! * Only backups of the cluster that asks are judged. Those of other clusters in the same repository are not even in
//!   the plan.
//! * A backup that is not `Completed` never pushes out one that is. The rules run twice: once over the completed
//!   backups alone, as if the others did not exist, and once over both. A backup that either run keeps is kept. The second
//!   run can only add backups that are not completed, because a completed backup that is among the first N of a
//!   longer list is among the first N of the shorter one too.
//! * The newest `Completed` backup is never forgotten.
//! * A `Failed` backup is kept only as long as no newer `Completed` one exists: it holds a log, nothing to restore.

use std::collections::BTreeSet;
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// The rules. A rule that is `None` keeps nothing by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeepRules {
    /// Keep the newest N backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// Keep the newest backup of each of the last N hours that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly: Option<u32>,
    /// Keep the newest backup of each of the last N days that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daily: Option<u32>,
    /// Keep the newest backup of each of the last N ISO weeks that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekly: Option<u32>,
    /// Keep the newest backup of each of the last N months that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly: Option<u32>,
    /// Keep the newest backup of each of the last N years that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yearly: Option<u32>,
    /// Keep every backup made within this time before the newest one. Counted from the newest backup, not from now:
    /// when backups stop, the old ones do not melt away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<SignedDuration>,
    /// Forget every backup whose time to live has ended, before the other rules run.
    pub expired: bool,
}

impl KeepRules {
    /// Whether no keep rule is given. Such rules keep everything that has not expired.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
            && self.hourly.is_none()
            && self.daily.is_none()
            && self.weekly.is_none()
            && self.monthly.is_none()
            && self.yearly.is_none()
            && self.within.is_none()
    }
}

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Everything of the plan was captured.
    Completed,
    /// Something of the plan is missing.
    PartiallyFailed,
    /// Nothing can be restored from it.
    Failed,
}

/// A backup as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The backup's id.
    pub id: String,
    /// The backup's name.
    pub name: String,
    /// The id of the cluster it belongs to.
    pub cluster: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its time to live ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome,
}

/// Why a backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// `last`
    Last,
    /// `hourly`
    Hourly,
    /// `daily`
    Daily,
    /// `weekly`
    Weekly,
    /// `monthly`
    Monthly,
    /// `yearly`
    Yearly,
    /// `within`
    Within,
    /// No keep rule was given and its time to live has not ended.
    NotExpired,
    /// It is the newest completed backup.
    NewestCompleted,
    /// It failed, and no completed backup is newer.
    NotReplaced,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Last => "last",
            Reason::Hourly => "hourly",
            Reason::Daily => "daily",
            Reason::Weekly => "weekly",
            Reason::Monthly => "monthly",
            Reason::Yearly => "yearly",
            Reason::Within => "within",
            Reason::NotExpired => "not expired",
            Reason::NewestCompleted => "newest completed",
            Reason::NotReplaced => "no newer completed",
        })
    }
}

/// What happens to one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The backup.
    #[serde(flatten)]
    pub backup: Candidate,
    /// Why it is kept. Empty: it is forgotten.
    pub keep: Vec<Reason>,
}

impl Decision {
    /// Whether the backup stays.
    pub fn kept(&self) -> bool {
        !self.keep.is_empty()
    }
}

/// What the rules decide, newest backup first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPlan {
    /// The cluster whose backups were judged.
    pub cluster: String,
    /// A decision for each of its backups.
    pub decisions: Vec<Decision>,
    /// How many backups of other clusters were left alone.
    pub other_clusters: usize,
}

impl RetentionPlan {
    /// The backups to forget, newest first.
    pub fn forgotten(&self) -> impl Iterator<Item = &Candidate> {
        self.decisions
            .iter()
            .filter(|decision| !decision.kept())
            .map(|decision| &decision.backup)
    }
}

/// Applies the rules to the backups of `cluster`. Calendar periods are those of `zone`.
pub fn decide(
    rules: &KeepRules,
    cluster: &str,
    backups: &[Candidate],
    now: Timestamp,
    zone: &TimeZone,
) -> RetentionPlan {
    let mut own: Vec<&Candidate> = backups
        .iter()
        .filter(|backup| backup.cluster == cluster)
        .collect();
    // Ties by id, so that the same rows give the same plan in any order.
    own.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    let mut kept: Vec<BTreeSet<Reason>> = vec![BTreeSet::new(); own.len()];

    let judged = |index: &usize| !(rules.expired && own[*index].has_expired(now));
    let completed: Vec<usize> = (0..own.len())
        .filter(|index| own[*index].outcome == Outcome::Completed)
        .collect();
    let usable: Vec<usize> = (0..own.len())
        .filter(|index| own[*index].outcome != Outcome::Failed)
        .collect();
    for run in [&completed, &usable] {
        let run: Vec<usize> = run.iter().copied().filter(judged).collect();
        apply(rules, &own, &run, zone, &mut kept);
    }
    if let Some(newest) = completed.first() {
        kept[*newest].insert(Reason::NewestCompleted);
    }
    for (index, backup) in own.iter().enumerate() {
        let replaced = completed.first().is_some_and(|newest| *newest < index);
        if backup.outcome == Outcome::Failed && !replaced {
            kept[index].insert(Reason::NotReplaced);
        }
    }
    RetentionPlan {
        cluster: cluster.to_owned(),
        other_clusters: backups.len() - own.len(),
        decisions: own
            .into_iter()
            .zip(kept)
            .map(|(backup, keep)| Decision {
                backup: backup.clone(),
                keep: keep.into_iter().collect(),
            })
            .collect(),
    }
}

impl Candidate {
    fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Runs every rule over the backups at the positions of `run`, newest first.
fn apply(
    rules: &KeepRules,
    own: &[&Candidate],
    run: &[usize],
    zone: &TimeZone,
    kept: &mut [BTreeSet<Reason>],
) {
    if rules.is_empty() {
        for index in run {
            kept[*index].insert(Reason::NotExpired);
        }
        return;
    }
    for index in run.iter().take(rules.last.unwrap_or(0) as usize) {
        kept[*index].insert(Reason::Last);
    }
    let periods: [(Option<u32>, Reason, Period); 5] = [
        (rules.hourly, Reason::Hourly, hour),
        (rules.daily, Reason::Daily, day),
        (rules.weekly, Reason::Weekly, week),
        (rules.monthly, Reason::Monthly, month),
        (rules.yearly, Reason::Yearly, year),
    ];
    for (count, reason, period) in periods {
        let mut left = count.unwrap_or(0);
        let mut previous = None;
        for index in run {
            let key = Some(period(own[*index].created, zone));
            if left > 0 && key != previous {
                kept[*index].insert(reason);
                previous = key;
                left -= 1;
            }
        }
    }
    if let (Some(within), Some(newest)) = (rules.within, run.first()) {
        let since = own[*newest].created.saturating_sub(within).ok();
        for index in run {
            if since.is_none_or(|since| own[*index].created >= since) {
                kept[*index].insert(Reason::Within);
            }
        }
    }
}

type Period = fn(Timestamp, &TimeZone) -> (i16, i16, i8);

fn hour(at: Timestamp, zone: &TimeZone) -> (i16, i16, i8) {
    let at = at.to_zoned(zone.clone());
    (at.year(), at.day_of_year(), at.hour())
}

fn day(at: Timestamp, zone: &TimeZone) -> (i16, i16, i8) {
    let at = at.to_zoned(zone.clone());
    (at.year(), at.day_of_year(), 0)
}

fn week(at: Timestamp, zone: &TimeZone) -> (i16, i16, i8) {
    let week = at.to_zoned(zone.clone()).date().iso_week_date();
    (week.year(), 0, week.week())
}

fn month(at: Timestamp, zone: &TimeZone) -> (i16, i16, i8) {
    let at = at.to_zoned(zone.clone());
    (at.year(), 0, at.month())
}

fn year(at: Timestamp, zone: &TimeZone) -> (i16, i16, i8) {
    (at.to_zoned(zone.clone()).year(), 0, 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// `2026-03-05T10:00 C` a line: time (UTC, no zone), outcome C/P/F. The name is the time.
    fn rows(lines: &[&str]) -> Vec<Candidate> {
        lines
            .iter()
            .map(|line| {
                let (time, outcome) = line.split_once(' ').unwrap();
                Candidate {
                    id: (*line).to_owned(),
                    name: time.to_owned(),
                    cluster: "own".to_owned(),
                    created: format!("{time}:00Z").parse().unwrap(),
                    expires: None,
                    outcome: match outcome {
                        "C" => Outcome::Completed,
                        "P" => Outcome::PartiallyFailed,
                        _ => Outcome::Failed,
                    },
                }
            })
            .collect()
    }

    fn kept(rules: &KeepRules, backups: &[Candidate]) -> Vec<String> {
        let now = "2026-03-31T00:00:00Z".parse().unwrap();
        decide(rules, "own", backups, now, &TimeZone::UTC)
            .decisions
            .into_iter()
            .filter(Decision::kept)
            .map(|decision| decision.backup.id)
            .collect()
    }

    fn last(n: u32) -> KeepRules {
        KeepRules {
            last: Some(n),
            ..KeepRules::default()
        }
    }

    #[test]
    fn each_rule_alone() {
        let backups = rows(&[
            "2025-12-31T23:00 C",
            "2026-01-31T23:00 C",
            "2026-02-01T00:00 C",
            "2026-02-28T12:00 C",
            "2026-03-01T09:10 C", // a Sunday
            "2026-03-02T09:10 C", // a Monday
            "2026-03-02T09:50 C",
            "2026-03-02T10:10 C",
        ]);
        let cases: [(KeepRules, &[&str]); 7] = [
            (last(2), &["2026-03-02T10:10 C", "2026-03-02T09:50 C"]),
            (
                KeepRules {
                    hourly: Some(2),
                    ..KeepRules::default()
                },
                &["2026-03-02T10:10 C", "2026-03-02T09:50 C"],
            ),
            (
                KeepRules {
                    daily: Some(3),
                    ..KeepRules::default()
                },
                &[
                    "2026-03-02T10:10 C",
                    "2026-03-01T09:10 C",
                    "2026-02-28T12:00 C",
                ],
            ),
            (
                KeepRules {
                    weekly: Some(2),
                    ..KeepRules::default()
                },
                &["2026-03-02T10:10 C", "2026-03-01T09:10 C"],
            ),
            (
                KeepRules {
                    monthly: Some(9),
                    ..KeepRules::default()
                },
                &[
                    "2026-03-02T10:10 C",
                    "2026-02-28T12:00 C",
                    "2026-01-31T23:00 C",
                    "2025-12-31T23:00 C",
                ],
            ),
            (
                KeepRules {
                    yearly: Some(2),
                    ..KeepRules::default()
                },
                &["2026-03-02T10:10 C", "2025-12-31T23:00 C"],
            ),
            (
                KeepRules {
                    within: Some(SignedDuration::from_hours(1)),
                    ..KeepRules::default()
                },
                &[
                    "2026-03-02T10:10 C",
                    "2026-03-02T09:50 C",
                    "2026-03-02T09:10 C",
                ],
            ),
        ];
        for (rules, expected) in cases {
            assert_eq!(kept(&rules, &backups), expected, "{rules:?}");
        }
    }

    #[test]
    fn rules_add_up() {
        let backups = rows(&[
            "2026-01-10T00:00 C",
            "2026-02-10T00:00 C",
            "2026-02-11T00:00 C",
            "2026-03-10T00:00 C",
        ]);
        let rules = KeepRules {
            last: Some(1),
            monthly: Some(2),
            ..KeepRules::default()
        };
        assert_eq!(
            kept(&rules, &backups),
            ["2026-03-10T00:00 C", "2026-02-11T00:00 C"]
        );
    }

    #[test]
    fn a_partial_backup_never_pushes_out_a_complete_one() {
        let backups = rows(&[
            "2026-03-01T00:00 C",
            "2026-03-02T00:00 C",
            "2026-03-02T06:00 P",
            "2026-03-03T00:00 P",
        ]);
        let daily = KeepRules {
            daily: Some(2),
            ..KeepRules::default()
        };
        let cases: [(KeepRules, &[&str]); 3] = [
            (last(1), &["2026-03-03T00:00 P", "2026-03-02T00:00 C"]),
            (
                last(2),
                &[
                    "2026-03-03T00:00 P",
                    "2026-03-02T06:00 P",
                    "2026-03-02T00:00 C",
                    "2026-03-01T00:00 C",
                ],
            ),
            (
                daily,
                &[
                    "2026-03-03T00:00 P",
                    "2026-03-02T06:00 P",
                    "2026-03-02T00:00 C",
                    "2026-03-01T00:00 C",
                ],
            ),
        ];
        for (rules, expected) in cases {
            assert_eq!(kept(&rules, &backups), expected, "{rules:?}");
        }
    }

    #[test]
    fn failed_backups_stay_until_replaced_and_count_for_nothing() {
        let backups = rows(&[
            "2026-03-01T00:00 F",
            "2026-03-02T00:00 C",
            "2026-03-03T00:00 F",
        ]);
        assert_eq!(
            kept(&last(1), &backups),
            ["2026-03-03T00:00 F", "2026-03-02T00:00 C"]
        );
        let only_failed = rows(&["2026-03-01T00:00 F", "2026-03-02T00:00 F"]);
        assert_eq!(kept(&last(1), &only_failed).len(), 2);
    }

    #[test]
    fn other_clusters_are_not_in_the_plan() {
        let mut backups = rows(&[
            "2026-03-01T00:00 C",
            "2026-03-02T00:00 C",
            "2026-03-03T00:00 C",
        ]);
        backups[2].cluster = "other".to_owned();
        let now = "2026-03-31T00:00:00Z".parse().unwrap();
        let plan = decide(&last(1), "own", &backups, now, &TimeZone::UTC);
        assert_eq!(plan.other_clusters, 1);
        let forgotten: Vec<_> = plan.forgotten().map(|backup| backup.id.as_str()).collect();
        assert_eq!(forgotten, ["2026-03-01T00:00 C"]);
    }

    #[test]
    fn expired_backups_go_but_never_the_newest_completed() {
        let mut backups = rows(&[
            "2026-03-01T00:00 C",
            "2026-03-02T00:00 C",
            "2026-03-03T00:00 P",
        ]);
        for backup in &mut backups {
            backup.expires = Some("2026-03-30T00:00:00Z".parse().unwrap());
        }
        let rules = KeepRules {
            expired: true,
            ..KeepRules::default()
        };
        assert_eq!(kept(&rules, &backups), ["2026-03-02T00:00 C"]);
        backups[0].expires = None;
        assert_eq!(
            kept(&rules, &backups),
            ["2026-03-02T00:00 C", "2026-03-01T00:00 C"]
        );
    }

    #[test]
    fn periods_are_those_of_the_zone() {
        let backups = rows(&["2026-03-01T23:30 C", "2026-03-02T00:30 C"]);
        let rules = KeepRules {
            daily: Some(5),
            ..KeepRules::default()
        };
        let now = "2026-03-31T00:00:00Z".parse().unwrap();
        let east = TimeZone::fixed(jiff::tz::offset(1));
        let plan = decide(&rules, "own", &backups, now, &east);
        assert_eq!(plan.forgotten().count(), 1);
        let plan = decide(&rules, "own", &backups, now, &TimeZone::UTC);
        assert_eq!(plan.forgotten().count(), 0);
    }

    #[test]
    fn any_rules_keep_the_newest_completed() {
        let backups = rows(&["2026-03-01T00:00 C", "2026-03-02T00:00 P"]);
        for n in 0..3 {
            assert!(kept(&last(n), &backups).contains(&"2026-03-01T00:00 C".to_owned()));
        }
    }
}
