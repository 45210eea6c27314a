//! The Schedule: when to make backups, of what, and which of them to keep.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::retention::KeepRules;
use super::{BackupSpec, Time};

/// When to make backups, of what, and which of them to keep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "ark.heptio.com",
    version = "v1",
    kind = "Schedule",
    plural = "schedules",
    namespaced,
    status = "ScheduleStatus",
    derive = "PartialEq",
    shortname = "arks",
    category = "ark",
    label("component", "ark"),
    doc = "Makes backups at set times.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "LastBackup", type_ = "date", json_path = ".status.lastBackup"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.template.cancel)")
    .message("template.cancel makes no sense: pause the schedule with paused"))]
pub struct ScheduleSpec {
    /// When: a cron expression (`0 3 * * *`), `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`, or `@every 10m`.
    /// It may begin with `CRON_TZ=Europe/Paris`.
    #[schemars(length(min = 1, max = 256))]
    pub schedule: String,
    /// The IANA time zone that a cron expression is read in; absent means UTC. Not together with `CRON_TZ=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// The spec of the backups to make.
    #[serde(default)]
    pub template: BackupSpec,
    /// Make no backups while this is true.
    #[serde(default)]
    pub paused: bool,
    /// Let the times that pass while the schedule is paused go by. Absent or false: when it goes on, one backup is made
    /// at once for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_immediately: Option<bool>,
    /// Let the Backup objects go when this Schedule is deleted. Their data stays in the repository. Absent means false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_owner_references_in_backup: Option<bool>,
    /// Which backups of this schedule to keep. It takes the place of `template.ttl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// Which backups of a schedule are kept: those that at least one rule selects, and always the newest Completed one. A
/// PartiallyFailed backup never pushes out a Completed one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.keepLast) || has(self.keepHourly) || has(self.keepDaily) || has(self.keepWeekly) || has(self.keepMonthly) || has(self.keepYearly)")
    .message("give at least one keep rule"))]
pub struct Retention {
    /// Keep the newest N backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_last: Option<u32>,
    /// Keep the newest backup of each of the last N hours that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_hourly: Option<u32>,
    /// Keep the newest backup of each of the last N days that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_daily: Option<u32>,
    /// Keep the newest backup of each of the last N ISO weeks that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_weekly: Option<u32>,
    /// Keep the newest backup of each of the last N months that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_monthly: Option<u32>,
    /// Keep the newest backup of each of the last N years that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub keep_yearly: Option<u32>,
}

impl Retention {
    /// The rules that decide.
    pub fn rules(&self) -> KeepRules {
        KeepRules {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            ..KeepRules::default()
        }
    }
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SchedulePhase {
    /// Nobody has looked at it yet.
    #[default]
    New,
    /// It makes backups, unless it is paused.
    Enabled,
    /// The spec is wrong; `validationErrors` says why.
    FailedValidation,
}

/// What became of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// Where it stands.
    #[serde(default)]
    pub phase: SchedulePhase,
    /// When the newest backup was due that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<Time>,
    /// When the newest backup was due that was not made: the one before was not finished, or `skipImmediately` said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skipped: Option<Time>,
    /// What is wrong with the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation_errors: Vec<String>,
}
