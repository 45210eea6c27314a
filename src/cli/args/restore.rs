//! `ark restore …`

use clap::{Args, Subcommand, ValueEnum};

use super::backup::ClusterArgs;
use super::filters::FilterArgs;
use super::values::{Labels, Mappings};

/// `ark restore …`
#[derive(Debug, Subcommand)]
#[expect(
    clippy::large_enum_variant,
    reason = "one value for each run of the program"
)]
pub enum RestoreCommand {
    /// Restore from a backup
    Create(RestoreCreateArgs),
    /// List restores
    Get(RestoreGetArgs),
    /// Show a restore
    Describe(RestoreDescribeArgs),
    /// Print the log of a restore
    Logs(RestoreLogsArgs),
    /// Stop restores that the server is making; what is restored stays
    Cancel(RestoreCancelArgs),
    /// Delete the objects of restores that have ended; what they restored stays
    Delete(RestoreDeleteArgs),
}

/// `ark restore create`
#[derive(Debug, Args)]
#[command(
    after_help = "ark restore create BACKUP                       restores it, as BACKUP-YYYYMMDDhhmmss\n\
                        ark restore create NAME --from-backup BACKUP    gives the restore a name\n\
                        ark restore create --from-schedule SCHEDULE     its newest completed backup"
)]
pub struct RestoreCreateArgs {
    /// The backup; with --from-backup, the name of the restore
    #[arg(value_name = "NAME", required_unless_present_any = ["from_backup", "from_schedule"])]
    pub name: Option<String>,
    /// The backup (name or id)
    #[arg(long, value_name = "BACKUP")]
    pub from_backup: Option<String>,
    /// Restore a namespace under another name
    #[arg(long, value_name = "FROM:TO,…")]
    pub namespace_mappings: Option<Mappings>,
    /// What to do with objects that exist and differ
    #[arg(long, value_enum, value_name = "POLICY", default_value_t)]
    pub existing_resource_policy: ExistingPolicy,
    /// Keep the node ports of services
    #[arg(long)]
    pub preserve_nodeports: bool,
    /// Labels of the restore itself
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub labels: Option<Labels>,
    /// Print what would be done and what the apiserver says to it, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Run no hooks, though pods ask for them by annotations; only with --repo
    #[arg(long)]
    pub no_hooks: bool,
    /// Which cluster's backup.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// What only a server does.
    #[command(flatten)]
    pub served: RestoreServedArgs,
    /// Which objects.
    #[command(flatten)]
    pub filters: FilterArgs,
}

/// What only a server does.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Through the server")]
pub struct RestoreServedArgs {
    /// Restore the newest completed backup of this Schedule
    #[arg(long, value_name = "SCHEDULE", conflicts_with_all = ["from_backup", "cluster"])]
    pub from_schedule: Option<String>,
    /// Return when it has ended; the exit code says how
    #[arg(long)]
    pub wait: bool,
}

/// `ark restore cancel`
#[derive(Debug, Args)]
pub struct RestoreCancelArgs {
    /// The restores
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Return when they have stopped
    #[arg(long)]
    pub wait: bool,
}

/// `ark restore delete`
#[derive(Debug, Args)]
pub struct RestoreDeleteArgs {
    /// The restores
    #[arg(required_unless_present = "all")]
    pub names: Vec<String>,
    /// All restores
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Do not ask
    #[arg(long)]
    pub confirm: bool,
}

/// What to do with objects that exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ExistingPolicy {
    /// Leave them as they are
    #[default]
    None,
    /// Make them as they are in the backup
    Update,
}

/// `ark restore get`
#[derive(Debug, Args)]
pub struct RestoreGetArgs {
    /// Only these restores
    pub names: Vec<String>,
}

/// `ark restore describe`
#[derive(Debug, Args)]
pub struct RestoreDescribeArgs {
    /// The restores
    #[arg(required = true)]
    pub names: Vec<String>,
    /// With every object that was not simply created
    #[arg(long)]
    pub details: bool,
}

/// `ark restore logs`
#[derive(Debug, Args)]
pub struct RestoreLogsArgs {
    /// The restore (name or id)
    pub name: String,
}
