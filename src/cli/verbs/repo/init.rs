//! `ark repo init`
//!
//! The recovery key goes to stdout, once, after the repository exists: it is the one thing that nobody can print again.

use ark_engine::store::Store;
use ark_engine::{InitOptions, Repository};
use serde_json::json;

use crate::cli::args::repo::RepoInitArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::unlock::{self, NewUnlock};

pub async fn run(args: RepoInitArgs, context: &mut Context) -> Result<Exit> {
    let url = context.url()?.to_owned();
    if args.if_needed && exists(context, &url).await? {
        // The key must fit too: otherwise the next backup would fail.
        context.open().await?;
        context
            .talk
            .note("the repository exists and the key opens it");
        return Ok(Exit::Ok);
    }
    let interrupt = context.interrupt.clone();
    let new = interrupt
        .unless(unlock::new_unlock(
            &context.settings.unlock,
            &url,
            &context.env,
        ))
        .await??;
    let NewUnlock { unlock, made } = new;
    let result = create(context, &url, unlock).await;
    let initialised = match result {
        Ok(initialised) => initialised,
        Err(error) => {
            unlock::discard(made).await;
            return Err(error);
        }
    };
    if let Some(path) = &made {
        context.talk.note(&format!(
            "made the key file {}; without it or the recovery key nobody can read the backups",
            path.display()
        ));
    }
    let info = initialised.repository.id().to_string();
    context
        .talk
        .note(&format!("created the repository {info} at {url}"));
    context
        .talk
        .note("this is the recovery key; it is shown only now, keep it offline:");
    let value = json!({ "id": info, "url": url, "recoveryKey": initialised.recovery_key });
    context
        .printer
        .one(&value, &info, || format!("{}\n", initialised.recovery_key))?;
    Ok(Exit::Ok)
}

async fn exists(context: &Context, url: &str) -> Result<bool> {
    let store = match Store::open(url, &context.settings.store.options()) {
        Ok(store) => store,
        // A local folder that is not there yet; anything else fails again, with a better message, when it is created.
        Err(_) => return Ok(false),
    };
    let config = store
        .head(ark_format::layout::CONFIG)
        .await
        .map_err(ark_engine::Error::from)
        .doing(format!("cannot look at {url}"))?;
    Ok(config.is_some())
}

async fn create(
    context: &Context,
    url: &str,
    unlock: ark_engine::Unlock,
) -> Result<ark_engine::Initialised> {
    let doing = || format!("cannot create a repository at {url}");
    let store = Store::create_root(url, &context.settings.store.options())
        .map_err(ark_engine::Error::from)
        .doing(doing())?;
    context
        .interrupt
        .unless(Repository::init(
            store,
            context.env.clone(),
            InitOptions { unlock },
        ))
        .await
        .map_err(Error::from)?
        .doing(doing())
}
