//! What hooks did, as lines of the log and numbers.

use serde::Serialize;

use crate::api::{HookStatus, OnError};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What was done.
    Info,
    /// What may not be as the user thinks.
    Warning,
    /// What went wrong.
    Error,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub text: String,
    /// Whether it says that a hook failed.
    #[serde(skip)]
    pub failed: bool,
}

impl Line {
    /// A line.
    pub fn new(level: Level, text: String) -> Line {
        Line {
            level,
            text,
            failed: level == Level::Error,
        }
    }

    /// A hook that failed.
    pub fn of_hook(on_error: OnError, text: String) -> Line {
        let level = match on_error {
            OnError::Fail => Level::Error,
            OnError::Continue => Level::Warning,
        };
        Line {
            failed: true,
            ..Line::new(level, text)
        }
    }
}

/// What hooks did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The lines for the log, in the order in which things happened.
    pub lines: Vec<Line>,
    /// How many there were.
    pub counts: HookStatus,
}

impl Report {
    /// Takes in a line that is not about a hook that was begun. One that says that a hook failed counts as one.
    pub fn remark(&mut self, line: Line) {
        let failed = u64::from(line.failed);
        self.counts.hooks_attempted += failed;
        self.counts.hooks_failed += failed;
        self.lines.push(line);
    }

    /// What followed.
    pub fn extend(&mut self, later: Report) {
        self.counts = self.counts.and(later.counts);
        self.lines.extend(later.lines);
    }

    /// What failed.
    pub fn failures(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.failed)
    }
}
