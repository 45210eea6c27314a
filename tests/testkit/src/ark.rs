//! The `ark` program as a user runs it: a process with an environment and a home of its own.
//!
//! Nothing of the caller's environment reaches it, so a developer's kubeconfig, credentials and caches are safe from the tests, and
//! the tests from them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a panic or a backtrace leaves on stderr.
const PANICS: [&str; 4] = [
    "panicked at",
    "stack backtrace",
    "RUST_BACKTRACE",
    "internal error",
];

/// The program, the environment that it is run in, and its home.
#[derive(Clone, Debug)]
pub struct Ark {
    program: PathBuf,
    home: Arc<TempDir>,
    variables: BTreeMap<String, String>,
}

impl Ark {
    /// `program` with an empty home.
    pub fn new(program: impl Into<PathBuf>) -> anyhow::Result<Ark> {
        Ok(Ark {
            program: program.into(),
            home: Arc::new(home()?),
            variables: BTreeMap::new(),
        })
    }

    /// The same with this variable.
    pub fn with(&self, name: &str, value: impl AsRef<Path>) -> Ark {
        let mut ark = self.clone();
        let value = value.as_ref().to_string_lossy().into_owned();
        ark.variables.insert(name.to_owned(), value);
        ark
    }

    /// The same with another, empty home: as from another machine.
    pub fn elsewhere(&self) -> anyhow::Result<Ark> {
        Ok(Ark {
            home: Arc::new(home()?),
            ..self.clone()
        })
    }

    /// Its home. Relative paths in arguments start here.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command of this program in this environment, for callers that need more than [`Ark::run`].
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_through(&[], arguments)
    }

    /// As [`Ark::command`], run by another program that takes a command line after its own arguments.
    pub(crate) fn command_through(&self, through: &[&str], arguments: &[&str]) -> Command {
        let mut command = match through {
            [] => Command::new(&self.program),
            [wrapper, rest @ ..] => {
                let mut command = Command::new(wrapper);
                command.args(rest).arg(&self.program);
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TZ", "UTC")
            .env("RUST_BACKTRACE", "1")
            .envs(&self.variables)
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be run, or if it panicked: no input may do that.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let command = self.command(arguments);
        Running::start(command, arguments)
    }
}

fn home() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("ark-home-")
        .tempdir()
        .context("making a home")
}

/// A process under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    arguments: String,
    stdout: std::thread::JoinHandle<String>,
    stderr: std::thread::JoinHandle<String>,
    started: Instant,
}

impl Running {
    /// Starts `command`; `arguments` are for messages.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut command: Command, arguments: &[&str]) -> Running {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => panic!("cannot run {command:?}: {error}"),
        };
        Running {
            stdout: reader(child.stdout.take()),
            stderr: reader(child.stderr.take()),
            child,
            arguments: arguments.join(" "),
            started: Instant::now(),
        }
    }

    /// What Ctrl-C sends.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // Not waited for yet, so the id is still this process's, even if it has ended.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it panicked.
    pub fn wait(mut self) -> Ran {
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(error) => panic!("waiting for ark {}: {error}", self.arguments),
        };
        let ran = Ran {
            code: status.code(),
            stdout: self.stdout.join().unwrap_or_default(),
            stderr: self.stderr.join().unwrap_or_default(),
            took: self.started.elapsed(),
            arguments: self.arguments,
        };
        for sign in PANICS {
            assert!(!ran.stderr.contains(sign), "a panic: {ran}");
        }
        ran
    }
}

fn reader(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before an error is what there is to show.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
    arguments: String,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stdout, stderr) = (clip(&self.stdout), clip(&self.stderr));
        write!(
            f,
            "ark {}\nexit code {:?}\n--- stdout\n{stdout}--- stderr\n{stderr}",
            self.arguments, self.code
        )
    }
}

fn clip(text: &str) -> String {
    const MOST: usize = 6000;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…\n", &text[..end]),
        None => text.to_owned(),
    }
}

impl Ran {
    /// Everything asked for was done.
    ///
    /// # Panics
    /// If it was not.
    pub fn done(self) -> Ran {
        self.exits(0)
    }

    /// It ended with this code.
    ///
    /// # Panics
    /// If it did not.
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// It failed with this code, said each of `words`, what to do next, and nothing on stdout.
    ///
    /// # Panics
    /// If it did not.
    pub fn refuses(self, code: i32, words: &[&str]) -> Ran {
        let ran = self.exits(code).says(words);
        assert!(ran.stderr.contains("hint: "), "no hint: {ran}");
        assert_eq!(ran.stdout, "", "{ran}");
        ran
    }

    /// Each of `words` is on stderr.
    ///
    /// # Panics
    /// If one is not.
    pub fn says(self, words: &[&str]) -> Ran {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said: {self}");
        }
        self
    }

    /// stdout as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("no JSON on stdout ({error}): {self}"),
        }
    }
}
