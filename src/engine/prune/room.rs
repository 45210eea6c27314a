//! The share of a transition for which a full disk has room.
//!
//! Freeing takes room first: a pack may go when every index segment that names it has been written anew without it, and a pack that is
//! partly needed when that part has been copied. What a transition writes for its plan, and what a later one writes to drop what this
//! one rewrites, takes no more than the room given. That holds as far as the size of a copy is known before it is made, which it is
//! only [by its frames](Estimate). What goes without a rewrite goes first, then what frees most for a byte written. So each step has
//! the room that the last one freed, and a prune either gets done or ends where no step fits.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::PackName;
use ark_format::documents::Condemned;

use super::plan::{Facts, PackLine, PrunePlan, Usage};
use crate::index::Index;

/// How large the copy of a pack's needed part is taken to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Estimate {
    /// Of each frame the share of its chunks that is needed: right where chunks are of one size.
    Share,
    /// Each frame that has a needed chunk, whole: never too little.
    Frames,
}

/// The room of one transition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes that may be written.
    pub bytes: u64,
    pub estimate: Estimate,
}

/// What a prune takes to be free before it has freed anything, at one try after the other. First what the reserve takes, but for a pin
/// and epochs. Then less, as somebody else has taken of it. At last nothing but what it frees, the failed tries' leftovers above all.
pub(super) const TRIES: [Room; 3] = [
    Room {
        bytes: 7 << 20,
        estimate: Estimate::Share,
    },
    Room {
        bytes: 7 << 16,
        estimate: Estimate::Frames,
    },
    Room {
        bytes: 0,
        estimate: Estimate::Frames,
    },
];

/// Bytes of trailer and index that a copied chunk takes, at most.
const ENTRY: u64 = 40;

/// Which segments name which packs, and what writing each of them anew takes.
#[derive(Debug, Default)]
struct Naming {
    sizes: Vec<u64>,
    segments: BTreeMap<PackName, BTreeSet<usize>>,
}

impl Naming {
    fn of(index: &Index, wanted: impl Fn(&PackName) -> bool) -> Naming {
        let mut naming = Naming::default();
        for (number, loaded) in index.segments().iter().enumerate() {
            // Without some of its rows it is no larger.
            naming.sizes.push(loaded.reference.size);
            for row in &loaded.segment.tables.packs {
                if wanted(&row.name) {
                    let segments = naming.segments.entry(row.name).or_default();
                    segments.insert(number);
                }
            }
        }
        naming
    }

    fn size<'a>(&self, segments: impl IntoIterator<Item = &'a usize>) -> u64 {
        let sizes = segments.into_iter().filter_map(|n| self.sizes.get(*n));
        sizes.sum()
    }

    /// The packs of `wanted` whose segments can be written anew in `room`, beside those of `anyway`; and the room that is left.
    fn droppable(
        &self,
        wanted: &BTreeMap<PackName, u64>,
        anyway: BTreeSet<usize>,
        room: u64,
    ) -> (BTreeSet<PackName>, u64) {
        let mut gains: BTreeMap<usize, u64> = BTreeMap::new();
        for (pack, size) in wanted {
            for segment in self.segments.get(pack).into_iter().flatten() {
                *gains.entry(*segment).or_default() += size;
            }
        }
        let mut gains: Vec<(usize, u64)> = gains.into_iter().collect();
        gains.sort_by_key(|(segment, gain)| price(self.size([segment]), *gain));
        let room = room.saturating_sub(self.size(&anyway));
        let mut left = room;
        let mut anew = anyway.clone();
        for (segment, _) in gains {
            if !anew.contains(&segment)
                && let Some(rest) = left.checked_sub(self.size([&segment]))
            {
                left = rest;
                anew.insert(segment);
            }
        }
        let fits = |pack: &PackName| {
            let segments = self.segments.get(pack);
            segments.is_none_or(|segments| segments.is_subset(&anew))
        };
        let fits: BTreeSet<PackName> = wanted.keys().filter(|pack| fits(pack)).copied().collect();
        // A segment may have been chosen for a pack of which another segment did not fit.
        let named = fits.iter().filter_map(|pack| self.segments.get(pack));
        let paid: BTreeSet<usize> = named.flatten().copied().collect();
        let paid = self.size(paid.difference(&anyway));
        (fits, room - paid)
    }

    /// Of the packs, each with what its copy takes, those that can be copied now and dropped later in `room`.
    fn rewritable(&self, mut worth: Vec<(PackLine, u64)>, room: u64) -> BTreeSet<PackName> {
        worth.sort_by_key(|(line, copy)| price(*copy, line.unused));
        let mut anew: BTreeSet<usize> = BTreeSet::new();
        let mut left = room;
        let mut chosen = BTreeSet::new();
        for (line, copy) in worth {
            let segments = self.segments.get(&line.pack).into_iter().flatten();
            let more = segments.filter(|segment| !anew.contains(*segment));
            let more: BTreeSet<usize> = more.copied().collect();
            if let Some(rest) = left.checked_sub(copy + self.size(&more)) {
                left = rest;
                anew.extend(more);
                chosen.insert(line.pack);
            }
        }
        chosen
    }
}

/// Orders what costs least for each byte that it gains first.
fn price(cost: u64, gain: u64) -> u128 {
    (u128::from(cost) << 64) / u128::from(gain.max(1))
}

/// Leaves in the plan the packs whose segments can be written anew, and gives back what is left of the room.
pub(super) fn drop_within(plan: &mut PrunePlan, facts: &Facts, room: Room) -> Room {
    let wanted: BTreeMap<PackName, u64> = plan.drop.iter().map(|l| (l.pack, l.size)).collect();
    let naming = Naming::of(&facts.index, |pack| wanted.contains_key(pack));
    let segments = facts.index.segments().iter().enumerate();
    let corrected = segments
        .filter(|(_, loaded)| facts.corrected.contains(&loaded.reference))
        .map(|(number, _)| number)
        .collect();
    let (fits, bytes) = naming.droppable(&wanted, corrected, room.bytes);
    for line in plan.drop.iter().filter(|line| !fits.contains(&line.pack)) {
        plan.left_for_room_bytes += line.size;
        // It stays condemned, since when it was.
        if let Some(&epoch) = facts.view.condemned.get(&line.pack) {
            plan.condemned.push(Condemned {
                pack: line.pack,
                epoch,
                size: line.size,
            });
        }
    }
    plan.drop.retain(|line| fits.contains(&line.pack));
    Room { bytes, ..room }
}

/// Of the packs that are worth a rewrite those that can be copied, and then dropped, in the room.
///
/// None while there is anything to free without it, nor while a session is open that would keep the old packs besides the new ones.
pub(super) fn rewrite_within(
    plan: &mut PrunePlan,
    facts: &Facts,
    mut worth: Vec<PackLine>,
    room: Room,
    usage: &BTreeMap<PackName, Usage>,
) -> Vec<PackLine> {
    // One that is only small frees nothing.
    worth.retain(|line| line.unused > 0);
    if !plan.drop.is_empty() || !plan.condemn.is_empty() || worth.is_empty() {
        return Vec::new();
    }
    if !facts.open.is_empty() {
        let open = facts.open.iter().map(ToString::to_string);
        plan.waiting_for.extend(open);
        plan.waiting_for.sort();
        plan.waiting_for.dedup();
        plan.held_back_bytes += worth.iter().map(|line| line.unused).sum::<u64>();
        return Vec::new();
    }
    let copy = |line: &PackLine| {
        let used = usage.get(&line.pack);
        let frames = used.map_or(line.size, |used| match room.estimate {
            Estimate::Share => used.used,
            Estimate::Frames => used.touched,
        });
        // Padded by no more than an eighth.
        frames * 9 / 8 + used.map_or(0, |used| used.chunks) * ENTRY
    };
    let packs: BTreeSet<PackName> = worth.iter().map(|line| line.pack).collect();
    let naming = Naming::of(&facts.index, |pack| packs.contains(pack));
    let priced = worth.iter().map(|line| (*line, copy(line))).collect();
    // The epoch that rewrites and the one that drops.
    let bytes = room.bytes.saturating_sub(2 * facts.body_size);
    let chosen = naming.rewritable(priced, bytes);
    let (chosen, left): (Vec<PackLine>, Vec<PackLine>) = worth
        .into_iter()
        .partition(|line| chosen.contains(&line.pack));
    plan.left_for_room_bytes += left.iter().map(|line| line.unused).sum::<u64>();
    chosen
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ark_format::SessionId;
    use ark_format::id::PackClass;
    use proptest::prelude::*;

    use super::*;

    fn pack(sequence: u32) -> PackName {
        PackName {
            session: SessionId::new(1, [0; 10]),
            sequence,
            class: PackClass::Data,
        }
    }

    /// Segments of these sizes; pack `n` is named by those of `named[n]`.
    fn naming(sizes: &[u64], named: &[BTreeSet<usize>]) -> Naming {
        let named = named.iter().enumerate();
        Naming {
            sizes: sizes.to_vec(),
            segments: named
                .filter(|(_, segments)| !segments.is_empty())
                .map(|(n, segments)| (pack(n as u32), segments.clone()))
                .collect(),
        }
    }

    #[test]
    fn the_segment_that_frees_most_is_written_anew_first() {
        let named = [[0].into(), [1].into(), [0, 1].into(), BTreeSet::new()];
        let naming = naming(&[6000, 6000], &named);
        let sizes = [10, 900, 1000, 5].into_iter().enumerate();
        let wanted: BTreeMap<_, _> = sizes.map(|(n, size)| (pack(n as u32), size)).collect();
        let fits = |room| {
            let (fits, left) = naming.droppable(&wanted, BTreeSet::new(), room);
            let fits: Vec<u32> = fits.iter().map(|pack| pack.sequence).collect();
            (fits, left)
        };
        assert_eq!(fits(5999), (vec![3], 5999));
        assert_eq!(fits(6000), (vec![1, 3], 0));
        assert_eq!(fits(11_999), (vec![1, 3], 5999));
        assert_eq!(fits(12_000), (vec![0, 1, 2, 3], 0));
        // What is written anyway costs all the same, and no more.
        let (fits, left) = naming.droppable(&wanted, [1].into(), 6000);
        assert_eq!((fits.len(), left), (2, 0));
    }

    #[test]
    fn a_copy_leaves_room_for_what_drops_the_original() {
        let naming = naming(&[6000, 100], &[[0].into(), [0].into(), [1].into()]);
        let line = |n: u32, unused| PackLine {
            pack: pack(n),
            size: 1000,
            unused,
        };
        let worth = vec![
            (line(0, 600), 400),
            (line(1, 500), 500),
            (line(2, 100), 900),
        ];
        let chosen = |room| -> Vec<u32> {
            let chosen = naming.rewritable(worth.clone(), room);
            chosen.iter().map(|pack| pack.sequence).collect()
        };
        assert_eq!(chosen(999), [0; 0]);
        assert_eq!(chosen(1000), [2]);
        assert_eq!(chosen(6400), [0]);
        assert_eq!(chosen(6900), [0, 1]);
        assert_eq!(chosen(7900), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn nothing_takes_more_room_than_there_is(
            sizes in prop::collection::vec(0u64..5000, 1..6),
            named in prop::collection::vec(prop::collection::btree_set(0usize..6, 0..3), 1..12),
            anyway in prop::collection::btree_set(0usize..6, 0..2),
            costs in prop::collection::vec((0u64..4000, 1u64..4000), 12),
            room in 0u64..12_000,
        ) {
            let within = |segments: &BTreeSet<usize>| -> BTreeSet<usize> {
                segments.iter().copied().filter(|n| *n < sizes.len()).collect()
            };
            let named: Vec<BTreeSet<usize>> = named.iter().map(within).collect();
            let anyway = within(&anyway);
            let naming = naming(&sizes, &named);
            let wanted: BTreeMap<PackName, u64> =
                (0..named.len()).map(|n| (pack(n as u32), costs[n].1)).collect();
            let (fits, left) = naming.droppable(&wanted, anyway.clone(), room);
            let mut anew: BTreeSet<usize> = BTreeSet::new();
            for fit in &fits {
                anew.extend(&named[fit.sequence as usize]);
            }
            let spent: u64 = anew.difference(&anyway).map(|n| sizes[*n]).sum();
            let before: u64 = anyway.iter().map(|n| sizes[*n]).sum();
            prop_assert_eq!(left, room.saturating_sub(before) - spent);
            // And nothing stays that would have fit, where no pack is in two segments.
            if named.iter().all(|segments| segments.len() < 2) {
                for pack in wanted.keys().filter(|pack| !fits.contains(pack)) {
                    let segments = named[pack.sequence as usize].iter();
                    prop_assert!(segments.map(|n| sizes[*n]).sum::<u64>() > left);
                }
            }

            let worth = (0..named.len())
                .map(|n| {
                    let (copy, unused) = costs[n];
                    (PackLine { pack: pack(n as u32), size: copy + unused, unused }, copy)
                })
                .collect();
            let chosen = naming.rewritable(worth, room);
            let mut anew: BTreeSet<usize> = BTreeSet::new();
            let mut spent = 0;
            for pack in &chosen {
                spent += costs[pack.sequence as usize].0;
                anew.extend(&named[pack.sequence as usize]);
            }
            spent += anew.iter().map(|n| sizes[*n]).sum::<u64>();
            prop_assert!(spent <= room);
        }
    }
}
