//! `ark restore get`

use ark_engine::RestoreSummary;

use super::line::{self, Line};
use super::{document, find, restores};
use crate::api::Restore;
use crate::cli::args::restore::RestoreGetArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;

pub async fn run(args: RestoreGetArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let (lines, exit) = match context.is_direct() {
        true => interrupt.unless(direct(&args, context)).await??,
        false => (interrupt.unless(served(&args, context)).await??, Exit::Ok),
    };
    if lines.is_empty() {
        context.talk.note("no restores found");
    }
    let listing = line::listing(&lines, args.names.len() == 1, context);
    context.printer.list(listing)?;
    Ok(exit)
}

async fn direct(args: &RestoreGetArgs, context: &Context) -> Result<(Vec<Line>, Exit)> {
    let repository = context.open().await?;
    let all = restores(&repository).await?;
    let chosen = match args.names.as_slice() {
        [] => all,
        names => names
            .iter()
            .map(|name| find(&all, name).cloned())
            .collect::<Result<Vec<RestoreSummary>>>()?,
    };
    let mut exit = Exit::Ok;
    let lines = chosen
        .iter()
        .map(|record| match document(&record.name, &record.document) {
            Ok(document) => Line::of_record(record, Some(document)),
            Err(error) => {
                context.talk.line(&Error::report(&error));
                exit = Exit::Damage;
                Line::of_record(record, None)
            }
        })
        .collect();
    Ok((lines, exit))
}

async fn served(args: &RestoreGetArgs, context: &Context) -> Result<Vec<Line>> {
    let served = context.serve().await?;
    if args.names.is_empty() {
        let found = served.list::<Restore>().await?;
        let mut lines: Vec<Line> = found.iter().map(Line::of_object).collect();
        lines.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
        return Ok(lines);
    }
    let mut lines = Vec::new();
    for name in &args.names {
        lines.push(Line::of_object(&served.get::<Restore>(name).await?));
    }
    Ok(lines)
}
