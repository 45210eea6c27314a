//! `ark restore cancel`
//!
//! A restore that this process makes is stopped with Ctrl-C; this is for those that the server makes.

use serde_json::json;

use super::create::{has_ended, shown};
use super::restore_name;
use crate::api::{Restore, RestorePhase};
use crate::cli::args::restore::RestoreCancelArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::verbs::wait;

pub async fn run(args: RestoreCancelArgs, context: &mut Context) -> Result<Exit> {
    if context.is_direct() {
        return Err(Error::only_served("cancel"));
    }
    let interrupt = context.interrupt.clone();
    let served = interrupt
        .unless(async {
            let served = context.serve().await?;
            for name in &args.names {
                let restore = served.get::<Restore>(name).await?.object;
                if has_ended(restore.phase()) {
                    return Err(Error::Refused {
                        what: format!("the restore {name} cannot be stopped"),
                        why: vec![format!("it has ended ({})", restore.phase())],
                    });
                }
            }
            for name in &args.names {
                let patch = json!({ "spec": { "cancel": true } });
                served.merge::<Restore>(name, &patch).await?;
            }
            Ok::<_, Error>(served)
        })
        .await??;
    let mut exit = Exit::Ok;
    for name in &args.names {
        let outcome = match args.wait {
            false => "is being canceled".to_owned(),
            true => {
                let hint = "it is being canceled all the same";
                let ended = |restore: &Restore| has_ended(restore.phase());
                let found = wait::until(&served, name, context, hint, ended, shown).await?;
                let phase = found.object.phase();
                // It may have been too late.
                if phase != RestorePhase::Canceled {
                    exit = Exit::Failure;
                }
                phase.to_string()
            }
        };
        context
            .printer
            .text(&format!("{} {outcome}\n", restore_name(name)))?;
    }
    Ok(exit)
}
