//! `ark restore create` through the server: a Restore object, and waiting for what becomes of it.

use kube::ResourceExt;

use super::super::restore_name;
use super::exit;
use crate::api::{Restore, RestorePhase, RestoreStatus, Time};
use crate::cli::args::restore::RestoreCreateArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;
use crate::cli::served::{Found, Served};
use crate::cli::size::grouped;
use crate::cli::verbs::backup::choose::Objects;
use crate::cli::verbs::wait;

pub async fn run(args: RestoreCreateArgs, wanted: Restore, context: &mut Context) -> Result<Exit> {
    if args.dry_run {
        return Err(Error::only_direct("--dry-run"));
    }
    let interrupt = context.interrupt.clone();
    let (served, made) = interrupt.unless(make(&args, wanted, context)).await??;
    let name = made.object.name_any();
    if !args.served.wait {
        context.talk.note(&format!(
            "the server restores it: `ark restore describe {name}` shows how far it is"
        ));
        let text = || format!("{} created\n", restore_name(&name));
        context
            .printer
            .one(&made.value, &restore_name(&name), text)?;
        return Ok(Exit::Ok);
    }
    let hint = format!("the server goes on with it; `ark restore cancel {name}` stops it");
    let ended = |restore: &Restore| has_ended(restore.phase());
    let ended = wait::until(&served, &name, context, &hint, ended, shown).await?;
    let status = ended.object.status.clone().unwrap_or_default();
    let why = status
        .validation_errors
        .iter()
        .chain(&status.failure_reason);
    for line in why {
        context.talk.line(&format!("ark: {}", safe_text(line)));
    }
    let text = || format!("{} {}\n", restore_name(&name), summary(&status));
    context
        .printer
        .one(&ended.value, &restore_name(&name), text)?;
    Ok(exit(status.phase))
}

async fn make(
    args: &RestoreCreateArgs,
    mut wanted: Restore,
    context: &Context,
) -> Result<(Served, Found<Restore>)> {
    let served = context.serve().await?;
    if args.served.from_schedule.is_none() {
        let cluster = args.cluster.cluster.as_deref();
        let objects = Objects::read(&served, cluster).await?;
        // The user may have named it by id.
        let chosen = objects.find(&wanted.spec.backup_name, &served)?;
        wanted.spec.backup_name = chosen.line.name.clone();
    }
    served.require_server().await?;
    let made = served.create(&wanted).await?;
    Ok((served, made))
}

/// Whether nothing more becomes of a restore in that phase.
pub fn has_ended(phase: RestorePhase) -> bool {
    !matches!(
        phase,
        RestorePhase::New | RestorePhase::InProgress | RestorePhase::Canceling
    )
}

/// The progress line of a restore that is under way.
pub fn shown(restore: &Restore) -> String {
    let status = restore.status.clone().unwrap_or_default();
    match (status.phase, status.progress) {
        (RestorePhase::New, _) => "waiting for the server".to_owned(),
        (phase, Some(progress)) => format!(
            "{phase}, {} of {} objects",
            grouped(progress.items_restored),
            grouped(progress.total_items)
        ),
        (phase, None) => phase.to_string(),
    }
}

fn summary(status: &RestoreStatus) -> String {
    let (phase, progress) = (status.phase, status.progress.unwrap_or_default());
    if !matches!(
        phase,
        RestorePhase::Completed | RestorePhase::PartiallyFailed
    ) {
        return phase.to_string();
    }
    let time = |at: &Option<Time>| at.as_ref().map(|at| at.0);
    let seconds = match (
        time(&status.start_timestamp),
        time(&status.completion_timestamp),
    ) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
        _ => 0.0,
    };
    format!(
        "{phase}: {} of {} objects in {seconds:.1}s, {} warnings, {} errors",
        grouped(progress.items_restored),
        grouped(progress.total_items),
        status.warnings,
        status.errors
    )
}
