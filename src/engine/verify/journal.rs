//! The journal of verifies: which pack was read as a whole, when, and whether it was sound.
//!
//! Every verify adds a record; none deletes, because the keys and credentials that verify may be allowed to add only.
//! Of several reads of a pack the newest counts, so records can be joined in any order, twice, and by several verifies at
//! once. When [`MERGE`] records are there that none replaces, the next one repeats what they say and replaces them;
//! prune removes what was replaced. The journal only orders what is read next and tells how old the proof is: a lost
//! or forged record costs reads, and never hides damage from who reads.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::documents::{PackRead, VerifyRecord};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};
use ark_format::{PackName, SessionId};
use serde::Serialize;

use crate::error::DamagedAt;
use crate::repository::Repository;
use crate::store::StoreError;
use crate::{Error, Result};

/// So many records become one.
const MERGE: usize = 8;
/// The ages, in days, that the coverage is told for.
const WINDOWS: [u32; 4] = [1, 7, 30, 90];
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What earlier verifies read.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    packs: BTreeMap<PackName, PackRead>,
    /// Records that no other one replaces.
    records: BTreeSet<SessionId>,
    /// Records that another one replaces.
    replaced: BTreeSet<SessionId>,
}

/// How much of all packs was read, and how long ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Packs in the repository.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that this verify read.
    pub read_packs: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Packs that this verify was to read and had no time for.
    pub remaining_packs: u64,
    /// Their bytes.
    pub remaining_bytes: u64,
    /// Packs that no verify on record has read.
    pub never_packs: u64,
    /// Their bytes.
    pub never_bytes: u64,
    /// When the pack that was read longest ago was read, Unix ms; of those that were read at all.
    pub oldest: Option<i64>,
    /// How much was read within so many days.
    pub windows: Vec<Window>,
    /// Whether this verify is on record; not where the store cannot be written.
    pub recorded: bool,
}

/// How much was read lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Days back from now.
    pub days: u32,
    /// Bytes of packs that were read within them.
    pub bytes: u64,
}

impl Journal {
    /// Adds what was read.
    pub fn add(&mut self, read: &PackRead) {
        let known = self.packs.entry(read.pack).or_insert(*read);
        if (read.at, read.damaged) > (known.at, known.damaged) {
            *known = *read;
        }
    }

    fn join(&mut self, id: SessionId, record: &VerifyRecord) {
        for read in &record.packs {
            self.add(read);
        }
        self.replaced.extend(record.replaces.iter().copied());
        self.records.insert(id);
        self.records = &self.records - &self.replaced;
    }

    /// When a pack was last read.
    pub fn last(&self, pack: &PackName) -> Option<i64> {
        self.packs.get(pack).map(|read| read.at)
    }

    /// Whether a pack was damaged when it was last read.
    pub fn is_damaged(&self, pack: &PackName) -> bool {
        self.packs.get(pack).is_some_and(|read| read.damaged)
    }

    /// How much of these packs was read, and how long ago.
    pub fn coverage(&self, listed: &BTreeMap<PackName, u64>, now: i64) -> Coverage {
        let mut coverage = Coverage {
            packs: listed.len() as u64,
            bytes: listed.values().sum(),
            windows: WINDOWS.map(|days| Window { days, bytes: 0 }).to_vec(),
            ..Coverage::default()
        };
        for (pack, size) in listed {
            let Some(at) = self.last(pack) else {
                coverage.never_packs += 1;
                coverage.never_bytes += size;
                continue;
            };
            coverage.oldest = Some(coverage.oldest.map_or(at, |oldest| oldest.min(at)));
            for window in &mut coverage.windows {
                if now - at <= i64::from(window.days) * DAY_MS {
                    window.bytes += size;
                }
            }
        }
        coverage
    }
}

impl Repository {
    /// What earlier verifies read. Records that cannot be opened are passed over.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn verify_journal(&self) -> Result<Journal> {
        let mut journal = Journal::default();
        let listed = self.store().list(layout::VERIFY).await?;
        // Newest first: what they replace need not be read.
        for object in listed.iter().rev() {
            let Some(Object::Verify(id)) = layout::parse(&object.key) else {
                continue;
            };
            if journal.replaced.contains(&id) {
                continue;
            }
            let open = |bytes: &[u8]| {
                self.sealer()
                    .decode::<VerifyRecord>(Kind::Verify, &object.key, bytes)
                    .at(&object.key)
            };
            let cache = &self.inner.cache;
            match cache
                .get_checked(self.store(), &object.key, Some(object.size), open)
                .await
            {
                Ok(record) => journal.join(id, &record),
                Err(error @ Error::Damaged { .. }) => {
                    tracing::warn!(%error, "a verify's record cannot be read");
                }
                Err(Error::Store(StoreError::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        // Another clock may have named a record that was read before the one that replaces it.
        let there = |id: &SessionId| {
            let key = layout::verify(*id);
            listed
                .binary_search_by(|object| object.key.cmp(&key))
                .is_ok()
        };
        journal.replaced.retain(there);
        Ok(journal)
    }

    /// Writes `record`, whose packs the journal has already, with what it makes superfluous; `false` if the store does not let us.
    pub(super) async fn record_verify(
        &self,
        journal: &mut Journal,
        listed: &BTreeMap<PackName, u64>,
        mut record: VerifyRecord,
    ) -> Result<bool> {
        if journal.records.len() >= MERGE {
            let there = journal.packs.values();
            record.packs = there
                .filter(|read| listed.contains_key(&read.pack))
                .copied()
                .collect();
            // With what they replace themselves: nobody reads them any more to learn it.
            record.replaces = journal.records.union(&journal.replaced).copied().collect();
        }
        record.packs.sort_unstable_by_key(|read| read.pack);
        let id = self.env().session_id();
        match self
            .create_document(Kind::Verify, &layout::verify(id), &record)
            .await
        {
            Ok(_) => {
                journal.join(id, &record);
                Ok(true)
            }
            Err(Error::Store(StoreError::PermissionDenied { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes records that newer ones replace: prune's part.
    pub(crate) async fn remove_replaced_records(&self) -> Result<()> {
        for id in self.verify_journal().await?.replaced {
            let key = layout::verify(id);
            self.inner.cache.remove(&key).await;
            self.store().delete(&key).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ark_format::id::PackClass;

    use super::*;

    fn pack(sequence: u32) -> PackName {
        PackName {
            session: SessionId([1; 16]),
            sequence,
            class: PackClass::Data,
        }
    }

    fn read(sequence: u32, at: i64, damaged: bool) -> PackRead {
        PackRead {
            pack: pack(sequence),
            at,
            damaged,
        }
    }

    #[test]
    fn the_newest_read_counts_in_any_order() {
        let reads = [read(1, 10, true), read(1, 30, false), read(1, 20, true)];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut journal = Journal::default();
            for n in order {
                journal.add(&reads[n]);
                journal.add(&reads[n]);
            }
            assert_eq!(journal.last(&pack(1)), Some(30));
            assert!(!journal.is_damaged(&pack(1)));
        }
    }

    #[test]
    fn coverage_counts_by_age() {
        let mut journal = Journal::default();
        let now = 100 * DAY_MS;
        journal.add(&read(1, now, false));
        journal.add(&read(2, now - 10 * DAY_MS, false));
        journal.add(&read(9, 0, false));
        let listed = BTreeMap::from([(pack(1), 5), (pack(2), 70), (pack(3), 900)]);
        let coverage = journal.coverage(&listed, now);
        let bytes: Vec<u64> = coverage.windows.iter().map(|w| w.bytes).collect();
        assert_eq!(bytes, [5, 5, 75, 75]);
        assert_eq!(coverage.oldest, Some(now - 10 * DAY_MS));
        assert_eq!((coverage.never_packs, coverage.never_bytes), (1, 900));
    }
}
