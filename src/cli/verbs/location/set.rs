//! `ark backup-location set`

use kube::ResourceExt;
use serde_json::json;

use super::{access, certificates, location_name, secret, serve};
use crate::api::BackupStorageLocation;
use crate::cli::args::location::LocationSetArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::served::Served;

pub async fn run(args: LocationSetArgs, context: &mut Context) -> Result<Exit> {
    let name = args.name;
    let mut spec = json!({});
    if args.default {
        spec["default"] = json!(true);
    }
    if let Some(mode) = args.access_mode {
        spec["accessMode"] = json!(access(mode));
    }
    if let Some(credential) = args.credential {
        spec["credential"] = json!(secret(credential));
    }
    if let Some(file) = &args.cacert {
        spec["objectStorage"] = json!({ "caCert": certificates(file)? });
    }
    let interrupt = context.interrupt.clone();
    let found = interrupt
        .unless(async {
            let served = serve(context).await?;
            served.get::<BackupStorageLocation>(&name).await?;
            let patch = json!({ "spec": spec });
            let found = served.merge::<BackupStorageLocation>(&name, &patch).await?;
            if args.default {
                only_default(&served, &name).await?;
            }
            Ok::<_, Error>(found)
        })
        .await??;
    let text = || format!("{} changed\n", location_name(&name));
    context
        .printer
        .one(&found.value, &location_name(&name), text)?;
    Ok(Exit::Ok)
}

/// No other location is the default one.
pub async fn only_default(served: &Served, name: &str) -> Result<()> {
    for other in served.list::<BackupStorageLocation>().await? {
        if other.object.spec.default && other.object.name_any() != name {
            let patch = json!({ "spec": { "default": false } });
            served
                .merge::<BackupStorageLocation>(&other.object.name_any(), &patch)
                .await?;
        }
    }
    Ok(())
}
