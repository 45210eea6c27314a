//! A terminal with a program in it, and somebody who reads and types.
//!
//! The program is in a session of its own with this pseudo-terminal as its controlling one, so that typed control characters are
//! signals to it. Whatever is waited for is waited for in the output, not in time.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// A program that has shown nothing for so long is taken to hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program in a terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// What of it was waited for already.
    read: usize,
}

impl Terminal {
    /// Runs the command with a terminal as its stdin, stdout and stderr.
    ///
    /// # Errors
    /// If there are no pseudo-terminals or no `setsid`.
    pub fn run(command: &Command) -> anyhow::Result<Terminal> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let side = File::options()
            .read(true)
            .write(true)
            .open(OsStr::from_bytes(name.as_bytes()))?;
        let mut inside = Command::new("setsid");
        inside
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                inside.env(name, value);
            }
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        let child = inside
            .stdin(Stdio::from(side.try_clone()?))
            .stdout(Stdio::from(side.try_clone()?))
            .stderr(Stdio::from(side))
            .spawn()
            .context("cannot run setsid, of util-linux")?;
        // The handles of the program's side go with the command: at the end of the program the reader sees an end too.
        drop(inside);
        let keyboard = File::from(master);
        let mut reader = keyboard.try_clone()?;
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Terminal {
            child,
            keyboard,
            screen,
            shown: String::new(),
            read: 0,
        })
    }

    /// Waits until the text is shown, after what was waited for before.
    ///
    /// # Errors
    /// If the program ends or hangs without having shown it.
    pub fn shows(&mut self, text: &str) -> anyhow::Result<()> {
        loop {
            if let Some(at) = self.shown[self.read..].find(text) {
                self.read += at + text.len();
                return Ok(());
            }
            if !self.more()? {
                bail!("it ended without {text:?}: {:?}", self.shown);
            }
        }
    }

    /// Reads on; `false` at the end.
    fn more(&mut self) -> anyhow::Result<bool> {
        match self.screen.recv_timeout(PATIENCE) {
            Ok(bytes) => {
                self.shown.push_str(&String::from_utf8_lossy(&bytes));
                Ok(true)
            }
            Err(RecvTimeoutError::Disconnected) => Ok(false),
            Err(RecvTimeoutError::Timeout) => bail!("it shows nothing more: {:?}", self.shown),
        }
    }

    /// Types the text.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn types(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.keyboard.write_all(text.as_bytes())?)
    }

    /// Whether what is typed is shown.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn echoes(&self) -> anyhow::Result<bool> {
        let modes = tcgetattr(&self.keyboard)?.local_modes;
        Ok(modes.contains(LocalModes::ECHO))
    }

    /// Waits for the end of the program: how it ended, whether the terminal echoes again, and everything that was shown.
    ///
    /// # Errors
    /// If it hangs.
    pub fn ends(mut self) -> anyhow::Result<(ExitStatus, bool, String)> {
        while self.more()? {}
        let status = self.child.wait()?;
        let echoes = self.echoes()?;
        Ok((status, echoes, std::mem::take(&mut self.shown)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Only what still runs after a failure; one that has ended is waited for and no longer there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
