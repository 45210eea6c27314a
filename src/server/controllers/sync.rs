//! Sync: the Backup objects of a location are what its repository holds.
//!
//! What it guarantees:
//!
//! * A backup in the repository has an object here, whichever cluster made it; one whose object was deleted with kubectl gets it back.
//! * The object of a backup that was deleted (it has a tombstone, or an epoch was published since it was seen) goes. One that vanished
//!   without either is `Lost`: it stays in sight, with an Event and a metric.
//! * An object is recognised by the id of the backup's commit, and only where it has none yet by its name. What is being made, and what
//!   never was in a repository, is left alone.
//! * Nothing here changes the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ark_engine::{BackupRow, BackupStatus as Ended};
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::json;
use thiserror::Error;

use super::patch_status;
use crate::api::labels::{self, label_value};
use crate::api::{
    Backup, BackupPhase, BackupRepository, BackupRepositorySpec, BackupSpec, BackupStatus,
    BackupStorageLocation, LocationPhase, ObjectMeta, Restore, Time,
};
use crate::server::context::Context;
use crate::server::metrics::{of_location, of_schedule};
use crate::server::repositories::{Opened, RepositoriesError};

/// A backup as the repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The id of its commit.
    pub id: String,
    /// Its name in its own cluster.
    pub name: String,
    /// The id of its cluster.
    pub cluster: String,
    /// It was deleted.
    pub forgotten: bool,
    /// It is listed and not there.
    pub lost: bool,
}

/// A Backup object of the location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// The id of the commit that it stands for.
    pub id: Option<String>,
    /// Where it stands.
    pub phase: BackupPhase,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Make the object of the backup.
    Create {
        /// The object.
        object: String,
        /// The backup's id.
        id: String,
    },
    /// Write the status that the object lacks.
    Finish {
        /// The object.
        object: String,
        /// The backup's id.
        id: String,
    },
    /// Remove the object: its backup was deleted.
    Remove {
        /// The object.
        object: String,
    },
    /// Say that the backup vanished.
    Lose {
        /// The object.
        object: String,
    },
}

/// Decides what to do about one location. `own` is the id of this cluster, `taken` are the names of the objects of all locations, and
/// `same_epoch` says that no epoch was published since the last sync: then nothing can have been collected.
pub fn plan(
    rows: &[Row],
    objects: &[Object],
    taken: &BTreeSet<String>,
    own: &str,
    same_epoch: bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut names = taken.clone();
    let by_id: BTreeMap<&str, &Object> = objects
        .iter()
        .filter_map(|object| Some((object.id.as_deref()?, object)))
        .collect();
    let by_name: BTreeMap<&str, &Object> = objects
        .iter()
        .filter(|object| object.id.is_none())
        .map(|object| (object.name.as_str(), object))
        .collect();
    let living: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.cluster == own && !row.forgotten)
        .map(|row| row.name.as_str())
        .collect();
    for row in rows {
        let named = by_name
            .get(row.name.as_str())
            .filter(|_| row.cluster == own);
        let object = by_id.get(row.id.as_str()).or(named);
        match object {
            Some(object) if row.forgotten => {
                if has_ended(object.phase) || object.phase == BackupPhase::Lost {
                    steps.push(Step::Remove {
                        object: object.name.clone(),
                    });
                }
            }
            Some(object) if row.lost => {
                if has_ended(object.phase) {
                    steps.push(Step::Lose {
                        object: object.name.clone(),
                    });
                }
            }
            Some(object) => {
                // Made by a sync that did not come to its end; or Lost, and back.
                let unfinished = object.phase == BackupPhase::New && object.id.is_some();
                if unfinished || object.phase == BackupPhase::Lost {
                    steps.push(Step::Finish {
                        object: object.name.clone(),
                        id: row.id.clone(),
                    });
                }
            }
            // Nothing to show, or nothing to show it from.
            None if row.forgotten || row.lost => {}
            None => {
                let object = free_name(row, own, &living, &names);
                names.insert(object.clone());
                steps.push(Step::Create {
                    object,
                    id: row.id.clone(),
                });
            }
        }
    }
    let known: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    for object in objects {
        let Some(id) = object.id.as_deref() else {
            continue;
        };
        if known.contains(id) || !has_ended(object.phase) {
            continue;
        }
        let object = object.name.clone();
        steps.push(match same_epoch {
            true => Step::Lose { object },
            false => Step::Remove { object },
        });
    }
    steps
}

fn has_ended(phase: BackupPhase) -> bool {
    matches!(
        phase,
        BackupPhase::Completed | BackupPhase::PartiallyFailed | BackupPhase::Failed
    )
}

/// The backup's own name; for one of another cluster whose name is taken, with the beginning of the cluster's id behind it.
fn free_name(row: &Row, own: &str, living: &BTreeSet<&str>, taken: &BTreeSet<String>) -> String {
    let head = |text: &str| -> String {
        let head: String = text.chars().take(8).collect();
        head.trim_end_matches(['-', '.']).to_owned()
    };
    let name = &row.name;
    let free = !taken.contains(name) && (row.cluster == own || !living.contains(name.as_str()));
    if free {
        return name.clone();
    }
    let short: String = name.chars().take(220).collect();
    let short = short.trim_end_matches(['-', '.']);
    let of_cluster = format!("{short}-{}", head(&row.cluster));
    match taken.contains(&of_cluster) || row.cluster == own {
        false => of_cluster,
        true => format!("{short}-{}", row.id.to_lowercase()),
    }
}

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
    let backups = context.api::<Backup>();
    let listed = backups.list(&ListParams::default()).await;
    let listed = listed.map_err(refused)?.items;
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
    let same_epoch =
        before.repository_id.as_ref() == Some(&id) && before.epoch == Some(view.number);
    let own = context.cluster.id();
    let rows: Vec<Row> = view.backups.iter().map(row).collect();
    let objects: Vec<Object> = listed
        .iter()
        .filter(|backup| backup.spec.storage_location.as_deref() == Some(&name))
        .map(object)
        .collect();
    let taken = listed.iter().map(ResourceExt::name_any).collect();
    count(&listed, context).await.map_err(refused)?;
    for step in plan(&rows, &objects, &taken, own, same_epoch) {
        let found = |id: &str| view.backups.iter().find(|row| row.id.to_string() == id);
        match &step {
            Step::Create { object, id } | Step::Finish { object, id } => {
                if let Some(row) = found(id) {
                    let create = matches!(step, Step::Create { .. });
                    show(object, row, create, &opened, &backups, context).await?;
                }
            }
            Step::Remove { object } => {
                remove(&listed, object, &backups).await.map_err(refused)?;
                tracing::info!(
                    backup = object,
                    location = name,
                    "its backup was deleted: removed the object"
                );
            }
            Step::Lose { object } => {
                lose(&listed, object, &name, &backups, context)
                    .await
                    .map_err(refused)?;
            }
        }
    }
    let living = view.backups.iter().filter(|row| row.forgotten.is_none());
    let after = json!({
        "repositoryId": id,
        "formatVersion": ark_format::limits::FORMAT_VERSION,
        "epoch": view.number,
        "backups": living.count(),
    });
    let api = context.api::<BackupRepository>();
    if !is_in(&after, &json!(before)) {
        patch_status(&api, &name, &after).await.map_err(refused)?;
    }
    Ok(())
}

/// Sets what describes the objects as they are: a process that has just begun has to know it too.
async fn count(listed: &[Backup], context: &Context) -> Result<(), kube::Error> {
    let metrics = &context.metrics;
    metrics.backups.set(number(listed.len()));
    let restores = context.api::<Restore>();
    let first = restores.list(&ListParams::default().limit(1)).await?;
    let rest = first.metadata.remaining_item_count.unwrap_or(0);
    metrics.restores.set(number(first.items.len()) + rest);
    for (schedule, at) in last_successes(listed) {
        let gauge = metrics
            .backup_last_success
            .get_or_create_owned(&of_schedule(Some(&schedule)));
        gauge.set(gauge.get().max(at));
    }
    Ok(())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// When the newest Completed backup of each schedule of this cluster ended, Unix seconds; those made by hand have the name "".
fn last_successes(backups: &[Backup]) -> BTreeMap<String, i64> {
    let mut last = BTreeMap::new();
    for backup in backups {
        let status = backup.status.as_ref();
        let completed = status.filter(|status| status.phase == BackupPhase::Completed);
        let ended = completed.and_then(|status| status.completion_timestamp.as_ref());
        if let Some(ended) = ended
            && !backup.labels().contains_key(labels::CLUSTER_ID)
        {
            let schedule = backup.labels().get(labels::SCHEDULE_NAME).cloned();
            let known = last.entry(schedule.unwrap_or_default()).or_insert(0);
            *known = ended.0.as_second().max(*known);
        }
    }
    last
}

fn is_in(part: &serde_json::Value, whole: &serde_json::Value) -> bool {
    part.as_object().is_some_and(|part| {
        part.iter()
            .all(|(key, value)| whole.get(key) == Some(value))
    })
}

fn row(row: &BackupRow) -> Row {
    Row {
        id: row.id.to_string(),
        name: row.name.clone(),
        cluster: row.cluster.id.clone(),
        forgotten: row.forgotten.is_some(),
        lost: row.lost,
    }
}

fn object(backup: &Backup) -> Object {
    Object {
        name: backup.name_any(),
        id: backup.annotations().get(labels::BACKUP_ID).cloned(),
        phase: backup.phase(),
    }
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

/// Makes the object of a backup, or writes its status.
async fn show(
    object: &str,
    row: &BackupRow,
    create: bool,
    opened: &Opened,
    backups: &Api<Backup>,
    context: &Context,
) -> Result<(), SyncError> {
    let location = &opened.name;
    let manifest = match opened.repository.manifest_of(row).await {
        Ok(manifest) => manifest,
        // Deleted and collected since it was listed; or damaged, which verify tells of.
        Err(error) => {
            tracing::warn!(backup = row.name, location, %error, "cannot read the manifest of a backup");
            return Ok(());
        }
    };
    let own = row.cluster.id == context.cluster.id();
    let made = shown(
        object,
        row,
        &manifest.document,
        &context.namespace,
        location,
        own,
    );
    let refused = |source| refused(location, source);
    if create {
        match backups.create(&PostParams::default(), &made).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(()),
            Err(error) => return Err(refused(error)),
        }
    }
    let written = patch_status(backups, object, &json!(made.status))
        .await
        .map_err(refused)?;
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
    context.events.normal(&written, "BackupSynced", note).await;
    Ok(())
}

/// The object of a backup, from what its manifest keeps.
fn shown(
    object: &str,
    row: &BackupRow,
    document: &[u8],
    namespace: &str,
    location: &str,
    own: bool,
) -> Backup {
    let document: Option<Backup> = serde_json::from_slice(document).ok();
    let (metadata, mut spec, status) = match document {
        Some(backup) => (backup.metadata, backup.spec, backup.status),
        None => (ObjectMeta::default(), BackupSpec::default(), None),
    };
    spec.storage_location = Some(location.to_owned());
    spec.cancel = None;
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.retain(|key, _| !key.starts_with("kubectl.kubernetes.io/"));
    annotations.insert(labels::BACKUP_ID.to_owned(), row.id.to_string());
    let mut pairs = metadata.labels.unwrap_or_default();
    pairs.insert(labels::STORAGE_LOCATION.to_owned(), label_value(location));
    if !own {
        pairs.insert(labels::CLUSTER_ID.to_owned(), label_value(&row.cluster.id));
        annotations.insert(labels::CLUSTER_NAME.to_owned(), row.cluster.name.clone());
    }
    let mut backup = Backup::named(namespace, object, spec);
    backup.metadata.labels = Some(pairs);
    backup.metadata.annotations = Some(annotations);
    let mut status = status.unwrap_or_default();
    if !has_ended(status.phase) {
        status = BackupStatus {
            phase: match row.status {
                Ended::Completed => BackupPhase::Completed,
                Ended::PartiallyFailed => BackupPhase::PartiallyFailed,
                Ended::Failed => BackupPhase::Failed,
            },
            start_timestamp: Timestamp::from_millisecond(row.created).ok().map(Time),
            ..status
        };
    }
    status.expiration = row
        .expires
        .and_then(|at| Timestamp::from_second(at).ok())
        .map(Time);
    status.logical_bytes = Some(row.counts.bytes);
    status.added_bytes = Some(row.added_bytes());
    backup.status = Some(status);
    backup
}

async fn remove(listed: &[Backup], name: &str, backups: &Api<Backup>) -> Result<(), kube::Error> {
    // The one that was judged, and no later one of its name.
    let uid = listed
        .iter()
        .find(|backup| backup.name_any() == name)
        .and_then(ResourceExt::uid);
    let parameters = DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match backups.delete(name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn lose(
    listed: &[Backup],
    name: &str,
    location: &str,
    backups: &Api<Backup>,
    context: &Context,
) -> Result<(), kube::Error> {
    let reason = "the backup vanished from the repository and nobody deleted it";
    let status = json!({ "phase": BackupPhase::Lost, "failureReason": reason });
    patch_status(backups, name, &status).await?;
    let label = of_location(location);
    context
        .metrics
        .backup_lost
        .get_or_create_owned(&label)
        .inc();
    tracing::error!(backup = name, location, "{reason}");
    if let Some(backup) = listed.iter().find(|backup| backup.name_any() == name) {
        let note = format!("{reason}; run ark verify to see what else is missing");
        context.events.warning(backup, "BackupLost", &note).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
