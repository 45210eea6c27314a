//! Packs: header, every frame, every chunk's hash, padding, trailer, footer, and the agreement of index and trailer.

use std::collections::BTreeMap;

use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::pack::{self, FOOTER, FrameEntry};
use ark_format::{PackName, layout};
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::{Findings, VerifyMonitor, VerifyReport};
use crate::error::DamagedAt;
use crate::index::Index;
use crate::repository::Repository;
use crate::store::StoreError;
use crate::{Error, Result};

/// What reading one pack gave.
struct PackCheck {
    frames: Vec<FrameEntry>,
    bad: Vec<(u16, String)>,
    chunks: u64,
}

impl Repository {
    pub(super) async fn verify_packs(
        &self,
        index: &Index,
        listed: &BTreeMap<PackName, u64>,
        findings: &mut Findings,
        report: &mut VerifyReport,
        monitor: &dyn VerifyMonitor,
    ) -> Result<()> {
        let total: u64 = listed.values().sum();
        let width = self.env().pool.width().max(2);
        let mut checks = stream::iter(listed)
            .map(|(&name, &size)| async move {
                let key = layout::pack(&name);
                let result = match self.store().get(&key).await {
                    Ok(bytes) => {
                        let repository = self.clone();
                        self.env()
                            .pool
                            .run(move || repository.check_pack(&name, &bytes))
                            .await
                            .and_then(|r| r)
                    }
                    Err(error) => Err(error.into()),
                };
                (name, size, result)
            })
            .buffer_unordered(width)
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed();
        let mut done = 0;
        let mut trailers = BTreeMap::new();
        while let Some((name, size, result)) = checks.next().await {
            let key = layout::pack(&name);
            match result {
                Ok(check) => {
                    report.chunks += check.chunks;
                    for (frame, what) in check.bad {
                        findings.object(&key, format!("frame {frame}: {what}"));
                        findings.frames.insert((name, frame));
                    }
                    trailers.insert(name, check.frames);
                }
                Err(Error::Damaged { source, .. }) => {
                    findings.object(&key, source);
                    findings.packs.insert(name);
                }
                // Dropped meanwhile; if it is needed, the walk says so.
                Err(Error::Store(StoreError::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
            done += size;
            monitor.progress("packs", done, total);
        }
        compare(index, &trailers, findings);
        Ok(())
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
        let mut bad = Vec::new();
        let mut chunks = 0;
        for (number, frame) in frames.iter().enumerate() {
            let sealed = &bytes[frame.offset as usize..(frame.offset + frame.stored) as usize];
            let decoded = match self
                .frame_sealer(name.class, frame.data_key)?
                .decode(sealed)
            {
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
            chunks,
        })
    }
}

/// Every index entry must say what its pack's trailer says.
fn compare(index: &Index, trailers: &BTreeMap<PackName, Vec<FrameEntry>>, findings: &mut Findings) {
    for loaded in index.segments() {
        let segment = &loaded.segment;
        let key = layout::segment(loaded.reference.session, loaded.reference.number);
        for entry in &segment.entries {
            let (Some(pack), Some(row)) =
                (segment.packs.get(entry.pack as usize), segment.frame(entry))
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
}
