//! The manifest of a backup: its document, its log, and what writing it has stored.

use ark_engine::{BackupRow, Manifest, Repository, WriteStats};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::{Doing, ReadError, Result};
use super::{Head, Out};
use crate::api::Backup;

/// Bytes of a log in one piece.
const PIECE: usize = 64 << 10;

/// The readable part of a manifest.
#[derive(Debug)]
pub struct Content {
    /// The manifest.
    pub manifest: Manifest,
    /// Its document.
    pub backup: Backup,
}

/// What only the repository knows of a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When its session began, Unix ms.
    pub created: i64,
    /// What writing it has stored.
    pub stats: WriteStats,
    /// Bytes of its manifest.
    pub manifest_size: u64,
    /// Objects and resources that could not be captured.
    pub failed: u64,
    /// When it was committed, Unix ms, and the version of ark that made it; absent if its manifest cannot be read.
    pub finished: Option<(i64, String)>,
}

impl Record {
    /// Of a backup whose manifest may have been read.
    pub fn new(row: &BackupRow, manifest: Option<&Manifest>) -> Record {
        Record {
            created: row.created,
            stats: row.stats,
            manifest_size: row.manifest_size,
            failed: row.counts.failed,
            finished: manifest.map(|manifest| (manifest.finished, manifest.tool.clone())),
        }
    }
}

/// Fetches the manifest of one row.
///
/// # Errors
/// If it is not there, damaged, or of another kind than ark writes.
pub async fn content(repository: &Repository, row: &BackupRow) -> Result<Content> {
    let manifest = repository.manifest_of(row).await.doing(format!(
        "cannot read the manifest of the backup {}",
        row.name
    ))?;
    let backup =
        serde_json::from_slice(&manifest.document).map_err(|source| ReadError::Document {
            of: format!("the backup {}", row.name),
            source,
        })?;
    Ok(Content { manifest, backup })
}

/// Gives the log.
pub(super) async fn log(repository: &Repository, row: &BackupRow, out: &Out) -> Result<()> {
    let content = content(repository, row).await?;
    text(content.manifest.log.into(), out).await
}

/// Gives text in pieces.
pub(super) async fn text(mut text: Bytes, out: &Out) -> Result<()> {
    while !text.is_empty() {
        let piece = text.split_to(text.len().min(PIECE));
        out.with(Head::Log, piece).await?;
    }
    Ok(())
}
