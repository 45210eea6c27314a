//! `ark schedule pause`, `ark schedule unpause`

use serde_json::{Value, json};

use super::{schedule_name, serve};
use crate::api::Schedule;
use crate::cli::args::schedule::{SchedulePauseArgs, ScheduleUnpauseArgs};
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;

pub async fn pause(args: SchedulePauseArgs, context: &mut Context) -> Result<Exit> {
    let patch = json!({ "spec": { "paused": true } });
    change(&args.names, &patch, "paused", context).await
}

pub async fn unpause(args: ScheduleUnpauseArgs, context: &mut Context) -> Result<Exit> {
    let mut patch = json!({ "spec": { "paused": false } });
    if args.skip_immediately {
        patch["spec"]["skipImmediately"] = json!(true);
    }
    change(&args.names, &patch, "unpaused", context).await
}

async fn change(
    names: &[String],
    patch: &Value,
    outcome: &str,
    context: &mut Context,
) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    interrupt
        .unless(async {
            let served = serve(context).await?;
            for name in names {
                // All are there, or none is changed.
                served.get::<Schedule>(name).await?;
            }
            for name in names {
                served.merge::<Schedule>(name, patch).await?;
            }
            Ok::<_, Error>(())
        })
        .await??;
    let text: String = names
        .iter()
        .map(|name| format!("{} {outcome}\n", schedule_name(name)))
        .collect();
    context.printer.text(&text)?;
    Ok(Exit::Ok)
}
