//! The damage matrix: every kind of object, damaged in every way, and what verify, restore, backup and prune make of it.
//!
//! What must hold in every cell is asserted in [`trial`]; the answers, a word each, are compared with the page
//! `docs/src/internals/damage.md`. `ARK_UPDATE_DOCS=1` writes the page anew.

mod base;
mod flips;
mod harm;
mod rollback;
mod trial;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use self::base::Base;
use self::harm::{HARMS, Harm, harmed};
use self::trial::{Answers, Trial};

/// The answers by the name of the object's kind and the number of the harm.
type Table = BTreeMap<(&'static str, usize), Answers>;

// Each takes a part, so that none takes long.
#[test]
fn damage_of_settings_keys_and_the_head() {
    try_kinds(0..6);
}

#[test]
fn damage_of_epochs_and_index() {
    try_kinds(6..11);
}

#[test]
fn damage_of_sessions_and_manifests() {
    try_kinds(11..16);
}

#[test]
fn damage_of_fences_tombstones_and_names() {
    try_kinds(16..21);
}

#[test]
fn damage_of_packs() {
    try_kinds(21..25);
}

#[test]
fn damage_of_unneeded_packs_and_records() {
    try_kinds(25..30);
}

fn try_kinds(kinds: Range<usize>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let base = runtime.block_on(base::build());
    assert_eq!(base.kinds.len(), 30, "the tests above take all");
    let mut table = Table::new();
    let mut failed = Vec::new();
    for (name, key) in &base.kinds[kinds] {
        for (number, harm) in HARMS.into_iter().enumerate() {
            // The other cells go on, so that all that is wrong is told at once.
            let trial = AssertUnwindSafe(|| runtime.block_on(cell(&base, name, key, harm)));
            match catch_unwind(trial) {
                Ok(answers) => table.extend(answers.map(|answers| ((*name, number), answers))),
                Err(_) => failed.push(format!("{name}, {}", harm.title())),
            }
        }
    }
    assert!(failed.is_empty(), "see above for {failed:#?}");
    compare(&base, &table);
}

async fn cell(base: &Base, name: &str, key: &str, harm: Harm) -> Option<Answers> {
    let damaged = harmed(base, key, harm)?;
    let trial = Trial {
        base,
        what: format!("{name}, {harm:?}"),
        harm,
        damaged,
    };
    Some(trial.run().await)
}

const INTRODUCTION: &str = include_str!("page.md");

/// The page, a table for each operation: with the rows of these answers, and all others as they are written.
fn page(base: &Base, table: &Table, written: &str) -> String {
    type Answer = fn(&Answers) -> &'static str;
    let tables: [(&str, Answer); 4] = [
        ("Verify", |a| a.verify),
        ("Restore", |a| a.restore),
        ("Backup", |a| a.backup),
        ("Prune", |a| a.prune),
    ];
    let mut page = INTRODUCTION.to_owned();
    for (title, answer) in tables {
        let section = written.split("\n## ").find(|s| s.starts_with(title));
        let mut rows = format!("| | {} |\n|", HARMS.map(Harm::title).join(" | "));
        rows += &"---|".repeat(HARMS.len() + 1);
        for (kind, _) in &base.kinds {
            let start = format!("| {kind} |");
            rows += "\n";
            if table.keys().any(|(tried, _)| tried == kind) {
                let words =
                    (0..HARMS.len()).map(|harm| table.get(&(*kind, harm)).map_or("", answer));
                let words: Vec<&str> = words.collect();
                rows += &format!("{start} {} |", words.join(" | "));
            } else {
                let mut lines = section.unwrap_or_default().lines();
                rows += lines
                    .find(|line| line.starts_with(&start))
                    .unwrap_or_default();
            }
        }
        page = page.replace(&format!("TABLE {title}"), &rows);
    }
    page
}

fn compare(base: &Base, table: &Table) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/internals/damage.md");
    let update = std::env::var_os("ARK_UPDATE_DOCS").is_some();
    let mut file = File::options()
        .read(true)
        .write(update)
        .open(&path)
        .unwrap();
    if update {
        // The tests of the other kinds write their rows too.
        file.lock().unwrap();
    }
    let mut written = String::new();
    file.read_to_string(&mut written).unwrap();
    let page = page(base, table, &written);
    if update {
        file.rewind().unwrap();
        file.set_len(0).unwrap();
        file.write_all(page.as_bytes()).unwrap();
        return;
    }
    let path = path.display();
    for (found, expected) in page.lines().zip(written.lines()) {
        assert_eq!(
            found, expected,
            "{path} is out of date; ARK_UPDATE_DOCS=1 writes it anew"
        );
    }
    assert!(
        page == written,
        "{path} is out of date; ARK_UPDATE_DOCS=1 writes it anew"
    );
}
