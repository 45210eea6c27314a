//! `ark restore …`

pub mod cancel;
pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
mod line;
pub mod logs;

use ark_engine::{Repository, RestoreSummary};

use crate::api::{self, Restore};
use crate::cli::error::{Error, Result};
use crate::server::reading;

/// The restores, newest first.
async fn restores(repository: &Repository) -> Result<Vec<RestoreSummary>> {
    Ok(reading::restores(repository).await?)
}

/// The newest restore of that name, or the one with that id.
fn find<'a>(restores: &'a [RestoreSummary], name: &str) -> Result<&'a RestoreSummary> {
    reading::find_restore(restores, name).ok_or_else(|| Error::NoRestore {
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
