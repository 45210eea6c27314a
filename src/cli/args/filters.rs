//! The filters that backups and restores share.

use clap::Args;

/// Which objects. Everything that is not excluded, when nothing is given.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Namespaces to include: names, globs (shop-*), or * for all
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    pub include_namespaces: Vec<String>,
    /// Namespaces to leave out
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    pub exclude_namespaces: Vec<String>,
    /// Resources to include: deployments, deploy, Deployment, deployments.apps, or * for all
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',')]
    pub include_resources: Vec<String>,
    /// Resources to leave out
    #[arg(long, value_name = "RESOURCES", value_delimiter = ',')]
    pub exclude_resources: Vec<String>,
    /// Cluster-scoped objects: true, false, or (not given) all of them when all namespaces are in, else the related ones
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub include_cluster_resources: Option<bool>,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Only objects that match one of several selectors: 'app=a or app=b'
    #[arg(long, value_name = "SELECTORS", conflicts_with = "selector")]
    pub or_selector: Vec<String>,
}
