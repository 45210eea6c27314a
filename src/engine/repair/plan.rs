//! What a repair will do, as a value: to print, to compare, and to act on.

use std::fmt;

use ark_format::{PackName, SessionId};
use serde::Serialize;

/// Lines of lost items of one backup in the text; the value has all.
const ITEMS_SHOWN: usize = 20;

/// A pack that the rebuilt index has and no readable segment had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundPack {
    /// The pack.
    pub pack: PackName,
    /// Chunks in it.
    pub chunks: u64,
}

/// A pack to be taken out of force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadPack {
    /// The pack.
    pub pack: PackName,
    /// What is wrong with it.
    pub what: String,
    /// Chunks that can be read in it: they are copied.
    pub readable: u64,
    /// Chunks that cannot be read in it and have another copy.
    pub elsewhere: u64,
    /// Chunks that are lost with it, until a backup writes them again.
    pub lost: u64,
}

/// Entries of a backup that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostItems {
    /// The dataset.
    pub dataset: String,
    /// The item; or the last key of a lost part of the map, of which the items cannot be told.
    pub item: String,
    /// How many.
    pub count: u64,
    /// Where they are in the map.
    #[serde(skip)]
    pub place: LostPlace,
}

/// Where entries are lost in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostPlace {
    /// One entry.
    Key(Vec<u8>),
    /// Everything after one key (from the start if absent), up to and with another (to the end if absent).
    Range(Option<Vec<u8>>, Option<Vec<u8>>),
}

impl LostPlace {
    /// Whether anything is lost among the keys that start with `prefix`.
    pub fn hits(&self, prefix: &[u8]) -> bool {
        match self {
            LostPlace::Key(key) => key.starts_with(prefix),
            LostPlace::Range(after, upto) => {
                let begins = after
                    .as_deref()
                    .is_none_or(|after| after < prefix || after.starts_with(prefix));
                begins && upto.as_deref().is_none_or(|upto| upto >= prefix)
            }
        }
    }
}

impl fmt::Display for LostItems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            LostPlace::Key(_) => write!(f, "{}: {}", self.dataset, self.item),
            LostPlace::Range(..) => write!(
                f,
                "{}: {} entries up to {}",
                self.dataset, self.count, self.item
            ),
        }
    }
}

/// A backup that cannot be read completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamagedBackup {
    /// The backup.
    pub id: SessionId,
    /// Its name.
    pub name: String,
    /// The name of its cluster.
    pub cluster: String,
    /// Everything that is lost of it.
    pub lost: Vec<LostItems>,
    /// Whether nothing at all can be read.
    pub entirely: bool,
    /// A repaired backup that has what can be read, made by an earlier repair.
    pub repaired_by: Option<String>,
}

impl DamagedBackup {
    /// How many entries are lost.
    pub fn count(&self) -> u64 {
        self.lost.iter().map(|l| l.count).sum()
    }
}

/// A commit that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableCommit {
    /// Its session.
    pub id: SessionId,
    /// Its object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The backup's name, if the head or a claim tells it.
    pub name: Option<String>,
    /// Whether the head knows its maps, so that only its document and log are lost.
    pub maps_known: bool,
}

/// What a repair will do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairPlan {
    /// The epoch that was looked at.
    pub epoch: u64,
    /// What is wrong with the head, if it has to be made anew.
    pub head: Option<String>,
    /// Index segments that cannot be read, and why.
    pub segments: Vec<(String, String)>,
    /// Packs that the rebuilt index gets from their trailers.
    pub found: Vec<FoundPack>,
    /// Packs whose trailer cannot be read and which no segment has: what they hold stays unknown.
    pub unreadable: Vec<(String, String)>,
    /// Data keys that frames need and that cannot be used, and why.
    pub data_keys: Vec<(String, String)>,
    /// The number of the data key to be made, because the newest one cannot be used and nothing is sealed with an older one.
    pub new_data_key: Option<u16>,
    /// Packs to be taken out of force.
    pub packs: Vec<BadPack>,
    /// Backups that cannot be read completely.
    pub backups: Vec<DamagedBackup>,
    /// Commits that cannot be read.
    pub commits: Vec<UnreadableCommit>,
    /// Tombstones that cannot be read; they are undone, so that nothing is deleted on their word.
    pub tombstones: Vec<String>,
}

impl RepairPlan {
    /// Whether there is anything to do.
    pub fn changes(&self) -> bool {
        self.head.is_some()
            || self.new_data_key.is_some()
            || !self.segments.is_empty()
            || !self.packs.is_empty()
            || !self.commits.is_empty()
            || !self.tombstones.is_empty()
            || self.backups.iter().any(|b| b.repaired_by.is_none())
    }

    /// Whether something is lost that no earlier repair has told.
    pub fn loses(&self) -> bool {
        !self.commits.is_empty()
            || !self.unreadable.is_empty()
            || self.packs.iter().any(|p| p.lost > 0)
            || self.backups.iter().any(|b| b.repaired_by.is_none())
    }
}

impl fmt::Display for RepairPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(what) = &self.head {
            writeln!(f, "make epoch {} anew: {what}", self.epoch)?;
        }
        for (object, what) in &self.segments {
            writeln!(f, "replace {object}: {what}")?;
        }
        for found in &self.found {
            writeln!(f, "index {} again: {} chunks", found.pack, found.chunks)?;
        }
        for (object, what) in &self.unreadable {
            writeln!(f, "LOST what only {object} held: {what}")?;
        }
        for (object, what) in &self.data_keys {
            writeln!(f, "LOST what {object} sealed: {what}")?;
        }
        if let Some(number) = self.new_data_key {
            writeln!(f, "make data key {number}: the newest one cannot be used")?;
        }
        for bad in &self.packs {
            writeln!(
                f,
                "take {} out of force: {} ({} chunks copied, {} found elsewhere, {} lost)",
                bad.pack, bad.what, bad.readable, bad.elsewhere, bad.lost
            )?;
        }
        for commit in &self.commits {
            let name = commit.name.as_deref().unwrap_or("of unknown name");
            match commit.maps_known {
                true => writeln!(
                    f,
                    "LOST the document and log of backup {name} ({}): {} {}",
                    commit.id, commit.object, commit.what
                )?,
                false => writeln!(
                    f,
                    "LOST backup {name} ({}): {} {}",
                    commit.id, commit.object, commit.what
                )?,
            }
        }
        for object in &self.tombstones {
            writeln!(f, "undo {object}, which cannot be read")?;
        }
        for backup in &self.backups {
            let (name, id) = (&backup.name, backup.id);
            match (&backup.repaired_by, backup.entirely) {
                (Some(by), _) => {
                    writeln!(f, "backup {name} ({id}) was repaired before: {by}")?;
                    continue;
                }
                (None, true) => writeln!(f, "LOST backup {name} ({id}): nothing can be read")?,
                (None, false) => writeln!(
                    f,
                    "repair backup {name} ({id}): {} entries are LOST",
                    backup.count()
                )?,
            }
            for lost in backup.lost.iter().take(ITEMS_SHOWN) {
                writeln!(f, "  {lost}")?;
            }
            if backup.lost.len() > ITEMS_SHOWN {
                writeln!(f, "  and {} more", backup.lost.len() - ITEMS_SHOWN)?;
            }
        }
        if !self.changes() {
            writeln!(f, "nothing to repair")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_range_hits_the_resources_in_it() {
        let range =
            |after: &[u8], upto: &[u8]| LostPlace::Range(Some(after.to_vec()), Some(upto.to_vec()));
        // Within b; from a into b; over b; from b into c.
        for lost in [
            range(b"b/3", b"b/7"),
            range(b"a/9", b"b/2"),
            range(b"a/9", b"c/1"),
            range(b"b/9", b"c/2"),
            LostPlace::Range(None, None),
            LostPlace::Key(b"b/4".to_vec()),
        ] {
            assert!(lost.hits(b"b/"), "{lost:?}");
        }
        for lost in [
            range(b"a/1", b"a/7"),
            range(b"c/1", b"c/2"),
            LostPlace::Key(b"a/4".to_vec()),
        ] {
            assert!(!lost.hits(b"b/"), "{lost:?}");
        }
    }
}
