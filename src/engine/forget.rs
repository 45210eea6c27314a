//! Forgetting and undeleting backups: signed tombstones, honoured by prune after a grace.
//!
//! A tombstone deletes nothing. Its undo keeps its number from being used again, also when the tombstone itself is gone. An undo is done only when an epoch was published after it was written: a prune that
//! listed the tombstones before it was there can then no longer publish what it decided, and every later one sees it.

use ark_format::SessionId;
use ark_format::documents::{EpochBody, Tombstone};
use ark_format::envelope::Kind;
use ark_format::layout;

use crate::graves::Grave;
use crate::repository::{Made, Repository};
use crate::{Error, Result};

impl Repository {
    /// Forgets backups: they leave the lists at once, and their bytes at a prune after the grace.
    ///
    /// # Errors
    /// [`Error::NoSuchBackup`], [`Error::Role`], or the store's. Those before the failing one are forgotten.
    pub async fn forget(&self, ids: &[SessionId]) -> Result<()> {
        self.may_write()?;
        let view = self.view().await?;
        for id in ids {
            let row = view.backup(id).ok_or_else(|| Error::NoSuchBackup {
                name: id.to_string(),
            })?;
            if row.forgotten.is_some() {
                continue;
            }
            let number = view.graves.get(id).map_or(0, Grave::next);
            let key = layout::tombstone(*id, number);
            self.create_signed(Kind::Tombstone, &key, &self.stone(*id), "delete them")
                .await?;
        }
        Ok(())
    }

    /// Takes a forgotten backup back, if no prune has collected it yet.
    ///
    /// # Errors
    /// [`Error::NoSuchBackup`] if it is gone, [`Error::Role`], or the store's.
    pub async fn undelete(&self, id: &SessionId) -> Result<()> {
        self.may_write()?;
        let gone = || Error::NoSuchBackup {
            name: id.to_string(),
        };
        let view = self.view().await?;
        let row = view.backup(id).ok_or_else(gone)?;
        let Some(newest) = view.graves.get(id).and_then(|grave| grave.newest) else {
            return Ok(());
        };
        // An undo that is there already says nothing: who wrote it may have died before the epoch.
        if row.forgotten.is_some() {
            let key = layout::undo(*id, newest);
            match self
                .create_signed(Kind::Undo, &key, &self.stone(*id), "undelete them")
                .await?
            {
                Made::New { .. } | Made::Exists(_) => {}
            }
        }
        loop {
            let head = self.head().await?;
            let hash = head.hash;
            let view = self.view_at(head).await?;
            if !view
                .backup(id)
                .is_some_and(|row| row.forgotten.is_none() && !row.lost)
            {
                return Err(gone());
            }
            let number = view.number;
            let old_body = self.body_key_of(number).await?;
            let next = EpochBody {
                number: number + 1,
                ..view.body
            };
            if self.publish(&next, hash).await? {
                self.discard(&old_body).await?;
                // The undo alone stays: should it be lost one day, nothing is left that forgets the backup.
                let key = layout::tombstone(*id, newest);
                self.inner.cache.remove(&key).await;
                self.discard(&key).await?;
                return Ok(());
            }
        }
    }

    fn stone(&self, session: SessionId) -> Tombstone {
        Tombstone {
            session,
            at: self.env().clock.now_ms(),
            by: self.env().host.name(),
        }
    }
}
