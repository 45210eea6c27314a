//! Numbered data keys: which there are, which one seals what is written now, and making the next one.
//!
//! A data key is an object that is created once, and each data frame says which one sealed it. So a rotation touches nothing
//! that is there, and a key is read when the first frame needs it: a client that was opened before a rotation reads what is
//! written after it. Who writes looks first which keys there are, and seals with the newest. That one may be damaged or gone:
//! then nothing is sealed at all, neither with a key that others cannot read nor with an older one, which may be what
//! the rotation was against.
//!
//! The next key is the one after all that are in the bucket and all that frames of packs in the bucket were sealed with, also
//! where their key is gone. (Packs that no segment lists count up to the number that would come next without them: a liar can
//! upload packs that name any number.) So a number is given twice only while what its first key has sealed is nowhere but in
//! the memory of a process that writes; and a backup commits, and a prune or a repair publishes, only if the bucket has the very
//! keys that it has sealed with ([`SealedWith`]). Whole frames are copied as they are, whatever has become of their key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ark_format::documents::DataKey;
use ark_format::envelope::{Kind, Sealer};
use ark_format::frame::{Frame, FrameSealer};
use ark_format::id::PackClass;
use ark_format::keys::Key;
use ark_format::layout::{self, Object};
use ark_format::limits::SMALL_OBJECT_MAX;
use ark_format::seal::{Cipher, SALT};
use ark_format::{DecodeError, RepositoryId};
use futures::stream::StreamExt;
use secrecy::{ExposeSecret, SecretBox};
use serde::Serialize;

use crate::error::DamagedAt;
use crate::index::Index;
use crate::repository::Repository;
use crate::store::{Created, StoreError};
use crate::{Error, Result};

type Decoded<T> = std::result::Result<T, DecodeError>;

/// What is wrong with the object of a data key.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is not there.
    Missing,
    /// It cannot be opened.
    Damaged(DecodeError),
}

impl Fault {
    fn error(&self, number: u16) -> Error {
        let object = layout::data_key(number);
        match self {
            Fault::Missing => Error::Missing { object },
            Fault::Damaged(source) => Error::Damaged {
                object,
                source: source.clone(),
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => f.write_str("it is missing"),
            Fault::Damaged(source) => source.fmt(f),
        }
    }
}

#[derive(Clone, Default)]
struct Known {
    /// Kept when the object is gone: what it sealed can be read as long as this process lives.
    key: Option<Arc<SecretBox<Key>>>,
    /// What was wrong with the object when it was looked at last.
    fault: Option<Fault>,
    /// Whether it is to be looked at again when a frame needs it.
    again: bool,
}

/// What a process knows of the data keys.
#[derive(Default)]
pub(crate) struct DataKeys(RwLock<BTreeMap<u16, Known>>);

impl DataKeys {
    /// Keys that are in the bucket and were not read yet.
    pub(crate) fn listed(numbers: impl IntoIterator<Item = u16>) -> DataKeys {
        let known = numbers.into_iter().map(|n| (n, Known::default()));
        DataKeys(RwLock::new(known.collect()))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<u16, Known>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<u16, Known>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> Option<u16> {
        self.read().keys().next_back().copied()
    }

    /// What could not be read is read again when it is needed next.
    pub(crate) fn look_again(&self) {
        for known in self.write().values_mut() {
            known.again = known.key.is_none();
        }
    }
}

/// Seals and opens the frames of one key.
pub(crate) struct FrameSeal<'a> {
    cipher: Cipher,
    repository: RepositoryId,
    key: FrameKey<'a>,
    data_key: u16,
}

enum FrameKey<'a> {
    Tree(&'a Key),
    Data(Arc<SecretBox<Key>>),
}

impl FrameSeal<'_> {
    fn sealer(&self) -> FrameSealer<'_> {
        let (kind, key) = match &self.key {
            FrameKey::Tree(key) => (Kind::TreeFrame, *key),
            FrameKey::Data(key) => (Kind::DataFrame, key.expose_secret()),
        };
        FrameSealer {
            cipher: self.cipher,
            repository: self.repository,
            kind,
            key,
            data_key: self.data_key,
        }
    }

    /// As [`FrameSealer::encode`].
    pub(crate) fn encode(
        &self,
        level: i32,
        salt: [u8; SALT],
        lengths: &[u32],
        bytes: &[u8],
    ) -> Decoded<Vec<u8>> {
        self.sealer().encode(level, salt, lengths, bytes)
    }

    /// As [`FrameSealer::padding`].
    pub(crate) fn padding(&self, salt: [u8; SALT], zeros: usize) -> Decoded<Vec<u8>> {
        self.sealer().padding(salt, zeros)
    }

    /// As [`FrameSealer::decode`].
    pub(crate) fn decode(&self, sealed: &[u8]) -> Decoded<Frame> {
        self.sealer().decode(sealed)
    }
}

/// The data keys that a backup, or who copies what is needed of packs, has sealed with.
#[derive(Default)]
pub(crate) struct SealedWith(Mutex<Vec<(u16, Arc<SecretBox<Key>>)>>);

impl SealedWith {
    /// Keeps the key of `seal`.
    pub(crate) fn note(&self, seal: &FrameSeal<'_>) {
        let FrameKey::Data(key) = &seal.key else {
            return;
        };
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(number, noted): &(u16, Arc<SecretBox<Key>>)| {
            *number == seal.data_key && noted.expose_secret() == key.expose_secret()
        };
        if !keys.iter().any(same) {
            keys.push((seal.data_key, Arc::clone(key)));
        }
    }

    fn keys(&self) -> Vec<(u16, Arc<SecretBox<Key>>)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A data key that is missing as damage of what it sealed.
pub(crate) fn lost(error: Error) -> Error {
    match error {
        Error::Missing { object } => Error::Damaged {
            object,
            source: DecodeError::Invalid("it is missing"),
        },
        error => error,
    }
}

/// What a rotation of the data key came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// The number of the key that backups seal with from now on.
    pub number: u16,
    /// Its object.
    pub object: String,
    /// Whether this client made it. If not, another one rotated at the same moment, and one new key serves both.
    pub made: bool,
}

/// The data keys that frames of the index were sealed with.
pub(crate) fn used(index: &Index) -> BTreeSet<u16> {
    let (mut used, mut last) = (BTreeSet::new(), 0);
    for frame in index
        .segments()
        .iter()
        .flat_map(|l| &l.segment.tables.frames)
    {
        // Not collected: that would hold a number for each frame, of which there may be millions and hardly two kinds.
        if frame.data_key != 0 && frame.data_key != last && frame.chunks != 0 {
            last = frame.data_key;
            used.insert(last);
        }
    }
    used
}

impl Repository {
    fn data_keys(&self) -> &DataKeys {
        &self.inner.data_keys
    }

    fn data_key_sealer(&self) -> Sealer<'_> {
        Sealer {
            key: &self.key_set().data,
            ..self.sealer()
        }
    }

    /// Opens the object of a data key.
    pub(crate) fn decode_data_key(&self, number: u16, bytes: &[u8]) -> Decoded<Key> {
        let object = layout::data_key(number);
        let sealer = self.data_key_sealer();
        let document: DataKey = sealer.decode(Kind::DataKey, &object, bytes)?;
        match document.number == number {
            true => Ok(document.key),
            false => Err(DecodeError::Invalid("its content belongs to another key")),
        }
    }

    /// Reads a data key from the bucket, known or not; what is wrong with it.
    pub(crate) async fn look_at_data_key(&self, number: u16) -> Result<Option<Fault>> {
        let object = layout::data_key(number);
        let opened = match self.store().get_bounded(&object, SMALL_OBJECT_MAX).await {
            Ok(bytes) => self.decode_data_key(number, &bytes).map_err(Fault::Damaged),
            Err(StoreError::NotFound { .. }) => Err(Fault::Missing),
            Err(StoreError::Truncated { .. }) => {
                Err(Fault::Damaged(DecodeError::Truncated("the data key")))
            }
            Err(StoreError::TooLarge { size, max, .. }) => {
                Err(Fault::Damaged(DecodeError::Limit {
                    what: "its size",
                    found: size,
                    limit: max,
                }))
            }
            Err(error) => return Err(error.into()),
        };
        let mut all = self.data_keys().write();
        let known = all.entry(number).or_default();
        known.again = false;
        match opened {
            Ok(key) => {
                known.key = Some(Arc::new(SecretBox::new(Box::new(key))));
                known.fault = None;
            }
            Err(fault) => known.fault = Some(fault),
        }
        Ok(known.fault.clone())
    }

    /// Reads these data keys from the bucket, known or not; those that cannot be used.
    pub(crate) async fn check_data_keys(
        &self,
        numbers: &BTreeSet<u16>,
    ) -> Result<BTreeMap<u16, Fault>> {
        let mut lost = BTreeMap::new();
        for number in numbers {
            let fault = self.look_at_data_key(*number).await?;
            lost.extend(fault.map(|fault| (*number, fault)));
        }
        Ok(lost)
    }

    /// The index as it is without what can no longer be opened: each data key that its frames need is looked at.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn without_lost_keys(&self, index: Index) -> Result<Index> {
        let lost = self.check_data_keys(&used(&index)).await?;
        Ok(index.with_lost_keys(lost.into_keys().collect()))
    }

    /// Reads those of these data keys that this process does not have. What cannot be read is known then, and no error.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn learn_data_keys(&self, mut numbers: BTreeSet<u16>) -> Result<()> {
        {
            let all = self.data_keys().read();
            let settled = |k: &Known| k.key.is_some() || (k.fault.is_some() && !k.again);
            numbers.retain(|n| *n != 0 && !all.get(n).is_some_and(settled));
        }
        for number in numbers {
            self.look_at_data_key(number).await?;
        }
        Ok(())
    }

    /// Looks which data keys there are, and reads the newest.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn list_data_keys(&self) -> Result<()> {
        let mut listed = BTreeSet::new();
        for object in self.store().list(layout::DATA_KEYS).await? {
            if let Some(Object::DataKey(number)) = layout::parse(&object.key) {
                listed.insert(number);
            }
        }
        // Not in the list, or made since by another task: only a look tells.
        let doubtful: Vec<u16> = {
            let mut all = self.data_keys().write();
            for number in &listed {
                all.entry(*number).or_default();
            }
            let doubt = |(n, known): (&u16, &Known)| {
                (known.fault.is_some() || !listed.contains(n)).then_some(*n)
            };
            all.iter().filter_map(doubt).collect()
        };
        for number in &doubtful {
            self.look_at_data_key(*number).await?;
        }
        // Also one that this process has: if it was lost, its number may have been given to another one since.
        match self.data_keys().newest().filter(|n| !doubtful.contains(n)) {
            Some(newest) => self.look_at_data_key(newest).await.map(drop),
            None => Ok(()),
        }
    }

    /// Refuses if the bucket does not have the very keys that were sealed with.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Damaged`] for the key, or the store's.
    pub(crate) async fn confirm_data_keys(&self, sealed: &SealedWith) -> Result<()> {
        for (number, key) in sealed.keys() {
            let object = layout::data_key(number);
            let bytes = match self.store().get_bounded(&object, SMALL_OBJECT_MAX).await {
                Ok(bytes) => bytes,
                Err(StoreError::NotFound { .. }) => return Err(Fault::Missing.error(number)),
                Err(error) => return Err(error.into()),
            };
            if self.decode_data_key(number, &bytes).at(&object)? != *key.expose_secret() {
                let what =
                    "it was lost while data was sealed with it, and another key has its number";
                return Err(Fault::Damaged(DecodeError::Invalid(what)).error(number));
            }
        }
        Ok(())
    }

    /// The number of the newest data key in the bucket.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn newest_data_key(&self) -> Result<Option<u16>> {
        self.list_data_keys().await?;
        Ok(self.data_keys().newest())
    }

    /// Those of these data keys that cannot be used, as far as is known.
    pub(crate) fn lost_data_keys(&self, numbers: &BTreeSet<u16>) -> BTreeMap<u16, Fault> {
        let all = self.data_keys().read();
        let lost = numbers.iter().filter_map(|n| {
            let known = all.get(n)?;
            Some((*n, known.fault.clone()?))
        });
        lost.collect()
    }

    /// Data keys that this process has opened.
    pub(crate) fn opened_data_keys(&self) -> BTreeSet<u16> {
        let all = self.data_keys().read();
        let opened = all.iter().filter(|(_, known)| known.key.is_some());
        opened.map(|(n, _)| *n).collect()
    }

    /// The number of the data key that new frames are sealed with.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Damaged`] if the newest one cannot be used.
    pub(crate) fn write_key(&self) -> Result<u16> {
        let all = self.data_keys().read();
        // One that another task has just listed and nobody has read yet is not for who is at work already.
        let mut looked_at = all
            .iter()
            .rev()
            .filter(|(_, known)| known.key.is_some() || known.fault.is_some());
        match looked_at.next() {
            None => Err(Fault::Missing.error(1)),
            Some((number, known)) => match &known.fault {
                None => Ok(*number),
                Some(fault) => Err(fault.error(*number)),
            },
        }
    }

    /// Seals and opens frames: of tree nodes, or of data with a numbered key, which must have been learnt.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Damaged`] if the data key cannot be used.
    pub(crate) fn frame_sealer(&self, class: PackClass, data_key: u16) -> Result<FrameSeal<'_>> {
        let key = match class {
            PackClass::Meta => FrameKey::Tree(&self.key_set().tree),
            PackClass::Data => {
                let known = self.data_keys().read().get(&data_key).cloned();
                let Known { key, fault, .. } = known.unwrap_or_default();
                let lost = || fault.unwrap_or(Fault::Missing).error(data_key);
                FrameKey::Data(key.ok_or_else(lost)?)
            }
        };
        Ok(FrameSeal {
            cipher: self.cipher(),
            repository: self.id(),
            key,
            data_key,
        })
    }

    /// The number that a rotation would give to the new data key. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Role`] without the signing key, [`Error::NoDataKeyLeft`], damage of the head, or the store's.
    pub async fn next_data_key(&self) -> Result<u16> {
        if self.key_set().signing.is_none() {
            return Err(Error::Role {
                what: "rotate the data key",
            });
        }
        self.may_write()?;
        self.list_data_keys().await?;
        let (_, index) = self.view_with_index().await?;
        // The number of a key that is gone stays taken: its frames would seem to be damaged, and could never be read again.
        let mut used = used(&index);
        let next = self.data_key_after(&used)?;
        used.extend(self.used_by_others(&index, next).await?);
        self.data_key_after(&used)
    }

    /// The data keys of packs that no segment lists: a backup that has not ended wrote them, or one that died. None above `next`,
    /// the number that would be given without them: who seals has one that was given.
    async fn used_by_others(&self, index: &Index, next: u16) -> Result<BTreeSet<u16>> {
        let known = index.packs();
        let packs = self.list_packs().await?.sizes.into_iter();
        let mut trailers = self.trailers(
            packs.filter(|(name, _)| name.class == PackClass::Data && !known.contains_key(name)),
        );
        let mut used = BTreeSet::new();
        while let Some((_, trailer)) = trailers.next().await {
            match trailer {
                Ok((_, frames)) => used.extend(frames.iter().map(|frame| frame.data_key)),
                // Nobody adopts a pack without its trailer.
                Err(
                    Error::Damaged { .. }
                    | Error::Store(StoreError::NotFound { .. } | StoreError::Truncated { .. }),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        used.retain(|number| *number <= next);
        Ok(used)
    }

    /// The number after all that are known and these.
    pub(crate) fn data_key_after(&self, used: &BTreeSet<u16>) -> Result<u16> {
        let last = used.last().copied().max(self.data_keys().newest());
        last.unwrap_or(0)
            .checked_add(1)
            .ok_or_else(|| Error::NoDataKeyLeft {
                url: self.store().url().to_owned(),
            })
    }

    /// Makes the next data key: backups that begin from now on are sealed with it. Nothing that is there changes.
    ///
    /// Of two rotations at once one makes the key; the other finds it and leaves it at that.
    ///
    /// # Errors
    /// As [`Repository::next_data_key`], and [`Error::Damaged`] if the key cannot be read back.
    pub async fn rotate_data_key(&self) -> Result<Rotation> {
        let number = self.next_data_key().await?;
        self.make_data_key(number).await
    }

    pub(crate) async fn make_data_key(&self, number: u16) -> Result<Rotation> {
        let object = layout::data_key(number);
        let document = DataKey {
            number,
            key: self.env().bytes(),
        };
        let bytes = self
            .data_key_sealer()
            .encode(Kind::DataKey, &object, self.env().salt(), &document)
            .making(&object)?;
        let made = self.store().create(&object, bytes.into()).await? == Created::New;
        // Whoever made it: nothing is sealed with what cannot be read back.
        match self.look_at_data_key(number).await? {
            None => Ok(Rotation {
                number,
                object,
                made,
            }),
            Some(fault) => Err(fault.error(number)),
        }
    }
}
