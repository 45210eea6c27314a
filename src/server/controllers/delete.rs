//! DeleteBackupRequests: the one way in which a backup is deleted through the cluster.
//!
//! What it guarantees:
//!
//! * A request is about one object: the one of the uid that it names, or else the one that the server found first and whose uid it then wrote
//!   into the request's status. A later object of that name stays.
//! * In the repository goes what that object stands for ([`counterpart`](crate::server::counterpart)), and nothing else of its name.
//! * A request is done in steps that may each be repeated: the repository gets the backup's tombstone, the object goes, the request goes. A
//!   server that dies in between goes on where it was. Until the tombstone is there the Backup is what it was.
//! * What can never be done is said in the request, which then stays for a day; what may work later is tried again, later each time.
//!
//! The bytes go at a prune, a week later: until then `ark backup undelete` takes the backup back.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::controller::Action;
use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::sync::remove;
use super::{delete_present, patch_own_status, patch_status};
use crate::api::{
    AccessMode, Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest,
    DeleteBackupRequestPhase, labels,
};
use crate::server::context::Context;
use crate::server::counterpart::may_be_stored;
use crate::server::metrics::of_schedule;
use crate::server::repositories::RepositoriesError;
use crate::server::stored;
use crate::server::told::{chain, told};

/// How long a request stays that could not be done.
const SHOWN: SignedDuration = SignedDuration::from_hours(24);

/// What to do about a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Delete the backup.
    Delete,
    /// Say that it cannot be done.
    Refuse {
        /// Why.
        why: String,
    },
    /// Remove the request: it is done, or was shown long enough.
    Drop,
    /// Look again then.
    Wait {
        /// In so many seconds.
        seconds: u64,
    },
}

/// Decides about one request.
pub fn plan(
    request: &DeleteBackupRequest,
    backup: Option<&Backup>,
    location: Option<&BackupStorageLocation>,
    now: Timestamp,
) -> Step {
    let name = &request.spec.backup_name;
    let refuse = |why: String| Step::Refuse { why };
    let status = request.status.clone().unwrap_or_default();
    let begun = status.phase == DeleteBackupRequestPhase::InProgress;
    if status.phase == DeleteBackupRequestPhase::Processed {
        let made = request.creation_timestamp().map_or(now, |made| made.0);
        let left = SHOWN - now.duration_since(made);
        return match status.errors.is_empty() || left <= SignedDuration::ZERO {
            true => Step::Drop,
            false => Step::Wait {
                seconds: left.as_secs().max(1).unsigned_abs(),
            },
        };
    }
    let Some(backup) = backup else {
        return match begun {
            // It went by this very request.
            true => Step::Drop,
            false => refuse(format!("there is no Backup {name}")),
        };
    };
    let meant = status
        .backup_uid
        .as_ref()
        .or(request.spec.backup_uid.as_ref());
    if meant.is_some_and(|meant| backup.metadata.uid.as_ref() != Some(meant)) {
        return refuse(format!(
            "the Backup {name} is not the one that this request is about, but a later one of its name: make another request if it is meant"
        ));
    }
    match backup.phase() {
        BackupPhase::New | BackupPhase::InProgress | BackupPhase::Canceling => {
            return refuse(format!(
                "the Backup {name} is being made: set spec.cancel in it first"
            ));
        }
        _ => {}
    }
    match location {
        // Nothing of it is in a repository.
        _ if !may_be_stored(backup) || backup.spec.storage_location.is_none() => Step::Delete,
        None => refuse(format!(
            "the location {} of the Backup {name} is gone: its data stays where it is; to be rid of the object alone, delete it with \
             kubectl",
            backup.spec.storage_location.as_deref().unwrap_or("")
        )),
        Some(location) if location.spec.access_mode == AccessMode::ReadOnly => refuse(format!(
            "the location {} of the Backup {name} is ReadOnly",
            location.name_any()
        )),
        Some(_) => Step::Delete,
    }
}

/// Why a request is tried again.
#[derive(Debug, Error)]
pub enum DeleteError {
    /// The repository is not there.
    #[error(transparent)]
    Location(#[from] RepositoriesError),
    /// The repository fails.
    #[error(
        "cannot delete the backup {backup} from the repository: {}",
        told(source)
    )]
    Engine {
        /// The backup.
        backup: String,
        /// Why.
        source: Box<ark_engine::Error>,
    },
    /// The apiserver refuses.
    #[error("cannot write the objects of the deletion of {backup}")]
    Cluster {
        /// The backup.
        backup: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl DeleteError {
    /// Whether it will be the same whenever it is tried.
    fn lasts(&self) -> bool {
        match self {
            DeleteError::Engine { source, .. } => {
                matches!(**source, ark_engine::Error::Role { .. })
            }
            DeleteError::Location(_) | DeleteError::Cluster { .. } => false,
        }
    }
}

/// Runs until `context.stop` fires.
pub async fn run(context: Context) {
    super::watch(context, "delete", reconcile).await;
}

async fn reconcile(
    request: Arc<DeleteBackupRequest>,
    context: Arc<Context>,
) -> Result<Action, DeleteError> {
    if request.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    tokio::select! {
        done = step(&request, &context) => done,
        () = context.stop.cancelled() => Ok(Action::await_change()),
    }
}

async fn step(request: &DeleteBackupRequest, context: &Context) -> Result<Action, DeleteError> {
    let requests = context.api::<DeleteBackupRequest>();
    let backups = context.api::<Backup>();
    let name = &request.spec.backup_name;
    let refused = |source| DeleteError::Cluster {
        backup: name.clone(),
        source: Box::new(source),
    };
    let backup = backups.get_opt(name).await.map_err(refused)?;
    let location = match backup
        .as_ref()
        .and_then(|b| b.spec.storage_location.as_ref())
    {
        Some(location) => {
            let locations = context.api::<BackupStorageLocation>();
            locations.get_opt(location).await.map_err(refused)?
        }
        None => None,
    };
    let schedule = backup
        .as_ref()
        .and_then(|backup| backup.labels().get(labels::SCHEDULE_NAME).cloned());
    let label = of_schedule(schedule.as_deref());
    let metrics = &context.metrics;
    match plan(request, backup.as_ref(), location.as_ref(), context.now()) {
        Step::Wait { seconds } => Ok(Action::requeue(Duration::from_secs(seconds))),
        Step::Drop => {
            delete_present(&requests, &request.name_any())
                .await
                .map_err(refused)?;
            Ok(Action::await_change())
        }
        Step::Refuse { why } => {
            if !is_begun(request) {
                metrics.deletion_attempts.get_or_create_owned(&label).inc();
            }
            metrics.deletion_failure.get_or_create_owned(&label).inc();
            tracing::warn!(backup = name, "{why}");
            context
                .events
                .warning(request, "DeletionRefused", &why)
                .await;
            say(request, &why, context).await.map_err(refused)?;
            Ok(Action::requeue(Duration::from_secs(3600)))
        }
        Step::Delete => {
            let Some(backup) = backup else {
                return Ok(Action::await_change());
            };
            // A request is one attempt, however often it is tried.
            if !is_begun(request) {
                metrics.deletion_attempts.get_or_create_owned(&label).inc();
            }
            if let Err(error) = delete(request, &backup, &requests, &backups, context).await {
                let note = chain(&error);
                context
                    .events
                    .warning(&backup, "DeletionFailed", &note)
                    .await;
                if error.lasts() {
                    metrics.deletion_failure.get_or_create_owned(&label).inc();
                    tracing::warn!(backup = name, "{note}");
                    say(request, &note, context).await.map_err(refused)?;
                    return Ok(Action::requeue(Duration::from_secs(3600)));
                }
                return Err(error);
            }
            metrics.deletion_success.get_or_create_owned(&label).inc();
            delete_present(&requests, &request.name_any())
                .await
                .map_err(refused)?;
            Ok(Action::await_change())
        }
    }
}

fn is_begun(request: &DeleteBackupRequest) -> bool {
    let status = request.status.as_ref();
    status.is_some_and(|status| status.phase == DeleteBackupRequestPhase::InProgress)
}

/// Writes why the request cannot be done.
async fn say(
    request: &DeleteBackupRequest,
    why: &str,
    context: &Context,
) -> Result<(), kube::Error> {
    let status = json!({ "phase": DeleteBackupRequestPhase::Processed, "errors": [why] });
    let requests = context.api::<DeleteBackupRequest>();
    patch_status(&requests, &request.name_any(), &status).await?;
    Ok(())
}

async fn delete(
    request: &DeleteBackupRequest,
    backup: &Backup,
    requests: &Api<DeleteBackupRequest>,
    backups: &Api<Backup>,
    context: &Context,
) -> Result<(), DeleteError> {
    let name = backup.name_any();
    let refused = |source| DeleteError::Cluster {
        backup: name.clone(),
        source: Box::new(source),
    };
    let engine = |source| DeleteError::Engine {
        backup: name.clone(),
        source: Box::new(source),
    };
    let uid = backup.uid().unwrap_or_default();
    let begun = json!({ "phase": DeleteBackupRequestPhase::InProgress, "backupUid": uid });
    patch_status(requests, &request.name_any(), &begun)
        .await
        .map_err(refused)?;
    if let Some(location) = &backup.spec.storage_location
        && may_be_stored(backup)
    {
        let opened = context.repositories.get(location).await?;
        let own = context.cluster.id();
        let rows = stored::of(&opened.repository, backup, own).await;
        let ids: Vec<_> = rows
            .map_err(engine)?
            .iter()
            .filter(|row| row.forgotten.is_none())
            .map(|row| row.id)
            .collect();
        opened.repository.forget(&ids).await.map_err(engine)?;
        // From here on there is no way back but undelete.
        let deleting = json!({ "phase": BackupPhase::Deleting });
        patch_own_status(backups, &name, &uid, &deleting)
            .await
            .map_err(refused)?;
    }
    remove(backup, backups).await.map_err(refused)?;
    tracing::info!(backup = name, "deleted the backup; its bytes go at a prune");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn request(phase: &str, errors: &[&str]) -> DeleteBackupRequest {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "DeleteBackupRequest",
            "metadata": {"name": "r", "creationTimestamp": "2026-11-22T00:00:00Z"},
            "spec": {"backupName": "b"},
            "status": {"phase": phase, "errors": errors},
        }))
        .unwrap()
    }

    /// One that is about the object of that uid, as its maker or the server has said.
    fn about(
        mut request: DeleteBackupRequest,
        made: Option<&str>,
        found: Option<&str>,
    ) -> DeleteBackupRequest {
        request.spec.backup_uid = made.map(str::to_owned);
        let status = request.status.as_mut().unwrap();
        status.backup_uid = found.map(str::to_owned);
        request
    }

    fn backup(phase: &str, id: Option<&str>) -> Backup {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "Backup",
            "metadata": {"name": "b", "uid": "u"},
            "spec": {"storageLocation": "default"},
            "status": {"phase": phase, "backupId": id},
        }))
        .unwrap()
    }

    fn location(access: &str) -> BackupStorageLocation {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "BackupStorageLocation",
            "metadata": {"name": "default"},
            "spec": {"provider": "local", "objectStorage": {"bucket": "/b"}, "accessMode": access},
        }))
        .unwrap()
    }

    /// It failed before it had a location.
    fn nowhere() -> Backup {
        let mut backup = backup("Failed", None);
        backup.spec.storage_location = None;
        backup
    }

    #[test]
    fn each_case_alone() {
        let now: Timestamp = "2026-11-22T01:00:00Z".parse().unwrap();
        let done = Some("1");
        let write = || Some(location("ReadWrite"));
        for (case, request, backup, location, expected) in [
            (
                "a backup",
                request("New", &[]),
                Some(backup("Completed", done)),
                write(),
                "Delete",
            ),
            (
                "one that failed",
                request("New", &[]),
                Some(backup("Failed", None)),
                write(),
                "Delete",
            ),
            (
                "one that is lost",
                request("New", &[]),
                Some(backup("Lost", done)),
                write(),
                "Delete",
            ),
            (
                "a server that died",
                request("InProgress", &[]),
                Some(backup("Deleting", done)),
                write(),
                "Delete",
            ),
            (
                "never stored",
                request("New", &[]),
                Some(backup("FailedValidation", None)),
                None,
                "Delete",
            ),
            (
                "never begun, without a location",
                request("New", &[]),
                Some(nowhere()),
                None,
                "Delete",
            ),
            (
                "meant by its uid",
                about(request("New", &[]), Some("u"), None),
                Some(backup("Completed", done)),
                write(),
                "Delete",
            ),
            (
                "a later one of its name",
                about(request("New", &[]), Some("before"), None),
                Some(backup("Completed", done)),
                write(),
                "a later one of its name",
            ),
            (
                "a later one, made after the first had gone",
                about(request("InProgress", &[]), None, Some("before")),
                Some(backup("Completed", done)),
                write(),
                "a later one of its name",
            ),
            (
                "being deleted by this request",
                about(request("InProgress", &[]), None, Some("u")),
                Some(backup("Completed", done)),
                write(),
                "Delete",
            ),
            (
                "not begun",
                request("New", &[]),
                Some(backup("New", None)),
                write(),
                "is being made",
            ),
            (
                "being made",
                request("New", &[]),
                Some(backup("InProgress", None)),
                write(),
                "is being made",
            ),
            (
                "no such backup",
                request("New", &[]),
                None,
                None,
                "there is no Backup b",
            ),
            (
                "gone by this request",
                request("InProgress", &[]),
                None,
                None,
                "Drop",
            ),
            (
                "location gone",
                request("New", &[]),
                Some(backup("Completed", done)),
                None,
                "its data stays",
            ),
            (
                "read-only",
                request("New", &[]),
                Some(backup("Completed", done)),
                Some(location("ReadOnly")),
                "is ReadOnly",
            ),
            ("done", request("Processed", &[]), None, None, "Drop"),
            (
                "refused an hour ago",
                request("Processed", &["no"]),
                Some(backup("Completed", done)),
                write(),
                "82800",
            ),
        ] {
            let step = format!(
                "{:?}",
                plan(&request, backup.as_ref(), location.as_ref(), now)
            );
            assert!(step.contains(expected), "{case}: {step}");
        }
        let lasting = |source| {
            let error = DeleteError::Engine {
                backup: "b".to_owned(),
                source: Box::new(source),
            };
            error.lasts()
        };
        assert!(lasting(ark_engine::Error::Role { what: "delete" }));
        assert!(!lasting(ark_engine::Error::Stopped));
        let later = now + SignedDuration::from_hours(24);
        assert_eq!(
            plan(&request("Processed", &["no"]), None, None, later),
            Step::Drop
        );
    }
}
