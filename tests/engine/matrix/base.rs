//! A small repository that holds every kind of object there is, and what it must give back.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use ark_engine::env::{Clock, Host, Pool, Random};
use ark_engine::store::{Store, StoreOptions};
use ark_engine::verify::Unwatched;
use ark_engine::{
    BeginBackup, ClusterRef, Env, Error, FrameClass, InitOptions, OpenOptions, PruneOptions,
    Repository, RestoreRecord, Role, SessionId, Unlock, VerifyOptions,
};
use ark_format::layout::{self, Object};
use ark_format::slot::{SlotHeader, raw_wrapping_key, unwrap};
use ark_format::{KeySet, RepositoryId};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use crate::roundtrip::{Items, assert_sound, backup, cluster, items};
use crate::sim::rng::Rng;

/// The bucket: key → bytes.
pub type Objects = BTreeMap<String, Bytes>;

pub const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};

/// Raw keys.
const KEY: [u8; 32] = [7; 32];
const OTHER_KEY: [u8; 32] = [9; 32];

/// A process that knows of two others whether they live.
struct Process {
    name: &'static str,
    living: &'static [&'static str],
}

impl Host for Process {
    fn name(&self) -> String {
        "host".to_owned()
    }
    fn process(&self) -> String {
        self.name.to_owned()
    }
    fn alive(&self, process: &str) -> Option<bool> {
        Some(process == self.name || self.living.contains(&process))
    }
}

/// Numbers from a seed: keys, names and salts, and with them the sizes of packs, are the same each time.
struct Dice(Mutex<Rng>);

impl Random for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap().fill(bytes);
    }
}

/// A clock that goes on by a millisecond whenever somebody looks.
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now_ms(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The surroundings in which the repository comes to be.
fn past() -> Env {
    Env {
        clock: Arc::new(Ticks(AtomicI64::new(1_790_000_000_000))),
        random: Arc::new(Dice(Mutex::new(Rng::new(4)))),
        ..PRESENT.clone()
    }
}

/// The surroundings of its clients.
static PRESENT: LazyLock<Env> = LazyLock::new(|| Env {
    pool: Pool::Inline,
    ..Env::system(1).unwrap()
});

fn process(env: &Env, name: &'static str, living: &'static [&'static str]) -> Env {
    Env {
        host: Arc::new(Process { name, living }),
        ..env.clone()
    }
}

/// The process that is writing a backup, and has not ended.
const OPEN: &str = "open";

/// A backup that must be readable.
pub struct Expected {
    pub name: &'static str,
    pub id: SessionId,
    pub items: Items,
}

/// A state of a repository.
pub struct Base {
    pub objects: Objects,
    /// The reserve: so large that it is there only where it matters.
    pub reserve: Bytes,
    /// Objects that were there earlier and are not any more.
    pub gone: Objects,
    pub backups: Vec<Expected>,
    /// What a client has kept that has seen this state.
    pub state: Vec<(String, Vec<u8>)>,
    /// One object of each kind.
    pub kinds: Vec<(&'static str, String)>,
    pub keys: KeySet,
    pub repository: RepositoryId,
}

pub fn unlock() -> Unlock {
    Unlock::from_key_file(&KEY).unwrap()
}

/// Items of a backup that shares no node and no chunk with those of other groups.
fn own_items(group: &str, count: usize) -> Items {
    let all = items(count, |_| 0);
    all.into_iter()
        .map(|(key, value)| {
            let key = [group.as_bytes(), &key[5..]].concat();
            (key, [group.as_bytes(), &value].concat())
        })
        .collect()
}

pub async fn objects_of(store: &Store) -> Objects {
    let mut objects = Objects::new();
    for object in store.list("").await.unwrap() {
        let bytes = store.get(&object.key).await.unwrap();
        objects.insert(object.key, bytes);
    }
    objects
}

/// A bucket of its own with these objects.
pub async fn bucket(objects: &Objects) -> Store {
    let memory = InMemory::new();
    for (key, bytes) in objects {
        let path = object_store::path::Path::from(key.as_str());
        memory.put(&path, bytes.clone().into()).await.unwrap();
    }
    Store::from_object_store(Arc::new(memory), "bucket")
}

/// Who opens the repository.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A client while the open backup is being written.
    Beside,
    /// A client when nobody else lives.
    Alone,
}

pub async fn open(store: Store, who: Who, state: Option<&Path>) -> Result<Repository, Error> {
    let living: &[&str] = match who {
        Who::Beside => &[OPEN],
        Who::Alone => &[],
    };
    let options = OpenOptions {
        state_dir: state.map(Path::to_owned),
        ..OpenOptions::default()
    };
    Repository::open(
        store,
        process(&PRESENT, "client", living),
        &unlock(),
        options,
    )
    .await
}

async fn opened(store: &Store, env: &Env, name: &'static str) -> Repository {
    let env = process(env, name, &[]);
    Repository::open(store.clone(), env, &unlock(), OpenOptions::default())
        .await
        .unwrap()
}

/// A backup whose process died right before its commit.
async fn crash(store: &Store, env: &Env, name: &'static str, items: &Items) -> SessionId {
    let repository = opened(store, env, name).await;
    let made = backup(&repository, name, items).await.unwrap();
    let epoch = row_epoch(&repository, &made.id).await;
    let commit = layout::manifest(epoch, made.id);
    store.delete(&commit).await.unwrap();
    made.id
}

async fn row_epoch(repository: &Repository, id: &SessionId) -> u64 {
    let view = repository.view().await.unwrap();
    view.backup(id).unwrap().epoch
}

/// Builds the repository. In a folder, since only there is a reserve.
pub async fn build() -> Base {
    let env = past();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/repo", folder.path().display());
    let store = Store::create_root(&url, &StoreOptions::default()).unwrap();
    let options = InitOptions { unlock: unlock() };
    let made = Repository::init(store.clone(), process(&env, "writer", &[]), options).await;
    let repository = made.unwrap().repository;
    let other = Unlock::from_key_file(&OTHER_KEY).unwrap();
    let other_slot = repository.add_key(&other, Role::Backup).await.unwrap();
    let removed = Unlock::from_key_file(&[5; 32]).unwrap();
    let removed = repository.add_key(&removed, Role::Full).await.unwrap();
    let mut earlier = objects_of(&store).await;
    repository.remove_key(&removed).await.unwrap();

    // What the head has: two backups that share most, one that was forgotten and taken back, and condemned packs.
    let first = items(60, |_| 0);
    let second = items(60, |i| u32::from(i % 10 == 0));
    let kept = own_items("kept", 30);
    let one = backup(&repository, "one", &first).await.unwrap().id;
    let gone = own_items("gone", 30);
    let gone = backup(&repository, "gone", &gone).await.unwrap().id;
    let kept_id = backup(&repository, "kept", &kept).await.unwrap().id;
    repository.forget(&[kept_id]).await.unwrap();
    earlier.extend(objects_of(&store).await);
    repository.undelete(&kept_id).await.unwrap();
    earlier.extend(objects_of(&store).await);
    repository.rotate_data_key().await.unwrap();
    let two = backup(&repository, "two", &second).await.unwrap().id;
    let dead = crash(&store, &env, "dead", &own_items("dead", 20)).await;
    repository.forget(&[gone]).await.unwrap();
    earlier.extend(objects_of(&store).await);
    let reader = repository.reader().await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    reader.close().await;
    let condemned = repository.view().await.unwrap().condemned;
    assert!(condemned.keys().any(|pack| pack.session == gone));

    // What came since: a backup, one that is forgotten, two sessions without a commit, and one that goes on.
    let third = items(60, |i| if i % 7 == 0 { 2 } else { 0 });
    let three = backup(&repository, "three", &third).await.unwrap().id;
    let fourth = own_items("four", 25);
    let four = backup(&repository, "four", &fourth).await.unwrap().id;
    repository.forget(&[four]).await.unwrap();
    let stray = crash(&store, &env, "stray", &own_items("stray", 20)).await;
    let begin = |name: &str| BeginBackup {
        name: name.to_owned(),
        cluster: cluster(),
    };
    let aborted = repository.begin_backup(begin("aborted")).await.unwrap();
    let aborted_id = aborted.id();
    aborted.abort().await.unwrap();
    let writing = opened(&store, &env, OPEN).await;
    let writing = writing.begin_backup(begin("open")).await.unwrap();
    let mut chunks = writing.chunks(FrameClass::Objects);
    chunks.put_value(&[1; 500]).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(601)).await;
    tokio::time::resume();
    while !store
        .list("sessions")
        .await
        .unwrap()
        .iter()
        .any(|object| object.key.contains(".hb"))
    {
        tokio::task::yield_now().await;
    }
    assert_sound(&repository).await;
    let record = RestoreRecord {
        name: "restore".into(),
        backup: "one".into(),
        document: b"{}".to_vec(),
        report: b"{}".to_vec(),
        log: b"done".to_vec(),
    };
    repository.record_restore(&record).await.unwrap();

    // A prune that was killed left an older body.
    let mut objects = objects_of(&store).await;
    let (body, bytes) = earlier
        .iter()
        .find(|(key, _)| layout::parse(key) == Some(Object::EpochBody(1)))
        .unwrap();
    objects.insert(body.clone(), bytes.clone());
    earlier.retain(|key, _| !objects.contains_key(key));
    let reserve = objects.remove(layout::RESERVE).unwrap();

    let (keys, id) = key_set(&objects, &repository);
    let mut base = Base {
        gone: earlier,
        backups: [
            ("one", one, first),
            ("two", two, second),
            ("kept", kept_id, kept),
            ("three", three, third),
            ("four", four, fourth),
        ]
        .into_iter()
        .map(|(name, id, items)| Expected { name, id, items })
        .collect(),
        state: Vec::new(),
        kinds: Vec::new(),
        keys,
        repository: id,
        reserve,
        objects,
    };
    base.kinds = kinds(
        &base,
        &Sessions {
            slot: current_slot(&repository).await,
            other_slot,
            head: repository.view().await.unwrap().number,
            one,
            kept: kept_id,
            gone,
            three,
            four,
            dead,
            stray,
            aborted: aborted_id,
            open: writing.id(),
        },
    );
    base.state = seen_by_a_client(&base).await;
    base
}

async fn current_slot(repository: &Repository) -> String {
    let slots = repository.keys().await.unwrap();
    slots.into_iter().find(|slot| slot.current).unwrap().id
}

fn key_set(objects: &Objects, repository: &Repository) -> (KeySet, RepositoryId) {
    let cipher = ark_format::config::Config::decode(&objects[layout::CONFIG])
        .unwrap()
        .unauthenticated()
        .cipher;
    let opened = objects.iter().find_map(|(key, bytes)| {
        let Some(Object::Slot(_)) = layout::parse(key) else {
            return None;
        };
        let salt = SlotHeader::decode(bytes).unwrap().kdf_salt;
        let wrapping = raw_wrapping_key(&KEY, &salt);
        unwrap(cipher, repository.id(), key, &wrapping, bytes).ok()
    });
    (opened.unwrap().keys, repository.id())
}

async fn seen_by_a_client(base: &Base) -> Vec<(String, Vec<u8>)> {
    let state = tempfile::tempdir().unwrap();
    let repository = open(bucket(&base.objects).await, Who::Beside, Some(state.path())).await;
    repository.unwrap().backups().await.unwrap();
    let files = std::fs::read_dir(state.path()).unwrap();
    let files = files.map(|file| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read(file.path()).unwrap())
    });
    files.collect()
}

struct Sessions {
    slot: String,
    other_slot: String,
    head: u64,
    one: SessionId,
    kept: SessionId,
    gone: SessionId,
    three: SessionId,
    four: SessionId,
    dead: SessionId,
    stray: SessionId,
    aborted: SessionId,
    open: SessionId,
}

/// One object of each kind that the repository holds, in the order of `format/SPEC.md` §3.
fn kinds(base: &Base, who: &Sessions) -> Vec<(&'static str, String)> {
    let find = |what: &str, is: &dyn Fn(&Object) -> bool| {
        let mut keys = base.objects.keys();
        let key = keys.find(|key| layout::parse(key).is_some_and(|object| is(&object)));
        key.unwrap_or_else(|| panic!("there is no {what}")).clone()
    };
    let pack = |session: SessionId, folder: &str| {
        let mut keys = base.objects.keys();
        let of = |key: &&String| key.starts_with(folder) && key.contains(&session.to_string());
        keys.find(of)
            .unwrap_or_else(|| panic!("no {folder} of {session}"))
            .clone()
    };
    let manifest = |id| {
        find(
            "manifest",
            &|o| matches!(o, Object::Manifest(_, i) if *i == id),
        )
    };
    let pin = |id| find("pin", &|o| matches!(o, Object::Session(_, i) if *i == id));
    let head = who.head;
    // A merge has put the segments of the head into one of the prune.
    let in_head = |o: &Object| {
        let since = [who.three, who.four, who.stray];
        matches!(o, Object::Segment(id, _) if !since.contains(id))
    };
    vec![
        ("`ark.json`", layout::CONFIG.to_owned()),
        ("key slot in use", layout::slot(&who.slot)),
        ("another key slot", layout::slot(&who.other_slot)),
        ("newest data key", layout::data_key(2)),
        ("older data key", layout::data_key(1)),
        ("stub of the head", layout::epoch_stub(head)),
        ("stub of an older epoch", layout::epoch_stub(0)),
        (
            "body of the head",
            find("body", &|o| *o == Object::EpochBody(head)),
        ),
        (
            "body of an older epoch",
            find("body", &|o| *o == Object::EpochBody(1)),
        ),
        ("segment in the head", find("segment", &in_head)),
        (
            "segment since the head",
            find(
                "segment",
                &|o| matches!(o, Object::Segment(id, _) if *id == who.three),
            ),
        ),
        ("pin, open", pin(who.open)),
        ("pin, ended", pin(who.three)),
        (
            "heartbeat",
            find("heartbeat", &|o| matches!(o, Object::Heartbeat(..))),
        ),
        ("manifest in the head", manifest(who.one)),
        ("manifest since the head", manifest(who.three)),
        ("fence of a dead session", manifest(who.dead)),
        ("fence of an ended session", manifest(who.aborted)),
        (
            "tombstone",
            find(
                "tombstone",
                &|o| matches!(o, Object::Tombstone(id, _) if *id == who.four),
            ),
        ),
        (
            "undo",
            find(
                "undo",
                &|o| matches!(o, Object::Undo(id, _) if *id == who.kept),
            ),
        ),
        ("claim of a name", claim_of(base, who.three)),
        ("data pack in the head", pack(who.one, "packs/data/")),
        ("tree pack in the head", pack(who.one, "packs/meta/")),
        ("data pack since the head", pack(who.three, "packs/data/")),
        ("tree pack since the head", pack(who.three, "packs/meta/")),
        ("condemned pack", pack(who.gone, "packs/data/")),
        ("pack of a dead session", pack(who.stray, "packs/data/")),
        (
            "record of a restore",
            find("restore", &|o| matches!(o, Object::Restore(..))),
        ),
        (
            "record of a verify",
            find("verify", &|o| matches!(o, Object::Verify(..))),
        ),
        ("reserve", layout::RESERVE.to_owned()),
    ]
}

/// The claim that a session holds: the one in whose folder the name's hash is.
fn claim_of(base: &Base, session: SessionId) -> String {
    let name = if session == base.backups[3].id {
        "three"
    } else {
        "one"
    };
    let ClusterRef { id, .. } = cluster();
    layout::claim(&base.keys.claim_hash(&id, name), 0)
}

/// Verifies every byte, for tests of the base itself.
pub async fn report(
    repository: &Repository,
    read_data: bool,
) -> Result<ark_engine::VerifyReport, Error> {
    repository
        .verify(VerifyOptions { read_data }, &Unwatched)
        .await
}
