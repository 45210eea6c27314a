//! A throwaway fake-gcs-server: Google Cloud Storage on loopback, in memory.
//!
//! Clients that speak GCS's XML API, as ark's does, need two things that the server has in the JSON API only: an upload by
//! a plain PUT, and its condition `x-goog-if-generation-match`. A front of ours turns the first into a JSON upload and the
//! second into `ifGenerationMatch`, which the server then enforces, atomically; everything else passes through as it is.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::process::Server;
use crate::{binaries, ports};

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running fake-gcs-server and its front. Dropping it ends the process.
#[derive(Debug)]
pub struct FakeGcs {
    server: Server,
    port: u16,
    front: u16,
    accepting: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

impl Drop for FakeGcs {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FakeGcs {
    /// Starts the server and waits until it answers.
    pub async fn start() -> anyhow::Result<FakeGcs> {
        let folder = tempfile::Builder::new()
            .prefix("ark-gcs-")
            .tempdir()
            .context("making a temporary folder")?;
        let port = ports::free()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(binaries::path("fake-gcs-server")?);
        command
            .args([
                "-backend",
                "memory",
                "-scheme",
                "http",
                "-host",
                "127.0.0.1",
            ])
            .args(["-port", &port.to_string(), "-public-host", &address])
            .args([
                "-external-url",
                &format!("http://{address}"),
                "-log-level",
                "error",
            ]);
        let server = Server::start(folder.path(), "fake-gcs-server", command, false)?;
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listening")?;
        let front = listener.local_addr().context("listening")?.port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // A client that hangs up is its own business.
                    let _ = pass(client, port).await;
                });
            }
        });
        let mut gcs = FakeGcs {
            server,
            port,
            front,
            accepting,
            _folder: folder,
        };
        let deadline = Instant::now() + READY_WITHIN;
        let health = "GET /_internal/healthcheck HTTP/1.0\r\n\r\n";
        while exchange(port, health.as_bytes()).await.is_err() {
            gcs.server.check()?;
            if Instant::now() > deadline {
                bail!("fake-gcs-server is not ready:\n{}", gcs.server.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(gcs)
    }

    /// The address of the front.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.front)
    }

    /// The environment that Google's clients read, for a server at this address: the front, or a relay to it.
    pub fn environment(&self, address: &str) -> Vec<(&'static str, String)> {
        vec![
            ("GOOGLE_BASE_URL", format!("http://{address}")),
            // A key that says to ask nobody for a token. The variable that says so for every request leaves out uploads.
            (
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                serde_json::json!({
                    "client_email": "ark@test",
                    "private_key": "none",
                    "private_key_id": "none",
                    "disable_oauth": true
                })
                .to_string(),
            ),
            ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, name: &str) -> anyhow::Result<()> {
        let body = serde_json::json!({ "name": name }).to_string();
        let request = format!(
            "POST /storage/v1/b?project=test HTTP/1.0\r\nhost: 127.0.0.1:{}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        );
        let answer = exchange(self.port, request.as_bytes()).await?;
        let text = String::from_utf8_lossy(&answer);
        if text.split(' ').nth(1) != Some("200") {
            bail!("fake-gcs-server answers: {text}");
        }
        Ok(())
    }
}

async fn exchange(port: u16, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    if answer.is_empty() {
        bail!("no answer");
    }
    Ok(answer)
}

/// One request of a client, one connection each way.
async fn pass(mut client: TcpStream, port: u16) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let (start, length) = loop {
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if let Some(end) = find(&bytes, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = header(&head, "content-length").and_then(|l| l.parse().ok());
            break (end + 4, length.unwrap_or(0));
        }
    };
    while bytes.len() < start + length {
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&bytes[..start - 4]).into_owned();
    let body = &bytes[start..start + length];
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let plain = target.trim_start_matches('/').split_once('/');
    let (line, upload) = match plain {
        Some((bucket, object)) if method == "PUT" && !target.contains('?') => {
            let condition = header(&head, "x-goog-if-generation-match");
            let condition = condition.map_or(String::new(), |g| format!("&ifGenerationMatch={g}"));
            let name = object.replace('/', "%2F");
            let target =
                format!("/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}{condition}");
            (format!("POST {target} HTTP/1.1"), true)
        }
        _ => (head.lines().next().unwrap_or("").to_owned(), false),
    };
    let mut request = format!("{line}\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n");
    for line in head.lines().skip(1) {
        let name = line.split(':').next().unwrap_or("").to_ascii_lowercase();
        if !["host", "connection"].contains(&name.as_str()) {
            request.push_str(&format!("{line}\r\n"));
        }
    }
    request.push_str("\r\n");
    let answer = exchange(port, &[request.as_bytes(), body].concat()).await?;
    if !upload {
        client.write_all(&answer).await?;
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("not an answer")?;
    let status = head.lines().next().unwrap_or("").to_owned();
    // What an upload by the XML API answers.
    let json = body.find('{').zip(body.rfind('}'));
    let json = json.and_then(|(from, to)| serde_json::from_str(&body[from..=to]).ok());
    let json: serde_json::Value = json.unwrap_or_default();
    let text = |name: &str| {
        json[name]
            .as_str()
            .unwrap_or("")
            .trim_matches('"')
            .to_owned()
    };
    let answer = format!(
        "{status}\r\netag: \"{}\"\r\nx-goog-generation: {}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        text("etag"),
        text("generation")
    );
    client.write_all(answer.as_bytes()).await?;
    Ok(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(n, _)| n.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}
