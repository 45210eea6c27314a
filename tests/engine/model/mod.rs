//! The prune protocol "pin, condemn, drop" as an explicit-state model.
//!
//! The model has the keys of the repository and the requests of the protocol, and nothing else. Every interleaving of
//! a small run is explored; larger runs are walked at random from a fixed seed. In every state three things hold:
//! every backup that somebody was told of can be read in full; every pack that an open session relies on is there;
//! and if everything stopped now and lost its deletes, two transitions would leave only packs in use, and a third one
//! only objects in use. Each rule of the protocol is also left out once, and then a counterexample must be found.
//!
//! The chapter `docs/src/internals/prune-protocol.md` argues why the rules suffice, and says what is not modelled.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod machine;
mod reader;
mod repository;
mod rules;
mod start;
mod transition;

use machine::{PrunerPlan, Run, WriterPlan};
use rstest::rstest;
use rules::Mutant;
use start::Start;
use stateright::{Checker, HasDiscoveries, Model, UniformChooser};

/// Chunks by name: a run has two.
const A: u8 = 0b01;
const B: u8 = 0b10;

fn writer(wants: u8, attempts: u8) -> WriterPlan {
    WriterPlan { wants, attempts }
}

fn pruner(rounds: u8) -> PrunerPlan {
    PrunerPlan {
        rounds,
        repack: false,
        lenient: 0,
    }
}

/// Leaves what fenced sessions left, but for its last transition.
fn lenient(rounds: u8) -> PrunerPlan {
    PrunerPlan {
        lenient: rounds - 1,
        ..pruner(rounds)
    }
}

fn repacker(rounds: u8) -> PrunerPlan {
    PrunerPlan {
        repack: true,
        ..pruner(rounds)
    }
}

/// A run on a repository with one backup of chunk A, whose pack holds a dead chunk B as well.
fn run(writers: &[WriterPlan], pruners: &[PrunerPlan]) -> Run {
    Run {
        writers: writers.to_vec(),
        pruners: pruners.to_vec(),
        first: A,
        stored: A | B,
        readers: 0,
        start: Start::Listed,
        forgettable: 0b1,
        undo: false,
        late_creates: false,
        late_deletes: false,
        reclaim: true,
        mutant: None,
    }
}

/// Fails with the shortest way to a broken promise, if there is one.
fn assert_sound(checker: &impl Checker<Run>) {
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        let last = path.last_state().repository;
        panic!(
            "not always: {property}\n{last:?}\n{:?}",
            path.into_actions()
        );
    }
}

/// The chapter that argues the protocol, with what was explored and what breaks without each rule.
const CHAPTER: &str = include_str!("../../../docs/src/internals/prune-protocol.md");

/// The row of a table in the chapter whose first cell is this.
fn row(name: &str) -> Option<Vec<&'static str>> {
    let rows = CHAPTER.lines().filter(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .find(|cells: &Vec<&str>| cells.first() == Some(&name))
}

/// 1234567 → 1,234,567
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Explores every state, and holds the chapter to their number.
fn assert_exhaustively_sound(name: &str, run: Run) {
    let checker = run
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    assert!(checker.is_done());
    assert_sound(&checker);
    let states = grouped(checker.unique_state_count());
    println!("{name}: {states} states, depth {}", checker.max_depth());
    assert_eq!(
        row(name).and_then(|cells| cells.get(2).copied()),
        Some(states.as_str()),
        "the chapter's table of runs"
    );
}

#[rstest]
#[case::fenced_writer_retries("fenced writer retries", Run { forgettable: 0b111, ..run(&[writer(A | B, 2)], &[pruner(3)]) })]
#[case::two_writers("two writers", Run { late_creates: true, ..run(&[writer(A | B, 1), writer(B, 1)], &[pruner(2)]) })]
#[case::two_pruners("two pruners", run(&[writer(B, 1)], &[pruner(2), pruner(1)]))]
#[case::repack("repack", run(&[writer(A | B, 1)], &[repacker(3)]))]
#[case::fenced_repack("fenced repack", run(&[writer(B, 1)], &[repacker(1), pruner(1)]))]
#[case::late_creates("late creates", Run { late_creates: true, ..run(&[writer(A | B, 2)], &[repacker(2)]) })]
#[case::adoption("adoption", Run { stored: A, late_creates: true, ..run(&[writer(B, 1), writer(B, 1)], &[pruner(2)]) })]
#[case::a_fenced_writer_adopts("a fenced writer adopts", Run { stored: A, forgettable: 0b111, ..run(&[writer(B, 2)], &[lenient(3)]) })]
#[case::undelete("undelete", Run { first: A | B, undo: true, ..run(&[writer(B, 1)], &[pruner(4)]) })]
#[case::undelete_of_two("undelete of two", Run { undo: true, forgettable: 0b11, ..run(&[writer(A | B, 1)], &[pruner(2)]) })]
#[case::reinstated("reinstated", Run { start: Start::Condemned, stored: A, ..run(&[writer(A, 1)], &[pruner(1), pruner(1)]) })]
#[case::adopted("adopted", Run { start: Start::Adopted, late_creates: true, late_deletes: true, stored: A,
    ..run(&[writer(A, 1)], &[lenient(4)]) })]
#[case::reader("reader", Run { readers: 1, undo: true, forgettable: 0b11, ..run(&[writer(A | B, 1)], &[pruner(2)]) })]
#[case::reader_of_a_new_backup("reader of a new backup", Run { readers: 1, undo: true, start: Start::Fresh, ..run(&[], &[pruner(4)]) })]
#[case::reader_of_what_is_condemned("reader of what is condemned", Run { readers: 1, start: Start::Condemned,
    ..run(&[], &[pruner(2), pruner(1)]) })]
#[case::reader_beside_a_repack("reader beside a repack", Run { readers: 1, ..run(&[], &[repacker(2), pruner(1)]) })]
fn protocol_is_sound(#[case] name: &str, #[case] run: Run) {
    assert_exhaustively_sound(name, run);
}

/// `cargo test -p ark-engine --release --test engine model -- --ignored --nocapture` takes minutes and 4 GiB.
#[rstest]
#[case::two_writers("two writers, larger", run(&[writer(A | B, 1), writer(B, 1)], &[pruner(3)]))]
#[case::adoption("adoption, larger", Run { stored: A, late_creates: true, ..run(&[writer(B, 1), writer(B, 1)], &[pruner(3)]) })]
#[case::lenient_and_not("lenient and not", Run { start: Start::Left, stored: A, late_creates: true, late_deletes: true,
    ..run(&[writer(B, 1)], &[lenient(2), pruner(1)]) })]
#[case::adoption_from_a_lenient_pruner("adoption from a lenient pruner", Run { start: Start::Left, stored: A, late_creates: true, late_deletes: true,
    ..run(&[writer(B, 1), writer(B, 1)], &[lenient(3)]) })]
#[case::lenient_and_not_whole("lenient and not, whole", Run { stored: A, ..run(&[writer(B, 2)], &[lenient(2), pruner(1)]) })]
#[case::adoption_from_a_lenient_pruner_whole("adoption from a lenient pruner, whole",
    Run { stored: A, late_creates: true, ..run(&[writer(B, 2), writer(B, 1)], &[lenient(3)]) })]
#[case::reader_of_a_new_backup("reader of a new backup, larger", Run { readers: 1, undo: true, start: Start::Fresh,
    ..run(&[], &[pruner(3), pruner(1)]) })]
#[case::reader_of_what_is_condemned("reader of what is condemned, larger", Run { readers: 1, undo: true, start: Start::Condemned,
    ..run(&[], &[pruner(3), pruner(1)]) })]
#[case::reader_beside_a_repack("reader beside a repack, larger", Run { readers: 1, ..run(&[], &[repacker(3), pruner(1)]) })]
#[case::reader_and_two_pruners("reader and two pruners, larger", Run { readers: 1, forgettable: 0b11,
    ..run(&[writer(A | B, 1)], &[pruner(2), pruner(1)]) })]
#[case::reader_and_retry("reader and a retry, larger", Run { readers: 1, forgettable: 0b111, ..run(&[writer(A | B, 2)], &[pruner(3)]) })]
#[case::two_pruners("two pruners, larger", run(&[writer(A | B, 1)], &[pruner(2), pruner(2)]))]
#[case::two_pruners_and_a_retry("two pruners and a retry, larger", Run { late_creates: true, ..run(&[writer(A | B, 2)], &[pruner(2), pruner(1)]) })]
#[case::repack("repack, larger", run(&[writer(B, 1)], &[repacker(2), pruner(1)]))]
#[case::reinstated("reinstated, larger", Run { start: Start::Condemned, ..run(&[writer(A | B, 1), writer(A, 1)], &[pruner(2)]) })]
#[case::stale_pruner("stale pruner, larger", Run { first: 0, stored: A, forgettable: 0b10,
    ..run(&[writer(A, 1), writer(A, 1)], &[pruner(2), pruner(1)]) })]
#[ignore = "takes minutes, and is for a release build"]
fn protocol_is_sound_in_larger_runs(#[case] name: &str, #[case] run: Run) {
    assert_exhaustively_sound(name, run);
}

#[rstest]
#[case::retries(run(&[writer(A | B, 2), writer(B, 2)], &[repacker(4), pruner(3)]))]
#[case::three_writers(run(&[writer(A | B, 1), writer(B, 1), writer(A, 1)], &[repacker(4), repacker(3)]))]
#[case::adoption(Run { readers: 1, ..run(&[writer(A | B, 2), writer(B, 2)], &[lenient(4), lenient(3)]) })]
#[case::reader(Run { readers: 1, start: Start::Fresh, ..run(&[writer(A | B, 2)], &[repacker(4), lenient(3)]) })]
fn protocol_is_sound_in_random_walks(#[case] run: Run) {
    let run = Run {
        undo: true,
        late_creates: true,
        late_deletes: true,
        forgettable: 0b11_1111,
        ..run
    };
    let checker = run
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(200_000)
        .spawn_simulation(7, UniformChooser)
        .join();
    assert_sound(&checker);
}

/// A run in which a mutant has room to fail.
fn run_that_breaks(mutant: Mutant) -> Run {
    let one_writer = run(&[writer(A | B, 1)], &[pruner(3)]);
    let new_chunk = Run {
        stored: A,
        ..run(&[writer(B, 1), writer(B, 1)], &[pruner(2)])
    };
    let condemned = Run {
        start: Start::Condemned,
        stored: A,
        ..run(&[writer(A, 1)], &[pruner(1), pruner(1)])
    };
    let run = match mutant {
        Mutant::ReuseCondemned
        | Mutant::StalePin
        | Mutant::NoConfirm
        | Mutant::ManifestsBeforeSessions
        | Mutant::SegmentsAfterSessions
        | Mutant::NoFence
        | Mutant::FenceElsewhere
        | Mutant::NoQuiescence
        | Mutant::EntriesDroppedEarly
        | Mutant::FenceDeletedAboveWatermark
        | Mutant::WatermarkAhead => one_writer,
        Mutant::HeadBeforeListing | Mutant::AdoptRetired | Mutant::PackNamesReused => new_chunk,
        Mutant::TrustUnmarkedParent | Mutant::ForgetInvalidatesSegments => Run {
            forgettable: 0b10,
            ..new_chunk
        },
        Mutant::EpochOverwritten => condemned,
        Mutant::DeleteBeforePublish => Run {
            pruners: vec![pruner(3), pruner(1)],
            ..condemned
        },
        Mutant::StubsDeleted => Run {
            stored: A,
            ..run(&[writer(A, 1)], &[pruner(2), pruner(1)])
        },
        Mutant::WatermarkGoesBack => Run {
            stored: A,
            forgettable: 0,
            ..run(&[writer(B, 1), writer(B, 1)], &[pruner(3)])
        },
        Mutant::UndoWithoutEpoch => Run {
            undo: true,
            ..run(&[], &[pruner(3)])
        },
        Mutant::SegmentsDeletedBeforePublish => run(&[], &[repacker(1), pruner(1)]),
        Mutant::RepackDropsAtOnce => run(&[writer(A | B, 1)], &[repacker(2)]),
        Mutant::NoReaderPin => Run {
            readers: 1,
            ..run(&[], &[pruner(2)])
        },
        Mutant::ForgottenStaysListed => Run {
            readers: 1,
            start: Start::Fresh,
            ..run(&[], &[pruner(2)])
        },
        Mutant::UnlistedDroppedAtOnce => Run {
            readers: 1,
            start: Start::Condemned,
            ..run(&[], &[pruner(1)])
        },
        Mutant::LeftAfterAdoption => Run {
            start: Start::Adopted,
            stored: A,
            late_creates: true,
            late_deletes: true,
            ..run(&[writer(A, 1)], &[lenient(4)])
        },
    };
    Run {
        mutant: Some(mutant),
        reclaim: false,
        ..run
    }
}

#[rstest]
#[case::reuse_condemned(Mutant::ReuseCondemned)]
#[case::trust_unmarked_parent(Mutant::TrustUnmarkedParent)]
#[case::stale_pin(Mutant::StalePin)]
#[case::head_before_listing(Mutant::HeadBeforeListing)]
#[case::adopt_retired(Mutant::AdoptRetired)]
#[case::no_confirm(Mutant::NoConfirm)]
#[case::pack_names_reused(Mutant::PackNamesReused)]
#[case::manifests_before_sessions(Mutant::ManifestsBeforeSessions)]
#[case::segments_after_sessions(Mutant::SegmentsAfterSessions)]
#[case::no_fence(Mutant::NoFence)]
#[case::fence_elsewhere(Mutant::FenceElsewhere)]
#[case::no_quiescence(Mutant::NoQuiescence)]
#[case::epoch_overwritten(Mutant::EpochOverwritten)]
#[case::stubs_deleted(Mutant::StubsDeleted)]
#[case::delete_before_publish(Mutant::DeleteBeforePublish)]
#[case::segments_deleted_before_publish(Mutant::SegmentsDeletedBeforePublish)]
#[case::forget_invalidates_segments(Mutant::ForgetInvalidatesSegments)]
#[case::entries_dropped_early(Mutant::EntriesDroppedEarly)]
#[case::fence_deleted_above_watermark(Mutant::FenceDeletedAboveWatermark)]
#[case::watermark_ahead(Mutant::WatermarkAhead)]
#[case::watermark_goes_back(Mutant::WatermarkGoesBack)]
#[case::undo_without_epoch(Mutant::UndoWithoutEpoch)]
#[case::repack_drops_at_once(Mutant::RepackDropsAtOnce)]
#[case::no_reader_pin(Mutant::NoReaderPin)]
#[case::forgotten_stays_listed(Mutant::ForgottenStaysListed)]
#[case::unlisted_dropped_at_once(Mutant::UnlistedDroppedAtOnce)]
#[case::left_after_adoption(Mutant::LeftAfterAdoption)]
fn every_rule_is_needed(#[case] mutant: Mutant) {
    // One thread, so that the counterexample is a shortest one.
    let checker = run_that_breaks(mutant)
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut found: Vec<_> = checker.discoveries().into_iter().collect();
    found.sort_by_key(|(property, _)| *property);
    assert!(
        !found.is_empty(),
        "no counterexample: the rule is not needed, or not modelled"
    );
    for (property, path) in found {
        println!(
            "{mutant:?}: {property}, {} steps",
            path.into_actions().len()
        );
    }
    assert!(
        row(&format!("`{mutant:?}`")).is_some(),
        "the chapter's table of mutants"
    );
}

/// Rules that are there for writers, and without which a reader is cut off as well.
#[rstest]
#[case::stale_pin(Mutant::StalePin, pruner(3))]
#[case::no_quiescence(Mutant::NoQuiescence, pruner(2))]
#[case::repack_drops_at_once(Mutant::RepackDropsAtOnce, repacker(1))]
#[case::no_reader_pin(Mutant::NoReaderPin, pruner(2))]
fn readers_need_it(#[case] mutant: Mutant, #[case] pruner: PrunerPlan) {
    let run = Run {
        readers: 1,
        reclaim: false,
        mutant: Some(mutant),
        ..run(&[], &[pruner])
    };
    let checker = run
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyOf(["readers read"].into()))
        .spawn_bfs()
        .join();
    assert!(checker.discovery("readers read").is_some());
}
