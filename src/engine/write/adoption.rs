//! Going on with a backup whose session was taken for dead.
//!
//! A machine that slept gave no sign of life, so a prune has fenced its session: nothing can be committed under it any more,
//! and what it wrote is garbage to everybody else. Its writer lives, though, and knows what it wrote. It opens another session
//! and claims the name again; then it does what a prune would do with this one backup:
//!
//! - packs that it uploaded are *adopted*, by listing them in segments of the new session, where the rules of the format
//!   allow it: the dead session's fence is there, its epoch is at or above the watermark of the new view, the view lists
//!   neither the session as retired nor the pack as condemned or dropped; and the pack is there;
//! - everything that the backup refers to is looked up again, tree and data, under the new view and in what was adopted: a
//!   chunk that the dead session found in the repository may have lost its pack since;
//! - what lies only where it may not be relied on (in packs that were condemned meanwhile, one's own or others') is copied
//!   into packs of the new session, frame by frame as in a repack, so that what was kept apart stays apart;
//! - if anything is gone, there is nothing to commit: [`Error::Fenced`].
//!
//! So the new session relies on nothing but live packs of its own view and on packs of its own, as any other writer does,
//! and why that is safe is the same argument (`docs/src/internals/prune-protocol.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use ark_format::documents::{Activity, WriteStats};
use ark_format::segment::PackRow;
use ark_format::tree::Root;
use ark_format::{PackName, layout};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Footing, WriteSession};
use crate::added::Added;
use crate::index::{Index, IndexSegment, merge};
use crate::packer::Packer;
use crate::prune::mark::mark;
use crate::prune::repack;
use crate::session::Session;
use crate::view::View;
use crate::{Error, Result};

/// Packs are looked for so many at once.
const LOOKS: usize = 16;

/// A backup that goes on with another session.
pub(super) struct Adopted {
    pub footing: Footing,
    /// The segments of the new session.
    pub added: Added,
    /// What was stored for it besides.
    pub stats: WriteStats,
    /// What happened, for the log.
    pub account: String,
}

impl Adopted {
    /// Ends the session without a commit.
    pub(super) async fn give_up(self) {
        close(&self.footing.session).await;
    }
}

async fn close(session: &Session) {
    if let Err(error) = session.close().await {
        tracing::warn!(id = %session.id, %error, "the pin could not be ended; it expires by itself");
    }
}

/// What was done under the new session before it could commit.
struct Moved {
    added: Added,
    stats: WriteStats,
    adopted: usize,
    copied: usize,
}

impl WriteSession {
    /// Goes on with another session, with what `added` lists.
    pub(super) async fn adopt(&self, roots: &[Root], added: &Added) -> Result<Adopted> {
        let inner = &self.inner;
        let repository = &inner.repository;
        let dead = self.id();
        let (session, view, index) = repository.open_session_with_index(Activity::Backup).await?;
        *inner.current.lock().unwrap_or_else(PoisonError::into_inner) = (session.epoch, session.id);
        let result = async {
            let begin = &inner.begin;
            let claim = repository.claim(&view, &session, &begin.cluster, &begin.name);
            let claim_bytes = claim.await?;
            let moved = self.move_over(&session, &view, index, roots, added).await?;
            Ok::<_, Error>((claim_bytes, moved))
        };
        let (claim_bytes, moved) = match result.await {
            Ok(done) => done,
            Err(error) => {
                close(&session).await;
                let gone = error.is_absence();
                return Err(if gone { self.fenced() } else { error });
            }
        };
        let mut stats = moved.stats;
        stats.control_bytes = session.pin_bytes + claim_bytes;
        let account = format!(
            "the backup was taken for dead as session {dead} and goes on as {}: {} of its packs adopted, what was needed of {} \
             others copied",
            session.id, moved.adopted, moved.copied
        );
        Ok(Adopted {
            footing: Footing::new(session, &view, &inner.begin, claim_bytes),
            added: moved.added,
            stats,
            account,
        })
    }

    async fn move_over(
        &self,
        session: &Session,
        view: &View,
        index: Index,
        roots: &[Root],
        added: &Added,
    ) -> Result<Moved> {
        let repository = &self.inner.repository;
        let own = added.loaded();
        let packs: BTreeMap<PackName, PackRow> = own
            .iter()
            .flat_map(|l| &l.segment.tables.packs)
            .map(|row| (row.name, *row))
            .collect();
        let refused = self.refused(view, &packs).await?;
        let index = index.with(own.clone(), refused.iter().copied());
        let index = repository.without_lost_keys(index).await?;

        let reader = repository.reader_of(None, view.clone(), index.clone());
        let marked = mark(&reader, &index, roots).await?;
        if marked.unknown > 0 {
            return Err(self.fenced());
        }
        let doubtful: Vec<PackName> = index.condemned().into_iter().collect();
        let packer = Packer::new(repository.clone(), session.id);
        let mut copied = 0;
        for batch in repack::batches(&index, &doubtful) {
            for (pack, frames) in repack::needed(&index, &marked, batch)? {
                if !frames.is_empty() {
                    let sealed = &self.inner.sealed;
                    let repacked = repository.repack(&index, &pack, frames, &packer, sealed);
                    repacked.await?;
                    copied += 1;
                }
            }
        }
        packer.finish().await?;

        let folder = repository.inner.cache.folder();
        let moved = Added::default();
        for loaded in &own {
            let kept = merge(&[loaded.segment.as_ref()], &refused, folder)?;
            if !kept.tables.packs.is_empty() {
                moved.write(repository, session.id, kept).await?;
            }
        }
        if let Some(segment) = packer.take_segment(0).await {
            let segment = IndexSegment::of(&segment, folder)?;
            moved.write(repository, session.id, segment).await?;
        }
        Ok(Moved {
            added: moved,
            stats: packer.stats().await,
            adopted: packs.len() - refused.len(),
            copied,
        })
    }

    /// Packs that may not be adopted, or are not there.
    async fn refused(
        &self,
        view: &View,
        packs: &BTreeMap<PackName, PackRow>,
    ) -> Result<BTreeSet<PackName>> {
        let store = self.inner.repository.store();
        let looks = packs.values().map(|row| async move {
            let adoptable = view.may_adopt(&row.name) && {
                let found = store.head(&layout::pack(&row.name)).await?;
                found.is_some_and(|found| found.size == row.size)
            };
            Ok::<_, Error>((!adoptable).then_some(row.name))
        });
        stream::iter(looks)
            .buffered(LOOKS)
            .try_filter_map(|refused| async move { Ok(refused) })
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed()
            .try_collect()
            .await
    }
}
