//! From what is there to a plan: which packs to take out of force, and which entries of which backups are lost then.
//!
//! Packs are suspected if they are missing or have another size than the index says, if the journal of verifies calls
//! them damaged, if a data key that sealed frames of theirs is lost, if a tree node cannot be read from them, or if they must
//! confirm what a commit says of them and cannot; with `read_data` all are. Each suspect is read as a whole and judged anew: a
//! suspicion alone takes nothing out of force. Nothing that is not confirmed gets into an epoch: of a pack that cannot
//! confirm it, only what was read goes on, in a copy; also if only the index is rebuilt.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ark_format::documents::{Activity, Claim, Manifest, SegmentRef};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};
use ark_format::objects::parse_key;
use ark_format::segment::Segment;
use ark_format::tree::Value;
use ark_format::{ChunkId, PackName, SessionId};
use futures::stream::{self, StreamExt};

use super::RepairOptions;
use super::head::Facts;
use super::plan::{
    BadPack, DamagedBackup, FoundPack, LostItems, LostPlace, RepairPlan, UnreadableCommit,
};
use super::scan::{Found, Scan, fails};
use super::suspects::{Suspect, frames_of, without};
use crate::data_keys;
use crate::index::{Index, IndexSegment, Loaded, MERGED_MAX};
use crate::packer::build_segment;
use crate::prune::mark;
use crate::read::Reader;
use crate::repository::Repository;
use crate::session::Session;
use crate::{Error, Result};

/// Requests under way at once.
const FETCHES: usize = 8;

/// A plan and what it was made from.
pub(super) struct Assessment {
    pub plan: RepairPlan,
    pub facts: Facts,
    /// Segments rebuilt from trailers.
    pub found: Vec<Segment>,
    /// Packs in them that nothing needs.
    pub found_unneeded: Vec<(PackName, u64)>,
    pub bad: BTreeMap<PackName, Suspect>,
}

impl Assessment {
    /// Whether the index or the head has to change.
    pub fn needs_epoch(&self) -> bool {
        let plan = &self.plan;
        plan.head.is_some() || !plan.segments.is_empty() || !plan.packs.is_empty()
    }
}

impl Repository {
    pub(super) async fn assess(
        &self,
        facts: Facts,
        options: &RepairOptions,
        own: Option<&Session>,
    ) -> Result<Assessment> {
        let mut plan = RepairPlan {
            epoch: facts.view.number,
            head: facts.head.clone(),
            segments: facts.index.problems.clone(),
            ..RepairPlan::default()
        };
        let mut segments: Vec<Loaded> = facts.index.segments().to_vec();
        let mut found = Vec::new();
        if plan.head.is_some() || !plan.segments.is_empty() {
            found = self.rebuild_index(&facts, own, &mut plan).await?;
            for segment in &found {
                segments.push(loaded(IndexSegment::of(
                    segment,
                    self.inner.cache.folder(),
                )?));
            }
        }
        let condemned: HashSet<PackName> = facts.view.condemned.keys().copied().collect();
        let index = Index::new(segments, condemned);
        let mut bad = BTreeMap::new();
        if options.index_only {
            // An epoch would take over what they list.
            if plan.head.is_some() || !plan.segments.is_empty() {
                self.examine_all(&facts, &index, &facts.unconfirmed, &mut bad)
                    .await?;
                let clean = without(&index, &bad, self.inner.cache.folder())?;
                describe(&clean, &bad, Vec::new(), &HashMap::new(), &mut plan)?;
            }
        } else {
            let manifests = self.read_manifests(&facts, &mut plan).await?;
            let sealed = self.sealed_for_good(&index, &mut plan).await?;
            bad = self
                .judge(&facts, &index, options, &manifests, sealed, &mut plan)
                .await?;
        }
        let found_unneeded = match found.is_empty() {
            true => Vec::new(),
            false => self.unneeded(&facts, &index, &found).await?,
        };
        Ok(Assessment {
            plan,
            facts,
            found,
            found_unneeded,
            bad,
        })
    }

    /// Segments for the packs that no readable segment has.
    async fn rebuild_index(
        &self,
        facts: &Facts,
        own: Option<&Session>,
        plan: &mut RepairPlan,
    ) -> Result<Vec<Segment>> {
        let known = facts.index.packs();
        let dropped: BTreeSet<PackName> = facts.view.body.dropped.iter().copied().collect();
        // What an open session has written is its own business; but a prune's packs may be in force already.
        let private: BTreeSet<SessionId> = facts
            .open
            .iter()
            .filter(|s| {
                s.pin
                    .as_ref()
                    .is_some_and(|p| p.activity != Activity::Prune)
            })
            .map(|s| s.id)
            .chain(own.map(|own| own.id))
            .collect();
        let wanted = facts.listed.iter().filter(|(name, _)| {
            !known.contains_key(name) && !dropped.contains(name) && !private.contains(&name.session)
        });
        let mut trailers = self.trailers(wanted.map(|(&name, &size)| (name, size)));
        let mut groups = Vec::new();
        let (mut group, mut entries) = (Vec::new(), 0);
        while let Some((name, trailer)) = trailers.next().await {
            let (row, frames) = match trailer {
                Ok(trailer) => trailer,
                Err(error) if fails(&error) => return Err(error),
                Err(error) => {
                    plan.unreadable.push((layout::pack(&name), why(&error)));
                    continue;
                }
            };
            let chunks: u64 = frames.iter().map(|f| f.ids.len() as u64).sum();
            plan.found.push(FoundPack { pack: name, chunks });
            entries += chunks;
            group.push((row, frames));
            if entries >= MERGED_MAX {
                groups.push(std::mem::take(&mut group));
                entries = 0;
            }
        }
        groups.push(group);
        let segments = groups.iter().filter_map(|group| {
            build_segment(group.iter().map(|(row, frames)| (*row, frames.as_slice())))
        });
        Ok(segments.collect())
    }

    /// The found packs that no backup in force needs, if that can be told.
    async fn unneeded(
        &self,
        facts: &Facts,
        index: &Index,
        found: &[Segment],
    ) -> Result<Vec<(PackName, u64)>> {
        let rows = found.iter().flat_map(|s| &s.packs);
        let packs: BTreeMap<PackName, u64> = rows.map(|row| (row.name, row.size)).collect();
        // As if they were condemned: what another pack has too, they are not needed for.
        let all = facts.view.condemned.keys().chain(packs.keys());
        let index = Index::new(index.segments().to_vec(), all.copied().collect());
        let reader = self.reader_of(None, facts.view.clone(), index.clone());
        let roots: Vec<_> = facts
            .view
            .backups
            .iter()
            .flat_map(|b| b.row.datasets.iter().map(|(_, root)| *root))
            .collect();
        let marked = match mark::mark(&reader, &index, &roots).await {
            Ok(marked) if marked.unknown == 0 => marked,
            Err(error) if fails(&error) => return Err(error),
            // Something is lost: everything may be needed.
            _ => return Ok(Vec::new()),
        };
        let mut needed = BTreeSet::new();
        for (number, loaded) in index.segments().iter().enumerate() {
            for (row, entry) in loaded.segment.rows.iter().enumerate() {
                let entry = entry.map_err(Error::IndexCopy)?;
                if marked.contains(number, row)
                    && let Some(pack) = loaded.segment.tables.packs.get(entry.pack as usize)
                {
                    needed.insert(pack.name);
                }
            }
        }
        Ok(packs
            .into_iter()
            .filter(|(name, _)| !needed.contains(name))
            .collect())
    }

    /// The manifests of all backups in force; what cannot be read goes into the plan.
    async fn read_manifests(
        &self,
        facts: &Facts,
        plan: &mut RepairPlan,
    ) -> Result<HashMap<SessionId, Manifest>> {
        let view = &facts.view;
        let mut manifests = HashMap::new();
        let mut reads = stream::iter(&view.backups)
            .map(|row| async move { (row, self.manifest_of(row).await) })
            .buffered(FETCHES)
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed();
        while let Some((row, manifest)) = reads.next().await {
            match manifest {
                Ok(manifest) => {
                    manifests.insert(row.row.id, manifest);
                }
                Err(error) if fails(&error) => return Err(error),
                Err(error) => plan.commits.push(UnreadableCommit {
                    id: row.row.id,
                    object: row.manifest_key(),
                    what: why(&error),
                    name: Some(row.row.name.clone()),
                    maps_known: true,
                }),
            }
        }
        drop(reads);
        let mut claims = None;
        for (object, what) in &view.problems {
            match layout::parse(object) {
                Some(Object::Manifest(_, id)) if view.backup(&id).is_none() => {
                    if claims.is_none() {
                        claims = Some(self.claimed_names().await?);
                    }
                    plan.commits.push(UnreadableCommit {
                        id,
                        object: object.clone(),
                        what: format!("is damaged: {what}"),
                        name: claims.as_ref().and_then(|names| names.get(&id).cloned()),
                        maps_known: false,
                    });
                }
                Some(Object::Tombstone(..)) => plan.tombstones.push(object.clone()),
                // The size of a manifest that can be read is nobody's harm.
                _ => {}
            }
        }
        Ok(manifests)
    }

    /// The names that sessions have claimed.
    async fn claimed_names(&self) -> Result<HashMap<SessionId, String>> {
        let mut names = HashMap::new();
        for object in self.store().list(layout::NAMES).await? {
            match self.read_document::<Claim>(Kind::Claim, &object.key).await {
                Ok(claim) => {
                    names.insert(claim.session, claim.name);
                }
                Err(error) if fails(&error) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(names)
    }

    /// The packs with frames whose data key cannot be used.
    async fn sealed_for_good(
        &self,
        index: &Index,
        plan: &mut RepairPlan,
    ) -> Result<BTreeSet<PackName>> {
        self.list_data_keys().await?;
        let used = data_keys::used(index);
        let lost = self.check_data_keys(&used).await?;
        if self.write_key().is_err() {
            plan.new_data_key = Some(self.data_key_after(&used)?);
        }
        let mut sealed = BTreeSet::new();
        for tables in index.segments().iter().map(|l| &l.segment.tables) {
            for pack in &tables.packs {
                let first = pack.first_frame as usize;
                let frames = &tables.frames[first..first + pack.frames as usize];
                if frames
                    .iter()
                    .any(|f| f.chunks > 0 && lost.contains_key(&f.data_key))
                {
                    sealed.insert(pack.name);
                }
            }
        }
        let named = lost.into_iter();
        plan.data_keys = named
            .map(|(number, what)| (layout::data_key(number), what.to_string()))
            .collect();
        Ok(sealed)
    }

    /// Reads suspects until nothing new is suspected, and says what is lost then.
    async fn judge(
        &self,
        facts: &Facts,
        index: &Index,
        options: &RepairOptions,
        manifests: &HashMap<SessionId, Manifest>,
        sealed: BTreeSet<PackName>,
        plan: &mut RepairPlan,
    ) -> Result<BTreeMap<PackName, Suspect>> {
        let rows = index.packs();
        let journal = self.verify_journal().await?;
        let mut suspects: BTreeSet<PackName> = rows
            .iter()
            .filter(|(name, row)| {
                options.read_data
                    || sealed.contains(name)
                    || journal.is_damaged(name)
                    || facts.unconfirmed.contains(name)
                    || facts.listed.get(name) != Some(&row.size)
            })
            .map(|(name, _)| *name)
            .collect();
        let mut examined = BTreeSet::new();
        let mut bad: BTreeMap<PackName, Suspect> = BTreeMap::new();
        loop {
            let fresh: BTreeSet<PackName> = suspects.difference(&examined).copied().collect();
            self.examine_all(facts, index, &fresh, &mut bad).await?;
            examined.extend(fresh);
            let clean = without(index, &bad, self.inner.cache.folder())?;
            let reader = self.reader_of(None, facts.view.clone(), clean.clone());
            let (backups, blamed) = self.losses(facts, &clean, &reader).await?;
            let more: BTreeSet<PackName> = blamed.difference(&examined).copied().collect();
            if more.is_empty() {
                describe(&clean, &bad, backups, manifests, plan)?;
                return Ok(bad);
            }
            suspects.extend(more);
        }
    }

    /// Reads these packs, and adds those that are bad.
    async fn examine_all(
        &self,
        facts: &Facts,
        index: &Index,
        suspects: &BTreeSet<PackName>,
        bad: &mut BTreeMap<PackName, Suspect>,
    ) -> Result<()> {
        let rows = index.packs();
        let entries = frames_of(index, suspects)?;
        let mut checks = stream::iter(entries)
            .map(|(name, frames)| async move { (name, self.examine(name, frames).await) })
            .buffer_unordered(self.env().pool.width().max(2))
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed();
        while let Some((name, suspect)) = checks.next().await {
            let mut suspect = suspect?;
            let there = facts.listed.get(&name);
            let size = rows.get(&name).map(|row| row.size);
            if let (None, Some(there), Some(size)) = (&suspect, there, size)
                && *there != size
            {
                // Every frame can be read, and still it is not what was written.
                let readable = frames_of(index, &BTreeSet::from([name]))?;
                suspect = Some(Suspect {
                    what: format!("its size is {there}, not {size}"),
                    readable: readable.into_values().next().unwrap_or_default(),
                    unreadable: Vec::new(),
                });
            }
            bad.extend(suspect.map(|suspect| (name, suspect)));
        }
        Ok(())
    }

    /// What is lost of each backup under an index, and the packs of tree nodes that cannot be read although it has them.
    async fn losses(
        &self,
        facts: &Facts,
        clean: &Index,
        reader: &Reader,
    ) -> Result<(Vec<DamagedBackup>, BTreeSet<PackName>)> {
        let mut sound = HashSet::new();
        let mut blamed = BTreeSet::new();
        let mut damaged = Vec::new();
        for backup in &facts.view.backups {
            let mut lost = Vec::new();
            let mut entries = 0;
            for (dataset, root) in &backup.row.datasets {
                let mut scan = Scan::new(reader, *root);
                entries += root.entries;
                while let Some(found) = scan.next(Some(&mut sound)).await? {
                    let (place, count) = match found {
                        Found::Entry(key, value) => {
                            let whole = whole(reader, clean, &value, &mut blamed).await?;
                            if whole {
                                continue;
                            }
                            scan.lost += 1;
                            (LostPlace::Key(key), 1)
                        }
                        Found::Gap(place, count, node) => {
                            let places = clean.locate(&node)?;
                            blamed.extend(places.into_iter().map(|place| place.pack));
                            (place, count)
                        }
                    };
                    lost.push(LostItems {
                        dataset: dataset.clone(),
                        item: place_name(&place),
                        count,
                        place,
                    });
                }
            }
            // A forgotten one is walked only for what it shares with others.
            if !lost.is_empty() && backup.forgotten.is_none() {
                damaged.push(DamagedBackup {
                    id: backup.row.id,
                    name: backup.row.name.clone(),
                    cluster: backup.row.cluster.name.clone(),
                    entirely: lost.iter().map(|l| l.count).sum::<u64>() >= entries,
                    lost,
                    repaired_by: None,
                });
            }
        }
        Ok((damaged, blamed))
    }
}

/// Whether all chunks of a value have a place in the index.
pub(super) async fn whole(
    reader: &Reader,
    index: &Index,
    value: &Value,
    blamed: &mut BTreeSet<PackName>,
) -> Result<bool> {
    let there = |id: &ChunkId| Ok::<_, Error>(!index.locate(id)?.is_empty());
    match value {
        Value::Inline(_) => Ok(true),
        Value::Chunk { id, .. } => there(id),
        Value::List { chunks } => {
            for (id, _) in chunks {
                if !there(id)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Value::Map { root, .. } => {
            let mut scan = Scan::new(reader, *root);
            let mut all = true;
            while let Some(found) = scan.next(None).await? {
                all &= match found {
                    Found::Entry(_, Value::Chunk { id, .. }) => there(&id)?,
                    Found::Entry(..) => false,
                    Found::Gap(_, _, node) => {
                        let places = index.locate(&node)?;
                        blamed.extend(places.into_iter().map(|place| place.pack));
                        false
                    }
                };
            }
            Ok(all)
        }
    }
}

fn describe(
    clean: &Index,
    bad: &BTreeMap<PackName, Suspect>,
    backups: Vec<DamagedBackup>,
    manifests: &HashMap<SessionId, Manifest>,
    plan: &mut RepairPlan,
) -> Result<()> {
    for (pack, suspect) in bad {
        let (mut elsewhere, mut lost) = (0, 0);
        for id in &suspect.unreadable {
            match clean.locate(id)?.is_empty() {
                true => lost += 1,
                false => elsewhere += 1,
            }
        }
        plan.packs.push(BadPack {
            pack: *pack,
            what: suspect.what.clone(),
            readable: suspect.chunks() as u64,
            elsewhere,
            lost,
        });
    }
    let incomplete: HashSet<SessionId> = backups.iter().map(|b| b.id).collect();
    // A backup whose manifest is lost and whose maps are whole needs a new manifest all the same.
    plan.backups = backups;
    for backup in &mut plan.backups {
        let repaired = manifests.values().find(|manifest| {
            manifest.repairs == Some(backup.id) && !incomplete.contains(&manifest.row.id)
        });
        backup.repaired_by = repaired.map(|manifest| manifest.row.name.clone());
    }
    Ok(())
}

/// A segment that no object has yet.
fn loaded(segment: IndexSegment) -> Loaded {
    Loaded {
        reference: SegmentRef {
            session: SessionId([0; 16]),
            number: 0,
            size: 0,
            entries: segment.rows.len() as u64,
        },
        segment: Arc::new(segment),
    }
}

/// What is wrong with an object, in words that follow its name.
fn why(error: &Error) -> String {
    match error {
        Error::Damaged { source, .. } => format!("is damaged: {source}"),
        Error::Missing { .. } => "is missing".to_owned(),
        error => error.to_string(),
    }
}

fn place_name(place: &LostPlace) -> String {
    let name = |key: &[u8]| {
        parse_key(key).map_or_else(
            || String::from_utf8_lossy(key).into_owned(),
            |key| key.to_string(),
        )
    };
    match place {
        LostPlace::Key(key) => name(key),
        LostPlace::Range(_, Some(upto)) => name(upto),
        LostPlace::Range(_, None) => "the end".to_owned(),
    }
}
