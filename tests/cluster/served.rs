//! A cluster that `ark server` works for: the real program, beside the cluster, and a repository in a folder.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ark::api::{Backup, BackupStorageLocation, Restore};
use ark_testkit::{Ark, ControlPlane, Ran, Running};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::definitions::{apply_definitions, client};
use crate::place::{ark, open_with};

pub const NAMESPACE: &str = "heptio-ark";
/// Every round of the server each second.
pub const QUICK: [&str; 6] = [
    "--backup-sync-period",
    "1s",
    "--store-validation-frequency",
    "1s",
    "--garbage-collection-frequency",
    "1s",
];
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Served {
    pub plane: ControlPlane,
    pub client: Client,
    pub ark: Ark,
    folder: Arc<TempDir>,
    arguments: Vec<String>,
    server: Option<Running>,
}

impl Served {
    /// A cluster with ark's definitions and one location, and the server started with these arguments.
    pub async fn start(arguments: &[&str]) -> Served {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut served = Served::empty(folder, arguments).await;
        served.location("ReadWrite").await;
        served.run();
        served
    }

    /// A cluster into which `ark install` was run with these arguments and a location in a folder, and the server started with the
    /// installed account and these arguments. The installed pod does not run: there is no node.
    pub async fn installed(install: &[&str], arguments: &[&str]) -> Served {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let plane = ControlPlane::start().await.unwrap();
        let client = client(&plane).await;
        let mut served = Served {
            ark: ark().with("KUBECONFIG", plane.kubeconfig()),
            plane,
            client,
            folder,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            server: None,
        };
        served.install(install).done();
        let kubeconfig = served.kubeconfig_of(&served.token().await);
        served.ark = served.ark.with("KUBECONFIG", kubeconfig);
        served.run();
        served
    }

    /// `ark install` by an administrator.
    pub fn install(&self, arguments: &[&str]) -> Ran {
        let bucket = self.root().display().to_string();
        let place = [
            "install",
            "--provider",
            "local",
            "--bucket",
            &bucket,
            "--claim",
            "backups",
            "--image",
            "registry.example/ark:1",
            "--no-secret",
        ];
        self.admin().run(&[&place, arguments].concat())
    }

    /// `ark` of an administrator, in the same home.
    pub fn admin(&self) -> Ark {
        self.ark.with("KUBECONFIG", self.plane.kubeconfig())
    }

    /// A token of the installed account.
    pub async fn token(&self) -> String {
        self.token_of("ark").await
    }

    /// A token of an account.
    pub async fn token_of(&self, account: &str) -> String {
        let accounts: Api<ServiceAccount> = self.api();
        let request = serde_json::from_value(json!({ "spec": { "audiences": [] } })).unwrap();
        let usual = PostParams::default();
        let asked = accounts.create_token_request(account, &usual, &request);
        asked.await.unwrap().status.unwrap().token.unwrap()
    }

    /// A kubeconfig with this token and nothing else.
    pub fn kubeconfig_of(&self, token: &str) -> PathBuf {
        let kubeconfig = std::fs::read(self.plane.kubeconfig()).unwrap();
        let mut kubeconfig: Value = serde_json::from_slice(&kubeconfig).unwrap();
        kubeconfig["users"][0]["user"] = json!({ "token": token });
        let path = self.folder.path().join("kubeconfig-account");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }

    /// Another cluster, whose location is the repository of `first`, to be read alone.
    pub async fn beside(first: &Served, arguments: &[&str]) -> Served {
        let mut served = Served::empty(Arc::clone(&first.folder), arguments).await;
        let mut key = first
            .api::<Secret>()
            .get("ark-repository-key")
            .await
            .unwrap();
        key.metadata = kube::api::ObjectMeta {
            name: key.metadata.name,
            ..Default::default()
        };
        let secrets: Api<Secret> = served.api();
        secrets.create(&PostParams::default(), &key).await.unwrap();
        served.location("ReadOnly").await;
        served.run();
        served
    }

    /// A cluster with ark's definitions and no server.
    async fn empty(folder: Arc<TempDir>, arguments: &[&str]) -> Served {
        let served = Served::bare(folder, arguments).await;
        served.define().await;
        served
    }

    /// A cluster with nothing of ark's.
    pub async fn bare(folder: Arc<TempDir>, arguments: &[&str]) -> Served {
        let plane = ControlPlane::start().await.unwrap();
        let client = client(&plane).await;
        let ark = ark().with("KUBECONFIG", plane.kubeconfig());
        Served {
            plane,
            client,
            ark,
            folder,
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            server: None,
        }
    }

    /// Brings ark's definitions and namespace.
    pub async fn define(&self) {
        apply_definitions(&self.client).await;
        self.namespace(NAMESPACE).await;
    }

    pub async fn location(&self, access: &str) {
        let location = json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "BackupStorageLocation",
            "metadata": { "name": "default" },
            "spec": {
                "provider": "local",
                "objectStorage": { "bucket": self.root() },
                "default": true,
                "accessMode": access,
            },
        });
        self.create::<BackupStorageLocation>(location).await;
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Starts the server.
    pub fn run(&mut self) {
        let mut arguments = vec![
            "server",
            "--metrics-address",
            "127.0.0.1:0",
            "--lease-duration",
            "3s",
            "--log-level",
            "info",
        ];
        if !self
            .arguments
            .iter()
            .any(|said| said == "--download-address")
        {
            arguments.extend(["--download-address", "127.0.0.1:0"]);
        }
        arguments.extend(self.arguments.iter().map(String::as_str));
        self.server = Some(self.ark.start(&arguments));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let server = self.server.take().unwrap();
        server.kill();
        assert_eq!(server.wait().code, None);
    }

    /// Ends it, and shows what it has said.
    pub fn kill_and_read(&mut self, look: impl FnOnce(&str)) {
        look(&self.said());
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> Ran {
        self.server.take().unwrap().wait()
    }

    /// Ends it as Kubernetes does first.
    pub fn stop(&mut self) {
        let server = self.server.take().unwrap();
        server.interrupt();
        let ran = server.wait();
        assert_eq!(ran.code, Some(0), "{ran}");
    }

    pub async fn namespace(&self, name: &str) {
        let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let api = self.api::<K>();
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    pub async fn backup(&self, name: &str, spec: Value) -> Backup {
        self.create(object("Backup", name, spec)).await
    }

    pub async fn restore(&self, name: &str, spec: Value) -> Restore {
        self.create(object("Restore", name, spec)).await
    }

    /// Waits until the object is as wanted.
    pub async fn until<K>(&mut self, name: &str, what: &str, wanted: impl Fn(&K) -> bool) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api = self.api::<K>();
        let waiting = await_condition(api.clone(), name, |object: Option<&K>| {
            object.is_some_and(&wanted)
        });
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(object) => object.unwrap().unwrap(),
            Err(_) => {
                let last = api.get_opt(name).await;
                panic!("{name} is not {what}: {last:#?}\n{}", self.said());
            }
        }
    }

    /// What the server has said. It is ended for that.
    fn said(&mut self) -> String {
        match self.server.take() {
            Some(server) => {
                server.kill();
                server.wait().stderr
            }
            None => "no server".to_owned(),
        }
    }

    pub async fn finished_backup(&mut self, name: &str) -> Backup {
        self.until(name, "finished", |backup: &Backup| {
            let status = backup.status.as_ref();
            status.is_some_and(|status| status.completion_timestamp.is_some())
        })
        .await
    }

    pub async fn finished_restore(&mut self, name: &str) -> Restore {
        self.until(name, "finished", |restore: &Restore| {
            let status = restore.status.as_ref();
            status.is_some_and(|status| status.completion_timestamp.is_some())
        })
        .await
    }

    /// `ark` that opens the repository with the key in the Secret.
    pub async fn direct(&self) -> Ark {
        let secrets: Api<Secret> = self.api();
        let secret = secrets.get("ark-repository-key").await.unwrap();
        let key = &secret.data.unwrap()["key"].0;
        std::fs::write(self.ark.home().join("key"), key).unwrap();
        open_with(&self.ark, &format!("file://{}", self.root().display()))
    }

    /// The backups in the repository by name and id.
    pub async fn in_repository(&self) -> Vec<(String, String)> {
        let rows = self.direct().await.run(&["backup", "get", "-o", "json"]);
        let rows = rows.done().json();
        let items = rows["items"].as_array().unwrap();
        items
            .iter()
            .map(|row| {
                (
                    row["metadata"]["name"].as_str().unwrap().to_owned(),
                    row["repository"]["id"].as_str().unwrap().to_owned(),
                )
            })
            .collect()
    }

    /// Reasons of the Events about an object.
    pub async fn events(&self, of: &impl Resource<DynamicType = ()>) -> Vec<String> {
        let events: Api<k8s_openapi::api::events::v1::Event> = self.api();
        let uid = of.meta().uid.clone();
        let listed = events.list(&ListParams::default()).await.unwrap();
        listed
            .items
            .into_iter()
            .filter(|event| {
                event
                    .regarding
                    .as_ref()
                    .is_some_and(|object| object.uid == uid)
            })
            .filter_map(|event| event.reason)
            .collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.kill();
        }
    }
}

pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "ark.heptio.com/v1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// The value of an annotation.
pub fn annotation<'a>(of: &'a impl ResourceExt, name: &str) -> Option<&'a str> {
    of.annotations().get(name).map(String::as_str)
}
