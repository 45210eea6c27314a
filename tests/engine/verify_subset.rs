//! Verifying in portions: what is read when, and what the journal keeps of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ark_engine::env::Clock;
use ark_engine::verify::Unwatched;
use ark_engine::{
    Env, OpenOptions, Portion, PruneOptions, Repository, VerifyMonitor, VerifyReport,
};

use crate::gate::{End, Gate, Op};
use crate::roundtrip::{backup, env, items, new_repository, unlock};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.5,
};
const DAY: i64 = 24 * 3600 * 1000;

/// A clock that tests set.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A repository with `backups` backups of their own packs, and the clock of the process that looks at it.
async fn repository(gate: &Gate, backups: u32) -> (Repository, Arc<Hand>) {
    let first = new_repository(gate.store()).await;
    for n in 0..backups {
        backup(&first, &format!("b{n}"), &items(60, |_| n))
            .await
            .unwrap();
    }
    let clock = Arc::new(Hand(AtomicI64::new(env().clock.now_ms())));
    let surroundings = Env {
        clock: clock.clone(),
        ..env()
    };
    let repository = Repository::open(
        gate.store(),
        surroundings,
        &unlock(),
        OpenOptions::default(),
    )
    .await
    .unwrap();
    (repository, clock)
}

async fn portion(repository: &Repository, portion: Portion) -> VerifyReport {
    repository
        .verify_portion(portion, None, &Unwatched)
        .await
        .unwrap()
}

#[tokio::test]
async fn portions_come_round_to_everything_and_the_oldest_comes_next() {
    let gate = Gate::new();
    let (repository, clock) = repository(&gate, 10).await;
    let mut read = 0;
    let mut days = 0;
    loop {
        let report = portion(&repository, Portion::Percent(20.0)).await;
        assert!(report.is_sound(), "{report:?}");
        assert!(report.coverage.recorded);
        assert!(report.coverage.read_packs < report.coverage.packs);
        read += report.coverage.read_packs;
        days += 1;
        clock.0.fetch_add(DAY, Ordering::SeqCst);
        if report.coverage.never_packs == 0 {
            // Nothing was read twice while something was never read, but for the last portion.
            assert!(read >= report.coverage.packs);
            let window = |days| {
                let mut windows = report.coverage.windows.iter();
                windows.find(|w| w.days == days).unwrap().bytes
            };
            assert_eq!(window(30), report.coverage.bytes);
            assert!(window(1) < report.coverage.bytes);
            let age = clock.0.load(Ordering::SeqCst) - report.coverage.oldest.unwrap();
            assert_eq!(age, days * DAY);
            break;
        }
        assert!(days < 20);
    }
    let structure = repository
        .verify(Default::default(), &Unwatched)
        .await
        .unwrap();
    assert_eq!(structure.coverage.never_packs, 0);
    assert_eq!(structure.coverage.read_packs, 0);
}

#[tokio::test]
async fn parts_cover_everything_without_a_journal() {
    let gate = Gate::new();
    let (repository, _) = repository(&gate, 8).await;
    let mut read = 0;
    for number in 1..=3 {
        let report = portion(&repository, Portion::Part { number, of: 3 }).await;
        read += report.coverage.read_packs;
        for record in repository.store().list("verify").await.unwrap() {
            repository.store().delete(&record.key).await.unwrap();
        }
        if number == 3 {
            assert_eq!(read, report.coverage.packs);
        }
    }
}

/// Moves the clock on as packs are read.
struct Slow(Arc<Hand>);

impl VerifyMonitor for Slow {
    fn progress(&self, stage: &'static str, _: u64, _: u64) {
        if stage == "packs" {
            self.0.0.fetch_add(60_000, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn time_that_is_over_ends_in_order_and_the_next_verify_goes_on() {
    let gate = Gate::new();
    let (repository, clock) = repository(&gate, 12).await;
    let limit = Some(Duration::from_secs(5 * 60));
    let first = repository
        .verify_portion(Portion::All, limit, &Slow(clock.clone()))
        .await
        .unwrap();
    assert!(first.is_sound());
    assert!(!first.read_data);
    let coverage = &first.coverage;
    assert!(
        coverage.read_packs >= 5 && coverage.remaining_packs > 0,
        "{coverage:?}"
    );
    assert_eq!(
        coverage.read_packs + coverage.remaining_packs,
        coverage.packs
    );
    assert_eq!(coverage.never_packs, coverage.remaining_packs);
    assert_eq!(first.items, 12 * 60);
    let mut left = coverage.remaining_packs;
    while left > 0 {
        let next = repository
            .verify_portion(Portion::All, limit, &Slow(clock.clone()))
            .await
            .unwrap();
        assert!(next.coverage.never_packs < left);
        left = next.coverage.never_packs;
    }
}

/// Long verifies put on record what they have read before they end.
#[tokio::test]
async fn a_long_verify_leaves_records_on_the_way() {
    let gate = Gate::new();
    let (repository, clock) = repository(&gate, 15).await;
    gate.fail(Op::List, "everything", 1000, End::Break);
    assert!(
        repository
            .verify_portion(Portion::All, None, &Unwatched)
            .await
            .is_err()
    );
    assert_eq!(repository.store().list("verify").await.unwrap().len(), 0);
    let gate = Gate::new();
    let (repository, clock2) = self::repository(&gate, 15).await;
    drop(clock);
    portion_slow(&repository, clock2).await;
    assert!(repository.store().list("verify").await.unwrap().len() >= 3);
}

async fn portion_slow(repository: &Repository, clock: Arc<Hand>) {
    let report = repository
        .verify_portion(Portion::All, None, &Slow(clock))
        .await
        .unwrap();
    assert!(report.read_data);
    assert_eq!(report.coverage.never_packs, 0);
}

#[tokio::test]
async fn damage_is_read_again_by_every_portion_until_it_is_gone() {
    let gate = Gate::new();
    let (repository, clock) = repository(&gate, 10).await;
    let packs = repository.store().list("packs/data").await.unwrap();
    let flip = |mut bytes: Vec<u8>| {
        bytes[40] ^= 1;
        bytes
    };
    gate.replace(&packs[0].key, flip).await;
    let found = portion(&repository, Portion::All).await;
    assert_eq!(found.damage.len(), 1, "{found:?}");
    assert_eq!(found.damage[0].object, packs[0].key);
    for _ in 0..3 {
        clock.0.fetch_add(DAY, Ordering::SeqCst);
        let again = portion(&repository, Portion::Bytes(1)).await;
        assert_eq!(again.damage.len(), 1);
        assert_eq!(again.coverage.read_packs, 2);
    }
    gate.replace(&packs[0].key, flip).await;
    clock.0.fetch_add(DAY, Ordering::SeqCst);
    assert!(portion(&repository, Portion::Bytes(1)).await.is_sound());
    let next = portion(&repository, Portion::Bytes(1)).await;
    assert_eq!(next.coverage.read_packs, 1);
}

#[tokio::test]
async fn the_journal_stays_small_and_prune_removes_what_was_replaced() {
    let gate = Gate::new();
    let (repository, clock) = repository(&gate, 4).await;
    for _ in 0..40 {
        portion(&repository, Portion::Bytes(1)).await;
        clock.0.fetch_add(DAY, Ordering::SeqCst);
    }
    assert_eq!(repository.store().list("verify").await.unwrap().len(), 40);
    let before = portion(&repository, Portion::Bytes(1)).await.coverage;
    assert_eq!(before.never_packs, 0);
    repository.prune(&NOW, |_| {}).await.unwrap();
    let records = repository.store().list("verify").await.unwrap().len();
    assert!((1..=9).contains(&records), "{records}");
    let listed = repository.store().list("packs").await.unwrap();
    assert_eq!(listed.len() as u64, before.packs);
    let after = repository
        .verify(Default::default(), &Unwatched)
        .await
        .unwrap();
    assert_eq!(after.coverage.never_packs, 0);
    assert_eq!(after.coverage.oldest, before.oldest);
}

#[tokio::test]
async fn what_cannot_be_written_is_not_on_record() {
    let gate = Gate::new();
    let (repository, _) = repository(&gate, 3).await;
    for part in ["sessions/", "verify/"] {
        gate.fail(Op::Put, part, 1, End::Refuse);
        let report = portion(&repository, Portion::All).await;
        assert!(report.is_sound() && report.read_data, "{report:?}");
        assert!(!report.coverage.recorded);
        assert_eq!(report.coverage.never_packs, 0);
        assert_eq!(repository.store().list("verify").await.unwrap().len(), 0);
    }
}

/// A record that nobody can open costs a read, and is damage like any other.
#[tokio::test]
async fn a_damaged_record_is_passed_over() {
    let gate = Gate::new();
    let (repository, _) = repository(&gate, 3).await;
    portion(&repository, Portion::All).await;
    let records = repository.store().list("verify").await.unwrap();
    gate.replace(&records[0].key, |mut bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    })
    .await;
    let report = portion(&repository, Portion::Bytes(1)).await;
    assert_eq!(report.damage.len(), 1);
    assert_eq!(report.damage[0].object, records[0].key);
    assert!(report.coverage.never_packs > 0);
}
