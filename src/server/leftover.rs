//! What a server left that was stopped while it made a repository.
//!
//! A repository is there when `ark.json` is, which is written last. What lies there before is the first key, the first data key and the first
//! epoch, or some of them: nothing that anybody could open, and nothing that somebody else writes. It is told from other things so strictly,
//! and from a repository that another process is making just now by its age, that removing it loses nothing.

use ark_engine::store::{ObjectInfo, Store, StoreError};
use ark_format::layout::{self, Object};

/// So long nobody is at work any more: a repository is made in seconds.
const AGE_MS: i64 = 10 * 60 * 1000;
/// No beginning has more objects.
const MOST: usize = 16;

/// Whether these objects are all that there is, and nothing but the beginning of a repository that nobody goes on with.
fn is_leftover(objects: &[ObjectInfo], now_ms: i64) -> bool {
    let beginning = |object: &ObjectInfo| {
        let of_init = match layout::parse(&object.key) {
            Some(
                Object::Slot(_) | Object::Reserve | Object::EpochBody(0) | Object::EpochStub(0),
            ) => true,
            Some(Object::DataKey(number)) => number == 1,
            Some(_) => false,
            None => is_probe(&object.key),
        };
        of_init && now_ms.saturating_sub(object.modified_ms) > AGE_MS
    };
    !objects.is_empty() && objects.len() <= MOST && objects.iter().all(beginning)
}

/// What ark tries a store with before it makes anything.
fn is_probe(key: &str) -> bool {
    key.strip_prefix("probe/")
        .is_some_and(|name| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Removes the beginning of a repository that nobody goes on with, if that is all that lies there.
///
/// # Errors
/// The store's.
pub async fn remove(store: &Store, now_ms: i64) -> Result<bool, StoreError> {
    // A place that is somebody else's may hold very much: one look at what comes first is enough for most.
    for prefix in [layout::PACKS, layout::MANIFESTS, layout::SESSIONS] {
        if store.first(prefix).await?.is_some() {
            return Ok(false);
        }
    }
    let first = store.first("").await?;
    if !first.is_some_and(|first| layout::parse(&first.key).is_some() || is_probe(&first.key)) {
        return Ok(false);
    }
    let objects = store.list("").await?;
    if !is_leftover(&objects, now_ms) {
        return Ok(false);
    }
    for object in &objects {
        store.delete(&object.key).await?;
    }
    tracing::warn!(
        url = store.url(),
        objects = objects.len(),
        "removed the beginning of a repository that was never finished"
    );
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn objects(keys: &[String], age_ms: i64) -> Vec<ObjectInfo> {
        let object = |key: &String| ObjectInfo {
            key: key.clone(),
            size: 1,
            modified_ms: NOW - age_ms,
        };
        keys.iter().map(object).collect()
    }

    #[test]
    fn only_the_beginning_of_a_repository_is_one() {
        let slot = layout::slot(&"a".repeat(16));
        let beginning = [
            slot.clone(),
            layout::data_key(1),
            layout::epoch_body(0, &[7; 16]),
            layout::epoch_stub(0),
            layout::RESERVE.to_owned(),
            format!("probe/{}", "0f".repeat(16)),
        ];
        let old = AGE_MS + 1;
        assert!(is_leftover(&objects(&beginning, old), NOW));
        assert!(is_leftover(&objects(&beginning[..1], old), NOW));
        // Somebody may be making it.
        assert!(!is_leftover(&objects(&beginning, 1000), NOW));
        assert!(!is_leftover(&[], NOW));
        for other in [
            layout::CONFIG.to_owned(),
            layout::epoch_stub(1),
            layout::data_key(2),
            "backups/nightly/velero-backup.json".to_owned(),
            "probe/somebody".to_owned(),
            "notes.txt".to_owned(),
        ] {
            let with = [slot.clone(), other.clone()];
            assert!(!is_leftover(&objects(&with, old), NOW), "{other}");
        }
        let many: Vec<String> = (0..17).map(|n| layout::slot(&format!("{n:016}"))).collect();
        assert!(!is_leftover(&objects(&many, old), NOW));
    }
}
