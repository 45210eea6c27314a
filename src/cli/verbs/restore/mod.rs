//! `ark restore …`

pub mod cancel;
pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
mod line;
pub mod logs;

use std::collections::BTreeSet;

use ark_engine::{Repository, RestoreSummary};

use crate::api::{self, Restore};
use crate::cli::error::{Doing, Error, Result};

/// The restores, newest first. A restore is on record once when it begins and once when it ends; the newer record counts.
async fn restores(repository: &Repository) -> Result<Vec<RestoreSummary>> {
    let mut records = repository
        .restores()
        .await
        .doing("cannot list the restores")?;
    let mut seen = BTreeSet::new();
    records.retain(|record| seen.insert(record.name.clone()));
    Ok(records)
}

/// The newest restore of that name, or the one with that id.
fn find<'a>(restores: &'a [RestoreSummary], name: &str) -> Result<&'a RestoreSummary> {
    restores
        .iter()
        .find(|restore| restore.name == name)
        .or_else(|| restores.iter().find(|restore| restore.id == name))
        .ok_or_else(|| Error::NoRestore {
            name: name.to_owned(),
        })
}

/// The Restore of a record.
fn document(name: &str, bytes: &[u8]) -> Result<Restore> {
    serde_json::from_slice(bytes).map_err(|source| Error::Document {
        of: format!("the restore {name}"),
        source,
    })
}

/// `restore.ark.heptio.com/x`
fn restore_name(name: &str) -> String {
    format!("restore.{}/{name}", api::GROUP)
}
