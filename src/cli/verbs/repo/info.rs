//! `ark repo info`

use crate::cli::args::repo::RepoInfoArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::Description;
use crate::cli::size::{grouped, human_size};

pub async fn run(_args: RepoInfoArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let info = interrupt
        .unless(async {
            let repository = context.open().await?;
            repository.info().await.doing("cannot read the repository")
        })
        .await??;
    let id = info.id.to_string();
    context.printer.one(&info, &id, || {
        let mut text = Description::default();
        text.field("URL", info.url.clone())
            .field("ID", id.clone())
            .field("Format version", info.version.to_string())
            .field("Cipher", format!("{:?}", info.cipher))
            .field("Role of the key", format!("{:?}", info.role))
            .field(
                "Data key",
                info.data_key.map_or_else(String::new, |n| n.to_string()),
            )
            .field("Epoch", info.epoch.to_string())
            .field("Backups", info.backups.to_string())
            .field("Deleted, not pruned", info.forgotten.to_string())
            .field("Open sessions", info.sessions.to_string())
            .field(
                "Packs",
                format!(
                    "{} ({})",
                    grouped(info.packs as u64),
                    human_size(info.pack_bytes)
                ),
            )
            .field("Chunks", grouped(info.chunks))
            .field("Index", human_size(info.index_bytes));
        text.render()
    })?;
    Ok(Exit::Ok)
}
