//! The ark repository engine: content-addressed, deduplicated, encrypted backups in object storage.
//!
//! It knows bytes, chunks, maps and backups, and nothing of Kubernetes. Data flows one way: a [`WriteSession`] turns
//! bytes into chunks, frames, packs, an index segment and a manifest, in that order; a [`Reader`] goes the other way.
//!
//! | module | what |
//! |---|---|
//! | [`env`](mod@env) | what the engine takes from its surroundings |
//! | [`store`] | object storage |
//! | [`repository`], [`slots`], [`data_keys`] | creating, opening, unlocking, keys |
//! | [`view`], `seen` | what the repository consists of, as of one epoch; what a client remembers of it |
//! | [`session`] | pins, heartbeats, fences |
//! | [`index`] | where chunks are |
//! | [`write`](mod@write), [`packer`], [`map_write`] | the way in |
//! | [`read`](mod@read), [`map_read`], [`diff`](mod@diff) | the way out |
//! | [`forget`], [`graves`], [`records`], [`claims`] | tombstones, records of restores, names |
//! | [`verify`](mod@verify), [`prune`], [`repair`] | proof, garbage collection, and what can be saved of damage |

pub mod added;
mod cache;
pub mod chunker;
pub mod claims;
pub mod confirmation;
mod contest;
pub mod data_keys;
pub mod diff;
pub mod env;
pub mod error;
pub mod forget;
pub mod graves;
pub mod index;
mod key_file;
pub mod map_read;
pub mod map_write;
pub mod packer;
pub mod prune;
pub mod read;
pub mod records;
pub mod repair;
pub mod repository;
mod reserve;
mod seen;
pub mod session;
pub mod slots;
pub mod store;
mod trailer;
pub mod verify;
pub mod view;
pub mod write;

pub use ark_format::documents::{
    BackupStatus, ClusterRef, Counts, Manifest, RestoreRecord, WriteStats,
};
pub use ark_format::objects;
pub use ark_format::slot::Role;
pub use ark_format::tree::{Dataset, Root, Value};
pub use ark_format::{ChunkId, SessionId};
pub use data_keys::Rotation;
pub use diff::{Diff, DiffReader, diff};
pub use env::Env;
pub use error::Error;
pub use map_read::{MapReader, RangeReader};
pub use map_write::MapWriter;
pub use prune::{PruneOptions, PrunePlan, PruneReport};
pub use read::Reader;
pub use records::RestoreSummary;
pub use repair::{RepairContent, RepairOptions, RepairPlan, RepairReport};
pub use repository::{InitOptions, Initialised, OpenOptions, Repository, RepositoryInfo};
pub use slots::{KeySlot, Unlock};
pub use verify::{Coverage, Damage, Portion, VerifyMonitor, VerifyOptions, VerifyReport};
pub use view::BackupRow;
pub use write::{
    BeginBackup, ChunkWriter, Commit, Committed, FrameClass, WriteProgress, WriteSession,
};

/// The result of the engine's functions.
pub type Result<T> = std::result::Result<T, Error>;
