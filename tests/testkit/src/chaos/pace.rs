//! Keeps the processes that this one starts and waits for within a share of the machine.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::arena::lock;

/// So many seconds of CPU may be used at once after a quiet time.
const BURST: f64 = 2.0;
/// Clock ticks a second in procfs, on every Linux.
const TICKS: f64 = 100.0;

/// A budget of CPU time.
pub(super) struct Pace {
    cores: f64,
    state: Mutex<State>,
}

struct State {
    at: Instant,
    used: f64,
    credit: f64,
}

impl Pace {
    /// So many cores on average.
    pub(super) fn new(cores: f64) -> Pace {
        Pace {
            cores,
            state: Mutex::new(State {
                at: Instant::now(),
                used: used(),
                credit: BURST,
            }),
        }
    }

    /// Waits until another process may be started.
    pub(super) async fn turn(&self) {
        while !self.may() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn may(&self) -> bool {
        let mut state = lock(&self.state);
        let (now, used) = (Instant::now(), used());
        let earned = now.duration_since(state.at).as_secs_f64() * self.cores;
        state.credit = (state.credit + earned - (used - state.used)).min(BURST);
        (state.at, state.used) = (now, used);
        state.credit > 0.0
    }
}

/// CPU seconds of all children that have ended.
pub(super) fn used() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold anything; the children's times are the 16th and 17th field.
    let fields = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields)
        .unwrap_or_default();
    let ticks = fields.split_whitespace().skip(13).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}
