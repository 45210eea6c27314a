//! A bucket that is put back to an older state, and newest manifests that were removed: a client that has seen more
//! notices, and a prune of its deletes nothing.

use ark_engine::store::Store;
use ark_engine::verify::Unwatched;
use ark_engine::{
    BeginBackup, Error, OpenOptions, RepairOptions, Repository, SessionId, VerifyOptions,
    WriteSession,
};

use super::base::{NOW, Objects, bucket, objects_of};
use crate::gate::{Gate, Op};
use crate::roundtrip::{
    Items, Plain, assert_sound, backup, cluster, commit, contents, env, items, new_repository,
    unlock, write,
};

async fn client(store: Store, state: &std::path::Path) -> Repository {
    let options = OpenOptions {
        state_dir: Some(state.to_owned()),
        ..OpenOptions::default()
    };
    Repository::open(store, env(), &unlock(), options)
        .await
        .unwrap()
}

/// A client that remembers nothing.
async fn stranger(store: Store) -> Repository {
    let options = OpenOptions::default();
    Repository::open(store, env(), &unlock(), options)
        .await
        .unwrap()
}

fn manifest_of(keys: impl Iterator<Item = String>, id: SessionId) -> String {
    let mut of = keys.filter(|key| key.starts_with("manifests/") && key.ends_with(&id.to_string()));
    of.next().unwrap()
}

#[tokio::test]
async fn an_older_state_of_the_bucket_is_refused_by_who_has_seen_a_newer_one() {
    let gate = Gate::new();
    new_repository(gate.store()).await;
    let state = tempfile::tempdir().unwrap();
    let repository = client(gate.store(), state.path()).await;
    backup(&repository, "one", &items(50, |_| 1)).await.unwrap();
    let older = objects_of(&gate.store()).await;
    backup(&repository, "two", &items(50, |_| 2)).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();

    let rolled = client(bucket(&older).await, state.path()).await;
    let verify = rolled.verify(VerifyOptions::default(), &Unwatched).await;
    let prune = rolled.prune(&NOW, |_| {}).await;
    let list = rolled.backups().await;
    let write = backup(&rolled, "three", &items(5, |_| 3)).await;
    for error in [
        verify.map(drop).unwrap_err(),
        prune.map(drop).unwrap_err(),
        list.map(drop).unwrap_err(),
        write.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::RolledBack { .. }), "{error:?}");
    }
    // Who has not seen more cannot know.
    let other = tempfile::tempdir().unwrap();
    let unaware = client(bucket(&older).await, other.path()).await;
    assert_eq!(unaware.backups().await.unwrap().len(), 1);
}

/// No epoch was published between the two states: only the commits tell.
#[tokio::test]
async fn removed_manifests_are_missed_by_who_has_seen_them() {
    for absorbed in [false, true] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let state = tempfile::tempdir().unwrap();
        let content = items(50, |_| 1);
        backup(&repository, "one", &content).await.unwrap();
        if absorbed {
            repository.prune(&NOW, |_| {}).await.unwrap();
        }
        // This client writes one itself and sees another's.
        let seeing = client(gate.store(), state.path()).await;
        let own = items(60, |_| 2);
        let own_id = backup(&seeing, "own", &own).await.unwrap().id;
        let others = items(70, |_| 3);
        let others_id = backup(&repository, "others", &others).await.unwrap().id;
        if !absorbed {
            seeing.backups().await.unwrap();
        }
        let objects = objects_of(&gate.store()).await;
        let keys = || objects.keys().cloned();
        let mut removed = vec![manifest_of(keys(), own_id)];
        if !absorbed {
            removed.push(manifest_of(keys(), others_id));
        }
        for key in &removed {
            gate.store().delete(key).await.unwrap();
        }

        let seeing = client(gate.store(), state.path()).await;
        let report = seeing
            .verify(VerifyOptions::default(), &Unwatched)
            .await
            .unwrap();
        for key in &removed {
            assert!(report.damage.iter().any(|d| d.object == *key), "{report:?}");
        }
        let before = objects_of(&gate.store()).await;
        let packs = |objects: &Objects| {
            objects
                .keys()
                .filter(|key| key.starts_with("packs/"))
                .count()
        };
        for _ in 0..2 {
            let pruned = seeing.prune(&NOW, |_| {}).await;
            assert!(
                matches!(&pruned, Err(Error::PruneBlocked { object, .. }) if removed.contains(object)),
                "{pruned:?}"
            );
        }
        // The name stays taken, and nobody fences the session whose commit it was.
        let again = backup(&seeing, "own", &own).await;
        assert!(matches!(again, Err(Error::NameTaken { .. })), "{again:?}");
        assert_eq!(packs(&before), packs(&objects_of(&gate.store()).await));
        for key in &removed {
            let put_back = gate
                .store()
                .create(key, objects[key].clone())
                .await
                .unwrap();
            assert!(matches!(put_back, ark_engine::store::Created::New));
        }
        seeing.prune(&NOW, |_| {}).await.unwrap();
        assert_sound(&seeing).await;
        assert_eq!(contents(&seeing, &own_id).await.unwrap(), own);
        assert_eq!(contents(&seeing, &others_id).await.unwrap(), others);
    }
}

/// Newer epochs were taken away; what was committed under them is there and counts, and can be deleted.
#[tokio::test]
async fn a_commit_above_the_head_counts_and_can_be_collected() {
    let repository = new_repository(Gate::new().store()).await;
    backup(&repository, "one", &items(50, |_| 1)).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let older = objects_of(repository.store()).await;
    for n in 2..6 {
        let few = items(20, |_| n);
        backup(&repository, &format!("{n}"), &few).await.unwrap();
        repository.prune(&NOW, |_| {}).await.unwrap();
    }
    let content = items(300, |_| 9);
    let late = backup(&repository, "late", &content).await.unwrap().id;
    let above = repository.info().await.unwrap().epoch;
    let is_epoch = |key: &str| key.starts_with("epochs/") || key.starts_with("index/epoch-");
    let mut objects = objects_of(repository.store()).await;
    objects.retain(|key, _| !is_epoch(key));
    objects.extend(older.into_iter().filter(|(key, _)| is_epoch(key)));

    let state = tempfile::tempdir().unwrap();
    let rolled = client(bucket(&objects).await, state.path()).await;
    assert!(rolled.info().await.unwrap().epoch + 3 < above);
    assert_eq!(contents(&rolled, &late).await.unwrap(), content);
    rolled.forget(&[late]).await.unwrap();
    rolled.prune(&NOW, |_| {}).await.unwrap();
    let of_it = async |folder: &str| {
        let listed = rolled.store().list(folder).await.unwrap();
        listed.iter().any(|o| o.key.contains(&late.to_string()))
    };
    assert!(!of_it("packs/").await, "its packs stay");
    let rows = rolled.backups().await.unwrap();
    assert!(rows.iter().all(|row| row.row.id != late), "{rows:?}");
    assert_eq!(rows.len(), 5);
    assert_sound(&rolled).await;

    // Its key is free again when the numbers have passed it.
    for n in 10.. {
        if rolled.info().await.unwrap().epoch > above {
            break;
        }
        let few = items(20, |_| n);
        backup(&rolled, &format!("{n}"), &few).await.unwrap();
        rolled.prune(&NOW, |_| {}).await.unwrap();
    }
    assert!(!of_it("manifests/").await);
    assert!(!of_it("forgotten/").await);
    assert_sound(&rolled).await;
}

/// A backup began under an epoch that was taken away since: a prune waits for it.
#[tokio::test]
async fn what_a_session_above_the_head_relies_on_stays() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let content = items(100, |_| 1);
    let one = backup(&repository, "one", &content).await.unwrap().id;
    repository.prune(&NOW, |_| {}).await.unwrap();
    let older = objects_of(&gate.store()).await;
    for n in 2..6 {
        let few = items(20, |_| n);
        backup(&repository, &format!("{n}"), &few).await.unwrap();
        repository.prune(&NOW, |_| {}).await.unwrap();
    }
    let late = repository.begin_backup(begin("late")).await.unwrap();
    put_epochs_back(&gate.store(), &older).await;

    let state = tempfile::tempdir().unwrap();
    let other = client(gate.store(), state.path()).await;
    other.forget(&[one]).await.unwrap();
    let report = other.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.waiting_for.len(), 1, "{report:?}");
    assert!(report.held_back_bytes > 0);

    commits_what_was_held_back(&late, &other, &content).await;
}

/// Without a copy of the manifest a repair gives the backup up by its name, and all goes on.
#[tokio::test]
async fn a_removed_manifest_is_given_up_by_a_repair() {
    let gate = Gate::new();
    new_repository(gate.store()).await;
    let state = tempfile::tempdir().unwrap();
    let repository = client(gate.store(), state.path()).await;
    let content = items(50, |_| 1);
    let one = backup(&repository, "one", &content).await.unwrap().id;
    let two = backup(&repository, "two", &items(60, |_| 2))
        .await
        .unwrap()
        .id;
    let keys = objects_of(&gate.store()).await;
    let key = manifest_of(keys.into_keys(), two);
    gate.store().delete(&key).await.unwrap();
    let options = RepairOptions {
        read_data: true,
        ..RepairOptions::default()
    };
    let report = repository.repair(&options, &Plain, |_| {}).await.unwrap();
    assert_eq!(report.plan.commits.len(), 1, "{}", report.plan);
    assert_eq!(report.plan.commits[0].name.as_deref(), Some("two"));
    for _ in 0..2 {
        repository.prune(&NOW, |_| {}).await.unwrap();
        assert_sound(&repository).await;
    }
    backup(&repository, "two", &items(5, |_| 4)).await.unwrap();
    assert_eq!(contents(&repository, &one).await.unwrap(), content);
}

/// The loss of an undo does not make its backup forgotten again.
#[tokio::test]
async fn a_lost_undo_forgets_nothing() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let content = items(50, |_| 1);
    let one = backup(&repository, "one", &content).await.unwrap().id;
    for round in 0..3 {
        repository.forget(&[one]).await.unwrap();
        repository.undelete(&one).await.unwrap();
        let left = repository.store().list("forgotten").await.unwrap();
        assert!(left.iter().all(|o| o.key.ends_with(".undo")), "{left:?}");
        if round == 1 {
            for undo in left {
                repository.store().delete(&undo.key).await.unwrap();
            }
        }
        repository.prune(&NOW, |_| {}).await.unwrap();
        assert_eq!(contents(&repository, &one).await.unwrap(), content);
    }
    repository.forget(&[one]).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert!(repository.backups().await.unwrap().is_empty());
    assert_eq!(repository.store().list("forgotten").await.unwrap(), []);
}

/// Takes the epochs away, and puts those of an older state in their place.
async fn put_epochs_back(store: &Store, older: &Objects) {
    let is_epoch = |key: &str| key.starts_with("epochs/") || key.starts_with("index/epoch-");
    let newer = objects_of(store).await;
    for key in newer.keys().filter(|key| is_epoch(key)) {
        store.delete(key).await.unwrap();
    }
    for (key, bytes) in older.iter().filter(|(key, _)| is_epoch(key)) {
        store.create(key, bytes.clone()).await.unwrap();
    }
}

/// Makes the bucket what it was, but for what is kept.
async fn put_back(store: &Store, older: &Objects, kept: impl Fn(&str) -> bool) {
    let newer = objects_of(store).await;
    for key in newer.keys().filter(|key| !older.contains_key(*key)) {
        if !kept(key) {
            store.delete(key).await.unwrap();
        }
    }
    for (key, bytes) in older {
        store.create(key, bytes.clone()).await.unwrap();
    }
}

fn begin(name: &str) -> BeginBackup {
    BeginBackup {
        name: name.into(),
        cluster: cluster(),
    }
}

/// Publishes epochs until the head has this number.
async fn count_up(repository: &Repository, number: u64) {
    let who = repository.env().session_id();
    for n in 100.. {
        let head = repository.info().await.unwrap().epoch;
        if head >= number {
            break;
        }
        // One epoch each: nothing is dropped.
        let few = items(20, |_| n);
        backup(repository, &format!("{who}-{n}"), &few)
            .await
            .unwrap();
        repository.prune(&NOW, |_| {}).await.unwrap();
    }
}

/// `late` began in the history that is gone, and needs what `one` wrote, which was deleted since.
async fn commits_what_was_held_back(late: &WriteSession, other: &Repository, content: &Items) {
    let root = write(late, content).await.unwrap();
    let committed = late.commit(commit(root)).await.unwrap();
    assert_eq!(committed.stats.packs, 0, "it reuses what `one` wrote");
    other.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(&contents(other, &committed.id).await.unwrap(), content);
    assert_sound(other).await;
}

/// The bucket was put back, and the numbers of epochs have caught up: an open session looked at another epoch with its number.
#[tokio::test]
async fn what_a_session_of_another_history_relies_on_stays_when_the_numbers_catch_up() {
    for passed in [0, 3] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        let content = items(100, |_| 1);
        let one = backup(&repository, "one", &content).await.unwrap().id;
        repository.prune(&NOW, |_| {}).await.unwrap();
        let older = objects_of(&gate.store()).await;
        count_up(&repository, 6).await;
        let late = repository.begin_backup(begin("late")).await.unwrap();
        put_epochs_back(&gate.store(), &older).await;

        let state = tempfile::tempdir().unwrap();
        let other = client(gate.store(), state.path()).await;
        other.forget(&[one]).await.unwrap();
        other.prune(&NOW, |_| {}).await.unwrap();
        count_up(&other, 6 + passed).await;
        let report = other.prune(&NOW, |_| {}).await.unwrap();
        assert_eq!(report.waiting_for.len(), 1, "{passed}: {report:?}");
        assert!(report.held_back_bytes > 0);

        commits_what_was_held_back(&late, &other, &content).await;
    }
}

/// The whole bucket was put back while a backup was written: what it relies on is gone, and its pin.
#[tokio::test]
async fn a_backup_whose_repository_is_put_back_is_not_reported_as_made() {
    for (pinned, numbers) in [(false, 0), (false, 6), (false, 9), (true, 0), (true, 9)] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        backup(&repository, "one", &items(10, |_| 9)).await.unwrap();
        repository.prune(&NOW, |_| {}).await.unwrap();
        let older = objects_of(&gate.store()).await;
        let content = items(100, |_| 1);
        backup(&repository, "two", &content).await.unwrap();
        count_up(&repository, 6).await;
        let late = repository.begin_backup(begin("late")).await.unwrap();
        put_back(&gate.store(), &older, |key| {
            pinned && key.starts_with("sessions/")
        })
        .await;
        let state = tempfile::tempdir().unwrap();
        let other = client(gate.store(), state.path()).await;
        count_up(&other, numbers.max(1)).await;

        let root = write(&late, &content).await.unwrap();
        let result = late.commit(commit(root)).await;
        assert!(
            matches!(
                result,
                Err(Error::Unconfirmed { .. } | Error::Fenced { .. })
            ),
            "{pinned} {numbers}: {result:?}"
        );
        if pinned {
            assert!(
                matches!(result, Err(Error::Unconfirmed { .. })),
                "{result:?}"
            );
        }
    }
}

/// What the bucket had when it was copied.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Copied {
    /// Not even the pin.
    Before,
    /// The pin.
    Begun,
    /// Everything but the commit.
    Written,
}

/// No epoch was published since the state that the bucket is put back to, or since then the next one: the head does not tell.
#[tokio::test]
async fn what_is_lost_under_the_same_head_is_not_reported_as_made() {
    let states = [Copied::Before, Copied::Begun, Copied::Written];
    for (copied, pruned, new) in states
        .into_iter()
        .flat_map(|copied| [false, true].map(|pruned| (copied, pruned)))
        .flat_map(|(copied, pruned)| [false, true].map(|new| (copied, pruned, new)))
    {
        let what = format!("{copied:?}, pruned: {pruned}, new content: {new}");
        let gate = Gate::new();
        let store = gate.store();
        let repository = new_repository(store.clone()).await;
        backup(&repository, "one", &items(10, |_| 9)).await.unwrap();
        repository.prune(&NOW, |_| {}).await.unwrap();
        let mut older = objects_of(&store).await;
        let content = items(100, |_| 1);
        if !new {
            backup(&repository, "two", &content).await.unwrap();
        }
        let late = repository.begin_backup(begin("late")).await.unwrap();
        if copied == Copied::Begun {
            older = objects_of(&store).await;
        }
        let root = write(&late, &content).await.unwrap();
        let stop = gate.hold(Op::Put, "manifests/", 1);
        let committing = tokio::spawn({
            let late = late.clone();
            async move { late.commit(commit(root)).await }
        });
        stop.reached().await;
        if copied == Copied::Written {
            older = objects_of(&store).await;
        }
        put_back(&store, &older, |_| false).await;
        if pruned {
            let other = stranger(store.clone()).await;
            backup(&other, "more", &items(20, |_| 5)).await.unwrap();
            other.prune(&NOW, |_| {}).await.unwrap();
        }
        stop.release();
        let result = committing.await.unwrap();
        if copied == Copied::Written || (copied == Copied::Begun && !new) {
            let committed = result.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(contents(&repository, &committed.id).await.unwrap(), content);
            assert_sound(&repository).await;
            continue;
        }
        let there = store.list("manifests").await.unwrap();
        match result {
            Err(Error::Unconfirmed { session }) => {
                assert!(there.iter().any(|o| o.key.contains(&session)), "{what}");
            }
            Err(Error::Fenced { .. }) if pruned => {}
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// Its client has seen a newer epoch: it learns under which id the backup is there all the same.
#[tokio::test]
async fn who_has_seen_a_newer_epoch_is_told_what_he_has_committed() {
    let gate = Gate::new();
    new_repository(gate.store()).await;
    let state = tempfile::tempdir().unwrap();
    let repository = client(gate.store(), state.path()).await;
    backup(&repository, "one", &items(50, |_| 1)).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let older = objects_of(&gate.store()).await;
    count_up(&repository, 6).await;
    let late = repository.begin_backup(begin("late")).await.unwrap();
    put_epochs_back(&gate.store(), &older).await;
    let root = write(&late, &items(100, |_| 1)).await.unwrap();
    let result = late.commit(commit(root)).await;
    let Err(Error::Unconfirmed { session }) = &result else {
        panic!("{result:?}");
    };
    let there = gate.store().list("manifests").await.unwrap();
    assert!(there.iter().any(|o| o.key.contains(session)));
}

/// It has found the commit and is about to publish the epoch that lists it.
#[tokio::test]
async fn a_prune_that_is_about_to_list_a_commit_unsettles_nobody() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "one", &items(50, |_| 1)).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let older = objects_of(&gate.store()).await;
    count_up(&repository, 6).await;
    let late = repository.begin_backup(begin("late")).await.unwrap();
    let content = items(100, |_| 1);
    let root = write(&late, &content).await.unwrap();
    let stop = gate.hold(Op::List, "epochs", 1);
    let committing = tokio::spawn({
        let late = late.clone();
        async move { late.commit(commit(root)).await }
    });
    stop.reached().await;
    put_epochs_back(&gate.store(), &older).await;
    let other = stranger(gate.store()).await;
    let publishing = gate.hold(Op::Put, "epochs/", 1);
    let pruning = tokio::spawn({
        let other = other.clone();
        async move { other.prune(&NOW, |_| {}).await }
    });
    publishing.reached().await;
    stop.release();
    let committed = committing.await.unwrap().unwrap();
    publishing.release();
    pruning.await.unwrap().unwrap();
    assert_eq!(contents(&other, &committed.id).await.unwrap(), content);
    let pins = other.store().list("sessions").await.unwrap();
    let of_it = |key: &str| key.contains(&committed.id.to_string());
    assert!(!pins.iter().any(|o| of_it(&o.key)), "its pin goes after it");
    assert_sound(&other).await;
}
