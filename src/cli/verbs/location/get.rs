//! `ark backup-location get`

use kube::ResourceExt;

use super::{location_name, phase, place, serve, word};
use crate::api::BackupStorageLocation;
use crate::cli::args::location::LocationGetArgs;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::{Listing, Table};
use crate::cli::served::Found;
use crate::cli::time::table_time;

pub async fn run(args: LocationGetArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let found = interrupt.unless(read(&args.names, context)).await??;
    if found.is_empty() {
        context.talk.note("no locations found");
    }
    let mut table = Table::new(&[
        "NAME",
        "PROVIDER",
        "BUCKET/PREFIX",
        "PHASE",
        "LAST VALIDATED",
        "ACCESS MODE",
        "DEFAULT",
    ])
    .wide(&["MESSAGE"]);
    for Found { object, .. } in &found {
        let status = object.status.clone().unwrap_or_default();
        let checked = status.last_validation_time;
        table.row(vec![
            object.name_any(),
            word(object.spec.provider),
            place(object),
            phase(object),
            checked
                .map(|at| table_time(at.0, &context.zone))
                .unwrap_or_default(),
            word(object.spec.access_mode),
            object.spec.default.to_string(),
            status.message.unwrap_or_default(),
        ]);
    }
    context.printer.list(Listing {
        table,
        names: found
            .iter()
            .map(|found| location_name(&found.object.name_any()))
            .collect(),
        items: found.into_iter().map(|found| found.value).collect(),
        single: args.names.len() == 1,
    })?;
    Ok(Exit::Ok)
}

/// These locations, or all.
pub async fn read(
    names: &[String],
    context: &Context,
) -> Result<Vec<Found<BackupStorageLocation>>> {
    let served = serve(context).await?;
    if names.is_empty() {
        return served.list().await;
    }
    let mut found = Vec::new();
    for name in names {
        found.push(served.get(name).await?);
    }
    Ok(found)
}
