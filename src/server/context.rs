//! What a controller works with.

use std::sync::Arc;

use ark_engine::Env;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::events::Events;
use super::metrics::Metrics;
use super::repositories::Repositories;
use super::settings::Settings;
use crate::cluster::Cluster;

/// What a controller works with. Clones share everything.
#[derive(Clone)]
pub struct Context {
    /// The cluster that is backed up and restored into.
    pub cluster: Cluster,
    /// The client for ark's own objects.
    pub client: Client,
    /// The namespace of ark's own objects.
    pub namespace: String,
    /// The engine's surroundings: the clock above all.
    pub env: Env,
    /// The repositories of the locations.
    pub repositories: Repositories,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Kubernetes Events.
    pub events: Events,
    /// How much is done at once.
    pub limits: Limits,
    /// What failed, and is tried again later each time.
    pub backoff: Backoff,
    /// Fires when the process is to end and when the lease is lost: from then on nothing is written.
    pub stop: CancellationToken,
    /// What the server was told at its start.
    pub settings: Arc<Settings>,
}

/// How much is done at once. Clones share the permits.
#[derive(Clone)]
pub struct Limits {
    /// A permit for each backup under way.
    pub backups: Arc<Semaphore>,
    /// A permit for each restore under way.
    pub restores: Arc<Semaphore>,
}

impl Limits {
    /// The limits of the settings.
    pub fn of(settings: &Settings) -> Limits {
        Limits {
            backups: Arc::new(Semaphore::new(settings.concurrent_backups)),
            restores: Arc::new(Semaphore::new(settings.concurrent_restores)),
        }
    }
}

impl Context {
    /// Ark's own objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.env.clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
