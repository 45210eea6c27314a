//! Tombstones: which backups are forgotten.
//!
//! The tombstone of the highest number counts, unless it was undone. Both carry the signature of the full role; what opens
//! and does not carry it is passed over, so that the keys of the backup role can neither make prune delete a backup nor
//! keep one that was forgotten, nor stop a prune. One that cannot be opened is damage: nothing is pruned then.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::SessionId;
use ark_format::documents::Tombstone;
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};

use crate::repository::Repository;
use crate::store::{ObjectInfo, StoreError};
use crate::{Error, Result};

/// The tombstones of a session.
#[derive(Clone, Debug, Default)]
pub struct Grave {
    /// Their numbers, of undos and of forged ones too: those keys are taken.
    pub numbers: BTreeSet<u32>,
    /// The number of the one that counts.
    pub newest: Option<u32>,
    /// When the backup was forgotten, if that one was not undone.
    pub forgotten: Option<i64>,
}

impl Grave {
    /// The number of the next tombstone.
    pub fn next(&self) -> u32 {
        let mut next = self.newest.map_or(0, |newest| newest.saturating_add(1));
        while next < u32::MAX && self.numbers.contains(&next) {
            next += 1;
        }
        next
    }
}

/// What is listed of one number.
#[derive(Clone, Copy, Default)]
struct Listed {
    stone: bool,
    undo: bool,
}

impl Repository {
    /// Reads the tombstones of a listing.
    pub(crate) async fn graves(
        &self,
        forgotten: Vec<ObjectInfo>,
        problems: &mut Vec<(String, String)>,
    ) -> Result<BTreeMap<SessionId, Grave>> {
        let mut listed: BTreeMap<SessionId, BTreeMap<u32, Listed>> = BTreeMap::new();
        for object in forgotten {
            match layout::parse(&object.key) {
                Some(Object::Tombstone(id, number)) => {
                    listed
                        .entry(id)
                        .or_default()
                        .entry(number)
                        .or_default()
                        .stone = true;
                }
                Some(Object::Undo(id, number)) => {
                    listed
                        .entry(id)
                        .or_default()
                        .entry(number)
                        .or_default()
                        .undo = true;
                }
                _ => {}
            }
        }
        let mut graves = BTreeMap::new();
        for (id, numbers) in listed {
            let mut grave = Grave {
                numbers: numbers.keys().copied().collect(),
                ..Grave::default()
            };
            for (number, listed) in numbers.into_iter().rev() {
                if listed.undo && !self.undo_is_forged(id, number).await? {
                    grave.newest = Some(number);
                    break;
                }
                if listed.stone && self.read_stone(id, number, &mut grave, problems).await? {
                    grave.newest = Some(number);
                    break;
                }
            }
            graves.insert(id, grave);
        }
        Ok(graves)
    }

    /// Whether an undo has no effect. One that cannot be read has: it can only keep a backup.
    async fn undo_is_forged(&self, id: SessionId, number: u32) -> Result<bool> {
        let key = layout::undo(id, number);
        let open = |bytes: &[u8]| self.decode_signed::<Tombstone>(Kind::Undo, &key, bytes);
        let cache = &self.inner.cache;
        match cache.get_checked(self.store(), &key, None, open).await {
            Err(Error::Forged { object }) => {
                self.pass_over(object);
                Ok(true)
            }
            Ok(_) | Err(Error::Damaged { .. } | Error::Store(StoreError::NotFound { .. })) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a tombstone that was not undone; `false` if it is forged.
    async fn read_stone(
        &self,
        id: SessionId,
        number: u32,
        grave: &mut Grave,
        problems: &mut Vec<(String, String)>,
    ) -> Result<bool> {
        let key = layout::tombstone(id, number);
        let open = |bytes: &[u8]| self.decode_signed::<Tombstone>(Kind::Tombstone, &key, bytes);
        let cache = &self.inner.cache;
        match cache.get_checked(self.store(), &key, None, open).await {
            // It went with its undo, or with its backup: whatever head this view has, a newer one is without it.
            Err(Error::Store(StoreError::NotFound { .. })) => {
                if self
                    .store()
                    .head(&layout::undo(id, number))
                    .await?
                    .is_none()
                {
                    grave.forgotten = Some(self.env().clock.now_ms());
                }
            }
            Ok(stone) if stone.session == id => grave.forgotten = Some(stone.at),
            Ok(_) => problems.push((key, "it is another backup's".to_owned())),
            Err(Error::Forged { object }) => {
                self.pass_over(object);
                return Ok(false);
            }
            Err(Error::Damaged { object, source }) => {
                problems.push((object, source.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}
