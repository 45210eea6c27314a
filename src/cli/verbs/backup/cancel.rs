//! `ark backup cancel`
//!
//! A backup that this process makes is stopped with Ctrl-C; this is for those that the server makes.

use crate::api::Backup;
use crate::cli::args::backup::BackupCancelArgs;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::verbs::work;

pub async fn run(args: BackupCancelArgs, context: &mut Context) -> Result<Exit> {
    work::cancel::<Backup>(&args.names, args.wait, context).await
}
