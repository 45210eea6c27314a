//! What a DownloadRequest is about: which objects, which repository, which question.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use thiserror::Error;

use crate::api::labels::STORAGE_LOCATION;
use crate::api::{Backup, BackupStorageLocation, DownloadKind, DownloadTarget, Restore};
use crate::server::context::Context;
use crate::server::counterpart::may_be_stored;
use crate::server::listing::list_in;
use crate::server::reading::{self, Question, ReadError, Wanted};
use crate::server::repositories::{Opened, RepositoriesError};
use crate::server::stored;
use crate::server::told::told;

/// The objects that a target names.
pub enum Found {
    /// A backup in a location, and the one to compare it with.
    Backup {
        /// The backup.
        backup: Box<Backup>,
        /// The other one.
        against: Option<Box<Backup>>,
        /// Where it is.
        location: String,
    },
    /// A restore.
    Restore {
        /// The restore.
        restore: Box<Restore>,
        /// Where its record may be, the likeliest place first.
        locations: Vec<String>,
    },
}

/// Why a target leads to nothing.
#[derive(Debug, Error)]
pub enum TargetError {
    /// It cannot be read, whenever it is tried.
    #[error("{0}")]
    Refused(String),
    /// The repository is not there.
    #[error(transparent)]
    Location(#[from] RepositoriesError),
    /// The repository fails.
    #[error("cannot look for {what} in the repository: {}", told(source))]
    Engine {
        /// What was looked for.
        what: String,
        /// Why.
        source: Box<ark_engine::Error>,
    },
    /// The repository cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Says what of a target makes no sense.
///
/// # Errors
/// The reason.
pub fn makes_sense(target: &DownloadTarget) -> Result<(), String> {
    use DownloadKind::{BackupContents, BackupDifference, BackupObjectList};
    let kind = target.kind;
    let needs =
        |field: &str, given: bool, kinds: &[DownloadKind]| match given && !kinds.contains(&kind) {
            true => Err(format!("{field} means nothing for {kind:?}")),
            false => Ok(()),
        };
    needs(
        "resource",
        target.resource.is_some(),
        &[BackupContents, BackupObjectList],
    )?;
    needs("object", target.object.is_some(), &[BackupContents])?;
    needs("prefix", target.prefix.is_some(), &[BackupObjectList])?;
    needs("against", target.against.is_some(), &[BackupDifference])?;
    needs(
        "withObjects",
        target.with_objects.is_some(),
        &[BackupDifference],
    )?;
    if target.resource.is_none() && (target.object.is_some() || target.prefix.is_some()) {
        return Err("object and prefix are of a resource: name it".to_owned());
    }
    if kind == BackupDifference && target.against.is_none() {
        return Err("a BackupDifference needs against".to_owned());
    }
    Ok(())
}

/// The objects that a target names, or why it cannot be read. No repository is asked.
///
/// # Errors
/// The apiserver's.
pub async fn look(
    target: &DownloadTarget,
    context: &Context,
) -> Result<Result<Found, String>, kube::Error> {
    if let Err(why) = makes_sense(target) {
        return Ok(Err(why));
    }
    match target.kind {
        DownloadKind::RestoreLog | DownloadKind::RestoreResults => restore(target, context).await,
        _ => {
            let (backup, location) = match backup(&target.name, context).await? {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            };
            let against = match &target.against {
                None => None,
                Some(name) => match self::backup(name, context).await? {
                    Ok((_, other)) if other != location => {
                        return Ok(Err(format!(
                            "{} is in the location {location} and {name} in {other}: only backups of one repository can be compared",
                            target.name
                        )));
                    }
                    Ok((other, _)) => Some(other),
                    Err(why) => return Ok(Err(why)),
                },
            };
            Ok(Ok(Found::Backup {
                backup,
                against,
                location,
            }))
        }
    }
}

/// A Backup that a repository has, and the location of that.
async fn backup(
    name: &str,
    context: &Context,
) -> Result<Result<(Box<Backup>, String), String>, kube::Error> {
    let Some(backup) = context.api::<Backup>().get_opt(name).await? else {
        return Ok(Err(format!("there is no Backup {name}")));
    };
    let phase = backup.phase();
    if phase.is_under_way() {
        return Ok(Err(format!(
            "the backup {name} is {phase}: it can be read when it has ended"
        )));
    }
    if !may_be_stored(&backup) {
        return Ok(Err(format!(
            "the backup {name} is {phase}: nothing of it is in a repository"
        )));
    }
    Ok(match &backup.spec.storage_location {
        Some(location) => Ok((Box::new(backup.clone()), location.clone())),
        None => Err(format!("the backup {name} has no location")),
    })
}

async fn restore(
    target: &DownloadTarget,
    context: &Context,
) -> Result<Result<Found, String>, kube::Error> {
    let name = &target.name;
    let Some(restore) = context.api::<Restore>().get_opt(name).await? else {
        return Ok(Err(format!("there is no Restore {name}")));
    };
    let status = restore.status.clone().unwrap_or_default();
    if status.phase.is_under_way() {
        return Ok(Err(format!(
            "the restore {name} is {}: it can be read when it has ended",
            status.phase
        )));
    }
    let of = status
        .backup_name
        .as_ref()
        .unwrap_or(&restore.spec.backup_name);
    let mut locations: Vec<String> = Vec::new();
    if let Some(backup) = context.api::<Backup>().get_opt(of).await? {
        let said = backup.spec.storage_location.as_ref();
        locations.extend(said.or(backup.labels().get(STORAGE_LOCATION)).cloned());
    }
    // The backup may be gone: its record is where it was.
    let all = list_in::<BackupStorageLocation>(&context.client, &context.namespace).await?;
    let others: BTreeSet<String> = all.items.iter().map(ResourceExt::name_any).collect();
    for other in others {
        if !locations.contains(&other) {
            locations.push(other);
        }
    }
    Ok(Ok(Found::Restore {
        restore: Box::new(restore),
        locations,
    }))
}

/// The repository, and what to ask it.
///
/// # Errors
/// [`TargetError`].
pub async fn question(
    found: &Found,
    target: &DownloadTarget,
    context: &Context,
) -> Result<(Arc<Opened>, Question), TargetError> {
    match found {
        Found::Backup {
            backup,
            against,
            location,
        } => {
            let opened = context.repositories.get(location).await?;
            let row = row(&opened, backup, context).await?;
            let question = match target.kind {
                DownloadKind::BackupLog => Question::Log(row),
                DownloadKind::BackupDetails => Question::Details(row),
                DownloadKind::BackupDifference => {
                    let after = match against {
                        Some(against) => self::row(&opened, against, context).await?,
                        None => row.clone(),
                    };
                    Question::Difference {
                        before: row,
                        after,
                        with_objects: target.with_objects == Some(true),
                    }
                }
                kind => Question::Objects {
                    row,
                    wanted: Wanted {
                        resource: target.resource.clone(),
                        object: target.object.clone(),
                        prefix: target.prefix.clone(),
                        contents: kind == DownloadKind::BackupContents,
                    },
                },
            };
            Ok((opened, question))
        }
        Found::Restore { restore, locations } => {
            let (opened, id) = record(restore, locations, context).await?;
            let question = match target.kind {
                DownloadKind::RestoreLog => Question::RestoreLog(id),
                _ => Question::RestoreResults(id),
            };
            Ok((opened, question))
        }
    }
}

async fn row(
    opened: &Opened,
    backup: &Backup,
    context: &Context,
) -> Result<Box<ark_engine::BackupRow>, TargetError> {
    let name = backup.name_any();
    let rows = stored::of(&opened.repository, backup, context.cluster.id()).await;
    let rows = rows.map_err(|source| TargetError::Engine {
        what: format!("the backup {name}"),
        source: Box::new(source),
    })?;
    let living = rows.into_iter().find(|row| row.forgotten.is_none());
    living.map(Box::new).ok_or_else(|| {
        TargetError::Refused(format!(
            "the backup {name} is not in the repository of the location {}",
            opened.name
        ))
    })
}

/// The repository that has the restore on record, and the id of the record.
async fn record(
    restore: &Restore,
    locations: &[String],
    context: &Context,
) -> Result<(Arc<Opened>, String), TargetError> {
    let name = restore.name_any();
    let mut failed = None;
    for location in locations {
        let opened = match context.repositories.get(location).await {
            Ok(opened) => opened,
            Err(error) => {
                failed = failed.or(Some(TargetError::from(error)));
                continue;
            }
        };
        let records = match reading::restores(&opened.repository).await {
            Ok(records) => records,
            Err(error) => {
                failed = failed.or(Some(error.into()));
                continue;
            }
        };
        let own = |record: &&ark_engine::RestoreSummary| {
            let document = serde_json::from_slice::<Restore>(&record.document);
            let uid = document.ok().and_then(|document| document.metadata.uid);
            record.name == name && uid == restore.metadata.uid
        };
        if let Some(record) = records.iter().find(own) {
            return Ok((opened, record.id.clone()));
        }
    }
    Err(failed.unwrap_or_else(|| {
        TargetError::Refused(format!("no repository has the restore {name} on record"))
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_belong_to_kinds() {
        let new = |kind| DownloadTarget::new(kind, "b");
        assert_eq!(makes_sense(&new(DownloadKind::BackupLog)), Ok(()));
        assert_eq!(makes_sense(&new(DownloadKind::BackupContents)), Ok(()));
        let some = || Some("x".to_owned());
        for (target, expected) in [
            (
                DownloadTarget {
                    resource: some(),
                    ..new(DownloadKind::BackupLog)
                },
                "resource means nothing for BackupLog",
            ),
            (
                DownloadTarget {
                    prefix: some(),
                    resource: some(),
                    ..new(DownloadKind::BackupContents)
                },
                "prefix means nothing",
            ),
            (
                DownloadTarget {
                    object: some(),
                    ..new(DownloadKind::BackupContents)
                },
                "are of a resource",
            ),
            (new(DownloadKind::BackupDifference), "needs against"),
            (
                DownloadTarget {
                    with_objects: Some(true),
                    ..new(DownloadKind::RestoreLog)
                },
                "withObjects means nothing for RestoreLog",
            ),
        ] {
            let why = makes_sense(&target).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
