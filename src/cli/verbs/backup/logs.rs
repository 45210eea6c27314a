//! `ark backup logs`

use super::rows;
use crate::cli::args::backup::LogsArgs;
use crate::cli::catalog;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;

pub async fn run(args: LogsArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let content = interrupt
        .unless(async {
            let repository = context.open().await?;
            let rows = rows(&repository, &args.cluster).await?;
            catalog::content(&repository, rows.find(&args.name)?).await
        })
        .await??;
    let log = String::from_utf8_lossy(&content.manifest.log);
    context.printer.text(&safe_text(&log))?;
    Ok(Exit::Ok)
}
