//! `ark restore cancel`
//!
//! A restore that this process makes is stopped with Ctrl-C; this is for those that the server makes.

use crate::api::Restore;
use crate::cli::args::restore::RestoreCancelArgs;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::verbs::work;

pub async fn run(args: RestoreCancelArgs, context: &mut Context) -> Result<Exit> {
    work::cancel::<Restore>(&args.names, args.wait, context).await
}
