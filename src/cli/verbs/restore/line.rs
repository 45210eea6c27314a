//! A restore as lists show it, wherever it was read: one definition of the columns.

use ark_engine::RestoreSummary;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::restore_name;
use crate::api::{Restore, Time};
use crate::cli::catalog::selector_text;
use crate::cli::context::Context;
use crate::cli::printer::{Listing, Table};
use crate::cli::served::Found;
use crate::cli::time::{from_millis, table_time};

/// A restore as lists show it.
#[derive(Debug, Clone)]
pub struct Line {
    pub name: String,
    pub backup: String,
    /// Status, warnings, errors and selector; absent if it cannot be read.
    pub document: Option<Restore>,
    pub created: Timestamp,
    pub id: String,
    /// The Restore.
    pub value: Value,
}

impl Line {
    /// From a repository.
    pub fn of_record(record: &RestoreSummary, document: Option<Restore>) -> Line {
        let created = document
            .as_ref()
            .and_then(|restore| restore.metadata.creation_timestamp.as_ref())
            .map_or(from_millis(record.created), |at| at.0);
        Line {
            name: record.name.clone(),
            backup: record.backup.clone(),
            document,
            created,
            id: record.id.clone(),
            value: serde_json::from_slice(&record.document).unwrap_or(Value::Null),
        }
    }

    /// From the cluster.
    pub fn of_object(found: &Found<Restore>) -> Line {
        let restore = &found.object;
        let status = restore.status.clone().unwrap_or_default();
        let asked = restore.spec.backup_name.clone();
        let created = restore.creation_timestamp();
        Line {
            name: restore.name_any(),
            // Which one it is of a schedule is known when it begins.
            backup: status.backup_name.unwrap_or(asked),
            created: created.map_or(Timestamp::UNIX_EPOCH, |Time(at)| at),
            id: String::new(),
            document: Some(restore.clone()),
            value: found.value.clone(),
        }
    }
}

/// The restores in all forms.
pub fn listing(lines: &[Line], single: bool, context: &Context) -> Listing {
    let mut table = Table::new(&[
        "NAME", "BACKUP", "STATUS", "WARNINGS", "ERRORS", "CREATED", "SELECTOR",
    ])
    .wide(&["ID"]);
    for line in lines {
        let created = table_time(line.created, &context.zone);
        let cells = match &line.document {
            Some(document) => {
                let status = document.status.clone().unwrap_or_default();
                let spec = &document.spec;
                [
                    status.phase.to_string(),
                    status.warnings.to_string(),
                    status.errors.to_string(),
                    created,
                    selector_text(spec.label_selector.as_ref(), &spec.or_label_selectors),
                ]
            }
            None => ["Damaged", "", "", &created, ""].map(str::to_owned),
        };
        let mut row = vec![line.name.clone(), line.backup.clone()];
        row.extend(cells);
        row.push(line.id.clone());
        table.row(row);
    }
    Listing {
        table,
        items: lines.iter().map(|line| line.value.clone()).collect(),
        names: lines.iter().map(|line| restore_name(&line.name)).collect(),
        single,
    }
}
