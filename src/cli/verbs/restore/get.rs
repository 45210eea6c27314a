//! `ark restore get`

use ark_engine::RestoreSummary;
use serde_json::Value;

use super::{document, find, restore_name, restores};
use crate::cli::args::restore::RestoreGetArgs;
use crate::cli::catalog::selector_text;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Listing, Table};
use crate::cli::time::{from_millis, table_time};

pub async fn run(args: RestoreGetArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let chosen = interrupt
        .unless(async {
            let repository = context.open().await?;
            let all = restores(&repository).await?;
            match args.names.as_slice() {
                [] => Ok(all),
                names => names
                    .iter()
                    .map(|name| find(&all, name).cloned())
                    .collect::<Result<Vec<RestoreSummary>>>(),
            }
        })
        .await??;
    if chosen.is_empty() {
        context.talk.note("no restores found");
    }
    let mut table = Table::new(&[
        "NAME", "BACKUP", "STATUS", "WARNINGS", "ERRORS", "CREATED", "SELECTOR",
    ])
    .wide(&["ID"]);
    let mut items = Vec::new();
    let mut exit = Exit::Ok;
    for restore in &chosen {
        let cells = match document(&restore.name, &restore.document) {
            Ok(document) => {
                let status = document.status.unwrap_or_default();
                let spec = &document.spec;
                let created = document
                    .metadata
                    .creation_timestamp
                    .map_or(from_millis(restore.created), |at| at.0);
                [
                    status.phase.to_string(),
                    status.warnings.to_string(),
                    status.errors.to_string(),
                    table_time(created, &context.zone),
                    selector_text(spec.label_selector.as_ref(), &spec.or_label_selectors),
                ]
            }
            Err(error) => {
                context.talk.line(&Error::report(&error));
                exit = Exit::Damage;
                let created = table_time(from_millis(restore.created), &context.zone);
                ["Damaged", "", "", &created, ""].map(str::to_owned)
            }
        };
        let mut row = vec![restore.name.clone(), restore.backup.clone()];
        row.extend(cells);
        row.push(restore.id.clone());
        table.row(row);
        items.push(serde_json::from_slice(&restore.document).unwrap_or(Value::Null));
    }
    context.printer.list(Listing {
        table,
        items,
        names: chosen
            .iter()
            .map(|restore| restore_name(&restore.name))
            .collect(),
        single: args.names.len() == 1,
    })?;
    Ok(exit)
}
