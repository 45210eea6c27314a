//! `ark schedule create`
//!
//! What the server would refuse is refused here, by the same function, before anything is made.

use kube::ResourceExt;

use super::{next, schedule_name, serve};
use crate::api::{Schedule, SchedulePhase};
use crate::cli::args::schedule::ScheduleCreateArgs;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::spec;
use crate::cli::time::table_time;

pub async fn run(args: ScheduleCreateArgs, context: &mut Context) -> Result<Exit> {
    let namespace = context.settings.kube.namespace.clone();
    let wanted = spec::schedule_object(&args, &namespace, context.now())?;
    let interrupt = context.interrupt.clone();
    let made = interrupt
        .unless(async {
            let served = serve(context).await?;
            served.require_server().await?;
            served.create::<Schedule>(&wanted).await
        })
        .await??;
    let name = made.object.name_any();
    let mut known = made.object.clone();
    known.status.get_or_insert_default().phase = SchedulePhase::Enabled;
    match next(&known, context.now()) {
        Some(at) => context.talk.note(&format!(
            "the first backup is due {}",
            table_time(at, &context.zone)
        )),
        None => context
            .talk
            .note(&format!("it is paused: `ark schedule unpause {name}`")),
    }
    let text = || format!("{} created\n", schedule_name(&name));
    context
        .printer
        .one(&made.value, &schedule_name(&name), text)?;
    Ok(Exit::Ok)
}
