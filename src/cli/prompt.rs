//! Questions to the person at the terminal: passphrases without echo, and "really?".
//!
//! A question is asked only if stdin and stderr are both a terminal; otherwise the caller gets
//! [`PromptError::NoTerminal`] and refuses. Echo is switched back on however the question ends: by a guard when it is
//! answered, and by [`restore_terminal`], which the way out of the program calls, when Ctrl-C leaves the reading
//! thread behind.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// Nobody to ask.
    #[error("there is no terminal to ask on")]
    NoTerminal,
    /// The terminal failed.
    #[error("the terminal cannot be read")]
    Terminal(#[source] io::Error),
    /// The terminal was closed (Ctrl-D).
    #[error("no answer was given")]
    Closed,
    /// The two passphrases typed are not the same.
    #[error("the two passphrases are not the same")]
    Differ,
    /// An empty passphrase.
    #[error("the passphrase is empty")]
    Empty,
}

/// How the terminal was before echo was switched off.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether somebody can be asked.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Switches echo back on if a question is still open.
pub fn restore_terminal() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Nothing is left to be done about a failure: the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
    }
}

struct Silence;

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        restore_terminal();
    }
}

/// Asks for a passphrase. Blocks until a line is typed.
pub fn passphrase(question: &str) -> Result<SecretString, PromptError> {
    if !is_interactive() {
        return Err(PromptError::NoTerminal);
    }
    let line = {
        let _silence = Silence::begin().map_err(PromptError::Terminal)?;
        let line = ask(question);
        // The newline that was typed was not shown.
        let _ = writeln!(io::stderr());
        line?
    };
    if line.is_empty() {
        return Err(PromptError::Empty);
    }
    Ok(SecretString::from(line.as_str()))
}

/// Asks for a new passphrase, twice.
pub fn new_passphrase() -> Result<SecretString, PromptError> {
    use secrecy::ExposeSecret;
    let one = passphrase("New passphrase: ")?;
    let two = passphrase("The same again: ")?;
    match one.expose_secret() == two.expose_secret() {
        true => Ok(one),
        false => Err(PromptError::Differ),
    }
}

/// Asks a question that only `y` or `yes` answers with yes.
pub fn confirm(question: &str) -> Result<bool, PromptError> {
    if !is_interactive() {
        return Err(PromptError::NoTerminal);
    }
    let line = ask(&format!("{question} [y/N] "))?;
    Ok(matches!(
        line.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

fn ask(question: &str) -> Result<Zeroizing<String>, PromptError> {
    let mut stderr = io::stderr();
    stderr
        .write_all(question.as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(PromptError::Terminal)?;
    let mut line = Zeroizing::new(String::new());
    let read = io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(PromptError::Terminal)?;
    if read == 0 {
        return Err(PromptError::Closed);
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}
