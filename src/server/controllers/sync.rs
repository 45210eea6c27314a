//! Sync: the Backup objects of a location are what its repository holds.
//!
//! What it guarantees:
//!
//! * A backup in the repository has an object here, whichever cluster made it; one whose object was deleted with kubectl gets it back.
//! * The object of a backup that was deleted (it has a tombstone, or an epoch was published since it was seen) goes. One that vanished
//!   without either is `Lost`: it stays in sight, with an Event and a metric.
//! * What an object stands for is decided by [`counterpart`](crate::server::counterpart). What is being made, and what never was in a
//!   repository, is left alone.
//! * A repository that is older than it was is not looked at: nothing of it says what was deleted.
//! * One backup or object that the apiserver refuses holds up no other.
//! * Nothing here changes the repository.

mod count;
mod plan;
mod shown;

use std::collections::BTreeSet;
use std::sync::Arc;

use ark_engine::BackupRow;
use ark_format::layout;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde_json::json;
use thiserror::Error;

use super::{patch_own_status, patch_status};
use crate::api::{
    Backup, BackupPhase, BackupRepository, BackupRepositorySpec, BackupStorageLocation,
    LocationPhase, Time,
};
use crate::server::context::Context;
use crate::server::counterpart::{Object, Row, backup_id};
use crate::server::listing::list;
use crate::server::metrics::of_location;
use crate::server::repositories::{Opened, RepositoriesError};
use crate::server::stored;
use crate::server::told::chain;

pub use plan::{Known, Step, plan};
pub use shown::{Place, shown};

/// The most Events that one round writes about backups that it shows: the first look at a bucket may find thousands.
const TOLD: usize = 20;

/// Why a sync did not come to its end.
#[derive(Debug, Error)]
pub enum SyncError {
    /// The repository is not there.
    #[error(transparent)]
    Location(#[from] RepositoriesError),
    /// The repository cannot be read.
    #[error("cannot read the repository of the location {location}")]
    Engine {
        /// The location.
        location: String,
        /// Why.
        #[source]
        source: Box<ark_engine::Error>,
    },
    /// The apiserver refuses.
    #[error("cannot write the objects of the location {location}")]
    Cluster {
        /// The location.
        location: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The apiserver refuses some objects. The others are as they should be.
    #[error("cannot write {count} objects of the location {location}, the first is {first}")]
    Some {
        /// The location.
        location: String,
        /// How many.
        count: usize,
        /// One of them.
        first: String,
        /// Why that one.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Runs until `context.stop` fires.
pub async fn run(context: Context) {
    super::watch(context, "sync", reconcile).await;
}

async fn reconcile(
    location: Arc<BackupStorageLocation>,
    context: Arc<Context>,
) -> Result<Action, SyncError> {
    let name = location.name_any();
    let status = location.status.clone().unwrap_or_default();
    if status.phase != Some(LocationPhase::Available) {
        return Ok(Action::await_change());
    }
    let said = location.spec.backup_sync_period;
    let default = context.settings.sync_period;
    if let Some(last) = &status.last_synced_time
        && let Some(wait) = super::remaining(last.0, said, default, context.now())
    {
        return Ok(Action::requeue(wait));
    }
    let synced = tokio::select! {
        synced = sync(&location, &context) => synced,
        () = context.stop.cancelled() => return Ok(Action::await_change()),
    };
    synced?;
    let api = context.api::<BackupStorageLocation>();
    patch_status(
        &api,
        &name,
        &json!({ "lastSyncedTime": Time(context.now()) }),
    )
    .await
    .map_err(|source| refused(&name, source))?;
    Ok(Action::requeue(super::pace(said, default)))
}

fn refused(location: &str, source: kube::Error) -> SyncError {
    SyncError::Cluster {
        location: location.to_owned(),
        source: Box::new(source),
    }
}

async fn sync(location: &BackupStorageLocation, context: &Context) -> Result<(), SyncError> {
    let name = location.name_any();
    let opened = context.repositories.get(&name).await?;
    let refused = |source| refused(&name, source);
    // The objects first: what is committed after this is in the rows, and its object is being made by somebody.
    let listed = list::<Backup>(context, &ListParams::default()).await;
    let listed = listed.map_err(refused)?;
    let view = opened
        .repository
        .view()
        .await
        .map_err(|source| SyncError::Engine {
            location: name.clone(),
            source: Box::new(source),
        })?;
    let known = repository_object(location, context)
        .await
        .map_err(refused)?;
    let before = known.status.clone().unwrap_or_default();
    let id = opened.repository.id().to_string();
    let same_repository = before.repository_id.as_ref() == Some(&id);
    if same_repository && before.epoch > Some(view.number) {
        return Err(SyncError::Location(RepositoriesError::RolledBack {
            location: name,
            found: view.number,
            seen: before.epoch.unwrap_or_default(),
        }));
    }
    let own = context.cluster.id();
    let objects: Vec<Object> = listed
        .items
        .iter()
        .filter(|backup| is_here(backup, &name))
        .map(Object::of)
        .collect();
    let rows = stored::rows(&opened.repository, &view.backups, &objects, own).await;
    let elsewhere = elsewhere(&listed.items, &rows, &name, context)
        .await
        .map_err(refused)?;
    let taken = listed.names().collect();
    let vanished = vanished(&view.problems);
    let steps = plan(&Known {
        rows: &rows,
        objects: &objects,
        elsewhere: &elsewhere,
        taken: &taken,
        own,
        same_epoch: same_repository && before.epoch == Some(view.number),
        vanished: &vanished,
    });
    count::count(&listed.items, context)
        .await
        .map_err(refused)?;
    let label = of_location(&opened.name);
    let metrics = &context.metrics;
    metrics.expect_location(&label);
    metrics.measured(&label, None, Some(logical(&view.backups)));
    let mut lost = count::lost_objects(&listed.items, &name);
    let mut failed = Failed::default();
    let mut told = 0;
    for step in steps {
        let found = |id: &str| view.backups.iter().find(|row| row.id.to_string() == id);
        let object = |name: &str| listed.items.iter().find(|known| known.name_any() == name);
        match &step {
            Step::Create { object: name, id } | Step::Finish { object: name, id } => {
                if let Some(row) = found(id) {
                    let known = object(name).filter(|_| matches!(step, Step::Finish { .. }));
                    told += 1;
                    let shown = show(name, row, known, &opened, told <= TOLD, context).await;
                    failed.note(name, shown);
                }
            }
            Step::Remove { object: name } => {
                if let Some(backup) = object(name) {
                    let removed = remove(backup, &context.api()).await;
                    tracing::info!(
                        backup = name,
                        location = opened.name,
                        "its backup was deleted: its object goes"
                    );
                    failed.removal |= removed.is_err();
                    failed.note(name, removed);
                }
            }
            Step::Lose { object: name } => {
                if let Some(backup) = object(name) {
                    let done = lose(backup, &opened.name, context).await;
                    lost += i64::from(done.is_ok());
                    failed.note(name, done);
                }
            }
        }
    }
    metrics
        .backup_lost_now
        .get_or_create_owned(&label)
        .set(lost);
    let living = view.backups.iter().filter(|row| row.forgotten.is_none());
    let after = json!({
        "repositoryId": id,
        "formatVersion": ark_format::limits::FORMAT_VERSION,
        "epoch": view.number,
        "backups": living.count(),
    });
    let api = context.api::<BackupRepository>();
    // An epoch is put on record when the objects of what it has collected are gone: else they would look as if they had vanished.
    if !failed.removal && !is_in(&after, &json!(before)) {
        patch_status(&api, &name, &after).await.map_err(refused)?;
    }
    failed.into_result(&name)
}

/// The bytes that backups hold together, each counted in full.
pub fn logical(rows: &[BackupRow]) -> u64 {
    rows.iter().map(|row| row.counts.bytes).sum()
}

/// Whether an object is of a location. One that names none has not been begun.
fn is_here(backup: &Backup, location: &str) -> bool {
    let named = backup.spec.storage_location.as_deref();
    named.is_none_or(|named| named == location)
}

/// The ids of backups of this repository that objects of other locations show. Objects of a location that is gone go: it has this name now.
async fn elsewhere(
    listed: &[Backup],
    rows: &[Row],
    location: &str,
    context: &Context,
) -> Result<BTreeSet<String>, kube::Error> {
    let held: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let shown: Vec<(&Backup, &str)> = listed
        .iter()
        .filter(|backup| !is_here(backup, location))
        .filter_map(|backup| Some((backup, backup_id(backup)?)))
        .filter(|(_, id)| held.contains(id))
        .collect();
    if shown.is_empty() {
        return Ok(BTreeSet::new());
    }
    let there = list::<BackupStorageLocation>(context, &ListParams::default()).await?;
    let there: BTreeSet<String> = there.names().collect();
    for (backup, _) in &shown {
        let named = backup.spec.storage_location.as_ref();
        if named.is_some_and(|named| !there.contains(named)) {
            remove(backup, &context.api()).await?;
        }
    }
    Ok(shown.into_iter().map(|(_, id)| id.to_owned()).collect())
}

/// The ids of backups that this process has seen, and that are gone without having been collected.
fn vanished(problems: &[(String, String)]) -> BTreeSet<String> {
    problems
        .iter()
        .filter_map(|(key, _)| match layout::parse(key) {
            Some(layout::Object::Manifest(_, id)) => Some(id.to_string()),
            _ => None,
        })
        .collect()
}

/// What the apiserver refused.
#[derive(Default)]
struct Failed {
    count: usize,
    first: Option<(String, kube::Error)>,
    /// Among it the removal of an object.
    removal: bool,
}

impl Failed {
    fn note(&mut self, object: &str, done: Result<(), kube::Error>) {
        if let Err(error) = done {
            tracing::warn!(backup = object, "{}", chain(&error));
            self.count += 1;
            self.first.get_or_insert((object.to_owned(), error));
        }
    }

    fn into_result(self, location: &str) -> Result<(), SyncError> {
        match self.first {
            None => Ok(()),
            Some((first, source)) => Err(SyncError::Some {
                location: location.to_owned(),
                count: self.count,
                first,
                source: Box::new(source),
            }),
        }
    }
}

fn is_in(part: &serde_json::Value, whole: &serde_json::Value) -> bool {
    part.as_object().is_some_and(|part| {
        part.iter()
            .all(|(key, value)| whole.get(key) == Some(value))
    })
}

/// The BackupRepository of the location; made if it is not there. It goes with the location.
pub async fn repository_object(
    location: &BackupStorageLocation,
    context: &Context,
) -> Result<BackupRepository, kube::Error> {
    let api = context.api::<BackupRepository>();
    let name = location.name_any();
    if let Some(found) = api.get_opt(&name).await? {
        return Ok(found);
    }
    let mut object = BackupRepository::new(
        &name,
        BackupRepositorySpec {
            backup_storage_location: name.clone(),
        },
    );
    object.metadata.owner_references =
        Some(location.controller_owner_ref(&()).into_iter().collect());
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => api.get(&name).await,
        result => result,
    }
}

/// Makes the object of a backup, or writes the status of the one that is `known`.
async fn show(
    object: &str,
    row: &BackupRow,
    known: Option<&Backup>,
    opened: &Opened,
    tell: bool,
    context: &Context,
) -> Result<(), kube::Error> {
    let location = &opened.name;
    let manifest = match opened.repository.manifest_of(row).await {
        Ok(manifest) => manifest,
        // Deleted and collected since it was listed; or damaged, which verify tells of.
        Err(error) => {
            tracing::warn!(backup = row.name, location, %error, "cannot read the manifest of a backup");
            return Ok(());
        }
    };
    let place = Place {
        namespace: &context.namespace,
        location,
        cluster: context.cluster.id(),
        now: context.now(),
    };
    let made = shown(object, row, &manifest.document, &place);
    let backups = context.api::<Backup>();
    let uid = match known {
        Some(known) => known.uid(),
        None => match backups.create(&PostParams::default(), &made).await {
            Ok(created) => created.uid(),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => return Ok(()),
            Err(error) => return Err(error),
        },
    };
    let status = made.status.unwrap_or_default().whole();
    let uid = uid.unwrap_or_default();
    let Some(written) = patch_own_status(&backups, object, &uid, &status).await? else {
        return Ok(());
    };
    let own = row.cluster.id == context.cluster.id();
    let note = match own {
        true => {
            "the repository holds this backup. Deleting the object deletes no data: ark backup delete does"
        }
        false => "the repository holds this backup of another cluster",
    };
    tracing::info!(
        backup = object,
        location,
        cluster = row.cluster.name,
        "made the object of a backup"
    );
    if tell {
        context.events.normal(&written, "BackupSynced", note).await;
    }
    Ok(())
}

/// Deletes an object: the one that was judged, and no later one of its name.
///
/// # Errors
/// The apiserver's.
pub async fn remove(backup: &Backup, backups: &Api<Backup>) -> Result<(), kube::Error> {
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid: backup.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match backups.delete(&backup.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn lose(backup: &Backup, location: &str, context: &Context) -> Result<(), kube::Error> {
    let reason = "the backup vanished from the repository and nobody deleted it";
    let status = json!({ "phase": BackupPhase::Lost, "failureReason": reason });
    let (name, uid) = (backup.name_any(), backup.uid().unwrap_or_default());
    let written = patch_own_status(&context.api::<Backup>(), &name, &uid, &status).await?;
    if written.is_none() {
        return Ok(());
    }
    let label = of_location(location);
    context
        .metrics
        .backup_lost
        .get_or_create_owned(&label)
        .inc();
    tracing::error!(backup = name, location, "{reason}");
    let note = format!("{reason}; run ark verify to see what else is missing");
    context.events.warning(backup, "BackupLost", &note).await;
    Ok(())
}

#[cfg(test)]
mod tests;
