//! `ark backup ls`
//!
//! Reads keys only, so listing a large backup costs its tree, not its data.

use serde_json::json;

use super::{Part, ask};
use crate::api::Captured;
use crate::cli::args::backup::LsArgs;
use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::{Listing, Table};
use crate::cli::size::human_size;
use crate::server::reading::objects::{BackedUpResource, qualified};
use crate::server::reading::{Head, Wanted};

pub async fn run(args: LsArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let listing = interrupt.unless(list(&args, context)).await??;
    context.printer.list(listing)?;
    Ok(Exit::Ok)
}

async fn list(args: &LsArgs, context: &Context) -> Result<Listing> {
    let wanted = Wanted {
        resource: args.resource.clone(),
        prefix: args.prefix.clone(),
        ..Wanted::default()
    };
    let (_, mut pieces) = ask(&args.backup, &args.cluster, Part::Objects(wanted), context).await?;
    let mut table =
        Table::new(&["RESOURCE", "NAMESPACE", "NAME"]).wide(&["VERSION", "KIND", "SIZE"]);
    let (mut items, mut names) = (Vec::new(), Vec::new());
    let mut of: Option<BackedUpResource> = None;
    while let Some(piece) = pieces.next().await? {
        match (piece.head, &of) {
            (Head::Resource(resource), _) => {
                note_holes(&resource, context);
                of = Some(resource);
            }
            (
                Head::Object {
                    namespace,
                    name,
                    bytes,
                },
                Some(resource),
            ) => {
                table.row(vec![
                    resource.to_string(),
                    namespace.clone(),
                    name.clone(),
                    resource.entry.version.clone(),
                    resource.entry.kind.clone(),
                    human_size(bytes),
                ]);
                names.push(format!("{resource}/{}", qualified(&namespace, &name)));
                items.push(json!({
                    "apiVersion": resource.api_version(),
                    "kind": resource.entry.kind,
                    "resource": resource.to_string(),
                    "metadata": { "namespace": namespace, "name": name },
                    "bytes": bytes,
                }));
            }
            _ => {}
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

/// Says what of a resource is not in the backup.
pub(super) fn note_holes(resource: &BackedUpResource, context: &Context) {
    if resource.entry.captured == Captured::Yes {
        return;
    }
    let reason = resource.entry.reason.as_deref();
    context.talk.note(&format!(
        "{resource} was not completely captured: {}",
        reason.unwrap_or("no reason is recorded")
    ));
}
