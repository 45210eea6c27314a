//! The controllers: one file each. A controller decides by a pure function and acts apart from it.

pub mod backup;
pub mod delete;
pub mod download;
pub mod gc;
pub mod location;
pub mod maintenance;
pub mod restore;
pub mod schedule;
pub mod status;
pub mod sync;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::StreamExt;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::{Lookup, ObjectRef};
use kube::runtime::{controller, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::context::Context;
use super::operation;
use super::told::chain;
use crate::api::{Backup, GoDuration, Restore};

/// Starts the controllers. Each runs until `context.stop` fires.
pub fn spawn(context: &Context) -> JoinSet<&'static str> {
    let each = || context.clone();
    let controllers: [(&str, BoxFuture<'static, ()>); 10] = [
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
        ("the download controller", download::run(each()).boxed()),
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

/// Reconciles all objects of a kind until `context.stop` fires. One that cannot be read is told of, and holds up no other; one that fails is
/// tried again, later each time.
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
    let each = move |object: Arc<DeserializeGuard<K>>, context: Arc<Context>| async move {
        let object = match &object.0 {
            Ok(object) => Arc::new(object.clone()),
            Err(invalid) => {
                unreadable(&*object, &invalid.error, &context).await;
                return Ok(Action::await_change());
            }
        };
        let what = key(controller, &*object);
        let done = reconcile(object, Arc::clone(&context)).await;
        if done.is_ok() {
            context.backoff.succeeded(&what);
        }
        done
    };
    let retry = move |object: Arc<DeserializeGuard<K>>, _: &E, context: Arc<Context>| {
        Action::requeue(context.backoff.failed(&key(controller, &*object)))
    };
    let guarded = Api::namespaced(context.client.clone(), &context.namespace);
    Controller::<DeserializeGuard<K>>::new(guarded, watcher::Config::default())
        .graceful_shutdown_on(context.stop.clone().cancelled_owned())
        .run(each, retry, Arc::new(context))
        .for_each(|done| async { log(controller, done) })
        .await;
}

fn key<K: ResourceExt>(controller: &str, object: &K) -> String {
    format!("{controller} {}", object.uid().unwrap_or_default())
}

/// Tells of an object that cannot be read.
pub async fn unreadable<K: Resource<DynamicType = ()>>(object: &K, why: &str, context: &Context) {
    let name = object.name_any();
    tracing::error!(kind = %K::kind(&()), name, why, "the object cannot be read and is left alone");
    let note = format!("it cannot be read and is left alone: {why}");
    context.events.warning(object, "Unreadable", &note).await;
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
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch)
        .await
}

/// Patches the object of that uid, and no other one of its name; `None` if it is gone. A field that is `null` is removed.
///
/// The uid is compared here and the version by the apiserver: in a patch of a status it would not look at the uid.
///
/// # Errors
/// The apiserver's.
pub async fn patch_own<K>(
    api: &Api<K>,
    name: &str,
    uid: &str,
    patch: &Value,
) -> Result<Option<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    guarded(api, name, uid, patch, false).await
}

/// As [`patch_own`], its status.
///
/// # Errors
/// The apiserver's.
pub async fn patch_own_status<K>(
    api: &Api<K>,
    name: &str,
    uid: &str,
    status: &Value,
) -> Result<Option<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    guarded(api, name, uid, &json!({ "status": status }), true).await
}

async fn guarded<K>(
    api: &Api<K>,
    name: &str,
    uid: &str,
    patch: &Value,
    status: bool,
) -> Result<Option<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let parameters = PatchParams::default();
    let mut left = CONFLICTS;
    loop {
        let Some(found) = api.get_metadata_opt(name).await? else {
            return Ok(None);
        };
        if found.metadata.uid.as_deref() != Some(uid) {
            return Ok(None);
        }
        let mut patch = patch.clone();
        patch["metadata"]["resourceVersion"] = json!(found.metadata.resource_version);
        let patch = Patch::Merge(patch);
        let done = match status {
            true => api.patch_status(name, &parameters, &patch).await,
            false => api.patch(name, &parameters, &patch).await,
        };
        match done {
            Ok(object) => return Ok(Some(object)),
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(None),
            // Somebody wrote something else in between.
            Err(kube::Error::Api(answer)) if answer.code == 409 && left > 0 => left -= 1,
            Err(error) => return Err(error),
        }
    }
}

/// How often an object may be changed by others between reading and patching it.
const CONFLICTS: u32 = 20;

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

/// A pace that a spec may set; zero sets none.
pub fn pace(said: Option<GoDuration>, default: Duration) -> Duration {
    let said = said.and_then(GoDuration::given);
    said.map_or(default, |said| {
        Duration::from_secs(said.seconds().unsigned_abs())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pace_of_zero_is_none() {
        let default = Duration::from_secs(60);
        let said = |text: &str| pace(Some(text.parse().unwrap()), default);
        assert_eq!(pace(None, default), default);
        assert_eq!(said("10s"), Duration::from_secs(10));
        for zero in ["0", "0s", "1ms"] {
            assert_eq!(said(zero), default, "{zero}");
        }
    }
}
