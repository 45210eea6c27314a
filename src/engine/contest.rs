//! Chunks that several packs are said to hold, decided by what stands in the packs.
//!
//! A trailer is the word of whoever wrote the pack, and a liar writes packs too. Of the places of a chunk a prune gives up all
//! but one, and not always the same one: what it keeps today may be rewritten tomorrow into a younger pack, or be condemned and
//! needed again. So when a chunk gets a further place from a segment that no epoch has, that place is read before an epoch takes
//! it over; if it holds the chunk, so are the places that epochs have, because the first of them was never compared with another. A place
//! that does not hold its chunk, while there is another one, is left out. From then on each place of a chunk that has several is true,
//! or cannot be read because its data key is lost, and then comes last: whichever a prune keeps, the chunk is there. Copies
//! that a prune makes are of what it has just read.
//!
//! Where no other place is left all stay: nothing is gained, and what is damaged may be put back. New places are read
//! first, so that a small pack that lies about much costs little.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use ark_format::id::PackClass;
use ark_format::keys::ChunkKind;
use ark_format::{ChunkId, PackName, SessionId, layout};
use futures::stream::{self, StreamExt};

use crate::index::{Index, IndexSegment, Place, RowsBuilder};
use crate::repository::Repository;
use crate::store::StoreError;
use crate::{Error, Result};

/// Packs are read so many at once,
const PACKS: usize = 4;
/// and of each so many bytes.
const BYTES: u64 = 8 << 20;

/// Where a frame is in its pack, and the data key that sealed it.
type Frame = (u32, u32, u16);
/// A chunk, and a place where it is said to be.
type Claim = (ChunkId, Place);

/// Why a place does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The frame can be read, and has something else.
    Untrue,
    /// It cannot be read, or is not there.
    Unreadable,
}

/// Claims by pack and frame.
type Claims = BTreeMap<PackName, BTreeMap<Frame, Vec<Claim>>>;

/// The places of contested chunks.
#[derive(Default)]
struct Contest {
    /// Those that only segments have which are to be confirmed.
    new: Claims,
    /// Those that others have.
    old: Claims,
}

/// What reading them came to.
#[derive(Default)]
struct Outcome {
    /// Chunks that are where one of their places says.
    held: BTreeSet<ChunkId>,
    faults: BTreeMap<Claim, Fault>,
}

/// Places that do not hold their chunk, while another one does.
#[derive(Default)]
pub(crate) struct Unheld(BTreeMap<Claim, Fault>);

impl Unheld {
    /// Takes those that cannot be read for such as may hold their chunk after all; returns their packs.
    pub fn spare_unreadable(&mut self) -> BTreeSet<PackName> {
        let faults = self.0.iter();
        let unreadable = faults.filter(|(_, fault)| **fault == Fault::Unreadable);
        let packs = unreadable.map(|((_, place), _)| place.pack).collect();
        self.0.retain(|_, fault| *fault == Fault::Untrue);
        packs
    }

    /// The packs of a segment whose entries are among them, each with the worst fault; and the segment without those.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn without(
        &self,
        segment: &IndexSegment,
        folder: Option<&std::path::Path>,
    ) -> Result<Option<(BTreeMap<PackName, Fault>, IndexSegment)>> {
        let packs: BTreeSet<PackName> = self.0.keys().map(|(_, place)| place.pack).collect();
        if !(segment.tables.packs.iter()).any(|row| packs.contains(&row.name)) {
            return Ok(None);
        }
        let mut found = BTreeMap::new();
        let mut rows = RowsBuilder::new(folder, 0);
        for entry in segment.rows.iter() {
            let entry = entry.map_err(Error::IndexCopy)?;
            let place = segment.place(&entry);
            match place.and_then(|place| Some((place.pack, *self.0.get(&(entry.id, place))?))) {
                Some((pack, fault)) => {
                    let worst = found.entry(pack).or_insert(fault);
                    if fault == Fault::Untrue {
                        *worst = fault;
                    }
                }
                None => rows.push(&entry.to_row()),
            }
        }
        let rows = rows.finish().map_err(Error::IndexCopy)?;
        let tables = segment.tables.clone();
        Ok((!found.is_empty()).then_some((found, IndexSegment { tables, rows })))
    }
}

impl Repository {
    /// Reads every place of the chunks in these segments that have several. `fresh` are those that no epoch has.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn unheld(
        &self,
        index: &mut Index,
        numbers: &BTreeSet<usize>,
        fresh: &BTreeSet<usize>,
        listed: &mut BTreeMap<PackName, u64>,
    ) -> Result<Unheld> {
        let mut unheld = Unheld::default();
        // One segment after the other: what is contested in one of them fits into memory.
        for number in numbers {
            let Contest { new, mut old } = contest(index, *number, numbers, fresh)?;
            let packs: BTreeSet<PackName> = new.keys().chain(old.keys()).copied().collect();
            if packs.is_empty() {
                continue;
            }
            self.look_for_packs(packs, listed, index).await?;
            let frames = new.values().chain(old.values()).flat_map(BTreeMap::keys);
            self.learn_data_keys(frames.map(|frame| frame.2).collect())
                .await?;
            let Outcome { held, mut faults } = self.read_contested(new, listed).await?;
            let mut others = BTreeSet::new();
            for (pack, frames) in &mut old {
                let there = listed.contains_key(pack);
                for (frame, claims) in frames.iter_mut() {
                    if there && self.frame_sealer(pack.class, frame.2).is_ok() {
                        others.extend(claims.iter().map(|claim| claim.0));
                    }
                    claims.retain(|claim| held.contains(&claim.0));
                }
                frames.retain(|_, claims| !claims.is_empty());
            }
            faults.retain(|(id, _), _| held.contains(id) || others.contains(id));
            unheld.0.extend(faults);
            unheld
                .0
                .extend(self.read_contested(old, listed).await?.faults);
        }
        Ok(unheld)
    }

    /// Packs were listed before the commits were: one that has been made in between is not in that list.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn look_for_packs(
        &self,
        mut packs: BTreeSet<PackName>,
        listed: &mut BTreeMap<PackName, u64>,
        index: &mut Index,
    ) -> Result<()> {
        packs.retain(|pack| !listed.contains_key(pack));
        let looks: Vec<_> = packs
            .into_iter()
            .map(|pack| async move { (pack, self.store().head(&layout::pack(&pack)).await) })
            .collect();
        // Boxed: the compiler cannot see through it that the futures above are Send.
        let mut looks = stream::iter(looks).buffered(2 * PACKS).boxed();
        while let Some((pack, found)) = looks.next().await {
            if let Some(info) = found? {
                listed.insert(pack, info.size);
                index.note_stored(pack, Some(info.modified_ms));
            }
        }
        Ok(())
    }

    async fn read_contested(
        &self,
        claims: Claims,
        listed: &BTreeMap<PackName, u64>,
    ) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let reads = claims.into_iter().map(|(pack, frames)| async move {
            let size = listed.get(&pack).copied().unwrap_or(0);
            self.read_claims(&pack, size, frames).await
        });
        let reads: Vec<_> = reads.collect();
        let mut reads = stream::iter(reads).buffer_unordered(PACKS).boxed();
        while let Some(read) = reads.next().await {
            let read = read?;
            outcome.held.extend(read.held);
            outcome.faults.extend(read.faults);
        }
        Ok(outcome)
    }

    async fn read_claims(
        &self,
        pack: &PackName,
        size: u64,
        frames: BTreeMap<Frame, Vec<Claim>>,
    ) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut waiting: Vec<(Frame, Vec<Claim>)> = Vec::new();
        let mut bytes = 0;
        for (frame, claims) in frames {
            // What a lost key has sealed is nobody's fault.
            if self.frame_sealer(pack.class, frame.2).is_err() {
                continue;
            }
            if range_of(&frame).end > size {
                let faults = claims.into_iter().map(|claim| (claim, Fault::Unreadable));
                outcome.faults.extend(faults);
                continue;
            }
            bytes += u64::from(frame.1);
            waiting.push((frame, claims));
            if bytes >= BYTES {
                let part = std::mem::take(&mut waiting);
                self.read_frames(pack, part, &mut outcome).await?;
                bytes = 0;
            }
        }
        self.read_frames(pack, waiting, &mut outcome).await?;
        Ok(outcome)
    }

    async fn read_frames(
        &self,
        pack: &PackName,
        frames: Vec<(Frame, Vec<Claim>)>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let kind = match pack.class {
            PackClass::Data => ChunkKind::Data,
            PackClass::Meta => ChunkKind::Tree,
        };
        let ranges: Vec<_> = frames.iter().map(|(frame, _)| range_of(frame)).collect();
        let read = match self.store().get_ranges(&layout::pack(pack), &ranges).await {
            Ok(read) => read,
            Err(StoreError::NotFound { .. } | StoreError::Truncated { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let mut read = read.into_iter();
        for (frame, claims) in frames {
            let sealer = self.frame_sealer(pack.class, frame.2)?;
            let decoded = read.next().map(|sealed| sealer.decode(&sealed));
            for claim in claims {
                let (id, place) = &claim;
                let fault = match &decoded {
                    Some(Ok(decoded)) => {
                        let chunk = decoded.chunk(usize::from(place.slot));
                        let held = chunk.is_some_and(|c| self.key_set().chunk_id(kind, c) == *id);
                        (!held).then_some(Fault::Untrue)
                    }
                    Some(Err(_)) | None => Some(Fault::Unreadable),
                };
                match fault {
                    None => {
                        outcome.held.insert(*id);
                    }
                    Some(fault) => {
                        outcome.faults.insert(claim, fault);
                    }
                }
            }
        }
        Ok(())
    }
}

fn range_of(frame: &Frame) -> Range<u64> {
    u64::from(frame.0)..u64::from(frame.0) + u64::from(frame.1)
}

/// The places of the chunks of one segment that have several.
fn contest(
    index: &Index,
    number: usize,
    numbers: &BTreeSet<usize>,
    fresh: &BTreeSet<usize>,
) -> Result<Contest> {
    let mut contest = Contest::default();
    let Some(own) = index.segments().get(number) else {
        return Ok(contest);
    };
    let mut last = None;
    for entry in own.segment.rows.iter() {
        let entry = entry.map_err(Error::IndexCopy)?;
        if last.replace(entry.id) == Some(entry.id) {
            continue;
        }
        // Each with whether only such segments have it.
        let mut places: BTreeMap<Place, bool> = BTreeMap::new();
        let mut writers: BTreeSet<Option<SessionId>> = BTreeSet::new();
        let mut done = false;
        for (other, loaded) in index.segments().iter().enumerate() {
            let new = numbers.contains(&other);
            for (_, place) in loaded.segment.places(&entry.id)? {
                done |= new && other < number;
                let writer = fresh.contains(&other).then_some(loaded.reference.session);
                writers.extend([writer, Some(place.pack.session)]);
                *places.entry(place).or_insert(true) &= new;
            }
        }
        // Whoever wrote a chunk twice has only himself to ask.
        if done || places.len() < 2 || writers.len() < 2 {
            continue;
        }
        for (place, new) in places {
            let frame = (place.offset, place.stored, place.data_key);
            let claims = match new {
                true => &mut contest.new,
                false => &mut contest.old,
            };
            let frames = claims.entry(place.pack).or_default();
            frames.entry(frame).or_default().push((entry.id, place));
        }
    }
    Ok(contest)
}
