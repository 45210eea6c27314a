//! `ark schedule …`

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::filters::FilterArgs;
use super::values::Labels;
use crate::cli::time::parse_duration;

/// `ark schedule …`
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Let the server make backups at set times
    Create(Box<ScheduleCreateArgs>),
    /// List schedules
    Get(ScheduleGetArgs),
    /// Show a schedule
    Describe(ScheduleDescribeArgs),
    /// Make no backups for now
    Pause(SchedulePauseArgs),
    /// Go on with a schedule that was paused
    Unpause(ScheduleUnpauseArgs),
    /// Delete schedules; the backups stay
    Delete(ScheduleDeleteArgs),
}

/// `ark schedule create`
#[derive(Debug, Args)]
#[command(
    after_help = "ark schedule create nightly --schedule \"0 3 * * *\" --time-zone Europe/Paris --keep-daily 30\n\
                        ark schedule create often --schedule \"@every 10m\" --selector app=shop --ttl 24h"
)]
pub struct ScheduleCreateArgs {
    /// Name of the schedule; its backups are called NAME-YYYYMMDDhhmmss
    pub name: String,
    /// When: a cron expression, @hourly, @daily, @weekly, @monthly, @yearly, or @every 10m
    #[arg(long, value_name = "CRON")]
    pub schedule: String,
    /// The time zone that a cron expression is read in, like Europe/Paris [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// How long to keep each backup, like 24h, 7d [default: what the server was told]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub ttl: Option<SignedDuration>,
    /// The BackupStorageLocation that takes the backups [default: the default one]
    #[arg(long, value_name = "LOCATION")]
    pub storage_location: Option<String>,
    /// Labels of the schedule and of its backups
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub labels: Option<Labels>,
    /// Make no backups before `ark schedule unpause`
    #[arg(long)]
    pub paused: bool,
    /// Times that pass while it is paused are not made up when it goes on
    #[arg(long)]
    pub skip_immediately: bool,
    /// Let the Backup objects go with the schedule; the data stays
    #[arg(long)]
    pub use_owner_references_in_backup: bool,
    /// Which backups to keep.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// Which objects.
    #[command(flatten)]
    pub filters: FilterArgs,
}

/// Which backups to keep, in the place of --ttl: those that any rule keeps, and always the newest completed one.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Retention")]
pub struct RetentionArgs {
    /// Keep the newest N, in the place of --ttl; rules add up
    #[arg(long, value_name = "N", value_parser = keep(), conflicts_with = "ttl")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = keep(), conflicts_with = "ttl")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", value_parser = keep(), conflicts_with = "ttl")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(long, value_name = "N", value_parser = keep(), conflicts_with = "ttl")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have one
    #[arg(long, value_name = "N", value_parser = keep(), conflicts_with = "ttl")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N years that have one
    #[arg(long, value_name = "N", value_parser = keep(), conflicts_with = "ttl")]
    pub keep_yearly: Option<u32>,
}

fn keep() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

/// `ark schedule get`
#[derive(Debug, Args)]
pub struct ScheduleGetArgs {
    /// Only these schedules
    pub names: Vec<String>,
    /// Only schedules with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
}

/// `ark schedule describe`
#[derive(Debug, Args)]
pub struct ScheduleDescribeArgs {
    /// The schedules
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// `ark schedule pause`
#[derive(Debug, Args)]
pub struct SchedulePauseArgs {
    /// The schedules
    #[arg(required = true)]
    pub names: Vec<String>,
}

/// `ark schedule unpause`
#[derive(Debug, Args)]
pub struct ScheduleUnpauseArgs {
    /// The schedules
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Make no backup for the times that passed meanwhile
    #[arg(long)]
    pub skip_immediately: bool,
}

/// `ark schedule delete`
#[derive(Debug, Args)]
pub struct ScheduleDeleteArgs {
    /// The schedules
    #[arg(required_unless_present = "all")]
    pub names: Vec<String>,
    /// All schedules
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Do not ask
    #[arg(long)]
    pub confirm: bool,
}
