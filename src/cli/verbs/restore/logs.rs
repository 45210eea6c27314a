//! `ark restore logs`

use super::{find, restores};
use crate::cli::args::restore::RestoreLogsArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;

pub async fn run(args: RestoreLogsArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let record = interrupt
        .unless(async {
            let repository = context.open().await?;
            let all = restores(&repository).await?;
            let id = &find(&all, &args.name)?.id;
            repository
                .restore_record(id)
                .await
                .doing(format!("cannot read the restore {}", args.name))
        })
        .await??;
    let log = String::from_utf8_lossy(&record.log);
    context.printer.text(&safe_text(&log))?;
    Ok(Exit::Ok)
}
