//! `ark restore create` through the server: a Restore object, and waiting for what becomes of it.

use std::fmt::Display;

use kube::ResourceExt;

use super::super::restore_name;
use super::exit;
use crate::api::{Restore, RestorePhase, RestoreStatus};
use crate::cli::args::restore::RestoreCreateArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::served::{Found, Served};
use crate::cli::size::grouped;
use crate::cli::verbs::backup::choose::Objects;
use crate::cli::verbs::work::{self, Work};

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
    let ended = work::until_ended::<Restore>(&served, &name, context, &hint).await?;
    let status = ended.object.status.clone().unwrap_or_default();
    let errors = status.validation_errors.iter();
    work::tell_why(errors.chain(&status.failure_reason), context);
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

impl Work for Restore {
    const NOUN: &'static str = "restore";

    fn full_name(name: &str) -> String {
        restore_name(name)
    }

    fn is_under_way(&self) -> bool {
        self.phase().is_under_way()
    }

    fn is_canceled(&self) -> bool {
        self.phase() == RestorePhase::Canceled
    }

    fn stands(&self) -> impl Display {
        self.phase()
    }

    fn progress(&self) -> String {
        let progress = self.status.as_ref().and_then(|status| status.progress);
        match (self.phase(), progress) {
            (RestorePhase::New, _) => "waiting for the server".to_owned(),
            (phase, Some(progress)) => format!(
                "{phase}, {} of {} objects",
                grouped(progress.items_restored),
                grouped(progress.total_items)
            ),
            (phase, None) => phase.to_string(),
        }
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
    let seconds = work::seconds(
        status.start_timestamp.as_ref(),
        status.completion_timestamp.as_ref(),
    );
    format!(
        "{phase}: {} of {} objects in {seconds:.1}s, {} warnings, {} errors",
        grouped(progress.items_restored),
        grouped(progress.total_items),
        status.warnings,
        status.errors
    )
}
