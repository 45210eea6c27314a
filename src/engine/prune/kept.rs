//! What a bucket with versions keeps of the packs that a prune deletes.
//!
//! There a delete only puts a marker before the object: ark sees it no more, and its bytes stay until a lifecycle rule or an
//! administrator removes the version, which a lock can forbid until a date. Nothing depends on that, but who pays for the
//! bytes wants to know. It is asked before the delete, since a marker has no lock. A bucket without versions is asked once.

use std::collections::BTreeMap;

use ark_format::{PackName, layout};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Kept, Refused};
use crate::Result;
use crate::repository::Repository;

/// Objects asked for at once.
const ASKED: usize = 8;

impl Kept {
    /// Adds what another transition deleted.
    pub(super) fn add(&mut self, other: Kept) {
        self.packs += other.packs;
        self.bytes += other.bytes;
        // One store writes all its times alike, so they compare as text.
        if other.last.as_ref().map(|l| &l.until) > self.last.as_ref().map(|l| &l.until) {
            self.last = other.last;
        }
    }
}

impl Repository {
    /// What stays of these packs once they are deleted.
    pub(super) async fn kept(
        &self,
        listed: &BTreeMap<PackName, u64>,
        dropped: &[PackName],
    ) -> Result<Kept> {
        let mut kept = Kept::default();
        let there: Vec<(&PackName, u64)> = dropped
            .iter()
            .filter_map(|pack| Some((pack, *listed.get(pack)?)))
            .collect();
        let Some((first, _)) = there.first() else {
            return Ok(kept);
        };
        if !self
            .store()
            .protection(&layout::pack(first))
            .await?
            .versioned
        {
            return Ok(kept);
        }
        let asked = there.into_iter().map(|(pack, bytes)| async move {
            let object = layout::pack(pack);
            let protection = self.store().protection(&object).await?;
            Ok::<_, crate::Error>((object, bytes, protection))
        });
        let asked: Vec<_> = stream::iter(asked)
            .buffer_unordered(ASKED)
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed()
            .try_collect()
            .await?;
        for (object, bytes, protection) in asked.into_iter().filter(|(_, _, p)| p.versioned) {
            let until = protection.locked_until;
            kept.add(Kept {
                packs: 1,
                bytes,
                last: until.map(|until| Refused {
                    object,
                    until: Some(until),
                }),
            });
        }
        Ok(kept)
    }
}
