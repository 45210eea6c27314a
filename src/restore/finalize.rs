//! Puts objects back under their owners.
//!
//! An owner reference is only true with the uid that the owner has in this cluster. What was restored in this run has a
//! new uid; what was there before may still have the old one, as when one namespace of a living cluster is restored. So
//! a reference is put back with the new uid, or as it was if the object of that name still has that uid, or not at all.
//! It is never written unverified: the garbage collector deletes an object whose owner does not exist.
//!
//! Owners that were restored before what they own are known when it is created; only objects whose owners came later
//! (pods before their ReplicaSets) are remembered and patched at the end. The patch names the uid of the object that was
//! restored, so that one of the same name that somebody else made since is not touched.
//!
//! The patch of an object that this run has made, and that nobody applied, also clears who manages its fields: that was
//! only this restore. An apiserver that need not account for each field patches in half the time, and whoever applies the
//! object first is told of the same conflicts
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields>).

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::api::{Requests, reason, uid_of};
use super::mutate::Owner;
use super::object::{Key, Uid};
use super::target::Target;
use crate::cluster::{Discovery, Verbs};

/// An object that waits for its owners.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// The object in the backup.
    pub key: Key,
    /// Its resource in the cluster.
    pub target: Arc<Target>,
    /// Its namespace in the cluster.
    pub namespace: Option<String>,
    /// Its uid in the cluster.
    pub uid: Uid,
    /// What owned it in the backup.
    pub owners: Vec<Owner>,
    /// Whether this restore has made it and nobody else manages any of its fields.
    pub only_ours: bool,
}

impl Orphan {
    fn patch(&self, references: &[Value]) -> Value {
        let mut metadata = json!({"uid": self.uid.to_string(), "ownerReferences": references});
        if self.only_ours {
            metadata["managedFields"] = json!([{}]);
        }
        json!({"metadata": metadata})
    }
}

/// What became of an object that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relinked {
    /// So many references were put back, and so many dropped.
    Done {
        /// Put back.
        linked: u64,
        /// Dropped.
        dropped: u64,
    },
    /// It could not be patched.
    Failed(String),
}

/// Puts back the owner references of the objects that waited.
pub async fn relink(
    requests: Requests<'_>,
    discovery: &Discovery,
    uids: &HashMap<Uid, Uid>,
    orphans: Vec<Orphan>,
    concurrency: usize,
) -> Vec<(Key, Relinked)> {
    let survivors = Survivors {
        requests,
        discovery,
        known: Mutex::new(HashMap::new()),
    };
    let survivors = &survivors;
    futures::stream::iter(orphans)
        .map(|orphan| async move {
            let mut references = Vec::new();
            for owner in &orphan.owners {
                let uid = match owner.uid.and_then(|old| uids.get(&old)) {
                    Some(new) => Some(*new),
                    None => survivors.find(owner, orphan.namespace.as_deref()).await,
                };
                references.extend(uid.map(|uid| owner.reference(uid)));
            }
            let linked = references.len() as u64;
            let dropped = orphan.owners.len() as u64 - linked;
            if linked > 0 {
                let patch = orphan.patch(&references);
                let name = &orphan.key.name;
                let answer = requests
                    .patch(
                        &orphan.target,
                        orphan.namespace.as_deref(),
                        name,
                        None,
                        &patch,
                    )
                    .await;
                match answer {
                    Ok(_) => {}
                    // Deleted or replaced since: nothing of ours is left to link.
                    Err(error) if error.is_not_found() || error.is_conflict() => {
                        return (
                            orphan.key,
                            Relinked::Done {
                                linked: 0,
                                dropped: 0,
                            },
                        );
                    }
                    Err(error) => return (orphan.key, Relinked::Failed(reason(&error))),
                }
            }
            (orphan.key, Relinked::Done { linked, dropped })
        })
        .buffer_unordered(concurrency)
        .collect()
        .await
}

/// Owners that were not restored but may still be there.
struct Survivors<'a> {
    requests: Requests<'a>,
    discovery: &'a Discovery,
    known: Mutex<HashMap<Uid, bool>>,
}

impl Survivors<'_> {
    async fn find(&self, owner: &Owner, namespace: Option<&str>) -> Option<Uid> {
        let old = owner.uid?;
        if let Some(alive) = self.known.lock().await.get(&old) {
            return alive.then_some(old);
        }
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let resource = self.discovery.find_kind(group, &owner.kind)?;
        if !resource.verbs.has(Verbs::GET) {
            return None;
        }
        let target = Target {
            api_version: resource.api_version(),
            resource: Arc::clone(resource),
            same_version: true,
        };
        let live: Option<Value> = self
            .requests
            .get(&target, namespace, &owner.name)
            .await
            .ok()?;
        let alive = live.as_ref().and_then(uid_of) == Some(old);
        self.known.lock().await.insert(old, alive);
        alive.then_some(old)
    }
}
