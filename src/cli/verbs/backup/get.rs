//! `ark backup get`

use ark_engine::BackupRow;

use super::choose::Objects;
use super::line::{self, Line};
use super::rows;
use crate::cli::args::backup::BackupGetArgs;
use crate::cli::catalog;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cluster::Selector;

/// The lines, whether they are of several clusters, and whether something of them could not be read.
type Lines = (Vec<Line>, bool, Exit);

pub async fn run(args: BackupGetArgs, context: &mut Context) -> Result<Exit> {
    let selector = catalog::parse_selector(args.selector.as_deref())?;
    let interrupt = context.interrupt.clone();
    let (lines, several, exit) = match context.is_direct() {
        true => {
            interrupt
                .unless(direct(&args, &selector, context))
                .await??
        }
        false => {
            interrupt
                .unless(served(&args, &selector, context))
                .await??
        }
    };
    if lines.is_empty() {
        context.talk.note("no backups found");
    }
    let single = args.names.len() == 1;
    let listing = line::listing(&lines, several, single, context);
    context.printer.list(listing)?;
    Ok(exit)
}

async fn direct(args: &BackupGetArgs, selector: &Selector, context: &Context) -> Result<Lines> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let chosen: Vec<BackupRow> = match (args.names.as_slice(), args.deleted) {
        ([], false) => rows.live().to_vec(),
        ([], true) => rows.deleted().to_vec(),
        (names, false) => named(names, |name| rows.find(name))?,
        (names, true) => named(names, |name| rows.find_deleted(name))?,
    };
    let mut entries = catalog::load(&repository, &chosen).await;
    entries.retain(|entry| entry.is_selected(selector));
    let mut exit = Exit::Ok;
    for entry in &entries {
        if let Err(error) = &entry.content {
            context.talk.line(&error.report());
            exit = Exit::Damage;
        }
    }
    let lines = entries.iter().map(Line::of_entry).collect();
    Ok((lines, rows.several_clusters(), exit))
}

fn named<'a>(
    names: &[String],
    find: impl Fn(&str) -> Result<&'a BackupRow>,
) -> Result<Vec<BackupRow>> {
    names.iter().map(|name| find(name).cloned()).collect()
}

async fn served(args: &BackupGetArgs, selector: &Selector, context: &Context) -> Result<Lines> {
    if args.deleted {
        return Err(Error::only_direct("--deleted"));
    }
    let served = context.serve().await?;
    let objects = Objects::read(&served, args.cluster.cluster.as_deref()).await?;
    let several = objects.several_clusters();
    let mut chosen = match args.names.as_slice() {
        [] => objects.all(),
        names => objects.named(names, &served)?,
    };
    chosen.retain(|chosen| chosen.is_selected(selector));
    let lines = chosen.into_iter().map(|chosen| chosen.line).collect();
    Ok((lines, several, Exit::Ok))
}
