//! The direction of use among the rows of the program, as [`crate`] states it.

#![cfg(test)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each row, and the rows that it may use.
const ROWS: [(&str, &[&str]); 8] = [
    ("api", &[]),
    ("cluster", &["api"]),
    ("install", &["api", "cluster"]),
    ("hooks", &["api", "cluster"]),
    ("capture", &["api", "cluster", "hooks"]),
    ("restore", &["api", "cluster", "hooks"]),
    (
        "server",
        &["api", "cluster", "install", "hooks", "capture", "restore"],
    ),
    (
        "cli",
        &[
            "api", "cluster", "install", "hooks", "capture", "restore", "server",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rows that a source names by `crate::`.
fn named(text: &str) -> BTreeSet<&str> {
    text.split("crate::")
        .skip(1)
        .flat_map(|rest| {
            let list = rest
                .strip_prefix('{')
                .and_then(|rest| rest.split('}').next());
            list.unwrap_or(rest).split(',').take(match list {
                Some(_) => usize::MAX,
                None => 1,
            })
        })
        .filter_map(|name| {
            let name = name.trim_start();
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &name[..end.unwrap_or(name.len())];
            ROWS.iter().map(|(row, _)| *row).find(|row| *row == name)
        })
        .collect()
}

#[test]
fn no_row_uses_one_that_is_not_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (row, below) in ROWS {
        let mut files = vec![root.join(format!("{row}.rs"))];
        sources(&root.join(row), &mut files);
        files.retain(|file| file.exists());
        assert!(!files.is_empty(), "the row {row} is gone");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for used in named(&text) {
                let allowed = used == row || below.contains(&used);
                assert!(allowed, "{} uses {used}", file.display());
            }
        }
    }
}

#[test]
fn uses_are_found_however_they_are_written() {
    let text = "use crate::api::Backup;\nuse crate::{cluster::Cluster, restore};\nlet x = crate::cli::run();";
    let found: Vec<&str> = named(text).into_iter().collect();
    assert_eq!(found, ["api", "cli", "cluster", "restore"]);
}
