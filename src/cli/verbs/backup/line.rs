//! A backup as lists show it, wherever it was read: one definition of the columns, and of what JSON adds.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::labels::{CLUSTER_ID, CLUSTER_NAME};
use crate::api::{Backup, Time};
use crate::cli::catalog::{Entry, backup_name, selector_text};
use crate::cli::context::Context;
use crate::cli::printer::{Listing, Table};
use crate::cli::served::{Found, Served};
use crate::cli::size::{grouped, human_size};
use crate::cli::time::{from_millis, from_now, from_seconds, table_time};
use crate::server::counterpart::{backup_id, is_own};

/// A backup as lists show it. What its source does not say is absent.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub status: String,
    pub created: Option<Timestamp>,
    pub expires: Option<Timestamp>,
    pub items: Option<u64>,
    pub failed: Option<u64>,
    pub bytes: Option<u64>,
    pub added: Option<u64>,
    pub selector: String,
    /// The cluster's id and name.
    pub cluster: (String, String),
    pub id: Option<String>,
    pub location: Option<String>,
    /// The Backup.
    pub value: Value,
}

impl Line {
    /// From a repository.
    pub fn of_entry(entry: &Entry) -> Line {
        let row = &entry.row;
        Line {
            name: row.name.clone(),
            status: entry.status(),
            created: Some(from_millis(row.created)),
            expires: row.expires.map(from_seconds),
            items: Some(row.counts.items),
            failed: Some(row.counts.failed),
            bytes: Some(row.counts.bytes),
            added: Some(row.added_bytes()),
            selector: entry.selector(),
            cluster: (row.cluster.id.clone(), row.cluster.name.clone()),
            id: Some(row.id.to_string()),
            location: None,
            value: entry.document(),
        }
    }

    /// From the cluster.
    pub fn of_object(found: &Found<Backup>, served: &Served) -> Line {
        let backup = &found.object;
        let status = backup.status.clone().unwrap_or_default();
        let at = |time: Option<Time>| time.map(|time| time.0);
        let own = served.cluster();
        let is_own = match own.id() {
            // Who may not ask which cluster it is goes by the label.
            "" => !backup.labels().contains_key(CLUSTER_ID),
            id => is_own(backup, id),
        };
        let cluster = match is_own {
            true => (own.id().to_owned(), own.name().to_owned()),
            false => {
                let id = status.cluster_id.as_ref();
                let id = id.or(backup.labels().get(CLUSTER_ID)).cloned();
                let name = backup.annotations().get(CLUSTER_NAME).cloned();
                (id.unwrap_or_default(), name.unwrap_or_default())
            }
        };
        Line {
            name: backup.name_any(),
            status: status.phase.to_string(),
            // An object that a sync made is younger than its backup.
            created: at(status.start_timestamp).or(at(backup.creation_timestamp())),
            expires: at(status.expiration),
            items: status.progress.map(|progress| progress.items_backed_up),
            failed: None,
            bytes: status.logical_bytes,
            added: status.added_bytes,
            selector: selector_text(
                backup.spec.label_selector.as_ref(),
                &backup.spec.or_label_selectors,
            ),
            cluster,
            id: backup_id(backup).map(str::to_owned),
            location: backup.spec.storage_location.clone(),
            value: found.value.clone(),
        }
    }

    /// What to call its cluster.
    pub fn cluster_label(&self) -> &str {
        let (id, name) = &self.cluster;
        match name.is_empty() {
            true => id,
            false => name,
        }
    }

    /// The Backup, and under `repository` what the repository knows of it.
    pub fn json(&self) -> Value {
        let mut value = self.value.clone();
        let (id, name) = &self.cluster;
        if let Value::Object(map) = &mut value {
            map.insert(
                "repository".to_owned(),
                json!({
                    "id": self.id,
                    "status": self.status,
                    "cluster": { "id": id, "name": name },
                    "created": self.created.map(|at| at.to_string()),
                    "expires": self.expires.map(|at| at.to_string()),
                    "items": self.items,
                    "failed": self.failed,
                    "logicalBytes": self.bytes,
                    "addedBytes": self.added,
                }),
            );
        }
        value
    }
}

/// The backups in all forms.
pub fn listing(lines: &[Line], several: bool, single: bool, context: &Context) -> Listing {
    Listing {
        table: table(lines, several, context),
        items: lines.iter().map(Line::json).collect(),
        names: lines.iter().map(|line| backup_name(&line.name)).collect(),
        single,
    }
}

fn table(lines: &[Line], several: bool, context: &Context) -> Table {
    let mut columns = vec![
        "NAME", "STATUS", "CREATED", "EXPIRES", "ITEMS", "SIZE", "ADDED", "SELECTOR",
    ];
    let mut wide = vec!["CLUSTER", "ID"];
    if several {
        columns.push(wide.remove(0));
    }
    // A repository is one location.
    let located = lines.iter().any(|line| line.location.is_some());
    if located {
        wide.push("LOCATION");
    }
    let mut table = Table::new(&columns).wide(&wide);
    let now = context.now();
    for line in lines {
        let mut cells = vec![
            line.name.clone(),
            line.status.clone(),
            line.created
                .map(|at| table_time(at, &context.zone))
                .unwrap_or_default(),
            line.expires.map(|at| from_now(at, now)).unwrap_or_default(),
            line.items.map(grouped).unwrap_or_default(),
            line.bytes.map(human_size).unwrap_or_default(),
            line.added.map(human_size).unwrap_or_default(),
            line.selector.clone(),
            line.cluster_label().to_owned(),
            line.id.clone().unwrap_or_default(),
        ];
        if located {
            cells.push(line.location.clone().unwrap_or_default());
        }
        table.row(cells);
    }
    table
}
