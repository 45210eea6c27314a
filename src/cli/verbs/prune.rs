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
    for line in explain(&report) {
        talk.note(&line);
    }
    if report.damaged.is_empty() {
        return Ok(Exit::Ok);
    }
    for pack in &report.damaged {
        talk.note(&format!("{pack} is damaged and was left as it is"));
    }
    talk.note("run `ark repair`");
    Ok(Exit::Damage)
}

/// What the bucket keeps, and what was passed over.
fn explain(report: &PruneReport) -> Vec<String> {
    let mut lines = Vec::new();
    let kept = &report.kept;
    if kept.packs > 0 {
        let size = human_size(kept.bytes);
        let packs = grouped(kept.packs);
        lines.push(match &kept.last {
            Some(last) => format!(
                "{packs} deleted packs ({size}) stay in the bucket as older versions, the last ({}) locked until {}; \
                 a lifecycle rule for noncurrent versions frees them after that",
                last.object,
                last.until.as_deref().unwrap_or_default()
            ),
            None => format!(
                "{packs} deleted packs ({size}) stay in the bucket as older versions; a lifecycle rule for noncurrent \
                 versions frees them"
            ),
        });
    }
    // The latest, as their times compare as text.
    if let Some(last) = report.refused.iter().max_by_key(|refused| &refused.until) {
        let until = last.until.as_deref().unwrap_or("an unknown time");
        lines.push(format!(
            "the store keeps {} objects that are to go, the last ({}) until {until}; nothing is lost, and a later prune \
             deletes them",
            grouped(report.refused.len() as u64),
            last.object,
        ));
    }
    for object in &report.forged {
        lines.push(format!(
            "{object} was ignored: it was not written by a client of the full role"
        ));
    }
    lines
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
    if report.kept.packs > 0 {
        out.field("Kept by the bucket", human_size(report.kept.bytes));
    }
    if !report.waiting_for.is_empty() {
        out.field("Held back", human_size(report.held_back_bytes))
            .field("Waiting for", report.waiting_for.join("\n"));
    }
    if !report.kept_for.is_empty() {
        out.field("Kept for a day", human_size(report.kept_bytes))
            .field("In case of", report.kept_for.join("\n"));
    }
    out.render()
}
