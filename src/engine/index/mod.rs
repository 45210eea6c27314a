//! Where chunks are: the index segments in force.
//!
//! Two questions with two answers: may a writer reuse a chunk (only in a pack that is not condemned), and where can a
//! reader get it (anywhere it is). Small segments are in memory, the entries of large ones in files ([`rows`]), so that
//! memory hardly grows with the repository. That a file cannot be read is an error, never an answer: "the chunk is not
//! there" would let a prune delete it.

mod homes;
mod merge;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ark_format::documents::SegmentRef;
use ark_format::segment::{Entry, FrameRow, PackRow, Segment, SegmentSealer, Tables};
use ark_format::{ChunkId, PackName, SessionId, layout};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

pub(crate) use self::merge::{MERGED_MAX, merge};
pub use self::rows::{Rows, RowsBuilder};
use crate::error::DamagedAt;
use crate::repository::Repository;
use crate::store::{Created, StoreError};
use crate::view::View;
use crate::{Error, Result};

/// What is wrong with a segment that is not there.
const MISSING: &str = "it is missing";
/// Index segments are read so many at once,
const FETCHES: usize = 4;
/// and no more KiB of them.
const FETCHED_KIB: u32 = 8 << 10;

/// The cached copies of segments up to this size are read together.
const SMALL: u64 = 256 << 10;

fn segment_key(reference: &SegmentRef) -> String {
    layout::segment(reference.session, reference.number)
}

/// The place of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The pack.
    pub pack: PackName,
    /// The frame's number within the pack.
    pub frame: u16,
    /// Where the frame starts.
    pub offset: u32,
    /// The frame's sealed length.
    pub stored: u32,
    /// The data key of the frame.
    pub data_key: u16,
    /// The chunk's slot within the frame.
    pub slot: u16,
}

/// One segment of an index.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Which object.
    pub reference: SegmentRef,
    /// Its content.
    pub segment: Arc<IndexSegment>,
}

/// The content of a segment.
#[derive(Debug)]
pub struct IndexSegment {
    /// Its packs and frames.
    pub tables: Tables,
    /// Its entries.
    pub rows: Rows,
}

impl IndexSegment {
    /// What a writer has just made.
    ///
    /// # Errors
    /// If its rows cannot be kept.
    pub fn of(segment: &Segment, folder: Option<&std::path::Path>) -> Result<IndexSegment> {
        let mut rows = RowsBuilder::new(folder, segment.entries.len() as u64);
        for entry in &segment.entries {
            rows.push(&entry.to_row());
        }
        Ok(IndexSegment {
            tables: Tables {
                packs: segment.packs.clone(),
                frames: segment.frames.clone(),
            },
            rows: rows.finish().map_err(Error::IndexCopy)?,
        })
    }

    /// How many entries it has, and where it is.
    pub fn reference(&self, session: SessionId, number: u32, size: u64) -> SegmentRef {
        SegmentRef {
            session,
            number,
            size,
            entries: self.rows.len() as u64,
        }
    }

    pub(crate) fn place(&self, entry: &Entry) -> Option<Place> {
        let frame: &FrameRow = self.tables.frame(entry)?;
        let pack = self.tables.packs.get(entry.pack as usize)?;
        Some(Place {
            pack: pack.name,
            frame: entry.frame,
            offset: frame.offset,
            stored: frame.stored,
            data_key: frame.data_key,
            slot: entry.slot,
        })
    }

    /// The places of a chunk, each with the number of its row.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn places(&self, id: &ChunkId) -> Result<Vec<(usize, Place)>> {
        let found = self.rows.find(id).map_err(Error::IndexCopy)?;
        let places = found
            .into_iter()
            .filter_map(|(number, entry)| Some((number, self.place(&entry)?)));
        Ok(places.collect())
    }
}

/// Which of several places is a chunk's own, the least first. Among equals the least place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    /// The pack is missing, or the data key of the frame is lost.
    unreadable: bool,
    /// The pack is condemned.
    condemned: bool,
    /// When the store got it.
    stored: Option<i64>,
}

impl Standing {
    fn sealed_with(self, lost_key: bool) -> Standing {
        Standing {
            unreadable: self.unreadable || lost_key,
            ..self
        }
    }
}

/// The index of a view.
#[derive(Clone, Debug, Default)]
pub struct Index {
    segments: Vec<Loaded>,
    condemned: HashSet<PackName>,
    /// Data keys that cannot be read: what they sealed counts as absent where something else has it.
    lost_keys: BTreeSet<u16>,
    /// When the store got each pack, by its own clock, where that matters.
    stored: Option<HashMap<PackName, i64>>,
    /// Segments that could not be read: key and reason.
    pub problems: Vec<(String, String)>,
    /// Whether some of them are missing: damage only if the head has not moved on.
    pub lacks_segments: bool,
}

impl Index {
    /// Builds an index.
    pub fn new(segments: Vec<Loaded>, condemned: HashSet<PackName>) -> Index {
        Index {
            segments,
            condemned,
            lost_keys: BTreeSet::new(),
            stored: None,
            problems: Vec::new(),
            lacks_segments: false,
        }
    }

    /// This index with further segments, and further packs that may not be relied on.
    pub fn with(
        mut self,
        segments: Vec<Loaded>,
        condemned: impl Iterator<Item = PackName>,
    ) -> Index {
        self.segments.extend(segments);
        self.condemned.extend(condemned);
        self
    }

    /// Packs that no writer may rely on, in order.
    pub fn condemned(&self) -> BTreeSet<PackName> {
        self.condemned.iter().copied().collect()
    }

    /// The same, with the packs in the bucket and when the store got each.
    #[must_use]
    pub fn with_packs_stored(mut self, stored: HashMap<PackName, i64>) -> Index {
        self.stored = Some(stored);
        self
    }

    /// The same, of which what these data keys sealed cannot be read.
    #[must_use]
    pub fn with_lost_keys(mut self, lost: BTreeSet<u16>) -> Index {
        self.lost_keys = lost;
        self
    }

    /// Notes when the store got a pack, or that it has not got it, where that matters.
    pub(crate) fn note_stored(&mut self, pack: PackName, at: Option<i64>) {
        if let Some(stored) = &mut self.stored {
            match at {
                Some(at) => stored.insert(pack, at),
                None => stored.remove(&pack),
            };
        }
    }

    /// Puts other content in the place of a segment's.
    pub(crate) fn replace(&mut self, number: usize, segment: Arc<IndexSegment>) {
        if let Some(loaded) = self.segments.get_mut(number) {
            loaded.segment = segment;
        }
    }

    /// Whether a writer may rely on a place.
    pub(crate) fn may_rely_on(&self, place: &Place) -> bool {
        !self.condemned.contains(&place.pack) && !self.lost_keys.contains(&place.data_key)
    }

    /// The segments.
    pub fn segments(&self) -> &[Loaded] {
        &self.segments
    }

    /// A place that a writer may rely on.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn reusable(&self, id: &ChunkId) -> Result<Option<Place>> {
        for loaded in &self.segments {
            for (_, place) in loaded.segment.places(id)? {
                if self.may_rely_on(&place) {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }

    /// Every place where a reader may find the chunk, best first.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn locate(&self, id: &ChunkId) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for loaded in &self.segments {
            places.extend(
                loaded
                    .segment
                    .places(id)?
                    .into_iter()
                    .map(|(_, place)| place),
            );
        }
        places.sort_by_key(|place| {
            let lost = self.lost_keys.contains(&place.data_key);
            (lost, self.condemned.contains(&place.pack), *place)
        });
        places.dedup();
        Ok(places)
    }

    /// The place that counts as the chunk's own, as the numbers of its segment and of its row: it keeps its pack. All
    /// other copies are garbage.
    ///
    /// A pack that is not in the bucket comes last, and a frame whose data key is lost: another copy may be all that can be
    /// read. Of others the one that the store got first comes first, by the store's
    /// clock: a writer who later lists chunks in packs that do not have them cannot make garbage of those that do.
    ///
    /// # Errors
    /// [`Error::IndexCopy`].
    pub fn home(&self, id: &ChunkId) -> Result<Option<(usize, usize)>> {
        let mut best: Option<((Standing, Place), (usize, usize))> = None;
        for (number, loaded) in self.segments.iter().enumerate() {
            for (row, place) in loaded.segment.places(id)? {
                let lost = self.lost_keys.contains(&place.data_key);
                let rank = (self.standing(&place.pack).sealed_with(lost), place);
                if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                    best = Some((rank, (number, row)));
                }
            }
        }
        Ok(best.map(|(_, home)| home))
    }

    fn standing(&self, pack: &PackName) -> Standing {
        let stored = self.stored.as_ref();
        let stored = stored.map(|stored| stored.get(pack).copied());
        Standing {
            unreadable: stored == Some(None),
            condemned: self.condemned.contains(pack),
            stored: stored.flatten(),
        }
    }

    /// Every pack, once.
    pub fn packs(&self) -> BTreeMap<PackName, PackRow> {
        self.segments
            .iter()
            .flat_map(|l| &l.segment.tables.packs)
            .map(|pack| (pack.name, *pack))
            .collect()
    }

    /// How many entries it has.
    pub fn chunks(&self) -> u64 {
        self.segments
            .iter()
            .map(|l| l.segment.rows.len() as u64)
            .sum()
    }
}

impl Repository {
    /// The index of a view. A segment that is damaged or missing is a problem of the index: what it held counts as
    /// absent, so that a backup writes it again.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn load_index(&self, view: &View) -> Result<Index> {
        let room = &Semaphore::new(FETCHED_KIB as usize);
        let small = view.segments.iter().filter(|s| s.size <= SMALL);
        let keys: Vec<String> = small.map(segment_key).collect();
        let copies = self.inner.cache.copies(&keys).await;
        let mut copies: HashMap<String, Bytes> = keys
            .into_iter()
            .zip(copies)
            .filter_map(|(key, copy)| Some((key, copy?)))
            .collect();
        let segments = view.segments.iter();
        let wanted = segments.map(|reference| (reference, copies.remove(&segment_key(reference))));
        let fetches = wanted.map(|(reference, copy)| async move {
            let size = u32::try_from(reference.size >> 10).unwrap_or(u32::MAX);
            let permits = room.acquire_many(size.clamp(1, FETCHED_KIB)).await;
            let _held = permits.map_err(|_| Error::Stopped)?;
            let key = segment_key(reference);
            match self.read_segment(reference, copy).await {
                Ok(segment) => Ok(Ok(Loaded {
                    reference: reference.clone(),
                    segment: Arc::new(segment),
                })),
                Err(Error::Damaged { source, .. }) => Ok(Err((key, source.to_string()))),
                Err(Error::Store(StoreError::NotFound { .. })) => {
                    Ok(Err((key, MISSING.to_owned())))
                }
                Err(error) => Err(error),
            }
        });
        let results: Vec<_> = stream::iter(fetches)
            .buffered(FETCHES)
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed()
            .try_collect()
            .await?;
        let mut index = Index {
            condemned: view.condemned.keys().copied().collect(),
            ..Index::default()
        };
        for result in results {
            match result {
                Ok(loaded) => index.segments.push(loaded),
                Err(problem) => {
                    index.lacks_segments |= problem.1 == MISSING;
                    index.problems.push(problem);
                }
            }
        }
        Ok(index)
    }

    async fn read_segment(
        &self,
        reference: &SegmentRef,
        copy: Option<Bytes>,
    ) -> Result<IndexSegment> {
        let key = segment_key(reference);
        let open = |bytes: &[u8]| {
            let segment = self.decode_segment(&key, bytes, reference.entries)?;
            if segment.rows.len() as u64 != reference.entries {
                let said =
                    ark_format::DecodeError::Invalid("it has not as many entries as is said of it");
                return Err(said).at(&key);
            }
            Ok(segment)
        };
        self.inner
            .cache
            .get_checked_in(copy, self.store(), &key, Some(reference.size), open)
            .await
    }

    /// The content of a segment of which `expected` entries are said.
    pub(crate) fn decode_segment(
        &self,
        key: &str,
        bytes: &[u8],
        expected: u64,
    ) -> Result<IndexSegment> {
        let sealer = SegmentSealer {
            cipher: self.cipher(),
            repository: self.id(),
            key: &self.key_set().index,
            object_key: key,
        };
        let mut rows = RowsBuilder::new(self.inner.cache.folder(), expected);
        let tables = sealer
            .decode_rows(bytes, |chunk| rows.push(chunk))
            .at(key)?;
        let rows = rows.finish().map_err(Error::IndexCopy)?;
        Ok(IndexSegment { tables, rows })
    }

    /// Creates the object of a new segment. Another one under its name would be taken for it.
    pub(crate) async fn create_segment(&self, key: &str, bytes: Bytes) -> Result<()> {
        match self.store().create(key, bytes).await? {
            Created::New => Ok(()),
            Created::Exists(_) => {
                let source = ark_format::DecodeError::Invalid(
                    "another object has the name of a new segment",
                );
                Err(Error::Damaged {
                    object: key.to_owned(),
                    source,
                })
            }
        }
    }

    /// The object of a segment.
    pub(crate) fn encode_segment(&self, key: &str, segment: &IndexSegment) -> Result<Vec<u8>> {
        let sealer = SegmentSealer {
            cipher: self.cipher(),
            repository: self.id(),
            key: &self.key_set().index,
            object_key: key,
        };
        // What reads the rows back fails in another way than what is in them.
        let mut failed = None;
        let rows = segment
            .rows
            .iter()
            .map_while(|entry| entry.map_err(|error| failed = Some(error)).ok());
        let count = segment.rows.len() as u64;
        let encoded = sealer.encode_rows(&segment.tables, count, rows, || self.env().salt());
        match failed {
            Some(error) => Err(Error::IndexCopy(error)),
            None => encoded.making(key),
        }
    }
}
