//! A deleted backup that a prune has taken away while an older session is open: its commit's key stays taken until the
//! watermark has passed it, and nobody takes what stands there for a backup.

use ark_engine::{
    BeginBackup, Error, OpenOptions, PruneOptions, RepairOptions, Repository, SessionId,
    WriteSession,
};

use crate::gate::{End, Gate, Op};
use crate::roundtrip::{
    Items, Plain, assert_sound, backup, cluster, commit, contents, env, items, new_repository,
    read_all, unlock, write,
};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};
const ALL: RepairOptions = RepairOptions {
    index_only: false,
    read_data: true,
    forget_originals: false,
};

/// A repository with one backup, another one that was taken away, and an older session that is still open.
struct Left {
    repository: Repository,
    kept: (SessionId, Items),
    gone: SessionId,
    open: WriteSession,
}

async fn with_older_session(gate: &Gate, state: &std::path::Path) -> Left {
    new_repository(gate.store()).await;
    let options = OpenOptions {
        state_dir: Some(state.to_owned()),
        ..OpenOptions::default()
    };
    let repository = Repository::open(gate.store(), env(), &unlock(), options)
        .await
        .unwrap();
    let begin = BeginBackup {
        name: "open".into(),
        cluster: cluster(),
    };
    let open = repository.begin_backup(begin).await.unwrap();
    let content = items(50, |_| 1);
    let kept = backup(&repository, "kept", &content).await.unwrap().id;
    let gone = backup(&repository, "gone", &items(300, |_| 2))
        .await
        .unwrap()
        .id;
    let kept = (kept, content);
    Left {
        repository,
        kept,
        gone,
        open,
    }
}

async fn left(gate: &Gate, state: &std::path::Path) -> Left {
    let left = with_older_session(gate, state).await;
    left.repository.forget(&[left.gone]).await.unwrap();
    left.repository.prune(&NOW, |_| {}).await.unwrap();
    assert!(left.has("manifests/").await && left.has("forgotten/").await);
    left
}

impl Left {
    async fn has(&self, folder: &str) -> bool {
        let objects = self.repository.store().list(folder).await.unwrap();
        let id = self.gone.to_string();
        objects.iter().any(|object| object.key.contains(&id))
    }

    /// The session ends, and a prune removes the rest.
    async fn end(self) {
        self.open.abort().await.unwrap();
        self.repository.prune(&NOW, |_| {}).await.unwrap();
        for folder in ["packs/", "index/", "manifests/", "sessions/", "forgotten/"] {
            assert!(!self.has(folder).await, "{folder}");
        }
        let (id, content) = &self.kept;
        assert_eq!(contents(&self.repository, id).await.unwrap(), *content);
        assert_sound(&self.repository).await;
    }
}

#[tokio::test]
async fn what_was_taken_away_is_no_backup_any_more() {
    let (gate, state) = (Gate::new(), tempfile::tempdir().unwrap());
    let left = left(&gate, state.path()).await;
    let repository = &left.repository;
    for result in [
        repository.undelete(&left.gone).await,
        repository.forget(&[left.gone]).await,
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::NoSuchBackup { .. }), "{error:?}");
    }
    let rows = repository.backups().await.unwrap();
    assert!(rows.iter().all(|row| row.row.id != left.gone), "{rows:?}");
    // This client has seen it in force, and knows why it is not.
    assert_sound(repository).await;
    let plan = repository.plan_repair(&ALL).await.unwrap();
    assert!(!plan.changes() && !plan.loses(), "{plan}");
    let again = items(20, |_| 3);
    let named = backup(repository, "gone", &again).await.unwrap().id;
    assert_eq!(contents(repository, &named).await.unwrap(), again);
    left.end().await;
}

#[tokio::test]
async fn a_manifest_goes_with_its_backup_and_what_a_reader_reads_does_not() {
    let repository = new_repository(Gate::new().store()).await;
    let content = items(300, |_| 1);
    let gone = backup(&repository, "gone", &content).await.unwrap().id;
    repository.prune(&NOW, |_| {}).await.unwrap();
    let reader = repository.reader().await.unwrap();
    repository.forget(&[gone]).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let row = reader.backups().remove(0);
    let error = repository.manifest_of(&row).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchBackup { .. }), "{error:?}");
    let root = row.row.datasets[0].1;
    assert!(read_all(&reader, root).await.unwrap() == content);
    reader.close().await;
}

/// Its manifest is lost, before or after a prune takes the backup away, and put back later: it is no backup again.
#[tokio::test]
async fn a_manifest_that_is_put_back_does_not_bring_its_backup_back() {
    for late in [false, true] {
        let (gate, state) = (Gate::new(), tempfile::tempdir().unwrap());
        let left = with_older_session(&gate, state.path()).await;
        let (repository, store) = (&left.repository, gate.store());
        repository.prune(&NOW, |_| {}).await.unwrap();
        let listed = store.list("manifests/").await.unwrap();
        let of_it =
            |key: &&ark_engine::store::ObjectInfo| key.key.ends_with(&left.gone.to_string());
        let key = listed.iter().find(of_it).unwrap().key.clone();
        let manifest = store.get(&key).await.unwrap();
        repository.forget(&[left.gone]).await.unwrap();
        if !late {
            store.delete(&key).await.unwrap();
        }
        repository.prune(&NOW, |_| {}).await.unwrap();
        if late {
            store.delete(&key).await.unwrap();
        }
        for n in 0..3 {
            let few = items(5, |_| 10 + n);
            backup(repository, &format!("few-{n}"), &few).await.unwrap();
            repository.prune(&NOW, |_| {}).await.unwrap();
        }
        store.create(&key, manifest).await.unwrap();
        for _ in 0..2 {
            let rows = repository.backups().await.unwrap();
            assert!(
                rows.iter().all(|row| row.row.id != left.gone),
                "{late}: {rows:?}"
            );
            repository.prune(&NOW, |_| {}).await.unwrap();
        }
        left.open.abort().await.unwrap();
        backup(repository, "last", &items(5, |_| 9)).await.unwrap();
        left.end().await;
    }
}

/// Its process sleeps between the commit and the last look at the head; meanwhile the backup is deleted and collected.
#[tokio::test]
async fn a_backup_that_is_deleted_before_its_process_has_looked_again_does_not_come_back() {
    for (older, stone) in [(true, true), (false, true), (false, false)] {
        let gate = Gate::new();
        let repository = new_repository(gate.store()).await;
        // All that the backup needs stays.
        let content = items(50, |_| 1);
        let kept = backup(&repository, "kept", &content).await.unwrap().id;
        repository.prune(&NOW, |_| {}).await.unwrap();
        let begin = |name: &str| BeginBackup {
            name: name.into(),
            cluster: cluster(),
        };
        let open = repository.begin_backup(begin("open")).await.unwrap();
        let session = repository.begin_backup(begin("gone")).await.unwrap();
        let id = session.id();
        let root = write(&session, &content).await.unwrap();
        let look = gate.hold(Op::List, "epochs", 1);
        let writer = tokio::spawn(async move { session.commit(commit(root)).await });
        look.reached().await;
        assert_eq!(repository.backups().await.unwrap().len(), 2);
        repository.forget(&[id]).await.unwrap();
        if !older {
            open.abort().await.unwrap();
        }
        let pruned = match (older, stone) {
            (false, true) => {
                // Killed before it has deleted the tombstone.
                gate.fail(Op::Delete, "forgotten/", 9, End::Refuse);
                let _ = repository.prune(&NOW, |_| {}).await;
                repository.prune(&NOW, |_| {}).await.is_err()
            }
            _ => repository.prune(&NOW, |_| {}).await.is_ok(),
        };
        assert!(pruned, "{older} {stone}");
        let there = repository.store().list("forgotten/").await.unwrap();
        assert_eq!(there.is_empty(), !stone, "{there:?}");
        look.release();
        let error = writer.await.unwrap().unwrap_err();
        match stone {
            true => assert!(matches!(error, Error::DeletedMeanwhile { .. }), "{error:?}"),
            false => assert!(matches!(error, Error::FencedOrDeleted { .. }), "{error:?}"),
        }
        gate.open();
        let rows = repository.backups().await.unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(contents(&repository, &kept).await.unwrap(), content);
        if older {
            open.abort().await.unwrap();
        }
        repository.prune(&NOW, |_| {}).await.unwrap();
        assert_sound(&repository).await;
    }
}

/// Only the head says that it was taken away. When that is lost, its tombstone still tells that nobody wants it.
#[tokio::test]
async fn what_was_taken_away_does_not_come_back_with_a_head_that_is_made_anew() {
    let (gate, state) = (Gate::new(), tempfile::tempdir().unwrap());
    let left = left(&gate, state.path()).await;
    let repository = &left.repository;
    let index = repository.store().list("index/").await.unwrap();
    let body = index.iter().find(|object| object.key.contains("epoch-"));
    repository.store().delete(&body.unwrap().key).await.unwrap();
    repository.repair(&ALL, &Plain, |_| {}).await.unwrap();
    let rows = repository.backups().await.unwrap();
    let back = rows.iter().find(|row| row.row.id == left.gone);
    assert!(back.is_none_or(|row| row.forgotten.is_some()), "{rows:?}");
    left.end().await;
}
