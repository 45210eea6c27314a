//! `ark server`
//!
//! Everything it serves comes from the cluster: the environment is asked for the pod's name and cloud identity, and for nothing else.

use std::time::Duration;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::api::GoDuration;
use crate::cli::args::server::ServerArgs;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::server::settings::Settings;
use crate::server::{self, ServerError};

/// Leases that are shorter would change hands whenever an apiserver is slow.
const SHORTEST_LEASE: SignedDuration = SignedDuration::from_secs(3);

pub async fn run(args: ServerArgs, context: &mut Context) -> Result<Exit> {
    if args.lease_duration < SHORTEST_LEASE {
        return Err(Error::Usage {
            what: "--lease-duration is too short".to_owned(),
            hint: Some(format!("give at least {}s", SHORTEST_LEASE.as_secs())),
        });
    }
    let settings = settings(&args, context)?;
    let interrupt = context.interrupt.clone();
    let cluster = interrupt.unless(context.connect()).await??;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let listening = tokio::spawn(async move {
        interrupt.requested().await;
        asked.cancel();
    });
    let ended = server::run(cluster, context.env.clone(), settings, stop).await;
    listening.abort();
    match ended {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(error.into()),
    }
}

fn settings(args: &ServerArgs, context: &Context) -> Result<Settings> {
    let positive = |flag: &str, given: SignedDuration| match Duration::try_from(given) {
        Ok(given) if !given.is_zero() => Ok(given),
        _ => Err(Error::Usage {
            what: format!("{flag} is no time at all"),
            hint: Some("give a duration like 1m or 24h".to_owned()),
        }),
    };
    Ok(Settings {
        namespace: context.settings.kube.namespace.clone(),
        identity: identity(context),
        metrics_address: args.metrics_address,
        download_address: args.download_address,
        download_service: args.download_service.clone(),
        cache_dir: context.settings.cache_dir.clone(),
        cache_limit: args.cache_limit,
        memory: context.settings.memory,
        concurrent_backups: usize::from(args.concurrent_backups),
        concurrent_restores: usize::from(args.concurrent_restores),
        default_ttl: args.default_backup_ttl.map(GoDuration),
        sync_period: positive("--backup-sync-period", args.backup_sync_period)?,
        validation_frequency: positive(
            "--store-validation-frequency",
            args.store_validation_frequency,
        )?,
        gc_frequency: positive(
            "--garbage-collection-frequency",
            args.garbage_collection_frequency,
        )?,
        prune_frequency: positive("--prune-frequency", args.prune_frequency)?,
        verify_period: positive("--verify-period", args.verify_period)?,
        lease_duration: positive("--lease-duration", args.lease_duration)?,
        environment: context.settings.store.env.clone(),
    })
}

/// The pod's name, which is its host name, and something that no other run of it has.
fn identity(context: &Context) -> String {
    let run: [u8; 4] = context.env.bytes();
    format!("{}_{}", context.env.host.name(), hex::encode(run))
}

impl From<ServerError> for Error {
    fn from(source: ServerError) -> Error {
        Error::Server {
            source: Box::new(source),
        }
    }
}
