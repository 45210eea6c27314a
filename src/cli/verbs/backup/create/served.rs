//! `ark backup create` through the server: a Backup object, and waiting for what becomes of it.

use std::fmt::Display;

use kube::ResourceExt;

use super::{Summary, exit};
use crate::api::{Backup, BackupPhase, BackupStatus, Schedule};
use crate::cli::args::backup::BackupCreateArgs;
use crate::cli::catalog::backup_name;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::served::{Found, Served};
use crate::cli::size::grouped;
use crate::cli::spec;
use crate::cli::verbs::backup::line::Line;
use crate::cli::verbs::work::{self, Work};

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
    let ended = work::until_ended::<Backup>(&served, &name, context, &hint).await?;
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

impl Work for Backup {
    const NOUN: &'static str = "backup";

    fn full_name(name: &str) -> String {
        backup_name(name)
    }

    fn is_under_way(&self) -> bool {
        self.phase().is_under_way()
    }

    fn is_canceled(&self) -> bool {
        self.phase() == BackupPhase::Canceled
    }

    fn stands(&self) -> impl Display {
        self.phase()
    }

    fn progress(&self) -> String {
        let progress = self.status.as_ref().and_then(|status| status.progress);
        match (self.phase(), progress) {
            (BackupPhase::New, _) => "waiting for the server".to_owned(),
            (phase, Some(progress)) => {
                format!("{phase}, {} objects", grouped(progress.items_backed_up))
            }
            (phase, None) => phase.to_string(),
        }
    }
}

/// What is wrong goes to stderr.
fn tell(name: &str, status: &BackupStatus, context: &Context) {
    let errors = status.validation_errors.iter();
    work::tell_why(errors.chain(&status.failure_reason), context);
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
    let summary = Summary {
        phase: status.phase,
        items: status.progress.map_or(0, |done| done.items_backed_up),
        bytes: status.logical_bytes.unwrap_or(0),
        added: status.added_bytes.unwrap_or(0),
        failed: 0,
        errors: status.errors,
        seconds: work::seconds(
            status.start_timestamp.as_ref(),
            status.completion_timestamp.as_ref(),
        ),
    };
    summary.text(name)
}
