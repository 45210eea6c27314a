//! What happens when processes meet at the worst moment: backups, prunes, readers and verifies side by side.

use ark_engine::store::{Store, StoreOptions};
use ark_engine::verify::Unwatched;
use ark_engine::{
    BeginBackup, Error, FrameClass, OpenOptions, PruneOptions, Reader, Repository, SessionId,
    VerifyOptions,
};

use crate::gate::{End, Gate, Op};
use crate::roundtrip::{
    Items, assert_sound, backup, cluster, commit, contents, env, items, memory, new_repository,
    read_all, unlock, write,
};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};

fn begin(name: &str) -> BeginBackup {
    BeginBackup {
        name: name.into(),
        cluster: cluster(),
    }
}

async fn prune(repository: Repository, max_unused: f64) -> Result<(), Error> {
    let options = PruneOptions { max_unused, ..NOW };
    repository.prune(&options, |_| {}).await.map(drop)
}

fn others(count: usize, version: u32) -> Items {
    items(count, |_| version)
}

/// Several backups so small that their index segments are merged.
async fn small_backups(repository: &Repository, name: &str, count: usize) {
    for n in 0..count {
        let few = others(3, 1000 + n as u32);
        backup(repository, &format!("{name}-{n}"), &few)
            .await
            .unwrap();
    }
}

/// The pin comes after the prune listed sessions, and names an epoch that the prune has left behind.
#[tokio::test]
async fn a_backup_that_pins_while_epochs_pass_is_not_lost() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let gone = backup(&repository, "gone", &others(300, 1)).await.unwrap();
    repository.forget(&[gone.id]).await.unwrap();

    let pin = gate.hold(Op::Put, "sessions/", 1);
    let content = others(50, 2);
    let writer = tokio::spawn({
        let (repository, content) = (repository.clone(), content.clone());
        async move { backup(&repository, "two", &content).await }
    });
    pin.reached().await;
    let publish = gate.hold(Op::Put, "epochs/", 2);
    let pruner = tokio::spawn(prune(repository.clone(), 0.05));
    publish.reached().await;
    pin.release();
    let two = writer.await.unwrap().unwrap();
    publish.release();
    pruner.await.unwrap().unwrap();
    prune(repository.clone(), 0.05).await.unwrap();
    assert_eq!(contents(&repository, &two.id).await.unwrap(), content);
    assert_sound(&repository).await;
}

/// A pin below the watermark belongs to nobody who may commit.
#[tokio::test]
async fn the_watermark_never_goes_back() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let gone = backup(&repository, "gone", &others(300, 1)).await.unwrap();
    repository.forget(&[gone.id]).await.unwrap();
    let pin = gate.hold(Op::Put, "sessions/", 1);
    let writer = tokio::spawn({
        let repository = repository.clone();
        async move { backup(&repository, "two", &others(5, 2)).await }
    });
    pin.reached().await;
    prune(repository.clone(), 0.05).await.unwrap();
    let before = repository.view().await.unwrap().body.watermark;
    assert!(before > 0);
    backup(&repository, "three", &others(5, 3)).await.unwrap();
    // The pin is there, and its writer has not looked at the head yet.
    let look = gate.hold(Op::List, "", 1);
    pin.release();
    look.reached().await;
    prune(repository.clone(), 0.05).await.unwrap();
    let after = repository.view().await.unwrap().body.watermark;
    assert!(after >= before, "{before} → {after}");
    look.release();
    writer.await.unwrap().unwrap();
}

/// A prune that decides by an epoch that is no longer the newest.
#[tokio::test]
async fn a_slow_prune_deletes_no_segment_of_a_faster_one() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let gone = backup(&repository, "gone", &others(300, 7)).await.unwrap();
    let all = others(2000, 0);
    let whole = backup(&repository, "whole", &all).await.unwrap();
    let half: Items = all.into_iter().step_by(2).collect();
    let kept = backup(&repository, "half", &half).await.unwrap();
    repository.forget(&[gone.id]).await.unwrap();

    let third_round = gate.hold(Op::List, "packs", 3);
    let fast = tokio::spawn(prune(repository.clone(), 0.0));
    third_round.reached().await;
    repository.forget(&[whole.id]).await.unwrap();
    let start = gate.hold(Op::List, "packs", 1);
    let slow = tokio::spawn(prune(repository.clone(), 0.0));
    start.reached().await;
    third_round.release();
    fast.await.unwrap().unwrap();
    start.release();
    slow.await.unwrap().unwrap();
    assert_eq!(contents(&repository, &kept.id).await.unwrap(), half);
    assert_sound(&repository).await;
}

#[tokio::test]
async fn a_commit_that_failed_cannot_be_tried_again() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let session = repository.begin_backup(begin("one")).await.unwrap();
    let root = write(&session, &others(300, 0)).await.unwrap();
    gate.fail(Op::Put, "packs/data", 1, End::Refuse);
    assert!(session.commit(commit(root)).await.is_err());
    assert!(session.commit(commit(root)).await.is_err());
    assert_eq!(repository.backups().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_commit_before_its_writers_end_is_refused() {
    let repository = new_repository(Gate::new().store()).await;
    let session = repository.begin_backup(begin("one")).await.unwrap();
    let mut chunks = session.chunks(FrameClass::Objects);
    let mut map = session.map(ark_engine::Dataset::Objects);
    for (key, value) in &others(10, 0) {
        let value = chunks.put_value(value).await.unwrap();
        map.push(key, &value).await.unwrap();
    }
    let root = map.finish().await.unwrap();
    assert!(session.commit(commit(root)).await.is_err());
    drop(chunks);
}

/// The verify has its view; then a prune takes away a forgotten backup and merges the index.
#[tokio::test]
async fn a_verify_beside_a_prune_reports_no_damage() {
    for request in [Op::List, Op::Get] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let gone = backup(&repository, "gone", &others(300, 1)).await.unwrap();
        small_backups(&repository, "small", 9).await;
        repository.forget(&[gone.id]).await.unwrap();
        // Held back by this pin, so that the verify starts when the packs are condemned.
        let reader = repository.reader().await.unwrap();
        prune(repository.clone(), 0.05).await.unwrap();
        small_backups(&repository, "later", 9).await;
        let stop = match request {
            Op::List => gate.hold(Op::List, "everything", 1),
            _ => gate.hold(Op::Get, "index/", 2),
        };
        let verify = tokio::spawn({
            let repository = repository.clone();
            async move {
                repository
                    .verify(VerifyOptions { read_data: true }, &Unwatched)
                    .await
            }
        });
        stop.reached().await;
        reader.close().await;
        prune(repository.clone(), 0.05).await.unwrap();
        assert_eq!(repository.info().await.unwrap().forgotten, 0);
        stop.release();
        let report = verify.await.unwrap().unwrap();
        assert_eq!(report.damage, [], "{request:?}");
    }
}

/// A prune merges the index segments between a backup's look at the head and its look at them.
#[tokio::test]
async fn a_backup_finds_what_a_prune_has_just_moved() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let content = others(300, 0);
    backup(&repository, "one", &content).await.unwrap();
    small_backups(&repository, "small", 9).await;
    let stop = gate.hold(Op::List, "forgotten", 1);
    let writer = tokio::spawn({
        let (repository, content) = (repository.clone(), content.clone());
        async move { backup(&repository, "two", &content).await }
    });
    stop.reached().await;
    prune(repository.clone(), 0.05).await.unwrap();
    stop.release();
    let two = writer.await.unwrap().unwrap();
    assert_eq!(two.stats.packs, 0, "{:?}", two.stats);
    assert_eq!(contents(&repository, &two.id).await.unwrap(), content);
    assert_sound(&repository).await;
}

/// A backup commits, and a prune lists it, between a look at the manifests and the look at the head.
#[tokio::test]
async fn a_backup_that_an_epoch_has_just_listed_is_not_lost() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let stop = gate.hold(Op::List, "epochs", 1);
    let list = tokio::spawn({
        let repository = repository.clone();
        async move { repository.backups().await }
    });
    stop.reached().await;
    backup(&repository, "one", &others(5, 1)).await.unwrap();
    prune(repository.clone(), 0.05).await.unwrap();
    stop.release();
    let rows = list.await.unwrap().unwrap();
    assert!(rows.iter().all(|row| !row.lost), "{rows:?}");
}

/// A prune removes a backup between a look at the head and the listing of manifests.
#[tokio::test]
async fn a_backup_that_a_prune_has_just_removed_is_not_lost() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let gone = backup(&repository, "gone", &others(300, 1)).await.unwrap();
    repository.forget(&[gone.id]).await.unwrap();
    for key in ["manifests", "epochs", "forgotten"] {
        let name = format!("gone-{key}");
        let gone = backup(&repository, &name, &others(300, 1)).await.unwrap();
        backup(&repository, &format!("kept-{key}"), &others(10, 2))
            .await
            .unwrap();
        // Absorbed.
        prune(repository.clone(), 0.05).await.unwrap();
        repository.forget(&[gone.id]).await.unwrap();
        let stop = gate.hold(Op::List, key, 1);
        let list = tokio::spawn({
            let repository = repository.clone();
            async move { repository.backups().await }
        });
        stop.reached().await;
        prune(repository.clone(), 0.05).await.unwrap();
        stop.release();
        let rows = list.await.unwrap().unwrap();
        assert!(rows.iter().all(|row| !row.lost), "{key}: {rows:?}");
    }
}

#[tokio::test]
async fn an_undelete_that_succeeds_is_no_prunes_to_undo() {
    for nth in 1..=2 {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let content = others(300, 1);
        let gone = backup(&repository, "gone", &content).await.unwrap();
        backup(&repository, "kept", &others(10, 2)).await.unwrap();
        repository.forget(&[gone.id]).await.unwrap();
        let publish = gate.hold(Op::Put, "epochs/", nth);
        let pruner = tokio::spawn(prune(repository.clone(), 0.05));
        publish.reached().await;
        let undeleted = repository.undelete(&gone.id).await;
        publish.release();
        pruner.await.unwrap().unwrap();
        match &undeleted {
            Ok(()) => assert_eq!(contents(&repository, &gone.id).await.unwrap(), content),
            Err(error) => assert!(matches!(error, Error::NoSuchBackup { .. }), "{error:?}"),
        }
        prune(repository.clone(), 0.05).await.unwrap();
        assert_eq!(
            contents(&repository, &gone.id).await.is_ok(),
            undeleted.is_ok()
        );
        assert_sound(&repository).await;
    }
}

/// The undo is written, the epoch after it is not: then it is not done, and must not pass for done the second time.
#[tokio::test]
async fn an_undelete_that_was_interrupted_is_made_again() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let content = others(20, 1);
    let gone = backup(&repository, "gone", &content).await.unwrap();
    prune(repository.clone(), 0.05).await.unwrap();
    repository.forget(&[gone.id]).await.unwrap();
    let publish = gate.hold(Op::Put, "epochs/", 1);
    let pruner = tokio::spawn(prune(repository.clone(), 0.05));
    publish.reached().await;
    gate.fail(Op::Put, "index/epoch-", 1, End::Refuse);
    repository.undelete(&gone.id).await.unwrap_err();
    repository.undelete(&gone.id).await.unwrap();
    publish.release();
    pruner.await.unwrap().unwrap();
    assert_eq!(contents(&repository, &gone.id).await.unwrap(), content);
}

/// What a pinned reader lists it can read, forgotten or not.
async fn assert_reads(reader: &Reader, made: &[(SessionId, &Items)]) {
    for row in reader.backups() {
        let name = &row.row.name;
        let (_, items) = made.iter().find(|(id, _)| *id == row.row.id).unwrap();
        let read = read_all(reader, row.row.datasets[0].1).await;
        let read = read.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(read == **items, "{name}");
    }
}

/// Nothing is left of a backup but claims of its name.
async fn assert_gone(repository: &Repository, id: &SessionId) {
    for folder in ["packs/", "index/", "manifests/", "sessions/", "forgotten/"] {
        let objects = repository.store().list(folder).await.unwrap();
        let of_it = objects.iter().find(|o| o.key.contains(&id.to_string()));
        assert!(of_it.is_none(), "{of_it:?}");
    }
}

/// A session that is older than a deletion keeps the watermark back; a reader comes after the prune that honoured the deletion.
#[tokio::test]
async fn a_deleted_backup_is_not_read_while_its_packs_go() {
    let repository = new_repository(Gate::new().store()).await;
    let (kept, gone) = (others(50, 1), others(300, 2));
    let kept_id = backup(&repository, "kept", &kept).await.unwrap().id;
    let gone_id = backup(&repository, "gone", &gone).await.unwrap().id;
    let open = repository.begin_backup(begin("open")).await.unwrap();
    repository.forget(&[gone_id]).await.unwrap();
    prune(repository.clone(), 0.05).await.unwrap();

    let reader = repository.reader().await.unwrap();
    open.abort().await.unwrap();
    prune(repository.clone(), 0.05).await.unwrap();
    assert_reads(&reader, &[(kept_id, &kept), (gone_id, &gone)]).await;
    reader.close().await;
    prune(repository.clone(), 0.05).await.unwrap();
    assert_gone(&repository, &gone_id).await;
    assert_sound(&repository).await;
}

/// A reader begins between two transitions of a prune, when the backup has been deleted, taken back, and is deleted again.
#[tokio::test]
async fn a_backup_that_is_taken_back_between_two_transitions_is_whole_or_gone() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let (kept, gone) = (others(50, 1), others(300, 2));
    let kept_id = backup(&repository, "kept", &kept).await.unwrap().id;
    let gone_id = backup(&repository, "gone", &gone).await.unwrap().id;
    repository.forget(&[gone_id]).await.unwrap();
    let second = gate.hold(Op::List, "packs", 2);
    let pruner = tokio::spawn(prune(repository.clone(), 0.05));
    second.reached().await;
    let taken_back = repository.undelete(&gone_id).await;
    let reader = repository.reader().await.unwrap();
    match taken_back {
        Ok(()) => repository.forget(&[gone_id]).await.unwrap(),
        Err(error) => assert!(matches!(error, Error::NoSuchBackup { .. }), "{error:?}"),
    }
    second.release();
    pruner.await.unwrap().unwrap();
    assert_reads(&reader, &[(kept_id, &kept), (gone_id, &gone)]).await;
    reader.close().await;
    prune(repository.clone(), 0.05).await.unwrap();
    assert_gone(&repository, &gone_id).await;
    assert_sound(&repository).await;
}

/// The tombstone goes with its backup, between the two looks of an undelete: that is no backup that was not forgotten.
#[tokio::test]
async fn an_undelete_of_what_is_being_removed_does_not_succeed() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let gone = backup(&repository, "gone", &others(20, 1)).await.unwrap();
    repository.forget(&[gone.id]).await.unwrap();
    let look = gate.hold(Op::Get, "forgotten/", 1);
    let undelete = tokio::spawn({
        let repository = repository.clone();
        async move { repository.undelete(&gone.id).await }
    });
    look.reached().await;
    prune(repository.clone(), 0.05).await.unwrap();
    look.release();
    let error = undelete.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoSuchBackup { .. }), "{error:?}");
}

/// A backup commits, and a prune takes its pin, between another one's look at the repository and at who is open.
#[tokio::test]
async fn a_name_that_was_taken_meanwhile_is_not_free() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let first = repository.begin_backup(begin("one")).await.unwrap();
    let look = gate.hold(Op::List, "names/", 1);
    let second = tokio::spawn({
        let repository = repository.clone();
        async move { repository.begin_backup(begin("one")).await }
    });
    look.reached().await;
    first.commit(commit(None)).await.unwrap();
    prune(repository.clone(), 0.05).await.unwrap();
    look.release();
    let error = second.await.unwrap().err().unwrap();
    assert!(matches!(error, Error::NameTaken { .. }), "{error:?}");
}

/// The stub was created, its reply was lost, and what is read instead is garbled: the epoch is in force all the same.
#[tokio::test]
async fn a_garbled_answer_does_not_cost_the_head_its_body() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let content = others(20, 1);
    let kept = backup(&repository, "kept", &content).await.unwrap();
    gate.fail(Op::Put, "epochs/", 1, End::Lose);
    gate.garble("epochs/fffffffffffffffe", 1);
    prune(repository.clone(), 0.05).await.unwrap_err();
    assert_eq!(contents(&repository, &kept.id).await.unwrap(), content);
    prune(repository.clone(), 0.05).await.unwrap();
    assert_sound(&repository).await;
}

/// A prune is killed when its epoch is there and nothing is deleted yet: the next one has nothing else to do.
#[tokio::test]
async fn segments_that_a_killed_prune_left_go_with_the_next_one() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    small_backups(&repository, "small", 8).await;
    let publish = gate.hold(Op::Put, "epochs/", 1);
    let pruner = tokio::spawn(prune(repository.clone(), 1.0));
    publish.reached().await;
    gate.fail(Op::List, "epochs", 1, End::Break);
    publish.release();
    pruner.await.unwrap().unwrap_err();
    prune(repository.clone(), 1.0).await.unwrap();
    let view = repository.view().await.unwrap();
    let there = repository.store().list("index/").await.unwrap();
    assert_eq!(there.len(), view.segments.len() + 1, "{there:?}");
    assert_sound(&repository).await;
}

/// One process publishes an epoch while another of the same state directory still reads the one before.
#[tokio::test]
async fn a_newer_epoch_beside_is_no_rollback() {
    let gate = Gate::new();
    new_repository(gate.store()).await;
    let state = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        state_dir: Some(state.path().to_owned()),
        ..Default::default()
    };
    let repository = Repository::open(gate.store(), env(), &unlock(), options)
        .await
        .unwrap();
    backup(&repository, "one", &others(10, 1)).await.unwrap();
    let stop = gate.hold(Op::Got, "index/epoch-", 1);
    let list = tokio::spawn({
        let repository = repository.clone();
        async move { repository.backups().await }
    });
    stop.reached().await;
    prune(repository.clone(), 0.05).await.unwrap();
    assert!(repository.info().await.unwrap().epoch > 0);
    stop.release();
    assert_eq!(list.await.unwrap().unwrap().len(), 1);
}

/// Whoever stops work half-way ends its pins: no prune waits for them, whatever host they are of.
#[tokio::test]
async fn work_that_is_dropped_leaves_no_open_session() {
    let store = memory();
    let repository = new_repository(store.clone()).await;
    backup(&repository, "one", &items(300, |_| 1))
        .await
        .unwrap();
    let mut dropped = 0;
    for steps in 0..60 {
        let wait = async {
            for _ in 0..steps {
                tokio::task::yield_now().await;
            }
        };
        let read_data = VerifyOptions { read_data: true };
        tokio::select! {
            biased;
            () = wait => dropped += 1,
            report = repository.verify(read_data, &Unwatched) => {
                report.unwrap();
            }
        }
        repository.end_sessions().await;
        let other = Repository::open(store.clone(), env(), &unlock(), OpenOptions::default())
            .await
            .unwrap();
        let view = other.view().await.unwrap();
        assert!(other.open_sessions(&view).await.unwrap().is_empty());
    }
    assert!(dropped > 1, "{dropped}");
}

/// A prune that is killed in a late round has its pin below its own watermark, and the next prune takes it away: what it
/// was writing to a folder then has nobody.
#[tokio::test]
async fn half_written_files_of_who_has_no_pin_go_when_nothing_is_to_be_left() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let repository = new_repository(Store::open(&url, &StoreOptions::default()).unwrap()).await;
    backup(&repository, "one", &others(30, 1)).await.unwrap();
    let open = repository.begin_backup(begin("open")).await.unwrap();

    let killed = SessionId::new(1_700_000_000_000, [7; 10]);
    let half_written = |key: String| {
        let path = folder.path().join(format!("{key}#1"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "half").unwrap();
        path
    };
    let lost = [
        half_written(ark_format::layout::segment(killed, 0)),
        half_written(ark_format::layout::manifest(1, killed)),
    ];
    let living = [
        half_written(ark_format::layout::segment(open.id(), 0)),
        half_written(ark_format::layout::session(1, killed)),
    ];

    repository
        .prune(&PruneOptions::default(), |_| {})
        .await
        .unwrap();
    assert!(lost.iter().all(|path| path.exists()));
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert!(!lost.iter().any(|path| path.exists()));
    assert!(living.iter().all(|path| path.exists()));
}

/// The tree of many backups is in frames of a few nodes each, one after the other in a pack that prunes have merged.
#[tokio::test]
async fn a_prune_reads_no_tree_frame_again_and_again() {
    let repository = new_repository(memory()).await;
    for hour in 0..4u32 {
        for minute in 0..20 {
            let now = hour * 20 + minute;
            let content = items(100, |item| (now + item as u32) / 50);
            let name = format!("b{now:02}");
            backup(&repository, &name, &content).await.unwrap();
        }
        repository.prune(&NOW, |_| {}).await.unwrap();
    }
    let one_more = items(100, |_| 7);
    backup(&repository, "one-more", &one_more).await.unwrap();

    let objects = repository.store().list("").await.unwrap();
    let bytes: u64 = objects.iter().map(|object| object.size).sum();
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert!(
        report.requests.bytes_read < 3 * bytes / 2,
        "{} of {bytes} bytes",
        report.requests.bytes_read
    );
}
