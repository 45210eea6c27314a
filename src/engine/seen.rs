//! What this client has seen of a repository, so that it notices when less is there.
//!
//! It is kept in the state directory, which is no cache: the number of the newest epoch, and the commits that counted by
//! themselves. A head with a lower number is a rollback. A prune deletes no commit at or above the watermark of the head,
//! and only an epoch that retires its session takes one out of force; so a commit that was seen, is neither below the
//! watermark nor retired, and is not there, was removed by somebody else. Files that cannot be read or written cost
//! detection and are no error.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ark_format::SessionId;

use crate::repository::Repository;

/// A commit: the epoch in its key, and its session.
pub(crate) type Commit = (u64, SessionId);

impl Repository {
    fn state_file(&self, kind: &str) -> Option<PathBuf> {
        let folder = self.inner.state_dir.as_ref()?;
        Some(folder.join(format!("{}.{kind}", self.id())))
    }

    fn read_state(&self, kind: &str) -> Option<String> {
        std::fs::read_to_string(self.state_file(kind)?).ok()
    }

    fn write_state(&self, kind: &str, text: &str) {
        let Some(path) = self.state_file(kind) else {
            return;
        };
        // Written aside: half of it would be read as less than was seen.
        let aside = path.with_extension(format!("{kind}.{}", self.env().session_id()));
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder
            .and_then(|()| std::fs::write(&aside, text))
            .and_then(|()| std::fs::rename(&aside, &path));
        if let Err(error) = written {
            tracing::debug!(%error, "the state directory cannot be written");
        }
    }

    /// The newest epoch that a client of this state directory has seen; an older head than that is a rollback.
    pub(crate) fn seen_epoch(&self) -> Option<u64> {
        self.read_state("epoch")?.trim().parse().ok()
    }

    /// Keeps the number of an epoch that was seen.
    pub(crate) fn remember_epoch(&self, number: u64) {
        if self.inner.state_dir.is_some() && self.seen_epoch() < Some(number) {
            self.write_state("epoch", &number.to_string());
        }
    }

    /// The commits that were seen to count by themselves.
    pub(crate) fn seen_commits(&self) -> BTreeSet<Commit> {
        let text = self.read_state("commits").unwrap_or_default();
        text.lines().filter_map(parse).collect()
    }

    /// Keeps which commits count by themselves.
    pub(crate) fn remember_commits(&self, seen: &BTreeSet<Commit>, now: &BTreeSet<Commit>) {
        if self.inner.state_dir.is_none() || seen == now {
            return;
        }
        let lines = now.iter().map(|(epoch, id)| format!("{epoch:016x}-{id}\n"));
        self.write_state("commits", &lines.collect::<String>());
    }

    /// Keeps a commit of this client's own.
    pub(crate) fn remember_commit(&self, commit: Commit) {
        let seen = self.seen_commits();
        let mut now = seen.clone();
        now.insert(commit);
        self.remember_commits(&seen, &now);
    }
}

fn parse(line: &str) -> Option<Commit> {
    let (epoch, id) = line.split_once('-')?;
    Some((u64::from_str_radix(epoch, 16).ok()?, id.parse().ok()?))
}
