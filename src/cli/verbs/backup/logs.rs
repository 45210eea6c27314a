//! `ark backup logs`

use super::{Part, ask};
use crate::cli::args::backup::LogsArgs;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::verbs::text;

pub async fn run(args: LogsArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let asked = ask(&args.name, &args.cluster, Part::Log, context);
    let (_, pieces) = interrupt.unless(asked).await??;
    text::print(pieces, context).await
}
