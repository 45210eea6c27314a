//! `ark schedule get`

use super::{kept, names, next, serve, status};
use crate::api::Schedule;
use crate::cli::args::schedule::ScheduleGetArgs;
use crate::cli::catalog::{parse_selector, selector_text};
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::{Listing, Table};
use crate::cli::served::Found;
use crate::cli::time::table_time;
use kube::ResourceExt;

pub async fn run(args: ScheduleGetArgs, context: &mut Context) -> Result<Exit> {
    let selector = parse_selector(args.selector.as_deref())?;
    let interrupt = context.interrupt.clone();
    let mut found = interrupt.unless(read(&args, context)).await??;
    found.retain(|found| {
        let labels = found.object.labels().iter();
        selector.matches(labels.map(|(key, value)| (key.as_str(), value.as_str())))
    });
    if found.is_empty() {
        context.talk.note("no schedules found");
    }
    let (schedules, items): (Vec<Schedule>, Vec<_>) = found
        .into_iter()
        .map(|found| (found.object, found.value))
        .unzip();
    context.printer.list(Listing {
        table: table(&schedules, context),
        names: names(&schedules),
        items,
        single: args.names.len() == 1,
    })?;
    Ok(Exit::Ok)
}

async fn read(args: &ScheduleGetArgs, context: &Context) -> Result<Vec<Found<Schedule>>> {
    let served = serve(context).await?;
    if args.names.is_empty() {
        return served.list::<Schedule>().await;
    }
    let mut found = Vec::new();
    for name in &args.names {
        found.push(served.get(name).await?);
    }
    Ok(found)
}

fn table(schedules: &[Schedule], context: &Context) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "STATUS",
        "CREATED",
        "SCHEDULE",
        "KEPT",
        "LAST BACKUP",
        "SELECTOR",
        "PAUSED",
    ])
    .wide(&["NEXT BACKUP", "LOCATION"]);
    let time = |at| table_time(at, &context.zone);
    for schedule in schedules {
        let spec = &schedule.spec;
        let last = schedule.status.as_ref();
        let last = last.and_then(|status| status.last_backup.as_ref());
        let when = match &spec.time_zone {
            Some(zone) => format!("{} {zone}", spec.schedule),
            None => spec.schedule.clone(),
        };
        let template = &spec.template;
        table.row(vec![
            schedule.name_any(),
            status(schedule),
            schedule
                .creation_timestamp()
                .map(|at| time(at.0))
                .unwrap_or_default(),
            when,
            kept(schedule),
            last.map(|at| time(at.0)).unwrap_or_default(),
            selector_text(
                template.label_selector.as_ref(),
                &template.or_label_selectors,
            ),
            spec.paused.to_string(),
            next(schedule, context.now()).map(time).unwrap_or_default(),
            template.storage_location.clone().unwrap_or_default(),
        ]);
    }
    table
}
