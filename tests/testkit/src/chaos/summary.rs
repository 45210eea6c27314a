//! What a run did, as it is printed.

use std::collections::BTreeMap;

use serde::Serialize;

/// How often an operation was run, by how it ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Operations {
    /// It did what was asked.
    pub ok: u64,
    /// It failed as what was done to it, or what others did meanwhile, explains.
    pub failed_as_expected: u64,
    /// Anything else. Each one is listed.
    pub unexpected: u64,
}

/// What happened to one repository.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Counts {
    /// By kind.
    pub operations: BTreeMap<&'static str, Operations>,
    /// SIGKILL that reached a running process.
    pub kills: u64,
    /// SIGINT.
    pub interrupts: u64,
    /// SIGSTOP, whatever came after it.
    pub stops: u64,
    /// Operations that a network fault hit, by its kind.
    pub network_faults: BTreeMap<&'static str, u64>,
    /// How often the disk was full for a while.
    pub disk_full_episodes: u64,
    /// Prunes on the full disk that ended well, and that had no room.
    pub prunes_on_full_disk: [u64; 2],
    /// Bytes of requests (MinIO), or those that processes that lived to tell reported (a folder).
    pub bytes_written: u64,
    /// Bytes of answers, likewise.
    pub bytes_read: u64,
    /// Packs that prunes deleted, as those that lived to tell reported.
    pub packs_deleted: u64,
    /// Packs that prunes rewrote, likewise.
    pub packs_rewritten: u64,
    /// Backups whose making was reported.
    pub backups_committed: u64,
    /// Backups that were made although their process could not say so.
    pub backups_found_after_a_disturbance: u64,
    /// Backups compared byte for byte while nothing else ran.
    pub backups_verified: u64,
    /// Backups compared byte for byte while others wrote and pruned.
    pub backups_read_meanwhile: u64,
    /// Restores whose objects were compared.
    pub restores_compared: u64,
    /// Times that everything was at rest and was looked at.
    pub checks: u64,
    /// Backups that were not there, or not as they were.
    pub losses: u64,
}

impl Counts {
    pub(super) fn operation(&mut self, kind: &'static str) -> &mut Operations {
        self.operations.entry(kind).or_default()
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What the random choices came from.
    pub seed: u64,
    /// Wall time.
    pub minutes: f64,
    /// CPU time of the `ark` processes.
    pub ark_cpu_seconds: f64,
    /// Processes that were run, over all repositories.
    pub operations: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// By repository.
    pub(super) repositories: BTreeMap<&'static str, Counts>,
    /// What could not be done on this machine.
    pub left_out: Vec<String>,
    /// What should not have happened, losses included.
    pub unexpected: Vec<String>,
    /// Backups that were not there, or not as they were. Must be 0.
    pub losses: u64,
    /// Where everything was kept, if something should not have happened.
    pub kept: Option<String>,
}
