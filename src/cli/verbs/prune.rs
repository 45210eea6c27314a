//! `ark prune`

use ark_engine::{PruneOptions, PruneReport};

use crate::cli::args::maintenance::PruneArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, safe_text};
use crate::cli::size::{grouped, human_size};

pub async fn run(args: PruneArgs, context: &mut Context) -> Result<Exit> {
    let options = PruneOptions {
        now: args.now,
        ..PruneOptions::default()
    };
    let interrupt = context.interrupt.clone();
    let repository = interrupt.unless(context.open()).await??;
    if args.dry_run {
        let plan = interrupt
            .unless(repository.plan_prune(&options))
            .await?
            .doing("cannot plan the prune")?;
        context
            .printer
            .one(&plan, "", || safe_text(&plan.to_string()))?;
        context.talk.note("nothing was changed");
        return Ok(Exit::Ok);
    }
    let talk = context.talk.clone();
    let progress = talk.progress("prune: looking for what nothing needs");
    // Dropping it anywhere is safe: every step leaves a whole repository, and the next prune goes on.
    let pruned = interrupt
        .unless(repository.prune(&options, |plan| {
            for line in safe_text(&plan.to_string()).lines() {
                talk.note(line);
            }
            progress.set("prune: working");
        }))
        .await;
    if pruned.is_err() {
        repository.end_sessions().await;
    }
    drop(progress);
    let report = pruned.map_err(Error::from)?.doing("cannot prune")?;
    context.printer.one(&report, "", || text(&report))?;
    if report.damaged.is_empty() {
        return Ok(Exit::Ok);
    }
    for pack in &report.damaged {
        talk.note(&format!("{pack} is damaged and was left as it is"));
    }
    talk.note("run `ark repair`");
    Ok(Exit::Damage)
}

fn text(report: &PruneReport) -> String {
    let mut out = Description::default();
    let freed = report.bytes_before.saturating_sub(report.bytes_after);
    out.field("Backups removed", report.backups_removed.len().to_string())
        .field(
            "Packs before",
            format!(
                "{} ({})",
                grouped(report.packs_before),
                human_size(report.bytes_before)
            ),
        )
        .field(
            "Packs after",
            format!(
                "{} ({})",
                grouped(report.packs_after),
                human_size(report.bytes_after)
            ),
        )
        .field("Freed", human_size(freed))
        .field("Packs deleted", grouped(report.packs_deleted))
        .field("Packs rewritten", grouped(report.packs_repacked))
        .field("Not worth freeing", human_size(report.unused_bytes))
        .field(
            "Requests",
            format!(
                "{} get, {} head, {} put, {} list, {} delete",
                report.requests.get,
                report.requests.head,
                report.requests.put,
                report.requests.list,
                report.requests.delete
            ),
        );
    if !report.waiting_for.is_empty() {
        out.field("Held back", human_size(report.held_back_bytes))
            .field("Waiting for", report.waiting_for.join("\n"));
    }
    out.render()
}
