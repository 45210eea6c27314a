//! The `ark` program, run as a user runs it: its command is shown, its progress reaches the terminal.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::folder::{Change, Folder};
use crate::voice::Voice;

/// The program with the environment that names cluster, repository and key.
pub struct Ark<'a> {
    program: &'a Path,
    repository: PathBuf,
    variables: Vec<(&'static str, String)>,
    voice: &'a Voice,
}

/// How a run ended.
pub struct Ran {
    pub stdout: String,
    pub seconds: f64,
    /// What it did to the repository.
    pub change: Change,
}

impl<'a> Ark<'a> {
    /// Repository, key, cache and state all lie in `folder`.
    pub fn new(program: &'a Path, folder: &Path, kubeconfig: &Path, voice: &'a Voice) -> Ark<'a> {
        let inside = |name: &str| folder.join(name).display().to_string();
        let variables = vec![
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("ARK_REPOSITORY", format!("file://{}", inside("repository"))),
            ("ARK_KEY_FILE", inside("key")),
            ("ARK_CACHE_DIR", inside("cache")),
            ("ARK_STATE_DIR", inside("state")),
        ];
        Ark {
            program,
            repository: folder.join("repository"),
            variables,
            voice,
        }
    }

    /// Shows the environment, as one would set it in a shell.
    pub fn introduce(&self) {
        for (name, value) in &self.variables {
            self.voice.command(&format!("export {name}={value}"));
        }
    }

    /// The repository's folder.
    pub fn repository(&self) -> &Path {
        &self.repository
    }

    /// Runs it to its end; it must end with `code`.
    pub async fn exits(&self, code: i32, arguments: &[&str]) -> anyhow::Result<Ran> {
        let line = format!("ark {}", arguments.join(" "));
        self.voice.command(&line);
        let before = Folder::read(&self.repository)?;
        let began = Instant::now();
        let mut command = Command::new(self.program);
        // A setting of the user's own must not reach the demo's repository, nor the other way round.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ARK_") {
                command.env_remove(name);
            }
        }
        let output = command
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("running {}", self.program.display()))?
            .wait_with_output()
            .await
            .with_context(|| format!("waiting for {line}"))?;
        let seconds = began.elapsed().as_secs_f64();
        let stdout = String::from_utf8(output.stdout)
            .with_context(|| format!("{line} printed what is not UTF-8"))?;
        let ended = output.status.code();
        ensure!(
            ended == Some(code),
            "`{line}` ended with {}, not with exit code {code}; it printed:\n{stdout}",
            output.status
        );
        let change = Folder::read(&self.repository)?.since(&before);
        Ok(Ran {
            stdout,
            seconds,
            change,
        })
    }

    /// Runs it; it must do what it was asked for.
    pub async fn does(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        self.exits(0, arguments).await
    }
}

impl Ran {
    /// Standard output as JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("no JSON but this was printed:\n{}", self.stdout))
    }
}

/// A count in a report. A report without it is not the one that was asked for.
pub fn count(report: &Value, pointer: &str) -> anyhow::Result<u64> {
    report
        .pointer(pointer)
        .and_then(Value::as_u64)
        .with_context(|| format!("the report has no number at {pointer}"))
}

/// The sum of a report's counts of requests, all but the fields that are bytes.
pub fn requests(counts: &Value) -> u64 {
    counts
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !name.to_lowercase().contains("bytes"))
        .filter_map(|(_, count)| count.as_u64())
        .sum()
}

/// `3 put, 2 get`, of a report's counts of requests.
pub fn store_requests(counts: &Value) -> String {
    let words: Vec<String> = ["put", "get", "head", "list", "delete"]
        .into_iter()
        .filter_map(|verb| match counts[verb].as_u64() {
            None | Some(0) => None,
            Some(n) => Some(format!("{n} {verb}")),
        })
        .collect();
    words.join(", ")
}
