//! What a seed chooses: who takes part, and which faults there are at which rate.
//!
//! Each seed has some kinds of faults and not the others, at very different rates: a run in which everything happens all
//! the time never gets far enough to reach the rare states.

use super::network::{Fault, Tampering, Weather};
use super::rng::Rng;

/// One simulation.
#[derive(Clone, Debug)]
pub struct Settings {
    pub slots: usize,
    pub hosts: usize,
    pub operations: u64,
    /// Requests have the time limits of a bucket behind a network.
    pub limits: bool,
    /// Probability that a process dies during an operation.
    pub crashes: f64,
    /// Probability that an operation is cancelled by its own process, which then ends its sessions and goes on.
    pub cancels: f64,
    /// Largest difference of a process's clock from the bucket's, ms; a clock jumps while its process stands still.
    pub skew_ms: u64,
    /// Pause between two operations of a slot, at most, ms.
    pub think_ms: u64,
    /// Values of several MiB.
    pub big: bool,
    /// Processes remember the newest epoch that their host has seen.
    pub remembers: bool,
    /// Probability that the machine of a backup sleeps for longer than a session lives without a sign.
    pub sleeps: f64,
    /// How often a prune is one with `--now`.
    pub now: f64,
    /// How often each operation is chosen.
    pub weights: Vec<(Kind, u64)>,
    pub weather: Weather,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Backup,
    Restore,
    Verify,
    Repair,
    Prune,
    Plan,
    Forget,
    Undelete,
    List,
    Rotate,
}

impl Settings {
    pub fn choose(rng: &mut Rng, tampering: Option<Tampering>) -> Settings {
        // One in six without any fault: then everything must succeed.
        let calm = rng.chance(1.0 / 6.0);
        let mut rates = Vec::new();
        if !calm {
            for fault in Fault::ALL {
                let rate = *rng
                    .pick(&[0.0, 0.0, 0.001, 0.005, 0.02, 0.08])
                    .unwrap_or(&0.0);
                let most = match fault {
                    Fault::Torn | Fault::Flipped | Fault::Pause | Fault::Stall => 0.01,
                    _ => 1.0,
                };
                if fault != Fault::ListChoice && rate > 0.0 {
                    rates.push((fault, f64::min(rate, most)));
                }
            }
        }
        // Who repairs believes what it reads twice, so it repairs where nothing is garbled on the way.
        let garbles = |(fault, _): &(Fault, f64)| matches!(fault, Fault::Torn | Fault::Flipped);
        let repairs = u64::from(!rates.iter().any(garbles));
        let weight = |rng: &mut Rng, most| rng.between(0, most);
        let weights = vec![
            (Kind::Backup, 6 + weight(rng, 8)),
            (Kind::Restore, 1 + weight(rng, 4)),
            (Kind::Verify, weight(rng, 2)),
            (Kind::Repair, weight(rng, repairs)),
            (Kind::Prune, 2 + weight(rng, 6)),
            (Kind::Plan, weight(rng, 1)),
            (Kind::Forget, 1 + weight(rng, 5)),
            (Kind::Undelete, weight(rng, 3)),
            (Kind::List, weight(rng, 1)),
            (Kind::Rotate, weight(rng, 1)),
        ];
        // Others must be at work meanwhile, for hours, and leave what it wrote.
        let sleeps = match calm {
            true => 0.0,
            false => *rng.pick(&[0.0, 0.0, 0.3]).unwrap_or(&0.0),
        };
        let high = *rng.pick(&[5, 50, 500, 4_000]).unwrap_or(&50);
        Settings {
            slots: rng.between(2, 6) as usize,
            hosts: rng.between(1, 3) as usize,
            operations: rng.spread(12, 60),
            limits: rng.chance(0.5),
            crashes: match calm {
                true => 0.0,
                false => *rng.pick(&[0.0, 0.05, 0.2, 0.4]).unwrap_or(&0.0),
            },
            cancels: *rng.pick(&[0.0, 0.0, 0.05, 0.2]).unwrap_or(&0.0),
            sleeps,
            now: match sleeps > 0.0 {
                true => 0.2,
                false => 0.8,
            },
            skew_ms: match calm {
                true => 0,
                false => *rng.pick(&[0, 0, 60_000, 3 * 3_600_000]).unwrap_or(&0),
            },
            think_ms: match sleeps > 0.0 {
                true => 3_600_000,
                false => *rng.pick(&[10, 1_000, 60_000, 3_600_000]).unwrap_or(&0),
            },
            big: rng.chance(0.05),
            remembers: rng.chance(0.3),
            weights,
            weather: Weather {
                latency: (1, high),
                rates,
                tampering,
                room: None,
            },
        }
    }

    /// Some buckets are disks, with room for little more than what is in them. Their own generator keeps what other seeds mean.
    pub fn on_a_disk(mut self, seed: u64) -> Settings {
        let mut rng = Rng::new(seed ^ 0x0064_6973_6b00);
        if rng.chance(0.15) {
            self.weather.room = Some(rng.spread(10_000, 4_000_000));
        }
        self
    }

    pub fn kind(&self, rng: &mut Rng) -> Kind {
        let total: u64 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.between(1, total);
        for (kind, weight) in &self.weights {
            if left <= *weight {
                return *kind;
            }
            left -= weight;
        }
        Kind::Backup
    }
}
