//! What segments say of packs, confirmed by the packs before an epoch takes it over.
//!
//! An index segment is sealed with a key that every writer has, so it may say what is not true: that a chunk stands in a
//! pack which does not hold it. Of several places of a chunk a prune keeps one, so such a place could make garbage of the pack
//! that really holds it. A pack's trailer says what is in it, and was written with the pack. It is read, before anything is
//! decided,
//!
//! - of every pack of another session that a segment lists which no epoch has yet: an adopted one, or a lie;
//! - of every pack that lists a chunk which another one lists too, if a segment that no epoch has yet is involved. The
//!   commit's own packs are among them: a liar may have written one in time.
//!
//! Where segment and trailer differ, the index gets what the trailer says instead: what is true in such a segment may be
//! relied on by a backup that began since, and what is not takes nothing away. The next epoch has a segment that is
//! corrected like this. Of a pack whose trailer cannot be read, entries of chunks that a confirmed pack has as well are left out.
//!
//! The packs may lie as well. What decides of a chunk that several of them have is what stands there ([`crate::contest`]).
//!
//! Where nobody has adopted anything and no chunk was written twice, which is the usual case, this costs no request.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ark_format::documents::SegmentRef;
use ark_format::pack::FrameEntry;
use ark_format::segment::{FrameRow, PackRow, Tables};
use ark_format::{ChunkId, PackName, SessionId, layout};
use futures::stream::StreamExt;
use serde::Serialize;

use crate::contest::Fault;
use crate::index::{Index, IndexSegment, RowsBuilder, merge};
use crate::packer::build_segment;
use crate::repository::Repository;
use crate::store::StoreError;
use crate::view::View;
use crate::{Error, Result};

/// What is put in the place of lies is collected up to so many chunks in memory.
const TRUTHS: usize = 1 << 17;

/// A segment that says of a pack what is not true.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lie {
    /// The segment's key.
    pub segment: String,
    /// The backup whose commit names it; `None` if an epoch had taken it over already.
    pub backup: Option<SessionId>,
    /// The pack's key; `None` if the segment bears the name of another session than the commit's, and has no say at all.
    pub pack: Option<String>,
}

impl std::fmt::Display for Lie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the index segment {}", self.segment)?;
        match &self.backup {
            Some(backup) => write!(f, ", committed by backup {backup}, ")?,
            None => write!(f, " ")?,
        }
        match &self.pack {
            Some(pack) => write!(f, "does not say what {pack} holds"),
            None => write!(f, "bears the name of another session"),
        }
    }
}

/// What becomes of frames that cannot be read, of chunks that others have as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// They are left out.
    IsLeftOut,
    /// Who asks mends them: their packs are among the unreadable ones.
    IsMended,
}

/// An index that nothing untrue takes part in.
pub(crate) struct Confirmed {
    pub index: Index,
    /// Segments that `index` has otherwise than their objects: the next epoch must not list them.
    pub corrected: BTreeSet<SegmentRef>,
    pub lies: Vec<Lie>,
    /// Packs whose trailers cannot be read and of which it cannot be told what another one has as well, and those that
    /// are to be mended: key and why.
    pub unreadable: Vec<(String, String)>,
}

/// Trailers that were read, so that none is read twice.
#[derive(Default)]
pub(crate) struct Trailers(BTreeMap<PackName, Trailer>);

enum Trailer {
    /// What it says, in short.
    Sound(Account),
    Damaged(String),
}

/// A hash of everything that is said of one pack.
type Account = [u8; 32];

/// A segment's number in the index, and a pack in it.
type Claim = (usize, PackName);

/// What is to be confirmed.
#[derive(Default)]
struct Doubts {
    /// The segments that no epoch has.
    fresh: BTreeSet<usize>,
    /// Packs of others than the commit's session.
    foreign: BTreeSet<Claim>,
    /// Packs that list a chunk which another one lists.
    rivals: BTreeSet<Claim>,
    /// Packs of others whose deletion a prune has ordered: nobody may adopt them, whatever stands in them.
    void: BTreeSet<Claim>,
}

impl Repository {
    /// The index of a view with the word of packs in the place of what is not true of them. What is in the bucket and not
    /// `listed` is added there, if anything is said of it that is to be confirmed.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn confirmed(
        &self,
        view: &View,
        index: Index,
        listed: &mut BTreeMap<PackName, u64>,
        trailers: &mut Trailers,
        damage: Damage,
    ) -> Result<Confirmed> {
        let mut confirmed = Confirmed {
            index,
            corrected: BTreeSet::new(),
            lies: foreign_segments(view),
            unreadable: Vec::new(),
        };
        let index = &mut confirmed.index;
        let doubts = doubts(view, index)?;
        let claims = || doubts.foreign.iter().chain(&doubts.rivals);
        let doubtful = claims().map(|claim| claim.1).collect();
        self.look_for_packs(doubtful, listed, index).await?;
        let mut accounts = BTreeMap::new();
        for claim in claims().filter(|claim| listed.contains_key(&claim.1)) {
            accounts.insert(*claim, None);
        }
        give_accounts(index, &mut accounts)?;
        for gone in self.read_trailers(&accounts, listed, trailers).await? {
            listed.remove(&gone);
            index.note_stored(gone, None);
        }

        let folder = self.inner.cache.folder();
        let (mut lied, mut weak) = (BTreeMap::<usize, BTreeSet<_>>::new(), BTreeSet::new());
        for (claim, account) in &accounts {
            match trailers.0.get(&claim.1) {
                Some(Trailer::Sound(sound)) if Some(*sound) != *account => {
                    lied.entry(claim.0).or_default().insert(claim.1);
                }
                Some(Trailer::Damaged(what)) if doubts.foreign.contains(claim) => {
                    let key = layout::pack(&claim.1);
                    confirmed.unreadable.push((key, what.clone()));
                    weak.insert(*claim);
                }
                Some(Trailer::Damaged(_)) => {
                    weak.insert(*claim);
                }
                _ => {}
            }
        }
        for (number, pack) in &doubts.void {
            lied.entry(*number).or_default().insert(*pack);
        }
        for (number, packs) in &lied {
            let Some(loaded) = index.segments().get(*number) else {
                continue;
            };
            let reference = loaded.reference.clone();
            let left = merge(&[loaded.segment.as_ref()], packs, folder)?;
            let void = |pack: &&PackName| doubts.void.contains(&(*number, **pack));
            let told = packs.iter().filter(|pack| !void(pack)).copied().collect();
            let truths = self.read_truths(told, listed).await?;
            let parts: Vec<&IndexSegment> = std::iter::once(&left).chain(&truths).collect();
            let segment = Arc::new(merge(&parts, &BTreeSet::new(), folder)?);
            for pack in packs {
                confirmed.lies.push(lie(view, &reference, pack));
            }
            index.replace(*number, segment);
            confirmed.corrected.insert(reference);
        }
        let sound = |pack: &PackName| {
            listed.contains_key(pack) && matches!(trailers.0.get(pack), Some(Trailer::Sound(_)))
        };
        let mut unsure = BTreeSet::new();
        for number in weak.iter().map(|claim| claim.0).collect::<BTreeSet<_>>() {
            let packs = weak.iter().filter(|claim| claim.0 == number);
            let packs = packs.map(|claim| claim.1).collect();
            let without = without_rivals(index, number, &packs, &sound, &mut unsure, folder)?;
            if let Some(segment) = without {
                let reference = index.segments().get(number).map(|l| l.reference.clone());
                confirmed.corrected.extend(reference);
                index.replace(number, Arc::new(segment));
            }
        }
        for pack in unsure {
            if let Some(Trailer::Damaged(what)) = trailers.0.get(&pack) {
                let key = layout::pack(&pack);
                confirmed.unreadable.push((key, what.clone()));
            }
        }
        if claims().next().is_some() {
            // What a trailer has put in the place of a lie is as new as what no epoch has.
            let numbers = doubts.fresh.iter().chain(lied.keys()).copied().collect();
            let mut unheld = self.unheld(index, &numbers, &doubts.fresh, listed).await?;
            if damage == Damage::IsMended {
                let damaged = unheld.spare_unreadable().into_iter();
                let damaged = damaged.filter(|pack| listed.contains_key(pack));
                let what = "a frame that must hold a chunk cannot be read";
                let told = damaged.map(|pack| (layout::pack(&pack), what.to_owned()));
                confirmed.unreadable.extend(told);
            }
            for number in 0..index.segments().len() {
                let Some(loaded) = index.segments().get(number) else {
                    continue;
                };
                let Some((packs, segment)) = unheld.without(&loaded.segment, folder)? else {
                    continue;
                };
                let reference = loaded.reference.clone();
                for (pack, fault) in &packs {
                    let lie = lie(view, &reference, pack);
                    match fault {
                        Fault::Untrue if !confirmed.lies.contains(&lie) => confirmed.lies.push(lie),
                        Fault::Untrue => {}
                        Fault::Unreadable => {
                            tracing::warn!(%pack, "cannot be read: other places of its chunks count");
                        }
                    }
                }
                index.replace(number, Arc::new(segment));
                confirmed.corrected.insert(reference);
            }
        }
        for lie in &confirmed.lies {
            tracing::warn!("passed over: {lie}");
        }
        Ok(confirmed)
    }

    /// Reads what of these packs has not been read yet. Returns those that are not there any more.
    async fn read_trailers(
        &self,
        accounts: &BTreeMap<Claim, Option<Account>>,
        listed: &BTreeMap<PackName, u64>,
        trailers: &mut Trailers,
    ) -> Result<Vec<PackName>> {
        let packs: BTreeSet<PackName> = accounts.keys().map(|claim| claim.1).collect();
        let wanted = packs.iter().filter(|pack| !trailers.0.contains_key(pack));
        let wanted = wanted.filter_map(|pack| Some((*pack, *listed.get(pack)?)));
        let mut reads = self.trailers(wanted);
        let mut gone = Vec::new();
        while let Some((pack, trailer)) = reads.next().await {
            let trailer = match trailer {
                Ok((row, frames)) => Trailer::Sound(account_of(&row, &frames)),
                Err(Error::Damaged { source, .. }) => Trailer::Damaged(source.to_string()),
                Err(Error::Store(error @ StoreError::Truncated { .. })) => {
                    Trailer::Damaged(error.to_string())
                }
                Err(Error::Store(StoreError::NotFound { .. })) => {
                    gone.push(pack);
                    continue;
                }
                Err(error) => return Err(error),
            };
            trailers.0.insert(pack, trailer);
        }
        Ok(gone)
    }

    /// What these packs say of themselves. Read again: only of a few packs anything else is said, and nobody holds it meanwhile.
    async fn read_truths(
        &self,
        packs: BTreeSet<PackName>,
        listed: &BTreeMap<PackName, u64>,
    ) -> Result<Vec<IndexSegment>> {
        let sizes = packs
            .iter()
            .filter_map(|pack| Some((*pack, *listed.get(pack)?)));
        let mut reads = self.trailers(sizes);
        let folder = self.inner.cache.folder();
        let (mut truths, mut read, mut chunks) = (Vec::new(), Vec::new(), 0);
        let segment_of = |read: &[(PackRow, Vec<FrameEntry>)]| {
            let packs = read.iter().map(|(row, frames)| (*row, frames.as_slice()));
            let segment = build_segment(packs);
            segment.map(|s| IndexSegment::of(&s, folder)).transpose()
        };
        while let Some((_, trailer)) = reads.next().await {
            let (row, frames) = trailer?;
            chunks += frames.iter().map(|frame| frame.ids.len()).sum::<usize>();
            read.push((row, frames));
            if chunks >= TRUTHS {
                truths.extend(segment_of(&read)?);
                read.clear();
                chunks = 0;
            }
        }
        truths.extend(segment_of(&read)?);
        Ok(truths)
    }
}

/// Segments that commits name and that bear another session's name: the view does not have them.
fn foreign_segments(view: &View) -> Vec<Lie> {
    let listed: BTreeSet<SessionId> = view.body.manifests.iter().map(|row| row.id).collect();
    let recent = view.backups.iter().filter(|b| !listed.contains(&b.row.id));
    let named = recent.flat_map(|b| b.row.segments.iter().map(|s| (b.row.id, s)));
    let foreign = named.filter(|(id, segment)| segment.session != *id);
    foreign
        .map(|(id, segment)| Lie {
            segment: layout::segment(segment.session, segment.number),
            backup: Some(id),
            pack: None,
        })
        .collect()
}

fn lie(view: &View, reference: &SegmentRef, pack: &PackName) -> Lie {
    Lie {
        segment: layout::segment(reference.session, reference.number),
        backup: committed_by(view, reference),
        pack: Some(layout::pack(pack)),
    }
}

fn committed_by(view: &View, segment: &SegmentRef) -> Option<SessionId> {
    let rows = view.backups.iter().map(|b| &b.row);
    let mut own = rows.filter(|row| row.id == segment.session);
    own.find(|row| row.segments.contains(segment))
        .map(|row| row.id)
}

fn doubts(view: &View, index: &Index) -> Result<Doubts> {
    let absorbed: BTreeSet<&SegmentRef> = view.body.segments.iter().collect();
    let loaded = || index.segments().iter().enumerate();
    let fresh = loaded().filter(|(_, l)| !absorbed.contains(&l.reference));
    let mut doubts = Doubts {
        fresh: fresh.map(|(number, _)| number).collect(),
        ..Doubts::default()
    };
    let fresh = doubts.fresh.clone();
    if fresh.is_empty() {
        return Ok(doubts);
    }
    let mut listing: BTreeMap<PackName, BTreeSet<usize>> = BTreeMap::new();
    for (number, l) in loaded() {
        for row in &l.segment.tables.packs {
            listing.entry(row.name).or_default().insert(number);
        }
    }
    for (pack, numbers) in listing.iter().filter(|(_, numbers)| numbers.len() > 1) {
        if !numbers.is_disjoint(&fresh) {
            doubts.rivals.extend(numbers.iter().map(|n| (*n, *pack)));
        }
    }
    for (number, l) in loaded().filter(|(number, _)| fresh.contains(number)) {
        let session = l.reference.session;
        let packs = &l.segment.tables.packs;
        for row in packs.iter().filter(|row| row.name.session != session) {
            let claims = match view.body.dropped.contains(&row.name) {
                true => &mut doubts.void,
                false => &mut doubts.foreign,
            };
            claims.insert((number, row.name));
        }
        // Whoever wrote a chunk twice has only himself to ask.
        let others: Vec<_> = loaded()
            .filter(|(n, l)| !fresh.contains(n) || l.reference.session != session)
            .collect();
        if others.is_empty() {
            continue;
        }
        for entry in l.segment.rows.iter() {
            let entry = entry.map_err(Error::IndexCopy)?;
            let Some(own) = packs.get(entry.pack as usize) else {
                continue;
            };
            for (other, l) in &others {
                for (_, place) in l.segment.places(&entry.id)? {
                    if place.pack != own.name {
                        doubts.rivals.insert((*other, place.pack));
                        doubts.rivals.insert((number, own.name));
                    }
                }
            }
        }
    }
    let void = &doubts.void;
    doubts.rivals.retain(|claim| !void.contains(claim));
    Ok(doubts)
}

/// What segments say of packs. Who lists a pack twice is not heard.
fn give_accounts(index: &Index, accounts: &mut BTreeMap<Claim, Option<Account>>) -> Result<()> {
    for (number, loaded) in index.segments().iter().enumerate() {
        let tables = &loaded.segment.tables;
        let mut wanted: BTreeMap<PackName, Vec<usize>> = BTreeMap::new();
        for (row, pack) in tables.packs.iter().enumerate() {
            if accounts.contains_key(&(number, pack.name)) {
                wanted.entry(pack.name).or_default().push(row);
            }
        }
        wanted.retain(|_, rows| rows.len() == 1);
        if wanted.is_empty() {
            continue;
        }
        let rows = wanted.into_values().flatten();
        let mut said: BTreeMap<usize, Vec<(u16, u16, ChunkId)>> =
            rows.map(|row| (row, Vec::new())).collect();
        for entry in loaded.segment.rows.iter() {
            let entry = entry.map_err(Error::IndexCopy)?;
            if let Some(entries) = said.get_mut(&(entry.pack as usize)) {
                entries.push((entry.frame, entry.slot, entry.id));
            }
        }
        for (row, mut entries) in said {
            entries.sort_unstable();
            if let Some(row) = tables.packs.get(row) {
                let account = account(row.size, frames_of(tables, row), entries.into_iter());
                accounts.insert((number, row.name), Some(account));
            }
        }
    }
    Ok(())
}

fn frames_of<'t>(tables: &'t Tables, row: &PackRow) -> &'t [FrameRow] {
    let first = row.first_frame as usize;
    let frames = tables.frames.get(first..first + row.frames as usize);
    frames.unwrap_or_default()
}

/// What a trailer says.
fn account_of(row: &PackRow, trailer: &[FrameEntry]) -> Account {
    let frames: Vec<FrameRow> = trailer
        .iter()
        .map(|frame| FrameRow {
            offset: frame.offset,
            stored: frame.stored,
            data_key: frame.data_key,
            chunks: frame.ids.len() as u16,
        })
        .collect();
    let entries = (0..).zip(trailer).flat_map(|(frame, entry)| {
        let ids = (0..).zip(&entry.ids);
        ids.map(move |(slot, id)| (frame, slot, *id))
    });
    account(row.size, &frames, entries)
}

fn account(
    size: u64,
    frames: &[FrameRow],
    entries: impl Iterator<Item = (u16, u16, ChunkId)>,
) -> Account {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size.to_le_bytes());
    hasher.update(&(frames.len() as u64).to_le_bytes());
    for frame in frames {
        hasher.update(&frame.offset.to_le_bytes());
        hasher.update(&frame.stored.to_le_bytes());
        hasher.update(&frame.data_key.to_le_bytes());
        hasher.update(&frame.chunks.to_le_bytes());
    }
    for (frame, slot, id) in entries {
        hasher.update(&frame.to_le_bytes());
        hasher.update(&slot.to_le_bytes());
        hasher.update(&id.0);
    }
    *hasher.finalize().as_bytes()
}

/// What is known of the places of a chunk besides one that cannot be confirmed.
#[derive(PartialEq, Eq)]
enum Elsewhere {
    /// It has none.
    Nowhere,
    /// One is confirmed, and a writer may rely on it.
    Confirmed,
    /// None is.
    Unsure,
}

/// A segment without the entries of these packs, whose trailers cannot be read, for chunks that a confirmed pack has as well;
/// `None` if there are none. Packs of which a rival cannot be told from them go into `unsure`.
fn without_rivals(
    index: &Index,
    number: usize,
    packs: &BTreeSet<PackName>,
    sound: &dyn Fn(&PackName) -> bool,
    unsure: &mut BTreeSet<PackName>,
    folder: Option<&Path>,
) -> Result<Option<IndexSegment>> {
    let Some(loaded) = index.segments().get(number) else {
        return Ok(None);
    };
    let tables = &loaded.segment.tables;
    let mut rows = RowsBuilder::new(folder, 0);
    let mut removed = false;
    for entry in loaded.segment.rows.iter() {
        let entry = entry.map_err(Error::IndexCopy)?;
        let pack = tables.packs.get(entry.pack as usize).map(|row| row.name);
        let elsewhere = match pack.filter(|pack| packs.contains(pack)) {
            Some(pack) => elsewhere(index, &entry.id, pack, sound)?,
            None => Elsewhere::Nowhere,
        };
        if elsewhere == Elsewhere::Confirmed {
            removed = true;
            continue;
        }
        if elsewhere == Elsewhere::Unsure {
            unsure.extend(pack);
        }
        rows.push(&entry.to_row());
    }
    let rows = rows.finish().map_err(Error::IndexCopy)?;
    let tables = tables.clone();
    Ok(removed.then_some(IndexSegment { tables, rows }))
}

fn elsewhere(
    index: &Index,
    id: &ChunkId,
    pack: PackName,
    sound: &dyn Fn(&PackName) -> bool,
) -> Result<Elsewhere> {
    let mut found = Elsewhere::Nowhere;
    for place in index.locate(id)?.iter().filter(|p| p.pack != pack) {
        if sound(&place.pack) && index.may_rely_on(place) {
            return Ok(Elsewhere::Confirmed);
        }
        found = Elsewhere::Unsure;
    }
    Ok(found)
}
