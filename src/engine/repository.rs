//! Creating and opening a repository.
//!
//! A [`Repository`] is a store, the key set, and the settings; it holds no state that could be stale. What the
//! repository consists of at a moment is a [`crate::view::View`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ark_format::config::{ChunkSizes, Config, Features, SETTINGS_MAGIC, Settings};
use ark_format::documents::{DataKey, EpochBody, EpochStub};
use ark_format::envelope::{Kind, Sealer, to_bytes};
use ark_format::limits::{FORMAT_VERSION, SMALL_OBJECT_MAX};
use ark_format::seal::Cipher;
use ark_format::sign::{self, PublicKey};
use ark_format::slot::{Role, SlotDocument};
use ark_format::{KeySet, RepositoryId, SessionId, layout};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::data_keys::DataKeys;
use crate::error::DamagedAt;
use crate::reserve::{ReserveDocument, noise};
use crate::slots::{self, Unlock};
use crate::store::{Created, Store, StoreError};
use crate::{Env, Error, Result};

/// How to make a repository.
pub struct InitOptions {
    /// The first key slot.
    pub unlock: Unlock,
}

/// A new repository.
pub struct Initialised {
    /// It, open.
    pub repository: Repository,
    /// The printable recovery key: shown once, kept nowhere.
    pub recovery_key: String,
}

/// How to open a repository.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Where control objects are cached.
    pub cache_dir: Option<PathBuf>,
    /// Where the newest epoch seen is remembered, to detect a rollback.
    pub state_dir: Option<PathBuf>,
    /// The budget of buffers, in bytes.
    pub memory: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            cache_dir: None,
            state_dir: None,
            memory: 64 << 20,
        }
    }
}

/// An open repository. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub store: Store,
    pub env: Env,
    pub settings: Settings,
    pub public_key: PublicKey,
    pub keys: KeySet,
    pub data_keys: DataKeys,
    pub role: Role,
    pub slot: String,
    pub slot_created: i64,
    pub slot_label: String,
    pub cache: Cache,
    pub state_dir: Option<PathBuf>,
    pub memory: u64,
    /// Sessions of this process that have not ended, with the epoch in their key.
    pub open: Mutex<BTreeMap<SessionId, u64>>,
    /// Forged objects that were met, each told once.
    pub forged: Mutex<BTreeSet<String>>,
    /// Objects whose deletion the store refused for now, with the time it named.
    pub retained: Mutex<BTreeMap<String, Option<String>>>,
}

/// What `ark repo info` shows.
#[derive(Clone, Debug, Serialize)]
pub struct RepositoryInfo {
    /// Where.
    pub url: String,
    /// Its id.
    pub id: RepositoryId,
    /// Format version.
    pub version: u16,
    /// The AEAD.
    pub cipher: Cipher,
    /// The role of the key in use.
    pub role: Role,
    /// The data key that new data is sealed with.
    pub data_key: Option<u16>,
    /// The newest epoch.
    pub epoch: u64,
    /// Backups, forgotten ones left out.
    pub backups: usize,
    /// Forgotten backups that prune has not collected.
    pub forgotten: usize,
    /// Sessions open now.
    pub sessions: usize,
    /// Packs in the index.
    pub packs: usize,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Chunks in the index.
    pub chunks: u64,
    /// Bytes of index segments.
    pub index_bytes: u64,
}

impl Repository {
    /// Makes a repository in an empty place ([`Store::create_root`] makes a missing local folder) and opens it.
    ///
    /// # Errors
    /// [`Error::AlreadyARepository`], [`Error::Foreign`], or the store's.
    pub async fn init(store: Store, env: Env, options: InitOptions) -> Result<Initialised> {
        let (repository, recovery_key) = Self::make(store, env, &options.unlock, true).await?;
        Ok(Initialised {
            repository,
            recovery_key: recovery_key.unwrap_or_default(),
        })
    }

    /// As [`Repository::init`], without a recovery key: nobody is there who could keep it. The key given is the only one until
    /// [`Repository::add_key`] or [`Repository::add_recovery_key`].
    ///
    /// # Errors
    /// As [`Repository::init`].
    pub async fn init_with_one_key(store: Store, env: Env, unlock: &Unlock) -> Result<Repository> {
        Ok(Self::make(store, env, unlock, false).await?.0)
    }

    async fn make(
        store: Store,
        env: Env,
        unlock: &Unlock,
        recoverable: bool,
    ) -> Result<(Repository, Option<String>)> {
        if store.head(layout::CONFIG).await?.is_some() {
            return Err(Error::AlreadyARepository {
                url: store.url().to_owned(),
            });
        }
        if let Some(found) = store.first("").await? {
            let top = found.key.split('/').next().unwrap_or_default();
            let velero = [
                "backups", "restores", "kopia", "restic", "metadata", "plugins",
            ]
            .contains(&top);
            return Err(Error::Foreign {
                url: store.url().to_owned(),
                example: found.key,
                velero,
            });
        }
        store.probe_create().await?;

        let keys = KeySet::from_random(|| env.bytes());
        let id = RepositoryId(env.bytes());
        let cipher = preferred_cipher();
        let Some(seed) = keys.signing else {
            return Err(Error::Role {
                what: "make a repository",
            });
        };
        let settings = Settings {
            magic: SETTINGS_MAGIC.to_owned(),
            id,
            version: FORMAT_VERSION,
            features: Features::default(),
            cipher,
            ids: "blake3-128".to_owned(),
            chunks: ChunkSizes {
                min: 16 << 10,
                avg: 64 << 10,
                max: 256 << 10,
            },
            public_key: hex::encode(sign::public_key(&seed).making(layout::CONFIG)?),
        };

        // ark.json last: until it is there, nobody takes the place for a repository.
        let now = env.clock.now_ms();
        let document = SlotDocument {
            role: Role::Full,
            created: now,
            label: "first key".to_owned(),
            keys: keys.clone(),
        };
        slots::create(&store, &env, cipher, id, unlock, &document).await?;
        let mut recovery_key = None;
        if recoverable {
            let (recovery, text) = slots::new_recovery_key(&env);
            let document = SlotDocument {
                label: "recovery key".to_owned(),
                ..document
            };
            slots::create(&store, &env, cipher, id, &recovery, &document).await?;
            recovery_key = Some(text);
        }

        let data_key_name = layout::data_key(1);
        let data_key = DataKey {
            number: 1,
            key: env.bytes(),
        };
        let sealer = Sealer {
            cipher,
            repository: id,
            key: &keys.data,
        };
        let bytes = sealer
            .encode(Kind::DataKey, &data_key_name, env.salt(), &data_key)
            .making(&data_key_name)?;
        create_new(&store, &data_key_name, bytes).await?;

        let nonce = env.bytes();
        let sealer = Sealer {
            cipher,
            repository: id,
            key: &keys.index,
        };
        let body_key = layout::epoch_body(0, &nonce);
        let body = sealer
            .encode(
                Kind::EpochBody,
                &body_key,
                env.salt(),
                &EpochBody::default(),
            )
            .making(&body_key)?;
        let stub = EpochStub {
            number: 0,
            parent_hash: [0; 32],
            body_key: body_key.clone(),
            body_hash: *blake3::hash(&body).as_bytes(),
            body_size: body.len() as u64,
            nonce,
            created: now,
        };
        create_new(&store, &body_key, body).await?;
        let stub_key = layout::epoch_stub(0);
        let signed = sign::sign(
            &seed,
            id,
            Kind::EpochStub,
            &stub_key,
            to_bytes(&stub).making(&stub_key)?,
        )
        .making(&stub_key)?;
        let bytes = sealer
            .encode(Kind::EpochStub, &stub_key, env.salt(), &signed)
            .making(&stub_key)?;
        create_new(&store, &stub_key, bytes).await?;

        if store.is_on_a_disk() {
            let salt = env.salt();
            let bytes = sealer
                .encode(
                    Kind::Reserve,
                    layout::RESERVE,
                    salt,
                    &ReserveDocument {
                        filling: noise(&salt),
                    },
                )
                .making(layout::RESERVE)?;
            create_new(&store, layout::RESERVE, bytes).await?;
        }
        let bytes = Config::encode(&settings, &keys.settings_mac_key()).making(layout::CONFIG)?;
        create_new(&store, layout::CONFIG, bytes).await?;
        let repository = Repository::open(store, env, unlock, OpenOptions::default()).await?;
        Ok((repository, recovery_key))
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// [`Error::NotARepository`], [`Error::TooNew`], [`Error::WrongKey`], [`Error::WrongPassphrase`],
    /// [`Error::Damaged`], or the store's.
    pub async fn open(
        store: Store,
        env: Env,
        unlock: &Unlock,
        options: OpenOptions,
    ) -> Result<Repository> {
        let url = store.url().to_owned();
        let bytes = match store.get_bounded(layout::CONFIG, SMALL_OBJECT_MAX).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Err(Error::NotARepository { url }),
            Err(error) => return Err(error.into()),
        };
        let config = match Config::decode(&bytes) {
            Ok(config) => config,
            Err(ark_format::DecodeError::Unknown { what, found }) => {
                return Err(Error::TooNew {
                    url,
                    what: format!("{what} {found}"),
                });
            }
            Err(source) => {
                return Err(Error::Damaged {
                    object: layout::CONFIG.to_owned(),
                    source,
                });
            }
        };
        let unauthenticated = config.unauthenticated().clone();
        let unlocked = slots::unlock(
            &store,
            &env,
            unauthenticated.cipher,
            unauthenticated.id,
            unlock,
        )
        .await?;
        let keys = unlocked.document.keys.clone();
        let settings = config
            .authenticate(&keys.settings_mac_key())
            .at(layout::CONFIG)?;
        require(&url, &settings.features.read)?;
        let public_key = settings.public_key().at(layout::CONFIG)?;

        let cache = Cache::new(
            options
                .cache_dir
                .map(|dir| dir.join(settings.id.to_string())),
        );
        Ok(Repository {
            inner: Arc::new(Inner {
                public_key,
                data_keys: DataKeys::listed(unlocked.data_keys),
                role: unlocked.document.role,
                slot: unlocked.slot,
                slot_created: unlocked.document.created,
                slot_label: unlocked.document.label.clone(),
                keys,
                cache,
                state_dir: options.state_dir,
                memory: options.memory.max(8 << 20),
                open: Mutex::default(),
                forged: Mutex::default(),
                retained: Mutex::default(),
                settings,
                store,
                env,
            }),
        })
    }

    /// Refuses to write where a feature is mandatory for writing that this build does not know.
    pub(crate) fn may_write(&self) -> Result<()> {
        require(self.store().url(), &self.inner.settings.features.write)
    }

    /// Refuses to prune where a feature is mandatory for that which this build does not know.
    pub(crate) fn may_prune(&self) -> Result<()> {
        require(self.store().url(), &self.inner.settings.features.prune)
    }

    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.inner.settings.id
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Its surroundings.
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// The role of the key that opened it.
    pub fn role(&self) -> Role {
        self.inner.role
    }

    pub(crate) fn key_set(&self) -> &KeySet {
        &self.inner.keys
    }

    pub(crate) fn cipher(&self) -> Cipher {
        self.inner.settings.cipher
    }

    /// Seals and opens control documents.
    pub(crate) fn sealer(&self) -> Sealer<'_> {
        Sealer {
            cipher: self.cipher(),
            repository: self.id(),
            key: &self.inner.keys.index,
        }
    }

    /// Seals a document and creates its object.
    pub(crate) async fn create_document<T: Serialize>(
        &self,
        kind: Kind,
        key: &str,
        document: &T,
    ) -> Result<Made> {
        let bytes = self
            .sealer()
            .encode(kind, key, self.env().salt(), document)
            .making(key)?;
        let size = bytes.len() as u64;
        Ok(match self.store().create(key, bytes.into()).await? {
            Created::New => Made::New { size },
            Created::Exists(bytes) => Made::Exists(bytes),
        })
    }

    /// Reads and opens a document that is small and not cached.
    pub(crate) async fn read_document<T: DeserializeOwned>(
        &self,
        kind: Kind,
        key: &str,
    ) -> Result<T> {
        let bytes = self.store().get_bounded(key, SMALL_OBJECT_MAX).await?;
        self.sealer().decode(kind, key, &bytes).at(key)
    }

    /// Signs, seals and creates a document.
    pub(crate) async fn create_signed<T: Serialize>(
        &self,
        kind: Kind,
        key: &str,
        document: &T,
        what: &'static str,
    ) -> Result<Made> {
        let seed = self.inner.keys.signing.ok_or(Error::Role { what })?;
        let payload = to_bytes(document).making(key)?;
        let signed = sign::sign(&seed, self.id(), kind, key, payload).making(key)?;
        self.create_document(kind, key, &signed).await
    }

    /// Opens a signed document from its object's bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`], or [`Error::Forged`] if it opens and its signature is not valid.
    pub(crate) fn decode_signed<T: DeserializeOwned>(
        &self,
        kind: Kind,
        key: &str,
        bytes: &[u8],
    ) -> Result<T> {
        let signed = self.sealer().decode(kind, key, bytes).at(key)?;
        // Damage breaks the seal. What opens and is not signed was made by somebody who holds the key of the seal.
        let payload =
            sign::verify(&self.inner.public_key, self.id(), kind, key, signed).map_err(|_| {
                Error::Forged {
                    object: key.to_owned(),
                }
            })?;
        ark_format::envelope::from_bytes(&payload).at(key)
    }

    /// Passes over an object that nobody of the full role wrote, and says so once.
    pub(crate) fn pass_over(&self, object: String) {
        let forged = &self.inner.forged;
        let mut forged = forged.lock().unwrap_or_else(PoisonError::into_inner);
        if !forged.contains(&object) {
            tracing::warn!(%object, "ignored: it was not written by a client of the full role, its signature is not valid");
            forged.insert(object);
        }
    }

    /// The forged objects that this client has met and passed over.
    pub fn forged(&self) -> Vec<String> {
        let forged = &self.inner.forged;
        let forged = forged.lock().unwrap_or_else(PoisonError::into_inner);
        forged.iter().cloned().collect()
    }

    /// Deletes an object that nothing needs any more. A store that has to keep it for now is no failure: it is noted in
    /// [`Repository::retained`], and a later prune tries again.
    pub(crate) async fn discard(&self, key: &str) -> Result<()> {
        match self.store().delete(key).await {
            Err(StoreError::Retained { until, source, .. }) => {
                tracing::debug!(key, %source, "the store keeps it");
                self.locked()
                    .insert(key.to_owned(), until.map(String::from));
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// The objects that the store refused to delete since this repository was opened, and until when.
    pub(crate) fn retained(&self) -> BTreeMap<String, Option<String>> {
        self.locked().clone()
    }

    pub(crate) fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        let retained = &self.inner.retained;
        retained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `ark repo info` shows.
    ///
    /// # Errors
    /// If the store fails or control objects are damaged.
    pub async fn info(&self) -> Result<RepositoryInfo> {
        let view = self.view().await?;
        let index = self.load_index(&view).await?;
        let sessions = self.open_sessions(&view).await?;
        let packs = index.packs();
        Ok(RepositoryInfo {
            url: self.store().url().to_owned(),
            id: self.id(),
            version: self.inner.settings.version,
            cipher: self.cipher(),
            role: self.role(),
            data_key: self.newest_data_key().await?,
            epoch: view.number,
            backups: view
                .backups
                .iter()
                .filter(|b| b.forgotten.is_none())
                .count(),
            forgotten: view
                .backups
                .iter()
                .filter(|b| b.forgotten.is_some())
                .count(),
            sessions: sessions.len(),
            packs: packs.len(),
            pack_bytes: packs.values().map(|p| p.size).sum(),
            chunks: index.chunks(),
            index_bytes: view.segments.iter().map(|s| s.size).sum(),
        })
    }
}

/// This version of the format has no mandatory features, so any name is unknown.
pub(crate) fn require(url: &str, features: &[String]) -> Result<()> {
    match features.first() {
        Some(unknown) => Err(Error::TooNew {
            url: url.to_owned(),
            what: format!("the feature {unknown:?}"),
        }),
        None => Ok(()),
    }
}

/// How a create ended.
pub(crate) enum Made {
    /// It is ours.
    New {
        /// Bytes of the object.
        size: u64,
    },
    /// Another object was there.
    Exists(bytes::Bytes),
}

async fn create_new(store: &Store, key: &str, bytes: Vec<u8>) -> Result<()> {
    match store.create(key, bytes.into()).await? {
        Created::New => Ok(()),
        Created::Exists(_) => Err(Error::Foreign {
            url: store.url().to_owned(),
            example: key.to_owned(),
            velero: false,
        }),
    }
}

#[cfg(target_arch = "x86_64")]
fn preferred_cipher() -> Cipher {
    if std::arch::is_x86_feature_detected!("aes") {
        Cipher::Aes256Gcm
    } else {
        Cipher::ChaCha20Poly1305
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn preferred_cipher() -> Cipher {
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("aes") {
        return Cipher::Aes256Gcm;
    }
    Cipher::ChaCha20Poly1305
}
