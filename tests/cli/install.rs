//! What `ark install --dry-run` prints: everything that kubectl needs, and no secret.

use crate::run::{Ran, Sandbox};

const SECRET: &str =
    "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI\n";

fn install(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let usual = ["install", "--dry-run", "--image", "registry.example/ark:1"];
    sandbox.ark(&[&usual, arguments].concat())
}

#[test]
fn manifests_come_with_commands_in_the_place_of_secrets() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("cloud"), SECRET).unwrap();
    std::fs::write(sandbox.path().join("words"), "correct horse\n").unwrap();
    let place = [
        "--provider",
        "aws",
        "--bucket",
        "backups",
        "--prefix",
        "prod",
        "--backup-location-config",
        "region=eu-central-1,s3ForcePathStyle=true",
        "--secret-file",
        "cloud",
        "--recovery-passphrase-file",
        "words",
    ];
    let ran = install(&sandbox, &place);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in ["AKIDEXAMPLE", "wJalr", "correct", "QUtJREVY", "Y29ycmVjdA"] {
        assert!(!ran.stdout.contains(part), "{part}");
        assert!(!ran.stderr.contains(part), "{part}");
    }
    let head: Vec<&str> = ran.stdout.split("---\n").collect();
    insta::assert_snapshot!("install-head", head[0]);
    insta::assert_snapshot!("install-location", head[head.len() - 1]);
    let kinds: Vec<&str> = ran
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("kind: "))
        .collect();
    let definitions = include_str!("../../deploy/crds.yaml");
    let defined = definitions
        .matches("\nkind: CustomResourceDefinition")
        .count();
    assert!(defined > 0);
    let (first, rest) = kinds.split_at(defined);
    assert!(first.iter().all(|kind| *kind == "CustomResourceDefinition"));
    assert!(!rest.contains(&"CustomResourceDefinition"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "Secret").count(), 0);
    assert_eq!(rest[0], "Namespace");
}

#[test]
fn what_the_server_would_refuse_is_refused_before_anything_is_applied() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.path().join("cloud"), "nonsense\n").unwrap();
    for (arguments, says) in [
        (
            &[
                "--provider",
                "s3",
                "--bucket",
                "b",
                "--no-secret",
                "--no-recovery",
            ][..],
            "s3Url",
        ),
        (
            &[
                "--provider",
                "aws",
                "--bucket",
                "b",
                "--secret-file",
                "cloud",
                "--no-recovery",
            ],
            "is no AWS credentials file",
        ),
        (
            &[
                "--provider",
                "azure",
                "--bucket",
                "b",
                "--no-secret",
                "--no-recovery",
            ],
            "storageAccount",
        ),
        (
            &[
                "--provider",
                "local",
                "--bucket",
                "/b",
                "--no-secret",
                "--no-recovery",
            ],
            "--claim",
        ),
        (
            &[
                "--provider",
                "gcp",
                "--bucket",
                "b",
                "--no-secret",
                "--no-recovery",
                "--server-arg=--no-such-flag",
            ],
            "--server-arg",
        ),
    ] {
        let ran = install(&sandbox, arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {} {}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}
