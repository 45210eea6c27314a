//! One `ark` process that is disturbed while it runs.
//!
//! It has a process group of its own, so that a signal reaches it through whatever it was started by, and nobody else.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::relay::{Fault, Relay};
use crate::Ark;

/// A process that runs longer is taken to hang.
const HANGS: Duration = Duration::from_secs(300);

/// What a panic or a backtrace leaves on stderr.
const PANICS: [&str; 3] = ["panicked at", "stack backtrace", "internal error"];

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// Nothing.
    None,
    /// `kill -9`.
    Kill { after: Duration },
    /// What Ctrl-C sends.
    Interrupt { after: Duration },
    /// It stands still for a while.
    Pause { after: Duration, lasts: Duration },
    /// It stands still for a while, and is killed before it wakes up.
    PauseThenKill { after: Duration, lasts: Duration },
    /// Its network.
    Network(Fault),
}

impl Disturbance {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Disturbance::None => "none",
            Disturbance::Kill { .. } => "kill",
            Disturbance::Interrupt { .. } => "interrupt",
            Disturbance::Pause { .. } => "pause",
            Disturbance::PauseThenKill { .. } => "pause_then_kill",
            Disturbance::Network(fault) => fault.name(),
        }
    }
}

/// How it ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// The disturbance reached it.
    pub struck: bool,
    pub hung: bool,
}

impl Ended {
    pub(super) fn panicked(&self) -> bool {
        PANICS.iter().any(|sign| self.stderr.contains(sign))
    }

    /// The last words on stderr.
    pub(super) fn last_words(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let text = lines[lines.len().saturating_sub(6)..].join(" | ");
        text.chars().take(1200).collect()
    }
}

/// Runs `ark` to its end, disturbed.
pub(super) async fn run(
    ark: &Ark,
    through: &[&str],
    arguments: &[&str],
    disturbance: Disturbance,
    relay: Option<&Relay>,
) -> anyhow::Result<Ended> {
    if let (Disturbance::Network(fault), Some(relay)) = (disturbance, relay) {
        relay.arm(fault);
    }
    let started = Instant::now();
    let mut command = tokio::process::Command::from(ark.command_through(through, arguments));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().context("starting ark")?;
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .context("a process without an id")?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let output = async {
        let (stdout, stderr) = tokio::join!(read(&mut out), read(&mut err));
        (stdout, stderr, child.wait().await)
    };
    tokio::pin!(output);
    let mut struck = false;
    let mut hung = false;
    for (after, signals) in steps(disturbance) {
        tokio::select! {
            biased;
            ended = &mut output => return finish(ended, struck, hung, started, disturbance, relay),
            () = tokio::time::sleep(after) => {}
        }
        // Not waited for yet, so the id is still this group's.
        for signal in signals {
            struck |= kill_process_group(group, *signal).is_ok();
        }
    }
    let ended = tokio::select! {
        biased;
        ended = &mut output => ended,
        () = tokio::time::sleep(HANGS) => {
            hung = true;
            let _ = kill_process_group(group, Signal::KILL);
            output.await
        }
    };
    finish(ended, struck, hung, started, disturbance, relay)
}

/// After which time which signals are sent.
fn steps(disturbance: Disturbance) -> Vec<(Duration, &'static [Signal])> {
    const KILL: &[Signal] = &[Signal::KILL];
    match disturbance {
        Disturbance::None | Disturbance::Network(_) => Vec::new(),
        Disturbance::Kill { after } => vec![(after, KILL)],
        Disturbance::Interrupt { after } => vec![(after, &[Signal::INT])],
        Disturbance::Pause { after, lasts } => {
            vec![(after, &[Signal::STOP]), (lasts, &[Signal::CONT])]
        }
        Disturbance::PauseThenKill { after, lasts } => {
            vec![(after, &[Signal::STOP]), (lasts, KILL)]
        }
    }
}

type Output = (String, String, std::io::Result<std::process::ExitStatus>);

fn finish(
    (stdout, stderr, status): Output,
    signalled: bool,
    hung: bool,
    started: Instant,
    disturbance: Disturbance,
    relay: Option<&Relay>,
) -> anyhow::Result<Ended> {
    let struck = match (disturbance, relay) {
        (Disturbance::Network(_), Some(relay)) => relay.disarm(),
        _ => signalled,
    };
    let status = status.context("waiting for ark")?;
    Ok(Ended {
        code: status.code(),
        signal: status.signal(),
        stdout,
        stderr,
        took: started.elapsed(),
        struck,
        hung,
    })
}

async fn read(stream: &mut Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What came before an error is what there is to show.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
