//! A real MinIO, with and without TLS, and servers that are not there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ark_engine::store::{Created, Store, StoreError, StoreOptions};
use ark_testkit::{Minio, MinioOptions};
use bytes::Bytes;

use super::conformance;
use super::relay::Relay;

fn options(minio: &Minio) -> StoreOptions {
    let env: BTreeMap<String, String> = minio
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    StoreOptions {
        allow_http: true,
        env,
        ..StoreOptions::default()
    }
}

#[tokio::test]
async fn minio_conforms() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("repo").unwrap();
    let options = options(&minio);
    let count = std::cell::Cell::new(0);
    conformance::all(|| async {
        count.set(count.get() + 1);
        // Prefixes of each other: none may see another's objects.
        let url = format!("s3://repo/{}", "p".repeat(count.get()));
        Store::open(&url, &options).unwrap()
    })
    .await;
}

#[tokio::test]
async fn minio_answers_trouble_clearly() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("repo").unwrap();
    let good = options(&minio);

    let store = Store::open("s3://nowhere/x", &good).unwrap();
    let check = |what: &str, error: Option<StoreError>| {
        assert!(
            matches!(error, Some(StoreError::NoSuchLocation { .. })),
            "{what}: {error:?}"
        );
        let error = error.unwrap();
        assert!(error.to_string().contains("s3://nowhere/x"), "{error}");
        assert!(error.hint().unwrap().contains("create the bucket"));
    };
    check("get", store.get("ark.json").await.err());
    check("list", store.list("").await.err());
    check("first", store.first("epochs").await.err());
    let create = store.create("k", Bytes::from_static(b"1")).await;
    check("create", create.err());

    let mut wrong = good.clone();
    wrong
        .env
        .insert("AWS_SECRET_ACCESS_KEY".into(), "wrong".into());
    let store = Store::open("s3://repo", &wrong).unwrap();
    for error in [
        store.get("ark.json").await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store
            .create("k", Bytes::from_static(b"1"))
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(&error, StoreError::PermissionDenied { code: Some(code), .. } if code == "SignatureDoesNotMatch"),
            "{error:?}"
        );
        assert!(error.hint().unwrap().contains("AWS_SECRET_ACCESS_KEY"));
    }
}

#[tokio::test]
async fn minio_over_tls_needs_its_authority() {
    let minio = Minio::start_with(MinioOptions {
        tls: true,
        ..MinioOptions::default()
    })
    .await
    .unwrap();
    minio.create_bucket("repo").unwrap();
    let mut options = options(&minio);
    options.allow_http = false;
    options.ca_file = minio.ca_file();
    let store = Store::open("s3://repo/tls", &options).unwrap();
    store.probe_create().await.unwrap();

    options.ca_file = None;
    let store = Store::open("s3://repo/tls", &options).unwrap();
    let error = store.get("ark.json").await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap().contains("CA file"));
}

#[tokio::test]
async fn a_store_that_is_not_there_is_named_within_half_a_minute() {
    let options = StoreOptions {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        allow_http: true,
        env: BTreeMap::from([
            ("AWS_ACCESS_KEY_ID".to_owned(), "a".to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "b".to_owned()),
        ]),
        ..StoreOptions::default()
    };
    let store = Store::open("s3://repo", &options).unwrap();
    let start = Instant::now();
    let (get, create) = tokio::join!(
        store.get("ark.json"),
        store.create("k", Bytes::from_static(b"1"))
    );
    assert!(start.elapsed() < Duration::from_secs(31));
    for error in [get.unwrap_err(), create.unwrap_err()] {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("http://127.0.0.1:9"), "{error}");
    }
}

/// A store behind a relay that serves as its proxy: the name in its endpoint does not exist.
async fn relayed(minio: &Minio) -> (Relay, Store) {
    minio.create_bucket("repo").unwrap();
    let relay = Relay::to(minio.endpoint().trim_start_matches("http://")).await;
    let mut options = options(minio);
    options.endpoint = Some("http://minio.invalid".to_owned());
    options.proxy = Some(relay.address());
    let store = Store::open("s3://repo/relayed", &options).unwrap();
    (relay, store)
}

#[tokio::test]
async fn a_proxy_is_used() {
    let minio = Minio::start().await.unwrap();
    let (_relay, store) = relayed(&minio).await;
    store.create("a", Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), "1");
}

#[tokio::test]
async fn a_lost_reply_does_not_make_our_object_a_strangers() {
    let minio = Minio::start().await.unwrap();
    let (relay, store) = relayed(&minio).await;
    for n in 0..5_u8 {
        let key = format!("k{n}");
        relay.swallow_next_reply();
        let created = store.create(&key, vec![n; 100_000].into()).await.unwrap();
        assert_eq!(created, Created::New);
        relay.swallow_next_reply();
        let created = store.create(&key, vec![99; 10].into()).await.unwrap();
        assert_eq!(created, Created::Exists(vec![n; 100_000].into()));
        relay.swallow_next_reply();
        assert_eq!(store.get(&key).await.unwrap(), vec![n; 100_000]);
        relay.swallow_next_reply();
        store.delete(&key).await.unwrap();
        assert_eq!(store.head(&key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_store_that_was_there_is_waited_for() {
    let minio = Minio::start().await.unwrap();
    let (relay, store) = relayed(&minio).await;
    store.create("a", Bytes::from_static(b"1")).await.unwrap();
    relay.refuse();
    let away = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        relay.pass();
    };
    let (created, read, listed, ()) = tokio::join!(
        store.create("b", Bytes::from_static(b"2")),
        store.get("a"),
        store.list(""),
        away
    );
    assert_eq!(created.unwrap(), Created::New);
    assert_eq!(read.unwrap(), "1");
    assert!(!listed.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn a_store_that_never_answers_is_given_up() {
    let minio = Minio::start().await.unwrap();
    let (relay, store) = relayed(&minio).await;
    relay.stall();
    let start = Instant::now();
    let (get, create, first) = tokio::join!(
        store.get("ark.json"),
        store.create("k", Bytes::from_static(b"1")),
        store.first("epochs")
    );
    assert!(start.elapsed() < Duration::from_secs(32));
    for error in [get.unwrap_err(), create.unwrap_err(), first.unwrap_err()] {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
        assert!(
            error.to_string().contains("http://minio.invalid"),
            "{error}"
        );
        assert!(error.to_string().contains("proxy"), "{error}");
    }
}

/// Consoles make an object of a folder itself.
#[tokio::test]
async fn a_folder_made_by_hand_is_no_object() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("repo").unwrap();
    let s3 = minio.s3();
    for key in ["p/", "p/epochs/"] {
        s3.put("repo", key, b"").await.unwrap().done().unwrap();
    }
    let store = Store::open("s3://repo/p", &options(&minio)).unwrap();
    assert_eq!(store.first("epochs").await.unwrap(), None);
    store
        .create("epochs/1", Bytes::from_static(b"1"))
        .await
        .unwrap();
    assert_eq!(
        store.first("epochs").await.unwrap().unwrap().key,
        "epochs/1"
    );
}

#[tokio::test]
async fn only_data_packs_get_the_storage_class() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("repo").unwrap();
    let mut options = options(&minio);
    options.storage_class = Some("REDUCED_REDUNDANCY".to_owned());
    let store = Store::open("s3://repo", &options).unwrap();
    let keys = [
        "packs/data/00/p",
        "packs/meta/00/p",
        "epochs/1",
        "sessions/1",
    ];
    for key in keys {
        store.create(key, Bytes::from_static(b"1")).await.unwrap();
    }
    let classed = keys.map(|key| {
        let path = minio.folder().join("data/repo").join(key).join("xl.meta");
        let bytes = std::fs::read(path).unwrap();
        String::from_utf8_lossy(&bytes).contains("REDUCED_REDUNDANCY")
    });
    assert_eq!(classed, [true, false, false, false]);
}

#[tokio::test]
async fn a_kms_key_is_asked_for() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("repo").unwrap();
    let mut options = options(&minio);
    options.sse_kms_key = Some("no-such-key".to_owned());
    let store = Store::open("s3://repo", &options).unwrap();
    // This MinIO has no KMS: that it complains shows that it was asked.
    let error = store
        .create("k", Bytes::from_static(b"1"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("KMS"), "{error:?}");
}
