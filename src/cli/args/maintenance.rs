//! `ark forget`, `ark verify`, `ark prune`

use clap::{ArgGroup, Args};
use jiff::SignedDuration;

use super::backup::ClusterArgs;
use crate::cli::time::parse_duration;

/// `ark forget`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("rules").multiple(true).required(true)))]
#[command(override_usage = "ark forget [OPTIONS] <RULE>...")]
#[command(
    after_help = "A backup that any rule keeps is kept. Only this cluster's backups are judged; the newest completed\n\
                        backup is never deleted, and a partially failed one never pushes out a completed one.\n\
                        The space is freed by `ark prune`."
)]
pub struct ForgetArgs {
    /// Keep the newest N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), group = "rules")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), group = "rules")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), group = "rules")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), group = "rules")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), group = "rules")]
    pub keep_monthly: Option<u32>,
    /// Keep all made within this time before the newest one, like 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, group = "rules")]
    pub keep_within: Option<SignedDuration>,
    /// Delete the backups whose --ttl has ended, whatever the keep rules say
    #[arg(long, group = "rules")]
    pub expired: bool,
    /// Print what would be deleted and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark verify`
#[derive(Debug, Args)]
#[command(
    after_help = "Without --read-data: everything in force exists with the right size, and every reference resolves."
)]
pub struct VerifyArgs {
    /// Read, authenticate and re-hash every byte of every object
    #[arg(long)]
    pub read_data: bool,
}

/// `ark prune`
#[derive(Debug, Args)]
#[command(
    after_help = "Deleted backups stay for a grace period (7 days). --now frees their space at once; it needs a key\n\
                        with the full role."
)]
pub struct PruneArgs {
    /// Print what would be done and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for the grace period of deleted backups
    #[arg(long)]
    pub now: bool,
}
