//! ark's custom resources as plain Rust types: what a user, a client and a server exchange.
//!
//! Field names and meanings are those of Ark and Velero, in the group `ark.heptio.com/v1`. A field that is here acts;
//! one that does not act yet is absent, so that nothing a user writes is silently ignored. The definitions for the
//! apiserver are derived from the types ([`definitions`]). Direct mode builds the same values that a client would post.
//!
//! This row of the program knows no I/O: names, labels, durations and specs are checked by pure functions.

// Printer columns are attributes that repeat their words.
#![allow(clippy::duplicated_attributes)]

pub mod backup;
mod definitions;
pub mod download;
pub mod duration;
pub mod hooks;
pub mod labels;
pub mod location;
pub mod names;
pub mod repository;
pub mod requests;
pub mod resource_entry;
pub mod restore;
pub mod retention;
pub mod schedule;

pub use backup::{Backup, BackupPhase, BackupProgress, BackupSpec, BackupStatus};
pub use definitions::definitions;
pub use download::{
    DownloadKind, DownloadPhase, DownloadRequest, DownloadRequestSpec, DownloadRequestStatus,
    DownloadTarget,
};
pub use duration::GoDuration;
pub use hooks::{
    BackupHook, BackupHooks, BackupResourceHooks, ExecHook, HookStatus, InitHook, OnError,
    OperationExec, OperationHook, OperationHttp, OperationJob, RestoreExecHook, RestoreHook,
    RestoreHooks, RestoreResourceHooks, WorkloadKind,
};
pub use location::{
    AccessMode, BackupStorageLocation, BackupStorageLocationSpec, BackupStorageLocationStatus,
    Condition, LocationPhase, ObjectStorage, Provider, SecretKey,
};
pub use repository::{BackupRepository, BackupRepositorySpec, BackupRepositoryStatus};
pub use requests::{
    DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestSpec,
    DeleteBackupRequestStatus, ServerStatusRequest, ServerStatusRequestPhase,
    ServerStatusRequestSpec, ServerStatusRequestStatus,
};
pub use resource_entry::{Captured, ResourceEntry};
pub use restore::{
    ExistingResourcePolicy, Restore, RestorePhase, RestoreProgress, RestoreSpec, RestoreStatus,
};
pub use schedule::{Retention, Schedule, SchedulePhase, ScheduleSpec, ScheduleStatus};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, Time,
};

/// The API group of every kind of ark.
pub const GROUP: &str = "ark.heptio.com";
/// The version of the API group.
pub const VERSION: &str = "v1";
/// Group and version as they stand in `apiVersion`.
pub const API_VERSION: &str = "ark.heptio.com/v1";
/// The namespace of ark's own objects unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "heptio-ark";
