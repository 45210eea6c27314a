//! `ark backup …`

pub mod cancel;
pub mod cat;
pub mod choose;
pub mod create;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod download;
pub mod get;
mod line;
pub mod logs;
pub mod ls;
pub mod undelete;

pub use describe::pairs;

use ark_engine::Repository;

use crate::api::{DownloadKind, DownloadTarget};
use crate::cli::args::backup::ClusterArgs;
use crate::cli::context::Context;
use crate::cli::download::fetch;
use crate::cli::error::{Doing, Result};
use crate::cli::select::Rows;
use crate::server::reading::{self, Pieces, Question, Wanted};
use choose::Objects;

/// The rows of the repository that the arguments may choose from.
async fn rows(repository: &Repository, cluster: &ClusterArgs) -> Result<Rows> {
    let rows = repository
        .backups()
        .await
        .doing("cannot list the backups")?;
    Rows::new(rows, cluster.cluster.as_deref())
}

/// A part of a backup.
#[derive(Debug, Clone)]
enum Part {
    /// Its log.
    Log,
    /// Its objects, or their names.
    Objects(Wanted),
}

impl Part {
    fn target(self, name: &str) -> DownloadTarget {
        match self {
            Part::Log => DownloadTarget::new(DownloadKind::BackupLog, name),
            Part::Objects(wanted) => DownloadTarget {
                resource: wanted.resource,
                object: wanted.object,
                prefix: wanted.prefix,
                ..DownloadTarget::new(
                    match wanted.contents {
                        true => DownloadKind::BackupContents,
                        false => DownloadKind::BackupObjectList,
                    },
                    name,
                )
            },
        }
    }
}

/// Asks for a part of the backup of that name or id, wherever it can be read. Returns the backup's name, too.
async fn ask(
    name: &str,
    cluster: &ClusterArgs,
    part: Part,
    context: &Context,
) -> Result<(String, Pieces)> {
    if !context.is_direct() {
        let served = context.serve().await?;
        let objects = Objects::read(&served, cluster.cluster.as_deref()).await?;
        let name = objects.find(name, &served)?.line.name.clone();
        let pieces = fetch(&served, part.target(&name), &context.env).await?;
        return Ok((name, pieces));
    }
    let repository = context.open().await?;
    let rows = rows(&repository, cluster).await?;
    let row = Box::new(rows.find(name)?.clone());
    let name = row.name.clone();
    let question = match part {
        Part::Log => Question::Log(row),
        Part::Objects(wanted) => Question::Objects { row, wanted },
    };
    Ok((name, reading::ask(repository, question)))
}
