//! `ark backup-location delete`
//!
//! Only the object goes: the repository stays where it is, with all that is in it.

use super::location_name;
use crate::api::BackupStorageLocation;
use crate::cli::args::location::LocationDeleteArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::verbs::remove::{Which, remove, removed};

pub async fn run(args: LocationDeleteArgs, context: &mut Context) -> Result<Exit> {
    if context.is_direct() {
        return Err(Error::only_served("backup-location"));
    }
    let which = Which {
        names: &args.names,
        all: false,
        confirm: args.confirm,
    };
    let interrupt = context.interrupt.clone();
    let names = interrupt
        .unless(remove::<BackupStorageLocation>(
            which,
            "location",
            |_| None,
            context,
        ))
        .await??;
    removed(&names, location_name, context)?;
    context.talk.note(
        "the backups in it stay where they are; a location of the same bucket brings them back",
    );
    Ok(Exit::Ok)
}
