//! `ark backup create` through the server: a Backup object, and waiting for what becomes of it.

use kube::ResourceExt;

use super::{Summary, exit};
use crate::api::{Backup, BackupPhase, BackupStatus, Schedule};
use crate::cli::args::backup::BackupCreateArgs;
use crate::cli::catalog::backup_name;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;
use crate::cli::served::{Found, Served};
use crate::cli::size::grouped;
use crate::cli::spec;
use crate::cli::verbs::backup::line::Line;
use crate::cli::verbs::wait;

pub async fn run(args: BackupCreateArgs, context: &mut Context) -> Result<Exit> {
    if args.dry_run {
        return Err(Error::Usage {
            what: "--dry-run does not know what a schedule takes".to_owned(),
            hint: Some("give the filters themselves".to_owned()),
        });
    }
    if args.served.from_schedule.is_none() {
        // What makes no sense is said before anybody is asked.
        spec::backup_object(&args, "", None, context.now())?;
    }
    let interrupt = context.interrupt.clone();
    let (served, made) = interrupt.unless(make(&args, context)).await??;
    let name = made.object.name_any();
    if !args.served.wait {
        context.talk.note(&format!(
            "the server makes it: `ark backup describe {name}` shows how far it is"
        ));
        let text = || format!("{} created\n", backup_name(&name));
        context
            .printer
            .one(&made.value, &backup_name(&name), text)?;
        return Ok(Exit::Ok);
    }
    let hint = format!("the server goes on with it; `ark backup cancel {name}` stops it");
    let ended = wait::until(
        &served,
        &name,
        context,
        &hint,
        |backup: &Backup| has_ended(backup.phase()),
        shown,
    )
    .await?;
    let _ = served.cluster().identify().await;
    let status = ended.object.status.clone().unwrap_or_default();
    tell(&name, &status, context);
    let value = Line::of_object(&ended, &served).json();
    context
        .printer
        .one(&value, &backup_name(&name), || text(&name, &status))?;
    Ok(exit(status.phase))
}

async fn make(args: &BackupCreateArgs, context: &Context) -> Result<(Served, Found<Backup>)> {
    let served = context.serve().await?;
    let schedule = match &args.served.from_schedule {
        Some(name) => Some(served.get::<Schedule>(name).await?.object),
        None => None,
    };
    let now = context.now();
    let backup = spec::backup_object(args, served.namespace(), schedule.as_ref(), now)?;
    served.require_server().await?;
    let made = served.create(&backup).await?;
    Ok((served, made))
}

/// Whether nothing more becomes of a backup in that phase.
pub fn has_ended(phase: BackupPhase) -> bool {
    !matches!(
        phase,
        BackupPhase::New | BackupPhase::InProgress | BackupPhase::Canceling
    )
}

/// The progress line of a backup that is being made.
pub fn shown(backup: &Backup) -> String {
    let status = backup.status.clone().unwrap_or_default();
    match (status.phase, status.progress) {
        (BackupPhase::New, _) => "waiting for the server".to_owned(),
        (phase, Some(progress)) => {
            format!("{phase}, {} objects", grouped(progress.items_backed_up))
        }
        (phase, None) => phase.to_string(),
    }
}

/// What is wrong goes to stderr.
fn tell(name: &str, status: &BackupStatus, context: &Context) {
    let why = status
        .validation_errors
        .iter()
        .chain(&status.failure_reason);
    for line in why {
        context.talk.line(&format!("ark: {}", safe_text(line)));
    }
    if status.warnings + status.errors > 0 {
        context.talk.note(&format!(
            "{} warnings, {} errors: the log of {name} says which",
            status.warnings, status.errors
        ));
    }
}

fn text(name: &str, status: &BackupStatus) -> String {
    let made = matches!(
        status.phase,
        BackupPhase::Completed | BackupPhase::PartiallyFailed
    );
    if !made {
        return format!("{} {}\n", backup_name(name), status.phase);
    }
    let time = |at: &Option<crate::api::Time>| at.as_ref().map(|at| at.0);
    let seconds = match (
        time(&status.start_timestamp),
        time(&status.completion_timestamp),
    ) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
        _ => 0.0,
    };
    let summary = Summary {
        phase: status.phase,
        items: status.progress.map_or(0, |done| done.items_backed_up),
        bytes: status.logical_bytes.unwrap_or(0),
        added: status.added_bytes.unwrap_or(0),
        failed: 0,
        errors: status.errors,
        seconds,
    };
    summary.text(name)
}
