//! `ark man`

use clap::CommandFactory;

use crate::cli::args::{Cli, ManArgs};
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;

pub fn run(args: ManArgs, context: &mut Context) -> Result<Exit> {
    std::fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.dir))
        .map_err(|source| Error::Write {
            path: args.dir.clone(),
            source,
        })?;
    context
        .talk
        .note(&format!("wrote the manual pages to {}", args.dir.display()));
    Ok(Exit::Ok)
}
