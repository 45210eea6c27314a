//! `ark server`

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use crate::cli::size::parse_size;
use crate::cli::time::parse_duration;

/// `ark server`
#[derive(Debug, Args)]
#[command(
    after_help = "The server runs in a pod, or anywhere with a kubeconfig. Several replicas may run: one works, the\n\
                        others wait for its Lease. SIGTERM stops it in good order; what it was doing goes on after the\n\
                        next start. Buckets and keys come from BackupStorageLocations and Secrets in its namespace, never\n\
                        from --repo."
)]
pub struct ServerArgs {
    /// Where metrics (/metrics) and probes (/healthz, /readyz) are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8085")]
    pub metrics_address: SocketAddr,
    /// Where the contents of backups are served over TLS, to who has a token
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub download_address: SocketAddr,
    /// The Service whose port `downloads` leads there
    #[arg(long, value_name = "SERVICE", default_value = "ark")]
    pub download_service: String,
    /// Backups made at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrent_backups: u16,
    /// Restores made at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub concurrent_restores: u16,
    /// How long backups are kept that do not say so [default: until they are deleted]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub default_backup_ttl: Option<SignedDuration>,
    /// How often Backup objects are matched with the buckets
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub backup_sync_period: SignedDuration,
    /// How often locations are checked
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub store_validation_frequency: SignedDuration,
    /// How often expired backups are looked for
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub garbage_collection_frequency: SignedDuration,
    /// How often the space of deleted backups is freed
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_duration)]
    pub prune_frequency: SignedDuration,
    /// Within which time all data is read again and checked
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_duration)]
    pub verify_period: SignedDuration,
    /// Most bytes that the cache folder keeps of repositories that are not in use
    #[arg(long, value_name = "SIZE", default_value = "1Gi", value_parser = parse_size)]
    pub cache_limit: u64,
    /// How long a replica that died keeps the others waiting
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub lease_duration: SignedDuration,
    /// How log lines on stderr look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object a line
    Json,
}
