//! `ark forget`, `ark verify`, `ark prune`, `ark repair`

use ark_engine::Portion;
use clap::{ArgGroup, Args, Subcommand};
use jiff::SignedDuration;

use super::backup::ClusterArgs;
use super::values::parse_portion;
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
    /// Keep the newest of each of the last N years that have one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), group = "rules")]
    pub keep_yearly: Option<u32>,
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
    after_help = "Without --read-data or --read-data-subset: everything in force exists with the right size, and every\n\
                        reference resolves. Packs that were damaged when last read are read again with every portion.\n\
                        What was read is on record in the repository; `ark repair` acts on damage."
)]
pub struct VerifyArgs {
    /// Read, authenticate and re-hash every byte of every object
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read a portion of the data, least recently verified first: 5%, 10Gi, or 3/7 for the third of seven parts
    #[arg(long, value_name = "PORTION", value_parser = parse_portion)]
    pub read_data_subset: Option<Portion>,
    /// Begin no further pack after this time, like 30m; reads all data if no portion is given
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_duration: Option<SignedDuration>,
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

/// `ark repair`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Takes what cannot be read out of force, copies what can, and makes of each damaged backup a repaired one\n\
                        without what is lost. Looks at what is missing and what the last verify of each pack found; a backup\n\
                        made afterwards writes again what the cluster still has. It needs a key with the full role.\n\
                        Exit code 0: nothing is lost; 4: something is, and the output names it."
)]
pub struct RepairArgs {
    /// Only one part of it.
    #[command(subcommand)]
    pub command: Option<RepairCommand>,
    /// Print what would be done and what is lost, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Read every pack, not only those that a verify found damaged
    #[arg(long)]
    pub read_data: bool,
    /// Delete the damaged backups once the repaired ones are there
    #[arg(long)]
    pub forget_originals: bool,
}

/// `ark repair …`
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// Rebuild lost index segments, or a lost head, from the packs
    Index(RepairIndexArgs),
}

/// `ark repair index`
#[derive(Debug, Args)]
pub struct RepairIndexArgs {
    /// Print what would be done and stop
    #[arg(long)]
    pub dry_run: bool,
}
