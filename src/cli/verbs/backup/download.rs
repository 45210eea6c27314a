//! `ark backup download`
//!
//! The objects of a backup as files in a tar.gz: `resources/deployments.apps/namespaces/shop/web.json`, as Velero's users know them. The
//! files hold the very bytes that the API server gave. No more of the backup is in memory than a few objects.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::ls::note_holes;
use super::{Part, ask};
use crate::cli::archive::Archive;
use crate::cli::args::backup::BackupDownloadArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::size::grouped;
use crate::server::reading::objects::{BackedUpResource, qualified};
use crate::server::reading::{Head, Pieces, Wanted};

pub async fn run(args: BackupDownloadArgs, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let wanted = Wanted {
        contents: true,
        ..Wanted::default()
    };
    let asked = ask(&args.name, &args.cluster, Part::Objects(wanted), context);
    let (name, pieces) = interrupt.unless(asked).await??;
    let file = args
        .file
        .unwrap_or_else(|| PathBuf::from(format!("{name}-data.tar.gz")));
    let written = interrupt.unless(write(pieces, &file, context)).await??;
    let shown = file.display().to_string();
    let value = json!({ "backup": name, "file": shown, "objects": written });
    context.printer.one(&value, &shown, || {
        format!("{} objects of {name} in {shown}\n", grouped(written))
    })?;
    Ok(Exit::Ok)
}

async fn write(mut pieces: Pieces, file: &Path, context: &Context) -> Result<u64> {
    let failed = |source| Error::Write {
        path: file.to_owned(),
        source,
    };
    let now = context.now().as_second().unsigned_abs();
    let mut archive = Archive::create(file, now).map_err(failed)?;
    let progress = context.talk.progress("downloading");
    let mut of: Option<BackedUpResource> = None;
    let mut written = 0;
    while let Some(piece) = pieces.next().await? {
        match (piece.head, &of) {
            (Head::Resource(resource), _) => {
                progress.set(format!("downloading {resource}"));
                note_holes(&resource, context);
                of = Some(resource);
            }
            (
                Head::Object {
                    namespace, name, ..
                },
                Some(resource),
            ) => {
                let object = resource.complete_bytes(&piece.body);
                let object = object.map_err(|source| Error::Document {
                    of: format!("{resource} {}", qualified(&namespace, &name)),
                    source,
                })?;
                let path = path(resource, &namespace, &name);
                archive.add(&path, &object).map_err(failed)?;
                written += 1;
            }
            _ => {}
        }
    }
    archive.finish().map_err(failed)?;
    Ok(written)
}

fn path(resource: &BackedUpResource, namespace: &str, name: &str) -> String {
    match namespace {
        "" => format!("resources/{resource}/cluster/{name}.json"),
        namespace => format!("resources/{resource}/namespaces/{namespace}/{name}.json"),
    }
}
