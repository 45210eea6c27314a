//! Two backups.

use super::super::{fetch, rows};
use super::Sink;
use crate::api::{DownloadKind, DownloadTarget};
use crate::cli::args::backup::DiffArgs;
use crate::cli::context::Context;
use crate::cli::difference::Tally;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::verbs::backup::choose::Objects;
use crate::server::reading::{self, Head, Pieces, Question};

pub async fn run(args: &DiffArgs, after: &str, context: &mut Context) -> Result<(Tally, Exit)> {
    let mut pieces = match context.is_direct() {
        true => direct(args, after, context).await?,
        false => served(args, after, context).await?,
    };
    let talk = context.talk.clone();
    let mut sink = Sink::new(&mut context.printer, args);
    while let Some(piece) = pieces.next().await? {
        match piece.head {
            Head::Compared {
                same_cluster: false,
            } => talk.note("the two backups are of different clusters"),
            Head::Difference(difference) => sink.put(&difference)?,
            _ => {}
        }
    }
    Ok((sink.finish()?, Exit::Ok))
}

async fn direct(args: &DiffArgs, after: &str, context: &Context) -> Result<Pieces> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let question = Question::Difference {
        before: Box::new(rows.find(&args.before)?.clone()),
        after: Box::new(rows.find(after)?.clone()),
        with_objects: args.patch,
    };
    Ok(reading::ask(repository, question))
}

async fn served(args: &DiffArgs, after: &str, context: &Context) -> Result<Pieces> {
    let served = context.serve().await?;
    let objects = Objects::read(&served, args.cluster.cluster.as_deref()).await?;
    let before = objects.find(&args.before, &served)?.line.name.clone();
    let after = objects.find(after, &served)?.line.name.clone();
    let target = DownloadTarget {
        against: Some(after),
        with_objects: Some(args.patch),
        ..DownloadTarget::new(DownloadKind::BackupDifference, &before)
    };
    fetch(&served, target, &context.env).await
}
