//! `ark verify`

use ark_engine::{VerifyMonitor, VerifyOptions, VerifyReport};

use crate::cli::args::maintenance::VerifyArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Description, safe_text};
use crate::cli::progress::{Progress, Talk};
use crate::cli::size::{grouped, human_size};

/// How many items of one damage a text names; JSON names all.
const ITEMS_SHOWN: usize = 20;

pub async fn run(args: VerifyArgs, context: &mut Context) -> Result<Exit> {
    let options = VerifyOptions {
        read_data: args.read_data,
    };
    let interrupt = context.interrupt.clone();
    let repository = interrupt.unless(context.open()).await??;
    let watch = Watch {
        talk: context.talk.clone(),
        progress: context.talk.progress("verify: reading the head"),
    };
    // Dropping it ends its pin by itself.
    let report = interrupt
        .unless(repository.verify(options, &watch))
        .await
        .map_err(Error::from)?
        .doing("cannot verify the repository")?;
    drop(watch);
    for key in &report.foreign {
        context
            .talk
            .note(&format!("{} was not written by ark", safe_text(key)));
    }
    context.printer.one(&report, "", || text(&report))?;
    Ok(match report.is_sound() {
        true => Exit::Ok,
        false => Exit::Damage,
    })
}

fn text(report: &VerifyReport) -> String {
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
    let verdict = match (report.damage.len(), report.read_data) {
        (0, true) => "sound: every byte was read".to_owned(),
        (0, false) => "sound: everything is there and every reference resolves".to_owned(),
        (1, _) => "DAMAGED: 1 object".to_owned(),
        (n, _) => format!("DAMAGED: {n} objects"),
    };
    out.field("Result", verdict)
        .field("Backups", grouped(report.backups))
        .field("Items", grouped(report.items))
        .field("Objects checked", grouped(report.objects))
        .field("Chunks hashed", grouped(report.chunks))
        .field("Bytes read", human_size(report.requests.bytes_read))
        .field("Not written by ark", report.foreign.len().to_string())
        .field("Garbage packs", report.unreferenced.len().to_string());
    let mut text = safe_text(&text);
    text.push_str(&out.render());
    text
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
