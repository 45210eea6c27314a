//! The controllers: one file each. A controller decides by a pure function and acts apart from it.

pub mod backup;
pub mod delete;
pub mod gc;
pub mod location;
pub mod maintenance;
pub mod restore;
pub mod schedule;
pub mod status;
pub mod sync;

use std::fmt::{Debug, Display};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::{Lookup, ObjectRef};
use kube::runtime::{controller, watcher};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;

use super::context::Context;
use super::operation;
use super::told::chain;
use crate::api::{Backup, GoDuration, Restore};

/// Starts the controllers. Each runs until `context.stop` fires.
pub fn spawn(context: &Context) -> JoinSet<&'static str> {
    let each = || context.clone();
    let controllers: [(&str, BoxFuture<'static, ()>); 9] = [
        ("the location controller", location::run(each()).boxed()),
        (
            "the backup controller",
            operation::run::<Backup>(each()).boxed(),
        ),
        (
            "the restore controller",
            operation::run::<Restore>(each()).boxed(),
        ),
        ("the schedule controller", schedule::run(each()).boxed()),
        ("the server status controller", status::run(each()).boxed()),
        ("the delete controller", delete::run(each()).boxed()),
        ("garbage collection", gc::run(each()).boxed()),
        ("the sync controller", sync::run(each()).boxed()),
        ("maintenance", maintenance::run(each()).boxed()),
    ];
    let mut tasks = JoinSet::new();
    for (name, controller) in controllers {
        tasks.spawn(controller.map(move |()| name));
    }
    tasks
}

/// Reconciles all objects of a kind until `context.stop` fires.
async fn watch<K, E, F>(
    context: Context,
    controller: &'static str,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    E: std::error::Error + Send + 'static,
    F: Future<Output = Result<Action, E>> + Send + 'static,
{
    Controller::new(context.api::<K>(), watcher::Config::default())
        .graceful_shutdown_on(context.stop.clone().cancelled_owned())
        .run(reconcile, retry, Arc::new(context))
        .for_each(|done| async { log(controller, done) })
        .await;
}

/// Does a round after `first`, and then one a `pace`, until `context.stop` fires. A round is dropped anywhere.
async fn rounds<E: std::error::Error>(
    context: &Context,
    controller: &'static str,
    first: Duration,
    pace: Duration,
    round: impl AsyncFn(&Context) -> Result<(), E>,
) {
    let mut wait = first;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = context.stop.cancelled() => return,
        }
        wait = pace;
        let done = tokio::select! {
            done = round(context) => done,
            () = context.stop.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::warn!(controller, "{}", chain(&error));
        }
    }
}

/// Deletes an object, if it is there.
///
/// # Errors
/// The apiserver's.
async fn delete_present<K>(api: &Api<K>, name: &str) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Patches the status of an object; a field that is `null` is removed.
///
/// # Errors
/// The apiserver's.
pub async fn patch_status<K>(api: &Api<K>, name: &str, status: &Value) -> Result<K, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch)
        .await
}

/// What happens after a reconciliation that failed: it is tried again soon. What it did before the error it does not do twice.
fn retry<K, E: Display>(_object: Arc<K>, _error: &E, _context: Arc<Context>) -> Action {
    Action::requeue(Duration::from_secs(5))
}

/// Says what failed. What went well says itself.
pub fn log<K, E>(
    controller: &str,
    done: Result<(ObjectRef<K>, Action), controller::Error<E, watcher::Error>>,
) where
    K: Lookup,
    K::DynamicType: Debug,
    E: std::error::Error + 'static,
{
    match done {
        Ok(_) => {}
        // It went while it was waiting for its turn.
        Err(controller::Error::ObjectNotFound(_)) => {}
        Err(error) => tracing::warn!(controller, "{}", chain(&error)),
    }
}

/// How far the clocks of two replicas may be apart.
const AHEAD: Duration = Duration::from_secs(60);

/// A pace that a spec may set.
pub fn pace(said: Option<GoDuration>, default: Duration) -> Duration {
    said.map_or(default, |said| {
        Duration::from_secs(said.seconds().max(1).unsigned_abs())
    })
}

/// How long until something is due that was last done at `last`; `None`: it is due.
pub fn remaining(
    last: Timestamp,
    said: Option<GoDuration>,
    default: Duration,
    now: Timestamp,
) -> Option<Duration> {
    let pace = pace(said, default);
    let due = last.checked_add(pace).ok()?;
    // A time that is yet to come was written by a clock that was wrong.
    let left = Duration::try_from(due.duration_since(now))
        .ok()
        .filter(|left| *left <= pace + AHEAD)?;
    (!left.is_zero()).then_some(left)
}
