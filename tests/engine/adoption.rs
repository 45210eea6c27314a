//! Backups that were taken for dead, and what backups left that died: nothing is uploaded twice that may be adopted.

use std::sync::Arc;

use ark_engine::{
    BeginBackup, Committed, Error, OpenOptions, PruneOptions, PruneReport, Repository, WriteSession,
};
use ark_format::id::PackClass;
use ark_format::layout;
use tokio::task::JoinHandle;

use crate::gate::{Gate, Op, Stop};
use crate::roundtrip::{
    Items, assert_sound, backup, cluster, commit, contents, env, index, items, new_repository,
    unlock, write,
};

const LATER: PruneOptions = PruneOptions {
    now: false,
    max_unused: 0.05,
};
const NOW: PruneOptions = PruneOptions { now: true, ..LATER };
const MINUTE: i64 = 60_000;

fn begin(name: &str) -> BeginBackup {
    BeginBackup {
        name: name.into(),
        cluster: cluster(),
    }
}

/// Values that do not compress, several packs of them.
fn noise(count: usize, seed: u64) -> Items {
    (0..count)
        .map(|n| {
            let mut state = seed * 1_000_003 + n as u64 + 1;
            let bytes = (0..64 << 10).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as u8
            });
            let key = format!("group\0things\0ns/item-{seed}-{n:06}");
            (key.into_bytes(), bytes.collect())
        })
        .collect()
}

/// Another process on the same bucket.
async fn another(gate: &Gate) -> Repository {
    Repository::open(gate.store(), env(), &unlock(), OpenOptions::default())
        .await
        .unwrap()
}

async fn prune(gate: &Gate, options: PruneOptions) -> PruneReport {
    let other = another(gate).await;
    other.prune(&options, |_| {}).await.unwrap()
}

/// A backup that has uploaded everything and is about to create its commit.
struct Asleep {
    repository: Repository,
    session: WriteSession,
    commit: Arc<Stop>,
    running: JoinHandle<Result<Committed, Error>>,
    uploaded: u64,
}

impl Asleep {
    async fn new(gate: &Gate, name: &str, content: &Items) -> Asleep {
        let repository = another(gate).await;
        let session = repository.begin_backup(begin(name)).await.unwrap();
        let root = write(&session, content).await.unwrap();
        let stop = gate.hold(Op::Put, "manifests/", 1);
        let running = tokio::spawn({
            let session = session.clone();
            async move { session.commit(commit(root)).await }
        });
        stop.reached().await;
        Asleep {
            uploaded: repository.store().counters().bytes_written,
            repository,
            session,
            commit: stop,
            running,
        }
    }

    /// It goes on; how it ends, and the bytes that it has uploaded since.
    async fn wake(self) -> (Result<Committed, Error>, u64) {
        self.commit.release();
        let result = self.running.await.unwrap();
        let uploaded = self.repository.store().counters().bytes_written - self.uploaded;
        (result, uploaded)
    }
}

fn age_sessions(gate: &Gate, minutes: i64) {
    gate.age("sessions/", minutes * MINUTE);
}

async fn log_of(repository: &Repository, committed: &Committed) -> String {
    let manifest = repository.manifest(&committed.id).await.unwrap();
    String::from_utf8(manifest.log).unwrap()
}

/// A machine that slept: its packs are kept for a day, and it needs only a new index segment and a manifest.
#[tokio::test]
async fn a_backup_that_slept_adopts_its_packs() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let base = backup(&repository, "base", &items(300, |_| 1))
        .await
        .unwrap();
    let mut content = noise(120, 1);
    content.extend(items(300, |_| 1));
    let asleep = Asleep::new(&gate, "one", &content).await;
    let first = asleep.session.id();
    assert!(asleep.uploaded > 7 << 20);
    age_sessions(&gate, 31);
    let report = prune(&gate, LATER).await;
    assert_eq!(report.packs_deleted, 0);
    assert_eq!(report.kept_for.len(), 1, "{report:?}");
    assert!(report.kept_bytes > 7 << 20);
    // The next one sees a fence and no longer a session.
    assert_eq!(prune(&gate, LATER).await.kept_for, report.kept_for);
    assert!(
        another(&gate)
            .await
            .plan_prune(&LATER)
            .await
            .unwrap()
            .to_string()
            .contains("keep for a day")
    );

    let (committed, uploaded) = asleep.wake().await;
    let committed = committed.unwrap();
    assert_ne!(committed.id, first);
    assert!(uploaded < 64 << 10, "{uploaded} bytes");
    assert_eq!(contents(&repository, &committed.id).await.unwrap(), content);
    let log = log_of(&repository, &committed).await;
    assert!(
        log.starts_with("captured\nthe backup was taken for dead as session"),
        "{log}"
    );
    let manifest = repository.manifest(&committed.id).await.unwrap();
    assert_eq!(manifest.row.created, first.unix_ms() as i64);
    assert_eq!(manifest.row.previous, Some(base.id));
    let again = repository.begin_backup(begin("one")).await;
    assert!(matches!(again, Err(Error::NameTaken { .. })));

    // Nothing is left to a writer that has come back, so that what was adopted is like any other pack.
    assert_eq!(prune(&gate, LATER).await.kept_bytes, 0);
    let view = repository.view().await.unwrap();
    assert!(!view.declared_dead.contains_key(&first));
    let report = prune(&gate, NOW).await;
    assert_eq!(
        (report.packs_deleted, report.kept_bytes),
        (0, 0),
        "{report:?}"
    );
    assert_eq!(contents(&repository, &committed.id).await.unwrap(), content);
    assert_sound(&repository).await;
}

/// Condemned packs, its own and others', may not be adopted: what it needs of them is copied while they are there.
#[tokio::test]
async fn what_was_condemned_meanwhile_is_copied() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let old = noise(40, 2);
    let base = backup(&repository, "base", &old).await.unwrap();
    let mut content = noise(40, 3);
    content.extend(old.iter().step_by(2).map(|(k, v)| (k.clone(), v.clone())));
    let asleep = Asleep::new(&gate, "one", &content).await;
    age_sessions(&gate, 31);
    // Somebody reads, so that what is condemned stays in the bucket for now.
    let reader = repository.reader().await.unwrap();
    repository.forget(&[base.id]).await.unwrap();
    let report = prune(&gate, NOW).await;
    assert!(report.held_back_bytes > 4 << 20, "{report:?}");

    let (committed, uploaded) = asleep.wake().await;
    let committed = committed.unwrap();
    assert!(uploaded > 3 << 20 && uploaded < 5 << 20, "{uploaded}");
    reader.close().await;
    let report = prune(&gate, NOW).await;
    assert!(report.packs_deleted > 0);
    assert_eq!(contents(&repository, &committed.id).await.unwrap(), content);
    assert_sound(&repository).await;
}

/// What is gone cannot be committed; the next backup writes it again.
#[tokio::test]
async fn a_backup_whose_packs_are_gone_commits_nothing() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "base", &items(50, |_| 1))
        .await
        .unwrap();
    let content = noise(40, 4);
    let asleep = Asleep::new(&gate, "one", &content).await;
    age_sessions(&gate, 31);
    assert!(prune(&gate, NOW).await.packs_deleted > 0);
    let (result, _) = asleep.wake().await;
    assert!(matches!(result, Err(Error::Fenced { .. })), "{result:?}");
    let view = repository.view().await.unwrap();
    assert_eq!(view.backups.len(), 1);
    assert!(repository.open_sessions(&view).await.unwrap().is_empty());
    let committed = backup(&repository, "one", &content).await.unwrap();
    prune(&gate, NOW).await;
    assert_eq!(contents(&repository, &committed.id).await.unwrap(), content);
    assert_sound(&repository).await;
}

/// Kept for a day after it was declared dead, and no longer.
#[tokio::test]
async fn packs_are_kept_for_a_day() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "base", &items(50, |_| 1))
        .await
        .unwrap();
    let asleep = Asleep::new(&gate, "one", &noise(40, 5)).await;
    age_sessions(&gate, 31);
    assert!(prune(&gate, LATER).await.kept_bytes > 0);
    gate.age("manifests/", 23 * 60 * MINUTE);
    assert!(prune(&gate, LATER).await.kept_bytes > 0);
    gate.age("manifests/", 2 * 60 * MINUTE);
    let report = prune(&gate, LATER).await;
    assert_eq!(report.kept_bytes, 0);
    assert!(report.packs_deleted > 0);
    assert!(asleep.wake().await.0.is_err());
    assert_sound(&repository).await;
}

/// It may be taken for dead again.
#[tokio::test]
async fn a_backup_may_sleep_twice_and_not_for_ever() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    for (times, name) in [(2, "twice"), (4, "for-ever")] {
        let content = noise(60, 6 + times);
        let asleep = Asleep::new(&gate, name, &content).await;
        age_sessions(&gate, 31);
        prune(&gate, LATER).await;
        let mut stops = Vec::new();
        for n in 1..times {
            stops.push(gate.hold(Op::Put, "manifests/", 1));
            if n == 1 {
                asleep.commit.release();
            } else {
                stops[stops.len() - 2].release();
            }
            stops[stops.len() - 1].reached().await;
            age_sessions(&gate, 31);
            prune(&gate, LATER).await;
        }
        stops[stops.len() - 1].release();
        let uploaded = asleep.repository.store().counters().bytes_written - asleep.uploaded;
        assert!(uploaded < 256 << 10, "{uploaded}");
        let result = asleep.running.await.unwrap();
        if times == 2 {
            let committed = result.unwrap();
            assert_eq!(contents(&repository, &committed.id).await.unwrap(), content);
        } else {
            assert!(matches!(result, Err(Error::Fenced { .. })), "{result:?}");
        }
        let view = repository.view().await.unwrap();
        assert!(repository.open_sessions(&view).await.unwrap().is_empty());
    }
    prune(&gate, NOW).await;
    assert_sound(&repository).await;
}

/// A session that its own process has ended stays ended.
#[tokio::test]
async fn a_backup_that_was_ended_on_purpose_does_not_go_on() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let asleep = Asleep::new(&gate, "one", &noise(3, 9)).await;
    asleep.repository.end_sessions().await;
    let (result, _) = asleep.wake().await;
    assert!(matches!(result, Err(Error::Fenced { .. })), "{result:?}");
    assert!(repository.backups().await.unwrap().is_empty());
}

/// A name whose holder was taken for dead belongs to who claimed it next.
#[tokio::test]
async fn a_name_that_another_backup_has_taken_is_not_taken_back() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let asleep = Asleep::new(&gate, "one", &noise(3, 10)).await;
    age_sessions(&gate, 31);
    let second = backup(&repository, "one", &items(10, |_| 1)).await.unwrap();
    let (result, _) = asleep.wake().await;
    assert!(matches!(result, Err(Error::NameTaken { .. })), "{result:?}");
    let backups = repository.backups().await.unwrap();
    assert_eq!(backups.len(), 1);
    assert_eq!(backups[0].row.id, second.id);
    prune(&gate, NOW).await;
    assert_sound(&repository).await;
}

/// A backup that was killed on a machine that nobody can ask: the next one uploads what is missing.
#[tokio::test]
async fn a_backup_adopts_what_a_dead_one_left() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let all = noise(120, 11);
    let half: Items = all
        .iter()
        .take(100)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let dead = Asleep::new(&gate, "dead", &half).await;
    dead.running.abort();
    age_sessions(&gate, 31);
    assert!(prune(&gate, LATER).await.kept_bytes > 6 << 20);

    let other = another(&gate).await;
    let before = other.store().counters().bytes_written;
    let committed = backup(&other, "one", &all).await.unwrap();
    let uploaded = other.store().counters().bytes_written - before;
    assert!(uploaded < 2 << 20, "{uploaded}");
    assert_eq!(contents(&repository, &committed.id).await.unwrap(), all);
    // What it says of the packs that it has adopted is confirmed by their trailers, once.
    let mut adopted: Vec<String> = index(&repository)
        .await
        .packs()
        .into_keys()
        .filter(|pack| pack.session == dead.session.id() && pack.class == PackClass::Data)
        .map(|pack| layout::pack(&pack))
        .collect();
    assert!(adopted.len() > 1, "{adopted:?}");
    let before = gate.asked(Op::Get, "packs/data").len();
    let report = prune(&gate, NOW).await;
    assert!(report.epochs > 0 && report.lies.is_empty(), "{report:?}");
    let mut asked = gate.asked(Op::Get, "packs/data").split_off(before);
    asked.sort();
    adopted.sort();
    assert_eq!(asked, adopted);
    // Where nothing is adopted nothing is read.
    backup(&another(&gate).await, "two", &noise(20, 13))
        .await
        .unwrap();
    let before = gate.asked(Op::Get, "packs/").len();
    assert_eq!(prune(&gate, NOW).await.epochs, 1);
    let asked = gate.asked(Op::Get, "packs/").split_off(before);
    assert!(
        asked.iter().all(|key| key.contains("packs/meta")),
        "{asked:?}"
    );
    assert_eq!(contents(&repository, &committed.id).await.unwrap(), all);
    assert_sound(&repository).await;
    // Nothing that was not adopted is left.
    let info = repository.info().await.unwrap();
    let listed = repository.store().list("packs/").await.unwrap();
    assert_eq!(listed.len(), info.packs);
}

/// Whose packs an epoch has condemned, and whose session it has retired, nobody adopts.
#[tokio::test]
async fn nothing_is_adopted_that_was_condemned() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let content = noise(40, 12);
    let dead = Asleep::new(&gate, "dead", &content).await;
    dead.running.abort();
    age_sessions(&gate, 31);
    let reader = repository.reader().await.unwrap();
    assert!(prune(&gate, NOW).await.held_back_bytes > 2 << 20);
    let dead = dead.session.id();
    let committed = backup(&repository, "one", &content).await.unwrap();
    assert!(repository.view().await.unwrap().body.is_retired(&dead));
    reader.close().await;
    prune(&gate, NOW).await;
    for object in repository.store().list("packs/").await.unwrap() {
        assert!(!object.key.contains(&dead.to_string()), "{}", object.key);
    }
    assert_eq!(contents(&repository, &committed.id).await.unwrap(), content);
    assert_sound(&repository).await;
}

/// The copies are sealed with the newest data key, which is lost before they count.
#[tokio::test]
async fn what_was_copied_and_sealed_with_a_lost_key_is_not_committed() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let old = noise(40, 2);
    let base = backup(&repository, "base", &old).await.unwrap();
    let content: Items = old
        .iter()
        .step_by(2)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let asleep = Asleep::new(&gate, "one", &content).await;
    age_sessions(&gate, 31);
    let reader = repository.reader().await.unwrap();
    repository.forget(&[base.id]).await.unwrap();
    let report = prune(&gate, NOW).await;
    assert!(report.held_back_bytes > 2 << 20, "{report:?}");
    let made = repository.rotate_data_key().await.unwrap();
    let segment = gate.hold(Op::Put, "index/", 1);
    let waking = tokio::spawn(asleep.wake());
    segment.reached().await;
    gate.store().delete(&made.object).await.unwrap();
    segment.release();
    let (result, _) = waking.await.unwrap();
    assert!(
        matches!(&result, Err(Error::Missing { object }) if *object == made.object),
        "{result:?}"
    );
    assert!(repository.backups().await.unwrap().is_empty());
    reader.close().await;
}
