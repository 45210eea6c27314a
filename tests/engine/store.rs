//! Stores: one conformance suite for a folder, memory, a real MinIO, fake-gcs-server and Azurite, and the faults that a real
//! store does not produce on demand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clouds;
mod conformance;
mod faults;
mod local;
#[path = "../../benches/pages.rs"]
mod pages;
mod relay;
mod s3;

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_engine::store::{Store, StoreError, StoreOptions, StoreUrl};

#[tokio::test]
async fn memory_conforms() {
    conformance::all(|| async { open("memory://") }).await;
}

fn open(url: &str) -> Store {
    Store::open(url, &StoreOptions::default()).unwrap()
}

#[test]
fn addresses_are_read() {
    let cases = [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3a://bucket/a/b/", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("az://container/a", "az://container/a"),
        ("file:///srv/backup", "file:///srv/backup"),
        ("file:///srv/with%20space", "file:///srv/with space"),
        ("/srv/backup", "file:///srv/backup"),
        ("memory://", "memory://"),
    ];
    for (given, expected) in cases {
        assert_eq!(StoreUrl::parse(given).unwrap().to_string(), expected);
    }
    let here = std::env::current_dir().unwrap().join("repo");
    assert_eq!(StoreUrl::parse("repo").unwrap(), StoreUrl::Local(here));
}

#[test]
fn bad_addresses_are_refused_with_a_reason() {
    let cases = [
        ("", "empty"),
        ("ftp://host/x", "ftp:// are not known"),
        ("s3://", "bucket is missing"),
        ("az:///x", "container is missing"),
        ("file://host/x", "absolute path"),
        ("file:relative", "file:///"),
        ("s3://bucket/a//b", "empty segments"),
        ("s3://bucket/../b", "'..'"),
        ("s3://bucket/x?region=eu", "not in the address"),
        ("s3://key:secret@bucket/x", "environment"),
    ];
    for (given, reason) in cases {
        let error = StoreUrl::parse(given).unwrap_err();
        assert!(error.to_string().contains(reason), "{given}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn settings_that_cannot_act_are_refused() {
    let with = |change: fn(&mut StoreOptions)| {
        let mut options = StoreOptions {
            env: BTreeMap::from([
                ("AWS_ACCESS_KEY_ID".to_owned(), "a".to_owned()),
                ("AWS_SECRET_ACCESS_KEY".to_owned(), "b".to_owned()),
            ]),
            ..StoreOptions::default()
        };
        change(&mut options);
        options
    };
    let refused = |url: &str, options: StoreOptions, reason: &str| {
        let error = Store::open(url, &options).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    };
    refused(
        "s3://b",
        with(|o| o.endpoint = Some("http://127.0.0.1:1".into())),
        "http without TLS",
    );
    refused(
        "s3://b",
        with(|o| o.endpoint = Some("minio:9000".into())),
        "must start with https://",
    );
    refused(
        "s3://b",
        with(|o| o.ca_file = Some("/nonexistent/ca.pem".into())),
        "/nonexistent/ca.pem",
    );
    refused(
        "s3://b",
        with(|o| o.proxy = Some("not a url".into())),
        "proxy is not a URL",
    );
    refused(
        "az://c",
        with(|o| o.sse_kms_key = Some("key".into())),
        "does not support SSE-KMS",
    );
    refused(
        "/tmp",
        with(|o| o.storage_class = Some("STANDARD_IA".into())),
        "does not support storage classes",
    );
    refused("az://c", with(|_| ()), "settings");
}

#[tokio::test]
async fn transfers_keep_to_the_limit() {
    let options = StoreOptions {
        limit_upload: Some(1_000_000),
        limit_download: Some(2_000_000),
        ..StoreOptions::default()
    };
    let store = Store::open("memory://", &options).unwrap();
    let timed = std::time::Instant::now();
    for n in 0..4 {
        store
            .create(&format!("k{n}"), vec![n; 100_000].into())
            .await
            .unwrap();
    }
    let up = timed.elapsed().as_millis();
    assert!((300..3000).contains(&up), "{up} ms");
    let timed = std::time::Instant::now();
    for n in 0..4 {
        store.get(&format!("k{n}")).await.unwrap();
    }
    let down = timed.elapsed().as_millis();
    assert!((150..3000).contains(&down), "{down} ms");
}

#[tokio::test]
async fn keys_that_no_store_can_hold_are_refused() {
    let store = open("memory://");
    for key in ["", "a//b", "../a", "a/./b"] {
        let error = store.get(key).await.unwrap_err();
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error:?}");
    }
}

/// Every operation can run in a task of its own.
#[tokio::test]
async fn operations_can_be_spawned() {
    use futures::TryStreamExt;
    let store = open("memory://");
    tokio::spawn(async move {
        store.create("a/b", "0123456789".into()).await.unwrap();
        store.get_ranges("a/b", &[0..2, 8..9]).await.unwrap();
        store.get_range("a/b", 0..2).await.unwrap();
        store.head("a/b").await.unwrap();
        store.list("a").await.unwrap();
        store
            .list_stream("a")
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        store.first("a").await.unwrap();
        store.delete("a/b").await.unwrap();
        store.probe_create().await.unwrap();
        store.list_leftovers().await.unwrap();
    })
    .await
    .unwrap();
}

/// The newest epoch is the first of what may be a million keys: whoever opens a repository must not be sent a thousand.
#[tokio::test]
async fn the_first_key_is_asked_for_as_a_few() {
    let bucket = Arc::new(pages::Pages::default());
    let store = Store::over_network_in_pages(bucket.clone(), "pages");
    assert_eq!(store.first("epochs").await.unwrap(), None);
    for n in 0..1203 {
        let key = format!("epochs/{n:05}");
        store.create(&key, "x".into()).await.unwrap();
    }
    store.create("epochs2/0", "x".into()).await.unwrap();
    bucket.asked.lock().unwrap().clear();
    let before = store.counters();
    let first = store.first("epochs/").await.unwrap().unwrap();
    assert_eq!(first.key, "epochs/00000");
    assert_eq!((store.counters() - before).list, 1);
    assert_eq!(*bucket.asked.lock().unwrap(), [2]);
    assert_eq!(store.first("epoch").await.unwrap(), None);
}
