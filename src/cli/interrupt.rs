//! Ctrl-C and SIGTERM.
//!
//! The first one asks: whoever works inside [`Interrupt::unless`] is dropped at its next await, and cleans up after
//! itself (a write session is aborted, so that prune reclaims its packs at once). The second one ends the process on
//! the spot, which is safe at any time too: the repository treats it like a crash. The terminal's echo is restored
//! either way.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;
use super::progress::Talk;
use super::prompt;

/// The user wants to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Tells when the user wants to stop. Clones hear the same signal.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts to listen. Needs a runtime; from here on signals no longer end the process by themselves.
    pub fn listen(talk: Talk) -> io::Result<Interrupt> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            let mut asked = false;
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
                if asked {
                    prompt::restore_terminal();
                    // Whatever the process is doing: that is what the second signal asks for.
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
                asked = true;
                talk.note("stopping; once more stops at once");
                let _ = sender.send(true);
            }
        });
        Ok(Interrupt(receiver))
    }

    /// Waits for the first signal.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|asked| *asked).await.is_err() {
            // Nobody can send any more.
            std::future::pending::<()>().await;
        }
    }

    /// Runs the future; drops it at the first signal.
    pub async fn unless<F: Future>(&self, future: F) -> Result<F::Output, Interrupted> {
        tokio::select! {
            biased;
            () = self.requested() => Err(Interrupted),
            output = future => Ok(output),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn a_signal_drops_the_work() {
        let (sender, receiver) = watch::channel(false);
        let interrupt = Interrupt(receiver);
        assert_eq!(interrupt.unless(async { 1 }).await, Ok(1));
        sender.send(true).unwrap();
        assert_eq!(
            interrupt.unless(std::future::pending::<()>()).await,
            Err(Interrupted)
        );
        assert_eq!(interrupt.unless(async { 1 }).await, Err(Interrupted));
    }
}
