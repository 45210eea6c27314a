//! Which packs a verify reads, and in which order: a pure choice.
//!
//! What was never read comes first, then what was read longest ago; so portions of any size come round to everything.
//! Packs that were damaged when last read are read again by every verify, on top of its portion: damage stays in sight
//! until it is repaired. A part *n* of *t* goes by the pack's name alone, so that *t* verifies, of whatever machines and
//! without a journal, read everything once.

use std::collections::BTreeMap;
use std::fmt;

use ark_format::{PackName, layout};
use serde::Serialize;

use super::journal::Journal;

/// How much of all data a verify reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Portion {
    /// All of it.
    All,
    /// So many hundredths of its bytes, least recently verified first.
    Percent(f64),
    /// Part `number`, from 1, of `of` parts.
    Part {
        /// Which part.
        number: u32,
        /// Of how many.
        of: u32,
    },
    /// So many bytes, least recently verified first.
    Bytes(u64),
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Portion::All => f.write_str("all data"),
            Portion::Percent(percent) => write!(f, "{percent} % of the data"),
            Portion::Part { number, of } => write!(f, "part {number} of {of} of the data"),
            Portion::Bytes(bytes) => write!(f, "{bytes} bytes of the data"),
        }
    }
}

impl Portion {
    /// The packs to read, first one first.
    pub fn choose(
        &self,
        listed: &BTreeMap<PackName, u64>,
        journal: &Journal,
    ) -> Vec<(PackName, u64)> {
        let mut packs: Vec<(PackName, u64)> =
            listed.iter().map(|(name, size)| (*name, *size)).collect();
        packs.sort_by_key(|(name, _)| (!journal.is_damaged(name), journal.last(name), *name));
        let total: u64 = listed.values().sum();
        let budget = match *self {
            Portion::All => return packs,
            Portion::Part { number, of } => {
                packs.retain(|(name, _)| journal.is_damaged(name) || part(name, of) == number);
                return packs;
            }
            Portion::Percent(percent) => (total as f64 * percent / 100.0).ceil() as u64,
            Portion::Bytes(bytes) => bytes,
        };
        let mut taken = 0;
        packs.retain(|(name, size)| {
            if journal.is_damaged(name) {
                return true;
            }
            // A portion smaller than a pack is one pack.
            let fits = taken == 0 || taken + size <= budget;
            // Strictly in order: a large pack is not passed over for ever because small ones fit.
            taken = if fits { taken + size } else { u64::MAX / 2 };
            fits
        });
        packs
    }
}

/// The part, from 1, that a pack belongs to.
fn part(name: &PackName, of: u32) -> u32 {
    let hash = blake3::hash(layout::pack(name).as_bytes());
    let start = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    (u64::from_le_bytes(start) % u64::from(of.max(1))) as u32 + 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ark_format::SessionId;
    use ark_format::documents::PackRead;
    use ark_format::id::PackClass;

    use super::*;

    fn packs(count: u32, size: u64) -> BTreeMap<PackName, u64> {
        (0..count).map(|n| (name(n), size)).collect()
    }

    fn name(sequence: u32) -> PackName {
        PackName {
            session: SessionId([3; 16]),
            sequence,
            class: PackClass::Meta,
        }
    }

    fn read(journal: &mut Journal, sequence: u32, at: i64, damaged: bool) {
        journal.add(&PackRead {
            pack: name(sequence),
            at,
            damaged,
        });
    }

    #[test]
    fn parts_cover_everything_once() {
        let listed = packs(200, 10);
        let mut seen = BTreeSet::new();
        for number in 1..=7 {
            let part = Portion::Part { number, of: 7 }.choose(&listed, &Journal::default());
            assert!(part.len() > 5, "{}", part.len());
            for (pack, _) in part {
                assert!(seen.insert(pack));
            }
        }
        assert_eq!(seen.len(), 200);
    }

    #[test]
    fn portions_come_round_to_everything() {
        let listed = packs(10, 100);
        let mut journal = Journal::default();
        let mut seen = BTreeSet::new();
        for day in 0..4 {
            let chosen = Portion::Percent(30.0).choose(&listed, &journal);
            assert_eq!(chosen.len(), 3);
            for (pack, _) in chosen {
                seen.insert(pack);
                read(&mut journal, pack.sequence, day, false);
            }
        }
        assert_eq!(seen.len(), 10);
        // The oldest of the first day come next.
        let next = Portion::Bytes(150).choose(&listed, &journal);
        assert_eq!(next.len(), 1);
        assert_eq!(journal.last(&next[0].0), Some(0));
    }

    #[test]
    fn what_was_damaged_comes_first_and_on_top() {
        let listed = packs(10, 100);
        let mut journal = Journal::default();
        for n in 0..10 {
            read(&mut journal, n, i64::from(n), n == 9);
        }
        let chosen = Portion::Bytes(1).choose(&listed, &journal);
        assert_eq!(chosen, [(name(9), 100), (name(0), 100)]);
        let all = Portion::All.choose(&listed, &journal);
        assert_eq!(all.len(), 10);
        assert_eq!(all[0].0, name(9));
    }
}
