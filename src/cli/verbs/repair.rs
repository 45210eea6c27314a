//! `ark repair`, `ark repair index`

use ark_engine::{RepairContent, RepairOptions, RepairReport};

use crate::api::{self, BackupPhase, BackupSpec, Captured, ResourceEntry};
use crate::cli::args::maintenance::{RepairArgs, RepairCommand};
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, safe_text};
use crate::cli::size::grouped;

pub async fn run(args: RepairArgs, context: &mut Context) -> Result<Exit> {
    let (index_only, dry_run) = match &args.command {
        Some(RepairCommand::Index(index)) => (true, index.dry_run || args.dry_run),
        None => (false, args.dry_run),
    };
    let options = RepairOptions {
        index_only,
        read_data: args.read_data,
        forget_originals: args.forget_originals,
    };
    let interrupt = context.interrupt.clone();
    let repository = interrupt.unless(context.open()).await??;
    if dry_run {
        let progress = context.talk.progress("repair: looking for damage");
        let plan = interrupt.unless(repository.plan_repair(&options)).await;
        drop(progress);
        let plan = plan?.doing("cannot plan the repair")?;
        context
            .printer
            .one(&plan, "", || safe_text(&plan.to_string()))?;
        context.talk.note("nothing was changed");
        return Ok(exit(plan.loses()));
    }
    let talk = context.talk.clone();
    let progress = talk.progress("repair: looking for damage");
    // Dropping it anywhere is safe: what was published stays true, and the next repair goes on from there.
    let repaired = interrupt
        .unless(repository.repair(&options, &Content, |plan| {
            for line in safe_text(&plan.to_string()).lines() {
                talk.note(line);
            }
            progress.set("repair: working");
        }))
        .await;
    if repaired.is_err() {
        repository.end_sessions().await;
    }
    drop(progress);
    let report = repaired.map_err(Error::from)?.doing("cannot repair")?;
    context.printer.one(&report, "", || text(&report))?;
    if !report.plan.backups.is_empty() && report.forgotten.is_empty() {
        talk.note(
            "the damaged originals were kept: a new backup may make them whole again; --forget-originals forgets them",
        );
    }
    Ok(exit(report.plan.loses()))
}

fn exit(loses: bool) -> Exit {
    match loses {
        true => Exit::Damage,
        false => Exit::Ok,
    }
}

fn text(report: &RepairReport) -> String {
    let plan = &report.plan;
    let mut out = Description::default();
    let result = match (plan.changes(), plan.loses()) {
        (false, _) => "nothing to repair",
        (true, false) => "repaired, and nothing is lost",
        (true, true) => "repaired; the lines marked LOST say what is gone",
    };
    let lost: u64 = report.repaired.iter().map(|r| r.lost).sum();
    out.field("Result", result)
        .field("Segments replaced", plan.segments.len().to_string())
        .field("Packs indexed again", grouped(plan.found.len() as u64))
        .field("Packs out of force", grouped(plan.packs.len() as u64))
        .field("Chunks copied", grouped(report.chunks_saved))
        .field("Backups repaired", report.repaired.len().to_string())
        .field("Entries lost in them", grouped(lost))
        .field("Originals forgotten", report.forgotten.len().to_string());
    let mut text = String::new();
    for repaired in &report.repaired {
        text.push_str(&format!(
            "{} -> {} ({} entries lost)\n",
            repaired.original_name,
            repaired.name,
            grouped(repaired.lost)
        ));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let mut text = safe_text(&text);
    text.push_str(&out.render());
    text
}

/// Backups of Kubernetes.
struct Content;

impl RepairContent for Content {
    fn document(
        &self,
        original: Option<&[u8]>,
        row: &ark_engine::repair::Summary,
        name: &str,
        lost: u64,
    ) -> Vec<u8> {
        let backup = original.and_then(|bytes| serde_json::from_slice::<api::Backup>(bytes).ok());
        let mut backup = backup.unwrap_or_else(|| {
            api::Backup::named(api::DEFAULT_NAMESPACE, name, BackupSpec::default())
        });
        backup.metadata.name = Some(name.to_owned());
        let annotations = backup.metadata.annotations.get_or_insert_default();
        annotations.insert(format!("{}/repairs", api::GROUP), row.name.clone());
        let status = backup.status.get_or_insert_default();
        status.phase = BackupPhase::PartiallyFailed;
        status.errors += lost;
        serde_json::to_vec(&backup).unwrap_or_default()
    }

    fn hole(&self, entry: &[u8], why: &str) -> Option<Vec<u8>> {
        let mut entry: ResourceEntry = serde_json::from_slice(entry).ok()?;
        if entry.captured == Captured::Yes {
            entry.captured = Captured::Partial;
        }
        entry.reason = Some(match entry.reason {
            Some(before) => format!("{before}; {why}"),
            None => why.to_owned(),
        });
        entry.to_bytes().ok()
    }
}
