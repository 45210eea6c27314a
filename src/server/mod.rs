//! The server: controllers that turn ark's custom resources into backups, restores and upkeep.
//!
//! [`run`] is all of it. One replica works at a time (`leader`); the others are ready to. Every controller is level-triggered: it
//! compares what is with what should be and takes one step that may be repeated, so that a process may end anywhere and the next one goes
//! on. When the lease is lost the process ends: nothing of it can write any more, whatever it was in the middle of.

mod around;
mod backoff;
pub mod bucket;
mod cache;
pub mod context;
pub mod controllers;
pub mod counterpart;
pub mod cron;
pub mod download;
pub mod events;
mod holders;
mod host;
pub mod http;
mod insist;
pub mod key;
pub mod leader;
mod leftover;
mod listing;
pub mod metrics;
mod opening;
pub mod operation;
pub mod reading;
mod recovery;
pub mod repositories;
pub mod running;
pub mod settings;
mod stored;
pub mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ark_engine::Env;
use kube::ResourceExt;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use context::{Context, Limits};
use download::TlsListener;
use events::Events;
use leader::Election;
use metrics::Metrics;
use repositories::Repositories;
use settings::Settings;

use crate::cluster::Cluster;

/// How long controllers may take to come to a stop: less than the 30 s that Kubernetes gives a pod.
const GRACE: Duration = Duration::from_secs(20);

/// How long downloads may go on after everything else has stopped.
const LAST: Duration = Duration::from_secs(5);

/// Why the server ended.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address for metrics or downloads cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Downloads cannot be encrypted.
    #[error("cannot serve downloads")]
    Tls(#[from] download::TlsError),
    /// The apiserver does not answer as it should.
    #[error("cannot see which definitions the cluster has")]
    Discovery {
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The cluster does not know ark's kinds.
    #[error("the cluster lacks the definitions of {}", missing.join(", "))]
    NoDefinitions {
        /// The kinds that are missing.
        missing: Vec<String>,
    },
    /// Another replica may work now.
    #[error("the lease was lost: another replica may work now")]
    LeaseLost,
    /// A controller ended by itself.
    #[error("a controller ended that never should: {why}")]
    Controller {
        /// What it says.
        why: String,
    },
}

impl ServerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ServerError::Listen { .. } => {
                Some("give another --metrics-address or --download-address")
            }
            ServerError::NoDefinitions { .. } => {
                Some("apply ark's CustomResourceDefinitions first, then start the server again")
            }
            ServerError::Discovery { .. } => {
                Some("check that the apiserver runs and that the server's account may read it")
            }
            ServerError::LeaseLost => {
                Some("start it again: it waits for its turn, and what it was doing goes on")
            }
            ServerError::Tls(_) | ServerError::Controller { .. } => None,
        }
    }
}

/// Runs until `stop` fires, the lease is lost, or something fails that nobody here can mend.
///
/// # Errors
/// [`ServerError`].
pub async fn run(
    cluster: Cluster,
    env: Env,
    settings: Settings,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let settings = Arc::new(settings);
    let env = host::of_replica(env, cluster.id(), &settings.namespace, &settings.identity);
    let client = cluster.client().clone();
    let metrics = Arc::new(Metrics::default());
    let (listener, address) = listen(settings.metrics_address).await?;
    let (downloads, fetched_at) = listen(settings.download_address).await?;
    let names = vec![
        settings.download_service.clone(),
        format!("{}.{}.svc", settings.download_service, settings.namespace),
    ];
    let downloads = TlsListener::new(downloads, fetched_at, names)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        server = cluster.server(),
        namespace = settings.namespace,
        identity = settings.identity,
        "started; metrics and probes at http://{address}, downloads at https://{fetched_at}"
    );
    let ready = http::Ready::default();
    let end = CancellationToken::new();
    let serving = tokio::spawn(http::serve(
        listener,
        Arc::clone(&metrics),
        ready.clone(),
        end.clone(),
    ));
    let result = async {
        let missing = missing_definitions(&client).await?;
        if !missing.is_empty() {
            return Err(ServerError::NoDefinitions { missing });
        }
        ready.set(true);
        let context = Context {
            repositories: Repositories::new(client.clone(), env.clone(), Arc::clone(&settings)),
            events: Events::new(client.clone(), &settings.identity),
            limits: Limits::of(&settings),
            backoff: backoff::Backoff::default(),
            namespace: settings.namespace.clone(),
            stop: CancellationToken::new(),
            metrics,
            cluster,
            client,
            env,
            settings,
        };
        let giving = tokio::spawn(download::serve(downloads, context.clone(), end.clone()));
        let result = lead(context, &stop).await;
        ready.set(false);
        end.cancel();
        let abort = giving.abort_handle();
        if tokio::time::timeout(LAST, giving).await.is_err() {
            tracing::warn!("downloads are cut: they took too long");
            abort.abort();
        }
        result
    }
    .await;
    end.cancel();
    if let Ok(Err(error)) = serving.await {
        tracing::warn!(%error, "serving metrics ended");
    }
    result
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| ServerError::Listen { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    Ok((listener, address))
}

/// Waits for the lease and works while it is held.
async fn lead(context: Context, stop: &CancellationToken) -> Result<(), ServerError> {
    let settings = &context.settings;
    let election = Election::new(
        context.client.clone(),
        &settings.namespace,
        &settings.identity,
        settings.lease_duration,
    );
    let held = tokio::select! {
        held = election.win() => held,
        () = stop.cancelled() => return Ok(()),
    };
    context.metrics.leader.set(1);
    let done = CancellationToken::new();
    let keeping = election.keep(held, &done);
    tokio::pin!(keeping);
    let mut tasks = controllers::spawn(&context);
    let ended = tokio::select! {
        biased;
        _ = &mut keeping => Err(ServerError::LeaseLost),
        () = stop.cancelled() => Ok(()),
        ended = tasks.join_next() => Err(ServerError::Controller { why: why(ended) }),
    };
    context.stop.cancel();
    if matches!(ended, Err(ServerError::LeaseLost)) {
        // Not even in good order: who does not hold the lease does not write.
        tasks.abort_all();
        return ended;
    }
    tracing::info!("stopping: operations under way go on after the next start");
    let stopped = async {
        if tokio::time::timeout(GRACE, drain(&mut tasks))
            .await
            .is_err()
        {
            tracing::warn!("controllers did not come to a stop in time and are dropped");
            tasks.abort_all();
        }
        let sessions = context.repositories.end_sessions();
        if tokio::time::timeout(Duration::from_secs(3), sessions)
            .await
            .is_err()
        {
            tracing::warn!("sessions stay open; they expire in 30 minutes");
        }
    };
    tokio::select! {
        biased;
        _ = &mut keeping => return Err(ServerError::LeaseLost),
        () = stopped => {}
    }
    done.cancel();
    if let Some(held) = keeping.await {
        election.release(held).await;
    }
    context.metrics.leader.set(0);
    ended
}

async fn drain(tasks: &mut JoinSet<&'static str>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::warn!(%error, "a controller did not end in good order");
        }
    }
}

fn why(ended: Option<Result<&'static str, tokio::task::JoinError>>) -> String {
    match ended {
        Some(Ok(name)) => format!("{name} returned"),
        Some(Err(error)) => error.to_string(),
        None => "there is none".to_owned(),
    }
}

/// Those of ark's kinds that the cluster does not know.
async fn missing_definitions(client: &kube::Client) -> Result<Vec<String>, ServerError> {
    let known = match client
        .list_api_group_resources(crate::api::API_VERSION)
        .await
    {
        Ok(listed) => listed.resources,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(source) => {
            return Err(ServerError::Discovery {
                source: Box::new(source),
            });
        }
    };
    Ok(crate::api::definitions()
        .into_iter()
        .filter(|definition| {
            let plural = &definition.spec.names.plural;
            !known.iter().any(|resource| resource.name == *plural)
        })
        .map(|definition| definition.name_any())
        .collect())
}
