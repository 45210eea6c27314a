//! The epochs of a repair, and what they need written before: copies of what can be read, and segments.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::documents::{Condemned, EpochBody, Retired, SegmentRef, Tombstone};
use ark_format::envelope::Kind;
use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::layout::{self, Object};
use ark_format::limits::PACK_MAX;
use ark_format::{PackName, SessionId};

use super::assess::Assessment;
use super::suspects::Suspect;
use super::{RepairReport, TRIES};
use crate::data_keys::SealedWith;
use crate::error::DamagedAt;
use crate::index::{IndexSegment, merge};
use crate::packer::{Packer, SealedFrame};
use crate::repository::Repository;
use crate::session::Session;
use crate::{Error, Result};

fn key_of(segment: &SegmentRef) -> String {
    layout::segment(segment.session, segment.number)
}

/// zstd level of frames that are cut down.
const LEVEL: i32 = 3;

impl Repository {
    /// Publishes the epoch without what cannot be read; the number of chunks copied, or `None` if another process was
    /// faster.
    pub(super) async fn put_out_of_force(
        &self,
        assessment: &Assessment,
        session: &Session,
        round: u32,
    ) -> Result<Option<u64>> {
        let facts = &assessment.facts;
        let view = &facts.view;
        let folder = self.inner.cache.folder();
        let mut number = round << 16;
        let mut next = || {
            number += 1;
            number
        };
        let mut segments = BTreeSet::new();
        let bad: BTreeSet<PackName> = assessment.bad.keys().copied().collect();
        for loaded in facts.index.segments() {
            let packs = &loaded.segment.tables.packs;
            let corrected = facts.corrected.contains(&loaded.reference);
            if !corrected && !packs.iter().any(|row| bad.contains(&row.name)) {
                segments.insert(loaded.reference.clone());
                continue;
            }
            let kept = merge(&[loaded.segment.as_ref()], &bad, folder)?;
            if !kept.tables.packs.is_empty() {
                segments.insert(self.write_segment(session.id, next(), &kept).await?);
            }
        }
        for found in &assessment.found {
            let segment = IndexSegment::of(found, folder)?;
            let kept = match found.packs.iter().any(|row| bad.contains(&row.name)) {
                true => merge(&[&segment], &bad, folder)?,
                false => segment,
            };
            if !kept.tables.packs.is_empty() {
                segments.insert(self.write_segment(session.id, next(), &kept).await?);
            }
        }
        let packer = Packer::new(self.clone(), session.id)
            .numbered_from(round << 20)
            .sparing();
        let (mut saved, sealed) = (0, SealedWith::default());
        for (name, suspect) in &assessment.bad {
            let copied = self.copy_readable(name, suspect, &packer, &sealed);
            saved += copied.await?;
        }
        packer.finish().await?;
        if let Some(copies) = packer.take_segment(0).await {
            let copies = IndexSegment::of(&copies, folder)?;
            segments.insert(self.write_segment(session.id, next(), &copies).await?);
        }
        let body = self.next_body(assessment, segments);
        self.confirm_data_keys(&sealed).await?;
        if !self.publish(&body, view.hash).await? {
            return Ok(None);
        }
        let kept: BTreeSet<String> = body.segments.iter().map(key_of).collect();
        let before = facts.index.segments().iter().map(|l| key_of(&l.reference));
        let unreadable = facts.index.problems.iter().map(|(key, _)| key.clone());
        let replaced = before.chain(unreadable).filter(|key| !kept.contains(key));
        self.delete_replaced(replaced.collect(), body.number)
            .await?;
        Ok(Some(saved))
    }

    /// Deletes segments that the newest epoch has replaced, and the bodies of older ones.
    async fn delete_replaced(&self, mut keys: Vec<String>, newest: u64) -> Result<()> {
        for object in self.store().list(layout::INDEX).await? {
            if let Some(Object::EpochBody(number)) = layout::parse(&object.key)
                && number < newest
            {
                keys.push(object.key);
            }
        }
        for key in keys {
            self.inner.cache.remove(&key).await;
            self.store().delete(&key).await?;
        }
        Ok(())
    }

    fn next_body(&self, assessment: &Assessment, segments: BTreeSet<SegmentRef>) -> EpochBody {
        let view = &assessment.facts.view;
        let epoch = view.number + 1;
        EpochBody {
            number: epoch,
            segments: segments.into_iter().collect(),
            condemned: assessment
                .found_unneeded
                .iter()
                .filter(|(pack, _)| !assessment.bad.contains_key(pack))
                .map(|(pack, size)| Condemned {
                    pack: *pack,
                    epoch,
                    size: *size,
                })
                .collect(),
            dropped: view.body.dropped.clone(),
            retired: view.body.retired.clone(),
            manifests: view.backups.iter().map(|b| b.row.clone()).collect(),
            watermark: view.body.watermark,
            features: view.body.features.clone(),
        }
    }

    /// Copies what can be read of a pack. Whole frames stay as they are, others are cut down, and none are joined.
    async fn copy_readable(
        &self,
        name: &PackName,
        suspect: &Suspect,
        packer: &Packer,
        sealed_with: &SealedWith,
    ) -> Result<u64> {
        if suspect.readable.is_empty() {
            return Ok(0);
        }
        let key = layout::pack(name);
        let bytes = self.store().get_bounded(&key, PACK_MAX).await?;
        let kind = match name.class {
            PackClass::Data => ChunkKind::Data,
            PackClass::Meta => ChunkKind::Tree,
        };
        let mut saved = 0;
        for (frame, readable) in &suspect.readable {
            let sealed = bytes
                .get(frame.offset as usize..frame.offset as usize + frame.stored as usize)
                .ok_or(ark_format::DecodeError::Truncated("a frame"))
                .at(&key)?;
            let sealer = self.frame_sealer(name.class, frame.data_key)?;
            let decoded = sealer.decode(sealed).at(&key)?;
            let mut chunks = Vec::with_capacity(readable.len());
            for (slot, id) in readable {
                let chunk = decoded.chunk(usize::from(*slot)).unwrap_or_default();
                // Read again since it was judged: a copy must not be of damage.
                if self.key_set().chunk_id(kind, chunk) != *id {
                    return Err(Error::Damaged {
                        object: key,
                        source: ark_format::DecodeError::IdMismatch,
                    });
                }
                chunks.push(chunk);
            }
            let (bytes, data_key) = if chunks.len() == decoded.len() {
                (sealed.to_vec(), frame.data_key)
            } else {
                let data_key = match name.class {
                    PackClass::Data => self.write_key()?,
                    PackClass::Meta => 0,
                };
                let lengths: Vec<u32> = chunks.iter().map(|c| c.len() as u32).collect();
                let seal = self.frame_sealer(name.class, data_key)?;
                sealed_with.note(&seal);
                let bytes = seal
                    .encode(LEVEL, self.env().salt(), &lengths, &chunks.concat())
                    .making(&key)?;
                (bytes, data_key)
            };
            saved += chunks.len() as u64;
            let ids = readable.iter().map(|(_, id)| *id).collect();
            let frame = SealedFrame {
                bytes,
                data_key,
                ids,
            };
            packer.add(name.class, frame).await?;
        }
        Ok(saved)
    }

    /// Undoes tombstones that cannot be read, and takes commits that cannot be read off the list.
    pub(super) async fn give_up_commits(&self, report: &mut RepairReport) -> Result<()> {
        let plan = &report.plan;
        let mut given_up: BTreeMap<SessionId, u64> = plan
            .commits
            .iter()
            .filter_map(|commit| match layout::parse(&commit.object) {
                Some(Object::Manifest(epoch, id)) => Some((id, epoch)),
                _ => None,
            })
            .collect();
        if given_up.is_empty() && plan.tombstones.is_empty() {
            return Ok(());
        }
        let watermark = self.head().await?.body.watermark;
        for (id, epoch) in given_up.clone() {
            if epoch < watermark {
                continue;
            }
            // The key of one that is missing gets a fence, so that nobody who puts it back later finds that it counts again
            // when what it needs is collected.
            match self.fence(epoch, id, id).await {
                Ok(true) | Err(Error::Damaged { .. }) => {}
                // It is there again, and can be read.
                Ok(false) => {
                    given_up.remove(&id);
                }
                Err(error) => return Err(error),
            }
        }
        for key in &plan.tombstones {
            if let Some(Object::Tombstone(session, number)) = layout::parse(key) {
                let undo = Tombstone {
                    session,
                    at: self.env().clock.now_ms(),
                    by: self.env().host.name(),
                };
                let key = layout::undo(session, number);
                self.create_signed(Kind::Undo, &key, &undo, "repair")
                    .await?;
            }
        }
        for _ in 0..TRIES {
            let head = self.head().await?;
            let mut body = head.body;
            body.number += 1;
            body.manifests.retain(|row| !given_up.contains_key(&row.id));
            let mut retired: BTreeSet<Retired> = body.retired.iter().copied().collect();
            retired.extend(given_up.iter().map(|(id, epoch)| Retired {
                epoch: *epoch,
                session: *id,
            }));
            retired.retain(|session| session.epoch >= body.watermark);
            body.retired = retired.into_iter().collect();
            if self.publish(&body, head.hash).await? {
                self.delete_replaced(Vec::new(), body.number).await?;
                report.epochs += 1;
                return Ok(());
            }
        }
        Err(Error::RepairBusy {
            by: "prunes that publish epochs all the time".to_owned(),
        })
    }
}
