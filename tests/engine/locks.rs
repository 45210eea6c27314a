//! Buckets that keep what is deleted: versions, object lock, retention policies.

use std::collections::BTreeMap;

use ark_engine::store::{Store, StoreError, StoreOptions};
use ark_engine::{PruneOptions, Repository};
use ark_testkit::{Minio, S3};
use bytes::Bytes;

use crate::gate::{End, Gate, LOCKED_UNTIL, Op};
use crate::roundtrip::{
    Items, assert_sound, backup, contents, index, items, new_repository, unlock,
};

const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};
const BUCKET: &str = "backups";

fn open_store(minio: &Minio) -> Store {
    let env: BTreeMap<String, String> = minio
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let options = StoreOptions {
        allow_http: true,
        env,
        ..StoreOptions::default()
    };
    Store::open("s3://backups/ark", &options).unwrap()
}

fn version(number: u32) -> Items {
    items(300, |_| number)
}

async fn pack_bytes(store: &Store) -> (u64, u64) {
    let packs = store.list("packs").await.unwrap();
    (packs.len() as u64, packs.iter().map(|p| p.size).sum())
}

#[tokio::test]
async fn a_locked_bucket_works_and_prune_says_what_comes_back_and_when() {
    let minio = Minio::start().await.unwrap();
    minio.create_locked_bucket(BUCKET, 3).await.unwrap();
    let store = open_store(&minio);
    let repository = new_repository(store.clone()).await;
    let one = backup(&repository, "one", &version(1)).await.unwrap();
    let two = backup(&repository, "two", &version(2)).await.unwrap();
    assert_eq!(contents(&repository, &one.id).await.unwrap(), version(1));
    assert_sound(&repository).await;

    let before = pack_bytes(&store).await;
    repository.forget(&[one.id]).await.unwrap();
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.backups_removed, ["one"]);
    let after = pack_bytes(&store).await;
    assert!(report.packs_deleted > 0);
    assert_eq!(report.kept.packs, report.packs_deleted, "{report:?}");
    assert_eq!(report.kept.packs, before.0 - after.0);
    assert_eq!(report.kept.bytes, before.1 - after.1);
    let last = report.kept.last.unwrap();
    assert!(last.object.starts_with("packs/"), "{last:?}");
    // Three days from when the pack was written, which was today or yesterday.
    let until = last.until.unwrap();
    let day = until.get(..10).unwrap();
    assert!(
        (2..=3).any(|days| day == date_in(days)),
        "locked until {until}"
    );
    assert_eq!(report.refused, []);

    // Its version is there, and nobody can remove it.
    let s3 = minio.s3();
    let key = format!("ark/{}", last.object);
    let versions = s3.versions(BUCKET, &key).await.unwrap();
    let [mark, version_of] = versions.as_slice() else {
        panic!("{versions:?}");
    };
    assert!(mark.marker && mark.latest && !version_of.marker);
    let answer = s3.delete_version(BUCKET, version_of).await.unwrap();
    assert!(answer.status >= 400, "{answer:?}");

    assert_eq!(contents(&repository, &two.id).await.unwrap(), version(2));
    backup(&repository, "three", &version(1)).await.unwrap();
    assert_sound(&repository).await;
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!((report.packs_deleted, report.kept.packs), (0, 0));
}

/// The date so many days from now, by the same tool that tests use for certificates.
fn date_in(days: u32) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("+{days} days"), "+%Y-%m-%d"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What the chapter on security tells to do when everything in a bucket with versions was deleted and overwritten.
async fn recover(s3: &S3, prefix: &str) {
    // 1. Remove every mark of a deletion.
    for version in s3.versions(BUCKET, prefix).await.unwrap() {
        if version.marker {
            s3.delete_version(BUCKET, &version)
                .await
                .unwrap()
                .done()
                .unwrap();
        }
    }
}

/// 2. Of an object that `ark verify` calls damaged, remove all versions but the oldest.
async fn restore_oldest(s3: &S3, key: &str) {
    let mut versions = s3.versions(BUCKET, key).await.unwrap();
    versions.retain(|version| version.key == key);
    versions.pop();
    for version in versions {
        s3.delete_version(BUCKET, &version)
            .await
            .unwrap()
            .done()
            .unwrap();
    }
}

#[tokio::test]
async fn a_bucket_with_versions_whose_objects_were_deleted_and_overwritten_is_recovered() {
    let minio = Minio::start().await.unwrap();
    minio.create_versioned_bucket(BUCKET).await.unwrap();
    let store = open_store(&minio);
    let repository = new_repository(store.clone()).await;
    let one = backup(&repository, "one", &version(1)).await.unwrap();
    let gone = backup(&repository, "gone", &version(2)).await.unwrap();
    repository.forget(&[gone.id]).await.unwrap();
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert!(
        report.kept.packs > 0 && report.kept.last.is_none(),
        "{report:?}"
    );
    let three = backup(&repository, "three", &version(3)).await.unwrap();

    // The attack: a mark on every object, other bytes over some of them.
    let s3 = minio.s3();
    let keys: Vec<String> = store
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|o| o.key)
        .collect();
    for key in &keys {
        let key = format!("ark/{key}");
        if key.contains("packs/") || key.ends_with("ark.json") {
            s3.put(BUCKET, &key, b"pay us")
                .await
                .unwrap()
                .done()
                .unwrap();
        }
        s3.delete(BUCKET, &key).await.unwrap().done().unwrap();
    }
    assert_eq!(store.list("").await.unwrap(), []);

    recover(&s3, "ark/").await;
    restore_oldest(&s3, "ark/ark.json").await;
    let repository = reopened(store.clone()).await;
    let read_data = ark_engine::VerifyOptions { read_data: true };
    let report = repository
        .verify(read_data, &ark_engine::verify::Unwatched)
        .await
        .unwrap();
    assert!(!report.damage.is_empty());
    for damage in &report.damage {
        restore_oldest(&s3, &format!("ark/{}", damage.object)).await;
    }
    assert_undamaged(&repository).await;
    assert_eq!(contents(&repository, &one.id).await.unwrap(), version(1));
    assert_eq!(contents(&repository, &three.id).await.unwrap(), version(3));
    let names: Vec<String> = repository
        .backups()
        .await
        .unwrap()
        .iter()
        .map(|b| b.row.name.clone())
        .collect();
    assert_eq!(names, ["three", "one"]);

    // 3. What prunes had deleted before is back as well; the next one takes it away again.
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert!(report.kept.packs > 0, "{report:?}");
    assert_undamaged(&repository).await;
    assert_eq!(contents(&repository, &three.id).await.unwrap(), version(3));
    backup(&repository, "gone", &version(4)).await.unwrap();
}

/// Nothing is damaged. What `ark repo init` tried the bucket with, and had deleted, is back and nobody's.
async fn assert_undamaged(repository: &Repository) {
    let read_data = ark_engine::VerifyOptions { read_data: true };
    let report = repository
        .verify(read_data, &ark_engine::verify::Unwatched)
        .await
        .unwrap();
    assert_eq!(report.damage, []);
    assert!(
        report.foreign.iter().all(|key| key.starts_with("probe/")),
        "{report:?}"
    );
}

async fn reopened(store: Store) -> Repository {
    Repository::open(
        store,
        crate::roundtrip::env(),
        &unlock(),
        Default::default(),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_store_that_refuses_deletes_for_a_while_loses_nothing() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let one = backup(&repository, "one", &version(1)).await.unwrap();
    let two = backup(&repository, "two", &version(2)).await.unwrap();
    repository.forget(&[one.id]).await.unwrap();
    let before = pack_bytes(repository.store()).await;
    gate.fail(Op::Delete, "", 10_000, End::Locked);

    let error = repository.store().delete("ark.json").await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Retained { until: Some(until), .. } if **until == *LOCKED_UNTIL),
        "{error:?}"
    );
    assert!(error.to_string().contains(LOCKED_UNTIL), "{error}");

    for _ in 0..2 {
        let report = repository.prune(&NOW, |_| {}).await.unwrap();
        // One more epoch condemns and one drops; what is refused is no reason for others.
        assert!(report.epochs <= 3, "{report:?}");
        assert!(
            report.refused.iter().any(|r| r.object.starts_with("packs/")
                && r.until.as_deref() == Some(LOCKED_UNTIL)),
            "{report:?}"
        );
        assert_eq!(pack_bytes(repository.store()).await, before);
        assert_eq!(contents(&repository, &two.id).await.unwrap(), version(2));
        assert_sound(&repository).await;
        assert_eq!(repository.backups().await.unwrap().len(), 1);
    }
    backup(&repository, "three", &version(3)).await.unwrap();

    gate.open();
    let report = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.refused, []);
    let again = repository.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!((again.packs_deleted, again.epochs), (0, 0), "{again:?}");
    let left = repository.store().list("packs").await.unwrap();
    let index = index(&repository).await;
    assert_eq!(left.len(), index.packs().len());
    assert_eq!(repository.store().list("forgotten").await.unwrap(), []);
    assert_eq!(contents(&repository, &two.id).await.unwrap(), version(2));
    assert_sound(&repository).await;
}

/// A client that may not delete at all: what was decided stays true, and one that may finishes it.
#[tokio::test]
async fn a_prune_that_may_not_delete_is_finished_by_one_that_may() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let one = backup(&repository, "one", &version(1)).await.unwrap();
    let two = backup(&repository, "two", &version(2)).await.unwrap();
    repository.forget(&[one.id]).await.unwrap();
    gate.fail(Op::Delete, "packs/", 10_000, End::Refuse);
    let error = repository.prune(&NOW, |_| {}).await.unwrap_err();
    assert!(
        error.to_string().contains("permission denied for packs/"),
        "{error}"
    );
    assert_eq!(contents(&repository, &two.id).await.unwrap(), version(2));
    gate.open();
    repository.prune(&NOW, |_| {}).await.unwrap();
    let index = index(&repository).await;
    let left = repository.store().list("packs").await.unwrap();
    assert_eq!(left.len(), index.packs().len());
    assert_sound(&repository).await;
    let bytes: Bytes = repository.store().get("ark.json").await.unwrap();
    assert!(!bytes.is_empty());
}
