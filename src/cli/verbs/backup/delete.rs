//! `ark backup delete`

use ark_engine::BackupRow;
use kube::ResourceExt;
use serde_json::json;

use super::choose::{Chosen, Objects};
use super::rows;
use crate::api::{
    BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase, DeleteBackupRequestSpec,
};
use crate::cli::args::backup::BackupDeleteArgs;
use crate::cli::catalog::{self, backup_name};
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::served::Served;
use crate::cli::unlock;
use crate::cli::verbs::wait;
use crate::cluster::Selector;
use crate::server::controllers::delete::{Step, plan};

pub async fn run(args: BackupDeleteArgs, context: &mut Context) -> Result<Exit> {
    let selector = args
        .selector
        .as_deref()
        .map(|text| catalog::parse_selector(Some(text)))
        .transpose()?;
    if selector
        .as_ref()
        .is_some_and(|selector| selector.is_everything())
    {
        return Err(Error::Usage {
            what: "an empty selector would delete every backup".to_owned(),
            hint: Some("give --all if that is meant".to_owned()),
        });
    }
    let interrupt = context.interrupt.clone();
    let (names, outcome) = match context.is_direct() {
        true => {
            let rows = interrupt
                .unless(direct(&args, selector.as_ref(), context))
                .await??;
            let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
            (names, "deleted")
        }
        false => {
            let asked = ask(&args, selector.as_ref(), context);
            let (served, requests) = interrupt.unless(asked).await??;
            if args.wait {
                for (backup, request) in &requests {
                    gone(&served, backup, request, context).await?;
                }
            }
            let names = requests.into_iter().map(|(backup, _)| backup).collect();
            let outcome = if args.wait {
                "deleted"
            } else {
                "is being deleted"
            };
            (names, outcome)
        }
    };
    match (names.is_empty(), context.is_direct()) {
        (true, _) => context.talk.note("no backups found"),
        (false, true) => context
            .talk
            .note("`ark prune` frees the space; until then `ark backup undelete` takes it back"),
        (false, false) => context.talk.note(
            "the server frees the space a week later; until then `ark --repo URL backup undelete` takes it back",
        ),
    }
    let text: String = names
        .iter()
        .map(|name| format!("{} {outcome}\n", backup_name(name)))
        .collect();
    context.printer.text(&text)?;
    Ok(Exit::Ok)
}

async fn direct(
    args: &BackupDeleteArgs,
    selector: Option<&Selector>,
    context: &Context,
) -> Result<Vec<BackupRow>> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let chosen = match selector {
        Some(selector) => catalog::load(&repository, rows.all_of_one_cluster()?)
            .await
            .into_iter()
            .filter(|entry| entry.is_selected(selector))
            .map(|entry| entry.row)
            .collect(),
        None if args.all => rows.all_of_one_cluster()?.to_vec(),
        None => unique(&args.names, |name| rows.find(name))?,
    };
    if chosen.is_empty() {
        return Ok(chosen);
    }
    let names: Vec<&str> = chosen.iter().map(|row| row.name.as_str()).collect();
    unlock::confirm(args.confirm, question(&names)).await?;
    let ids: Vec<_> = chosen.iter().map(|row| row.id).collect();
    repository
        .forget(&ids)
        .await
        .doing("cannot delete the backups")?;
    Ok(chosen)
}

/// Asks the server to delete the backups: each with the name of the request.
async fn ask(
    args: &BackupDeleteArgs,
    selector: Option<&Selector>,
    context: &Context,
) -> Result<(Served, Vec<(String, String)>)> {
    let served = context.serve().await?;
    let objects = Objects::read(&served, args.cluster.cluster.as_deref()).await?;
    let chosen = match selector {
        Some(selector) => {
            let mut chosen = objects.all_of_one_cluster()?;
            chosen.retain(|chosen| chosen.is_selected(selector));
            chosen
        }
        None if args.all => objects.all_of_one_cluster()?,
        None => objects.named(&args.names, &served)?,
    };
    if chosen.is_empty() {
        return Ok((served, Vec::new()));
    }
    let locations = served.list::<BackupStorageLocation>().await?;
    let locations: Vec<_> = locations.into_iter().map(|found| found.object).collect();
    let wanted: Vec<DeleteBackupRequest> = chosen.iter().map(request).collect();
    // What the server would refuse is refused before anything is asked for.
    let mut refused = Vec::new();
    for (request, chosen) in wanted.iter().zip(&chosen) {
        let backup = &chosen.found.object;
        let location = locations
            .iter()
            .find(|known| Some(known.name_any()) == backup.spec.storage_location);
        if let Step::Refuse { why } = plan(request, Some(backup), location, context.now()) {
            refused.push(why);
        }
    }
    if !refused.is_empty() {
        return Err(Error::Refused {
            what: "nothing is deleted".to_owned(),
            why: refused,
        });
    }
    let names: Vec<&str> = chosen
        .iter()
        .map(|chosen| chosen.line.name.as_str())
        .collect();
    unlock::confirm(args.confirm, question(&names)).await?;
    served.require_server().await?;
    let mut requests = Vec::new();
    for request in wanted {
        let made = served.create(&request).await?.object;
        let name = made.name_any();
        requests.push((made.spec.backup_name, name));
    }
    Ok((served, requests))
}

/// The request. The apiserver gives it a name: a deletion may be asked for again.
fn request(chosen: &Chosen) -> DeleteBackupRequest {
    let backup_name = chosen.line.name.clone();
    let mut request = DeleteBackupRequest::new(
        "",
        DeleteBackupRequestSpec {
            backup_name,
            backup_uid: chosen.found.object.metadata.uid.clone(),
        },
    );
    request.metadata.name = None;
    request.metadata.generate_name = Some(format!("{}-", chosen.line.name));
    request
}

/// Waits until the request is done: then it is gone.
async fn gone(served: &Served, backup: &str, request: &str, context: &Context) -> Result<()> {
    let processed = |request: &DeleteBackupRequest| {
        let status = request.status.clone().unwrap_or_default();
        status.phase == DeleteBackupRequestPhase::Processed
    };
    let shown = |request: &DeleteBackupRequest| {
        let status = request.status.clone().unwrap_or_default();
        format!("deletion of {backup}: {}", json!(status.phase))
    };
    let waiting = wait::ended(served, request, context, processed, shown);
    let refused = match context.interrupt.unless(waiting).await {
        Ok(found) => found?.and_then(|found| found.object.status),
        Err(interrupted) => {
            context.talk.note("the server deletes it all the same");
            return Err(interrupted.into());
        }
    };
    match refused.map(|status| status.errors).unwrap_or_default() {
        why if why.is_empty() => Ok(()),
        why => Err(Error::Refused {
            what: format!("the backup {backup} is not deleted"),
            why,
        }),
    }
}

/// The rows of these names, each once.
pub fn unique<'a>(
    names: &[String],
    find: impl Fn(&str) -> Result<&'a BackupRow>,
) -> Result<Vec<BackupRow>> {
    let mut rows: Vec<BackupRow> = Vec::new();
    for name in names {
        let row = find(name)?;
        if !rows.iter().any(|known| known.id == row.id) {
            rows.push(row.clone());
        }
    }
    Ok(rows)
}

fn question(names: &[&str]) -> String {
    /// A question is one line.
    const SHOWN: usize = 10;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len() {
        1 => format!("delete the backup {shown}"),
        n if n > SHOWN => format!("delete {n} backups ({shown} and {} more)", n - SHOWN),
        n => format!("delete {n} backups ({shown})"),
    }
}
