//! Deleting objects whose deletion deletes nothing else: one way to choose, refuse and ask.

use kube::ResourceExt;

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::served::Kind;
use crate::cli::unlock;

/// Which objects to delete.
pub struct Which<'a> {
    /// These.
    pub names: &'a [String],
    /// All that may be deleted.
    pub all: bool,
    /// Nobody is asked.
    pub confirm: bool,
}

/// Deletes objects of a kind, which people call `noun`. `refuse` says why one must stay.
pub async fn remove<K: Kind>(
    which: Which<'_>,
    noun: &str,
    refuse: impl Fn(&K) -> Option<String>,
    context: &Context,
) -> Result<Vec<String>> {
    let served = context.serve().await?;
    let mut names = Vec::new();
    if which.all {
        let all = served.list::<K>().await?;
        let free = all.iter().filter(|found| refuse(&found.object).is_none());
        names.extend(free.map(|found| found.object.name_any()));
    }
    for name in which.names {
        let found = served.get::<K>(name).await?;
        if let Some(why) = refuse(&found.object) {
            return Err(Error::Refused {
                what: "nothing is deleted".to_owned(),
                why: vec![why],
            });
        }
        names.push(name.clone());
    }
    names.sort();
    names.dedup();
    let what = match names.as_slice() {
        [] => {
            context.talk.note(&format!("no {noun}s found"));
            return Ok(names);
        }
        [name] => format!("delete the {noun} {name}"),
        names => format!("delete {} {noun}s ({})", names.len(), names.join(", ")),
    };
    unlock::confirm(which.confirm, what).await?;
    for name in &names {
        served.delete::<K>(name).await?;
    }
    Ok(names)
}

/// Prints that they are deleted.
pub fn removed(
    names: &[String],
    full: impl Fn(&str) -> String,
    context: &mut Context,
) -> Result<()> {
    let text: String = names
        .iter()
        .map(|name| format!("{} deleted\n", full(name)))
        .collect();
    Ok(context.printer.text(&text)?)
}
