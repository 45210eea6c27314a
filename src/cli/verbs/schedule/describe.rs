//! `ark schedule describe`

use kube::ResourceExt;
use serde_json::Value;

use super::{kept, names, next, serve, status};
use crate::api::{Schedule, Time};
use crate::cli::args::global::Output;
use crate::cli::args::schedule::ScheduleDescribeArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, Listing, Table};
use crate::cli::time::{from_now, table_time};
use crate::cli::verbs::backup::{describe, pairs};

pub async fn run(args: ScheduleDescribeArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let found = interrupt
        .unless(async {
            let served = serve(context).await?;
            let mut found = Vec::new();
            for name in &args.names {
                found.push(served.get::<Schedule>(name).await?);
            }
            Ok::<_, Error>(found)
        })
        .await??;
    let (schedules, items): (Vec<Schedule>, Vec<Value>) = found
        .into_iter()
        .map(|found| (found.object, found.value))
        .unzip();
    if matches!(context.printer.format(), Output::Table | Output::Wide) {
        let texts: Vec<String> = schedules
            .iter()
            .map(|schedule| text(schedule, context))
            .collect();
        context.printer.text(&texts.join("\n\n"))?;
        return Ok(Exit::Ok);
    }
    context.printer.list(Listing {
        table: Table::default(),
        names: names(&schedules),
        single: items.len() == 1,
        items,
    })?;
    Ok(Exit::Ok)
}

fn text(schedule: &Schedule, context: &Context) -> String {
    let spec = &schedule.spec;
    let known = schedule.status.clone().unwrap_or_default();
    let time = |at: Option<Time>| {
        at.map(|at| table_time(at.0, &context.zone))
            .unwrap_or_default()
    };
    let now = context.now();
    let due = next(schedule, now).map(|at| {
        let left = from_now(at, now);
        format!("{} ({left})", table_time(at, &context.zone))
    });
    let flag = |given: Option<bool>| given.unwrap_or(false).to_string();
    let mut out = Description::default();
    out.field("Name", schedule.name_any())
        .field("Namespace", schedule.namespace().unwrap_or_default())
        .field("Labels", pairs(schedule.metadata.labels.as_ref()))
        .field("Status", status(schedule))
        .field("Created", time(schedule.creation_timestamp()))
        .field("Schedule", spec.schedule.clone())
        .field("Time zone", spec.time_zone.clone().unwrap_or_default())
        .field("Paused", spec.paused.to_string())
        .field("Skip immediately", flag(spec.skip_immediately))
        .field(
            "Backups are owned",
            flag(spec.use_owner_references_in_backup),
        )
        .field("Kept", kept(schedule));
    describe::spec(&mut out, &spec.template);
    out.field("Last backup", time(known.last_backup))
        .field("Last skipped", time(known.last_skipped))
        .field("Next backup", due.unwrap_or_default());
    if !known.validation_errors.is_empty() {
        out.field("Refused", known.validation_errors.join("\n"));
    }
    out.render()
}
