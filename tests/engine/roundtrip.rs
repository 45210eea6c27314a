//! Whole life cycles of a repository on the stores that need no server.

use ark_engine::index::Index;
use ark_engine::repair::Summary;
use ark_engine::store::{Store, StoreOptions};
use ark_engine::{
    BackupStatus, BeginBackup, ClusterRef, Commit, Committed, Counts, Dataset, Env, Error,
    FrameClass, InitOptions, OpenOptions, PruneOptions, RepairContent, Repository, Root, SessionId,
    Unlock, Value, VerifyOptions, WriteSession,
};
use std::collections::BTreeMap;

/// What a backup must contain.
pub type Items = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn unlock() -> Unlock {
    Unlock::from_key_file(&[7; 32]).unwrap()
}

pub fn env() -> Env {
    Env::system(2).unwrap()
}

pub async fn new_repository(store: Store) -> Repository {
    Repository::init(store, env(), InitOptions { unlock: unlock() })
        .await
        .unwrap()
        .repository
}

pub fn memory() -> Store {
    Store::open("memory://", &StoreOptions::default()).unwrap()
}

pub fn cluster() -> ClusterRef {
    ClusterRef {
        id: "c1".into(),
        name: "test".into(),
    }
}

/// Items whose content depends on their number and a version.
pub fn items(count: usize, changed: impl Fn(usize) -> u32) -> Items {
    (0..count)
        .map(|i| {
            let version = changed(i);
            let size = 40 + (i * 37) % 3000;
            let text = format!("{{\"item\":{i},\"version\":{version},\"filling\":\"");
            let filling = (0..size)
                .map(|j| char::from(b'a' + ((i * 31 + j * 7 + version as usize) % 26) as u8));
            (
                format!("group\0things\0ns{:03}/item-{i:06}", i / 100).into_bytes(),
                (text + &filling.collect::<String>()).into_bytes(),
            )
        })
        .collect()
}

pub async fn backup(
    repository: &Repository,
    name: &str,
    items: &Items,
) -> Result<Committed, Error> {
    let session = repository
        .begin_backup(BeginBackup {
            name: name.into(),
            cluster: cluster(),
        })
        .await?;
    let root = write(&session, items).await?;
    session
        .commit(Commit {
            counts: Counts {
                items: items.len() as u64,
                bytes: items.values().map(|v| v.len() as u64).sum(),
                failed: 0,
            },
            log: b"done".to_vec(),
            ..commit(root)
        })
        .await
}

/// Writes the dataset of a session.
pub async fn write(session: &WriteSession, items: &Items) -> Result<Option<Root>, Error> {
    let mut chunks = session.chunks(FrameClass::Objects);
    let mut map = session.map(Dataset::Objects);
    for (key, value) in items {
        let value = chunks.put_value(value).await?;
        map.push(key, &value).await?;
    }
    chunks.finish().await?;
    map.finish().await
}

/// What commits it.
pub fn commit(root: Option<Root>) -> Commit {
    Commit {
        document: b"{}".to_vec(),
        datasets: root
            .map(|r| ("objects".to_owned(), r))
            .into_iter()
            .collect(),
        counts: Counts::default(),
        status: BackupStatus::Completed,
        expires: None,
        log: b"captured\n".to_vec(),
    }
}

/// The index of the newest view.
pub async fn index(repository: &Repository) -> Index {
    let view = repository.view().await.unwrap();
    repository.load_index(&view).await.unwrap()
}

/// A repair whose documents nobody reads.
pub struct Plain;

impl RepairContent for Plain {
    fn document(&self, _: Option<&[u8]>, _: &Summary, _: &str, _: u64) -> Vec<u8> {
        b"{}".to_vec()
    }

    fn hole(&self, _: &[u8], _: &str) -> Option<Vec<u8>> {
        None
    }
}

pub async fn contents(repository: &Repository, id: &SessionId) -> Result<Items, Error> {
    let reader = repository.reader().await?;
    let found = match repository.manifest(id).await {
        Ok(manifest) => match manifest.dataset("objects") {
            Some(root) => read_all(&reader, root).await,
            None => Ok(Items::new()),
        },
        Err(error) => Err(error),
    };
    reader.close().await;
    found
}

pub async fn read_all(reader: &ark_engine::Reader, root: Root) -> Result<Items, Error> {
    let mut range = reader.map(root).range(&[], None);
    let mut keys = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    while let Some((key, value)) = range.next().await? {
        keys.push(key);
        values.push(value);
    }
    let contents = reader.read_many(values).await;
    keys.into_iter()
        .zip(contents)
        .map(|(key, content)| Ok((key, content?.to_vec())))
        .collect()
}

pub async fn assert_sound(repository: &Repository) {
    let report = repository
        .verify(
            VerifyOptions { read_data: true },
            &ark_engine::verify::Unwatched,
        )
        .await
        .unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(report.foreign, Vec::<String>::new());
}

async fn pack_bytes(repository: &Repository) -> u64 {
    repository
        .store()
        .list("packs/")
        .await
        .unwrap()
        .iter()
        .map(|o| o.size)
        .sum()
}

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};

async fn life_cycle(store: Store) {
    let repository = new_repository(store).await;
    let first = items(3000, |_| 0);
    let one = backup(&repository, "one", &first).await.unwrap();
    assert!(one.stats.data_bytes > 0 && one.stats.tree_bytes > 0);

    // Unchanged: session, claim, manifest, and not a byte of data.
    let before = repository.store().counters();
    let two = backup(&repository, "two", &first).await.unwrap();
    let cost = repository.store().counters() - before;
    assert_eq!(cost.put, 3, "{cost:?}");
    assert_eq!(two.stats.packs, 0);
    assert!(cost.bytes_written < 4096, "{cost:?}");

    // 1 % changed: a fraction of the first.
    let changed = items(3000, |i| u32::from(i % 100 == 42));
    let three = backup(&repository, "three", &changed).await.unwrap();
    assert!(
        three.stats.added_bytes() * 5 < one.stats.added_bytes(),
        "{:?} {:?}",
        three.stats,
        one.stats
    );

    assert_eq!(contents(&repository, &one.id).await.unwrap(), first);
    assert_eq!(contents(&repository, &two.id).await.unwrap(), first);
    assert_eq!(contents(&repository, &three.id).await.unwrap(), changed);
    assert_sound(&repository).await;

    // The difference is exactly what changed.
    let reader = repository.browse().await.unwrap();
    let root = |id| repository.manifest(id);
    let (a, b) = (
        root(&one.id).await.unwrap().dataset("objects"),
        root(&three.id).await.unwrap().dataset("objects"),
    );
    let mut diff = ark_engine::diff(&reader, a, b);
    let mut differing = Vec::new();
    while let Some(d) = diff.next().await.unwrap() {
        assert!(d.before.is_some() && d.after.is_some());
        differing.push(d.key);
    }
    let expected: Vec<Vec<u8>> = first
        .iter()
        .filter(|(k, v)| changed[*k] != **v)
        .map(|(k, _)| k.clone())
        .collect();
    assert_eq!(differing, expected);
    assert_eq!(expected.len(), 30);

    // Names are unique while the backup is there.
    assert!(matches!(
        backup(&repository, "one", &first).await,
        Err(Error::NameTaken { .. })
    ));
    repository.forget(&[one.id]).await.unwrap();
    repository.undelete(&one.id).await.unwrap();
    assert!(matches!(
        backup(&repository, "one", &first).await,
        Err(Error::NameTaken { .. })
    ));
    repository.forget(&[one.id, two.id]).await.unwrap();
    let again = backup(&repository, "one", &items(10, |_| 9)).await.unwrap();

    // Within the grace nothing goes; with `now` it goes at once, and what is shared stays.
    let report = repository
        .prune(&PruneOptions::default(), |_| {})
        .await
        .unwrap();
    assert_eq!(report.packs_deleted, 0, "{report:?}");
    assert_eq!(contents(&repository, &one.id).await.unwrap(), first);
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.waiting_for, Vec::<String>::new());
    assert!(contents(&repository, &one.id).await.is_err());
    assert_eq!(contents(&repository, &three.id).await.unwrap(), changed);
    assert_eq!(
        contents(&repository, &again.id).await.unwrap(),
        items(10, |_| 9)
    );
    assert_sound(&repository).await;

    // A second prune has nothing to do.
    let epoch = repository.info().await.unwrap().epoch;
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!((report.packs_deleted, report.epochs), (0, 0), "{report:?}");
    assert_eq!(repository.info().await.unwrap().epoch, epoch);

    // Everything forgotten: the bytes are gone when prune returns.
    repository.forget(&[three.id, again.id]).await.unwrap();
    let report = repository
        .prune(&NOW, |plan| println!("{plan}"))
        .await
        .unwrap();
    assert_eq!(pack_bytes(&repository).await, 0, "{report:?}");
    assert_eq!(repository.backups().await.unwrap().len(), 0);
    assert_sound(&repository).await;
}

#[tokio::test]
async fn a_repository_in_memory_lives_its_whole_life() {
    life_cycle(memory()).await;
}

#[tokio::test]
async fn a_repository_in_a_folder_lives_its_whole_life() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/repo", folder.path().display());
    life_cycle(Store::create_root(&url, &StoreOptions::default()).unwrap()).await;
}

#[tokio::test]
async fn large_values_are_cut_and_come_back() {
    let repository = new_repository(memory()).await;
    let mut seed = 1u64;
    let mut noise = |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (seed >> 56) as u8
            })
            .collect()
    };
    let big = noise(9 << 20);
    let mut edited = big.clone();
    edited[4 << 20..(4 << 20) + 100].fill(1);
    let contents_one: Items = [
        (b"g\0r\0a".to_vec(), noise(1_500_000)),
        (b"g\0r\0b".to_vec(), big),
        (b"g\0r\0c".to_vec(), Vec::new()),
    ]
    .into();
    let one = backup(&repository, "one", &contents_one).await.unwrap();
    let mut contents_two = contents_one.clone();
    contents_two.insert(b"g\0r\0b".to_vec(), edited);
    let two = backup(&repository, "two", &contents_two).await.unwrap();
    assert_eq!(contents(&repository, &one.id).await.unwrap(), contents_one);
    assert_eq!(contents(&repository, &two.id).await.unwrap(), contents_two);
    assert!(two.stats.data_bytes < 600_000, "{:?}", two.stats);
    assert_sound(&repository).await;
}

#[tokio::test]
async fn a_session_that_dies_holds_nothing_up() {
    let repository = new_repository(memory()).await;
    let kept = items(500, |_| 0);
    let one = backup(&repository, "one", &kept).await.unwrap();
    // Aborted: packs may be there, the commit is not.
    let session = repository
        .begin_backup(BeginBackup {
            name: "two".into(),
            cluster: cluster(),
        })
        .await
        .unwrap();
    let mut chunks = session.chunks(FrameClass::Objects);
    for value in items(2000, |_| 5).values() {
        chunks.put_value(value).await.unwrap();
    }
    chunks.finish().await.unwrap();
    session.abort().await.unwrap();
    assert!(
        session
            .commit(Commit {
                document: Vec::new(),
                datasets: Vec::new(),
                counts: Counts::default(),
                status: BackupStatus::Completed,
                expires: None,
                log: Vec::new(),
            })
            .await
            .is_err()
    );
    // The name is free again, and prune gets rid of what was left.
    backup(&repository, "two", &kept).await.unwrap();
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.waiting_for, Vec::<String>::new());
    assert_eq!(contents(&repository, &one.id).await.unwrap(), kept);
    assert_sound(&repository).await;
}

#[tokio::test]
async fn an_open_session_holds_back_what_it_may_rely_on() {
    let repository = new_repository(memory()).await;
    let content = items(800, |_| 0);
    let one = backup(&repository, "one", &content).await.unwrap();
    let session = repository
        .begin_backup(BeginBackup {
            name: "two".into(),
            cluster: cluster(),
        })
        .await
        .unwrap();
    repository.forget(&[one.id]).await.unwrap();
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.packs_deleted, 0);
    assert_eq!(report.waiting_for.len(), 1);
    assert!(report.held_back_bytes > 0);
    // It reuses every chunk of the forgotten backup, and commits after the prune condemned them.
    let root = write(&session, &content).await.unwrap();
    let two = session.commit(commit(root)).await.unwrap();
    assert_eq!(two.stats.packs, 0);
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(contents(&repository, &two.id).await.unwrap(), content);
    assert_sound(&repository).await;
}

#[tokio::test]
async fn a_repository_opens_with_its_keys_only() {
    let store = memory();
    let made = Repository::init(store.clone(), env(), InitOptions { unlock: unlock() })
        .await
        .unwrap();
    let open = |unlock: Unlock| {
        let store = store.clone();
        async move { Repository::open(store, env(), &unlock, OpenOptions::default()).await }
    };
    assert!(
        open(Unlock::from_key_file(made.recovery_key.as_bytes()).unwrap())
            .await
            .is_ok()
    );
    assert!(matches!(
        open(Unlock::from_key_file(&[8; 32]).unwrap()).await,
        Err(Error::WrongKey { .. })
    ));
    assert!(matches!(
        open(Unlock::Passphrase("x".into())).await,
        Err(Error::NoSlot { .. })
    ));
    made.repository
        .add_key(
            &Unlock::Passphrase("correct horse".into()),
            ark_engine::Role::Backup,
        )
        .await
        .unwrap();
    let writer = open(Unlock::Passphrase("correct horse".into()))
        .await
        .unwrap();
    assert!(matches!(
        open(Unlock::Passphrase("x".into())).await,
        Err(Error::WrongPassphrase { .. })
    ));
    // The backup role writes and reads, and cannot lead to a deletion.
    let done = backup(&writer, "b", &items(10, |_| 0)).await.unwrap();
    assert!(matches!(
        writer.forget(&[done.id]).await,
        Err(Error::Role { .. })
    ));
    assert!(matches!(
        writer.prune(&NOW, |_| {}).await,
        Err(Error::Role { .. })
    ));
    assert_sound(&writer).await;
    assert_eq!(made.repository.keys().await.unwrap().len(), 3);
    assert!(matches!(
        Repository::init(store, env(), InitOptions { unlock: unlock() }).await,
        Err(Error::AlreadyARepository { .. })
    ));
}
