//! Google Cloud Storage and Azure Blob Storage, as fake-gcs-server and Azurite have them.
//!
//! fake-gcs-server has create-if-absent in its JSON API only; see `ark_testkit::FakeGcs` for what stands before it. It keeps
//! no order of its own and lists everything in one page, so pages of GCS are not tested. Azurite needs nothing.

use std::collections::BTreeMap;

use ark_engine::PruneOptions;
use ark_engine::store::{Created, Store, StoreOptions};
use ark_testkit::{Azurite, FakeGcs};
use bytes::Bytes;

use super::conformance;
use super::relay::Relay;
use crate::roundtrip::{assert_sound, backup, contents, items, new_repository};

fn open(url: &str, environment: Vec<(&'static str, String)>) -> Store {
    let env: BTreeMap<String, String> = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let options = StoreOptions {
        env,
        ..StoreOptions::default()
    };
    Store::open(url, &options).unwrap()
}

/// Prefixes of each other, on one server: none may see another's objects.
async fn conforms(scheme: &str, environment: Vec<(&'static str, String)>) {
    let count = std::cell::Cell::new(0);
    conformance::all(|| async {
        count.set(count.get() + 1);
        let url = format!("{scheme}://repo/{}", "p".repeat(count.get()));
        open(&url, environment.clone())
    })
    .await;
}

async fn round_trip(store: Store) {
    let repository = new_repository(store).await;
    let [first, second] = [1, 2].map(|n| items(200, |_| n));
    let one = backup(&repository, "one", &first).await.unwrap();
    let two = backup(&repository, "two", &second).await.unwrap();
    assert_eq!(contents(&repository, &one.id).await.unwrap(), first);
    assert_sound(&repository).await;
    repository.forget(&[one.id]).await.unwrap();
    let options = PruneOptions {
        now: true,
        max_unused: 0.05,
    };
    let report = repository.prune(&options, |_| {}).await.unwrap();
    assert!(report.packs_deleted > 0, "{report:?}");
    assert_eq!(report.kept.packs, 0);
    assert_eq!(contents(&repository, &two.id).await.unwrap(), second);
    assert_sound(&repository).await;
}

async fn survives_lost_replies(relay: &Relay, store: &Store) {
    store
        .create("first", Bytes::from_static(b"1"))
        .await
        .unwrap();
    for n in 0..3_u8 {
        let key = format!("k{n}");
        relay.swallow_next_reply();
        let created = store.create(&key, vec![n; 10_000].into()).await.unwrap();
        assert_eq!(created, Created::New);
        relay.swallow_next_reply();
        let created = store.create(&key, vec![99; 10].into()).await.unwrap();
        assert_eq!(created, Created::Exists(vec![n; 10_000].into()));
        relay.swallow_next_reply();
        assert_eq!(store.get(&key).await.unwrap(), vec![n; 10_000]);
        relay.swallow_next_reply();
        store.delete(&key).await.unwrap();
        assert_eq!(store.head(&key).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn google_cloud_storage_conforms() {
    let gcs = FakeGcs::start().await.unwrap();
    gcs.create_bucket("repo").await.unwrap();
    conforms("gs", gcs.environment(&gcs.address())).await;
    round_trip(open("gs://repo/trip", gcs.environment(&gcs.address()))).await;
    let relay = Relay::to(&gcs.address()).await;
    let address = relay.address().replace("http://", "");
    let store = open("gs://repo/relayed", gcs.environment(&address));
    survives_lost_replies(&relay, &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_blob_storage_conforms() {
    let azurite = Azurite::start().await.unwrap();
    azurite.create_container("repo").await.unwrap();
    conforms("az", azurite.environment(&azurite.address())).await;
    round_trip(open(
        "az://repo/trip",
        azurite.environment(&azurite.address()),
    ))
    .await;
    let relay = Relay::to(&azurite.address()).await;
    let address = relay.address().replace("http://", "");
    let store = open("az://repo/relayed", azurite.environment(&address));
    survives_lost_replies(&relay, &store).await;
}
