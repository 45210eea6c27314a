//! What the server was told at its start. Everything else it reads from the cluster while it runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::GoDuration;

/// The settings of `ark server`.
#[derive(Clone)]
pub struct Settings {
    /// The namespace of ark's own objects.
    pub namespace: String,
    /// Who this replica is: the name of its pod or host, and something that no other run has.
    pub identity: String,
    /// Where metrics and probes are served.
    pub metrics_address: SocketAddr,
    /// Where downloads are served.
    pub download_address: SocketAddr,
    /// The Service that leads there.
    pub download_service: String,
    /// Where control objects of repositories are cached; none means memory only.
    pub cache_dir: Option<PathBuf>,
    /// The most bytes that the cache folder keeps of repositories that are not open.
    pub cache_limit: u64,
    /// The budget of buffers of one repository, in bytes.
    pub memory: u64,
    /// Backups made at once.
    pub concurrent_backups: usize,
    /// Restores made at once.
    pub concurrent_restores: usize,
    /// How long backups are kept that say nothing about it; none means until somebody deletes them.
    pub default_ttl: Option<GoDuration>,
    /// How often Backup objects are matched with the buckets, where the location says nothing.
    pub sync_period: Duration,
    /// How often locations are checked, where the location says nothing.
    pub validation_frequency: Duration,
    /// How often expired backups are looked for.
    pub gc_frequency: Duration,
    /// How often a repository is pruned.
    pub prune_frequency: Duration,
    /// Within which time all data of a repository is read again.
    pub verify_period: Duration,
    /// How long a lost leader holds the lease.
    pub lease_duration: Duration,
    /// Variables that name the cloud identity of the pod.
    pub environment: BTreeMap<String, String>,
}

/// The environment stays out of logs.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("namespace", &self.namespace)
            .field("identity", &self.identity)
            .field("metrics_address", &self.metrics_address)
            .field("download_address", &self.download_address)
            .field("cache_dir", &self.cache_dir)
            .field("memory", &self.memory)
            .field("concurrent_backups", &self.concurrent_backups)
            .field("concurrent_restores", &self.concurrent_restores)
            .finish_non_exhaustive()
    }
}
