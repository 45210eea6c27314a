//! `ark backup undelete`

use super::delete::unique;
use super::rows;
use crate::cli::args::backup::UndeleteArgs;
use crate::cli::catalog::backup_name;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;

pub async fn run(args: UndeleteArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let chosen = interrupt
        .unless(async {
            let repository = context.open().await?;
            let rows = rows(&repository, &args.cluster).await?;
            let chosen = unique(&args.names, |name| rows.find_deleted(name))?;
            for row in &chosen {
                repository
                    .undelete(&row.id)
                    .await
                    .doing(format!("cannot undelete the backup {}", row.name))?;
            }
            Ok::<_, Error>(chosen)
        })
        .await??;
    let text: String = chosen
        .iter()
        .map(|row| format!("{} undeleted\n", backup_name(&row.name)))
        .collect();
    context.printer.text(&text)?;
    Ok(Exit::Ok)
}
