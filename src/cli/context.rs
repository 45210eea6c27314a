//! What a verb works with: settings, stdout, stderr, the clock, and the ways to the repository and the cluster.

use ark_engine::store::Store;
use ark_engine::{Env, OpenOptions, Repository};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::{Doing, Error, Result};
use super::interrupt::Interrupt;
use super::printer::Printer;
use super::progress::Talk;
use super::served::{self, Served};
use super::settings::Settings;
use super::time::from_millis;
use super::unlock;
use crate::cluster::{Cluster, ClusterOptions};

/// What a verb works with.
pub struct Context {
    /// What was asked for.
    pub settings: Settings,
    /// stdout.
    pub printer: Printer,
    /// stderr.
    pub talk: Talk,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// The zone that times are shown in and calendar days are counted in.
    pub zone: TimeZone,
    /// The engine's surroundings.
    pub env: Env,
}

impl Context {
    /// The time.
    pub fn now(&self) -> Timestamp {
        from_millis(self.env.clock.now_ms())
    }

    /// The repository's URL.
    pub fn url(&self) -> Result<&str> {
        self.settings
            .repository
            .as_deref()
            .ok_or(Error::NoRepository)
    }

    /// How the repository is opened.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions {
            cache_dir: self.settings.cache_dir.clone(),
            state_dir: self.settings.state_dir.clone(),
            memory: self.settings.memory,
        }
    }

    /// Says which repository is worked on. There is no server behind it: this process does all the work.
    pub fn announce(&self, url: &str) {
        self.talk.note(&format!("direct mode, repository {url}"));
    }

    /// Opens the repository.
    pub async fn open(&self) -> Result<Repository> {
        let url = self.url()?;
        let doing = || format!("cannot open the repository {url}");
        let store = Store::open(url, &self.settings.store.options())
            .map_err(ark_engine::Error::from)
            .doing(doing())?;
        self.announce(store.url());
        let key = unlock::unlock(&self.settings.unlock, store.url()).await?;
        Repository::open(store, self.env.clone(), &key, self.open_options())
            .await
            .doing(doing())
    }

    /// Whether this process does the work itself, on a repository that was named.
    pub fn is_direct(&self) -> bool {
        self.settings.repository.is_some()
    }

    /// Connects to the cluster.
    pub async fn connect(&self) -> Result<Cluster> {
        Cluster::connect(&self.cluster())
            .await
            .doing("cannot connect to the cluster")
    }

    /// The way to ark's server, and says that it is taken.
    pub async fn serve(&self) -> Result<Served> {
        if let Some(flag) = self.settings.of_repository.first() {
            return Err(Error::only_direct(flag));
        }
        let cluster = Cluster::unidentified(&self.cluster())
            .await
            .map_err(served::unasked)?;
        let namespace = &self.settings.kube.namespace;
        self.talk.note(&format!(
            "through the server, namespace {namespace} at {}",
            cluster.server()
        ));
        Ok(Served::new(cluster, namespace))
    }

    fn cluster(&self) -> ClusterOptions {
        ClusterOptions {
            kubeconfig: self.settings.kube.kubeconfig.clone(),
            context: self.settings.kube.context.clone(),
        }
    }
}
