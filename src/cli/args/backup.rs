//! `ark backup …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::filters::FilterArgs;
use super::values::Labels;
use crate::cli::time::parse_duration;

/// `ark backup …`
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back up the cluster
    Create(BackupCreateArgs),
    /// List backups
    Get(BackupGetArgs),
    /// Show a backup
    Describe(BackupDescribeArgs),
    /// Print the log of a backup
    Logs(LogsArgs),
    /// List the objects in a backup
    Ls(LsArgs),
    /// Print an object of a backup, or all of them
    Cat(CatArgs),
    /// Compare two backups, or a backup and the cluster
    Diff(DiffArgs),
    /// Write the objects of a backup into a tar.gz
    Download(BackupDownloadArgs),
    /// Stop backups that the server is making; nothing of them is kept
    Cancel(BackupCancelArgs),
    /// Delete backups
    Delete(BackupDeleteArgs),
    /// Take back the deletion of a backup that no prune has removed yet
    Undelete(UndeleteArgs),
}

/// `ark backup create`
#[derive(Debug, Args)]
pub struct BackupCreateArgs {
    /// Name of the backup; with --from-schedule one is made if none is given
    #[arg(required_unless_present = "from_schedule")]
    pub name: Option<String>,
    /// How long to keep it, like 30m, 24h, 7d; the server or `ark forget --expired` deletes it then [default: for ever,
    /// or what the server was told]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub ttl: Option<SignedDuration>,
    /// Labels of the backup itself
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub labels: Option<Labels>,
    /// Print what would be captured, with counts, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Run no hooks, though pods ask for them by annotations; only with --repo
    #[arg(long)]
    pub no_hooks: bool,
    /// What only a server does.
    #[command(flatten)]
    pub served: BackupServedArgs,
    /// Which objects.
    #[command(flatten)]
    pub filters: FilterArgs,
}

/// What only a server does.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Through the server")]
pub struct BackupServedArgs {
    /// The BackupStorageLocation that takes it [default: the default one]
    #[arg(long, value_name = "LOCATION")]
    pub storage_location: Option<String>,
    /// Make a backup as this Schedule makes them
    #[arg(
        long,
        value_name = "SCHEDULE",
        conflicts_with_all = [
            "include_namespaces", "exclude_namespaces", "include_resources", "exclude_resources",
            "include_cluster_resources", "selector", "or_selector",
        ]
    )]
    pub from_schedule: Option<String>,
    /// Return when it has ended; the exit code says how
    #[arg(long)]
    pub wait: bool,
}

/// `ark backup cancel`
#[derive(Debug, Args)]
pub struct BackupCancelArgs {
    /// The backups
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Return when they have stopped
    #[arg(long)]
    pub wait: bool,
}

/// Which cluster's backups.
#[derive(Debug, Clone, Default, Args)]
pub struct ClusterArgs {
    /// Only backups of this cluster (name or id), where the repository holds several
    #[arg(long, value_name = "CLUSTER")]
    pub cluster: Option<String>,
}

/// `ark backup get`
#[derive(Debug, Args)]
pub struct BackupGetArgs {
    /// Only these backups (name or id)
    pub names: Vec<String>,
    /// Only backups with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Deleted backups that no prune has removed yet
    #[arg(long)]
    pub deleted: bool,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup describe`
#[derive(Debug, Args)]
pub struct BackupDescribeArgs {
    /// The backups (name or id)
    #[arg(required = true)]
    pub names: Vec<String>,
    /// With the objects, by resource
    #[arg(long)]
    pub details: bool,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The backup (name or id)
    pub name: String,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup ls`
#[derive(Debug, Args)]
pub struct LsArgs {
    /// The backup (name or id)
    pub backup: String,
    /// Only this resource: deployments, deploy, Deployment, deployments.apps
    pub resource: Option<String>,
    /// Only objects whose [NAMESPACE/]NAME starts so
    #[arg(long, value_name = "PREFIX", requires = "resource")]
    pub prefix: Option<String>,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup cat`
#[derive(Debug, Args)]
#[command(
    after_help = "Without an object: all of the resource; without a resource: all of the backup. With -o json\n\
                        that is a list of the bytes that the API server gave, one object to a line."
)]
pub struct CatArgs {
    /// The backup (name or id)
    pub backup: String,
    /// The resource: deployments, deploy, Deployment, deployments.apps
    pub resource: Option<String>,
    /// The object
    #[arg(value_name = "[NAMESPACE/]NAME")]
    pub object: Option<String>,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup download`
#[derive(Debug, Args)]
#[command(
    after_help = "The files are resources/RESOURCE/namespaces/NAMESPACE/NAME.json and resources/RESOURCE/cluster/NAME.json,\n\
                        Secrets too. What is at FILE is not overwritten."
)]
pub struct BackupDownloadArgs {
    /// The backup (name or id)
    pub name: String,
    /// Where to write it [default: NAME-data.tar.gz]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The older backup (name or id)
    #[arg(value_name = "A")]
    pub before: String,
    /// The newer backup
    #[arg(
        value_name = "B",
        required_unless_present = "live",
        conflicts_with = "live"
    )]
    pub after: Option<String>,
    /// Compare with the cluster as it is now, but for what the cluster writes by itself
    #[arg(long)]
    pub live: bool,
    /// Show how each object differs, as a unified diff
    #[arg(short = 'p', long)]
    pub patch: bool,
    /// Show the values of Secrets in the diff
    #[arg(long, requires = "patch")]
    pub show_secrets: bool,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup delete`
#[derive(Debug, Args)]
#[command(
    after_help = "The space is freed by `ark prune`. Until then `ark backup undelete` takes the deletion back."
)]
pub struct BackupDeleteArgs {
    /// The backups (name or id)
    #[arg(required_unless_present_any = ["all", "selector"])]
    pub names: Vec<String>,
    /// All backups
    #[arg(long, conflicts_with_all = ["names", "selector"])]
    pub all: bool,
    /// The backups with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names")]
    pub selector: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub confirm: bool,
    /// Return when the server has deleted them
    #[arg(long)]
    pub wait: bool,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `ark backup undelete`
#[derive(Debug, Args)]
pub struct UndeleteArgs {
    /// The backups (name or id)
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Which cluster's.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
