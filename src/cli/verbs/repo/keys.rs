//! `ark repo keys …`

use ark_engine::Role;
use serde_json::json;

use crate::cli::args::repo::{KeyRole, KeysAddArgs, KeysRemoveArgs, KeysRotateArgs};
use crate::cli::context::Context;
use crate::cli::error::{Doing, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::{Listing, Table};
use crate::cli::settings::UnlockSource;
use crate::cli::time::{from_millis, table_time};
use crate::cli::unlock::{self, NewUnlock};

/// What is sealed inside slots that this client did not open.
const SEALED: &str = "<sealed>";

pub async fn list(context: &mut Context) -> Result<Exit> {
    let repository = context.open().await?;
    let slots = repository.keys().await.doing("cannot list the key slots")?;
    let mut table = Table::new(&["ID", "KIND", "ROLE", "CREATED", "LABEL", "IN USE"]);
    for slot in &slots {
        table.row(vec![
            slot.id.clone(),
            slot.kind.to_owned(),
            slot.role
                .map_or_else(|| SEALED.to_owned(), |role| format!("{role:?}")),
            slot.created.map_or_else(
                || SEALED.to_owned(),
                |at| table_time(from_millis(at), &context.zone),
            ),
            slot.label.clone().unwrap_or_else(|| SEALED.to_owned()),
            if slot.current { "yes" } else { "no" }.to_owned(),
        ]);
    }
    context.printer.list(Listing {
        table,
        items: slots.iter().map(|slot| json!(slot)).collect(),
        names: slots.iter().map(|slot| slot.id.clone()).collect(),
        single: false,
    })?;
    Ok(Exit::Ok)
}

pub async fn add(args: KeysAddArgs, context: &mut Context) -> Result<Exit> {
    let repository = context.open().await?;
    let source = match (
        args.new_key_file,
        args.new_passphrase_file,
        args.new_passphrase_command,
    ) {
        (Some(file), _, _) => UnlockSource::KeyFile(file),
        (_, Some(file), _) => UnlockSource::PassphraseFile(file),
        (_, _, Some(command)) => UnlockSource::PassphraseCommand(command),
        (None, None, None) => UnlockSource::Ask,
    };
    let role = match args.role {
        KeyRole::Full => Role::Full,
        KeyRole::Backup => Role::Backup,
    };
    let url = repository.store().url().to_owned();
    let NewUnlock { unlock, made } = unlock::new_unlock(&source, &url, &context.env).await?;
    let id = match repository
        .add_key(&unlock, role)
        .await
        .doing("cannot add the key")
    {
        Ok(id) => id,
        Err(error) => {
            unlock::discard(made).await;
            return Err(error);
        }
    };
    if let Some(path) = &made {
        context
            .talk
            .note(&format!("made the key file {}", path.display()));
    }
    context.printer.one(&json!({ "id": id }), &id, || {
        format!("added the key slot {id}\n")
    })?;
    Ok(Exit::Ok)
}

pub async fn remove(args: KeysRemoveArgs, context: &mut Context) -> Result<Exit> {
    let repository = context.open().await?;
    unlock::confirm(args.confirm, format!("remove the key slot {}", args.id)).await?;
    repository
        .remove_key(&args.id)
        .await
        .doing("cannot remove the key")?;
    context
        .printer
        .one(&json!({ "id": args.id }), &args.id, || {
            format!("removed the key slot {}\n", args.id)
        })?;
    Ok(Exit::Ok)
}

pub async fn recovery(context: &mut Context) -> Result<Exit> {
    let repository = context.open().await?;
    let key = repository
        .add_recovery_key()
        .await
        .doing("cannot add a recovery key")?;
    context
        .talk
        .note("this is the new recovery key; it is shown only now, keep it offline:");
    context
        .printer
        .one(&json!({ "recoveryKey": key }), &key, || format!("{key}\n"))?;
    Ok(Exit::Ok)
}

pub async fn rotate(args: KeysRotateArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let repository = interrupt.unless(context.open()).await??;
    let doing = "cannot rotate the data key";
    if args.dry_run {
        let number = interrupt
            .unless(repository.next_data_key())
            .await?
            .doing(doing)?;
        let value = json!({ "number": number, "made": false });
        context.printer.one(&value, &number.to_string(), || {
            format!("would make data key {number}\n")
        })?;
        context.talk.note("nothing was changed");
        return Ok(Exit::Ok);
    }
    let rotation = interrupt
        .unless(repository.rotate_data_key())
        .await?
        .doing(doing)?;
    let number = rotation.number;
    if !rotation.made {
        context
            .talk
            .note("another client rotated at the same moment: its key serves both");
    }
    context.printer.one(&rotation, &number.to_string(), || {
        let by = match rotation.made {
            true => "made",
            false => "found",
        };
        format!("{by} data key {number}: backups from now on are encrypted with it\n")
    })?;
    Ok(Exit::Ok)
}
