//! `ark restore delete`
//!
//! Only the objects go: what was restored stays, and so does the record in the repository.

use kube::ResourceExt;

use super::restore_name;
use crate::api::Restore;
use crate::cli::args::restore::RestoreDeleteArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::verbs::remove::{Which, remove, removed};

pub async fn run(args: RestoreDeleteArgs, context: &mut Context) -> Result<Exit> {
    if context.is_direct() {
        return Err(Error::only_served("restore delete"));
    }
    let which = Which {
        names: &args.names,
        all: args.all,
        confirm: args.confirm,
    };
    let interrupt = context.interrupt.clone();
    let names = interrupt
        .unless(remove(which, "restore", under_way, context))
        .await??;
    removed(&names, restore_name, context)?;
    Ok(Exit::Ok)
}

fn under_way(restore: &Restore) -> Option<String> {
    let name = restore.name_any();
    restore
        .phase()
        .is_under_way()
        .then(|| format!("the restore {name} is under way: `ark restore cancel {name}` stops it"))
}
