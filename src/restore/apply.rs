//! Puts prepared objects into the cluster: create first, ask afterwards.
//!
//! In an empty cluster an object costs one request. Only if one of its name is there it is read, compared and, if the
//! policy says so, patched. Up to [`Options::concurrency`](super::Options) objects are under way at once; what an object
//! depends on beyond the order of waves (its owners' uids) is settled when it is known or at the end, never by waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::api::{Created, Requests, is_address_taken, reason, uid_of};
use super::existing::{Decision, Rules, decide};
use super::finalize::Orphan;
use super::journal::Done;
use super::mutate::{Prepared, Skip, owners, release_node_ports};
use super::object::{Key, Uid};
use super::report::{Outcome, RestoreReport};
use super::target::Target;
use super::{Monitor, Options};
use crate::api::ExistingResourcePolicy;
use crate::cluster::kinds;
use crate::hooks::{PodName, Restored};

/// What a restore has learnt so far.
#[derive(Default)]
pub(super) struct State {
    report: Mutex<RestoreReport>,
    uids: Mutex<HashMap<Uid, Uid>>,
    orphans: Mutex<Vec<Orphan>>,
    definitions: Mutex<Vec<String>>,
    hooked: Mutex<Vec<Restored>>,
}

impl State {
    pub(super) fn report(&self) -> MutexGuard<'_, RestoreReport> {
        lock(&self.report)
    }

    pub(super) fn uids(&self) -> MutexGuard<'_, HashMap<Uid, Uid>> {
        lock(&self.uids)
    }

    pub(super) fn take_orphans(&self) -> Vec<Orphan> {
        std::mem::take(&mut *lock(&self.orphans))
    }

    /// Pods that this restore has put there and that have hooks.
    pub(super) fn take_hooked(&self) -> Vec<Restored> {
        std::mem::take(&mut *lock(&self.hooked))
    }

    /// Definitions that were created or changed since this was last asked.
    pub(super) fn take_definitions(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.definitions))
    }
}

/// A panic elsewhere does not make counters wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object on its way into the cluster.
pub(super) struct Item<'a> {
    /// The object in the backup.
    pub key: &'a Key,
    /// Its resource in the cluster.
    pub target: &'a Arc<Target>,
    /// What to create.
    pub prepared: Prepared,
    /// Whether it is only there because another one needs it.
    pub only_related: bool,
}

/// Puts objects into the cluster.
pub(super) struct Applier<'a> {
    pub requests: Requests<'a>,
    pub options: &'a Options,
    pub policy: ExistingResourcePolicy,
    /// Whether node ports are wanted as they were, or not at all.
    pub preserve_node_ports: bool,
    pub monitor: &'a dyn Monitor,
    pub state: &'a State,
}

/// How far an object got.
enum Placed {
    /// This restore puts it there, with the owners that are known.
    Created { uid: Option<Uid> },
    /// This restore put it there before, and it has so many owners.
    Resumed { uid: Option<Uid>, owners: usize },
    /// It was there, and has so many owners.
    Existed {
        uid: Option<Uid>,
        owners: usize,
        outcome: Outcome,
    },
    /// It is not there.
    Not(Outcome),
}

impl Applier<'_> {
    /// Counts what became of an object.
    pub fn record(&self, key: &Key, outcome: &Outcome) {
        self.state.report().record(key, outcome);
        self.monitor.object(key, outcome);
    }

    fn warn(&self, key: &Key, text: String) {
        self.state.report().warn(key, text);
    }

    /// Puts an object into the cluster and counts what became of it.
    pub async fn apply(&self, mut item: Item<'_>, done: &Done) {
        let namespace = item.prepared.object["metadata"]["namespace"]
            .as_str()
            .map(str::to_owned);
        let name = item.prepared.object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let known = self.link_known_owners(&mut item.prepared);
        let placed = match done.get(namespace.as_deref(), &name) {
            Some(put) => Placed::Resumed {
                uid: Some(put.uid),
                owners: put.owners,
            },
            None => self.place(&item, namespace.as_deref(), &name).await,
        };
        let created = matches!(placed, Placed::Created { .. });
        if let Placed::Created { uid } | Placed::Resumed { uid, .. } = &placed
            && let (Some(hooks), Some(namespace)) = (item.prepared.hooks.take(), &namespace)
        {
            lock(&self.state.hooked).push(Restored {
                pod: PodName {
                    namespace: namespace.clone(),
                    name: name.clone(),
                },
                uid: uid.map(|uid| uid.to_string()),
                since: Instant::now(),
                hooks: *hooks,
            });
        }
        let (uid, outcome, owners) = match placed {
            Placed::Created { uid } => (uid, Outcome::Created, Some(known)),
            Placed::Resumed { uid, owners } => {
                self.state.report().resumed += 1;
                (uid, Outcome::Created, Some(owners))
            }
            Placed::Existed {
                uid,
                owners,
                outcome,
            } => {
                let ours = outcome == Outcome::Updated;
                (uid, outcome, ours.then_some(owners))
            }
            Placed::Not(outcome) => (None, outcome, None),
        };
        if let (Some(old), Some(new)) = (item.prepared.old_uid, uid) {
            self.state.uids().insert(old, new);
        }
        if let Some(owners) = owners {
            let waits = owners < item.prepared.owners.len();
            self.after(&item, namespace.as_deref(), &name).await;
            if let (true, Some(uid)) = (waits, uid) {
                lock(&self.state.orphans).push(Orphan {
                    only_ours: created && item.prepared.managed_fields.is_none(),
                    key: Key {
                        name,
                        ..item.key.clone()
                    },
                    target: Arc::clone(item.target),
                    namespace,
                    uid,
                    owners: item.prepared.owners.clone(),
                });
            }
        }
        self.record(item.key, &outcome);
    }

    /// Puts in the owners that are known to be there, and tells how many these are.
    fn link_known_owners(&self, prepared: &mut Prepared) -> usize {
        if prepared.owners.is_empty() {
            return 0;
        }
        let known: Vec<Value> = {
            let uids = self.state.uids();
            let new = |old: Uid| uids.get(&old).copied();
            prepared
                .owners
                .iter()
                .filter_map(|owner| Some(owner.reference(owner.uid.and_then(new)?)))
                .collect()
        };
        let count = known.len();
        if count > 0 {
            prepared.object["metadata"]["ownerReferences"] = Value::Array(known);
        }
        count
    }

    async fn place(&self, item: &Item<'_>, namespace: Option<&str>, name: &str) -> Placed {
        let mut body = match serde_json::to_vec(&item.prepared.object) {
            Ok(body) => Bytes::from(body),
            Err(error) => return Placed::Not(Outcome::Failed(error.to_string())),
        };
        let mut ports_kept = true;
        // Once more after one that was being deleted is gone, and once more without ports that are taken.
        for _ in 0..3 {
            match self
                .requests
                .create(item.target, namespace, body.clone())
                .await
            {
                Ok(Created::Yes { uid, dropped }) => {
                    if let Some(fields) = dropped {
                        self.warn(
                            item.key,
                            format!(
                                "the cluster does not know some fields and left them out: {fields}"
                            ),
                        );
                    }
                    return Placed::Created { uid };
                }
                Ok(Created::Exists) => match self.exists(item, namespace, name).await {
                    Some(placed) => return placed,
                    None => continue,
                },
                Err(error)
                    if ports_kept && !self.preserve_node_ports && is_address_taken(&error) =>
                {
                    let mut object = item.prepared.object.clone();
                    if !release_node_ports(&mut object) {
                        return Placed::Not(Outcome::Failed(reason(&error)));
                    }
                    ports_kept = false;
                    body = object.to_string().into();
                    self.warn(
                        item.key,
                        "a node port that it had is taken here; it gets others".to_owned(),
                    );
                }
                Err(error) => return Placed::Not(Outcome::Failed(reason(&error))),
            }
        }
        Placed::Not(Outcome::Failed(
            "others create and delete it all the time".to_owned(),
        ))
    }

    /// What is done about one that exists; none if it is gone by now.
    async fn exists(&self, item: &Item<'_>, namespace: Option<&str>, name: &str) -> Option<Placed> {
        let failed = |text: String| Some(Placed::Not(Outcome::Failed(text)));
        let live = match self.requests.get(item.target, namespace, name).await {
            Ok(Some(live)) => live,
            Ok(None) => return None,
            Err(error) => return failed(reason(&error)),
        };
        let rules = Rules {
            resource: &item.key.resource,
            policy: self.policy,
            only_related: item.only_related,
        };
        let uid = uid_of(&live);
        let owners = owners(&live).len();
        match decide(&live, &item.prepared.object, rules) {
            Decision::Done => Some(Placed::Resumed { uid, owners }),
            Decision::Unchanged => Some(Placed::Existed {
                uid,
                owners,
                outcome: Outcome::Unchanged,
            }),
            Decision::Leave(skip) => Some(Placed::Existed {
                uid,
                owners,
                outcome: Outcome::Skipped(skip),
            }),
            Decision::Patch(patch) => {
                match self
                    .requests
                    .patch(item.target, namespace, name, None, &patch)
                    .await
                {
                    Ok(_) => Some(Placed::Existed {
                        uid,
                        owners,
                        outcome: Outcome::Updated,
                    }),
                    Err(error) => failed(format!(
                        "it exists and cannot be updated: {}",
                        reason(&error)
                    )),
                }
            }
            Decision::WaitUntilGone => {
                let patience = match item.key.resource == kinds::NAMESPACES {
                    true => self.options.namespace_patience,
                    false => self.options.object_patience,
                };
                match self
                    .requests
                    .wait_until_gone(item.target, namespace, &live, patience)
                    .await
                {
                    Ok(true) => None,
                    Ok(false) => failed(format!(
                        "one of that name is being deleted and was still there after {} s",
                        patience.as_secs()
                    )),
                    Err(error) => failed(reason(&error)),
                }
            }
        }
    }

    /// What is done once an object is there.
    async fn after(&self, item: &Item<'_>, space: Option<&str>, name: &str) {
        let prepared = &item.prepared;
        if item.key.resource == kinds::CUSTOM_RESOURCE_DEFINITIONS {
            lock(&self.state.definitions).push(name.to_owned());
        }
        if let Some(fields) = &prepared.managed_fields {
            let patch = json!({"metadata": {"managedFields": fields}});
            if let Err(error) = self
                .requests
                .patch(item.target, space, name, None, &patch)
                .await
            {
                self.warn(
                    item.key,
                    format!(
                        "who applied its fields could not be put back: {}",
                        reason(&error)
                    ),
                );
            }
        }
        if let Some(status) = &prepared.status {
            let patch = json!({"status": status});
            if let Err(error) = self
                .requests
                .patch(item.target, space, name, Some("status"), &patch)
                .await
            {
                self.warn(
                    item.key,
                    format!("its status could not be restored: {}", reason(&error)),
                );
            }
        }
    }

    /// Counts an object that is left out.
    pub fn skip(&self, key: &Key, skip: Skip) {
        self.record(key, &Outcome::Skipped(skip));
    }
}
