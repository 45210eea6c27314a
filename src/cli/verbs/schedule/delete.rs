//! `ark schedule delete`
//!
//! The backups stay: what they were made by is no reason to lose them.

use super::schedule_name;
use crate::api::Schedule;
use crate::cli::args::schedule::ScheduleDeleteArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::verbs::remove::{Which, remove, removed};

pub async fn run(args: ScheduleDeleteArgs, context: &mut Context) -> Result<Exit> {
    if context.is_direct() {
        return Err(Error::only_served("schedule"));
    }
    let which = Which {
        names: &args.names,
        all: args.all,
        confirm: args.confirm,
    };
    let interrupt = context.interrupt.clone();
    let names = interrupt
        .unless(remove::<Schedule>(which, "schedule", |_| None, context))
        .await??;
    removed(&names, schedule_name, context)?;
    if !names.is_empty() {
        context.talk.note(
            "the backups stay; those without a ttl stay until `ark backup delete` deletes them",
        );
    }
    Ok(Exit::Ok)
}
