//! `ark backup-location create`

use kube::ResourceExt;

use super::{access, certificates, location_name, phase, secret, serve};
use crate::api::names::check_name;
use crate::api::{
    BackupStorageLocation, BackupStorageLocationSpec, GoDuration, LocationPhase, ObjectStorage,
    Provider,
};
use crate::cli::args::location::LocationCreateArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;
use crate::cli::spec;
use crate::cli::verbs::wait;

pub async fn run(args: LocationCreateArgs, context: &mut Context) -> Result<Exit> {
    let (wait, only_default) = (args.wait, args.default);
    let wanted = wanted(args, &context.settings.kube.namespace)?;
    let interrupt = context.interrupt.clone();
    let (served, made) = interrupt
        .unless(async {
            let served = serve(context).await?;
            if wait {
                served.require_server().await?;
            }
            let made = served.create::<BackupStorageLocation>(&wanted).await?;
            if only_default {
                super::set::only_default(&served, &made.object.name_any()).await?;
            }
            Ok::<_, Error>((served, made))
        })
        .await??;
    let name = made.object.name_any();
    if !wait {
        context.talk.note(&format!(
            "`ark backup-location get {name}` shows whether it can be used"
        ));
        let text = || format!("{} created\n", location_name(&name));
        context
            .printer
            .one(&made.value, &location_name(&name), text)?;
        return Ok(Exit::Ok);
    }
    let checked = |location: &BackupStorageLocation| {
        let status = location.status.as_ref();
        status.is_some_and(|status| status.phase.is_some())
    };
    let hint = "the server checks it all the same";
    let found = wait::until(&served, &name, context, hint, checked, phase).await?;
    let status = found.object.status.clone().unwrap_or_default();
    if let Some(message) = &status.message {
        context.talk.line(&format!("ark: {}", safe_text(message)));
    }
    let text = || format!("{} {}\n", location_name(&name), phase(&found.object));
    context
        .printer
        .one(&found.value, &location_name(&name), text)?;
    Ok(match status.phase {
        Some(LocationPhase::Available) => Exit::Ok,
        _ => Exit::Failure,
    })
}

/// The location that the arguments ask for.
fn wanted(args: LocationCreateArgs, namespace: &str) -> Result<BackupStorageLocation> {
    check_name("location", &args.name)?;
    let provider = Provider::from(args.provider);
    if provider == Provider::Local && !args.bucket.starts_with('/') {
        return Err(Error::Usage {
            what: format!("{:?} is not an absolute path", args.bucket),
            hint: Some("the bucket of a local location is a directory that the server sees".into()),
        });
    }
    let spec = BackupStorageLocationSpec {
        provider,
        object_storage: ObjectStorage {
            bucket: args.bucket,
            prefix: args.prefix,
            ca_cert: args.cacert.as_deref().map(certificates).transpose()?,
        },
        config: args.config.map(|config| config.0).unwrap_or_default(),
        credential: args.credential.map(secret),
        default: args.default,
        access_mode: access(args.access_mode),
        backup_sync_period: args.backup_sync_period.map(GoDuration),
        validation_frequency: args.validation_frequency.map(GoDuration),
        repository_key: args.repository_key.map(secret),
    };
    let mut wanted = BackupStorageLocation::new(&args.name, spec);
    wanted.metadata.namespace = Some(namespace.to_owned());
    wanted.metadata.labels = spec::labels(args.labels);
    Ok(wanted)
}
