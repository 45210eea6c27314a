//! A life of a repository without a cluster.

use std::io::Read;
use std::process::Stdio;

use crate::run::Sandbox;

const OPEN: [&str; 4] = ["--repo", "repo", "--key-file", "key"];

fn with(arguments: &[&'static str]) -> Vec<&'static str> {
    [&OPEN, arguments].concat()
}

#[test]
fn an_empty_repository_answers_every_question() {
    let sandbox = Sandbox::with_repository();
    for (arguments, says) in [
        (&["repo", "info"][..], "Backups:              0"),
        (&["repo", "keys", "list"], "first key"),
        (&["verify"], "sound"),
        (&["verify", "--read-data"], "every byte was read"),
        (&["prune"], "Freed:"),
        (&["prune", "--dry-run"], "packs in the repository: 0"),
        (&["backup", "get"], ""),
        (&["restore", "get"], ""),
        (&["get", "backups", "-o", "json"], "\"items\": []"),
        (&["repo", "init", "--if-needed"], ""),
    ] {
        let ran = sandbox.ark(&with(arguments));
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.contains(says), "{arguments:?}: {}", ran.stdout);
        assert!(
            ran.stderr.contains("ark: direct mode, repository file://"),
            "{}",
            ran.stderr
        );
        let quiet = sandbox.ark(&[&with(arguments)[..], &["--quiet"]].concat());
        assert_eq!(quiet.stderr, "", "{arguments:?}");
    }
}

#[test]
fn keys_come_and_go() {
    let sandbox = Sandbox::with_repository();
    let added = sandbox.ark(&with(&[
        "repo",
        "keys",
        "add",
        "--new-key-file",
        "second",
        "-o",
        "name",
    ]));
    assert_eq!(added.code, 0, "{}", added.stderr);
    let id = added.stdout.trim().to_owned();
    assert_eq!(
        sandbox
            .ark(&["--repo", "repo", "--key-file", "second", "repo", "info"])
            .code,
        0
    );
    let recovery = sandbox.ark(&with(&["repo", "keys", "recovery"]));
    std::fs::write(sandbox.path().join("paper"), &recovery.stdout).unwrap();
    assert_eq!(
        sandbox
            .ark(&["--repo", "repo", "--key-file", "paper", "repo", "info"])
            .code,
        0
    );
    let refused = sandbox.ark(&[&OPEN[..], &["repo", "keys", "remove", &id]].concat());
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let removed = sandbox.ark(&[&OPEN[..], &["repo", "keys", "remove", &id, "--confirm"]].concat());
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    assert_eq!(
        sandbox
            .ark(&["--repo", "repo", "--key-file", "second", "repo", "info"])
            .code,
        5
    );
}

#[test]
fn the_data_key_is_rotated() {
    let sandbox = Sandbox::with_repository();
    let rotate = |more: &[&'static str]| {
        let ran = sandbox.ark(&[&with(&["repo", "keys", "rotate"])[..], more].concat());
        assert_eq!(ran.code, 0, "{more:?}: {}", ran.stderr);
        ran
    };
    let files = || {
        let folder = std::fs::read_dir(sandbox.path().join("repo/keys/data")).unwrap();
        folder.count()
    };
    let plan = rotate(&["--dry-run"]);
    assert_eq!(plan.stdout, "would make data key 2\n");
    assert!(plan.stderr.contains("nothing was changed"));
    let plan: serde_json::Value =
        serde_json::from_str(&rotate(&["--dry-run", "-o", "json"]).stdout).unwrap();
    assert_eq!(plan, serde_json::json!({"number": 2, "made": false}));
    assert_eq!(files(), 1);

    assert_eq!(
        rotate(&[]).stdout,
        "made data key 2: backups from now on are encrypted with it\n"
    );
    let made: serde_json::Value = serde_json::from_str(&rotate(&["-o", "json"]).stdout).unwrap();
    let expected = serde_json::json!({"number": 3, "object": "keys/data/0003", "made": true});
    assert_eq!(made, expected);
    assert!(rotate(&["-o", "yaml"]).stdout.contains("number: 4"));
    assert_eq!(rotate(&["-o", "name"]).stdout, "5\n");
    assert_eq!(files(), 5);
    let info = sandbox.ark(&with(&["repo", "info", "-o", "json"]));
    assert!(info.stdout.contains("\"data_key\": 5"), "{}", info.stdout);

    let add = [
        "repo",
        "keys",
        "add",
        "--role",
        "backup",
        "--new-key-file",
        "backup",
    ];
    assert_eq!(sandbox.ark(&with(&add)).code, 0);
    let role = [
        "--repo",
        "repo",
        "--key-file",
        "backup",
        "repo",
        "keys",
        "rotate",
    ];
    let refused = sandbox.ark(&role);
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("but not rotate the data key"),
        "{}",
        refused.stderr
    );
    assert_eq!(files(), 5);
    let lost = sandbox.path().join("repo/keys/data/0005");
    std::fs::remove_file(lost).unwrap();
    for (arguments, code) in [(&["verify", "--read-data"][..], 0), (&["prune"], 0)] {
        let ran = sandbox.ark(&with(arguments));
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
    }
    std::fs::write(sandbox.path().join("repo/keys/data/0004"), "4").unwrap();
    let ran = sandbox.ark(&with(&["verify"]));
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(ran.stdout.contains("keys/data/0004"), "{}", ran.stdout);
}

#[test]
fn passphrases_come_from_files_commands_and_the_environment() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("pass"), "open sesame\n").unwrap();
    let ran = sandbox.ark(&[
        "--repo",
        "repo",
        "--passphrase-file",
        "pass",
        "repo",
        "init",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("ARK0-"), "{}", ran.stdout);
    let command = "printf 'open sesame\\nignored'";
    let ran = sandbox.ark(&[
        "--repo",
        "repo",
        "--passphrase-command",
        command,
        "repo",
        "info",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let variables = [
        ("ARK_REPOSITORY", "repo"),
        ("ARK_PASSPHRASE", "open sesame"),
    ];
    assert_eq!(sandbox.ark_with(&["repo", "info"], &variables).code, 0);
    let variables = [("ARK_REPOSITORY", "repo"), ("ARK_PASSPHRASE", "wrong")];
    assert_eq!(sandbox.ark_with(&["repo", "info"], &variables).code, 5);
}

#[test]
fn completion_and_manual_pages_are_made() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = sandbox.ark(&["completion", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("keep-daily"), "{shell}");
    }
    assert_eq!(sandbox.ark(&["man", "pages"]).code, 0);
    let page = std::fs::read_to_string(sandbox.path().join("pages/ark-backup-create.1")).unwrap();
    assert!(page.contains("include\\-namespaces"));
    let version = sandbox.ark(&["version", "-o", "json"]);
    assert!(version.stdout.contains("\"formatVersion\""));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(&["completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything is read.
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
}

#[test]
fn a_portion_is_verified_and_put_on_record() {
    let sandbox = Sandbox::with_repository();
    for (arguments, code, says) in [
        (&["verify", "--read-data-subset", "5%"][..], 0, "sound"),
        (&["verify", "--read-data-subset", "2/3"], 0, "sound"),
        (
            &[
                "verify",
                "--read-data-subset",
                "10Mi",
                "--max-duration",
                "5m",
            ],
            0,
            "sound",
        ),
        (
            &["verify", "--max-duration", "5m", "-o", "json"],
            0,
            "\"recorded\": true",
        ),
        (
            &["verify", "--read-data", "--read-data-subset", "5%"],
            2,
            "",
        ),
        (&["verify", "--read-data-subset", "3/2"], 2, ""),
        (&["verify", "--read-data-subset", "much"], 2, ""),
        (&["verify", "--max-duration", "0s"], 2, ""),
    ] {
        let ran = sandbox.ark(&with(arguments));
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.contains(says), "{arguments:?}: {}", ran.stdout);
    }
    let records = std::fs::read_dir(sandbox.path().join("repo/verify")).unwrap();
    assert_eq!(records.count(), 4);
}

#[test]
fn a_repository_without_a_head_is_repaired() {
    let sandbox = Sandbox::with_repository();
    for arguments in [
        &["repair"][..],
        &["repair", "--dry-run"],
        &["repair", "index"],
    ] {
        let ran = sandbox.ark(&with(arguments));
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stdout.contains("nothing to repair"), "{}", ran.stdout);
    }
    for body in std::fs::read_dir(sandbox.path().join("repo/index")).unwrap() {
        std::fs::remove_file(body.unwrap().path()).unwrap();
    }
    let cache = sandbox.path().join("home/.cache");
    if cache.exists() {
        std::fs::remove_dir_all(cache).unwrap();
    }
    let broken = sandbox.ark(&with(&["repo", "info"]));
    assert_eq!(broken.code, 4, "{}", broken.stderr);
    assert!(broken.stderr.contains("ark repair"), "{}", broken.stderr);
    let plan = sandbox.ark(&with(&["repair", "index", "--dry-run"]));
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    assert!(plan.stdout.contains("make epoch 0 anew"), "{}", plan.stdout);
    assert_eq!(sandbox.ark(&with(&["repo", "info"])).code, 4);
    let repaired = sandbox.ark(&with(&["repair", "index", "-o", "json"]));
    assert_eq!(repaired.code, 0, "{}", repaired.stderr);
    assert!(
        repaired.stdout.contains("\"epochs\": 1"),
        "{}",
        repaired.stdout
    );
    for arguments in [
        &["repo", "info"][..],
        &["verify", "--read-data"],
        &["prune"],
    ] {
        let ran = sandbox.ark(&with(arguments));
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    }
}
