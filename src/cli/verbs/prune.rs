//! `ark prune`

use ark_engine::{PruneOptions, PrunePlan, PruneReport};

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
        context.printer.one(&plan, "", || plan_text(&plan))?;
        context.talk.note("nothing was changed");
        return Ok(Exit::Ok);
    }
    let talk = context.talk.clone();
    let progress = talk.progress("prune: looking for what nothing needs");
    // Dropping it anywhere is safe: every step leaves a whole repository, and the next prune goes on.
    let pruned = interrupt
        .unless(repository.prune(&options, |plan| {
            for line in plan_text(plan).lines() {
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

fn plan_text(plan: &PrunePlan) -> String {
    let mut text = String::new();
    match plan.write(&mut text, &human_size) {
        Ok(()) => safe_text(&text),
        // A String takes everything.
        Err(_) => safe_text(&plan.to_string()),
    }
}

/// What the bucket keeps, and what was passed over.
fn explain(report: &PruneReport) -> Vec<String> {
    let mut lines = Vec::new();
    if report.left_for_room_bytes > 0 {
        lines.push(format!(
            "{} that nothing needs stay for now: the disk is full, and freeing them takes room first. Make room and run \
             `ark prune` again",
            human_size(report.left_for_room_bytes)
        ));
    }
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
    for lie in &report.lies {
        lines.push(format!(
            "{lie}; nothing was taken away on its word. Find out who holds a key of the backup role, and run `ark verify \
             --read-data`"
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ark_engine::confirmation::Lie;
    use ark_engine::prune::{Kept, Refused};

    use super::*;

    fn refused(object: &str, until: Option<&str>) -> Refused {
        Refused {
            object: object.to_owned(),
            until: until.map(str::to_owned),
        }
    }

    #[test]
    fn what_the_bucket_keeps_is_told_with_how_long() {
        let mut report = PruneReport {
            packs_deleted: 1200,
            kept: Kept {
                packs: 1200,
                bytes: 3 << 30,
                last: None,
            },
            ..PruneReport::default()
        };
        assert_eq!(
            explain(&report),
            [
                "1,200 deleted packs (3.0GiB) stay in the bucket as older versions; a lifecycle rule for noncurrent versions \
              frees them"
            ]
        );
        assert!(text(&report).contains("Kept by the bucket:"));
        report.kept.last = Some(refused("packs/data/5c/x", Some("2026-12-01T09:00:00Z")));
        let told = explain(&report).remove(0);
        assert!(
            told.contains("the last (packs/data/5c/x) locked until 2026-12-01T09:00:00Z"),
            "{told}"
        );
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["kept"]["packs"], 1200);
        assert_eq!(value["kept"]["last"]["object"], "packs/data/5c/x");
    }

    #[test]
    fn what_the_store_does_not_delete_is_told_with_the_last_date() {
        let mut report = PruneReport {
            refused: vec![
                refused("packs/data/00/a", Some("2026-12-01T00:00:00Z")),
                refused("packs/data/00/b", Some("2026-12-03T00:00:00Z")),
                refused("packs/data/00/c", None),
            ],
            ..PruneReport::default()
        };
        assert_eq!(
            explain(&report),
            [
                "the store keeps 3 objects that are to go, the last (packs/data/00/b) until 2026-12-03T00:00:00Z; nothing is \
              lost, and a later prune deletes them"
            ]
        );
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["refused"][1]["until"], "2026-12-03T00:00:00Z");
        report.refused.drain(..2);
        assert!(explain(&report)[0].contains("until an unknown time"));
        report.refused.clear();
        report.forged = vec!["epochs/x".to_owned()];
        assert!(explain(&report)[0].starts_with("epochs/x was ignored"));
        report.forged.clear();
        report.lies = vec![Lie {
            segment: "index/x".to_owned(),
            backup: None,
            pack: Some("packs/data/00/a".to_owned()),
        }];
        let told = explain(&report).remove(0);
        assert!(
            told.starts_with(
                "the index segment index/x does not say what packs/data/00/a holds; nothing"
            ),
            "{told}"
        );
        report.lies.clear();
        report.left_for_room_bytes = 5 << 20;
        assert!(explain(&report)[0].starts_with("5.0MiB that nothing needs stay for now"));
        report.left_for_room_bytes = 0;
        assert_eq!(explain(&report), Vec::<String>::new());
    }
}
