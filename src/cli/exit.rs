//! The exit codes of `ark`: what a script may rely on.
//!
//! They are chosen by what the caller can do about it, are listed in every help text, and never change meaning.

use std::process::ExitCode;

/// How `ark` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done. A reader that closed the pipe early (`ark … | head`) counts as done.
    Ok,
    /// It was not done. The message says why.
    Failure,
    /// The command line or a setting makes no sense. Nothing was tried.
    Usage,
    /// A backup or restore was made, and something of the plan is missing from it.
    PartiallyFailed,
    /// The repository is damaged: verify found it, or a read ran into it.
    Damage,
    /// The repository cannot be opened: wrong or missing key, not a repository, a version this ark does not know.
    Locked,
    /// The cluster cannot be reached, or does not accept the credentials.
    Cluster,
    /// Interrupted by the user or by SIGTERM.
    Interrupted,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Exit; 8] = [
        Exit::Ok,
        Exit::Failure,
        Exit::Usage,
        Exit::PartiallyFailed,
        Exit::Damage,
        Exit::Locked,
        Exit::Cluster,
        Exit::Interrupted,
    ];

    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::PartiallyFailed => 3,
            Exit::Damage => 4,
            Exit::Locked => 5,
            Exit::Cluster => 6,
            Exit::Interrupted => 130,
        }
    }

    /// The line of the help text.
    pub const fn help(self) -> &'static str {
        match self {
            Exit::Ok => "done",
            Exit::Failure => "failed; the message says why",
            Exit::Usage => "usage: nothing was tried",
            Exit::PartiallyFailed => {
                "partially failed: a backup or restore was made, something is missing from it"
            }
            Exit::Damage => "the repository is damaged",
            Exit::Locked => {
                "the repository cannot be opened: wrong key, not a repository, unknown version"
            }
            Exit::Cluster => "the cluster cannot be reached or refuses the credentials",
            Exit::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The table of exit codes for help texts and manual pages.
pub fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        text.push_str(&format!("  {:>3}  {}\n", exit.code(), exit.help()));
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn codes_are_distinct_and_documented() {
        let mut codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.dedup();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 130]);
        for exit in Exit::ALL {
            assert!(help().contains(exit.help()));
        }
    }
}
