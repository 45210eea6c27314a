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
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::{Lookup, ObjectRef};
use kube::runtime::{controller, watcher};
use serde_json::Value;
use tokio::task::JoinSet;

use super::context::Context;
use crate::api::GoDuration;

/// Starts the controllers. Each runs until `context.stop` fires.
pub fn spawn(context: &Context) -> JoinSet<&'static str> {
    let mut tasks = JoinSet::new();
    let each = context.clone();
    tasks.spawn(async move {
        location::run(each).await;
        "the location controller"
    });
    let each = context.clone();
    tasks.spawn(async move {
        backup::run(each).await;
        "the backup controller"
    });
    let each = context.clone();
    tasks.spawn(async move {
        restore::run(each).await;
        "the restore controller"
    });
    let each = context.clone();
    tasks.spawn(async move {
        schedule::run(each).await;
        "the schedule controller"
    });
    let each = context.clone();
    tasks.spawn(async move {
        status::run(each).await;
        "the server status controller"
    });
    let each = context.clone();
    tasks.spawn(async move {
        delete::run(each).await;
        "the delete controller"
    });
    let each = context.clone();
    tasks.spawn(async move {
        gc::run(each).await;
        "garbage collection"
    });
    let each = context.clone();
    tasks.spawn(async move {
        sync::run(each).await;
        "the sync controller"
    });
    let each = context.clone();
    tasks.spawn(async move {
        maintenance::run(each).await;
        "maintenance"
    });
    tasks
}

/// Patches the status of an object; a field that is `null` is removed.
///
/// # Errors
/// The apiserver's.
pub async fn patch_status<K>(api: &Api<K>, name: &str, status: &Value) -> Result<K, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + Debug,
{
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch)
        .await
}

/// What happens after a reconciliation that failed: it is tried again soon. What it did before the error it does not do twice.
pub fn retry<K, E: Display>(_object: Arc<K>, _error: &E, _context: Arc<Context>) -> Action {
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

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        source = cause.source();
    }
    text
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
