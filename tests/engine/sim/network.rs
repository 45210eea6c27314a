//! The bucket, the network before it, and what goes wrong with both.
//!
//! A request travels to the bucket, takes effect there at one moment, and its answer travels back; each way takes a
//! seeded time, which is what makes the interleaving of processes a function of the seed. The bucket keeps the promises
//! that the engine builds on (`docs/src/internals/prune-protocol.md`, "What it builds on") and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ark_format::layout;
use bytes::Bytes;
use tokio::time::Instant;

use super::rng::Rng;

/// Unix ms at the start of every simulation.
pub const START_MS: i64 = 1_800_000_000_000;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Put,
    Get,
    List,
    Delete,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The request is lost: no effect.
    ErrorBefore,
    /// The effect happens, the answer is lost.
    LostReply,
    /// "Exists" is answered, although nothing is there and nothing was written (S3's 409 among concurrent writers).
    Conflict409,
    /// The library repeats a write whose answer was lost, and is told that the object exists.
    Exists412,
    Throttled429,
    Unavailable503,
    /// One way takes very long.
    Stall,
    /// The caller is told of an error; the effect happens up to 40 minutes later.
    Late,
    /// The effect happens a second time, up to 40 minutes later.
    Duplicate,
    /// A body that ends early.
    Torn,
    /// A body with a flipped bit.
    Flipped,
    /// The whole process stands still, up to an hour and a half.
    Pause,
    /// A listing in which an object that came or went meanwhile was shown or left out: no error, a choice.
    ListChoice,
    /// The bucket is a disk, and it is full.
    Full,
}

impl Fault {
    pub const ALL: [Fault; 13] = [
        Fault::ErrorBefore,
        Fault::LostReply,
        Fault::Conflict409,
        Fault::Exists412,
        Fault::Throttled429,
        Fault::Unavailable503,
        Fault::Stall,
        Fault::Late,
        Fault::Duplicate,
        Fault::Torn,
        Fault::Flipped,
        Fault::Pause,
        Fault::ListChoice,
    ];

    fn hits(self, op: Op) -> bool {
        match self {
            Fault::ErrorBefore
            | Fault::Throttled429
            | Fault::Unavailable503
            | Fault::Stall
            | Fault::Pause => true,
            Fault::LostReply | Fault::Late | Fault::Duplicate => {
                matches!(op, Op::Put | Op::Delete)
            }
            Fault::Conflict409 | Fault::Exists412 => op == Op::Put,
            Fault::Torn | Fault::Flipped => op == Op::Get,
            Fault::ListChoice | Fault::Full => false,
        }
    }

    /// Whether the process that it hits may fail because of it.
    pub fn excuses(self) -> bool {
        !matches!(self, Fault::Duplicate | Fault::ListChoice)
    }
}

/// How a bucket breaks its promises: what the simulation must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// A create replaces what is there.
    OverwritesOnCreate,
    /// Now and then a pack is gone.
    LosesPacks,
    /// Listings do not show pins.
    HidesPins,
    /// An acknowledged commit is not there.
    ForgetsCommits,
}

/// What the seed says about the network.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Ms of one way, at least and at most.
    pub latency: (u64, u64),
    /// Probability a request, of each fault.
    pub rates: Vec<(Fault, f64)>,
    /// Broken promises.
    pub tampering: Option<Tampering>,
    /// The bucket is a disk with room for so many bytes.
    pub room: Option<u64>,
}

/// What was done and went wrong.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    pub faults: BTreeMap<Fault, u64>,
}

#[derive(Clone, Debug)]
pub struct Stored {
    pub bytes: Bytes,
    pub modified_ms: i64,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    pub there: Duration,
    pub work: Duration,
    pub back: Duration,
    pub fault: Option<Fault>,
    /// When a late or second effect comes, after the first one.
    pub later: Duration,
    /// If the process dies meanwhile, the request takes effect all the same.
    pub survives: bool,
    /// Which error, which byte.
    pub detail: u64,
}

impl Fate {
    /// Whether the library stops repeating a request that the bucket answers with "later".
    pub fn gives_up(&self) -> bool {
        gives_up(self.detail)
    }
}

fn gives_up(detail: u64) -> bool {
    detail.is_multiple_of(4)
}

pub struct State {
    pub objects: BTreeMap<String, Stored>,
    pub weather: Weather,
    pub faults_on: bool,
    /// Bytes for which there is room.
    pub room: Option<u64>,
    pub tally: Tally,
    /// Processes that run, for those of the same host.
    pub running: BTreeSet<String>,
    /// Requests and late effects under way.
    pub under_way: usize,
    /// What must never happen in the bucket, and did.
    pub breach: Option<String>,
    rng: Rng,
    trace: blake3::Hasher,
    show: bool,
}

/// The network: clones are the same one.
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
    start: Instant,
}

impl Network {
    pub fn new(rng: Rng, weather: Weather, show: bool) -> Network {
        Network {
            state: Arc::new(Mutex::new(State {
                objects: BTreeMap::new(),
                weather,
                faults_on: false,
                room: None,
                tally: Tally::default(),
                running: BTreeSet::new(),
                under_way: 0,
                breach: None,
                rng,
                trace: blake3::Hasher::new(),
                show,
            })),
            start: Instant::now(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The bucket's clock.
    pub fn now_ms(&self) -> i64 {
        START_MS + self.start.elapsed().as_millis() as i64
    }

    /// Forgets what was traced and counted so far: the set-up is not part of an execution.
    pub fn begin(&self) {
        let mut state = self.state();
        state.trace = blake3::Hasher::new();
        state.tally = Tally::default();
        state.faults_on = true;
        state.room = state.weather.room;
    }

    pub fn calm(&self) {
        let mut state = self.state();
        state.faults_on = false;
        state.room = None;
    }

    /// Whether there is room for so many bytes.
    pub fn has_room(&self, bytes: usize) -> bool {
        let mut state = self.state();
        let fits = state.room.is_none_or(|room| bytes as u64 <= room);
        if !fits {
            *state.tally.faults.entry(Fault::Full).or_default() += 1;
        }
        fits
    }

    /// A hash of all that happened.
    pub fn trace(&self) -> String {
        self.state().trace.finalize().to_hex().to_string()
    }

    pub fn note(&self, who: &str, what: std::fmt::Arguments<'_>) {
        let now = self.now_ms() - START_MS;
        let mut state = self.state();
        let line = format!("{now:>9} {who:<8} {what}");
        state.trace.update(line.as_bytes());
        if state.show {
            eprintln!("{line}");
        }
    }

    /// Decides what becomes of a request.
    pub fn fate(&self, op: Op) -> Fate {
        let mut state = self.state();
        let state = &mut *state;
        state.tally.requests += 1;
        let (low, high) = state.weather.latency;
        let mut way = || Duration::from_millis(state.rng.spread(low, high));
        let (mut there, mut back, work) = (way(), way(), way());
        let mut fault = None;
        if state.faults_on {
            for (kind, rate) in &state.weather.rates {
                if kind.hits(op) && state.rng.chance(*rate) {
                    fault = Some(*kind);
                    break;
                }
            }
        }
        let detail = state.rng.next();
        let later = Duration::from_millis(state.rng.spread(50, 40 * 60_000));
        let survives = state.rng.chance(0.5);
        match fault {
            Some(Fault::Stall) => {
                let stall = Duration::from_millis(state.rng.spread(2_000, 70 * 60_000));
                match detail & 1 {
                    0 => there += stall,
                    _ => back += stall,
                }
            }
            // Mostly the library tries again by itself, and nobody hears of it.
            Some(Fault::Throttled429 | Fault::Unavailable503) if !gives_up(detail) => {
                there += Duration::from_millis(state.rng.spread(100, 20_000));
            }
            _ => {}
        }
        if let Some(fault) = fault {
            *state.tally.faults.entry(fault).or_default() += 1;
        }
        Fate {
            there,
            work,
            back,
            fault,
            later,
            survives,
            detail,
        }
    }

    /// Creates an object; whether it was absent.
    pub fn create(&self, key: &str, bytes: &Bytes) -> bool {
        let modified_ms = self.now_ms();
        let mut state = self.state();
        let tampering = state.weather.tampering.filter(|_| state.faults_on);
        if state.objects.contains_key(key) && tampering != Some(Tampering::OverwritesOnCreate) {
            return false;
        }
        if tampering == Some(Tampering::ForgetsCommits)
            && key.starts_with("manifests/")
            && bytes.len() > 100
        {
            return true;
        }
        let bytes = bytes.clone();
        state.room = state
            .room
            .map(|room| room.saturating_sub(bytes.len() as u64));
        let stored = Stored { bytes, modified_ms };
        state.objects.insert(key.to_owned(), stored);
        if tampering == Some(Tampering::LosesPacks) && state.rng.chance(0.05) {
            let pack = state
                .objects
                .keys()
                .find(|k| k.starts_with("packs/"))
                .cloned();
            pack.and_then(|pack| state.objects.remove(&pack));
        }
        true
    }

    pub fn delete(&self, key: &str) -> bool {
        let mut state = self.state();
        let Some(stored) = state.objects.remove(key) else {
            return false;
        };
        if let Some(room) = state.room {
            let mut freed = stored.bytes.len() as u64;
            if key == layout::RESERVE {
                // Something else on the disk may be faster.
                freed /= [1, 1, 4, 64][state.rng.below(4)];
            }
            state.room = Some(room + freed);
        }
        true
    }

    pub fn get(&self, key: &str) -> Option<Stored> {
        self.state().objects.get(key).cloned()
    }

    /// What is below a folder now.
    pub fn snapshot(&self, prefix: &str) -> BTreeMap<String, (u64, i64)> {
        self.state()
            .objects
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| (key.clone(), (stored.bytes.len() as u64, stored.modified_ms)))
            .collect()
    }

    /// What a listing shows that began at `before` and ended at `after`: all that was there all the time, and of the
    /// rest any part.
    pub fn listing(
        &self,
        mut before: BTreeMap<String, (u64, i64)>,
        after: BTreeMap<String, (u64, i64)>,
    ) -> Vec<(String, u64, i64)> {
        let mut state = self.state();
        let state = &mut *state;
        let mut shown: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        for (key, meta) in after {
            if before.remove(&key).is_some() || state.choose() {
                shown.insert(key, meta);
            }
        }
        for (key, meta) in before {
            if state.choose() {
                shown.insert(key, meta);
            }
        }
        let hides = state.weather.tampering == Some(Tampering::HidesPins) && state.faults_on;
        shown
            .into_iter()
            .filter(|(key, _)| !hides || !key.starts_with("sessions/"))
            .map(|(key, (size, modified))| (key, size, modified))
            .collect()
    }
}

impl State {
    fn choose(&mut self) -> bool {
        *self.tally.faults.entry(Fault::ListChoice).or_default() += 1;
        self.rng.chance(0.5)
    }
}
