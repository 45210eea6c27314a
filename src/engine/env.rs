//! What the engine takes from its surroundings: time, randomness, the CPU pool and the identity of the process.
//!
//! They are parameters so that a test can run the engine with a seed and a fake clock: one seed, one execution.

use std::future::Future;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ark_format::SessionId;
use ark_format::seal::SALT;

use crate::Error;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Unix time in ms. Used for display and liveness, never for safety.
    fn now_ms(&self) -> i64;
}

/// Gives random bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes` from a cryptographically secure source.
    fn fill(&self, bytes: &mut [u8]);
}

/// Where CPU work runs.
#[derive(Clone)]
pub enum Pool {
    /// On the calling thread, at once: simulation.
    Inline,
    /// On a sized thread pool, so that async threads never block.
    Rayon(Arc<rayon::ThreadPool>),
}

impl Pool {
    /// Runs `work` and waits for its value.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'static {
        let (send, receive) = tokio::sync::oneshot::channel();
        match self {
            Pool::Inline => {
                let _ = send.send(work());
            }
            Pool::Rayon(pool) => pool.spawn(move || {
                let _ = send.send(work());
            }),
        }
        async move { receive.await.map_err(|_| Error::Stopped) }
    }

    /// How many pieces of work run at once.
    pub fn width(&self) -> usize {
        match self {
            Pool::Inline => 1,
            Pool::Rayon(pool) => pool.current_num_threads(),
        }
    }
}

/// Which process this is, so that a prune on the same host can tell that a session's process is dead.
pub trait Host: Send + Sync {
    /// The host's name, for people.
    fn name(&self) -> String;
    /// This process: unique among all processes of this host since it booted.
    fn process(&self) -> String;
    /// Whether that process still runs; `None` if it is of another host, boot or PID namespace.
    fn alive(&self, process: &str) -> Option<bool>;
}

/// The surroundings of an engine. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// CPU work.
    pub pool: Pool,
    /// This process.
    pub host: Arc<dyn Host>,
}

impl Env {
    /// The real surroundings, with a pool of `threads` threads.
    ///
    /// # Errors
    /// If the operating system cannot start the threads.
    pub fn system(threads: usize) -> Result<Env, Error> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|n| format!("ark-cpu-{n}"))
            .build()
            .map_err(|e| Error::Threads(e.to_string()))?;
        Ok(Env {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            pool: Pool::Rayon(Arc::new(pool)),
            host: Arc::new(LinuxHost),
        })
    }

    /// A fresh salt.
    pub fn salt(&self) -> [u8; SALT] {
        self.bytes()
    }

    /// Fresh random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A fresh session id.
    pub fn session_id(&self) -> SessionId {
        SessionId::new(self.clock.now_ms().max(0) as u64, self.bytes())
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64)
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // A failing system RNG leaves no safe way to go on; aws-lc aborts by itself before it returns an error.
        if aws_lc_rs::rand::fill(bytes).is_err() {
            std::process::abort();
        }
    }
}

/// Identity by boot id, PID namespace, PID and start time, all from procfs.
struct LinuxHost;

impl LinuxHost {
    fn place() -> Option<String> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{}/{}", boot.trim(), namespace.display()))
    }

    fn start_time(pid: &str) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name stands in parentheses and may hold anything; fields are counted from behind it.
        let fields = stat.rsplit_once(')')?.1;
        if fields.trim_start().starts_with('Z') {
            return None;
        }
        fields.split_whitespace().nth(19).map(str::to_owned)
    }
}

impl Host for LinuxHost {
    fn name(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| String::new(), |n| n.trim().to_owned())
    }

    fn process(&self) -> String {
        let pid = std::process::id().to_string();
        match (Self::place(), Self::start_time(&pid)) {
            (Some(place), Some(start)) => format!("{place}/{pid}/{start}"),
            _ => String::new(),
        }
    }

    fn alive(&self, process: &str) -> Option<bool> {
        let (rest, start) = process.rsplit_once('/')?;
        let (place, pid) = rest.rsplit_once('/')?;
        if Self::place()? != place {
            return None;
        }
        Some(Self::start_time(pid).as_deref() == Some(start))
    }
}
