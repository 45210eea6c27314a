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
}

/// `ark restore create`
#[derive(Debug, Args)]
#[command(
    after_help = "ark restore create BACKUP                       restores it, as BACKUP-YYYYMMDDhhmmss\n\
                        ark restore create NAME --from-backup BACKUP    gives the restore a name"
)]
pub struct RestoreCreateArgs {
    /// The backup; with --from-backup, the name of the restore
    #[arg(value_name = "NAME", required_unless_present = "from_backup")]
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
    /// Which cluster's backup.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Which objects.
    #[command(flatten)]
    pub filters: FilterArgs,
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
