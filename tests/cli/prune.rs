//! What `ark prune` says of what it leaves, and for whom.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ark_engine::env::{Host, Pool};
use ark_engine::store::{Store, StoreOptions};
use ark_engine::{
    BackupStatus, BeginBackup, ClusterRef, Commit, Counts, Dataset, Env, FrameClass, OpenOptions,
    Repository, SessionId, Unlock, WriteSession,
};
use serde_json::{Value, json};

use crate::run::{Ran, Sandbox};

/// A process on a machine that nobody else sees.
struct Elsewhere;

impl Host for Elsewhere {
    fn name(&self) -> String {
        "elsewhere".to_owned()
    }
    fn process(&self) -> String {
        "1".to_owned()
    }
    fn alive(&self, _: &str) -> Option<bool> {
        None
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn open(sandbox: &Sandbox) -> Repository {
    let url = format!("file://{}", sandbox.path().join("repo").display());
    let store = Store::open(&url, &StoreOptions::default()).unwrap();
    let key = std::fs::read(sandbox.path().join("key")).unwrap();
    let env = Env {
        host: Arc::new(Elsewhere),
        pool: Pool::Inline,
        ..Env::system(1).unwrap()
    };
    let unlock = Unlock::from_key_file(&key).unwrap();
    Repository::open(store, env, &unlock, OpenOptions::default())
        .await
        .unwrap()
}

/// Begins a backup of 8 MiB that do not compress; most of it is in packs then.
async fn write(repository: &Repository, name: &str, seed: u64) -> (WriteSession, ark_engine::Root) {
    let begin = BeginBackup {
        name: name.to_owned(),
        cluster: ClusterRef {
            id: "c".to_owned(),
            name: "c".to_owned(),
        },
    };
    let session = repository.begin_backup(begin).await.unwrap();
    let mut chunks = session.chunks(FrameClass::Files);
    let mut map = session.map(Dataset::Objects);
    let mut state = seed;
    for item in 0..128 {
        let bytes: Vec<u8> = (0..64 << 10)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as u8
            })
            .collect();
        let value = chunks.put_value(&bytes).await.unwrap();
        map.push(format!("g\0things\0ns/{item:04}").as_bytes(), &value)
            .await
            .unwrap();
    }
    chunks.finish().await.unwrap();
    let root = map.finish().await.unwrap().unwrap();
    (session, root)
}

async fn backup(repository: &Repository, name: &str, seed: u64) -> SessionId {
    let (session, root) = write(repository, name, seed).await;
    let commit = Commit {
        document: b"{}".to_vec(),
        datasets: vec![("objects".to_owned(), root)],
        counts: Counts::default(),
        status: BackupStatus::Completed,
        expires: None,
        log: Vec::new(),
    };
    session.commit(commit).await.unwrap().id
}

fn packs(sandbox: &Sandbox) -> u64 {
    let mut folders = vec![sandbox.path().join("repo/packs")];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            match metadata.is_dir() {
                true => folders.push(entry.path()),
                false => bytes += metadata.len(),
            }
        }
    }
    bytes
}

/// Its sessions gave their last sign of life two hours ago, by the store's clock.
fn silence(sandbox: &Sandbox) {
    for entry in std::fs::read_dir(sandbox.path().join("repo/sessions")).unwrap() {
        let file = std::fs::File::options()
            .append(true)
            .open(entry.unwrap().path())
            .unwrap();
        let then = SystemTime::now() - Duration::from_secs(2 * 3600);
        file.set_modified(then).unwrap();
    }
}

fn prune(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let open = ["--repo", "repo", "--key-file", "key", "prune"];
    let ran = sandbox.ark(&[&open[..], more].concat());
    assert_eq!(ran.code, 0, "{more:?}: {}", ran.stderr);
    ran
}

fn report(sandbox: &Sandbox, more: &[&str]) -> Value {
    let ran = prune(sandbox, &[more, &["-o", "json"]].concat());
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn what_a_silent_backup_wrote_is_kept_for_a_day_and_named() {
    let sandbox = Sandbox::with_repository();
    let silent = runtime().block_on(async {
        let repository = open(&sandbox).await;
        // Its machine is gone before the commit.
        let (session, _) = write(&repository, "silent", 1).await;
        loop {
            if packs(&sandbox) > 4 << 20 {
                return session.id();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let written = packs(&sandbox);
    silence(&sandbox);

    let plan = prune(&sandbox, &["--dry-run"]);
    assert!(plan.stdout.contains("MiB)"), "{}", plan.stdout);
    assert!(!plan.stdout.contains(" bytes"), "{}", plan.stdout);
    let first = report(&sandbox, &[]);
    assert_eq!(first["kept_bytes"], json!(written), "{first:#}");
    let kept_for = first["kept_for"].as_array().unwrap();
    assert!(
        kept_for.len() == 1 && kept_for[0].as_str().unwrap().contains(&silent.to_string()),
        "{first:#}"
    );
    assert_eq!(first["packs_deleted"], 0, "{first:#}");
    assert_eq!(packs(&sandbox), written);

    let again = prune(&sandbox, &[]);
    for says in ["Kept for a day:", "MiB", "In case of:", &silent.to_string()] {
        assert!(again.stdout.contains(says), "{says}: {}", again.stdout);
    }
    let line = format!("keep for a day what session {silent} (Backup on elsewhere) wrote");
    assert!(again.stderr.contains(&line), "{}", again.stderr);

    let now = report(&sandbox, &["--now"]);
    assert_eq!(now["kept_for"], json!([]), "{now:#}");
    assert_eq!(now["kept_bytes"], 0, "{now:#}");
    assert_eq!(packs(&sandbox), 0);
    let text = prune(&sandbox, &[]).stdout;
    assert!(!text.contains("Kept for a day"), "{text}");
}

#[test]
fn what_an_open_session_holds_back_is_told_with_its_name() {
    let sandbox = Sandbox::with_repository();
    runtime().block_on(async {
        let repository = open(&sandbox).await;
        let one = backup(&repository, "one", 2).await;
        let written = packs(&sandbox);
        repository.forget(&[one]).await.unwrap();
        // A restore at work.
        let reader = repository.reader().await.unwrap();

        let held = report(&sandbox, &["--now"]);
        assert_eq!(held["backups_removed"], json!(["one"]), "{held:#}");
        let waiting = held["waiting_for"].as_array().unwrap();
        assert!(
            waiting.len() == 1
                && waiting[0]
                    .as_str()
                    .unwrap()
                    .contains("Restore on elsewhere"),
            "{held:#}"
        );
        assert_eq!(held["held_back_bytes"], json!(written), "{held:#}");
        assert_eq!(packs(&sandbox), written);
        let text = prune(&sandbox, &["--now"]);
        for says in ["Held back:", "MiB", "Waiting for:", "Restore on elsewhere"] {
            assert!(text.stdout.contains(says), "{says}: {}", text.stdout);
        }
        assert!(text.stderr.contains("MiB are held back"), "{}", text.stderr);

        reader.close().await;
        let freed = report(&sandbox, &["--now"]);
        assert_eq!(freed["waiting_for"], json!([]), "{freed:#}");
        assert_eq!(packs(&sandbox), 0);
    });
}
