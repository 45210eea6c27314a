//! `ark schedule …`: only through the server, for nobody else is there at the time.

pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
pub mod pause;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{self, Schedule, SchedulePhase};
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::served::Served;
use crate::server::controllers::schedule::{Action, decide};

/// The way to the server; a repository makes no backups by itself.
async fn serve(context: &Context) -> Result<Served> {
    match context.is_direct() {
        true => Err(Error::only_served("schedule")),
        false => context.serve().await,
    }
}

/// `schedule.ark.heptio.com/x`
fn schedule_name(name: &str) -> String {
    format!("schedule.{}/{name}", api::GROUP)
}

/// The status column.
fn status(schedule: &Schedule) -> String {
    let phase = schedule.status.as_ref().map(|status| status.phase);
    match phase.unwrap_or_default() {
        SchedulePhase::New => "New",
        SchedulePhase::Enabled => "Enabled",
        SchedulePhase::FailedValidation => "FailedValidation",
    }
    .to_owned()
}

/// When the server makes the next backup, by what it would decide now. A time that is only passed over is none.
fn next(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    if schedule.spec.paused {
        return None;
    }
    match decide(schedule, false, now) {
        Action::Wait(next) => next,
        Action::Make(_) => Some(now),
        Action::Refuse(_) | Action::Enable | Action::Skip(_) => None,
    }
}

/// How long its backups are kept, in a cell.
fn kept(schedule: &Schedule) -> String {
    let Some(retention) = &schedule.spec.retention else {
        let ttl = schedule.spec.template.ttl;
        return ttl.map(|ttl| ttl.to_string()).unwrap_or_default();
    };
    let rules = [
        ("last", retention.keep_last),
        ("hourly", retention.keep_hourly),
        ("daily", retention.keep_daily),
        ("weekly", retention.keep_weekly),
        ("monthly", retention.keep_monthly),
        ("yearly", retention.keep_yearly),
    ];
    let rules = rules
        .into_iter()
        .filter_map(|(rule, n)| Some(format!("{rule} {}", n?)));
    rules.collect::<Vec<_>>().join(", ")
}

/// Their names as they are printed.
fn names(schedules: &[Schedule]) -> Vec<String> {
    let names = schedules.iter().map(ResourceExt::name_any);
    names.map(|name| schedule_name(&name)).collect()
}
