//! The small documents of a repository, as serde structures. Field order is the encoding: a change is a new schema.

use serde::{Deserialize, Serialize};

use crate::keys::Key;
use crate::tree::Root;
use crate::{PackName, SessionId};

/// `keys/data/<n>`.
#[derive(Clone, Serialize, Deserialize)]
pub struct DataKey {
    /// Its number, as in the object's key.
    pub number: u16,
    /// The key.
    pub key: Key,
}

/// `epochs/<n>`: kept for ever, so that no number is ever used twice. Signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStub {
    /// The epoch's number.
    pub number: u64,
    /// BLAKE3 of the parent's stub object; zeros for epoch 0.
    pub parent_hash: [u8; 32],
    /// The body's object key.
    pub body_key: String,
    /// BLAKE3 of the body object.
    pub body_hash: [u8; 32],
    /// Length of the body object.
    pub body_size: u64,
    /// Random: tells two publishers of the same number apart.
    pub nonce: [u8; 16],
    /// Unix ms; information only.
    pub created: i64,
}

/// `index/epoch-<n>-<nonce>`: what the repository consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochBody {
    /// The epoch's number.
    pub number: u64,
    /// Index segments in force.
    pub segments: Vec<SegmentRef>,
    /// Packs that no reader-to-be may reuse, with the epoch that condemned them.
    pub condemned: Vec<Condemned>,
    /// Packs whose deletion this or an earlier epoch ordered and whose absence was not yet seen.
    pub dropped: Vec<PackName>,
    /// Sessions that ended without a commit, or whose backup was taken away: what stands under their manifest key never counts.
    pub retired: Vec<Retired>,
    /// Backups that this epoch marked.
    pub manifests: Vec<BackupRow>,
    /// Commits at or above it count by themselves; below it only if listed in `manifests`.
    pub watermark: u64,
    /// Mandatory features added since the repository was made.
    pub features: Vec<String>,
}

impl EpochBody {
    /// Whether a session is retired.
    pub fn is_retired(&self, id: &SessionId) -> bool {
        self.retired.iter().any(|retired| retired.session == *id)
    }
}

/// A session that is closed for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Retired {
    /// The epoch in its keys: once the watermark is above it, that alone says so.
    pub epoch: u64,
    /// The session.
    pub session: SessionId,
}

/// A condemned pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Condemned {
    /// The pack.
    pub pack: PackName,
    /// The epoch that condemned it.
    pub epoch: u64,
    /// The size of its object.
    pub size: u64,
}

/// An index segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The session that wrote it.
    pub session: SessionId,
    /// Its number within the session.
    pub number: u32,
    /// Size of the object.
    pub size: u64,
    /// How many entries it has.
    pub entries: u64,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Writes a backup.
    Backup,
    /// Reads one or several.
    Restore,
    /// Reads everything.
    Verify,
    /// Collects garbage.
    Prune,
}

/// `sessions/<e>-<sid>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What it does.
    pub activity: Activity,
    /// Unix ms.
    pub started: i64,
    /// Where it runs: shown to people.
    pub host: String,
    /// What identifies the process on its host, so that a prune there can tell that it is dead.
    pub process: String,
    /// BLAKE3 of the stub object of the epoch in the key: another epoch may have that number, after the bucket was put back.
    pub view_hash: [u8; 32],
}

/// `sessions/<e>-<sid>.hb<k>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Unix ms.
    pub at: i64,
}

/// A fence in the place of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The session that made it: the pinned one itself when it ended without a commit.
    pub by: SessionId,
    /// Unix ms.
    pub at: i64,
}

/// The cluster that a backup is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterRef {
    /// UID of the namespace kube-system.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// How a backup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupStatus {
    /// Everything in the plan was captured.
    Completed,
    /// Something was not.
    PartiallyFailed,
    /// Nothing usable.
    Failed,
}

impl std::fmt::Display for BackupStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackupStatus::Completed => "Completed",
            BackupStatus::PartiallyFailed => "PartiallyFailed",
            BackupStatus::Failed => "Failed",
        })
    }
}

/// What is in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items captured.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items or resources that could not be captured.
    pub failed: u64,
}

/// What writing a backup stored, in bytes of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteStats {
    /// Data frames.
    pub data_bytes: u64,
    /// Tree frames.
    pub tree_bytes: u64,
    /// Pack headers, trailers and footers.
    pub trailer_bytes: u64,
    /// Index segments.
    pub index_bytes: u64,
    /// Padding of packs.
    pub padding_bytes: u64,
    /// Session and claim (the manifest's own size cannot stand in it).
    pub control_bytes: u64,
    /// Chunks that were new.
    pub new_chunks: u64,
    /// Chunks that the repository had.
    pub reused_chunks: u64,
    /// Packs written.
    pub packs: u64,
}

impl WriteStats {
    /// All bytes that the backup added.
    pub fn added_bytes(&self) -> u64 {
        self.data_bytes
            + self.tree_bytes
            + self.trailer_bytes
            + self.index_bytes
            + self.padding_bytes
            + self.control_bytes
    }
}

/// A backup's line in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// The session that committed it.
    pub id: SessionId,
    /// The epoch in the keys of its session and manifest.
    pub epoch: u64,
    /// The backup's name.
    pub name: String,
    /// Its cluster.
    pub cluster: ClusterRef,
    /// Start, Unix ms.
    pub created: i64,
    /// How it ended.
    pub status: BackupStatus,
    /// What is in it.
    pub counts: Counts,
    /// What it added to the repository.
    pub stats: WriteStats,
    /// When it may go, Unix seconds.
    pub expires: Option<i64>,
    /// Roots of its datasets.
    pub datasets: Vec<(String, Root)>,
    /// Its own index segments.
    pub segments: Vec<SegmentRef>,
    /// The backup before it by the same writer.
    pub previous: Option<SessionId>,
    /// Size of the manifest object, 0 inside the manifest itself.
    pub manifest_size: u64,
}

/// `manifests/<e>-<sid>`: the commit of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The summary, as epochs keep it.
    pub row: BackupRow,
    /// End, Unix ms.
    pub finished: i64,
    /// The epoch that dedup looked at, and BLAKE3 of its stub: a head older than this is a rollback.
    pub view: u64,
    /// BLAKE3 of the stub of `view`.
    pub view_hash: [u8; 32],
    /// The version of ark that wrote it.
    pub tool: String,
    /// The Backup as JSON, opaque to the format.
    pub document: Vec<u8>,
    /// The log, UTF-8 lines.
    pub log: Vec<u8>,
    /// The damaged backup of which this one has what could be saved.
    pub repairs: Option<SessionId>,
}

/// `forgotten/<sid>` and `forgotten/<sid>.undo`. Signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The backup.
    pub session: SessionId,
    /// Unix ms.
    pub at: i64,
    /// Who asked for it.
    pub by: String,
}

/// `names/<hash>/<n>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The session that wants to commit under the name.
    pub session: SessionId,
    /// The epoch in the session's key.
    pub epoch: u64,
    /// The backup's name.
    pub name: String,
    /// The cluster's id.
    pub cluster: String,
}

/// `restores/<id>-<k>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRecord {
    /// The restore's name.
    pub name: String,
    /// The backup's name.
    pub backup: String,
    /// The Restore as JSON, with its status.
    pub document: Vec<u8>,
    /// The report as JSON.
    pub report: Vec<u8>,
    /// The log, UTF-8 lines.
    pub log: Vec<u8>,
}

/// A pack that a verify has read as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackRead {
    /// The pack.
    pub pack: PackName,
    /// When, Unix ms.
    pub at: i64,
    /// Whether something was wrong with it.
    pub damaged: bool,
}

/// `verify/<id>`: what was verified, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyRecord {
    /// Unix ms.
    pub at: i64,
    /// Whether all of the data was read.
    pub read_data: bool,
    /// The epoch that was looked at.
    pub epoch: u64,
    /// Objects checked.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Damaged objects' keys.
    pub damage: Vec<String>,
    /// Packs read as a whole, by this verify or one whose record this replaces; ascending by name.
    pub packs: Vec<PackRead>,
    /// Records that this one replaces.
    pub replaces: Vec<SessionId>,
}

impl Manifest {
    /// The root of a dataset.
    pub fn dataset(&self, name: &str) -> Option<Root> {
        self.row.dataset(name)
    }
}

impl BackupRow {
    /// The root of a dataset.
    pub fn dataset(&self, name: &str) -> Option<Root> {
        self.datasets
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, root)| *root)
    }
}
