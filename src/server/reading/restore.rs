//! What is on record of a restore.

use std::collections::BTreeSet;

use ark_engine::{Repository, RestoreSummary};
use serde::{Deserialize, Serialize};

use super::error::{Doing, Result};
use super::{Head, Out, manifest};

/// What became of a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The id of the record.
    pub id: String,
    /// The restore's name.
    pub name: String,
    /// The backup's name.
    pub backup: String,
}

/// The restores, newest first. A restore is on record once when it begins and once when it ends; the newer record counts.
///
/// # Errors
/// The repository's.
pub async fn restores(repository: &Repository) -> Result<Vec<RestoreSummary>> {
    let mut records = repository
        .restores()
        .await
        .doing("cannot list the restores")?;
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert(record.name.clone()));
    Ok(records)
}

/// The newest restore of that name, or the one with that id.
pub fn find<'a>(restores: &'a [RestoreSummary], name: &str) -> Option<&'a RestoreSummary> {
    restores
        .iter()
        .find(|restore| restore.name == name)
        .or_else(|| restores.iter().find(|restore| restore.id == name))
}

/// Gives the log.
pub(super) async fn log(repository: &Repository, id: &str, out: &Out) -> Result<()> {
    let record = repository.restore_record(id).await;
    let record = record.doing(format!("cannot read the restore {id}"))?;
    manifest::text(record.log.into(), out).await
}

/// Gives the report.
pub(super) async fn results(repository: &Repository, id: &str, out: &Out) -> Result<()> {
    let record = repository.restore_record(id).await;
    let record = record.doing(format!("cannot read the restore {id}"))?;
    let outcome = Outcome {
        id: id.to_owned(),
        name: record.name,
        backup: record.backup,
    };
    let head = Head::Restore(Box::new(outcome));
    out.with(head, record.report.into()).await
}
