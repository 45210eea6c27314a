//! `ark backup ls`
//!
//! Reads keys only, so listing a large backup costs its tree, not its data.

use ark_engine::objects::parse_key;
use serde_json::json;

use super::{objects, rows};
use crate::api::Captured;
use crate::cli::args::backup::LsArgs;
use crate::cli::context::Context;
use crate::cli::error::{Doing, Result};
use crate::cli::exit::Exit;
use crate::cli::objects::{BackedUpResource, object_name, resolve, resources};
use crate::cli::printer::{Listing, Table};
use crate::cli::size::human_size;
use crate::restore::backup::length;

pub async fn run(args: LsArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let listing = interrupt.unless(list(&args, context)).await??;
    context.printer.list(listing)?;
    Ok(Exit::Ok)
}

async fn list(args: &LsArgs, context: &Context) -> Result<Listing> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let row = rows.find(&args.backup)?;
    let (reader, map) = objects(&repository, row).await?;
    let all = resources(&reader, &map, &row.name).await?;
    let chosen: Vec<&BackedUpResource> = match &args.resource {
        Some(text) => vec![resolve(&all, text, &row.name)?],
        None => all.iter().collect(),
    };
    let mut table =
        Table::new(&["RESOURCE", "NAMESPACE", "NAME"]).wide(&["VERSION", "KIND", "SIZE"]);
    let (mut items, mut names) = (Vec::new(), Vec::new());
    for resource in chosen {
        if resource.entry.captured != Captured::Yes {
            context.talk.note(&format!(
                "{resource} was not completely captured: {}",
                resource
                    .entry
                    .reason
                    .as_deref()
                    .unwrap_or("no reason is recorded")
            ));
        }
        let (mut from, to) = resource.key_range();
        let first = from.clone();
        from.extend_from_slice(args.prefix.as_deref().unwrap_or_default().as_bytes());
        let mut range = map.range(&from, Some(&to));
        while let Some((key, value)) = range
            .next()
            .await
            .doing(format!("cannot read the objects of {}", row.name))?
        {
            if !key.starts_with(&from) {
                break;
            }
            let Some(parsed) = parse_key(&key).filter(|_| key != first) else {
                continue;
            };
            let size = length(&value);
            table.row(vec![
                resource.to_string(),
                parsed.namespace.clone(),
                parsed.name.clone(),
                resource.entry.version.clone(),
                resource.entry.kind.clone(),
                human_size(size),
            ]);
            names.push(format!("{resource}/{}", object_name(&parsed)));
            items.push(json!({
                "apiVersion": resource.api_version(),
                "kind": resource.entry.kind,
                "resource": resource.to_string(),
                "metadata": { "namespace": parsed.namespace, "name": parsed.name },
                "bytes": size,
            }));
        }
    }
    if table.is_empty() {
        context.talk.note("no objects found");
    }
    Ok(Listing {
        table,
        items,
        names,
        single: false,
    })
}
