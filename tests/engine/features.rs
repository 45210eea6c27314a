//! Features of a later ark, mandatory for who reads, writes or prunes.

use std::collections::BTreeSet;

use ark_engine::store::Store;
use ark_engine::{
    Error, OpenOptions, PruneOptions, RepairOptions, Repository, RestoreRecord, Role, Unlock,
};
use ark_format::config::{Config, Features};
use ark_format::layout::{self, Object};
use ark_format::slot::{SlotHeader, raw_wrapping_key, unwrap};

use crate::gate::Gate;
use crate::roundtrip::{Plain, assert_sound, backup, contents, env, items, new_repository, unlock};

/// The key of [`unlock`].
const KEY: [u8; 32] = [7; 32];

/// Settings with these features, as who holds the keys would have written them.
async fn demand(gate: &Gate, features: Features) {
    let store = gate.store();
    let config = Config::decode(&store.get(layout::CONFIG).await.unwrap()).unwrap();
    let mut settings = config.unauthenticated().clone();
    let mut mac_key = None;
    for object in store.list(layout::KEYS).await.unwrap() {
        if let Some(Object::Slot(_)) = layout::parse(&object.key) {
            let bytes = store.get(&object.key).await.unwrap();
            let salt = SlotHeader::decode(&bytes).unwrap().kdf_salt;
            let wrapping = raw_wrapping_key(&KEY, &salt);
            let opened = unwrap(settings.cipher, settings.id, &object.key, &wrapping, &bytes);
            mac_key = mac_key.or(opened.ok().map(|slot| slot.keys.settings_mac_key()));
        }
    }
    settings.features = features;
    let bytes = Config::encode(&settings, &mac_key.unwrap()).unwrap();
    gate.replace(layout::CONFIG, |_| bytes).await;
}

async fn open(store: Store) -> Result<Repository, Error> {
    Repository::open(store, env(), &unlock(), OpenOptions::default()).await
}

/// What is no pin and no record.
async fn kept(store: &Store) -> BTreeSet<String> {
    let objects = store.list("").await.unwrap();
    let lasting = objects.into_iter().filter(|object| {
        let passing = ["sessions/", "manifests/", "verify/", "restores/"];
        !passing.iter().any(|folder| object.key.starts_with(folder))
    });
    lasting.map(|object| object.key).collect()
}

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::TooNew { .. }), "{what}: {error:?}");
    let text = error.to_string();
    assert!(
        text.contains("needs the feature \"quantum\", which this version of ark does not know"),
        "{what}: {text}"
    );
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains("upgrade ark"), "{what}: {hint}");
}

fn quantum() -> Vec<String> {
    vec!["quantum".to_owned()]
}

#[tokio::test]
async fn without_a_write_feature_everything_can_be_read_and_nothing_written() {
    let gate = Gate::new();
    let writer = new_repository(gate.store()).await;
    let content = items(200, |_| 1);
    let one = backup(&writer, "one", &content).await.unwrap();
    let gone = backup(&writer, "gone", &items(50, |_| 2)).await.unwrap();
    writer.forget(&[gone.id]).await.unwrap();
    let other = Unlock::from_key_file(&[9; 32]).unwrap();
    let slot = writer.add_key(&other, Role::Full).await.unwrap();
    demand(
        &gate,
        Features {
            write: quantum(),
            ..Features::default()
        },
    )
    .await;
    let store = gate.store();
    let before = kept(&store).await;

    let repository = open(store.clone()).await.unwrap();
    assert_eq!(contents(&repository, &one.id).await.unwrap(), content);
    assert_eq!(repository.backups().await.unwrap().len(), 2);
    assert_eq!(repository.keys().await.unwrap().len(), 3);
    repository.info().await.unwrap();
    assert_sound(&repository).await;
    let record = RestoreRecord {
        name: "r".into(),
        backup: one.id.to_string(),
        document: b"{}".to_vec(),
        report: b"{}".to_vec(),
        log: Vec::new(),
    };
    repository.record_restore(&record).await.unwrap();
    repository
        .plan_prune(&PruneOptions::default())
        .await
        .unwrap();

    let sessions = store.list("sessions").await.unwrap().len();
    refused("backup", backup(&repository, "two", &content).await);
    refused("forget", repository.forget(&[one.id]).await);
    refused("undelete", repository.undelete(&gone.id).await);
    refused("rotate", repository.rotate_data_key().await);
    refused("add a key", repository.add_key(&other, Role::Backup).await);
    refused("recovery key", repository.add_recovery_key().await);
    refused("remove a key", repository.remove_key(&slot).await);
    let options = RepairOptions::default();
    refused("repair", repository.repair(&options, &Plain, |_| {}).await);
    let prune = PruneOptions {
        now: true,
        ..PruneOptions::default()
    };
    refused("prune", repository.prune(&prune, |_| {}).await);
    assert_eq!(kept(&store).await, before);
    // Refused before anything is begun.
    assert_eq!(store.list("sessions").await.unwrap().len(), sessions);
}

#[tokio::test]
async fn without_a_prune_feature_only_nothing_is_collected() {
    let gate = Gate::new();
    new_repository(gate.store()).await;
    demand(
        &gate,
        Features {
            prune: quantum(),
            ..Features::default()
        },
    )
    .await;
    let repository = open(gate.store()).await.unwrap();
    let content = items(200, |_| 1);
    let one = backup(&repository, "one", &content).await.unwrap();
    assert_eq!(contents(&repository, &one.id).await.unwrap(), content);
    repository.forget(&[one.id]).await.unwrap();
    repository.undelete(&one.id).await.unwrap();
    let before = kept(&gate.store()).await;
    let prune = PruneOptions::default();
    refused("prune", repository.prune(&prune, |_| {}).await);
    let options = RepairOptions::default();
    refused("repair", repository.repair(&options, &Plain, |_| {}).await);
    assert_eq!(kept(&gate.store()).await, before);
}

#[tokio::test]
async fn without_a_read_feature_nothing_works() {
    let gate = Gate::new();
    let writer = new_repository(gate.store()).await;
    backup(&writer, "one", &items(50, |_| 1)).await.unwrap();
    demand(
        &gate,
        Features {
            read: quantum(),
            ..Features::default()
        },
    )
    .await;
    let before = gate.store().list("").await.unwrap().len();
    refused("open", open(gate.store()).await.map(drop));
    assert_eq!(gate.store().list("").await.unwrap().len(), before);
}
