//! What the server works on, a backup or a restore: stopped and told of in one way.

use std::fmt::Display;

use serde_json::json;

use super::wait;
use crate::api::Time;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;
use crate::cli::served::{Found, Kind, Served};

/// A kind of object that the server works on.
pub trait Work: Kind {
    /// What people call it.
    const NOUN: &'static str;

    /// Its name with its kind, as kubectl writes it.
    fn full_name(name: &str) -> String;
    /// Whether something may yet become of it.
    fn is_under_way(&self) -> bool;
    /// Whether it was stopped.
    fn is_canceled(&self) -> bool;
    /// Where it stands.
    fn stands(&self) -> impl Display;
    /// How far it is.
    fn progress(&self) -> String;
}

/// Waits until nothing more becomes of it. Ctrl-C ends the waiting, and says with `hint` what that means.
pub async fn until_ended<K: Work>(
    served: &Served,
    name: &str,
    context: &Context,
    hint: &str,
) -> Result<Found<K>> {
    let ended = |object: &K| !object.is_under_way();
    wait::until(served, name, context, hint, ended, K::progress).await
}

/// Stops the work on these: all of them, or none if one has ended.
pub async fn cancel<K: Work>(names: &[String], wait: bool, context: &mut Context) -> Result<Exit> {
    if context.is_direct() {
        return Err(Error::only_served("cancel"));
    }
    let interrupt = context.interrupt.clone();
    let served = interrupt.unless(ask::<K>(names, context)).await??;
    let mut exit = Exit::Ok;
    for name in names {
        let outcome = match wait {
            false => "is being canceled".to_owned(),
            true => {
                let hint = "it is being canceled all the same";
                let found = until_ended::<K>(&served, name, context, hint).await?;
                // It may have been too late.
                if !found.object.is_canceled() {
                    exit = Exit::Failure;
                }
                found.object.stands().to_string()
            }
        };
        let line = format!("{} {outcome}\n", K::full_name(name));
        context.printer.text(&line)?;
    }
    Ok(exit)
}

async fn ask<K: Work>(names: &[String], context: &Context) -> Result<Served> {
    let served = context.serve().await?;
    for name in names {
        let object = served.get::<K>(name).await?.object;
        if !object.is_under_way() {
            return Err(Error::Refused {
                what: format!("the {} {name} cannot be stopped", K::NOUN),
                why: vec![format!("it has ended ({})", object.stands())],
            });
        }
    }
    for name in names {
        let patch = json!({ "spec": { "cancel": true } });
        served.merge::<K>(name, &patch).await?;
    }
    Ok(served)
}

/// Says on stderr why it did not come to be.
pub fn tell_why<'a>(why: impl IntoIterator<Item = &'a String>, context: &Context) {
    for line in why {
        context.talk.line(&format!("ark: {}", safe_text(line)));
    }
}

/// How long it took, in seconds; zero if the server does not say.
pub fn seconds(from: Option<&Time>, to: Option<&Time>) -> f64 {
    match (from, to) {
        (Some(from), Some(to)) => to.0.duration_since(from.0).as_secs_f64(),
        _ => 0.0,
    }
}
