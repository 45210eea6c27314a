//! What is in the bucket when a run starts: one backup, committed by session 0, and what led to it.

use super::repository::{Chunks, Repository, entry, one};

/// How the first backup came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The head lists it.
    Listed,
    /// It was committed after the head's pruner had listed manifests: no epoch lists it, and the head condemned its pack.
    Condemned,
    /// It was committed by a session that began under the head: no epoch lists it.
    Fresh,
    /// The head lists it. Besides, session 1 was fenced when it had uploaded chunk B, and the head has left it that.
    Left,
    /// Session 1 was fenced, and the head has left it its pack. The backup has adopted that; no epoch lists it yet.
    Adopted,
}

impl Start {
    /// Sessions that have been there.
    pub fn slots(self) -> usize {
        match self {
            Start::Left | Start::Adopted => 2,
            _ => 1,
        }
    }

    /// The bucket, with a backup that refers to `first`, and a pack that holds `stored`.
    pub fn repository(self, first: Chunks, stored: Chunks) -> Repository {
        let mut repository = Repository {
            commits: one(0),
            promised: one(0),
            ..Repository::default()
        };
        repository.refs[0] = first;
        repository.bases[0] = 1;
        repository.head.number = 2;
        repository.head.watermark = 1;
        let pack = match self {
            Start::Adopted => 1,
            _ => 0,
        };
        repository.packs = one(pack);
        repository.content[pack] = stored;
        match self {
            Start::Listed | Start::Left => repository.head.marked = one(0),
            Start::Condemned => {
                repository.head.condemned[0] = 2;
                repository.pins = one(0);
            }
            Start::Fresh | Start::Adopted => {
                repository.bases[0] = 2;
                repository.pins = one(0);
                repository.segments = one(0);
                repository.listed[0] = one(pack);
            }
        }
        if repository.segments == 0 {
            repository.head.index = entry(0, stored);
        }
        if matches!(self, Start::Left | Start::Adopted) {
            repository.bases[1] = 1;
            repository.fences = one(1);
            repository.pins |= one(1);
            repository.listed[1] = one(1);
            repository.packs |= one(1);
            repository.content[1] = match self {
                Start::Left => 0b10,
                _ => stored,
            };
        }
        repository
    }
}
