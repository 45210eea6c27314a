//! `ark backup get`

use ark_engine::BackupRow;

use super::rows;
use crate::cli::args::backup::BackupGetArgs;
use crate::cli::catalog::{self, Entry, backup_name};
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::{Listing, Table};
use crate::cli::select::label;
use crate::cli::size::{grouped, human_size};
use crate::cli::time::{from_millis, from_now, from_seconds, table_time};

pub async fn run(args: BackupGetArgs, context: &mut Context) -> Result<Exit> {
    let selector = catalog::parse_selector(args.selector.as_deref())?;
    let interrupt = context.interrupt.clone();
    let (entries, several) = interrupt
        .unless(async {
            let repository = context.open().await?;
            let rows = rows(&repository, &args.cluster).await?;
            let chosen: Vec<BackupRow> = match (args.names.as_slice(), args.deleted) {
                ([], false) => rows.live().to_vec(),
                ([], true) => rows.deleted().to_vec(),
                (names, false) => named(names, |name| rows.find(name))?,
                (names, true) => named(names, |name| rows.find_deleted(name))?,
            };
            let mut entries = catalog::load(&repository, &chosen).await;
            entries.retain(|entry| entry.is_selected(&selector));
            Ok::<_, crate::cli::error::Error>((entries, rows.several_clusters()))
        })
        .await??;
    if entries.is_empty() {
        context.talk.note("no backups found");
    }
    let mut exit = Exit::Ok;
    for entry in &entries {
        if let Err(error) = &entry.content {
            context.talk.line(&error.report());
            exit = Exit::Damage;
        }
    }
    context.printer.list(Listing {
        table: table(&entries, several, context),
        items: entries.iter().map(Entry::json).collect(),
        names: entries
            .iter()
            .map(|entry| backup_name(&entry.row.name))
            .collect(),
        single: args.names.len() == 1,
    })?;
    Ok(exit)
}

fn named<'a>(
    names: &[String],
    find: impl Fn(&str) -> Result<&'a BackupRow>,
) -> Result<Vec<BackupRow>> {
    names.iter().map(|name| find(name).cloned()).collect()
}

fn table(entries: &[Entry], several: bool, context: &Context) -> Table {
    let mut columns = vec![
        "NAME", "STATUS", "CREATED", "EXPIRES", "ITEMS", "SIZE", "ADDED", "SELECTOR",
    ];
    let mut wide = vec!["CLUSTER", "ID"];
    if several {
        columns.push(wide.remove(0));
    }
    let mut table = Table::new(&columns).wide(&wide);
    let now = context.now();
    for entry in entries {
        let row = &entry.row;
        table.row(vec![
            row.name.clone(),
            entry.status(),
            table_time(from_millis(row.created), &context.zone),
            row.expires
                .map(|at| from_now(from_seconds(at), now))
                .unwrap_or_default(),
            grouped(row.counts.items),
            human_size(row.counts.bytes),
            human_size(row.added_bytes()),
            entry.selector(),
            label(row),
            row.id.to_string(),
        ]);
    }
    table
}
