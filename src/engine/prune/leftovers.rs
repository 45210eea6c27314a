//! Half-written files that killed processes left in a folder.
//!
//! In a folder an object is staged beside its name and linked to it when it is whole; who is killed in between leaves
//! the staged file. It goes when the session that its name tells has ended: that session cannot commit any more. Files
//! that tell no session go after the time in which a session without a sign of life counts as dead. Whoever turns out
//! to live after all fails to link his file, and with it his session, which loses its work and nobody's data.

use ark_format::SessionId;
use ark_format::layout::{self, Object};

use super::plan::Facts;
use crate::Result;
use crate::repository::Repository;
use crate::session::EXPIRY_MS;

impl Repository {
    /// Removes what nobody will finish. Stores other than folders have no such files.
    pub(super) async fn remove_leftovers(&self, facts: &Facts) -> Result<()> {
        if !self.store().is_local() {
            return Ok(());
        }
        let now = self.env().clock.now_ms();
        for leftover in self.store().list_leftovers().await? {
            let ended = session_of(&leftover.path).is_some_and(|id| has_ended(facts, id));
            if ended || now - leftover.modified_ms > EXPIRY_MS {
                self.store().remove_leftover(&leftover).await?;
            }
        }
        Ok(())
    }
}

fn has_ended(facts: &Facts, id: SessionId) -> bool {
    let view = &facts.view;
    view.fences.contains_key(&id)
        || view.backup(&id).is_some()
        || facts.dead.iter().any(|session| session.id == id)
}

/// The session of the object that was being written: `<key>#<number>`.
fn session_of(path: &str) -> Option<SessionId> {
    let (key, _) = path.rsplit_once('#')?;
    match layout::parse(key)? {
        Object::Pack(name) => Some(name.session),
        Object::Segment(id, _)
        | Object::Session(_, id)
        | Object::Heartbeat(_, id, _)
        | Object::Manifest(_, id) => Some(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ark_format::PackName;
    use ark_format::id::PackClass;

    use super::*;

    #[test]
    fn a_staged_file_tells_its_session() {
        let id = SessionId::new(1_700_000_000_000, [7; 10]);
        let pack = PackName {
            session: id,
            sequence: 1,
            class: PackClass::Data,
        };
        for key in [
            layout::pack(&pack),
            layout::segment(id, 0),
            layout::manifest(3, id),
        ] {
            assert_eq!(session_of(&format!("{key}#1")), Some(id), "{key}");
        }
        for path in ["epochs/fffffffffffffffe#1", "packs/data/00/x#1", "ark.json"] {
            assert_eq!(session_of(path), None, "{path}");
        }
    }
}
