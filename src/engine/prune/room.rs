//! The share of a transition for which a full disk has room.
//!
//! Freeing takes room first: a pack may go when every index segment that names it has been written anew without it, and a pack that is
//! partly needed when that part has been copied. Guaranteed is that the objects a transition writes for its plan, and those that a
//! later one writes to drop what this one rewrites, take no more than the room given. What goes without a rewrite goes first, then
//! what frees most for a byte written. So each step has the room that the last one freed, and a prune either gets done or ends where
//! no step fits.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::PackName;
use ark_format::documents::Condemned;

use super::plan::{Facts, PackLine, PrunePlan};
use crate::index::Index;

/// What a prune may write before it has freed anything: what the reserve takes, but for its pin and epochs. Less at each try, as
/// somebody else may have taken of it.
pub(super) const LENT: [u64; 4] = [7 << 20, 7 << 18, 7 << 16, 0];

/// Bytes of the index that a copied chunk takes, at most.
const ENTRY: u64 = 40;

/// Leaves in the plan the packs whose segments can be written anew within `room`, and gives back what is left of it.
pub(super) fn drop_within(plan: &mut PrunePlan, facts: &Facts, room: u64) -> u64 {
    let sizes = sizes(&facts.index);
    let mut anew: BTreeSet<usize> =
        numbers(facts, |loaded| facts.corrected.contains(&loaded.reference));
    let mut left = room.saturating_sub(anew.iter().filter_map(|n| sizes.get(*n)).sum());
    let wanted: BTreeMap<PackName, u64> = plan.drop.iter().map(|l| (l.pack, l.size)).collect();
    let naming = naming(&facts.index, |pack| wanted.contains_key(pack));
    let mut gains: BTreeMap<usize, u64> = BTreeMap::new();
    for (pack, segments) in &naming {
        for segment in segments {
            *gains.entry(*segment).or_default() += wanted.get(pack).copied().unwrap_or(0);
        }
    }
    let mut gains: Vec<(usize, u64)> = gains.into_iter().collect();
    let size = |segment: &usize| sizes.get(*segment).copied().unwrap_or(0);
    gains.sort_by_key(|(segment, gain)| {
        (u128::from(size(segment)) << 64) / u128::from(*gain).max(1)
    });
    for (segment, _) in gains {
        if anew.contains(&segment) {
            continue;
        }
        if let Some(rest) = left.checked_sub(size(&segment)) {
            left = rest;
            anew.insert(segment);
        }
    }
    let (fits, stays): (Vec<PackLine>, Vec<PackLine>) = plan.drop.iter().partition(|line| {
        let segments = naming.get(&line.pack);
        segments.is_none_or(|segments| segments.is_subset(&anew))
    });
    plan.drop = fits;
    for line in stays {
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
    left
}

/// Of the packs that are worth a rewrite those that can be copied, and then dropped, within `room`.
///
/// None while there is anything to free without it, nor while a session is open that would keep the old packs besides the new ones.
pub(super) fn rewrite_within(
    plan: &mut PrunePlan,
    facts: &Facts,
    mut worth: Vec<PackLine>,
    room: u64,
    chunks: impl Fn(&PackName) -> u64,
) -> Vec<PackLine> {
    // One that is only small frees nothing.
    worth.retain(|line| line.unused > 0);
    let rest = plan.drop.is_empty() && plan.condemn.is_empty() && facts.open.is_empty();
    let sizes = sizes(&facts.index);
    let packs: BTreeSet<PackName> = worth.iter().map(|line| line.pack).collect();
    let naming = naming(&facts.index, |pack| packs.contains(pack));
    worth.sort_by_key(|line| (u128::from(line.size) << 64) / u128::from(line.unused));
    let mut anew = BTreeSet::new();
    let mut left = room;
    let mut chosen = Vec::new();
    for line in worth {
        let copy = (line.size - line.unused.min(line.size)) * 9 / 8 + chunks(&line.pack) * ENTRY;
        let segments = naming.get(&line.pack).into_iter().flatten();
        let more = segments.filter(|segment| !anew.contains(*segment));
        let more: BTreeSet<usize> = more.copied().collect();
        let cost = copy + more.iter().filter_map(|n| sizes.get(*n)).sum::<u64>();
        match left.checked_sub(cost) {
            Some(rest_of_it) if rest => {
                left = rest_of_it;
                anew.extend(more);
                chosen.push(line);
            }
            _ => plan.left_for_room_bytes += line.unused,
        }
    }
    chosen.sort();
    chosen
}

/// The size of each segment's object.
fn sizes(index: &Index) -> Vec<u64> {
    let segments = index.segments().iter();
    segments.map(|loaded| loaded.reference.size).collect()
}

fn numbers(facts: &Facts, wanted: impl Fn(&crate::index::Loaded) -> bool) -> BTreeSet<usize> {
    let segments = facts.index.segments().iter().enumerate();
    segments
        .filter(|(_, loaded)| wanted(loaded))
        .map(|(number, _)| number)
        .collect()
}

/// The segments that name each of these packs.
fn naming(
    index: &Index,
    wanted: impl Fn(&PackName) -> bool,
) -> BTreeMap<PackName, BTreeSet<usize>> {
    let mut naming: BTreeMap<PackName, BTreeSet<usize>> = BTreeMap::new();
    for (number, loaded) in index.segments().iter().enumerate() {
        for row in &loaded.segment.tables.packs {
            if wanted(&row.name) {
                naming.entry(row.name).or_default().insert(number);
            }
        }
    }
    naming
}
