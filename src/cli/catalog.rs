//! Backups with their documents, as lists and descriptions need them.
//!
//! A list never fails because one manifest is damaged or gone: that backup shows as `Damaged` or `Lost`, and the exit
//! code says so.

use ark_engine::{BackupRow, Repository};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::error::{Error, Result};
use crate::api::{self, LabelSelector};
use crate::cluster::Selector;
use crate::server::reading::{self, Content};

/// How many manifests are fetched at once.
const FETCHES: usize = 16;

/// A backup and what its manifest says.
#[derive(Debug)]
pub struct Entry {
    /// Its line in the repository's list.
    pub row: BackupRow,
    /// Its manifest and document, or why they cannot be had.
    pub content: Result<Content>,
}

/// Fetches the manifests of these rows, several at once. The order stays.
pub async fn load(repository: &Repository, rows: &[BackupRow]) -> Vec<Entry> {
    let fetches = rows.iter().cloned().map(|row| async move {
        let content = reading::content(repository, &row).await;
        Entry {
            row,
            content: content.map_err(Error::from),
        }
    });
    stream::iter(fetches).buffered(FETCHES).collect().await
}

impl Entry {
    /// The status column.
    pub fn status(&self) -> String {
        match (&self.content, self.row.lost, self.row.forgotten) {
            (_, true, _) => "Lost".to_owned(),
            (Err(_), _, _) => "Damaged".to_owned(),
            (Ok(_), _, Some(_)) => "Deleted".to_owned(),
            (Ok(_), _, None) => self.row.status.to_string(),
        }
    }

    /// Whether the backup's labels are these. What cannot be read has none.
    pub fn is_selected(&self, selector: &Selector) -> bool {
        let labels = self
            .content
            .as_ref()
            .ok()
            .and_then(|content| content.backup.metadata.labels.as_ref());
        selector.matches(
            labels
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        )
    }

    /// The selector column.
    pub fn selector(&self) -> String {
        match &self.content {
            Ok(content) => selector_text(
                content.backup.spec.label_selector.as_ref(),
                &content.backup.spec.or_label_selectors,
            ),
            Err(_) => "<unknown>".to_owned(),
        }
    }

    /// The Backup as it was posted; only its name, if it cannot be read.
    pub fn document(&self) -> Value {
        match &self.content {
            Ok(content) => {
                serde_json::from_slice(&content.manifest.document).unwrap_or(Value::Null)
            }
            Err(_) => json!({
                "apiVersion": api::API_VERSION,
                "kind": api::Backup::KIND,
                "metadata": { "name": self.row.name },
            }),
        }
    }
}

/// Selectors in kubectl's notation; empty if there are none.
pub fn selector_text(one: Option<&LabelSelector>, any: &[LabelSelector]) -> String {
    let texts: Vec<String> = one
        .into_iter()
        .chain(any)
        .map(|spec| match Selector::from_spec(spec) {
            Ok(selector) => selector.to_string(),
            Err(error) => format!("<{error}>"),
        })
        .collect();
    texts.join(" or ")
}

/// Reads a selector that was given on the command line.
pub fn parse_selector(text: Option<&str>) -> Result<Selector> {
    let text = text.unwrap_or_default();
    Selector::parse(text).map_err(|source| Error::Selector {
        text: text.to_owned(),
        source,
    })
}

/// `backup.ark.heptio.com/x`, as kubectl names objects with `-o name`.
pub fn backup_name(name: &str) -> String {
    format!("backup.{}/{name}", api::GROUP)
}
