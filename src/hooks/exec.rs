//! Running one command in a container: what there is to know of it.

use futures::future::BoxFuture;
use thiserror::Error;

use super::output::Output;
use super::plan::PodName;

/// Where a command is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: PodName,
    /// The container.
    pub container: String,
}

/// Why a command did not do what it was to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExecError {
    /// It ended, and said that it failed.
    #[error("exit code {0}")]
    Exit(i32),
    /// It could not be started in the container.
    #[error("it could not be started: {0}")]
    NotStarted(String),
    /// The server may not run commands in pods.
    #[error(
        "ark may not run commands there: its account needs the verbs get and create on pods/exec, which the role backup-only \
         does not have ({0})"
    )]
    Forbidden(String),
    /// The apiserver did not let it be run.
    #[error("the apiserver refused: {0}")]
    Refused(String),
    /// The way to the container did not work: a kubelet that is away, a webhook that is.
    #[error("the apiserver could not do it: {0}")]
    Faltered(String),
    /// Nobody answered.
    #[error("the apiserver could not be reached: {0}")]
    Unreachable(String),
    /// The connection broke while it ran. It may have ended either way.
    #[error("the connection was lost while it ran, and what became of it is not known: {0}")]
    Lost(String),
}

impl ExecError {
    /// Whether the command was not begun, and the next try may do better.
    pub fn may_pass(&self) -> bool {
        matches!(self, ExecError::Unreachable(_))
    }

    /// Whether the command was not begun, for a reason that may be gone in a while. A program that is not there does not come.
    pub fn was_not_begun(&self) -> bool {
        match self {
            ExecError::Unreachable(_) => true,
            ExecError::Faltered(why) | ExecError::NotStarted(why) => {
                !why.contains("executable file not found")
            }
            _ => false,
        }
    }
}

/// What runs commands in containers.
pub trait Executor: Send + Sync {
    /// Runs a command to its end. What it prints goes to `output` as it comes. Dropping the future ends the wait.
    fn exec<'a>(
        &'a self,
        target: &'a Target,
        command: &'a [String],
        output: &'a Output,
    ) -> BoxFuture<'a, Result<(), ExecError>>;
}
