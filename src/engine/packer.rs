//! Packs in the making: frames come in, whole packs go to the store, and the index entries of both come out.
//!
//! Data frames are spread at random over two open packs, so that the sizes in one pack do not tell the order of what
//! was read; what is left at the end under 1 MiB goes into one pack. Packs are padded (Padmé).

use std::collections::BTreeMap;
use std::sync::Arc;

use ark_format::documents::WriteStats;
use ark_format::frame::PADDING_OVERHEAD;
use ark_format::id::PackClass;
use ark_format::limits::PACK_FRAMES_MAX;
use ark_format::pack::{self, FrameEntry};
use ark_format::padme::padded;
use ark_format::segment::{Entry, FrameRow, PackRow, Segment};
use ark_format::{ChunkId, PackName, SessionId, layout};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use crate::error::DamagedAt;
use crate::repository::Repository;
use crate::store::Created;
use crate::{Error, Result};

/// Packs are sent when they hold one part in so many of what the session has stored: a small backup needs little memory, a
/// large one few objects.
const PACK_SHARE: u64 = 32;
/// They are never sent smaller than the one, never grow beyond the other.
const PACK_TARGETS: std::ops::RangeInclusive<usize> = 1 << 20..=16 << 20;
/// Two open data packs become one if one is smaller than this at the end.
const LEFTOVER: usize = 1 << 20;
/// Uploads under way at once.
const UPLOADS: usize = 4;

/// A sealed frame on its way into a pack.
pub struct SealedFrame {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The number of the data key; 0 for tree frames.
    pub data_key: u16,
    /// Its chunks.
    pub ids: Vec<ChunkId>,
}

#[derive(Default)]
struct OpenPack {
    bytes: Vec<u8>,
    frames: Vec<FrameEntry>,
    chunks: usize,
}

impl OpenPack {
    fn add(&mut self, frame: SealedFrame, target: usize) {
        if self.bytes.is_empty() {
            // Reserved, not touched: memory is used as the pack fills.
            self.bytes.reserve_exact(target + (1 << 20));
            self.bytes.resize(pack::HEADER, 0);
        }
        self.frames.push(FrameEntry {
            offset: self.bytes.len() as u32,
            stored: frame.bytes.len() as u32,
            data_key: frame.data_key,
            ids: Vec::new(),
        });
        self.chunks += frame.ids.len();
        if let Some(entry) = self.frames.last_mut() {
            entry.ids = frame.ids;
        }
        self.bytes.extend_from_slice(&frame.bytes);
    }

    fn absorb(&mut self, other: OpenPack) {
        for frame in other.frames {
            let start = frame.offset as usize;
            let end = start + frame.stored as usize;
            let bytes = other.bytes[start..end].to_vec();
            self.add(
                SealedFrame {
                    bytes,
                    data_key: frame.data_key,
                    ids: frame.ids,
                },
                0,
            );
        }
    }
}

#[derive(Default)]
struct State {
    data: [OpenPack; 2],
    meta: OpenPack,
    sequence: u32,
    /// Packs that are in the store and not yet in a segment.
    finished: Vec<(PackRow, Vec<FrameEntry>)>,
    /// Chunks in them.
    finished_chunks: usize,
    stats: WriteStats,
}

/// A whole pack on its way to the store.
struct ClosedPack {
    key: String,
    bytes: Vec<u8>,
    row: PackRow,
    frames: Vec<FrameEntry>,
}

/// Puts frames into packs and packs into the store.
pub struct Packer {
    repository: Repository,
    session: SessionId,
    largest: usize,
    state: Arc<Mutex<State>>,
    uploads: Mutex<JoinSet<Result<()>>>,
    slots: Arc<Semaphore>,
}

impl Packer {
    /// A packer for the packs of `session`.
    pub fn new(repository: Repository, session: SessionId) -> Packer {
        let largest = (repository.inner.memory / 4).clamp(1 << 20, *PACK_TARGETS.end() as u64);
        Packer {
            repository,
            session,
            largest: largest as usize,
            state: Arc::default(),
            uploads: Mutex::default(),
            slots: Arc::new(Semaphore::new(UPLOADS)),
        }
    }

    /// Numbers the packs from `first` on: for a session that packs several times.
    pub fn numbered_from(mut self, first: u32) -> Packer {
        let state = State {
            sequence: first,
            ..State::default()
        };
        self.state = Arc::new(Mutex::new(state));
        self
    }

    /// With smaller packs, fewer of them on their way: for who holds whole packs in memory besides, as a prune does.
    pub fn sparing(mut self) -> Packer {
        self.largest = (self.largest / 2).max(1 << 20);
        self.slots = Arc::new(Semaphore::new(UPLOADS / 2));
        self
    }

    /// Adds a frame; waits while too many packs are on their way.
    ///
    /// # Errors
    /// If sealing or an earlier upload failed.
    pub async fn add(&self, class: PackClass, frame: SealedFrame) -> Result<()> {
        let full = {
            let mut state = self.state.lock().await;
            let coin = usize::from(self.repository.env().bytes::<1>()[0] & 1);
            match class {
                PackClass::Data => state.stats.data_bytes += frame.bytes.len() as u64,
                PackClass::Meta => state.stats.tree_bytes += frame.bytes.len() as u64,
            }
            let stored = (state.stats.data_bytes + state.stats.tree_bytes) / PACK_SHARE;
            let target = stored.max(*PACK_TARGETS.start() as u64) as usize;
            let target = target.min(self.largest);
            let open = match class {
                PackClass::Data => &mut state.data[coin],
                PackClass::Meta => &mut state.meta,
            };
            open.add(frame, target);
            if open.bytes.len() >= target || open.frames.len() + 1 >= PACK_FRAMES_MAX {
                let full = std::mem::take(open);
                Some(self.close(&mut state, class, full)?)
            } else {
                None
            }
        };
        match full {
            Some(closed) => self.upload(closed).await,
            None => Ok(()),
        }
    }

    /// Pads a pack and seals its trailer.
    fn close(&self, state: &mut State, class: PackClass, mut open: OpenPack) -> Result<ClosedPack> {
        let name = PackName {
            session: self.session,
            sequence: state.sequence,
            class,
        };
        state.sequence += 1;
        let key = layout::pack(&name);
        // The key of a frame beside it: this process has it.
        let data_key = open.frames.last().map_or(0, |frame| frame.data_key);
        let end = |open: &OpenPack| {
            open.bytes.len() + pack::trailer_length(open.frames.len(), open.chunks) + pack::FOOTER
        };
        if padded(end(&open) as u64) != end(&open) as u64 {
            let least = end(&open) + 8 + PADDING_OVERHEAD;
            let zeros = padded(least as u64) as usize - least;
            let salt = self.repository.env().salt();
            let bytes = self
                .repository
                .frame_sealer(class, data_key)?
                .padding(salt, zeros)
                .making(&key)?;
            state.stats.padding_bytes += bytes.len() as u64;
            open.add(
                SealedFrame {
                    bytes,
                    data_key,
                    ids: Vec::new(),
                },
                0,
            );
        }
        open.bytes[..pack::HEADER].copy_from_slice(&pack::header(&name));
        let env = self.repository.env();
        let trailer = pack::encode_trailer(
            self.repository.cipher(),
            self.repository.id(),
            &self.repository.key_set().index,
            env.salt(),
            &name,
            &open.frames,
        )
        .making(&key)?;
        open.bytes.extend_from_slice(&trailer);
        state.stats.trailer_bytes += (trailer.len() + pack::HEADER) as u64;
        state.stats.packs += 1;
        let row = PackRow {
            name,
            first_frame: 0,
            frames: open.frames.len() as u32,
            size: open.bytes.len() as u64,
        };
        Ok(ClosedPack {
            key,
            bytes: open.bytes,
            row,
            frames: open.frames,
        })
    }

    async fn upload(&self, closed: ClosedPack) -> Result<()> {
        let permit = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|_| Error::Stopped)?;
        let store = self.repository.store().clone();
        let mut uploads = self.uploads.lock().await;
        // Errors of finished uploads show here, not only at the end.
        while let Some(result) = uploads.try_join_next() {
            result??;
        }
        let state = Arc::clone(&self.state);
        uploads.spawn(async move {
            let ClosedPack {
                key,
                bytes,
                row,
                frames,
            } = closed;
            let created = store.create(&key, bytes.into()).await?;
            drop(permit);
            match created {
                Created::New => {
                    // Only now may a segment name it.
                    let mut state = state.lock().await;
                    state.finished_chunks += frames.iter().map(|f| f.ids.len()).sum::<usize>();
                    state.finished.push((row, frames));
                    Ok(())
                }
                Created::Exists(_) => {
                    let source = ark_format::DecodeError::Invalid(
                        "another object has the name of a new pack",
                    );
                    Err(Error::Damaged {
                        object: key,
                        source,
                    })
                }
            }
        });
        Ok(())
    }

    /// Sends what is left and waits for all uploads.
    ///
    /// # Errors
    /// If any upload failed.
    pub async fn finish(&self) -> Result<()> {
        let rest = {
            let mut state = self.state.lock().await;
            let [mut first, mut second] = std::mem::take(&mut state.data);
            if first.bytes.len() < second.bytes.len() {
                std::mem::swap(&mut first, &mut second);
            }
            let fits = first.frames.len() + second.frames.len() + 1 < PACK_FRAMES_MAX;
            if second.bytes.len() < LEFTOVER && fits {
                first.absorb(std::mem::take(&mut second));
            }
            let meta = std::mem::take(&mut state.meta);
            let mut rest = Vec::new();
            for (class, open) in [
                (PackClass::Data, first),
                (PackClass::Data, second),
                (PackClass::Meta, meta),
            ] {
                if !open.frames.is_empty() {
                    rest.push(self.close(&mut state, class, open)?);
                }
            }
            rest
        };
        for closed in rest {
            self.upload(closed).await?;
        }
        let mut uploads = self.uploads.lock().await;
        while let Some(result) = uploads.join_next().await {
            result??;
        }
        Ok(())
    }

    /// What was stored so far.
    pub async fn stats(&self) -> WriteStats {
        self.state.lock().await.stats
    }

    /// The index segment of the packs that are in the store and were not in one before; `None` if they have fewer
    /// than `least` chunks, or if there are none.
    pub async fn take_segment(&self, least: usize) -> Option<Segment> {
        let finished = {
            let mut state = self.state.lock().await;
            if state.finished_chunks < least {
                return None;
            }
            state.finished_chunks = 0;
            std::mem::take(&mut state.finished)
        };
        build_segment(
            finished
                .iter()
                .map(|(row, frames)| (*row, frames.as_slice())),
        )
    }
}

/// An index segment for these packs and frames; `None` for no packs.
pub fn build_segment<'a>(
    packs: impl Iterator<Item = (PackRow, &'a [FrameEntry])>,
) -> Option<Segment> {
    let sorted: BTreeMap<PackName, (PackRow, &[FrameEntry])> =
        packs.map(|p| (p.0.name, p)).collect();
    let mut segment = Segment::default();
    for (row, frames) in sorted.into_values() {
        let pack = segment.packs.len() as u32;
        segment.packs.push(PackRow {
            first_frame: segment.frames.len() as u32,
            ..row
        });
        for (number, frame) in frames.iter().enumerate() {
            segment.frames.push(FrameRow {
                offset: frame.offset,
                stored: frame.stored,
                data_key: frame.data_key,
                chunks: frame.ids.len() as u16,
            });
            for (slot, id) in frame.ids.iter().enumerate() {
                segment.entries.push(Entry {
                    id: *id,
                    pack,
                    frame: number as u16,
                    slot: slot as u16,
                });
            }
        }
    }
    segment.entries.sort_unstable();
    (!segment.packs.is_empty()).then_some(segment)
}
