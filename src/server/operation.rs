//! Operations on objects: a Backup is made, and a Restore is done, by a task of its own.
//!
//! What it guarantees:
//!
//! * Each object is worked on once at a time. What was begun and is not under way in this process was interrupted, and goes on:
//!   [`decide`].
//! * Work begins with the object as the apiserver has it: what was seen may be older than what this process wrote itself.
//! * Work for an object that was deleted is stopped as if it had been canceled.
//! * When the process is to end, everything is dropped where it is.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action as Requeue;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::controllers::{log, unreadable};
use super::insist::insist;
use super::running::Running;

/// How often an object is looked at again while an operation on it is under way: an event that came at the wrong moment
/// is made up for.
const AGAIN: Duration = Duration::from_secs(20);
/// How often it is looked whether an object is still there that is being worked on.
const LOOK: Duration = Duration::from_secs(1);
/// How often progress is written.
pub const PROGRESS: Duration = Duration::from_secs(1);

/// What is to be done for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it is finished, not ours, or on its way out.
    Nothing,
    /// Work on it, from the beginning or from where it was interrupted.
    Work,
    /// Stop the work on it.
    Cancel,
    /// It is being worked on.
    Watch,
}

/// Decides.
pub fn decide<K: Operation>(object: &K, running: bool) -> Action {
    let leaving = object.meta().deletion_timestamp.is_some();
    match (object.is_wanted(), running) {
        (true, true) if leaving || object.is_canceled() => Action::Cancel,
        (true, true) => Action::Watch,
        (true, false) if !leaving => Action::Work,
        _ => Action::Nothing,
    }
}

/// A kind of object that is worked on.
pub trait Operation:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The kind, as logs name it.
    const WHAT: &'static str;

    /// Whether the object is to be worked on, or is being worked on.
    fn is_wanted(&self) -> bool;
    /// Whether the work on it is to be stopped.
    fn is_canceled(&self) -> bool;
    /// Works until the outcome is on record.
    fn work(job: Job<Self>) -> impl Future<Output = ()> + Send;
}

/// The work on one object.
pub struct Job<K> {
    /// What it works with.
    pub context: Context,
    /// Where objects of the kind are.
    pub api: Api<K>,
    /// The object's name.
    pub name: String,
    /// The object's uid.
    pub uid: String,
    /// The object as it was written last.
    pub object: K,
    /// Fires when the work is to be stopped.
    pub cancel: CancellationToken,
}

/// Works on all objects of a kind until the server stops.
pub async fn run<K: Operation>(context: Context) {
    let running = Running::default();
    let guarded = Api::namespaced(context.client.clone(), &context.namespace);
    let controller = Controller::new(guarded, watcher::Config::default());
    let shared = Arc::new(Shared {
        context: context.clone(),
        running: running.clone(),
        seen: controller.store(),
    });
    controller
        .graceful_shutdown_on(context.stop.clone().cancelled_owned())
        .run(reconcile::<K>, again::<K>, shared)
        .for_each(|done| async { log(K::WHAT, done) })
        .await;
    running.ended().await;
}

/// An object of which nothing is known but its metadata stops nothing for others.
type Guarded<K> = DeserializeGuard<K>;

struct Shared<K: Operation> {
    context: Context,
    running: Running,
    /// The objects as they were seen last.
    seen: Store<Guarded<K>>,
}

async fn reconcile<K: Operation>(
    object: Arc<Guarded<K>>,
    shared: Arc<Shared<K>>,
) -> Result<Requeue, Infallible> {
    let Shared {
        context,
        running,
        seen,
    } = &*shared;
    let object = match &object.0 {
        Ok(object) => object,
        Err(invalid) => {
            unreadable(&*object, &invalid.error, context).await;
            return Ok(Requeue::await_change());
        }
    };
    let Some(uid) = object.uid() else {
        return Ok(Requeue::await_change());
    };
    match decide::<K>(object, running.has(&uid)) {
        Action::Nothing => return Ok(Requeue::await_change()),
        Action::Watch => {}
        Action::Cancel => running.cancel(&uid),
        Action::Work => running.start(&uid, |cancel| {
            let (context, name) = (context.clone(), object.name_any());
            let (uid, seen) = (uid.clone(), seen.clone());
            async move {
                let stop = context.stop.clone();
                let of = ObjectRef::new(&name).within(&context.namespace);
                let watched = (of, uid.clone());
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = gone::<K>(seen, watched, cancel.clone()) => {}
                    () = begin::<K>(context, name, uid, cancel) => {}
                }
            }
        }),
    }
    Ok(Requeue::requeue(AGAIN))
}

fn again<K: Operation>(_: Arc<Guarded<K>>, _: &Infallible, _: Arc<Shared<K>>) -> Requeue {
    Requeue::requeue(AGAIN)
}

/// Stops the work when its object is gone, or another one has its name. Never ends.
async fn gone<K: Operation>(
    seen: Store<Guarded<K>>,
    (of, uid): (ObjectRef<Guarded<K>>, String),
    cancel: CancellationToken,
) {
    loop {
        tokio::time::sleep(LOOK).await;
        let found = seen.get(&of);
        if found.is_none_or(|found| found.uid().as_ref() != Some(&uid)) {
            cancel.cancel();
        }
    }
}

async fn begin<K: Operation>(
    context: Context,
    name: String,
    uid: String,
    cancel: CancellationToken,
) {
    let api: Api<K> = context.api();
    let what = format!("{} {name}", K::WHAT);
    let Some(object) = insist(&what, || api.get(&name)).await else {
        return;
    };
    if object.uid().as_ref() == Some(&uid) && decide::<K>(&object, false) == Action::Work {
        let job = Job {
            context,
            api,
            name,
            uid,
            object,
            cancel,
        };
        K::work(job).await;
    }
}

/// How an operation ended, in a line.
pub fn outcome(
    failure: Option<&String>,
    invalid: &[String],
    items: u64,
    warnings: u64,
    errors: u64,
) -> String {
    match (failure, invalid) {
        (Some(reason), _) => reason.clone(),
        (None, []) => format!("{items} items, {warnings} warnings, {errors} errors"),
        (None, invalid) => invalid.join("; "),
    }
}
