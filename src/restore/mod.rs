//! Restore: engine → cluster.
//!
//! Plan (pure: order, filters, mapping) → mutate (pure steps, one file each) → apply (parallel inside waves, serial
//! between) → finalize (owner references relinked to the new uids). The parts that decide know no cluster and are tested
//! as tables; the parts that act decide nothing.
//!
//! A restore only adds: it never deletes an object, and it changes one that is there only if the policy is `update`
//! (service accounts are merged always, because a namespace makes one by itself).

mod api;
mod apply;
pub mod backup;
mod choose;
pub mod compare;
pub mod document;
pub mod dry_run;
mod error;
pub mod existing;
pub mod filter;
mod finalize;
mod hooked;
mod journal;
pub mod mutate;
mod object;
pub mod order;
mod pipeline;
pub mod plan;
pub mod report;
pub mod source;
pub mod target;

use std::time::Duration;

pub use api::FIELD_MANAGER;
pub use backup::BackupSource;
pub use choose::plan as make_plan;
pub use dry_run::{DryRun, dry_run};
pub use error::RestoreError;
pub use object::{Key, Uid};
pub use order::Wave;
pub use pipeline::restore;
pub use plan::Plan;
pub use report::{Counts, Outcome, Problem, RestoreReport, Severity};
pub use source::{ObjectSource, SourceError};

/// How a restore goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Objects under way at once.
    pub concurrency: usize,
    /// Go on with an interrupted restore of the same name: ask first what it has done.
    pub resume: bool,
    /// Run the hooks that pods and the restore ask for.
    pub hooks: bool,
    /// How long a namespace that is being deleted is waited for.
    pub namespace_patience: Duration,
    /// How long another object that is being deleted is waited for.
    pub object_patience: Duration,
    /// How long definitions may take until they are served.
    pub definition_patience: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            concurrency: 32,
            resume: false,
            hooks: true,
            namespace_patience: Duration::from_secs(600),
            object_patience: Duration::from_secs(60),
            definition_patience: Duration::from_secs(60),
        }
    }
}

/// Is told how a restore goes on. Calls come from one task and must not block.
pub trait Monitor: Send + Sync {
    /// What will be done.
    fn planned(&self, _plan: &Plan) {}
    /// A wave begins.
    fn wave(&self, _wave: Wave) {}
    /// An object is done with.
    fn object(&self, _key: &Key, _outcome: &Outcome) {}
}

/// A monitor that says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Monitor for Quiet {}
