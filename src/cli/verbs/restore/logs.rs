//! `ark restore logs`

use super::{find, restores};
use crate::api::{DownloadKind, DownloadTarget};
use crate::cli::args::restore::RestoreLogsArgs;
use crate::cli::context::Context;
use crate::cli::download::fetch;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::verbs::text;
use crate::server::reading::{self, Pieces, Question};

pub async fn run(args: RestoreLogsArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let pieces = interrupt.unless(ask(&args, context)).await??;
    text::print(pieces, context).await
}

async fn ask(args: &RestoreLogsArgs, context: &Context) -> Result<Pieces> {
    if !context.is_direct() {
        let served = context.serve().await?;
        let found = served.get::<crate::api::Restore>(&args.name).await?;
        let name = kube::ResourceExt::name_any(&found.object);
        let target = DownloadTarget::new(DownloadKind::RestoreLog, &name);
        return fetch(&served, target, &context.env).await;
    }
    let repository = context.open().await?;
    let all = restores(&repository).await?;
    let id = find(&all, &args.name)?.id.clone();
    Ok(reading::ask(repository, Question::RestoreLog(id)))
}
