//! A throwaway Azurite: Azure Blob Storage on loopback, in memory.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use aws_lc_rs::hmac;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::process::Server;
use crate::{binaries, ports};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// The account that Azurite has by itself, and its key, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite. Dropping it ends the process.
#[derive(Debug)]
pub struct Azurite {
    server: Server,
    port: u16,
    _folder: TempDir,
}

impl Azurite {
    /// Starts Azurite and waits until it answers.
    pub async fn start() -> anyhow::Result<Azurite> {
        let folder = tempfile::Builder::new()
            .prefix("ark-azurite-")
            .tempdir()
            .context("making a temporary folder")?;
        let port = ports::free()?;
        let mut command = Command::new("node");
        command
            .arg(binaries::path(
                "azurite/node_modules/azurite/dist/src/blob/main.js",
            )?)
            .args(["--inMemoryPersistence", "--silent", "--disableTelemetry"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            // It refuses versions of the protocol that are newer than it is.
            .arg("--skipApiVersionCheck");
        let server = Server::start(folder.path(), "azurite", command, false)?;
        let mut azurite = Azurite {
            server,
            port,
            _folder: folder,
        };
        let deadline = Instant::now() + READY_WITHIN;
        while azurite.exchange(b"GET / HTTP/1.0\r\n\r\n").await.is_err() {
            azurite.server.check()?;
            if Instant::now() > deadline {
                bail!("Azurite is not ready:\n{}", azurite.server.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(azurite)
    }

    /// Its address on this machine.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The environment that Azure's clients read, for a server at this address: this one, or a relay to it.
    pub fn environment(&self, address: &str) -> Vec<(&'static str, String)> {
        vec![
            (
                "AZURE_STORAGE_ENDPOINT",
                format!("http://{address}/{ACCOUNT}"),
            ),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Creates a container.
    pub async fn create_container(&self, name: &str) -> anyhow::Result<()> {
        let date = http_date()?;
        let headers = format!("x-ms-date:{date}\nx-ms-version:2023-11-03\n");
        // Verb, eleven headers that are not sent, then ours, then what is asked for.
        let text = format!(
            "PUT{}{headers}/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container",
            "\n".repeat(12)
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &base64_decode(KEY)?);
        let signature = base64(hmac::sign(&key, text.as_bytes()).as_ref());
        let request = format!(
            "PUT /{ACCOUNT}/{name}?restype=container HTTP/1.0\r\nhost: {}\r\nx-ms-date: {date}\r\n\
             x-ms-version: 2023-11-03\r\ncontent-length: 0\r\nauthorization: SharedKey {ACCOUNT}:{signature}\r\n\r\n",
            self.address()
        );
        let answer = self.exchange(request.as_bytes()).await?;
        if answer.split(' ').nth(1) != Some("201") {
            bail!("Azurite answers: {answer}");
        }
        Ok(())
    }

    async fn exchange(&self, request: &[u8]) -> anyhow::Result<String> {
        let mut stream = tokio::net::TcpStream::connect(self.address()).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        if answer.is_empty() {
            bail!("no answer");
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= group.len() {
                letter.into()
            } else {
                '='
            });
        }
    }
    out
}

fn base64_decode(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|l| *l == letter);
        bits = bits << 6 | value.context("not base 64")? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 255) as u8);
        }
    }
    Ok(out)
}

/// The time as HTTP writes it.
fn http_date() -> anyhow::Result<String> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let (day, seconds) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    let (year, month, date) = crate::s3::date_of(day);
    let weekday = DAYS[(day % 7) as usize];
    let month = MONTHS[(month - 1) as usize];
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(format!(
        "{weekday}, {date:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_goes_both_ways() {
        for text in ["", "a", "ab", "abc", "abcd"] {
            assert_eq!(
                base64_decode(&base64(text.as_bytes())).unwrap(),
                text.as_bytes()
            );
        }
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(&base64_decode(KEY).unwrap()), KEY);
    }
}
