//! The cache folder: what it keeps of repositories that are not open.
//!
//! Each repository has a folder of its own below [`INDEX`], named by its id. Those of open repositories stay; of the others the ones
//! used last stay, as far as the limit goes. Losing one costs requests, never data.

use std::path::Path;
use std::time::SystemTime;

/// Where the repositories' folders are.
pub const INDEX: &str = "repositories";

/// A repository's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its name: the repository's id.
    pub name: String,
    /// Bytes in it.
    pub bytes: u64,
    /// When something in it was last written.
    pub used: SystemTime,
}

/// The folders to remove, so that those that are not open hold at most `limit` bytes.
pub fn surplus(mut folders: Vec<Folder>, open: &[String], limit: u64) -> Vec<String> {
    folders.retain(|folder| !open.contains(&folder.name));
    folders.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.name.cmp(&b.name)));
    let mut kept = 0_u64;
    folders
        .into_iter()
        .filter_map(|folder| {
            kept = kept.saturating_add(folder.bytes);
            (kept > limit).then_some(folder.name)
        })
        .collect()
}

/// Removes the surplus of the cache at `root`. What cannot be read or removed stays, and is said.
pub fn trim(root: &Path, open: &[String], limit: u64) {
    let root = root.join(INDEX);
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
        let (mut bytes, mut used) = (0, SystemTime::UNIX_EPOCH);
        measure(&entry.path(), &mut bytes, &mut used);
        folders.push(Folder {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes,
            used,
        });
    }
    for name in surplus(folders, open, limit) {
        match std::fs::remove_dir_all(root.join(&name)) {
            Ok(()) => tracing::info!(
                repository = name,
                "removed its cache: it is not open any more"
            ),
            Err(error) => tracing::warn!(repository = name, %error, "cannot remove its cache"),
        }
    }
}

fn measure(path: &Path, bytes: &mut u64, used: &mut SystemTime) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return;
    };
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            measure(&entry.path(), bytes, used);
        }
    } else {
        *bytes += metadata.len();
        *used = metadata.modified().map_or(*used, |at| at.max(*used));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::time::Duration;

    fn folder(name: &str, bytes: u64, used: u64) -> Folder {
        Folder {
            name: name.to_owned(),
            bytes,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(used),
        }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_open_never() {
        let folders = vec![folder("a", 10, 1), folder("b", 10, 3), folder("c", 10, 2)];
        let go = |open: &[&str], limit| {
            let open: Vec<String> = open.iter().map(|name| (*name).to_owned()).collect();
            surplus(folders.clone(), &open, limit)
        };
        assert_eq!(go(&[], 30), Vec::<String>::new());
        assert_eq!(go(&[], 20), ["a"]);
        assert_eq!(go(&[], 0), ["b", "c", "a"]);
        assert_eq!(go(&["a"], 10), ["c"]);
        assert_eq!(go(&["a", "b", "c"], 0), Vec::<String>::new());
    }

    #[test]
    fn folders_are_removed_from_the_disk() {
        let root = tempfile::tempdir().unwrap();
        for name in ["open", "gone"] {
            let folder = root.path().join(INDEX).join(name).join("index");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("segment"), [0; 100]).unwrap();
        }
        trim(root.path(), &["open".to_owned()], 50);
        let left: Vec<_> = std::fs::read_dir(root.path().join(INDEX))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["open"]);
    }
}
