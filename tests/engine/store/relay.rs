//! A relay in front of a server that fails on demand. It passes bytes on, so an HTTP server that
//! accepts absolute addresses, as MinIO does, makes a proxy of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PASS: u32 = 0;
const REFUSE: u32 = 1;
const STALL: u32 = 2;
const SWALLOW: u32 = 3;

/// A running relay; it ends with the test's runtime.
pub struct Relay {
    port: u16,
    mode: Arc<AtomicU32>,
}

impl Relay {
    /// Starts a relay to `server` (`127.0.0.1:port`).
    pub async fn to(server: &str) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU32::new(PASS));
        let shared = Arc::clone(&mode);
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server.clone(), Arc::clone(&shared)));
            }
        });
        Relay { port, mode }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything works.
    pub fn pass(&self) {
        self.mode.store(PASS, Ordering::SeqCst);
    }

    /// Connections break at once.
    pub fn refuse(&self) {
        self.mode.store(REFUSE, Ordering::SeqCst);
    }

    /// Requests are taken and never answered.
    pub fn stall(&self) {
        self.mode.store(STALL, Ordering::SeqCst);
    }

    /// The next request reaches the server, its reply is lost.
    pub fn swallow_next_reply(&self) {
        self.mode.store(SWALLOW, Ordering::SeqCst);
    }
}

async fn relay(mut client: TcpStream, server: String, mode: Arc<AtomicU32>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                match mode.load(Ordering::SeqCst) {
                    REFUSE => return,
                    STALL => continue,
                    _ => {}
                }
                if server.write_all(&up[..count]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                let swallow =
                    mode.compare_exchange(SWALLOW, PASS, Ordering::SeqCst, Ordering::SeqCst);
                if swallow.is_ok() || client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
