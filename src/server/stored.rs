//! The backups of a repository as [`counterpart`](super::counterpart) judges them: a document is read only where it takes one to tell what an
//! object stands for.

use ark_engine::{BackupRow, Error, Repository};

use super::counterpart::{Object, Origin, Row};
use crate::api::Backup;

/// A row of a repository.
pub fn row(row: &BackupRow) -> Row {
    Row {
        id: row.id.to_string(),
        name: row.name.clone(),
        cluster: row.cluster.id.clone(),
        origin: Origin::Unasked,
        forgotten: row.forgotten.is_some(),
        lost: row.lost,
    }
}

/// All rows of a repository, for these objects. A document that cannot be read makes its row one of which nothing is known.
pub async fn rows(
    repository: &Repository,
    backups: &[BackupRow],
    objects: &[Object],
    own: &str,
) -> Vec<Row> {
    let asking: std::collections::BTreeMap<&str, &Object> = objects
        .iter()
        .filter(|object| object.id.is_none())
        .map(|object| (object.name.as_str(), object))
        .collect();
    let mut rows = Vec::with_capacity(backups.len());
    for backup in backups {
        let mut row = row(backup);
        let asks = asking.get(row.name.as_str());
        if asks.is_some_and(|object| object.asks(&row, own)) {
            row.origin = match origin(repository, backup).await {
                Ok(origin) => origin,
                Err(error) => {
                    tracing::warn!(backup = row.name, %error, "cannot read the manifest of a backup");
                    Origin::Unread
                }
            };
        }
        rows.push(row);
    }
    rows
}

/// The backups of a repository that the object stands for: at most one that is not deleted.
///
/// # Errors
/// The engine's. Also of a document: what an object stands for is known, or nothing is done.
pub async fn of(
    repository: &Repository,
    backup: &Backup,
    own: &str,
) -> Result<Vec<BackupRow>, Error> {
    let object = Object::of(backup);
    let mut found = Vec::new();
    for backup in repository.backups().await? {
        let mut row = row(&backup);
        if object.asks(&row, own) {
            row.origin = origin(repository, &backup).await?;
        }
        if object.stands_for(&row, own) {
            found.push(backup);
        }
    }
    Ok(found)
}

/// The object that a backup was made of.
async fn origin(repository: &Repository, backup: &BackupRow) -> Result<Origin, Error> {
    let manifest = repository.manifest_of(backup).await?;
    let document = serde_json::from_slice::<Backup>(&manifest.document);
    let uid = document.ok().and_then(|document| document.metadata.uid);
    Ok(uid.map_or(Origin::None, Origin::Uid))
}
