//! The real engine on a deterministic runtime, against a bucket that fails in every way that a bucket may.
//!
//! One seed is one execution: who does what and when, which request fails how, which process dies at which request. The
//! runtime has one thread and its clock stands still while anything can run; all randomness comes from the seed. What
//! every backup must hold is predicted by a plain map (`world`). `docs/src/internals/testing.md` tells how to run more.

mod content;
mod ending;
mod network;
mod operations;
mod process;
pub mod rng;
mod run;
mod settings;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::network::{Fault, Tampering};
use self::run::run;

/// Seeds that found something, and what it was. A change of the engine changes what a seed does, so each bug has a test of
/// its own too.
const REGRESSIONS: [(u64, &str); 6] = [
    (
        52,
        "an undelete took a tombstone that a prune had just deleted for none",
    ),
    (
        1070,
        "a prune deleted the body of the epoch that it had just published",
    ),
    (
        1162,
        "a name was free because its claim was garbled on the way",
    ),
    (
        5_000_414,
        "a repair took what a prune had just removed for damage",
    ),
    (
        5_000_450,
        "a prune kept what it had marked before it reinstated a pack",
    ),
    (7, "who takes a backup back may find its name taken: no bug"),
];

/// At the very least, this many seeds must run in the time given.
const FEWEST: u64 = 5;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
    )
}

fn shows() -> bool {
    std::env::var_os("ARK_SIM_TRACE").is_some()
}

fn reproduce(seed: u64) -> String {
    format!(
        "ARK_SIM_SEED={seed} ARK_SIM_TRACE=1 cargo nextest run --workspace --test engine \
         -E 'test(=sim::one_seed)' --no-capture"
    )
}

fn check(seed: u64) -> run::Ended {
    let ended = run(seed, None, shows());
    if let Some(violation) = &ended.violation {
        panic!(
            "seed {seed}: {violation}\nreproduce it: {}",
            reproduce(seed)
        );
    }
    ended
}

/// Runs as many seeds as fit in the time given: `ARK_SIM_SECONDS` (20), from `ARK_SIM_FIRST` (1) on, `ARK_SIM_SEEDS` at
/// most.
#[test]
fn many_seeds() {
    let seconds = variable("ARK_SIM_SECONDS").unwrap_or(20);
    let first = variable("ARK_SIM_FIRST").unwrap_or(1);
    let most = variable("ARK_SIM_SEEDS").unwrap_or(u64::MAX);
    let keeps_on = std::env::var_os("ARK_SIM_KEEP_ON").is_some();
    let start = Instant::now();
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    let mut sum = world::Done::default();
    let (mut seeds, mut requests) = (0, 0);
    let mut failed = Vec::new();
    while seeds < most
        && (start.elapsed() < Duration::from_secs(seconds) || seeds < FEWEST.min(most))
    {
        let seed = first + seeds;
        let ended = run(seed, None, false);
        if let Some(violation) = &ended.violation {
            eprintln!(
                "seed {seed}: {violation}\nreproduce it: {}",
                reproduce(seed)
            );
            failed.push(seed);
            if !keeps_on {
                break;
            }
        }
        seeds += 1;
        requests += ended.tally.requests;
        for (fault, count) in ended.tally.faults {
            *faults.entry(fault).or_default() += count;
        }
        let done = ended.done;
        sum.operations += done.operations;
        sum.refused += done.refused;
        sum.crashes += done.crashes;
        sum.cancelled += done.cancelled;
        sum.commits += done.commits;
        sum.verified += done.verified;
        sum.reads += done.reads;
        sum.epochs += done.epochs;
        sum.packs_deleted += done.packs_deleted;
        sum.backups_removed += done.backups_removed;
        sum.repacked += done.repacked;
        sum.fenced += done.fenced;
        sum.went_on += done.went_on;
        sum.kept_bytes += done.kept_bytes;
        sum.repairs += done.repairs;
        sum.rotations += done.rotations;
    }
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    println!(
        "{seeds} seeds in {:.0} s, {:.0} a minute; {requests} requests\n{sum:#?}\nfaults: {faults:#?}",
        minutes * 60.0,
        seeds as f64 / minutes
    );
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    assert!(sum.commits >= seeds, "too little happens: {sum:?}");
}

/// Runs the seed `ARK_SIM_SEED` (1), and with `ARK_SIM_TRACE` shows every request.
#[test]
fn one_seed() {
    check(variable("ARK_SIM_SEED").unwrap_or(1));
}

#[test]
fn seeds_that_found_something() {
    for (seed, what) in REGRESSIONS {
        println!("{seed}: {what}");
        check(seed);
    }
}

/// The same seed is the same execution, to the last request and its time.
#[test]
fn a_seed_names_an_execution() {
    for seed in 1..=6 {
        let (one, two) = (run(seed, None, false), run(seed, None, false));
        assert_eq!(one.trace, two.trace, "seed {seed}");
        assert_ne!(one.trace, "");
        assert_ne!(one.trace, run(seed + 1000, None, false).trace);
    }
}

/// The simulation can fail: each promise of a bucket, broken, is noticed.
#[test]
fn broken_promises_are_noticed() {
    for tampering in [
        Tampering::OverwritesOnCreate,
        Tampering::LosesPacks,
        Tampering::HidesPins,
        Tampering::ForgetsCommits,
    ] {
        let found =
            (1..=150).find_map(|seed| Some((seed, run(seed, Some(tampering), false).violation?)));
        let (seed, violation) = found.unwrap_or_else(|| panic!("{tampering:?} goes unnoticed"));
        println!("{tampering:?}: seed {seed}: {violation}");
    }
}
