//! Packs: header, every frame, every chunk's hash, padding, trailer, footer, and the agreement of index and trailer.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::documents::PackRead;
use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::pack::{self, FOOTER, FrameEntry};
use ark_format::{PackName, layout};
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::{Findings, RECORD_EVERY_MS, Reading, VerifyMonitor, VerifyReport};
use crate::error::DamagedAt;
use crate::index::Index;
use crate::repair::suspects::frames_of;
use crate::repository::Repository;
use crate::store::StoreError;
use crate::{Error, Result};

/// What reading one pack gave.
pub(crate) struct PackCheck {
    /// What the trailer lists.
    pub frames: Vec<FrameEntry>,
    /// Frames that cannot be read, and why.
    pub bad: Vec<(u16, String)>,
    /// Frames whose data key cannot be used, and its number.
    pub sealed: Vec<(u16, u16)>,
    chunks: u64,
}

impl Repository {
    pub(super) async fn verify_packs(
        &self,
        index: &Index,
        listed: &BTreeMap<PackName, u64>,
        reading: &mut Reading,
        findings: &mut Findings,
        report: &mut VerifyReport,
        monitor: &dyn VerifyMonitor,
    ) -> Result<()> {
        let (chosen, until): (Vec<_>, _) = match &reading.again {
            Some(again) => {
                let there = again.iter().filter_map(|n| Some((*n, *listed.get(n)?)));
                (there.collect(), None)
            }
            None => {
                let chosen = reading.portion.choose(listed, &reading.journal);
                (chosen, reading.until)
            }
        };
        let total: u64 = chosen.iter().map(|(_, size)| size).sum();
        let count = chosen.len() as u64;
        let width = self.env().pool.width().max(2);
        let clock = &self.env().clock;
        let in_time = chosen
            .into_iter()
            .take_while(|_| until.is_none_or(|until| clock.now_ms() < until));
        let mut checks = stream::iter(in_time)
            .map(|(name, size)| async move {
                let key = layout::pack(&name);
                let result = match self.store().get(&key).await {
                    Ok(bytes) => self.read_pack(&name, &bytes).await,
                    Err(error) => Err(error.into()),
                };
                (name, size, result)
            })
            .buffer_unordered(width)
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed();
        let (mut done, mut packs) = (0, 0);
        let (mut trailers, mut damaged) = (BTreeMap::new(), BTreeSet::new());
        while let Some((name, size, result)) = checks.next().await {
            let key = layout::pack(&name);
            let mut read = PackRead {
                pack: name,
                at: clock.now_ms(),
                damaged: false,
            };
            match result {
                Ok(check) => {
                    // Of another size than the index says, and still everything in it can be read.
                    findings.packs.remove(&name);
                    report.chunks += check.chunks;
                    read.damaged = !(check.bad.is_empty() && check.sealed.is_empty());
                    for (frame, what) in check.bad {
                        findings.object(&key, format!("frame {frame}: {what}"));
                        findings.frames.insert((name, frame));
                    }
                    trailers.insert(name, check.frames);
                }
                Err(Error::Damaged { source, .. }) => {
                    findings.object(&key, source);
                    findings.packs.insert(name);
                    read.damaged = true;
                    damaged.insert(name);
                }
                // Dropped meanwhile; if it is needed, the walk says so.
                Err(Error::Store(StoreError::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
            reading.read.push(read);
            done += size;
            packs += 1;
            monitor.progress("packs", done, total);
            if reading.records && clock.now_ms() - reading.recorded_at >= RECORD_EVERY_MS {
                self.put_on_record(reading, listed, report).await?;
            }
        }
        drop(checks);
        self.judge_frames(index, &damaged, findings).await?;
        let coverage = &mut report.coverage;
        (coverage.read_packs, coverage.read_bytes) = (packs, done);
        (coverage.remaining_packs, coverage.remaining_bytes) = (count - packs, total - done);
        report.read_data = packs == listed.len() as u64;
        compare(index, &trailers, findings)
    }

    /// A damaged header or trailer, or an end that is cut off, takes no frame with it that can be read: only the others hit
    /// backups.
    async fn judge_frames(
        &self,
        index: &Index,
        damaged: &BTreeSet<PackName>,
        findings: &mut Findings,
    ) -> Result<()> {
        if damaged.is_empty() {
            return Ok(());
        }
        for (name, frames) in frames_of(index, damaged)? {
            let suspect = self.examine(name, frames.clone()).await?;
            findings.packs.remove(&name);
            let lost = frames.iter().filter(|(frame, chunks)| {
                let suspect = suspect.as_ref();
                suspect.is_some_and(|suspect| {
                    let readable = suspect.readable.get(frame);
                    readable.is_none_or(|readable| readable.len() < chunks.len())
                })
            });
            findings
                .frames
                .extend(lost.map(|(frame, _)| (name, frame.number)));
        }
        Ok(())
    }

    /// Reads a whole pack, on the CPU pool: an error is damage of all of it. Data keys that it needs are read too.
    pub(crate) async fn read_pack(&self, name: &PackName, bytes: &Bytes) -> Result<PackCheck> {
        let check = self.check_in_pool(name, bytes).await?;
        let keys: BTreeSet<u16> = check.sealed.iter().map(|(_, key)| *key).collect();
        let unread = keys.len();
        if unread > 0 {
            self.learn_data_keys(keys.clone()).await?;
            if self.lost_data_keys(&keys).len() < unread {
                return self.check_in_pool(name, bytes).await;
            }
        }
        Ok(check)
    }

    async fn check_in_pool(&self, name: &PackName, bytes: &Bytes) -> Result<PackCheck> {
        let (repository, name, bytes) = (self.clone(), *name, bytes.clone());
        let check = move || repository.check_pack(&name, &bytes);
        self.env().pool.run(check).await?
    }

    fn check_pack(&self, name: &PackName, bytes: &Bytes) -> Result<PackCheck> {
        let key = layout::pack(name);
        pack::check_header(name, bytes).at(&key)?;
        let short = || ark_format::DecodeError::Truncated("the pack");
        let footer = bytes.len().checked_sub(FOOTER).ok_or_else(short).at(&key)?;
        let trailer = pack::decode_footer(&bytes[footer..]).at(&key)? as usize;
        let start = footer.checked_sub(trailer).ok_or_else(short).at(&key)?;
        let frames = pack::decode_trailer(
            self.cipher(),
            self.id(),
            &self.key_set().index,
            name,
            bytes.len() as u64,
            &bytes[start..footer],
        )
        .at(&key)?;
        let kind = match name.class {
            PackClass::Data => ChunkKind::Data,
            PackClass::Meta => ChunkKind::Tree,
        };
        let (mut bad, mut sealed_by) = (Vec::new(), Vec::new());
        let mut chunks = 0;
        for (number, frame) in frames.iter().enumerate() {
            let sealed = &bytes[frame.offset as usize..(frame.offset + frame.stored) as usize];
            let Ok(sealer) = self.frame_sealer(name.class, frame.data_key) else {
                sealed_by.push((number as u16, frame.data_key));
                continue;
            };
            let decoded = match sealer.decode(sealed) {
                Ok(decoded) => decoded,
                Err(error) => {
                    bad.push((number as u16, error.to_string()));
                    continue;
                }
            };
            let whole = decoded.len() == frame.ids.len()
                && decoded
                    .chunks()
                    .zip(&frame.ids)
                    .all(|(c, id)| self.key_set().chunk_id(kind, c) == *id);
            if !whole {
                bad.push((
                    number as u16,
                    ark_format::DecodeError::IdMismatch.to_string(),
                ));
            }
            chunks += decoded.len() as u64;
        }
        Ok(PackCheck {
            frames,
            bad,
            sealed: sealed_by,
            chunks,
        })
    }
}

/// Every index entry must say what its pack's trailer says.
fn compare(
    index: &Index,
    trailers: &BTreeMap<PackName, Vec<FrameEntry>>,
    findings: &mut Findings,
) -> Result<()> {
    for loaded in index.segments() {
        let segment = &loaded.segment;
        let key = layout::segment(loaded.reference.session, loaded.reference.number);
        for entry in segment.rows.iter() {
            let entry = entry.map_err(Error::IndexCopy)?;
            let tables = &segment.tables;
            let (Some(pack), Some(row)) =
                (tables.packs.get(entry.pack as usize), tables.frame(&entry))
            else {
                continue;
            };
            let Some(frames) = trailers.get(&pack.name) else {
                continue;
            };
            let agrees = frames.get(usize::from(entry.frame)).is_some_and(|frame| {
                frame.offset == row.offset
                    && frame.stored == row.stored
                    && frame.data_key == row.data_key
                    && frame.ids.get(usize::from(entry.slot)) == Some(&entry.id)
            });
            if !agrees {
                findings.object(
                    &key,
                    format!("it does not agree with the trailer of {}", pack.name),
                );
            }
        }
    }
    Ok(())
}
