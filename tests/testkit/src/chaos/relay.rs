//! A relay between one process and its object store that breaks on demand.
//!
//! It passes bytes on and understands two things of HTTP: where a request begins (clients start each one in a packet of its own),
//! and with which method. A fault is armed for one operation and strikes at a byte or a request; whether it struck is told when it
//! is disarmed, so that an operation that met no fault can be held to success.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// After so many bytes to the server the connection is reset, and the network is down for a while.
    CutRequest { after: u64, down: Duration },
    /// After so many bytes from the server the connection is reset, and the network is down for a while.
    CutReply { after: u64, down: Duration },
    /// The n-th request that writes or deletes is carried out, its reply is lost.
    LoseReply { request: u64 },
    /// From the n-th request on, for a while, the answer is 503 and the server does not hear of it.
    Overload { request: u64, lasts: Duration },
    /// Every packet takes this much longer.
    Slow { each: Duration },
    /// After so many bytes to the server nothing moves for a while.
    Stall { after: u64, lasts: Duration },
}

impl Fault {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Fault::CutRequest { .. } => "cut_request",
            Fault::CutReply { .. } => "cut_reply",
            Fault::LoseReply { .. } => "lost_reply",
            Fault::Overload { .. } => "overload",
            Fault::Slow { .. } => "slow",
            Fault::Stall { .. } => "stall",
        }
    }
}

/// What happens to a packet.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// Wait, then pass.
    Delay(Duration),
    /// Pass so many bytes, then reset.
    Cut(usize),
    /// Answer 503 and close.
    Overloaded,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    struck: bool,
    up: u64,
    down: u64,
    requests: u64,
    writes: u64,
    /// The network is down, or the server overloaded, until then.
    until: Option<Instant>,
}

impl State {
    /// Judges a packet to the server. `lose` is set if the reply to it is to be lost.
    fn request(&mut self, bytes: &[u8], now: Instant, lose: &mut bool) -> Verdict {
        let before = self.up;
        self.up += bytes.len() as u64;
        let request = METHODS.iter().any(|method| bytes.starts_with(method));
        let write = request && WRITES.iter().any(|method| bytes.starts_with(method));
        self.requests += u64::from(request);
        self.writes += u64::from(write);
        let waiting = self.until.is_some_and(|until| now < until);
        let verdict = match self.fault {
            Some(Fault::CutRequest { after, down }) if before <= after && after < self.up => {
                self.until = Some(now + down);
                Verdict::Cut((after - before) as usize)
            }
            Some(Fault::CutRequest { .. } | Fault::CutReply { .. }) if waiting => Verdict::Cut(0),
            Some(Fault::LoseReply { request }) if write && self.writes == request => {
                *lose = true;
                Verdict::Pass
            }
            Some(Fault::Overload { request: at, lasts }) if request && self.requests == at => {
                self.until = Some(now + lasts);
                Verdict::Overloaded
            }
            Some(Fault::Overload { .. }) if request && waiting => Verdict::Overloaded,
            Some(Fault::Slow { each }) => Verdict::Delay(each),
            Some(Fault::Stall { after, lasts }) if before <= after && after < self.up => {
                self.until = Some(now + lasts);
                Verdict::Delay(lasts)
            }
            Some(Fault::Stall { .. }) if waiting => {
                Verdict::Delay(self.until.map_or(Duration::ZERO, |until| until - now))
            }
            _ => Verdict::Pass,
        };
        self.struck |= verdict != Verdict::Pass || *lose;
        verdict
    }

    /// Judges a packet from the server.
    fn reply(&mut self, bytes: &[u8], now: Instant, lose: bool) -> Verdict {
        let before = self.down;
        self.down += bytes.len() as u64;
        let verdict = match self.fault {
            _ if lose => Verdict::Cut(0),
            Some(Fault::CutReply { after, down }) if before <= after && after < self.down => {
                self.until = Some(now + down);
                Verdict::Cut((after - before) as usize)
            }
            Some(Fault::Slow { each }) => Verdict::Delay(each),
            _ => Verdict::Pass,
        };
        self.struck |= verdict != Verdict::Pass;
        verdict
    }
}

const METHODS: [&[u8]; 5] = [b"GET ", b"HEAD ", b"PUT ", b"POST ", b"DELETE "];
const WRITES: [&[u8]; 3] = [b"PUT ", b"POST ", b"DELETE "];
const OVERLOADED: &[u8] = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 80\r\n\
    Connection: close\r\n\r\n<Error><Code>SlowDown</Code><Message>Please reduce your rate</Message></Error>\r\n";

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    up: AtomicU64,
    down: AtomicU64,
    open: AtomicUsize,
    struck: Mutex<BTreeMap<&'static str, u64>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running relay.
pub(super) struct Relay {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to `server`, an address like `127.0.0.1:9000`.
    pub(super) async fn to(server: &str) -> anyhow::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listening for the relay")?;
        let port = listener
            .local_addr()
            .context("asking for the relay's port")?
            .port();
        let shared = Arc::new(Shared::default());
        let (server, state) = (server.to_owned(), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    continue;
                };
                let (server, state) = (server.clone(), Arc::clone(&state));
                tokio::spawn(async move {
                    state.open.fetch_add(1, Ordering::SeqCst);
                    // An end of either side is the end of the relayed connection.
                    let _ = relay(client, &server, &state).await;
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Relay { port, shared, task })
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on this goes wrong.
    pub(super) fn arm(&self, fault: Fault) {
        *self.shared.state() = State {
            fault: Some(fault),
            ..State::default()
        };
    }

    /// Everything works again. Whether the fault struck.
    pub(super) fn disarm(&self) -> bool {
        let before = std::mem::take(&mut *self.shared.state());
        if let (Some(fault), true) = (before.fault, before.struck) {
            let mut struck = self
                .shared
                .struck
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *struck.entry(fault.name()).or_default() += 1;
        }
        before.struck
    }

    /// Bytes to and from the server so far.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (
            self.shared.up.load(Ordering::Relaxed),
            self.shared.down.load(Ordering::Relaxed),
        )
    }

    /// How often each kind of fault struck.
    pub(super) fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.shared
            .struck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until no connection is open: nothing that a dead process has sent is still on its way.
    pub(super) async fn drained(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.shared.open.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(mut client: TcpStream, server: &str, shared: &Shared) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut lose = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let bytes = match read? { 0 => return Ok(()), count => &up[..count] };
                let verdict = shared.state().request(bytes, Instant::now(), &mut lose);
                let pass = match verdict {
                    Verdict::Pass => bytes,
                    Verdict::Delay(time) => { tokio::time::sleep(time).await; bytes }
                    Verdict::Cut(count) => &bytes[..count],
                    Verdict::Overloaded => {
                        client.write_all(OVERLOADED).await?;
                        return client.shutdown().await;
                    }
                };
                server.write_all(pass).await?;
                shared.up.fetch_add(pass.len() as u64, Ordering::Relaxed);
                if let Verdict::Cut(_) = verdict {
                    return reset(&client, &server);
                }
            }
            read = server.read(&mut down) => {
                let bytes = match read? { 0 => return Ok(()), count => &down[..count] };
                let verdict = shared.state().reply(bytes, Instant::now(), lose);
                let pass = match verdict {
                    Verdict::Delay(time) => { tokio::time::sleep(time).await; bytes }
                    Verdict::Cut(count) => &bytes[..count],
                    _ => bytes,
                };
                client.write_all(pass).await?;
                shared.down.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if let Verdict::Cut(_) = verdict {
                    return reset(&client, &server);
                }
            }
        }
    }
}

/// Both sides see a reset, not an orderly end.
fn reset(client: &TcpStream, server: &TcpStream) -> std::io::Result<()> {
    client.set_zero_linger()?;
    server.set_zero_linger()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn faults_strike_where_they_are_told_to() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut lose = false;
        let armed = |fault| State {
            fault: Some(fault),
            ..State::default()
        };

        let mut state = armed(Fault::CutRequest {
            after: 12,
            down: second,
        });
        assert_eq!(state.request(b"GET /12345", now, &mut lose), Verdict::Pass);
        assert!(!state.struck);
        assert_eq!(state.request(b"67890", now, &mut lose), Verdict::Cut(2));
        assert_eq!(state.request(b"GET /", now, &mut lose), Verdict::Cut(0));
        assert_eq!(
            state.request(b"GET /", now + second, &mut lose),
            Verdict::Pass
        );
        assert!(state.struck);

        let mut state = armed(Fault::LoseReply { request: 2 });
        for bytes in [&b"PUT /a"[..], b"GET /b", b"body"] {
            assert_eq!(state.request(bytes, now, &mut lose), Verdict::Pass);
            assert!(!lose);
        }
        assert_eq!(state.request(b"DELETE /a", now, &mut lose), Verdict::Pass);
        assert!(lose);
        assert_eq!(state.reply(b"HTTP/1.1 204", now, lose), Verdict::Cut(0));

        let mut lose = false;
        let mut state = armed(Fault::Overload {
            request: 1,
            lasts: second,
        });
        assert_eq!(state.request(b"GET /", now, &mut lose), Verdict::Overloaded);
        assert_eq!(
            state.request(b"GET /", now + second, &mut lose),
            Verdict::Pass
        );
    }

    #[test]
    fn the_answer_of_an_overloaded_server_is_as_long_as_it_says() {
        let text = std::str::from_utf8(OVERLOADED).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
