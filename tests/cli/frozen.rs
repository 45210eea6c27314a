//! A repository that was written when the format became version 1, with the program of that day. Every later one reads it,
//! writes to it and prunes it.

use std::path::Path;

use serde_json::Value;

use crate::run::{Ran, Sandbox};

/// What each backup holds: how many items, and the hash of their JSON.
const CONTENTS: [(&str, usize, &str); 3] = [
    (
        "first",
        351,
        "cc72e620b386e3e0e4126b6895fd19ec075918c5314d57d3c12941744374d7ac",
    ),
    (
        "second",
        154,
        "afbf7a6d8061acc895b021dfee89fee717b9d5f453557cc7e68dd55471d2d9c3",
    ),
    (
        "third",
        1,
        "159cdd2e1292e9baa5f06f0296b181c9328b60bed10f2f73fda847a849423c1c",
    ),
];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A sandbox with a copy of the repository in `repo`, and its keys.
fn frozen() -> Sandbox {
    let sandbox = Sandbox::new();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/frozen/v1");
    copy(&fixture.join("repository"), &sandbox.path().join("repo"));
    for name in ["key", "passphrase", "recovery-key"] {
        std::fs::copy(fixture.join(name), sandbox.path().join(name)).unwrap();
    }
    sandbox
}

fn ark(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let url = format!("file://{}", sandbox.path().join("repo").display());
    let variables = [("ARK_REPOSITORY", url.as_str()), ("ARK_KEY_FILE", "key")];
    sandbox.ark_with(arguments, &variables)
}

fn ok(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let ran = ark(sandbox, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    ran.stdout
}

fn items(sandbox: &Sandbox, arguments: &[&str]) -> Vec<Value> {
    let list: Value = serde_json::from_str(&ok(sandbox, arguments)).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let backups = items(sandbox, &["backup", "get", "-o", "json"]);
    let name = |backup: &Value| backup["metadata"]["name"].as_str().unwrap().to_owned();
    backups.iter().map(name).collect()
}

fn assert_contents(sandbox: &Sandbox, names: &[&str]) {
    for (name, count, expected) in CONTENTS {
        if !names.contains(&name) {
            continue;
        }
        let items = items(sandbox, &["backup", "cat", name, "-o", "json"]);
        let text = Value::Array(items.clone()).to_string();
        let hash = blake3::hash(text.as_bytes()).to_hex();
        assert_eq!((items.len(), hash.as_str()), (count, expected), "{name}");
    }
}

#[test]
fn a_repository_of_version_1_reads_as_on_its_first_day() {
    let sandbox = frozen();
    assert_eq!(names(&sandbox), ["third", "second", "first"]);
    assert_contents(&sandbox, &["first", "second", "third"]);
    for arguments in [
        &["backup", "describe", "first"][..],
        &["backup", "logs", "second"],
        &["restore", "describe", "back"],
        &["restore", "logs", "back"],
    ] {
        ok(&sandbox, arguments);
    }
    let restores = items(&sandbox, &["restore", "get", "-o", "json"]);
    assert_eq!(restores.len(), 1);
    assert_eq!(restores[0]["spec"]["backupName"], "second");
    assert_eq!(restores[0]["status"]["phase"], "Completed");

    let report = ok(&sandbox, &["verify", "--read-data", "-o", "json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["damage"], serde_json::json!([]), "{report}");
}

#[test]
fn each_of_its_keys_opens_it() {
    let sandbox = frozen();
    let url = format!("file://{}", sandbox.path().join("repo").display());
    for unlock in [
        ["--key-file", "key"],
        ["--key-file", "recovery-key"],
        ["--passphrase-file", "passphrase"],
        ["--passphrase-command", "echo backup only"],
    ] {
        let arguments = [
            "repo", "info", "--repo", &url, unlock[0], unlock[1], "-o", "json",
        ];
        let ran = sandbox.ark(&arguments);
        assert_eq!(ran.code, 0, "{unlock:?}: {}", ran.stderr);
        let info: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(info["version"], 1);
    }
}

#[test]
fn it_is_worked_on_like_a_new_one() {
    let sandbox = frozen();
    ok(&sandbox, &["backup", "undelete", "fourth"]);
    assert_eq!(names(&sandbox), ["fourth", "third", "second", "first"]);
    ok(
        &sandbox,
        &["backup", "delete", "first", "fourth", "--confirm"],
    );
    ok(&sandbox, &["repo", "keys", "rotate"]);
    let report: Value =
        serde_json::from_str(&ok(&sandbox, &["prune", "--now", "-o", "json"])).unwrap();
    assert_eq!(
        report["backups_removed"].as_array().unwrap().len(),
        2,
        "{report}"
    );
    assert_eq!(names(&sandbox), ["third", "second"]);
    assert_contents(&sandbox, &["second", "third"]);
    ok(&sandbox, &["verify", "--read-data"]);
}
