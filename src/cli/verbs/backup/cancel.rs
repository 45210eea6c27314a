//! `ark backup cancel`
//!
//! A backup that this process makes is stopped with Ctrl-C; this is for those that the server makes.

use serde_json::json;

use super::create::{has_ended, shown};
use crate::api::{Backup, BackupPhase};
use crate::cli::args::backup::BackupCancelArgs;
use crate::cli::catalog::backup_name;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::verbs::wait;

pub async fn run(args: BackupCancelArgs, context: &mut Context) -> Result<Exit> {
    if context.is_direct() {
        return Err(Error::only_served("cancel"));
    }
    let interrupt = context.interrupt.clone();
    let served = interrupt
        .unless(async {
            let served = context.serve().await?;
            for name in &args.names {
                let backup = served.get::<Backup>(name).await?.object;
                if has_ended(backup.phase()) {
                    return Err(Error::Refused {
                        what: format!("the backup {name} cannot be stopped"),
                        why: vec![format!("it has ended ({})", backup.phase())],
                    });
                }
            }
            for name in &args.names {
                let patch = json!({ "spec": { "cancel": true } });
                served.merge::<Backup>(name, &patch).await?;
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
                let ended = |backup: &Backup| has_ended(backup.phase());
                let found = wait::until(&served, name, context, hint, ended, shown).await?;
                let phase = found.object.phase();
                // It may have been too late.
                if phase != BackupPhase::Canceled {
                    exit = Exit::Failure;
                }
                phase.to_string()
            }
        };
        context
            .printer
            .text(&format!("{} {outcome}\n", backup_name(name)))?;
    }
    Ok(exit)
}
