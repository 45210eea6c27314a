//! Key slots: how a raw key, a passphrase or a recovery key becomes the key set.
//!
//! A slot never changes: adding a key is a new object, removing one is a delete. The slots of a repository authenticate
//! each other through the index key.

use std::collections::BTreeSet;

use ark_format::KeySet;
use ark_format::keys::Key;
use ark_format::limits::SMALL_OBJECT_MAX;
use ark_format::slot::{self, Method, Role, SlotDocument, SlotHeader};
use ark_format::{RepositoryId, layout, recovery};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::Serialize;

use crate::error::DamagedAt;
use crate::key_file;
use crate::repository::Repository;
use crate::store::{Created, Store};
use crate::{Env, Error, Result};

/// Argon2id: 64 MiB, 3 passes, 1 lane.
const PASSPHRASE: Method = Method::Passphrase {
    memory: 64 << 10,
    passes: 3,
    lanes: 1,
};

/// What opens a repository.
pub enum Unlock {
    /// 32 random bytes: a key file, a Kubernetes Secret, a recovery key.
    Key(SecretBox<Key>),
    /// Something a person remembers.
    Passphrase(SecretString),
}

impl Unlock {
    /// Reads a key file: 32 raw bytes, 64 hexadecimal digits, or a recovery key.
    ///
    /// # Errors
    /// [`Error::NotAKey`].
    pub fn from_key_file(bytes: &[u8]) -> Result<Unlock> {
        let key = key_file::parse(bytes).map_err(Error::NotAKey)?;
        Ok(Unlock::Key(SecretBox::new(Box::new(key))))
    }

    fn label(&self) -> &'static str {
        match self {
            Unlock::Key(_) => "raw key",
            Unlock::Passphrase(_) => "passphrase",
        }
    }

    fn method(&self) -> Method {
        match self {
            Unlock::Key(_) => Method::RawKey,
            Unlock::Passphrase(_) => PASSPHRASE,
        }
    }

    fn fits(&self, method: Method) -> bool {
        matches!(
            (self, method),
            (Unlock::Key(_), Method::RawKey) | (Unlock::Passphrase(_), Method::Passphrase { .. })
        )
    }

    async fn wrapping_key(&self, env: &Env, header: &SlotHeader) -> Result<Key> {
        match (self, header.method) {
            (
                Unlock::Passphrase(text),
                Method::Passphrase {
                    memory,
                    passes,
                    lanes,
                },
            ) => {
                let text = text.clone();
                let salt = header.kdf_salt;
                env.pool
                    .run(move || {
                        let params = argon2::Params::new(memory, passes, lanes, Some(32))
                            .map_err(|e| Error::Kdf(e.to_string()))?;
                        let mut key = [0; 32];
                        argon2::Argon2::new(
                            argon2::Algorithm::Argon2id,
                            argon2::Version::V0x13,
                            params,
                        )
                        .hash_password_into(text.expose_secret().as_bytes(), &salt, &mut key)
                        .map_err(|e| Error::Kdf(e.to_string()))?;
                        Ok(key)
                    })
                    .await?
            }
            (Unlock::Key(raw), _) => Ok(slot::raw_wrapping_key(
                raw.expose_secret(),
                &header.kdf_salt,
            )),
            (Unlock::Passphrase(_), Method::RawKey) => {
                Err(Error::Kdf("the slot is for a raw key".into()))
            }
        }
    }
}

/// One line of `ark repo keys list`.
#[derive(Clone, Debug, Serialize)]
pub struct KeySlot {
    /// Its id.
    pub id: String,
    /// "raw key" or "passphrase".
    pub kind: &'static str,
    /// Role, where this client could open the slot.
    pub role: Option<Role>,
    /// Unix ms, where this client could open the slot.
    pub created: Option<i64>,
    /// "recovery key" and the like, where this client could open the slot.
    pub label: Option<String>,
    /// Whether it is the slot that opened the repository.
    pub current: bool,
}

/// What a slot gave.
pub(crate) struct Unlocked {
    pub slot: String,
    pub document: SlotDocument,
    /// The data keys that stand beside the slots.
    pub data_keys: BTreeSet<u16>,
}

/// Tries the slots of the right kind until one opens.
pub(crate) async fn unlock(
    store: &Store,
    env: &Env,
    cipher: ark_format::seal::Cipher,
    repository: RepositoryId,
    unlock: &Unlock,
) -> Result<Unlocked> {
    let mut tried = 0;
    let mut damage = None;
    let (mut slots, mut data_keys) = (Vec::new(), BTreeSet::new());
    for object in store.list(layout::KEYS).await? {
        match layout::parse(&object.key) {
            Some(layout::Object::Slot(id)) => slots.push((id, object)),
            Some(layout::Object::DataKey(number)) => {
                data_keys.insert(number);
            }
            _ => {}
        }
    }
    for (id, object) in slots {
        let bytes = store.get_bounded(&object.key, SMALL_OBJECT_MAX).await?;
        let header = match SlotHeader::decode(&bytes) {
            Ok(header) => header,
            Err(source) => {
                damage = Some(Error::Damaged {
                    object: object.key,
                    source,
                });
                continue;
            }
        };
        if !unlock.fits(header.method) {
            continue;
        }
        tried += 1;
        let wrapping = unlock.wrapping_key(env, &header).await?;
        match slot::unwrap(cipher, repository, &object.key, &wrapping, &bytes) {
            Ok(document) => {
                return Ok(Unlocked {
                    slot: id,
                    document,
                    data_keys,
                });
            }
            Err(ark_format::DecodeError::Unauthentic) => {}
            Err(source) => {
                damage = Some(Error::Damaged {
                    object: object.key,
                    source,
                })
            }
        }
    }
    let url = store.url().to_owned();
    Err(match (damage, tried, unlock) {
        (Some(damage), _, _) => damage,
        (None, 0, _) => Error::NoSlot {
            url,
            kind: unlock.label(),
        },
        (None, _, Unlock::Key(_)) => Error::WrongKey { url },
        (None, _, Unlock::Passphrase(_)) => Error::WrongPassphrase { url },
    })
}

/// Writes a new slot and returns its id.
pub(crate) async fn create(
    store: &Store,
    env: &Env,
    cipher: ark_format::seal::Cipher,
    repository: RepositoryId,
    unlock: &Unlock,
    document: &SlotDocument,
) -> Result<String> {
    let id = hex::encode(env.bytes::<8>());
    let key = layout::slot(&id);
    let header = SlotHeader {
        method: unlock.method(),
        kdf_salt: env.bytes(),
    };
    let wrapping = unlock.wrapping_key(env, &header).await?;
    let bytes = slot::wrap(
        cipher,
        repository,
        &key,
        &header,
        &wrapping,
        env.salt(),
        document,
    )
    .making(&key)?;
    match store.create(&key, bytes.into()).await? {
        Created::New => Ok(id),
        Created::Exists(_) => Err(Error::Missing {
            object: format!("a free name for {key}"),
        }),
    }
}

/// A fresh raw key and its printable form.
pub(crate) fn new_recovery_key(env: &Env) -> (Unlock, String) {
    let key: Key = env.bytes();
    let text = recovery::encode(&key);
    (Unlock::Key(SecretBox::new(Box::new(key))), text)
}

impl Repository {
    /// The key slots.
    ///
    /// # Errors
    /// If the store fails or a slot is damaged.
    pub async fn keys(&self) -> Result<Vec<KeySlot>> {
        let mut slots = Vec::new();
        for object in self.store().list(layout::KEYS).await? {
            let Some(layout::Object::Slot(id)) = layout::parse(&object.key) else {
                continue;
            };
            let bytes = self
                .store()
                .get_bounded(&object.key, SMALL_OBJECT_MAX)
                .await?;
            let header = slot::authenticate(self.key_set(), &object.key, &bytes).at(&object.key)?;
            let current = id == self.inner.slot;
            slots.push(KeySlot {
                kind: match header.method {
                    Method::RawKey => "raw key",
                    Method::Passphrase { .. } => "passphrase",
                },
                role: current.then_some(self.inner.role),
                created: current.then_some(self.inner.slot_created),
                label: current.then(|| self.inner.slot_label.clone()),
                current,
                id,
            });
        }
        Ok(slots)
    }

    /// Adds a slot and returns its id.
    ///
    /// # Errors
    /// [`Error::Role`] unless this client holds the full role.
    pub async fn add_key(&self, unlock: &Unlock, role: Role) -> Result<String> {
        self.add_slot(unlock, role, unlock.label()).await
    }

    /// Adds a slot for a fresh raw key and returns its printable form.
    ///
    /// # Errors
    /// As [`Repository::add_key`].
    pub async fn add_recovery_key(&self) -> Result<String> {
        let (unlock, text) = new_recovery_key(self.env());
        self.add_slot(&unlock, Role::Full, "recovery key").await?;
        Ok(text)
    }

    async fn add_slot(&self, unlock: &Unlock, role: Role, label: &str) -> Result<String> {
        let mut keys: KeySet = self.key_set().clone();
        if keys.signing.is_none() {
            return Err(Error::Role { what: "add keys" });
        }
        self.may_write()?;
        if role == Role::Backup {
            keys.signing = None;
        }
        let document = SlotDocument {
            role,
            created: self.env().clock.now_ms(),
            label: label.to_owned(),
            keys,
        };
        create(
            self.store(),
            self.env(),
            self.cipher(),
            self.id(),
            unlock,
            &document,
        )
        .await
    }

    /// Removes a slot: the key that it was for opens the repository no more.
    ///
    /// # Errors
    /// [`Error::LastSlot`] for the slot in use, so that nobody locks himself out; [`Error::Role`].
    pub async fn remove_key(&self, id: &str) -> Result<()> {
        if self.key_set().signing.is_none() {
            return Err(Error::Role {
                what: "remove keys",
            });
        }
        self.may_write()?;
        if id == self.inner.slot {
            return Err(Error::LastSlot { id: id.to_owned() });
        }
        let key = layout::slot(id);
        if !matches!(layout::parse(&key), Some(layout::Object::Slot(_)))
            || self.store().head(&key).await?.is_none()
        {
            return Err(Error::NoSuchSlot { id: id.to_owned() });
        }
        Ok(self.store().delete(&key).await?)
    }
}
