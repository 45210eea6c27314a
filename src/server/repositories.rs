//! The repositories of the locations: each opened once, shared, and opened again when its location or a Secret changes.
//!
//! What it guarantees:
//!
//! * Who asks gets the repository that the location names now: its spec and both Secrets are read each time, and an open repository is
//!   handed out again only if all of it is as it was. Work under way keeps the one that it began with.
//! * Only [`Repositories::establish`] makes anything: a key and a repository, in that order, in an empty place, for a location that may
//!   be written to. A repository that it makes has no recovery key, which nobody would be shown: what counts as a second key is one that
//!   somebody holds.
//! * A repository that was seen at a location is not replaced by another one, or by a new one, unless somebody says so: an emptied bucket
//!   is a loss to be told, not a place for a fresh start.
//! * A repository is held by one location: a second one is refused.
//! * Certificates go into files of their own, named by their content; credentials go nowhere.
//! * The cache folder keeps what open repositories need, and of others not more than it was told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};

use ark_engine::store::Store;
use ark_engine::{Env, OpenOptions, Repository};
use ark_format::layout;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::{Client, ResourceExt};
use thiserror::Error;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::bucket::{self, Bucket, BucketError, Place};
use super::cache;
use super::holders::{self, Holders};
use super::key::{self, Action, Found, Holds, KeyError};
use super::leftover;
use super::listing::list_in;
use super::settings::Settings;
use super::told::told;
use crate::api::{
    AccessMode, BackupRepository, BackupRepositoryStatus, BackupStorageLocation, SecretKey,
};

/// Top-level folders of a Velero location.
const VELERO: [&str; 6] = [
    "backups", "restores", "kopia", "restic", "metadata", "plugins",
];

/// An open repository of a location.
pub struct Opened {
    /// The location's name.
    pub name: String,
    /// The repository.
    pub repository: Repository,
    /// Whether the location forbids writing.
    pub read_only: bool,
    /// What of the location's settings has no effect, with the reason.
    pub notes: Vec<String>,
    /// Of everything that it was opened with.
    fingerprint: blake3::Hash,
}

/// Why a location has no repository that could be used.
#[derive(Debug, Error)]
pub enum RepositoriesError {
    /// No location of that name.
    #[error(
        "there is no BackupStorageLocation {name}: make it, or name one that kubectl -n {namespace} get backupstoragelocations lists"
    )]
    NoLocation {
        /// Its name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// The apiserver does not answer as it should.
    #[error("cannot read {what} of the location {location}")]
    Cluster {
        /// The location.
        location: String,
        /// What was asked for.
        what: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The credential Secret is not there.
    #[error(
        "the location {location} takes its credential from the key {key} of the Secret {secret}, which is not there"
    )]
    NoCredential {
        /// The location.
        location: String,
        /// The Secret.
        secret: String,
        /// The key in it.
        key: String,
    },
    /// The location makes no sense.
    #[error("the location {location} is not valid: {source}")]
    Invalid {
        /// The location.
        location: String,
        /// Why.
        source: BucketError,
    },
    /// There is no key.
    #[error("the location {location} has no key: {source}")]
    Key {
        /// The location.
        location: String,
        /// Why.
        source: KeyError,
    },
    /// A file of the server's cache cannot be written.
    #[error("cannot write {} for the location {location}", path.display())]
    File {
        /// The location.
        location: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The repository that was there is not there any more.
    #[error(
        "the location {location} held the repository {seen} and now holds {}: nothing is made or changed there. Put the bucket right; if \
         this is meant, delete the BackupRepository {location}, and the objects of backups that are not there go",
        found.as_deref().unwrap_or("nothing")
    )]
    Replaced {
        /// The location.
        location: String,
        /// The repository that was there.
        seen: String,
        /// The one that is there.
        found: Option<String>,
    },
    /// Another location has the same repository.
    #[error(
        "the location {location} is at the repository {repository}, which the location {other} holds: two locations cannot show the same \
         backups. Delete one of them; no data is lost by that"
    )]
    Twin {
        /// The location.
        location: String,
        /// The one that holds it.
        other: String,
        /// The repository.
        repository: String,
    },
    /// The repository is older than it was.
    #[error(
        "the repository of the location {location} is at epoch {found} and was seen at {seen}: an older copy of the bucket was put back. \
         If that was meant, delete the BackupRepository {location}"
    )]
    RolledBack {
        /// The location.
        location: String,
        /// The epoch that is there.
        found: u64,
        /// The newest one that was seen.
        seen: u64,
    },
    /// The repository cannot be opened or made.
    #[error(
        "the repository of the location {location} cannot be used: {}",
        told(source)
    )]
    Engine {
        /// The location.
        location: String,
        /// Why.
        source: Box<ark_engine::Error>,
    },
}

type Slot = Arc<Mutex<Option<Arc<Opened>>>>;

/// The repositories of all locations. Clones share them.
#[derive(Clone)]
pub struct Repositories(Arc<Inner>);

struct Inner {
    client: Client,
    env: Env,
    settings: Arc<Settings>,
    /// By location; the lock of one is held while it is opened.
    slots: SyncMutex<BTreeMap<String, Slot>>,
    holders: Holders,
}

/// Everything that a location says, Secrets included.
struct Prepared {
    name: String,
    bucket: Bucket,
    reference: SecretKey,
    found: Found,
    key: Zeroizing<Vec<u8>>,
    read_only: bool,
}

impl Repositories {
    /// Repositories that are opened as the settings say.
    pub fn new(client: Client, env: Env, settings: Arc<Settings>) -> Repositories {
        Repositories(Arc::new(Inner {
            client,
            env,
            settings,
            slots: SyncMutex::default(),
            holders: Holders::default(),
        }))
    }

    /// The repository of the location of this name. It must be there already.
    ///
    /// # Errors
    /// [`RepositoriesError`]. All but `Invalid` may pass by themselves.
    pub async fn get(&self, location: &str) -> Result<Arc<Opened>, RepositoriesError> {
        let found = self.locations().get_opt(location).await;
        let found = found
            .map_err(|source| cluster(location, "the object", source))?
            .ok_or_else(|| RepositoriesError::NoLocation {
                name: location.to_owned(),
                namespace: self.0.settings.namespace.clone(),
            })?;
        self.open(&found, false).await
    }

    /// As [`Repositories::get`]; makes the key and the repository if the place is empty and may be written to.
    ///
    /// # Errors
    /// [`RepositoriesError`].
    pub async fn establish(
        &self,
        location: &BackupStorageLocation,
    ) -> Result<Arc<Opened>, RepositoriesError> {
        self.open(location, true).await
    }

    /// The location of backups that name none.
    ///
    /// # Errors
    /// The apiserver's: then nobody knows.
    pub async fn default_location(&self) -> Result<Option<String>, kube::Error> {
        let (client, namespace) = (&self.0.client, &self.0.settings.namespace);
        let listed = list_in::<BackupStorageLocation>(client, namespace).await?;
        // Of those that cannot be read nobody knows whether they are the default.
        let marked = listed.items.iter().any(|location| location.spec.default);
        Ok(match listed.broken.is_empty() || marked {
            true => choose_default(&listed.items),
            false => None,
        })
    }

    /// Checks that what is open is no older than what was seen of it.
    ///
    /// # Errors
    /// [`RepositoriesError`].
    pub async fn confirm(&self, opened: &Opened) -> Result<(), RepositoriesError> {
        let known = self.remembered(&opened.name).await?;
        self.refuse_other(&opened.name, &opened.repository, known)
            .await
    }

    /// Lets go of the repositories of locations that are no more.
    pub fn retain(&self, locations: &[String]) {
        let before = self.slots().len();
        self.0.holders.retain(locations);
        self.slots().retain(|name, _| locations.contains(name));
        if self.slots().len() < before {
            self.trim_cache();
        }
    }

    /// Ends the sessions that this process has not ended, so that no prune waits for them.
    pub async fn end_sessions(&self) {
        let slots: Vec<Slot> = self.slots().values().cloned().collect();
        for slot in slots {
            let opened = slot.lock().await.clone();
            if let Some(opened) = opened {
                opened.repository.end_sessions().await;
            }
        }
    }

    fn locations(&self) -> Api<BackupStorageLocation> {
        Api::namespaced(self.0.client.clone(), &self.0.settings.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.0.client.clone(), &self.0.settings.namespace)
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(
        &self,
        location: &BackupStorageLocation,
        make: bool,
    ) -> Result<Arc<Opened>, RepositoriesError> {
        let name = location.name_any();
        let slot = Arc::clone(self.slots().entry(name).or_default());
        let mut slot = slot.lock().await;
        let prepared = self.prepare(location).await?;
        let fingerprint = prepared.fingerprint();
        if let Some(opened) = slot.as_ref().filter(|o| o.fingerprint == fingerprint) {
            return Ok(Arc::clone(opened));
        }
        // What was opened with other settings is not handed out again, whatever comes of this.
        *slot = None;
        self.0.holders.release(&prepared.name);
        let opened = Arc::new(self.open_new(prepared, make).await?);
        *slot = Some(Arc::clone(&opened));
        drop(slot);
        self.trim_cache();
        Ok(opened)
    }

    async fn prepare(
        &self,
        location: &BackupStorageLocation,
    ) -> Result<Prepared, RepositoriesError> {
        let name = location.name_any();
        let spec = &location.spec;
        let credential = match &spec.credential {
            None => None,
            Some(named) => {
                let what = format!("the Secret {}", named.name);
                let (found, bytes) = key::read(&self.secrets(), named)
                    .await
                    .map_err(|source| cluster(&name, &what, source))?;
                if found != Found::Key {
                    return Err(RepositoriesError::NoCredential {
                        location: name,
                        secret: named.name.clone(),
                        key: named.key.clone(),
                    });
                }
                Some(bytes)
            }
        };
        let place = Place {
            provider: spec.provider.name(),
            bucket: &spec.object_storage.bucket,
            prefix: spec.object_storage.prefix.as_deref(),
            ca_cert: spec
                .object_storage
                .ca_cert
                .as_ref()
                .map(|pem| pem.0.as_slice()),
            config: spec.config.clone(),
        };
        let bucket = bucket::bucket(
            &place,
            credential.as_ref().map(|bytes| bytes.as_slice()),
            &self.0.settings.environment,
        )
        .map_err(|source| RepositoriesError::Invalid {
            location: name.clone(),
            source,
        })?;
        let reference = key::reference(spec.repository_key.as_ref());
        let what = format!("the Secret {}", reference.name);
        let (found, key) = key::read(&self.secrets(), &reference)
            .await
            .map_err(|source| cluster(&name, &what, source))?;
        Ok(Prepared {
            read_only: spec.access_mode == AccessMode::ReadOnly,
            name,
            bucket,
            reference,
            found,
            key,
        })
    }

    async fn open_new(
        &self,
        mut prepared: Prepared,
        make: bool,
    ) -> Result<Opened, RepositoriesError> {
        let location = prepared.name.clone();
        let engine = |source: ark_engine::Error| RepositoriesError::Engine {
            location: location.clone(),
            source: Box::new(source),
        };
        let writable = make && !prepared.read_only;
        let mut options = prepared.bucket.options.clone();
        options.ca_file = self.ca_file(&prepared).await?;
        let url = &prepared.bucket.url;
        let store = match writable {
            true => Store::create_root(url, &options),
            false => Store::open(url, &options),
        };
        let store = store.map_err(|error| engine(error.into()))?;
        let known = self.remembered(&location).await?;
        let seen = known.as_ref().and_then(|known| known.repository_id.clone());
        let holds = match looks(&store).await {
            // Made by a server that was stopped in the middle.
            Err(error @ ark_engine::Error::Foreign { .. }) if writable && seen.is_none() => {
                let removed = leftover::remove(&store, self.0.env.clock.now_ms()).await;
                match removed.map_err(|error| engine(error.into()))? {
                    true => Holds::Nothing,
                    false => return Err(engine(error)),
                }
            }
            holds => holds.map_err(engine)?,
        };
        if let (Holds::Nothing, Some(seen)) = (holds, seen) {
            return Err(RepositoriesError::Replaced {
                location,
                seen,
                found: None,
            });
        }
        if holds == Holds::Nothing && !make {
            return Err(engine(ark_engine::Error::NotARepository {
                url: store.url().to_owned(),
            }));
        }
        let action = key::decide(
            prepared.found,
            holds,
            writable,
            &prepared.reference,
            &self.0.settings.namespace,
            store.url(),
        );
        match action {
            Action::Use => {}
            Action::Refuse(source) => {
                return Err(RepositoriesError::Key { location, source });
            }
            Action::Create => {
                let what = format!("the Secret {}", prepared.reference.name);
                let secrets = self.secrets();
                key::create(&secrets, &prepared.reference, &self.0.env)
                    .await
                    .map_err(|source| cluster(&location, &what, source))?;
                // As the apiserver has it: somebody may have been faster.
                (prepared.found, prepared.key) = key::read(&secrets, &prepared.reference)
                    .await
                    .map_err(|source| cluster(&location, &what, source))?;
            }
        }
        let unlock = key::unlock(&prepared.key).map_err(engine)?;
        let env = self.0.env.clone();
        let repository = match holds {
            Holds::Nothing => {
                let made = Repository::init_with_one_key(store, env, &unlock)
                    .await
                    .map_err(engine)?;
                tracing::info!(%location, url, id = %made.id(), "made a repository");
                // Opened again with the cache and the memory of this server.
                let store = made.store().clone();
                Repository::open(store, self.0.env.clone(), &unlock, self.open_options()).await
            }
            Holds::Repository => Repository::open(store, env, &unlock, self.open_options()).await,
        };
        let repository = repository.map_err(engine)?;
        self.refuse_other(&location, &repository, known).await?;
        self.refuse_twin(&location, &repository).await?;
        Ok(Opened {
            repository,
            read_only: prepared.read_only,
            fingerprint: prepared.fingerprint(),
            notes: prepared.bucket.notes,
            name: prepared.name,
        })
    }

    /// Refuses a repository that another location holds.
    async fn refuse_twin(
        &self,
        location: &str,
        repository: &Repository,
    ) -> Result<(), RepositoriesError> {
        let id = repository.id().to_string();
        let (client, namespace) = (&self.0.client, &self.0.settings.namespace);
        let read = |source| cluster(location, "the other locations", source);
        let locations = list_in(client, namespace).await.map_err(read)?;
        let known = list_in(client, namespace).await.map_err(read)?;
        let on_record = holders::on_record(location, &id, &locations.items, &known.items);
        let other = match on_record {
            Some(other) => Some(other),
            None => self.0.holders.claim(location, &id).err(),
        };
        match other {
            None => Ok(()),
            Some(other) => Err(RepositoriesError::Twin {
                location: location.to_owned(),
                other,
                repository: id,
            }),
        }
    }

    /// What the cluster remembers of the repository of a location.
    async fn remembered(
        &self,
        location: &str,
    ) -> Result<Option<BackupRepositoryStatus>, RepositoriesError> {
        let api: Api<BackupRepository> =
            Api::namespaced(self.0.client.clone(), &self.0.settings.namespace);
        let known = api
            .get_opt(location)
            .await
            .map_err(|source| cluster(location, "the BackupRepository", source))?;
        Ok(known.and_then(|known| known.status))
    }

    /// The cache folder may be new, and the memory of which epoch was seen with it: the cluster remembers too.
    async fn refuse_other(
        &self,
        location: &str,
        repository: &Repository,
        known: Option<BackupRepositoryStatus>,
    ) -> Result<(), RepositoriesError> {
        let id = repository.id().to_string();
        let known = known.unwrap_or_default();
        if let Some(seen) = known.repository_id.filter(|seen| *seen != id) {
            return Err(RepositoriesError::Replaced {
                location: location.to_owned(),
                seen,
                found: Some(id),
            });
        }
        let Some(seen) = known.epoch else {
            return Ok(());
        };
        let head = repository.head().await;
        let found = head
            .map_err(|source| RepositoriesError::Engine {
                location: location.to_owned(),
                source: Box::new(source),
            })?
            .stub
            .number;
        match found < seen {
            true => Err(RepositoriesError::RolledBack {
                location: location.to_owned(),
                found,
                seen,
            }),
            false => Ok(()),
        }
    }

    fn open_options(&self) -> OpenOptions {
        let folder = self.0.settings.cache_dir.as_ref();
        OpenOptions {
            cache_dir: folder.map(|folder| folder.join(cache::INDEX)),
            state_dir: folder.map(|folder| folder.join("state")),
            memory: self.0.settings.memory,
        }
    }

    /// The file with the certificates that the location trusts.
    async fn ca_file(&self, prepared: &Prepared) -> Result<Option<PathBuf>, RepositoriesError> {
        let Some(pem) = &prepared.bucket.ca else {
            return Ok(None);
        };
        let folder = match &self.0.settings.cache_dir {
            Some(folder) => folder.join("ca"),
            None => std::env::temp_dir().join(format!("ark-ca-{}", std::process::id())),
        };
        let path = folder.join(format!("{}.pem", blake3::hash(pem).to_hex()));
        write_once(&path, pem)
            .await
            .map_err(|source| RepositoriesError::File {
                location: prepared.name.clone(),
                path: path.clone(),
                source,
            })?;
        Ok(Some(path))
    }

    fn trim_cache(&self) {
        let Some(folder) = self.0.settings.cache_dir.clone() else {
            return;
        };
        let slots: Vec<Slot> = self.slots().values().cloned().collect();
        let mut open = Vec::new();
        for slot in slots {
            match slot.try_lock() {
                Ok(opened) => {
                    if let Some(opened) = opened.as_ref() {
                        open.push(opened.repository.id().to_string());
                    }
                }
                // Somebody is opening it: which folder it will use is not known yet. Another time.
                Err(_) => return,
            }
        }
        let limit = self.0.settings.cache_limit;
        tokio::task::spawn_blocking(move || cache::trim(&folder, &open, limit));
    }
}

impl Prepared {
    fn fingerprint(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        let options = &self.bucket.options;
        // Debug of a map of strings is unambiguous; the hash keeps nothing of it.
        let text = Zeroizing::new(format!(
            "{:?}",
            (
                &self.bucket.url,
                options,
                &self.bucket.ca,
                self.read_only,
                &self.reference,
                self.key.as_slice()
            )
        ));
        hash.update(text.as_bytes());
        hash.finalize()
    }
}

/// What lies at the store: a repository, nothing, or what is somebody else's.
async fn looks(store: &Store) -> Result<Holds, ark_engine::Error> {
    if store.head(layout::CONFIG).await?.is_some() {
        return Ok(Holds::Repository);
    }
    let Some(found) = store.first("").await? else {
        return Ok(Holds::Nothing);
    };
    let top = found.key.split('/').next().unwrap_or_default();
    let velero = VELERO.contains(&top);
    Err(ark_engine::Error::Foreign {
        url: store.url().to_owned(),
        example: found.key,
        velero,
    })
}

async fn write_once(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if tokio::fs::read(path).await.is_ok_and(|held| held == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    tokio::fs::write(path, bytes).await
}

fn cluster(location: &str, what: &str, source: kube::Error) -> RepositoriesError {
    RepositoriesError::Cluster {
        location: location.to_owned(),
        what: what.to_owned(),
        source: Box::new(source),
    }
}

/// The location that is marked as the default one; of several the oldest; the only one if none is marked.
pub fn choose_default(locations: &[BackupStorageLocation]) -> Option<String> {
    let age = |location: &&BackupStorageLocation| {
        (
            location.creation_timestamp().map(|time| time.0),
            location.name_any(),
        )
    };
    let marked = locations.iter().filter(|location| location.spec.default);
    match (marked.min_by_key(age), locations) {
        (Some(marked), _) => Some(marked.name_any()),
        (None, [only]) => Some(only.name_any()),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::api::Time;

    fn location(name: &str, default: bool, made: &str) -> BackupStorageLocation {
        let mut location: BackupStorageLocation = serde_json::from_value(serde_json::json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "BackupStorageLocation",
            "metadata": {"name": name},
            "spec": {"provider": "local", "objectStorage": {"bucket": "/b"}, "default": default},
        }))
        .unwrap();
        location.metadata.creation_timestamp = Some(Time(made.parse().unwrap()));
        location
    }

    #[test]
    fn the_default_is_the_marked_one_or_the_only_one() {
        let old = "2026-01-01T00:00:00Z";
        let new = "2026-02-01T00:00:00Z";
        for (locations, expected) in [
            (vec![], None),
            (vec![location("a", false, old)], Some("a")),
            (
                vec![location("a", false, old), location("b", false, new)],
                None,
            ),
            (
                vec![location("a", false, old), location("b", true, new)],
                Some("b"),
            ),
            (
                vec![location("a", true, new), location("b", true, old)],
                Some("b"),
            ),
            (
                vec![location("b", true, old), location("a", true, old)],
                Some("a"),
            ),
        ] {
            assert_eq!(choose_default(&locations).as_deref(), expected);
        }
    }
}
