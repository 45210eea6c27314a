//! Folders.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use ark_engine::store::{Created, Store, StoreError, StoreOptions};
use bytes::Bytes;
use tempfile::TempDir;

use super::{conformance, open};

fn folder() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path().to_str().unwrap());
    (folder, store)
}

#[tokio::test]
async fn a_folder_conforms() {
    let parent = TempDir::new().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::all(|| async {
        count.set(count.get() + 1);
        let path = parent.path().join(format!("store {}", count.get()));
        let store = Store::create_root(path.to_str().unwrap(), &StoreOptions::default()).unwrap();
        assert!(store.is_local());
        assert_eq!(store.local_path().unwrap(), path.canonicalize().unwrap());
        store
    })
    .await;
}

#[test]
fn a_missing_folder_is_not_made_by_opening() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("a/b");
    let text = path.to_str().unwrap();
    let error = Store::open(text, &StoreOptions::default()).unwrap_err();
    assert!(
        matches!(error, StoreError::NoSuchLocation { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(text), "{error}");
    assert!(error.hint().unwrap().contains("ark repo init"));
    assert!(!path.exists());

    Store::create_root(text, &StoreOptions::default()).unwrap();
    assert!(path.is_dir());
    open(&format!("file://{text}"));
}

#[test]
fn a_file_is_not_a_store() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("file");
    fs::write(&path, "x").unwrap();
    let error = Store::open(path.to_str().unwrap(), &StoreOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("a file, not a folder"),
        "{error}"
    );
    let below = path.join("below");
    let error = Store::create_root(below.to_str().unwrap(), &StoreOptions::default()).unwrap_err();
    assert!(
        matches!(error, StoreError::NoSuchLocation { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_folder_that_vanishes_is_neither_empty_nor_made_again() {
    let (folder, store) = folder();
    let path = folder.path().to_owned();
    store.create("a/b", Bytes::from_static(b"1")).await.unwrap();
    drop(folder);
    let check = |what: &str, error: Option<StoreError>| {
        assert!(
            matches!(error, Some(StoreError::NoSuchLocation { .. })),
            "{what}: {error:?}"
        );
    };
    check("list", store.list("").await.err());
    check("first", store.first("a").await.err());
    check("get", store.get("a/b").await.err());
    check("head", store.head("a/b").await.err());
    check("delete", store.delete("a/b").await.err());
    let create = store.create("a/c", Bytes::from_static(b"1")).await;
    check("create", create.err());
    assert!(!path.exists());

    // Another folder in its place, as after an unmount. Clocks of file systems are coarse.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    fs::create_dir(&path).unwrap();
    let error = store.list("").await.unwrap_err();
    assert!(error.to_string().contains("unmounted"), "{error}");
    fs::remove_dir(&path).unwrap();
}

#[tokio::test]
async fn half_staged_files_are_leftovers_and_not_objects() {
    let (folder, store) = folder();
    store
        .create("packs/data/00/p", Bytes::from_static(b"whole"))
        .await
        .unwrap();
    fs::write(folder.path().join("packs/data/00/q#1"), "half").unwrap();
    fs::write(folder.path().join("packs/data/00/p#27"), "half").unwrap();
    fs::write(folder.path().join("packs/data/00/n#1"), "half").unwrap();
    let first = store.first("packs/data/00").await.unwrap().unwrap();
    assert_eq!((first.key.as_str(), first.size), ("packs/data/00/p", 5));
    let keys: Vec<_> = store.list("").await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].key, "packs/data/00/p");
    let leftovers = store.list_leftovers().await.unwrap();
    let paths: Vec<_> = leftovers.iter().map(|l| l.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "packs/data/00/n#1",
            "packs/data/00/p#27",
            "packs/data/00/q#1"
        ]
    );
    assert_eq!(leftovers[0].size, 4);

    // The name is still free for a complete object.
    let created = store
        .create("packs/data/00/q", Bytes::from_static(b"whole"))
        .await
        .unwrap();
    assert_eq!(created, Created::New);
    for leftover in &leftovers {
        store.remove_leftover(leftover).await.unwrap();
        store.remove_leftover(leftover).await.unwrap();
    }
    assert_eq!(store.list_leftovers().await.unwrap(), []);
    let mut wrong = leftovers[0].clone();
    wrong.path = "packs/data/00/p".to_owned();
    store.remove_leftover(&wrong).await.unwrap_err();
    assert_eq!(store.list("").await.unwrap().len(), 2);
}

#[tokio::test]
async fn foreign_files_of_any_name_are_listed() {
    let (folder, store) = folder();
    let path = folder.path();
    fs::write(path.join("Übersicht #final.txt"), "x").unwrap();
    fs::write(path.join("100%"), "x").unwrap();
    fs::create_dir(path.join("lost+found")).unwrap();
    fs::write(path.join("lost+found/1"), "x").unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    symlink("/nowhere", path.join("dangling")).unwrap();
    let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(b"bad\xff".to_vec());
    fs::write(path.join(name), "x").unwrap();
    let keys: Vec<_> = store
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|info| info.key)
        .collect();
    assert_eq!(keys, ["100%", "bad\u{fffd}", "Übersicht #final.txt"]);
}

#[tokio::test]
async fn folders_on_other_disks_are_followed() {
    let (folder, store) = folder();
    let other = TempDir::new().unwrap();
    symlink(other.path(), folder.path().join("packs")).unwrap();
    store
        .create("packs/data/00/p", Bytes::from_static(b"1"))
        .await
        .unwrap();
    assert!(other.path().join("data/00/p").exists());
    assert_eq!(store.list("packs").await.unwrap().len(), 1);
    assert_eq!(
        store.first("").await.unwrap().unwrap().key,
        "packs/data/00/p"
    );
}

#[tokio::test]
async fn folders_left_empty_are_removed() {
    let (folder, store) = folder();
    store
        .create("packs/data/00/p", Bytes::from_static(b"1"))
        .await
        .unwrap();
    store.delete("packs/data/00/p").await.unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_closed_folder_is_permission_denied() {
    let (folder, store) = folder();
    store.create("a/b", Bytes::from_static(b"1")).await.unwrap();
    let closed = folder.path().join("a");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Root is let in everywhere: then there is nothing to see.
    let barred = fs::read_dir(&closed).is_err();
    let results = [
        store.get("a/b").await.map(|_| ()),
        store.list("").await.map(|_| ()),
        store
            .create("a/c", Bytes::from_static(b"1"))
            .await
            .map(|_| ()),
    ];
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    for result in results {
        match result {
            Err(StoreError::PermissionDenied { .. }) if barred => {}
            Ok(()) if !barred => {}
            other => panic!("{other:?}"),
        }
    }
}
