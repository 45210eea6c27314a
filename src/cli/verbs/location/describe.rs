//! `ark backup-location describe`

use kube::ResourceExt;

use super::{get, location_name, phase, place, word};
use crate::api::{BackupStorageLocation, SecretKey, Time};
use crate::cli::args::global::Output;
use crate::cli::args::location::LocationDescribeArgs;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, Listing, Table};
use crate::cli::time::table_time;
use crate::cli::verbs::backup::pairs;

pub async fn run(args: LocationDescribeArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let found = interrupt.unless(get::read(&args.names, context)).await??;
    if matches!(context.printer.format(), Output::Table | Output::Wide) {
        let texts: Vec<String> = found
            .iter()
            .map(|found| text(&found.object, context))
            .collect();
        context.printer.text(&texts.join("\n\n"))?;
        return Ok(Exit::Ok);
    }
    context.printer.list(Listing {
        table: Table::default(),
        names: found
            .iter()
            .map(|found| location_name(&found.object.name_any()))
            .collect(),
        single: found.len() == 1,
        items: found.into_iter().map(|found| found.value).collect(),
    })?;
    Ok(Exit::Ok)
}

fn text(location: &BackupStorageLocation, context: &Context) -> String {
    let spec = &location.spec;
    let status = location.status.clone().unwrap_or_default();
    let time = |at: Option<Time>| {
        at.map(|at| table_time(at.0, &context.zone))
            .unwrap_or_default()
    };
    let secret = |named: Option<&SecretKey>, default: &str| match named {
        Some(named) => format!("{}={}", named.name, named.key),
        None => default.to_owned(),
    };
    let mut out = Description::default();
    out.field("Name", location.name_any())
        .field("Namespace", location.namespace().unwrap_or_default())
        .field("Labels", pairs(location.metadata.labels.as_ref()))
        .field("Provider", word(spec.provider))
        .field("Bucket/prefix", place(location))
        .field("Config", pairs(Some(&spec.config)))
        .field("Credential", secret(spec.credential.as_ref(), ""))
        .field(
            "Repository key",
            secret(spec.repository_key.as_ref(), "ark-repository-key=key"),
        )
        .field("Access mode", word(spec.access_mode))
        .field("Default", spec.default.to_string())
        .field("Phase", phase(location))
        .field("Message", status.message.unwrap_or_default())
        .field("Last validated", time(status.last_validation_time))
        .field("Last synced", time(status.last_synced_time));
    let mut text = out.render();
    if !status.conditions.is_empty() {
        let mut table = Table::new(&["CONDITION", "STATUS", "REASON", "MESSAGE"]);
        for condition in status.conditions {
            table.row(vec![
                condition.type_,
                condition.status,
                condition.reason,
                condition.message,
            ]);
        }
        text.push_str(&format!("\n{}", table.render(false)));
    }
    text
}
