//! The cluster that the demo plays in: a throwaway control plane, or the user's own, in which it touches nothing but its own objects.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ark_testkit::{Api, ControlPlane, Dataset, DatasetSpec};
use kube::config::Kubeconfig;

use crate::equality::Snapshot;
use crate::nginx;
use crate::voice::Voice;

/// Start of the name of everything that is created, and the value of the label `app.kubernetes.io/part-of`.
const PREFIX: &str = "ark-demo";
const OBJECTS: usize = 3000;
const GONE_WITHIN: Duration = Duration::from_secs(300);
const STILL_WITHIN: Duration = Duration::from_secs(60);

/// Which objects of a cluster are the demo's.
#[derive(Clone, Copy)]
pub struct Scope {
    /// Whether the cluster is the user's: then only what the demo labelled counts.
    pub yours: bool,
}

impl Scope {
    pub fn of_yours() -> Scope {
        Scope { yours: true }
    }

    /// Start of every name.
    pub fn prefix(self) -> &'static str {
        PREFIX
    }

    /// Selects everything that the demo created, but not what the cluster made of it.
    pub fn selector(self) -> String {
        format!("app.kubernetes.io/part-of={PREFIX}")
    }

    pub fn nginx_namespace(self) -> &'static str {
        match self.yours {
            true => "ark-demo-nginx-example",
            false => "nginx-example",
        }
    }

    /// Whether an object in this namespace, or of this name at cluster scope, is the demo's.
    pub fn holds(self, name: &str) -> bool {
        name.starts_with(PREFIX) || name == self.nginx_namespace()
    }

    /// What a backup is told, so that it holds the demo's objects.
    pub fn filters(self) -> Vec<String> {
        match self.yours {
            // A throwaway cluster is backed up as a whole.
            false => Vec::new(),
            true => vec![
                format!("--selector={}", self.selector()),
                "--include-cluster-resources=true".to_owned(),
            ],
        }
    }
}

/// A cluster that can be used.
pub struct Cluster {
    pub api: Api,
    pub scope: Scope,
    pub kubeconfig: PathBuf,
    /// Ends with this value.
    _plane: Option<ControlPlane>,
}

impl Cluster {
    /// Starts a throwaway control plane, or connects to the user's cluster.
    pub async fn open(kubeconfig: Option<&Path>) -> anyhow::Result<Cluster> {
        let (plane, kubeconfig) = match kubeconfig {
            Some(yours) => (None, yours.to_owned()),
            None => {
                let plane = ControlPlane::start().await?;
                let kubeconfig = plane.kubeconfig();
                (Some(plane), kubeconfig)
            }
        };
        Ok(Cluster {
            api: Api::connect(&kubeconfig).await?,
            scope: Scope {
                yours: plane.is_none(),
            },
            kubeconfig,
            _plane: plane,
        })
    }

    /// What to fill it with.
    pub fn dataset(&self) -> Dataset {
        let data = Dataset::new(&DatasetSpec {
            objects: OBJECTS,
            prefix: PREFIX.to_owned(),
            ..DatasetSpec::default()
        });
        match self.scope.yours {
            true => data.inert(),
            false => data,
        }
    }

    /// Creates the nginx example.
    pub async fn create_nginx(&self) -> anyhow::Result<()> {
        for (path, object) in nginx::objects(&self.scope) {
            self.api.post(&path, &object).await?;
        }
        Ok(())
    }

    /// Waits until controllers have done what they do about new objects; those of a busy cluster may never end.
    pub async fn settle(&self) -> anyhow::Result<Snapshot> {
        let deadline = Instant::now() + STILL_WITHIN;
        let mut last = Snapshot::take(&self.api, self.scope).await?;
        loop {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let now = Snapshot::take(&self.api, self.scope).await?;
            if now.is_as_new_as(&last) || Instant::now() > deadline {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Deletes everything that is the demo's, and waits until it is gone.
    pub async fn delete_all(&self) -> anyhow::Result<()> {
        delete_all(&self.api, self.scope).await
    }
}

async fn delete_all(api: &Api, scope: Scope) -> anyhow::Result<()> {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let nginx = format!("/api/v1/namespaces/{}", scope.nginx_namespace());
        api.delete(&nginx).await?;
        ark_testkit::unload(api, PREFIX, GONE_WITHIN).await?;
        // Finalizers take a moment, and a request that was under way when the demo was interrupted may have landed since.
        let left = Snapshot::take(api, scope).await?;
        let Some(one) = left.objects().next() else {
            return Ok(());
        };
        ensure!(
            Instant::now() < deadline,
            "{} objects are still there after {GONE_WITHIN:?}, as {one}",
            left.len()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Asks whether the user's cluster may be used. Nothing is done to it before that.
pub async fn may_use(kubeconfig: &Path, voice: &Voice) -> anyhow::Result<bool> {
    let config = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("reading {}", kubeconfig.display()))?;
    let context = config
        .current_context
        .context("DEMO_KUBECONFIG has no current context")?;
    let api = Api::connect(kubeconfig).await?;
    let earlier = Snapshot::take(&api, Scope::of_yours()).await?.len();
    voice.fact(&format!(
        "The demo will use the cluster of the context {context} in {}.\n\
         It creates about {OBJECTS} objects, namespaces and cluster-scoped ones among them, all named {PREFIX}-* \
         (a definition's group is {PREFIX}.ark.test), two pods of nginx among them; deletes them, restores them, and removes them at the end.",
        kubeconfig.display()
    ));
    if earlier > 0 {
        voice.fact(&format!(
            "{earlier} objects of an earlier demo are there; they will be removed first."
        ));
    }
    if std::env::var("DEMO_CONFIRM").is_ok_and(|answer| answer == "yes") {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask at; DEMO_CONFIRM=yes answers the question");
    }
    print!("    Go on? [y/N] ");
    std::io::stdout().flush().context("asking")?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("reading the answer")?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !yes {
        voice.fact("Nothing was done.");
    }
    Ok(yes)
}

/// Removes everything of the demo from the user's cluster.
pub async fn clean_up(kubeconfig: &Path, scope: Scope, voice: &Voice) -> anyhow::Result<()> {
    voice.step("Remove everything named ark-demo-* from the cluster");
    let api = Api::connect(kubeconfig).await?;
    delete_all(&api, scope).await?;
    voice.holds("nothing of the demo is left in the cluster");
    Ok(())
}
