//! Where chunks are: the index segments in force, in memory.
//!
//! Two questions with two answers: may a writer reuse a chunk (only in a pack that is not condemned), and where can a
//! reader get it (anywhere it is).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ark_format::documents::SegmentRef;
use ark_format::segment::{Entry, FrameRow, PackRow, Segment, SegmentSealer};
use ark_format::{ChunkId, PackName, layout};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::error::DamagedAt;
use crate::repository::Repository;
use crate::store::{Created, StoreError};
use crate::view::View;
use crate::{Error, Result};

/// What is wrong with a segment that is not there.
const MISSING: &str = "it is missing";
/// Index segments are read so many at once.
const FETCHES: usize = 8;

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
    pub segment: Arc<Segment>,
}

/// The index of a view.
#[derive(Clone, Debug, Default)]
pub struct Index {
    segments: Vec<Loaded>,
    condemned: HashSet<PackName>,
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
            problems: Vec::new(),
            lacks_segments: false,
        }
    }

    /// The segments.
    pub fn segments(&self) -> &[Loaded] {
        &self.segments
    }

    fn places(&self, id: &ChunkId) -> impl Iterator<Item = Place> {
        self.segments.iter().flat_map(move |loaded| {
            loaded
                .segment
                .find(id)
                .iter()
                .filter_map(|entry| place(&loaded.segment, entry))
        })
    }

    /// A place that a writer may rely on.
    pub fn reusable(&self, id: &ChunkId) -> Option<Place> {
        self.places(id)
            .find(|place| !self.condemned.contains(&place.pack))
    }

    /// Every place where a reader may find the chunk, best first.
    pub fn locate(&self, id: &ChunkId) -> Vec<Place> {
        let mut places: Vec<Place> = self.places(id).collect();
        places.sort_by_key(|place| (self.condemned.contains(&place.pack), *place));
        places.dedup();
        places
    }

    /// Every pack, once.
    pub fn packs(&self) -> BTreeMap<PackName, PackRow> {
        self.segments
            .iter()
            .flat_map(|l| &l.segment.packs)
            .map(|pack| (pack.name, *pack))
            .collect()
    }

    /// How many entries it has.
    pub fn chunks(&self) -> u64 {
        self.segments
            .iter()
            .map(|l| l.segment.entries.len() as u64)
            .sum()
    }
}

fn place(segment: &Segment, entry: &Entry) -> Option<Place> {
    let frame: &FrameRow = segment.frame(entry)?;
    let pack = segment.packs.get(entry.pack as usize)?;
    Some(Place {
        pack: pack.name,
        frame: entry.frame,
        offset: frame.offset,
        stored: frame.stored,
        data_key: frame.data_key,
        slot: entry.slot,
    })
}

impl Repository {
    /// The index of a view. A segment that is damaged or missing is a problem of the index: what it held counts as
    /// absent, so that a backup writes it again.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn load_index(&self, view: &View) -> Result<Index> {
        let fetches = view.segments.iter().map(|reference| async move {
            let key = layout::segment(reference.session, reference.number);
            match self.read_segment(reference).await {
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

    async fn read_segment(&self, reference: &SegmentRef) -> Result<Segment> {
        let key = layout::segment(reference.session, reference.number);
        let open = |bytes: &[u8]| self.decode_segment(&key, bytes);
        self.inner
            .cache
            .get_checked(self.store(), &key, Some(reference.size), open)
            .await
    }

    pub(crate) fn decode_segment(&self, key: &str, bytes: &[u8]) -> Result<Segment> {
        let sealer = SegmentSealer {
            cipher: self.cipher(),
            repository: self.id(),
            key: &self.key_set().index,
            object_key: key,
        };
        sealer.decode(bytes).at(key)
    }

    /// Creates the object of a new segment. Another one under its name would be taken for it.
    pub(crate) async fn create_segment(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        match self.store().create(key, bytes.into()).await? {
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

    pub(crate) fn encode_segment(&self, key: &str, segment: &Segment) -> Result<Vec<u8>> {
        let sealer = SegmentSealer {
            cipher: self.cipher(),
            repository: self.id(),
            key: &self.key_set().index,
            object_key: key,
        };
        sealer.encode(segment, || self.env().salt()).making(key)
    }
}
