//! `ark verify`

use std::time::Duration;

use ark_engine::{Portion, VerifyMonitor, VerifyOptions, VerifyReport};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::args::maintenance::VerifyArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, safe_text};
use crate::cli::progress::{Progress, Talk};
use crate::cli::size::{grouped, human_size};
use crate::cli::time::{from_millis, from_now, table_time};

/// How many items of one damage a text names; JSON names all.
const ITEMS_SHOWN: usize = 20;

pub async fn run(args: VerifyArgs, context: &mut Context) -> Result<Exit> {
    let portion = match args.read_data_subset {
        Some(portion) => Some(portion),
        // A limit of time without a portion is one on all of it.
        None if args.read_data || args.max_duration.is_some() => Some(Portion::All),
        None => None,
    };
    let max_duration = args
        .max_duration
        .map(|limit| Duration::from_secs(limit.as_secs().unsigned_abs()));
    let interrupt = context.interrupt.clone();
    let repository = interrupt.unless(context.open()).await??;
    let watch = Watch {
        talk: context.talk.clone(),
        progress: context.talk.progress("verify: reading the head"),
    };
    let verify = async {
        match portion {
            Some(portion) => {
                repository
                    .verify_portion(portion, max_duration, &watch)
                    .await
            }
            None => repository.verify(VerifyOptions::default(), &watch).await,
        }
    };
    let verified = interrupt.unless(verify).await;
    if verified.is_err() {
        repository.end_sessions().await;
    }
    let report = verified
        .map_err(Error::from)?
        .doing("cannot verify the repository")?;
    drop(watch);
    if !report.coverage.recorded {
        context
            .talk
            .note("the repository cannot be written: what was read is not on record");
    }
    if report.coverage.remaining_packs > 0 {
        context.talk.note(&format!(
            "the time is over: {} of {} remain of {}; the next verify goes on there",
            human_size(report.coverage.remaining_bytes),
            human_size(report.coverage.remaining_bytes + report.coverage.read_bytes),
            portion.unwrap_or(Portion::All),
        ));
    }
    if !report.is_sound() {
        context
            .talk
            .note("`ark repair --dry-run` shows what can be saved, `ark repair` saves it");
    }
    for key in &report.foreign {
        context
            .talk
            .note(&format!("{} was not written by ark", safe_text(key)));
    }
    let (now, zone) = (context.now(), context.zone.clone());
    context
        .printer
        .one(&report, "", || text(&report, now, &zone))?;
    Ok(match report.is_sound() {
        true => Exit::Ok,
        false => Exit::Damage,
    })
}

fn text(report: &VerifyReport, now: Timestamp, zone: &TimeZone) -> String {
    let mut text = String::new();
    for damage in &report.damage {
        text.push_str(&format!("DAMAGED {}: {}\n", damage.object, damage.what));
        if !damage.backups.is_empty() {
            text.push_str(&format!("  backups: {}\n", damage.backups.join(", ")));
        }
        for item in damage.items.iter().take(ITEMS_SHOWN) {
            text.push_str(&format!("  {item}\n"));
        }
        if damage.items.len() > ITEMS_SHOWN {
            let more = damage.items.len() - ITEMS_SHOWN;
            text.push_str(&format!(
                "  and {} more (-o json names all)\n",
                grouped(more as u64)
            ));
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let mut out = Description::default();
    let coverage = &report.coverage;
    let verdict = match (report.damage.len(), report.read_data, report.portion) {
        (0, true, _) => "sound: every byte was read".to_owned(),
        (0, false, None) => "sound: everything is there and every reference resolves".to_owned(),
        (0, false, Some(_)) => format!(
            "sound: {} of {} was read",
            percent(coverage.read_bytes, coverage.bytes),
            human_size(coverage.bytes)
        ),
        (1, ..) => "DAMAGED: 1 object".to_owned(),
        (n, ..) => format!("DAMAGED: {n} objects"),
    };
    out.field("Result", verdict)
        .field("Backups", grouped(report.backups))
        .field("Items", grouped(report.items))
        .field("Objects checked", grouped(report.objects))
        .field("Chunks hashed", grouped(report.chunks))
        .field("Bytes read", human_size(report.requests.bytes_read))
        .field("Not written by ark", report.foreign.len().to_string())
        .field("Garbage packs", report.unreferenced.len().to_string());
    if coverage.packs > 0 {
        let windows: Vec<String> = coverage
            .windows
            .iter()
            .map(|w| format!("{} in {}d", percent(w.bytes, coverage.bytes), w.days))
            .collect();
        out.field("Data verified", windows.join(", "));
        out.field("Never verified", human_size(coverage.never_bytes));
    }
    if let Some(oldest) = coverage.oldest {
        let oldest = from_millis(oldest);
        out.field(
            "Oldest verification",
            format!("{} ({})", table_time(oldest, zone), from_now(oldest, now)),
        );
    }
    let mut text = safe_text(&text);
    text.push_str(&out.render());
    text
}

/// Rounded down: 100% is all of it.
fn percent(part: u64, whole: u64) -> String {
    let share = match whole {
        0 => 100,
        whole => u128::from(part) * 100 / u128::from(whole),
    };
    format!("{share}%")
}

struct Watch {
    talk: Talk,
    progress: Progress,
}

impl VerifyMonitor for Watch {
    fn progress(&self, stage: &'static str, done: u64, total: u64) {
        if self.talk.draws() {
            self.progress.set(format!(
                "verify: {stage}, {} of {}",
                grouped(done),
                grouped(total)
            ));
        }
    }
}
