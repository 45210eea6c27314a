//! Repair: after each kind of damage everything that is there can be read, what is lost is named, a new backup heals, and
//! prune goes on.

use ark_engine::repair::Summary;
use ark_engine::verify::Unwatched;
use ark_engine::{
    BackupStatus, Error, OpenOptions, Portion, PruneOptions, RepairContent, RepairOptions,
    RepairReport, Repository, Role, SessionId, Unlock, VerifyOptions,
};

use crate::gate::{Gate, Op};
use crate::roundtrip::{Items, assert_sound, backup, contents, env, items, new_repository};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.0,
};
pub const ALL: RepairOptions = RepairOptions {
    index_only: false,
    read_data: true,
    forget_originals: false,
};
const FORGET: RepairOptions = RepairOptions {
    forget_originals: true,
    ..ALL
};
const INDEX: RepairOptions = RepairOptions {
    index_only: true,
    ..ALL
};

/// Documents that say what was asked for.
struct Plain;

impl RepairContent for Plain {
    fn document(&self, original: Option<&[u8]>, _: &Summary, name: &str, lost: u64) -> Vec<u8> {
        format!("{name} {lost} {}", original.is_some()).into_bytes()
    }

    fn hole(&self, entry: &[u8], why: &str) -> Option<Vec<u8>> {
        Some([entry, b" but ", why.as_bytes()].concat())
    }
}

pub async fn repair(repository: &Repository, options: RepairOptions) -> RepairReport {
    let plan = repository.plan_repair(&options).await.unwrap();
    let report = repository.repair(&options, &Plain, |_| {}).await.unwrap();
    // The dry run says what then happens.
    assert_eq!(plan, report.plan);
    report
}

async fn nothing_left(repository: &Repository) {
    let plan = repository.plan_repair(&ALL).await.unwrap();
    assert!(!plan.changes() && !plan.loses(), "{plan}");
    assert!(plan.to_string().contains("nothing to repair"));
    let epoch = repository.view().await.unwrap().number;
    let report = repair(repository, ALL).await;
    assert_eq!(report.epochs, 0);
    assert_eq!(repository.view().await.unwrap().number, epoch);
}

pub fn flip(at: usize) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |mut bytes| {
        bytes[at] ^= 1;
        bytes
    }
}

pub async fn keys(repository: &Repository, prefix: &str) -> Vec<String> {
    let listed = repository.store().list(prefix).await.unwrap();
    listed.into_iter().map(|object| object.key).collect()
}

async fn delete_all(repository: &Repository, prefix: &str) {
    for key in keys(repository, prefix).await {
        repository.store().delete(&key).await.unwrap();
    }
}

/// What a repaired backup has is a part of the original, and what is missing is what was told.
async fn assert_part(repository: &Repository, report: &RepairReport, id: SessionId, all: &Items) {
    let repaired = report.repaired.iter().find(|r| r.original == id).unwrap();
    let found = contents(repository, &repaired.id).await.unwrap();
    for (key, value) in &found {
        assert_eq!(
            all.get(key),
            Some(value),
            "{}",
            String::from_utf8_lossy(key)
        );
    }
    assert_eq!(found.len() as u64 + repaired.lost, all.len() as u64);
    let manifest = repository.manifest(&repaired.id).await.unwrap();
    assert_eq!(manifest.repairs, Some(id));
    assert_eq!(manifest.row.status, BackupStatus::PartiallyFailed);
    assert_eq!(manifest.row.counts.items, found.len() as u64);
    let log = String::from_utf8(manifest.log).unwrap();
    assert!(
        log.contains("repair: this is what could be saved of"),
        "{log}"
    );
    let told = report.plan.backups.iter().find(|b| b.id == id);
    assert_eq!(told.map_or(0, |b| b.count()), repaired.lost);
}

#[tokio::test]
async fn nothing_is_repaired_where_nothing_is_damaged() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    nothing_left(&repository).await;
    backup(&repository, "one", &items(500, |_| 1))
        .await
        .unwrap();
    nothing_left(&repository).await;
    let rebuilt = repair(&repository, INDEX).await;
    assert_eq!(rebuilt.epochs, 0);
    assert_sound(&repository).await;
}

/// Every segment lost, before and after a prune has taken them into its epoch, with unneeded packs about.
#[tokio::test]
async fn a_lost_index_is_rebuilt_from_the_packs() {
    for absorbed in [false, true] {
        for truncate in [false, true] {
            let gate = Gate::new();
            let repository = new_repository(gate.store()).await;
            let (first, second) = (items(800, |_| 1), items(800, |i| u32::from(i % 9 == 0)));
            let one = backup(&repository, "one", &first).await.unwrap();
            let gone = backup(&repository, "gone", &items(300, |_| 7))
                .await
                .unwrap();
            let two = backup(&repository, "two", &second).await.unwrap();
            if absorbed {
                repository.forget(&[gone.id]).await.unwrap();
                // Held back, so that the index has condemned packs.
                let reader = repository.reader().await.unwrap();
                repository.prune(&NOW, |_| {}).await.unwrap();
                reader.close().await;
            }
            for segment in &repository.view().await.unwrap().segments {
                let key = format!("index/{}-{:08x}", segment.session, segment.number);
                match truncate {
                    true => {
                        gate.replace(&key, |mut bytes| {
                            bytes.truncate(bytes.len() / 2);
                            bytes
                        })
                        .await;
                    }
                    false => repository.store().delete(&key).await.unwrap(),
                }
            }
            assert!(contents(&repository, &one.id).await.is_err());
            assert!(repository.prune(&NOW, |_| {}).await.is_err());
            let report = repair(&repository, INDEX).await;
            assert!(!report.plan.loses(), "{}", report.plan);
            assert!(!report.plan.found.is_empty());
            assert_eq!(contents(&repository, &one.id).await.unwrap(), first);
            assert_eq!(contents(&repository, &two.id).await.unwrap(), second);
            assert_sound(&repository).await;
            // What is there is reused, and garbage goes.
            let again = backup(&repository, "again", &second).await.unwrap();
            assert_eq!(again.stats.packs, 0, "{:?}", again.stats);
            repository.prune(&NOW, |_| {}).await.unwrap();
            assert_eq!(contents(&repository, &two.id).await.unwrap(), second);
            assert_sound(&repository).await;
            nothing_left(&repository).await;
        }
    }
}

#[tokio::test]
async fn a_lost_head_is_made_anew() {
    for what in ["body missing", "body damaged", "stub damaged"] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let (first, second) = (items(600, |_| 1), items(600, |_| 2));
        let one = backup(&repository, "one", &first).await.unwrap();
        let gone = backup(&repository, "gone", &items(200, |_| 3))
            .await
            .unwrap();
        repository.forget(&[gone.id]).await.unwrap();
        repository.prune(&NOW, |_| {}).await.unwrap();
        let two = backup(&repository, "two", &second).await.unwrap();
        let before = repository.view().await.unwrap().number;
        let bodies = keys(&repository, "index").await;
        let body = bodies.iter().find(|key| key.contains("epoch-")).unwrap();
        match what {
            "body missing" => repository.store().delete(body).await.unwrap(),
            "body damaged" => gate.replace(body, flip(30)).await,
            _ => {
                gate.replace(&keys(&repository, "epochs").await[0], flip(30))
                    .await
            }
        }
        assert!(repository.backups().await.is_err(), "{what}");
        let report = repair(&repository, INDEX).await;
        assert!(report.plan.head.is_some());
        assert_eq!(
            repository.view().await.unwrap().number,
            before + 1,
            "{what}"
        );
        assert_eq!(
            contents(&repository, &one.id).await.unwrap(),
            first,
            "{what}"
        );
        assert_eq!(
            contents(&repository, &two.id).await.unwrap(),
            second,
            "{what}"
        );
        assert_eq!(repository.backups().await.unwrap().len(), 2, "{what}");
        repository.prune(&NOW, |_| {}).await.unwrap();
        let again = backup(&repository, "again", &first).await.unwrap();
        assert_eq!(again.stats.packs, 0);
        if what != "stub damaged" {
            assert_sound(&repository).await;
        }
    }
}

/// Whoever was open when the head was lost can commit nothing by that session any more, unless he saw that very head. His
/// packs are there, so he goes on with another one.
#[tokio::test]
async fn a_lost_head_closes_older_sessions_and_waits_for_prunes() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let one = backup(&repository, "one", &items(300, |_| 1))
        .await
        .unwrap();
    let gone = backup(&repository, "gone", &items(300, |_| 2))
        .await
        .unwrap();
    let stop = gate.hold(Op::Put, "manifests/", 1);
    let older = tokio::spawn({
        let repository = repository.clone();
        async move { backup(&repository, "older", &items(300, |_| 4)).await }
    });
    stop.reached().await;
    let closed = older_session(&repository).await;
    repository.forget(&[gone.id]).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let pruning = gate.hold(Op::Put, "epochs/", 1);
    backup(&repository, "more", &items(20, |_| 9))
        .await
        .unwrap();
    let prune = tokio::spawn({
        let repository = repository.clone();
        async move { repository.prune(&NOW, |_| {}).await }
    });
    pruning.reached().await;
    for key in keys(&repository, "index/").await {
        if key.contains("epoch-") {
            repository.store().delete(&key).await.unwrap();
        }
    }
    let busy = repository.repair(&ALL, &Plain, |_| {}).await;
    assert!(matches!(busy, Err(Error::RepairBusy { .. })), "{busy:?}");
    prune.abort();
    assert!(prune.await.unwrap_err().is_cancelled());
    // Its process is alive, so that its pin is ended here as it would have done itself.
    for session in keys(&repository, "sessions").await {
        let manifest = session.replace("sessions/", "manifests/");
        let open = keys(&repository, "manifests").await;
        if !open.contains(&manifest) && session != older_session(&repository).await {
            repository.store().delete(&session).await.unwrap();
        }
    }
    repository.repair(&ALL, &Plain, |_| {}).await.unwrap();
    stop.release();
    let late = older.await.unwrap().unwrap();
    assert!(!closed.contains(&late.id.to_string()), "{closed}");
    let found = contents(&repository, &late.id).await.unwrap();
    assert_eq!(found, items(300, |_| 4));
    assert!(contents(&repository, &one.id).await.is_ok());
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_sound(&repository).await;
}

/// What a prune takes away while a repair looks is no damage.
#[tokio::test]
async fn a_prune_beside_a_repair_is_no_damage() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    for name in ["kept", "gone"] {
        backup(&repository, name, &items(100, |_| 1)).await.unwrap();
    }
    repository.prune(&NOW, |_| {}).await.unwrap();
    let backups = repository.backups().await.unwrap();
    let gone = backups.iter().find(|b| b.row.name == "gone").unwrap();
    repository.forget(&[gone.row.id]).await.unwrap();
    let look = gate.hold(Op::List, "sessions", 1);
    let repair = tokio::spawn({
        let repository = repository.clone();
        async move { repository.plan_repair(&ALL).await }
    });
    look.reached().await;
    let pruned = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(pruned.backups_removed, ["gone"]);
    look.release();
    let plan = repair.await.unwrap().unwrap();
    assert!(!plan.changes() && !plan.loses(), "{plan}");
}

/// The session with the lowest epoch that has not ended.
async fn older_session(repository: &Repository) -> String {
    let ended = keys(repository, "manifests").await;
    let mut open = keys(repository, "sessions").await;
    open.retain(|key| !ended.contains(&key.replace("sessions/", "manifests/")));
    open.remove(0)
}

/// A backup has adopted a pack whose trailer is damaged since: no prune can confirm what its segment says.
#[tokio::test]
async fn what_a_damaged_pack_cannot_confirm_is_copied_out_of_it() {
    for options in [RepairOptions::default(), INDEX] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let all = items(2000, |_| 1);
        let stop = gate.hold(Op::Put, "manifests/", 1);
        let dead = tokio::spawn({
            let (repository, all) = (repository.clone(), all.clone());
            async move { backup(&repository, "dead", &all).await }
        });
        stop.reached().await;
        dead.abort();
        gate.age("sessions/", 31 * 60_000);
        let later = PruneOptions { now: false, ..NOW };
        repository.prune(&later, |_| {}).await.unwrap();
        let one = backup(&repository, "one", &all).await.unwrap();
        assert_eq!(one.stats.packs, 0, "it adopts what the dead one left");
        let packs = repository.store().list("packs/data").await.unwrap();
        let damaged = packs.first().unwrap();
        let at = damaged.size as usize - 20;
        gate.replace(&damaged.key, flip(at)).await;
        let pruned = repository.prune(&NOW, |_| {}).await;
        assert!(
            matches!(&pruned, Err(Error::PruneBlocked { object, .. }) if *object == damaged.key),
            "{pruned:?}"
        );
        let other = items(100, |_| 2);
        let two = backup(&repository, "two", &other).await.unwrap();
        if options.index_only {
            // It has nothing to do otherwise.
            let report = repair(&repository, options).await;
            assert_eq!(report.epochs, 0, "{}", report.plan);
            let segment = format!("index/{}-{:08x}", two.id, 0);
            repository.store().delete(&segment).await.unwrap();
        }
        let report = repair(&repository, options).await;
        assert_eq!(report.epochs, 1);
        let [bad] = report.plan.packs.as_slice() else {
            panic!("{}", report.plan);
        };
        assert!(damaged.key.contains(&bad.pack.session.to_string()));
        assert!(bad.readable > 0 && bad.lost == 0, "{}", report.plan);
        assert_eq!(contents(&repository, &one.id).await.unwrap(), all);
        repository.prune(&NOW, |_| {}).await.unwrap();
        assert!(!keys(&repository, "packs/").await.contains(&damaged.key));
        assert_eq!(contents(&repository, &one.id).await.unwrap(), all);
        assert_eq!(contents(&repository, &two.id).await.unwrap(), other);
        assert_sound(&repository).await;
        nothing_left(&repository).await;
    }
}

/// Damage in the middle of a pack: what can be read is copied, what cannot is named, and the next backup heals it.
#[tokio::test]
async fn damaged_packs_go_out_of_force_and_a_backup_heals() {
    for class in ["packs/data", "packs/meta"] {
        for damage in ["missing", "cut", "flipped", "trailer"] {
            let gate = Gate::new();
            let repository = new_repository(gate.store()).await;
            let all = items(3000, |_| 1);
            let one = backup(&repository, "one", &all).await.unwrap();
            let other = items(400, |_| 8);
            let two = backup(&repository, "two", &other).await.unwrap();
            let packs = repository.store().list(class).await.unwrap();
            let pack = packs.iter().max_by_key(|p| p.size).unwrap();
            match damage {
                "missing" => repository.store().delete(&pack.key).await.unwrap(),
                "cut" => {
                    gate.replace(&pack.key, |mut bytes| {
                        bytes.truncate(bytes.len() / 4);
                        bytes
                    })
                    .await;
                }
                "flipped" => gate.replace(&pack.key, flip(100)).await,
                _ => gate.replace(&pack.key, flip(pack.size as usize - 20)).await,
            }
            let report = repair(&repository, ALL).await;
            let what = format!("{class} {damage}: {}", report.plan);
            assert_eq!(report.plan.packs.len(), 1, "{what}");
            // Backups made in the same repository do not suffer.
            assert_eq!(
                contents(&repository, &two.id).await.unwrap(),
                other,
                "{what}"
            );
            if damage == "trailer" {
                assert!(!report.plan.loses() && report.repaired.is_empty(), "{what}");
                assert_eq!(contents(&repository, &one.id).await.unwrap(), all);
                repository.prune(&NOW, |_| {}).await.unwrap();
                assert_sound(&repository).await;
                continue;
            }
            assert!(report.plan.loses(), "{what}");
            let lost = report.plan.backups.iter().find(|b| b.id == one.id).unwrap();
            if lost.entirely {
                assert!(report.repaired.is_empty(), "{what}");
            } else {
                assert_part(&repository, &report, one.id, &all).await;
            }
            if damage == "cut" && class == "packs/data" {
                assert!(report.chunks_saved > 0, "{what}");
            }
            let again = repair(&repository, ALL).await;
            assert!(
                again.repaired.is_empty() && again.plan.packs.is_empty(),
                "{what}"
            );
            // The same content is written again, and the damaged original is whole.
            let healed = backup(&repository, "healed", &all).await.unwrap();
            assert!(healed.stats.new_chunks > 0);
            assert_eq!(contents(&repository, &one.id).await.unwrap(), all, "{what}");
            let report = repository
                .verify(VerifyOptions::default(), &Unwatched)
                .await
                .unwrap();
            assert_eq!(report.damage, [], "{what}");
            repository.prune(&NOW, |_| {}).await.unwrap();
            assert_sound(&repository).await;
            assert_eq!(contents(&repository, &one.id).await.unwrap(), all, "{what}");
            nothing_left(&repository).await;
        }
    }
}

/// Without another backup: the originals are forgotten, prune takes the damage away, and all is sound.
#[tokio::test]
async fn forgetting_the_originals_leaves_a_sound_repository() {
    for class in ["packs/data", "packs/meta"] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let all = items(9000, |_| 1);
        let one = backup(&repository, "one", &all).await.unwrap();
        let packs = repository.store().list(class).await.unwrap();
        gate.replace(&packs[0].key, |mut bytes| {
            bytes.truncate(bytes.len() / 4);
            bytes
        })
        .await;
        let report = repair(&repository, FORGET).await;
        assert_eq!(report.forgotten, ["one"], "{}", report.plan);
        if let Some(repaired) = report.repaired.first() {
            assert_eq!(repaired.name, "one-repaired");
            assert_part(&repository, &report, one.id, &all).await;
        }
        repository.prune(&NOW, |_| {}).await.unwrap();
        assert_sound(&repository).await;
        let left = repository.backups().await.unwrap();
        assert_eq!(left.len(), report.repaired.len());
    }
}

/// Another copy of a chunk takes the place of a damaged one: two backups that ran side by side both wrote it.
#[tokio::test]
async fn a_chunk_with_another_copy_is_not_lost() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let all = items(700, |_| 1);
    let stop = gate.hold(Op::Put, "manifests/", 1);
    let first = tokio::spawn({
        let (repository, all) = (repository.clone(), all.clone());
        async move { backup(&repository, "one", &all).await }
    });
    stop.reached().await;
    let two = backup(&repository, "two", &all).await.unwrap();
    stop.release();
    let one = first.await.unwrap().unwrap();
    for key in keys(&repository, "packs").await {
        if key.contains(&one.id.to_string()) {
            gate.replace(&key, flip(50)).await;
        }
    }
    let report = repair(&repository, ALL).await;
    assert!(!report.plan.loses(), "{}", report.plan);
    assert!(
        report.plan.packs.iter().all(|p| p.elsewhere > 0),
        "{}",
        report.plan
    );
    for id in [one.id, two.id] {
        assert_eq!(contents(&repository, &id).await.unwrap(), all);
    }
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_sound(&repository).await;
}

/// Only what a verify has found, or what a listing shows, is looked at; the journal is what connects the two.
#[tokio::test]
async fn repair_acts_on_what_a_verify_found() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "one", &items(2000, |_| 1))
        .await
        .unwrap();
    let quick = RepairOptions::default();
    let packs = keys(&repository, "packs/data").await;
    gate.replace(&packs[0], flip(60)).await;
    assert!(!repository.plan_repair(&quick).await.unwrap().changes());
    repository
        .verify_portion(Portion::All, None, &Unwatched)
        .await
        .unwrap();
    let plan = repository.plan_repair(&quick).await.unwrap();
    assert_eq!(plan.packs.len(), 1, "{plan}");
    // A read that failed by accident takes nothing out of force.
    gate.replace(&packs[0], flip(60)).await;
    assert!(!repository.plan_repair(&quick).await.unwrap().changes());
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_is_given_up_and_its_maps_are_saved() {
    for listed in [false, true] {
        for missing in [false, true] {
            if missing && !listed {
                // Nothing in the repository knows of it any more.
                continue;
            }
            let gate = Gate::new();
            let repository = new_repository(gate.store()).await;
            let (first, second) = (items(500, |_| 1), items(500, |_| 2));
            let one = backup(&repository, "one", &first).await.unwrap();
            if listed {
                repository.prune(&NOW, |_| {}).await.unwrap();
            }
            let two = backup(&repository, "two", &second).await.unwrap();
            let manifests = keys(&repository, "manifests").await;
            let key = manifests
                .iter()
                .find(|k| k.contains(&one.id.to_string()))
                .unwrap();
            match missing {
                true => repository.store().delete(key).await.unwrap(),
                false => gate.replace(key, flip(40)).await,
            }
            let report = repair(&repository, ALL).await;
            let plan = &report.plan;
            assert_eq!(plan.commits.len(), 1, "{plan}");
            assert_eq!(plan.commits[0].name.as_deref(), Some("one"), "{plan}");
            assert!(plan.loses());
            assert_eq!(plan.commits[0].maps_known, listed);
            if listed {
                assert_part(&repository, &report, one.id, &first).await;
            } else {
                assert!(report.repaired.is_empty());
            }
            let rows = repository.backups().await.unwrap();
            assert!(
                rows.iter().all(|row| row.id != one.id && !row.lost),
                "{rows:?}"
            );
            assert_eq!(contents(&repository, &two.id).await.unwrap(), second);
            repository.prune(&NOW, |_| {}).await.unwrap();
            nothing_left(&repository).await;
            backup(&repository, "one", &first).await.unwrap();
            repository.prune(&NOW, |_| {}).await.unwrap();
            assert_sound(&repository).await;
        }
    }
}

/// On the word of a tombstone that cannot be read nothing is deleted, and prune goes on.
#[tokio::test]
async fn a_damaged_tombstone_is_undone() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let all = items(200, |_| 1);
    let one = backup(&repository, "one", &all).await.unwrap();
    repository.forget(&[one.id]).await.unwrap();
    gate.replace(&keys(&repository, "forgotten").await[0], flip(30))
        .await;
    assert!(repository.prune(&NOW, |_| {}).await.is_err());
    let report = repair(&repository, ALL).await;
    assert_eq!(report.plan.tombstones.len(), 1);
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(contents(&repository, &one.id).await.unwrap(), all);
    // And it can be forgotten again.
    repository.forget(&[one.id]).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(repository.backups().await.unwrap().len(), 0);
    assert_eq!(keys(&repository, "forgotten").await, Vec::<String>::new());
}

/// A prune publishes while a repair is about to: the repair begins again and loses nothing.
#[tokio::test]
async fn a_prune_that_is_faster_is_no_harm() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let all = items(2000, |_| 1);
    let one = backup(&repository, "one", &all).await.unwrap();
    let gone = backup(&repository, "gone", &items(300, |_| 2))
        .await
        .unwrap();
    let packs = repository.store().list("packs/data").await.unwrap();
    let pack = packs.iter().max_by_key(|p| p.size).unwrap();
    gate.replace(&pack.key, flip(pack.size as usize - 20)).await;
    repository.forget(&[gone.id]).await.unwrap();
    let stop = gate.hold(Op::Put, "epochs/", 1);
    let repairing = tokio::spawn({
        let repository = repository.clone();
        async move { repository.repair(&ALL, &Plain, |_| {}).await }
    });
    stop.reached().await;
    let lenient = PruneOptions {
        max_unused: 1.0,
        ..NOW
    };
    repository.prune(&lenient, |_| {}).await.unwrap();
    stop.release();
    let report = repairing.await.unwrap().unwrap();
    assert_eq!(report.epochs, 1);
    assert_eq!(contents(&repository, &one.id).await.unwrap(), all);
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_sound(&repository).await;
}

/// A backup that is under way while its parent's packs are repaired.
#[tokio::test]
async fn a_backup_beside_a_repair_is_whole() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let all = items(2000, |_| 1);
    backup(&repository, "one", &all).await.unwrap();
    let packs = repository.store().list("packs/data").await.unwrap();
    let pack = packs.iter().max_by_key(|p| p.size).unwrap();
    gate.replace(&pack.key, flip(pack.size as usize - 20)).await;
    let stop = gate.hold(Op::Put, "manifests/", 1);
    let writer = tokio::spawn({
        let (repository, all) = (repository.clone(), all.clone());
        async move { backup(&repository, "two", &all).await }
    });
    stop.reached().await;
    repair(&repository, ALL).await;
    repository.prune(&NOW, |_| {}).await.unwrap();
    stop.release();
    let two = writer.await.unwrap().unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(contents(&repository, &two.id).await.unwrap(), all);
    assert_sound(&repository).await;
}

/// A pack that is to be rewritten and cannot be read is left alone, and everything else is collected.
#[tokio::test]
async fn prune_goes_on_beside_a_damaged_pack() {
    for missing in [false, true] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let all = items(3000, |_| 1);
        let whole = backup(&repository, "whole", &all).await.unwrap();
        let half: Items = all.into_iter().step_by(2).collect();
        let kept = backup(&repository, "half", &half).await.unwrap();
        let gone = backup(&repository, "gone", &items(500, |_| 6))
            .await
            .unwrap();
        let packs = repository.store().list("packs/data").await.unwrap();
        let own = |id: SessionId| packs.iter().find(|p| p.key.contains(&id.to_string()));
        let pack = own(whole.id).unwrap();
        match missing {
            true => repository.store().delete(&pack.key).await.unwrap(),
            false => gate.replace(&pack.key, flip(100)).await,
        }
        repository.forget(&[whole.id, gone.id]).await.unwrap();
        let report = repository.prune(&NOW, |_| {}).await.unwrap();
        assert_eq!(report.backups_removed.len(), 2, "{report:?}");
        let left = keys(&repository, "packs/data").await;
        assert!(!left.contains(&own(gone.id).unwrap().key));
        if !missing {
            assert_eq!(report.damaged, std::slice::from_ref(&pack.key));
            assert!(left.contains(&pack.key), "it may be repaired");
        }
        let report = repair(&repository, ALL).await;
        assert_part(&repository, &report, kept.id, &half).await;
    }
}

#[tokio::test]
async fn what_is_lost_entirely_is_told_and_can_be_forgotten() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let other = items(50, |_| 3);
    let one = backup(&repository, "one", &items(100, |_| 1))
        .await
        .unwrap();
    let two = backup(&repository, "two", &other).await.unwrap();
    for key in keys(&repository, "packs/").await {
        if key.contains(&one.id.to_string()) {
            repository.store().delete(&key).await.unwrap();
        }
    }
    let report = repair(&repository, FORGET).await;
    assert!(report.plan.loses());
    assert!(report.plan.backups[0].entirely, "{}", report.plan);
    assert!(report.plan.to_string().contains("LOST backup one"));
    assert!(report.repaired.is_empty());
    assert_eq!(report.forgotten, ["one"]);
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_sound(&repository).await;
    assert_eq!(contents(&repository, &two.id).await.unwrap(), other);
    nothing_left(&repository).await;
}

#[tokio::test]
async fn the_role_backup_cannot_repair() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "one", &items(100, |_| 1))
        .await
        .unwrap();
    let passphrase = Unlock::Passphrase("correct horse".into());
    repository.add_key(&passphrase, Role::Backup).await.unwrap();
    let writer = Repository::open(gate.store(), env(), &passphrase, OpenOptions::default())
        .await
        .unwrap();
    delete_all(&repository, "packs/data").await;
    let before = keys(&repository, "").await;
    // It may see what a repair would do, and do nothing.
    assert!(writer.plan_repair(&ALL).await.unwrap().loses());
    let refused = writer.repair(&ALL, &Plain, |_| {}).await;
    assert!(matches!(refused, Err(Error::Role { .. })), "{refused:?}");
    assert_eq!(keys(&repository, "").await, before);
}
