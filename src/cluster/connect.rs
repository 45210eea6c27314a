//! The connection to one cluster, and which cluster that is.
//!
//! A cluster is known by the uid of its namespace `kube-system`: it stays when addresses, contexts and certificates
//! change, and a rebuilt cluster is another one. Its name, for people, is what the kubeconfig calls it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::call::{Call, Counter, Patience, RequestCounts, Verb};
use super::error::{Error, Result};
use super::object::ObjectMetaView;
use super::resource::Resource;

/// Which cluster to talk to.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// The kubeconfig; absent means `KUBECONFIG`, `~/.kube/config`, or the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; absent means its current one.
    pub context: Option<String>,
}

/// A connection to one cluster. Clones share it.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    client: Client,
    /// What another client is made from, and it once it was.
    config: Config,
    patient: OnceLock<Client>,
    server: String,
    name: String,
    id: OnceLock<String>,
    counter: Counter,
}

impl Cluster {
    /// Connects, and finds out which cluster it is.
    pub async fn connect(options: &ClusterOptions) -> Result<Cluster> {
        let (config, name) = configuration(options).await?;
        Cluster::over(config, name).await
    }

    /// A connection that has not been used yet, not even to find out which cluster it is: somebody who may do nothing but
    /// use ark's objects can use it.
    pub async fn unidentified(options: &ClusterOptions) -> Result<Cluster> {
        let (config, name) = configuration(options).await?;
        Cluster::prepared(config, name)
    }

    pub(super) async fn over(config: Config, name: String) -> Result<Cluster> {
        let cluster = Cluster::prepared(config, name)?;
        cluster.identify().await?;
        Ok(cluster)
    }

    fn prepared(mut config: Config, name: String) -> Result<Cluster> {
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = Some(Duration::from_secs(60));
        config.write_timeout = Some(Duration::from_secs(60));
        // The read timeout counts from the request, not from when the pooled connection went idle.
        config.reset_reader_on_write = true;
        // Retries are ours: they are counted, and bounded in time.
        config.default_retry = false;
        let server = config
            .cluster_url
            .to_string()
            .trim_end_matches('/')
            .to_owned();
        let client = client(&config, &server)?;
        Ok(Cluster(Arc::new(Inner {
            client,
            config,
            patient: OnceLock::new(),
            server,
            name,
            id: OnceLock::new(),
            counter: Counter::default(),
        })))
    }

    /// Finds out which cluster it is.
    pub async fn identify(&self) -> Result<()> {
        let path = "/api/v1/namespaces/kube-system";
        let call = Call {
            patience: Patience::SHORT,
            ..Call::new(Verb::Get, path)
        };
        let body = self.call(&call).await?;
        let text = std::str::from_utf8(&body).map_err(|_| Error::NotText {
            path: path.to_owned(),
        })?;
        let meta = ObjectMetaView::parse(text).map_err(|source| Error::Decode {
            path: path.to_owned(),
            source,
        })?;
        let _ = self.0.id.set(meta.uid.into_owned());
        Ok(())
    }

    /// What the cluster is known by: the uid of its namespace `kube-system`. Empty before it was identified.
    pub fn id(&self) -> &str {
        self.0.id.get().map_or("", String::as_str)
    }

    /// What the kubeconfig calls it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The apiserver's address.
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// The client below, for what [`Cluster::call`] does not do.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// A client for connections on which nothing may come for long: whoever uses it says himself how long to wait.
    pub fn patient_client(&self) -> Result<&Client> {
        if let Some(client) = self.0.patient.get() {
            return Ok(client);
        }
        let mut config = self.0.config.clone();
        config.read_timeout = None;
        let made = client(&config, &self.0.server)?;
        Ok(self.0.patient.get_or_init(|| made))
    }

    /// How many requests were sent so far.
    pub fn requests(&self) -> RequestCounts {
        self.0.counter.counts()
    }

    pub(super) fn counter(&self) -> &Counter {
        &self.0.counter
    }

    /// Reads one object.
    pub async fn get(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Bytes> {
        self.call(&Call::new(Verb::Get, resource.object_path(namespace, name)))
            .await
    }
}

fn client(config: &Config, server: &str) -> Result<Client> {
    Client::try_from(config.clone()).map_err(|source| Error::Client {
        server: server.to_owned(),
        source: Box::new(source),
    })
}

async fn configuration(options: &ClusterOptions) -> Result<(Config, String)> {
    let unusable = |source| Error::Kubeconfig {
        path: options.kubeconfig.clone(),
        source: Box::new(source),
    };
    let read = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        Err(source) => {
            // In a pod there is no kubeconfig, but an account.
            return match Config::incluster() {
                Ok(config) if options.kubeconfig.is_none() && options.context.is_none() => {
                    Ok((config, "in-cluster".to_owned()))
                }
                _ => Err(unusable(source)),
            };
        }
    };
    let wanted = options
        .context
        .as_ref()
        .or(kubeconfig.current_context.as_ref());
    let context = wanted.and_then(|wanted| {
        kubeconfig
            .contexts
            .iter()
            .find(|context| context.name == *wanted)
    });
    let name = match (wanted, context) {
        (Some(wanted), None) => {
            let known = kubeconfig
                .contexts
                .iter()
                .map(|context| context.name.clone())
                .collect();
            return Err(Error::NoContext {
                context: wanted.clone(),
                known,
            });
        }
        (_, context) => context
            .and_then(|context| context.context.as_ref())
            .map(|context| context.cluster.clone()),
    };
    let choice = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &choice)
        .await
        .map_err(unusable)?;
    Ok((config, name.unwrap_or_default()))
}
