//! Damage is called damage, all of it and nothing else; and it never makes a prune delete.

use ark_engine::{
    ChunkId, Dataset, FrameClass, OpenOptions, PruneOptions, Repository, Value, VerifyOptions,
    verify::Unwatched,
};

use crate::gate::{End, Gate, Op};
use crate::roundtrip::{
    assert_sound, backup, cluster, contents, env, items, new_repository, unlock,
};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .collect()
}

#[tokio::test]
async fn a_damaged_cache_is_only_a_miss() {
    let gate = Gate::new();
    new_repository(gate.store()).await;
    let cache = tempfile::tempdir().unwrap();
    let open = || async {
        let options = OpenOptions {
            cache_dir: Some(cache.path().to_owned()),
            ..OpenOptions::default()
        };
        Repository::open(gate.store(), env(), &unlock(), options)
            .await
            .unwrap()
    };
    let repository = open().await;
    let content = items(300, |_| 1);
    let one = backup(&repository, "one", &content).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    backup(&repository, "two", &content).await.unwrap();
    let forgotten = backup(&repository, "three", &items(3, |_| 5))
        .await
        .unwrap();
    repository.forget(&[forgotten.id]).await.unwrap();
    repository.backups().await.unwrap();

    let spoil = || {
        let mut spoilt = 0;
        for folder in std::fs::read_dir(cache.path()).unwrap() {
            for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let length = std::fs::metadata(&path).unwrap().len();
                std::fs::write(&path, vec![7; length as usize]).unwrap();
                spoilt += 1;
            }
        }
        assert!(spoilt > 3, "{spoilt}");
    };
    spoil();
    let rows = open().await.backups().await.unwrap();
    assert_eq!(rows.iter().filter(|b| b.forgotten.is_some()).count(), 1);
    spoil();
    assert_sound(&open().await).await;
    spoil();
    assert_eq!(contents(&open().await, &one.id).await.unwrap(), content);
    spoil();
    let three = backup(&open().await, "four", &content).await.unwrap();
    assert_eq!(three.stats.packs, 0);
    spoil();
    open().await.prune(&NOW, |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_segment_that_only_the_cache_has_is_missing() {
    let gate = Gate::new();
    new_repository(gate.store()).await;
    let cache = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        cache_dir: Some(cache.path().to_owned()),
        ..OpenOptions::default()
    };
    let repository = Repository::open(gate.store(), env(), &unlock(), options)
        .await
        .unwrap();
    backup(&repository, "one", &items(30, |_| 1)).await.unwrap();
    let view = repository.view().await.unwrap();
    let segment = &view.segments[0];
    let key = format!("index/{}-{:08x}", segment.session, segment.number);
    repository.store().delete(&key).await.unwrap();
    let report = repository
        .verify(VerifyOptions::default(), &Unwatched)
        .await
        .unwrap();
    assert!(report.damage.iter().any(|d| d.object == key), "{report:?}");
}

#[tokio::test]
async fn a_store_that_fails_is_no_damage() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "one", &items(300, |_| 1))
        .await
        .unwrap();
    gate.fail(Op::Get, "packs/meta", 1000, End::Break);
    let result = repository
        .verify(VerifyOptions::default(), &Unwatched)
        .await;
    assert!(
        matches!(result, Err(ark_engine::Error::Store(_))),
        "{result:?}"
    );
}

/// What stands before the cut is read, what stands behind it is not, and verify says so.
#[tokio::test]
async fn a_pack_that_is_cut_short_gives_what_it_has() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let mut content = items(2000, |_| 1);
    for (n, value) in content.values_mut().enumerate() {
        *value = noise(n as u64, 1000);
    }
    let one = backup(&repository, "one", &content).await.unwrap();
    let packs = repository.store().list("packs/data").await.unwrap();
    let largest = packs.iter().max_by_key(|p| p.size).unwrap();
    gate.replace(&largest.key, |mut bytes| {
        bytes.truncate(bytes.len() * 3 / 5);
        bytes
    })
    .await;
    let reader = repository.reader().await.unwrap();
    let manifest = repository.manifest(&one.id).await.unwrap();
    let mut range = reader
        .map(manifest.dataset("objects").unwrap())
        .range(&[], None);
    let mut values = Vec::new();
    while let Some((_, value)) = range.next().await.unwrap() {
        values.push(value);
    }
    let read = reader.read_many(values.clone()).await;
    let good = read.iter().filter(|r| r.is_ok()).count();
    // One by one no frame suffers from its neighbours.
    let mut alone = 0;
    for value in &values {
        alone += usize::from(reader.read(value).await.is_ok());
    }
    reader.close().await;
    assert_eq!(good, alone);
    assert!(good > 500 && good < 2000, "{good}");
    for (bytes, expected) in read.iter().zip(content.values()) {
        assert!(bytes.as_ref().is_err() || bytes.as_ref().unwrap() == expected);
    }
    for read_data in [false, true] {
        let report = repository
            .verify(VerifyOptions { read_data }, &Unwatched)
            .await
            .unwrap();
        assert_eq!(report.damage.len(), 1, "{report:?}");
        assert_eq!(report.damage[0].backups, ["one"]);
        assert!(report.damage[0].items.len() >= 2000 - good);
    }
}

/// As above, for tree nodes: verify goes on and names what is hit.
#[tokio::test]
async fn a_tree_that_is_cut_short_is_damage() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "one", &items(9000, |_| 1))
        .await
        .unwrap();
    let packs = repository.store().list("packs/meta").await.unwrap();
    gate.replace(&packs[0].key, |mut bytes| {
        bytes.truncate(bytes.len() / 2);
        bytes
    })
    .await;
    for read_data in [false, true] {
        let report = repository
            .verify(VerifyOptions { read_data }, &Unwatched)
            .await
            .unwrap();
        assert_eq!(report.damage[0].backups, ["one"], "{report:?}");
    }
    assert!(repository.prune(&NOW, |_| {}).await.is_err());
}

/// A chunk that no segment has may be in a pack that no segment has.
#[tokio::test]
async fn prune_keeps_unknown_packs_while_a_chunk_is_unknown() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let begin = |name: &str| ark_engine::BeginBackup {
        name: name.into(),
        cluster: cluster(),
    };
    let session = repository.begin_backup(begin("one")).await.unwrap();
    let mut map = session.map(Dataset::Objects);
    let id = ChunkId([9; 16]);
    map.push(b"g\0r\0a", &Value::Chunk { id, len: 5 })
        .await
        .unwrap();
    let root = map.finish().await.unwrap().unwrap();
    session
        .commit(ark_engine::Commit {
            document: Vec::new(),
            datasets: vec![("objects".into(), root)],
            counts: Default::default(),
            status: ark_engine::BackupStatus::Completed,
            expires: None,
            log: Vec::new(),
        })
        .await
        .unwrap();
    // The same packs as a session without a commit leaves.
    let session = repository.begin_backup(begin("two")).await.unwrap();
    let mut chunks = session.chunks(FrameClass::Files);
    for seed in 0..50 {
        chunks.put_value(&noise(seed, 1 << 20)).await.unwrap();
    }
    chunks.finish().await.unwrap();
    while repository
        .store()
        .list("packs/data")
        .await
        .unwrap()
        .is_empty()
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    session.abort().await.unwrap();
    let before = repository.store().list("packs/data").await.unwrap().len();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let after = repository.store().list("packs/data").await.unwrap().len();
    assert!(after >= before, "{before} → {after}");
}
