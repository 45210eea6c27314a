//! A throwaway Kubernetes control plane: etcd, kube-apiserver and, unless left out, kube-controller-manager.
//!
//! Everything is on 127.0.0.1 and free ports, in a folder of its own. There is no scheduler and no node, unless [`crate::Node`] starts them: pods stay
//! Pending, which is all that a backup of API objects needs. Without the controller-manager the cluster is *quiet*: the apiserver
//! returns the same bytes twice, but namespaces and objects with finalizers are then never deleted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::api::Api;
use crate::process::{self, Server};
use crate::{binaries, ports};

const READY_WITHIN: Duration = Duration::from_secs(60);
const ATTEMPTS: usize = 3;

/// How to start a control plane.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Start kube-controller-manager too.
    pub controllers: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { controllers: true }
    }
}

/// A running control plane. Dropping it ends its processes and removes its folder.
#[derive(Debug)]
pub struct ControlPlane {
    // Declared in the order of ending: clients before their servers, the folder last.
    controllers: Option<Server>,
    apiserver: Server,
    etcd: Server,
    folder: PathBuf,
    port: u16,
    detached: bool,
    _temporary: Option<TempDir>,
}

impl ControlPlane {
    /// Starts a control plane with a controller-manager in a temporary folder and waits until it is ready.
    pub async fn start() -> anyhow::Result<ControlPlane> {
        ControlPlane::start_with(Options::default()).await
    }

    /// Starts a control plane in which nothing moves by itself: no controller-manager.
    pub async fn start_quiet() -> anyhow::Result<ControlPlane> {
        ControlPlane::start_with(Options { controllers: false }).await
    }

    /// Starts a control plane in a temporary folder.
    pub async fn start_with(options: Options) -> anyhow::Result<ControlPlane> {
        let temporary = tempfile::Builder::new()
            .prefix("ark-cluster-")
            .tempdir()
            .context("making a temporary folder")?;
        let mut plane = ControlPlane::start_in(temporary.path(), options, false).await?;
        plane._temporary = Some(temporary);
        Ok(plane)
    }

    /// Starts a control plane in `folder`, which stays when the value is dropped. The processes of a detached one do not hear
    /// this terminal's Ctrl-C: they can be left running with [`ControlPlane::detach`].
    pub async fn start_in(
        folder: &Path,
        options: Options,
        detached: bool,
    ) -> anyhow::Result<ControlPlane> {
        let folder = process::claim(folder)?;
        write_identity(&folder)?;
        let mut attempt = 1;
        loop {
            match ControlPlane::try_start(&folder, options, detached).await {
                Ok(plane) => return Ok(plane),
                // Another process took one of the ports in between.
                Err(error)
                    if attempt < ATTEMPTS
                        && format!("{error:#}").contains("address already in use") =>
                {
                    attempt += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_start(
        folder: &Path,
        options: Options,
        detached: bool,
    ) -> anyhow::Result<ControlPlane> {
        let (client, peer, port) = (ports::free()?, ports::free()?, ports::free()?);
        let (client_url, peer_url) = (
            format!("http://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let mut etcd = Command::new(binaries::path("etcd")?);
        // The data is thrown away: fsync would only make the tests slow.
        etcd.args([
            "--data-dir",
            "etcd",
            "--unsafe-no-fsync",
            "--log-level",
            "warn",
            "--quota-backend-bytes",
            "8589934592",
        ])
        .args([
            "--listen-client-urls",
            &client_url,
            "--advertise-client-urls",
            &client_url,
        ])
        .args([
            "--listen-peer-urls",
            &peer_url,
            "--initial-advertise-peer-urls",
            &peer_url,
        ])
        .args(["--initial-cluster", &format!("default={peer_url}")]);
        let etcd = Server::start(folder, "etcd", etcd, detached)?;
        let mut apiserver = Command::new(binaries::path("kube-apiserver")?);
        apiserver
            .arg(format!("--etcd-servers={client_url}"))
            .arg(format!("--secure-port={port}"))
            .args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
            ])
            .args([
                "--cert-dir=pki",
                "--service-account-key-file=pki/sa.pub",
                "--service-account-signing-key-file=pki/sa.key",
            ])
            .args([
                "--service-account-issuer=https://kubernetes.default.svc",
                "--token-auth-file=pki/tokens.csv",
            ])
            .args([
                "--authorization-mode=RBAC",
                "--allow-privileged=true",
                "--service-cluster-ip-range=10.96.0.0/16",
                // The node of a kit is called localhost, and nothing else leads to it.
                "--kubelet-preferred-address-types=Hostname",
            ])
            // Loading and restoring tens of thousands of objects must not meet the server's own limits first.
            .args([
                "--max-requests-inflight=4000",
                "--max-mutating-requests-inflight=2000",
            ])
            // An apiserver with an identity renews a Lease every ten seconds; a quiet cluster returns the same bytes twice.
            .arg(format!(
                "--feature-gates=APIServerIdentity={0},UnknownVersionInteroperabilityProxy={0}",
                options.controllers
            ))
            .args(["--event-ttl=24h", "--profiling=false"]);
        let apiserver = Server::start(folder, "kube-apiserver", apiserver, detached)?;
        let mut plane = ControlPlane {
            controllers: None,
            apiserver,
            etcd,
            folder: folder.to_owned(),
            port,
            detached,
            _temporary: None,
        };
        plane.wait_ready().await?;
        if options.controllers {
            plane.start_controllers()?;
        }
        Ok(plane)
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.etcd.check()?;
            self.apiserver.check()?;
            let last = match self.try_ready().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                bail!(
                    "kube-apiserver is not ready after {READY_WITHIN:?}: {last:#}\n{}",
                    self.apiserver.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_ready(&self) -> anyhow::Result<()> {
        // The apiserver makes its certificate at its first start; until it has, there is nothing to trust.
        self.write_kubeconfig("kubeconfig", "admin", "admin-token")?;
        let api = Api::connect(&self.kubeconfig()).await?;
        api.get_text("/readyz").await?;
        // /readyz comes before the bootstrap of the built-in namespaces and roles has ended.
        api.get_text("/api/v1/namespaces/kube-system").await?;
        api.get_text("/api/v1/namespaces/default").await?;
        Ok(())
    }

    /// The folder with the kubeconfigs and logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The kubeconfig of the user `limited`, who may read everything but Secrets, and write nothing. The first call creates the
    /// ClusterRole and the binding, both named `ark-testkit-limited`.
    pub async fn limited_kubeconfig(&self) -> anyhow::Result<PathBuf> {
        let api = Api::connect(&self.kubeconfig()).await?;
        let core = api.core_resources().await?;
        let core: Vec<String> = core
            .into_iter()
            .filter(|plural| plural != "secrets")
            .collect();
        let groups: Vec<String> = api
            .groups()
            .await?
            .into_iter()
            .filter(|group| !group.is_empty())
            .collect();
        let verbs = json!(["get", "list", "watch"]);
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": LIMITED},
            "rules": [{"apiGroups": [""], "resources": core, "verbs": verbs}, {"apiGroups": groups, "resources": ["*"], "verbs": verbs}]});
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": LIMITED},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": LIMITED},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "limited"}]});
        for (plural, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
            match api.post(&format!("{rbac}/{plural}"), &object).await {
                Ok(_) => {}
                Err(error) if error.code() == Some(409) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("creating {plural} {LIMITED}"));
                }
            }
        }
        self.write_kubeconfig("kubeconfig-limited", "limited", "limited-token")
    }

    /// A kubeconfig whose token the apiserver does not know, as one that has expired.
    pub fn expired_kubeconfig(&self) -> anyhow::Result<PathBuf> {
        self.write_kubeconfig("kubeconfig-expired", "expired", "expired-token")
    }

    /// A kubeconfig that points at a port where nobody listens.
    pub fn unreachable_kubeconfig(&self) -> anyhow::Result<PathBuf> {
        self.write_kubeconfig_for(
            "kubeconfig-unreachable",
            "admin",
            "admin-token",
            ports::free()?,
        )
    }

    fn write_kubeconfig(&self, file: &str, user: &str, token: &str) -> anyhow::Result<PathBuf> {
        self.write_kubeconfig_for(file, user, token, self.port)
    }

    fn write_kubeconfig_for(
        &self,
        file: &str,
        user: &str,
        token: &str,
        port: u16,
    ) -> anyhow::Result<PathBuf> {
        let authority = self.folder.join("pki/apiserver.crt");
        if !authority.is_file() {
            bail!("{} is not written yet", authority.display());
        }
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "ark-test",
            "clusters": [{"name": "ark-test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"), "certificate-authority": authority}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "ark-test", "context": {"cluster": "ark-test", "user": user}}]});
        let path = self.folder.join(file);
        // JSON is YAML.
        fs::write(
            &path,
            serde_json::to_vec_pretty(&config).context("writing a kubeconfig")?,
        )
        .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Starts kube-controller-manager, if it does not run.
    pub fn start_controllers(&mut self) -> anyhow::Result<()> {
        if self.controllers.is_none() {
            let mut command = Command::new(binaries::path("kube-controller-manager")?);
            command
                .args([
                    "--kubeconfig=kubeconfig",
                    "--service-account-private-key-file=pki/sa.key",
                    "--root-ca-file=pki/apiserver.crt",
                ])
                // The defaults, 20 requests a second, make a namespace with a thousand objects take minutes to go.
                .args([
                    "--leader-elect=false",
                    "--secure-port=0",
                    "--kube-api-qps=500",
                    "--kube-api-burst=1000",
                ]);
            self.controllers = Some(Server::start(
                &self.folder,
                "kube-controller-manager",
                command,
                self.detached,
            )?);
        }
        Ok(())
    }

    /// Ends kube-controller-manager: from now on nothing in the cluster moves by itself.
    pub fn stop_controllers(&mut self) {
        if let Some(mut controllers) = self.controllers.take() {
            controllers.stop();
        }
    }

    /// Ends everything and removes the temporary folder; what dropping does, said aloud.
    pub fn stop(self) {}

    /// Leaves the processes running, with their pid files in the folder, for [`crate::stop_folder`] to end.
    pub fn detach(self) {
        if let Some(controllers) = self.controllers {
            controllers.detach();
        }
        self.apiserver.detach();
        self.etcd.detach();
    }
}

const LIMITED: &str = "ark-testkit-limited";

/// The key pair that signs service account tokens, and the file of users.
fn write_identity(folder: &Path) -> anyhow::Result<()> {
    let pki = folder.join("pki");
    fs::create_dir_all(&pki).with_context(|| format!("creating {}", pki.display()))?;
    if !pki.join("sa.pub").is_file() {
        openssl(&pki, &["genrsa", "-out", "sa.key", "2048"])?;
        openssl(&pki, &["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"])?;
    }
    let users = "admin-token,admin,admin,system:masters\nlimited-token,limited,limited\n";
    fs::write(pki.join("tokens.csv"), users).context("writing the file of users")
}

pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .context("running openssl: is it installed?")?;
    if !output.status.success() {
        bail!(
            "openssl {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
