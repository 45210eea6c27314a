//! `ark backup delete`

use ark_engine::BackupRow;

use super::rows;
use crate::cli::args::backup::BackupDeleteArgs;
use crate::cli::catalog::{self, backup_name};
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::unlock;

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
    let chosen = interrupt
        .unless(async {
            let repository = context.open().await?;
            let rows = rows(&repository, &args.cluster).await?;
            let chosen = match &selector {
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
                context.talk.note("no backups found");
                return Ok(chosen);
            }
            unlock::confirm(args.confirm, question(&chosen)).await?;
            let ids: Vec<_> = chosen.iter().map(|row| row.id).collect();
            repository
                .forget(&ids)
                .await
                .doing("cannot delete the backups")?;
            Ok::<_, Error>(chosen)
        })
        .await??;
    if !chosen.is_empty() {
        context
            .talk
            .note("`ark prune` frees the space; until then `ark backup undelete` takes it back");
    }
    let text: String = chosen
        .iter()
        .map(|row| format!("{} deleted\n", backup_name(&row.name)))
        .collect();
    context.printer.text(&text)?;
    Ok(Exit::Ok)
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

fn question(rows: &[BackupRow]) -> String {
    /// A question is one line.
    const SHOWN: usize = 10;
    let names: Vec<&str> = rows
        .iter()
        .take(SHOWN)
        .map(|row| row.name.as_str())
        .collect();
    let names = names.join(", ");
    match rows.len() {
        1 => format!("delete the backup {names}"),
        n if n > SHOWN => format!("delete {n} backups ({names} and {} more)", n - SHOWN),
        n => format!("delete {n} backups ({names})"),
    }
}
