//! Talk on stderr: remarks, progress, logs.
//!
//! Progress is drawn only if stderr is a terminal and `--quiet` is not given; everything else that goes to stderr
//! passes through [`Talk`], which lifts the progress line out of the way, so that lines never mix. Errors are printed
//! whatever `--quiet` says.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// Writes to stderr. Clones share one progress line.
#[derive(Debug, Clone)]
pub struct Talk {
    quiet: bool,
    bar: ProgressBar,
}

impl Talk {
    /// Talk on stderr.
    pub fn stderr(quiet: bool) -> Talk {
        let draw = !quiet && io::stderr().is_terminal();
        let target = match draw {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Talk { quiet, bar }
    }

    /// A remark: `ark: …`. Nothing with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.line(&format!("ark: {text}"));
        }
    }

    /// A line, whatever `--quiet` says.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| {
            // Where stderr is closed there is nobody to talk to.
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    /// Whether progress is drawn: who computes it can save the work if not.
    pub fn draws(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Starts (or changes) the progress line. It ends when the returned value is dropped.
    pub fn progress(&self, text: impl Into<String>) -> Progress {
        if self.draws() {
            self.bar.reset();
            self.bar.set_message(text.into());
            self.bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress(self.bar.clone())
    }
}

/// A progress line that is on the screen.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Changes the text.
    pub fn set(&self, text: impl Into<String>) {
        if !self.0.is_hidden() {
            self.0.set_message(text.into());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.disable_steady_tick();
        self.0.finish_and_clear();
    }
}

impl Write for Talk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Talk {
    type Writer = Talk;

    fn make_writer(&'a self) -> Talk {
        self.clone()
    }
}
