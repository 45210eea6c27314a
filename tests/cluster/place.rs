//! Where a repository is: a folder or a bucket, and `ark` set up to use it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ark_engine::store::{Store, StoreOptions};
use ark_format::layout::{self, Object};
use ark_testkit::{Ark, Minio, Ran};
use serde_json::Value;
use tempfile::TempDir;

/// `ark` with nothing set.
pub fn ark() -> Ark {
    Ark::new(env!("CARGO_BIN_EXE_ark")).unwrap()
}

/// A repository and a program that opens it.
pub struct Place {
    pub ark: Ark,
    pub url: String,
    pub store: Store,
    folder: Option<TempDir>,
    _minio: Option<Minio>,
}

impl Place {
    /// A new repository in a folder.
    pub fn folder(kubeconfig: &Path) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("repository");
        let url = format!("file://{}", root.display());
        let ark = open_with(&ark(), &url).with("KUBECONFIG", kubeconfig);
        ark.run(&["repo", "init"]).done();
        Place {
            store: Store::open(&url, &StoreOptions::default()).unwrap(),
            ark,
            url,
            folder: Some(folder),
            _minio: None,
        }
    }

    /// A new repository in a bucket of a MinIO of its own. The address and the credentials come from the environment.
    pub async fn minio(kubeconfig: &Path) -> Place {
        let minio = Minio::start().await.unwrap();
        minio.create_bucket("backups").unwrap();
        let url = "s3://backups/ark".to_owned();
        let ark = with_minio(&open_with(&ark(), &url), &minio).with("KUBECONFIG", kubeconfig);
        ark.run(&["repo", "init"]).done();
        let options = StoreOptions {
            allow_http: true,
            env: variables(&minio),
            ..StoreOptions::default()
        };
        Place {
            store: Store::open(&url, &options).unwrap(),
            ark,
            url,
            folder: None,
            _minio: Some(minio),
        }
    }

    /// The repository's folder, if it is in one.
    pub fn root(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.path().join("repository"))
    }

    pub fn backup(&self, name: &str) -> Value {
        let ran = self.ark.run(&["backup", "create", name, "-o", "json"]);
        ran.done().json()
    }

    /// The objects of the repository.
    pub async fn keys(&self) -> BTreeSet<String> {
        let objects = self.store.list("").await.unwrap();
        objects.into_iter().map(|object| object.key).collect()
    }

    /// Every byte is what it must be, everything is ark's, and no pack is garbage.
    pub fn assert_sound(&self) -> Value {
        let report = self.verify_data().done().json();
        assert_eq!(report["damage"], serde_json::json!([]), "{report:#}");
        assert_eq!(report["foreign"], serde_json::json!([]), "{report:#}");
        report
    }

    pub fn verify_data(&self) -> Ran {
        self.ark.run(&["verify", "--read-data", "-o", "json"])
    }

    /// After `prune --now` with nothing else running: no pack that nothing needs, no half-written pack, and of everything
    /// else only what is in force, what an ended session left less than two epochs ago, and the prune's own session.
    pub async fn assert_no_garbage(&self) {
        let report = self.assert_sound();
        assert_eq!(report["unreferenced"], serde_json::json!([]), "{report:#}");
        let head = report["epoch"].as_u64().unwrap();
        let backups = self.backup_ids();
        let mut sessions: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for key in self.keys().await {
            let in_force = match layout::parse(&key).unwrap() {
                Object::Manifest(_, id) if backups.contains(&id.to_string()) => true,
                Object::Session(epoch, id) | Object::Manifest(epoch, id) => {
                    if epoch + 1 < head {
                        sessions.entry(id).or_default().push(key.clone());
                    }
                    true
                }
                Object::EpochBody(number) => number == head,
                Object::Heartbeat(..) | Object::Tombstone(..) | Object::Undo(..) => false,
                _ => true,
            };
            assert!(in_force, "{key} is left over at epoch {head}");
        }
        assert!(sessions.len() <= 1, "left over at {head}: {sessions:#?}");
        if let Some(root) = self.root() {
            for folder in ["packs", "index", "manifests"] {
                let staged = half_written(&root.join(folder));
                assert_eq!(staged, Vec::<PathBuf>::new());
            }
        }
    }

    fn backup_ids(&self) -> BTreeSet<String> {
        let rows = self.ark.run(&["backup", "get", "-o", "json"]).done();
        let rows = rows.json();
        let items = rows["items"].as_array().unwrap();
        let id = |row: &Value| row["repository"]["id"].as_str().unwrap().to_owned();
        items.iter().map(id).collect()
    }

    /// Names of the backups, newest first.
    pub fn backups(&self) -> Vec<String> {
        let ran = self.ark.run(&["backup", "get", "-o", "json"]).done();
        let rows = ran.json();
        let items = rows["items"].as_array().unwrap();
        let name = |row: &Value| row["metadata"]["name"].as_str().unwrap().to_owned();
        items.iter().map(name).collect()
    }

    /// What a backup lists, and the bytes of some of its objects.
    pub fn content(&self, backup: &str) -> (String, Vec<String>) {
        let list = self.ark.run(&["backup", "ls", backup, "-o", "json"]).done();
        let mut objects = Vec::new();
        for (resource, object) in SAMPLES {
            let ran = self.ark.run(&["backup", "cat", backup, resource, object]);
            objects.push(ran.done().stdout);
        }
        (list.stdout, objects)
    }
}

/// Objects that are in every backup of every cluster.
const SAMPLES: [(&str, &str); 3] = [
    ("namespaces", "kube-system"),
    ("clusterroles", "cluster-admin"),
    ("services", "default/kubernetes"),
];

fn half_written(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // A folder that was never written to is not there.
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(half_written(&path));
        } else if path.to_string_lossy().contains('#') {
            found.push(path);
        }
    }
    found
}

/// `ark` that opens `url` with a key file in its home.
pub fn open_with(ark: &Ark, url: &str) -> Ark {
    ark.with("ARK_REPOSITORY", url)
        .with("ARK_KEY_FILE", ark.home().join("key"))
}

/// The address and credentials of a MinIO, as S3's own tools read them.
pub fn with_minio(ark: &Ark, minio: &Minio) -> Ark {
    let variables = variables(minio);
    let set = |ark: Ark, (name, value): (&String, &String)| ark.with(name, value);
    variables.iter().fold(ark.clone(), set)
}

fn variables(minio: &Minio) -> BTreeMap<String, String> {
    let variables = minio.environment().into_iter();
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
