//! `make demo`: a real cluster is backed up, broken and restored, and every claim on the way is checked.
//!
//! The cluster is a throwaway control plane, or the one of `DEMO_KUBECONFIG` after a question. Nothing is left behind, whichever way
//! the demo ends: servers end with the value that started them, files lie in one temporary folder, and in a cluster of the user's
//! everything is named `ark-demo-*` and removed at the end, on failure and on Ctrl-C. A claim that does not hold ends the demo with
//! an exit code that is not zero.

mod ark;
mod cluster;
mod equality;
mod folder;
mod nginx;
mod story;
mod voice;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use cluster::Scope;
use voice::Voice;

/// What was asked for.
pub struct Settings {
    /// The program that is shown.
    pub ark: PathBuf,
    /// The user's cluster, instead of a throwaway one.
    pub kubeconfig: Option<PathBuf>,
}

const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\ndemo: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let settings = Settings {
        ark: std::env::args_os()
            .nth(1)
            .context("usage: demo PATH-OF-ARK; `make demo` builds and names it")?
            .into(),
        kubeconfig: std::env::var_os("DEMO_KUBECONFIG")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
    };
    let voice = Voice::new();
    // Until here Ctrl-C simply ends the process: nothing has been made yet.
    if let Some(kubeconfig) = &settings.kubeconfig
        && !cluster::may_use(kubeconfig, &voice).await?
    {
        return Ok(ExitCode::FAILURE);
    }
    let mut interrupts = Interrupts::listen()?;
    let temporary = tempfile::Builder::new()
        .prefix("ark-demo-")
        .tempdir()
        .context("making a temporary folder")?;
    let told = interrupts
        .unless(story::tell(&settings, temporary.path(), &voice))
        .await;
    let cleaned = match &settings.kubeconfig {
        None => Ok(()),
        Some(kubeconfig) => {
            let cleaning = cluster::clean_up(kubeconfig, Scope::of_yours(), &voice);
            interrupts.unless(cleaning).await.unwrap_or_else(|| {
                anyhow::bail!("interrupted while cleaning up: objects named ark-demo-* may be left; another demo removes them")
            })
        }
    };
    // The last of ark may still be writing into it when the first attempt comes.
    temporary.close().context("removing the temporary folder")?;
    match told {
        Some(Ok(())) => {
            cleaned?;
            voice.end(&format!(
                "Everything was as claimed, in {:.0} seconds.",
                began.elapsed().as_secs_f64()
            ));
            Ok(ExitCode::SUCCESS)
        }
        Some(Err(error)) => {
            if let Err(cleaning) = cleaned {
                eprintln!("demo: {cleaning:#}");
            }
            Err(error)
        }
        None => {
            cleaned?;
            eprintln!("\ndemo: interrupted; everything is cleaned up");
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

/// Ctrl-C, SIGTERM, and the end of the terminal.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn listen() -> anyhow::Result<Interrupts> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Interrupts([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// Runs a future to its end, or drops it at the first signal.
    async fn unless<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
            output = future => Some(output),
        }
    }
}
