//! From where a key comes to the key itself.
//!
//! Secrets live in types that wipe themselves and never print; the buffers they are read into are wiped too. A new
//! key file is created with mode 0600 and never overwrites anything.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ark_engine::{Env, Unlock};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::error::{Doing, Error, Result};
use super::prompt::{self, PromptError};
use super::settings::UnlockSource;

/// Key and passphrase files are small; what is larger is something else.
const LARGEST: u64 = 64 << 10;

/// Reads the key that opens the repository `url`.
pub async fn unlock(source: &UnlockSource, url: &str) -> Result<Unlock> {
    match source {
        UnlockSource::KeyFile(path) => {
            let bytes = read_secret("key file", path).await?;
            Unlock::from_key_file(&bytes)
                .doing(format!("cannot use the key file {}", path.display()))
        }
        UnlockSource::PassphraseFile(path) => {
            let bytes = read_secret("passphrase file", path).await?;
            first_line(&bytes, || format!("the file {}", path.display())).map(Unlock::Passphrase)
        }
        UnlockSource::PassphraseCommand(command) => run(command).await.map(Unlock::Passphrase),
        UnlockSource::Passphrase(passphrase) => Ok(Unlock::Passphrase(passphrase.clone())),
        UnlockSource::Ask => {
            let question = format!("Passphrase of {url}: ");
            match ask(move || prompt::passphrase(&question)).await {
                Err(Error::Prompt(PromptError::NoTerminal)) => Err(Error::NoKey {
                    url: url.to_owned(),
                }),
                answer => answer.map(Unlock::Passphrase),
            }
        }
    }
}

/// A key that is to open a repository from now on.
pub struct NewUnlock {
    /// The key.
    pub unlock: Unlock,
    /// The key file that was made for it.
    pub made: Option<PathBuf>,
}

/// Takes back the key file that was made for a key that came to nothing.
pub async fn discard(made: Option<PathBuf>) {
    if let Some(path) = made {
        // It holds a key to nothing: leaving it behind is untidy, not dangerous.
        let _ = tokio::fs::remove_file(path).await;
    }
}

/// As [`unlock`], for a key that does not open anything yet: a key file that does not exist is made, a passphrase is
/// asked for twice.
pub async fn new_unlock(source: &UnlockSource, url: &str, env: &Env) -> Result<NewUnlock> {
    match source {
        UnlockSource::KeyFile(path) if !exists(path).await? => {
            let key = Zeroizing::new(env.bytes::<32>());
            let text = Zeroizing::new(format!("{}\n", hex::encode(*key)));
            write_secret(path, text.as_bytes()).await?;
            let unlock = Unlock::from_key_file(text.as_bytes()).doing("cannot make a key")?;
            Ok(NewUnlock {
                unlock,
                made: Some(path.clone()),
            })
        }
        UnlockSource::Ask => match ask(prompt::new_passphrase).await {
            Err(Error::Prompt(PromptError::NoTerminal)) => Err(Error::NoKey {
                url: url.to_owned(),
            }),
            answer => Ok(NewUnlock {
                unlock: Unlock::Passphrase(answer?),
                made: None,
            }),
        },
        _ => Ok(NewUnlock {
            unlock: unlock(source, url).await?,
            made: None,
        }),
    }
}

/// Asks on the terminal without holding up the runtime.
async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, PromptError> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(question).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Interrupted),
    }
}

/// Asks whether to do `what` ("delete the backup x") unless `--confirm` has answered it.
pub async fn confirm(confirmed: bool, what: String) -> Result<()> {
    if confirmed {
        return Ok(());
    }
    let mut question = format!("{what}?");
    question[..1].make_ascii_uppercase();
    match ask(move || prompt::confirm(&question)).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Declined),
        Err(Error::Prompt(PromptError::NoTerminal)) => Err(Error::Unconfirmed { what }),
        Err(error) => Err(error),
    }
}

async fn exists(path: &Path) -> Result<bool> {
    tokio::fs::try_exists(path)
        .await
        .map_err(|source| Error::Read {
            what: "key file",
            path: path.to_owned(),
            source,
        })
}

pub(super) async fn read_secret(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let fail = |source| Error::Read {
        what,
        path: path.to_owned(),
        source,
    };
    let metadata = tokio::fs::metadata(path).await.map_err(fail)?;
    if metadata.is_dir() || metadata.len() > LARGEST {
        let why = "it is no small file";
        return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, why)));
    }
    // Not by size: pipes and files in /dev/fd have none.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST as usize + 1));
    let file = tokio::fs::File::open(path).await.map_err(fail)?;
    let mut file = tokio::io::AsyncReadExt::take(file, LARGEST);
    tokio::io::AsyncReadExt::read_to_end(&mut file, &mut bytes)
        .await
        .map_err(fail)?;
    Ok(bytes)
}

pub(super) async fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await
        .map_err(fail)?;
    file.write_all(bytes).await.map_err(fail)?;
    // The only copy of a key: it must be on the disk before a repository depends on it.
    file.sync_all().await.map_err(fail)
}

pub(super) fn first_line(bytes: &[u8], origin: impl Fn() -> String) -> Result<SecretString> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let bad = |problem| Error::BadPassphrase {
        origin: origin(),
        problem,
    };
    match std::str::from_utf8(line) {
        Ok("") => Err(bad("is empty")),
        Ok(line) => Ok(SecretString::from(line)),
        Err(_) => Err(bad("is not valid UTF-8")),
    }
}

async fn run(command: &str) -> Result<SecretString> {
    let output = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| Error::PassphraseCommand {
            command: command.to_owned(),
            source,
        })?;
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(Error::PassphraseStatus {
            command: command.to_owned(),
            status: output.status,
        });
    }
    first_line(&stdout, || format!("the command {command:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use secrecy::ExposeSecret;

    use super::*;

    fn same(passphrase: &SecretString, text: &str) -> bool {
        passphrase.expose_secret() == text
    }

    #[test]
    fn the_first_line_is_the_passphrase() {
        for bytes in [
            &b"open sesame"[..],
            b"open sesame\n",
            b"open sesame\r\nmore\n",
        ] {
            assert!(same(
                &first_line(bytes, String::new).unwrap(),
                "open sesame"
            ));
        }
        for bytes in [&b""[..], b"\nx", b"\xff\n"] {
            assert!(first_line(bytes, || "a file".to_owned()).is_err());
        }
    }

    #[tokio::test]
    async fn commands_give_their_first_line_and_failures_are_told() {
        assert!(same(&run("printf 'a b\\nc'").await.unwrap(), "a b"));
        let error = run("exit 3").await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(
            run("true")
                .await
                .unwrap_err()
                .to_string()
                .contains("is empty")
        );
    }

    #[tokio::test]
    async fn a_new_key_file_is_private_and_never_overwrites() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_secret(&path, b"x").await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(write_secret(&path, b"y").await.is_err());
        let error = read_secret("key file", dir.path()).await.unwrap_err();
        assert!(error.to_string().contains("key file"));
    }
}
