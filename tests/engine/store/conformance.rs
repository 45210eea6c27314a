//! What every store must do. Each check gets a fresh, empty store.

use std::future::Future;

use ark_engine::store::{Created, RequestCounts, Store, StoreError};
use bytes::Bytes;
use futures::TryStreamExt;

/// Runs every check on a store of its own.
pub async fn all<F, R>(fresh: F)
where
    F: Fn() -> R,
    R: Future<Output = Store>,
{
    creates_once(&fresh().await).await;
    reads_exactly(&fresh().await).await;
    reads_ranges(&fresh().await).await;
    lists_in_order(&fresh().await).await;
    lists_long_folders(&fresh().await).await;
    deletes(&fresh().await).await;
    counts(&fresh().await).await;
    one_of_many_wins(&fresh().await).await;
    let probed = fresh().await;
    probed.probe_create().await.unwrap();
    assert_eq!(probed.list("").await.unwrap(), []);
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn creates_once(store: &Store) {
    let first = store.create("epochs/1", bytes("first")).await.unwrap();
    assert_eq!(first, Created::New);
    let second = store.create("epochs/1", bytes("second")).await.unwrap();
    assert_eq!(second, Created::Exists(bytes("first")));
    // The same bytes are ours: an earlier attempt whose reply was lost.
    let again = store.create("epochs/1", bytes("first")).await.unwrap();
    assert_eq!(again, Created::New);
    assert_eq!(store.get("epochs/1").await.unwrap(), "first");
}

async fn reads_exactly(store: &Store) {
    assert!(store.get("absent").await.unwrap_err().is_not_found());
    assert!(
        store
            .get_range("absent", 0..1)
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(store.head("absent").await.unwrap(), None);

    store.create("a/empty", Bytes::new()).await.unwrap();
    assert_eq!(store.get("a/empty").await.unwrap(), "");

    store.create("a/b/c", bytes("0123456789")).await.unwrap();
    let info = store.head("a/b/c").await.unwrap().unwrap();
    assert_eq!((info.key.as_str(), info.size), ("a/b/c", 10));
    assert!(info.modified_ms > 1_600_000_000_000);
    // A folder is not an object.
    assert_eq!(store.head("a/b").await.unwrap(), None);
    assert!(store.get("a/b").await.unwrap_err().is_not_found());

    assert_eq!(store.get_bounded("a/b/c", 10).await.unwrap().len(), 10);
    let large = store.get_bounded("a/b/c", 9).await.unwrap_err();
    assert!(
        matches!(
            large,
            StoreError::TooLarge {
                size: 10,
                max: 9,
                ..
            }
        ),
        "{large:?}"
    );

    assert_eq!(store.get_range("a/b/c", 3..6).await.unwrap(), "345");
    assert_eq!(store.get_range("a/b/c", 9..10).await.unwrap(), "9");
    assert_eq!(store.get_range("a/b/c", 4..4).await.unwrap(), "");
    for range in [8..11, 10..12, 50..60, 0..u64::MAX] {
        let error = store.get_range("a/b/c", range.clone()).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Truncated { found: 10, .. }),
            "{range:?}: {error:?}"
        );
    }
}

async fn reads_ranges(store: &Store) {
    let size = 3 << 20;
    let body: Bytes = (0..size)
        .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    store.create("packs/data/00/p", body.clone()).await.unwrap();
    let size = u64::from(size);
    // Out of order, touching, overlapping, empty, and with a gap too large to read over.
    let ranges = [
        size - 10..size,
        0..4096,
        4096..5000,
        100..200,
        7..7,
        2_500_000..2_500_001,
    ];
    let found = store.get_ranges("packs/data/00/p", &ranges).await.unwrap();
    assert_eq!(found.len(), ranges.len());
    for (range, found) in ranges.iter().zip(&found) {
        assert_eq!(
            *found,
            body.slice(range.start as usize..range.end as usize),
            "{range:?}"
        );
    }
    assert_eq!(
        store
            .get_ranges("packs/data/00/p", &[])
            .await
            .unwrap()
            .len(),
        0
    );
    let error = store
        .get_ranges("packs/data/00/p", &[0..10, size - 5..size + 5])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Truncated { .. }), "{error:?}");
    assert_eq!(store.get("packs/data/00/p").await.unwrap(), body);
}

async fn lists_in_order(store: &Store) {
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(store.list("epochs").await.unwrap(), []);
    assert_eq!(store.first("epochs/").await.unwrap(), None);
    // '-' and '.' sort before '/', digits after it: folders do not list as they look.
    let keys = [
        "a-b/1",
        "a.b",
        "a/b/1",
        "a/b-1",
        "a/c",
        "a0",
        "epochs/fffe",
        "epochs/ffff",
        "epochs2/0000",
    ];
    for key in keys.iter().rev() {
        store.create(key, bytes(key)).await.unwrap();
    }
    let listed = |found: Vec<ark_engine::store::ObjectInfo>| -> Vec<String> {
        found.into_iter().map(|info| info.key).collect()
    };
    let mut sorted: Vec<&str> = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(listed(store.list("").await.unwrap()), sorted);
    let all: Vec<_> = store.list_stream("").try_collect().await.unwrap();
    let mut streamed = listed(all);
    streamed.sort_unstable();
    assert_eq!(streamed, sorted);

    // A prefix is a folder, with or without its slash.
    for prefix in ["epochs", "epochs/"] {
        assert_eq!(
            listed(store.list(prefix).await.unwrap()),
            ["epochs/fffe", "epochs/ffff"]
        );
        let first = store.first(prefix).await.unwrap().unwrap();
        assert_eq!((first.key.as_str(), first.size), ("epochs/fffe", 11));
    }
    assert_eq!(store.first("").await.unwrap().unwrap().key, "a-b/1");
    assert_eq!(store.first("a").await.unwrap().unwrap().key, "a/b-1");
    assert_eq!(store.list("epoch").await.unwrap(), []);
}

async fn lists_long_folders(store: &Store) {
    use futures::StreamExt;
    let count = 1203;
    futures::stream::iter(0..count)
        .map(|n| async move {
            store
                .create(&format!("s/{n:05}"), bytes(&n.to_string()))
                .await
                .unwrap();
        })
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;
    let found = store.list("s").await.unwrap();
    assert_eq!(found.len(), count);
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(n, info)| info.key == format!("s/{n:05}"))
    );
    let before = store.counters();
    assert_eq!(store.first("s").await.unwrap().unwrap().key, "s/00000");
    assert_eq!((store.counters() - before).list, 1);
}

async fn deletes(store: &Store) {
    store.create("x/y", bytes("1")).await.unwrap();
    store.delete("x/y").await.unwrap();
    assert!(store.get("x/y").await.unwrap_err().is_not_found());
    store.delete("x/y").await.unwrap();
    store.delete("never/was").await.unwrap();
    assert_eq!(store.create("x/y", bytes("2")).await.unwrap(), Created::New);
}

async fn counts(store: &Store) {
    let before = store.counters();
    store.create("k", bytes("12345")).await.unwrap();
    store.get("k").await.unwrap();
    store.get_range("k", 1..3).await.unwrap();
    store.head("k").await.unwrap();
    store.list("").await.unwrap();
    store.delete("k").await.unwrap();
    let added = store.counters() - before;
    let expected = RequestCounts {
        get: 2,
        head: 1,
        put: 1,
        list: 1,
        delete: 1,
        bytes_read: 7,
        bytes_written: 5,
    };
    assert_eq!(added, expected);
    assert_eq!(added.requests(), 6);
    assert_eq!(
        added.to_string(),
        "2 get, 1 head, 1 put, 1 list, 1 delete; 7 bytes read, 5 bytes written"
    );
}

async fn one_of_many_wins(store: &Store) {
    let tries = (0..16).map(|n| async move {
        let ours = bytes(&format!("writer {n}"));
        (ours.clone(), store.create("race", ours).await.unwrap())
    });
    let results = futures::future::join_all(tries).await;
    let there = store.get("race").await.unwrap();
    let winners: Vec<_> = results
        .iter()
        .filter(|(_, created)| *created == Created::New)
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].0, there);
    for (ours, created) in &results {
        if *ours != there {
            assert_eq!(*created, Created::Exists(there.clone()));
        }
    }
}
