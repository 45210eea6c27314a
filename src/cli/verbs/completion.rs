//! `ark completion`

use clap::CommandFactory;

use crate::cli::args::{Cli, CompletionArgs};
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;

pub fn run(args: CompletionArgs, context: &mut Context) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ark", &mut script);
    context.printer.bytes(&script)?;
    Ok(Exit::Ok)
}
