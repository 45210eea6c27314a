//! `ark backup …`

pub mod cancel;
pub mod cat;
pub mod choose;
pub mod create;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod get;
mod line;
pub mod logs;
pub mod ls;
pub mod undelete;

pub use describe::pairs;

use ark_engine::{MapReader, Reader, Repository};

use crate::cli::args::backup::ClusterArgs;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::select::Rows;

/// The rows of the repository that the arguments may choose from.
async fn rows(repository: &Repository, cluster: &ClusterArgs) -> Result<Rows> {
    let rows = repository
        .backups()
        .await
        .doing("cannot list the backups")?;
    Rows::new(rows, cluster.cluster.as_deref())
}

/// The dataset of API objects of a backup, and a reader for it.
async fn objects(
    repository: &Repository,
    row: &ark_engine::BackupRow,
) -> Result<(Reader, MapReader)> {
    let reader = repository
        .browse()
        .await
        .doing("cannot read the repository")?;
    match row.dataset("objects") {
        Some(root) => {
            let map = reader.map(root);
            Ok((reader, map))
        }
        None => Err(Error::NoObjects {
            backup: row.name.clone(),
        }),
    }
}
