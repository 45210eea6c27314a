//! What somebody can do who holds a key of the backup role and may write and delete anything in the bucket: nothing that
//! a prune or a reader takes for the word of the full role, and nothing that takes a finished backup away unnoticed.

use std::sync::Arc;

use ark_engine::env::Clock;
use ark_engine::store::Store;
use ark_engine::{
    BeginBackup, Env, Error, OpenOptions, PruneOptions, RepairOptions, Repository, Role, SessionId,
    Unlock, VerifyOptions,
};
use ark_format::KeySet;
use ark_format::config::Config;
use ark_format::documents::{EpochBody, EpochStub, Tombstone};
use ark_format::envelope::{Kind, Sealer, to_bytes};
use ark_format::slot::{self, SlotHeader};
use ark_format::{layout, sign};
use serde::Serialize;

use crate::gate::Gate;
use crate::roundtrip::{
    Items, assert_sound, backup, cluster, commit, contents, env, items, memory, new_repository,
    unlock, write,
};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};
const STOLEN: [u8; 32] = [8; 32];

async fn open(store: Store, unlock: &Unlock) -> Repository {
    Repository::open(store, env(), unlock, OpenOptions::default())
        .await
        .unwrap()
}

/// The keys that a slot of the backup role gives, and a signing key of the thief's own.
pub struct Thief {
    pub store: Store,
    pub config: Config,
    pub keys: KeySet,
}

impl Thief {
    async fn of(store: &Store) -> Thief {
        let bytes = store.get(layout::CONFIG).await.unwrap();
        let config = Config::decode(&bytes).unwrap();
        let settings = config.unauthenticated();
        let mut keys = None;
        for object in store.list(layout::KEYS).await.unwrap() {
            let bytes = store.get(&object.key).await.unwrap();
            let Ok(header) = SlotHeader::decode(&bytes) else {
                continue;
            };
            let wrapping = slot::raw_wrapping_key(&STOLEN, &header.kdf_salt);
            let opened = slot::unwrap(settings.cipher, settings.id, &object.key, &wrapping, &bytes);
            keys = keys.or(opened.ok().map(|document| document.keys));
        }
        let keys = keys.unwrap();
        assert!(keys.signing.is_none());
        Thief {
            store: store.clone(),
            config,
            keys,
        }
    }

    fn sealer(&self) -> Sealer<'_> {
        let settings = self.config.unauthenticated();
        Sealer {
            cipher: settings.cipher,
            repository: settings.id,
            key: &self.keys.index,
        }
    }

    pub async fn put<T: Serialize>(&self, kind: Kind, key: &str, document: &T) -> Vec<u8> {
        let bytes = self.sealer().encode(kind, key, env().salt(), document);
        let bytes = bytes.unwrap();
        self.store.create(key, bytes.clone().into()).await.unwrap();
        bytes
    }

    /// Seals a document and signs it with a key that is not the repository's.
    async fn put_signed<T: Serialize>(&self, kind: Kind, key: &str, document: &T) {
        let repository = self.config.unauthenticated().id;
        let payload = to_bytes(document).unwrap();
        let signed = sign::sign(&[9; 32], repository, kind, key, payload).unwrap();
        self.put(kind, key, &signed).await;
    }

    async fn stone(&self, kind: Kind, key: &str, session: SessionId) {
        let stone = Tombstone {
            session,
            at: 0,
            by: "thief".into(),
        };
        self.put_signed(kind, key, &stone).await;
    }

    /// An epoch without any backup.
    async fn epoch(&self, number: u64) {
        let body_key = layout::epoch_body(number, &[1; 16]);
        let body = EpochBody {
            number,
            watermark: number,
            ..EpochBody::default()
        };
        let body = self.put(Kind::EpochBody, &body_key, &body).await;
        let stub = EpochStub {
            number,
            parent_hash: [0; 32],
            body_key,
            body_hash: *blake3::hash(&body).as_bytes(),
            body_size: body.len() as u64,
            nonce: [1; 16],
            created: 0,
        };
        self.put_signed(Kind::EpochStub, &layout::epoch_stub(number), &stub)
            .await;
    }
}

pub async fn with_thief() -> (Repository, Thief) {
    with_thief_in(memory()).await
}

pub async fn with_thief_in(store: Store) -> (Repository, Thief) {
    let repository = new_repository(store).await;
    let stolen = Unlock::from_key_file(&STOLEN).unwrap();
    repository.add_key(&stolen, Role::Backup).await.unwrap();
    let thief = Thief::of(repository.store()).await;
    (repository, thief)
}

#[tokio::test]
async fn forged_tombstones_and_undos_have_no_effect() {
    let (repository, thief) = with_thief().await;
    let [kept, gone] = [items(200, |_| 1), items(200, |_| 2)];
    let one = backup(&repository, "one", &kept).await.unwrap();
    let two = backup(&repository, "two", &gone).await.unwrap();
    let stones = [0, 7, u32::MAX].map(|number| layout::tombstone(one.id, number));
    for key in &stones {
        thief.stone(Kind::Tombstone, key, one.id).await;
    }
    let backups = repository.backups().await.unwrap();
    assert!(backups.iter().all(|b| b.forgotten.is_none()), "{backups:?}");

    // The owner's tombstone comes beside them, and the thief cannot undo it.
    repository.forget(&[two.id]).await.unwrap();
    let undo = layout::undo(two.id, 0);
    thief.stone(Kind::Undo, &undo, two.id).await;
    let view = repository.view().await.unwrap();
    assert!(view.backup(&one.id).unwrap().forgotten.is_none());
    assert!(view.backup(&two.id).unwrap().forgotten.is_some());

    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.backups_removed, ["two"]);
    let mut forged = [&stones[..], &[undo]].concat();
    forged.sort();
    assert_eq!(report.forged, forged);
    assert_eq!(contents(&repository, &one.id).await.unwrap(), kept);

    // Verify names those that are still there, as what they are.
    let read_data = VerifyOptions { read_data: true };
    let report = repository
        .verify(read_data, &ark_engine::verify::Unwatched)
        .await
        .unwrap();
    let named: Vec<&str> = report.damage.iter().map(|d| d.object.as_str()).collect();
    for key in &stones {
        assert!(named.contains(&key.as_str()), "{report:?}");
    }
    assert_eq!(named.len(), stones.len(), "{report:?}");
    assert!(report.damage.iter().all(|d| d.what.contains("full role")));

    // The owner's own, beside the forged ones, work as ever.
    repository.forget(&[one.id]).await.unwrap();
    assert!(repository.backups().await.unwrap()[0].forgotten.is_some());
    repository.undelete(&one.id).await.unwrap();
    assert!(repository.backups().await.unwrap()[0].forgotten.is_none());
    repository.forget(&[one.id]).await.unwrap();
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(repository.store().list("forgotten").await.unwrap(), []);
    assert_sound(&repository).await;
}

#[tokio::test]
async fn forged_epochs_are_passed_over_by_everybody() {
    let (repository, thief) = with_thief().await;
    let content = items(200, |_| 1);
    let one = backup(&repository, "one", &content).await.unwrap();
    let two = backup(&repository, "two", &items(200, |_| 2))
        .await
        .unwrap();
    let before = repository.info().await.unwrap().epoch;
    let numbers = [before + 1, before + 2, before + 4, u64::MAX];
    for number in numbers {
        thief.epoch(number).await;
    }
    thief
        .store
        .create("epochs/0", "not an epoch".into())
        .await
        .unwrap();

    assert_eq!(repository.info().await.unwrap().epoch, before);
    assert_eq!(repository.backups().await.unwrap().len(), 2);
    assert_eq!(contents(&repository, &one.id).await.unwrap(), content);
    let stolen = Unlock::from_key_file(&STOLEN).unwrap();
    let by_role = open(repository.store().clone(), &stolen).await;
    let three = backup(&by_role, "three", &content).await.unwrap();

    // Their numbers are void: the next epochs take those between.
    repository.forget(&[two.id]).await.unwrap();
    repository.undelete(&two.id).await.unwrap();
    assert_eq!(repository.info().await.unwrap().epoch, before + 3);
    repository.forget(&[two.id]).await.unwrap();
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.backups_removed, ["two"]);
    assert!(report.packs_deleted > 0, "{report:?}");
    let forged = numbers.map(layout::epoch_stub);
    assert!(
        forged.iter().all(|key| report.forged.contains(key)),
        "{report:?}"
    );
    let head = repository.info().await.unwrap().epoch;
    assert!(head > before + 4 && head < u64::MAX, "{head}");
    for id in [one.id, three.id] {
        assert_eq!(contents(&repository, &id).await.unwrap(), content);
    }
    // A repair goes on from the newest true one as well.
    let plan = repository.plan_repair(&RepairOptions::default()).await;
    assert!(plan.is_ok(), "{:?}", plan.err());
    repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(contents(&repository, &one.id).await.unwrap(), content);
}

struct LongAgo;

impl Clock for LongAgo {
    fn now_ms(&self) -> i64 {
        1_000
    }
}

fn others(version: u32) -> Items {
    items(300, |_| version)
}

/// A writer who lists chunks of others in packs that do not have them, under the oldest session id there can be.
#[tokio::test]
async fn a_later_copy_that_lies_does_not_make_garbage_of_the_first() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let surroundings = Env {
        clock: Arc::new(LongAgo),
        ..env()
    };
    let options = OpenOptions::default();
    let thief = Repository::open(gate.store(), surroundings, &unlock(), options)
        .await
        .unwrap();
    // Begun before the other's commit, so that it finds nothing to reuse.
    let session = thief
        .begin_backup(BeginBackup {
            name: "lie".into(),
            cluster: cluster(),
        })
        .await
        .unwrap();
    let content = others(1);
    let one = backup(&repository, "one", &content).await.unwrap();
    let honest: Vec<String> = keys(&repository, "packs").await;

    let root = write(&session, &content).await.unwrap();
    let lie = session.commit(commit(root)).await.unwrap();
    assert!(lie.id < one.id);
    for key in keys(&repository, "packs").await {
        if !honest.contains(&key) {
            gate.replace(&key, |bytes| vec![0; bytes.len()]).await;
        }
    }
    for _ in 0..2 {
        repository.prune(&NOW, |_| {}).await.unwrap();
        assert_eq!(contents(&repository, &one.id).await.unwrap(), content);
    }
    // What lied is gone, and both backups rest on what the store had first.
    assert_eq!(keys(&repository, "packs").await, honest);
    assert_sound(&repository).await;
}

pub async fn keys(repository: &Repository, prefix: &str) -> Vec<String> {
    let objects = repository.store().list(prefix).await.unwrap();
    objects.into_iter().map(|object| object.key).collect()
}

/// A repository, and a client of it that keeps what it has seen.
async fn with_witness() -> (Repository, tempfile::TempDir) {
    let repository = new_repository(memory()).await;
    let state = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        state_dir: Some(state.path().to_owned()),
        ..OpenOptions::default()
    };
    let store = repository.store().clone();
    let witness = Repository::open(store, env(), &unlock(), options).await;
    (witness.unwrap(), state)
}

#[tokio::test]
async fn a_bucket_rolled_back_is_noticed_by_who_has_seen_more() {
    let (witness, _state) = with_witness().await;
    let store = witness.store();
    let one = backup(&witness, "one", &others(1)).await.unwrap();
    let older = {
        let mut objects = Vec::new();
        for object in store.list("").await.unwrap() {
            objects.push((object.key.clone(), store.get(&object.key).await.unwrap()));
        }
        objects
    };
    backup(&witness, "two", &others(2)).await.unwrap();
    witness.forget(&[one.id]).await.unwrap();
    witness.prune(&NOW, |_| {}).await.unwrap();
    let seen = witness.info().await.unwrap().epoch;
    assert!(seen > 0);

    for object in store.list("").await.unwrap() {
        store.delete(&object.key).await.unwrap();
    }
    for (key, bytes) in older {
        store.create(&key, bytes).await.unwrap();
    }
    let rolled = |error: Error| {
        let right = matches!(error, Error::RolledBack { seen: s, .. } if s == seen);
        assert!(right, "{error:?}");
    };
    rolled(witness.backups().await.unwrap_err());
    rolled(backup(&witness, "three", &others(3)).await.unwrap_err());
    rolled(witness.prune(&NOW, |_| {}).await.unwrap_err());
    // Who has seen nothing cannot tell.
    let stranger = open(store.clone(), &unlock()).await;
    assert_eq!(contents(&stranger, &one.id).await.unwrap(), others(1));
}
