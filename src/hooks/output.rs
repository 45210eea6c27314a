//! What a command prints: the end of it, so that one that prints without end takes no memory.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// So many bytes of each stream are kept.
const KEPT: usize = 4 << 10;

#[derive(Debug, Default)]
struct Stream {
    kept: VecDeque<u8>,
    dropped: u64,
}

impl Stream {
    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
        self.dropped += surplus as u64;
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = Vec::new();
        if self.dropped > 0 {
            lines.push(format!(
                "{name}: (the first {} bytes are left out)",
                self.dropped
            ));
        }
        // A command must not steer the terminal of whoever reads the log.
        lines.extend(
            text.lines()
                .map(|line| format!("{name}: {}", line.replace(char::is_control, "\u{fffd}"))),
        );
        lines
    }
}

/// What a command has printed so far. It can be read while the command goes on.
#[derive(Debug, Default)]
pub struct Output(Mutex<(Stream, Stream)>);

impl Output {
    /// It printed this on stdout.
    pub fn stdout(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .push(bytes);
    }

    /// It printed this on stderr.
    pub fn stderr(&self, bytes: &[u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1
            .push(bytes);
    }

    /// All of it that was kept.
    pub fn lines(&self) -> Vec<String> {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [streams.0.lines("stdout"), streams.1.lines("stderr")].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_nothing_steers_a_terminal() {
        let output = Output::default();
        output.stderr(b"\x1b[2Jgone\ttab\n");
        assert_eq!(output.lines(), ["stderr: \u{fffd}[2Jgone\u{fffd}tab"]);
        for _ in 0..100 {
            output.stdout(&[b'x'; 1000]);
        }
        output.stdout(b"\nlast");
        let lines = output.lines();
        assert_eq!(lines[0], "stdout: (the first 95909 bytes are left out)");
        assert_eq!(lines[2], "stdout: last");
        assert!(lines.iter().all(|line| line.len() <= KEPT + 16));
    }
}
