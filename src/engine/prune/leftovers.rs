//! What killed processes left behind beside packs: tombstones, and half-written files in a folder.
//!
//! A prune that is killed after it has published an epoch without a backup, and before it has deleted that backup's
//! tombstone, leaves the tombstone to the next one.
//!
//! In a folder an object is staged beside its name and linked to it when it is whole; who is killed in between leaves
//! the staged file. It goes when the session that its name tells has ended (that session cannot commit any more), or the
//! epoch that it is of has been published by somebody else. A session whose pin is gone has most likely ended: all that
//! it writes after its pin, it writes before the pin goes. But a prune that is under way beside another one may lose its
//! pin to it, so only a prune that is to leave nothing takes these files. Files of which nothing can be told go after the
//! time in which a session without a sign of life counts as dead. Whoever turns out to live after all fails to link his
//! file, and with it his session, which loses its work and nobody's data.

use std::collections::BTreeSet;

use ark_format::layout::{self, Object};
use ark_format::{PackName, SessionId};

use super::PruneOptions;
use super::plan::Facts;
use crate::Result;
use crate::repository::Repository;
use crate::session::EXPIRY_MS;

impl Repository {
    /// Removes tombstones of backups that are no more.
    pub(super) async fn remove_tombstones(&self, facts: &Facts) -> Result<()> {
        let view = &facts.view;
        let graves = view.graves.iter();
        let orphans: Vec<_> = graves.filter(|(id, _)| view.backup(id).is_none()).collect();
        if orphans.is_empty() {
            return Ok(());
        }
        // Listed after the tombstones were: a commit is there before its tombstone, so one that is not there now was
        // removed.
        let commits = self.store().list(layout::MANIFESTS).await?;
        let commits: BTreeSet<SessionId> = commits
            .iter()
            .filter_map(|object| match layout::parse(&object.key) {
                Some(Object::Manifest(_, id)) => Some(id),
                _ => None,
            })
            .collect();
        for (id, grave) in orphans {
            if commits.contains(id) {
                continue;
            }
            for number in &grave.numbers {
                // The undo first: as long as the tombstone is there, the next prune finds both.
                self.discard(&layout::undo(*id, *number)).await?;
                self.discard(&layout::tombstone(*id, *number)).await?;
            }
        }
        Ok(())
    }

    /// Removes what nobody will finish. Stores other than folders have no such files.
    pub(super) async fn remove_leftovers(
        &self,
        facts: &Facts,
        options: &PruneOptions,
    ) -> Result<()> {
        if !self.store().is_local() {
            return Ok(());
        }
        let now = self.env().clock.now_ms();
        let leftovers = self.store().list_leftovers().await?;
        // Listed after the files were: their sessions had their pins before.
        let pinned = match options.now && !leftovers.is_empty() {
            true => Some(self.pinned().await?),
            false => None,
        };
        for leftover in leftovers {
            let staged = staged(&leftover.path);
            let unpinned = |object: &Object| {
                let pinned = pinned.as_ref();
                pinned.is_some_and(|pinned| lost_its_pin(pinned, object))
            };
            if staged.is_some_and(|object| is_over(facts, &object) || unpinned(&object))
                || now - leftover.modified_ms > EXPIRY_MS
            {
                self.store().remove_leftover(&leftover).await?;
            }
        }
        Ok(())
    }

    async fn pinned(&self) -> Result<BTreeSet<SessionId>> {
        let pins = self.store().list(layout::SESSIONS).await?;
        let ids = pins.iter().filter_map(|pin| match layout::parse(&pin.key) {
            Some(Object::Session(_, id)) => Some(id),
            _ => None,
        });
        Ok(ids.collect())
    }
}

/// Whether nobody waits for this object to be written.
fn is_over(facts: &Facts, object: &Object) -> bool {
    let view = &facts.view;
    match object {
        Object::EpochStub(number) | Object::EpochBody(number) => *number <= view.number,
        Object::Pack(PackName { session: id, .. })
        | Object::Segment(id, _)
        | Object::Session(_, id)
        | Object::Heartbeat(_, id, _)
        | Object::Manifest(_, id) => {
            view.fences.contains_key(id)
                || view.backup(id).is_some()
                || facts.dead.iter().any(|session| session.id == *id)
        }
        _ => false,
    }
}

/// Whether this is an object of a session that has no pin, and is not the pin.
fn lost_its_pin(pinned: &BTreeSet<SessionId>, object: &Object) -> bool {
    match object {
        Object::Pack(PackName { session: id, .. })
        | Object::Segment(id, _)
        | Object::Heartbeat(_, id, _)
        | Object::Manifest(_, id) => !pinned.contains(id),
        _ => false,
    }
}

/// The object that was being written: its file is `<key>#<number>`.
fn staged(path: &str) -> Option<Object> {
    let (key, _) = path.rsplit_once('#')?;
    layout::parse(key)
}

#[cfg(test)]
mod tests {
    use ark_format::id::PackClass;

    use super::*;

    #[test]
    fn a_staged_file_tells_its_object() {
        let id = SessionId::new(1_700_000_000_000, [7; 10]);
        let pack = PackName {
            session: id,
            sequence: 1,
            class: PackClass::Data,
        };
        let path = format!("{}#1", layout::pack(&pack));
        assert_eq!(staged(&path), Some(Object::Pack(pack)));
        let path = format!("{}#12", layout::epoch_stub(3));
        assert_eq!(staged(&path), Some(Object::EpochStub(3)));
        for path in ["packs/data/00/x#1", "ark.json"] {
            assert_eq!(staged(path), None, "{path}");
        }
    }
}
