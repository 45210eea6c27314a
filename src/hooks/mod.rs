//! Hooks: commands that users have run in their pods around a backup, and in restored pods; and what is done
//! around a whole backup or restore ([`operation`]).
//!
//! What is run is decided before anything is: annotations ([`annotations`]) and the spec ([`rules`]) make a [`Plan`], a value
//! that can be printed, and [`run`] carries it out through an [`Executor`]. What this guarantees:
//!
//! * Whoever froze something thaws it. In a pod whose turn came, the post hooks are run, whatever became of its pre hooks and of
//!   the backup; and a pod of which it is known beforehand that its post hooks cannot be run gets no pre hooks either.
//! * Nothing hangs: each command has a time after which nobody waits for it, and no pod waits for another one's.
//! * No hook is passed over in silence: what was run, what it printed and what could not be run is in the report.

pub mod annotations;
mod exec;
mod http;
mod job;
pub mod operation;
mod output;
mod plan;
mod pods;
mod report;
pub mod restore;
pub mod rules;
pub mod run;
#[cfg(test)]
mod tests;
pub mod wait;
mod websocket;
mod workload;

pub use exec::{ExecError, Executor, Target};
pub use operation::{Around, Subject, When};
pub use output::Output;
pub use plan::{Hook, Plan, PodHooks, PodName, Stage};
pub use pods::{Pod, Scope, each, find};
pub use report::{Level, Line, Report};
pub use restore::{RestoreRules, Restored, RestoredHooks};
pub use rules::{HookError, Rules};
pub use run::Run;
pub use websocket::WebSocket;
