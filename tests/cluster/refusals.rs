//! What `ark` refuses because of the cluster or the repository, and that nothing is lost by asking.

use std::path::Path;

use ark_format::config::{Config, Settings};
use ark_format::slot;
use ark_testkit::{Api, ControlPlane};
use serde_json::{Value, json};

use crate::place::{Place, ark, open_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_says_no_is_told_from_one_that_is_not_there() {
    let plane = ControlPlane::start_quiet().await.unwrap();
    let api = Api::connect(&plane.kubeconfig()).await.unwrap();
    let secret = json!({"metadata": {"name": "shared"}, "stringData": {"password": "x"}});
    api.post("/api/v1/namespaces/default/secrets", &secret)
        .await
        .unwrap();
    let place = Place::folder(&plane.kubeconfig());
    place.backup("whole");
    let content = place.content("whole");

    let as_user = |kubeconfig: &Path| place.ark.with("KUBECONFIG", kubeconfig);
    let create = ["backup", "create", "x"];
    let restore = ["restore", "create", "whole"];
    let expired = as_user(&plane.expired_kubeconfig().unwrap());
    let unreachable = as_user(&plane.unreachable_kubeconfig().unwrap());
    for verb in [
        &create[..],
        &restore,
        &["backup", "diff", "whole", "--live"],
    ] {
        expired.run(verb).refuses(
            6,
            &[
                "Unauthorized",
                "hint: the credentials are wrong or have expired",
            ],
        );
        unreachable
            .run(verb)
            .refuses(6, &["no answer from the apiserver https://127.0.0.1:"]);
    }

    // May read everything but Secrets.
    let limited = as_user(&plane.limited_kubeconfig().await.unwrap());
    let partial = limited
        .run(&["backup", "create", "partial", "-o", "json"])
        .exits(3);
    assert!(partial.stderr.contains("secrets"), "{partial}");
    let backup = partial.json();
    assert_eq!(backup["status"]["phase"], "PartiallyFailed", "{backup:#}");
    assert_eq!(backup["status"]["errors"], 1, "{backup:#}");
    let row = place.ark.run(&["backup", "get", "partial"]).done();
    assert!(row.stdout.contains("PartiallyFailed"), "{row}");
    let details = place
        .ark
        .run(&["backup", "describe", "partial", "--details"])
        .done();
    assert!(details.stdout.contains("secrets"), "{details}");
    let log = place.ark.run(&["backup", "logs", "partial"]).done();
    assert!(
        log.stdout.contains("secrets") && log.stdout.contains("forbidden"),
        "{log}"
    );
    // A hole is not a deletion.
    let diff = place.ark.run(&["backup", "diff", "whole", "partial"]);
    assert!(!diff.stdout.contains("- secrets"), "{diff}");
    // May write nothing: every object of a restore fails, and that is told by the exit code.
    api.delete("/api/v1/namespaces/default/secrets/shared")
        .await
        .unwrap();
    let refused = limited.run(&[
        "restore",
        "create",
        "refused",
        "--from-backup",
        "whole",
        "--include-resources",
        "secrets",
    ]);
    assert!([Some(1), Some(3)].contains(&refused.code), "{refused}");
    assert!(refused.stderr.contains("forbidden"), "{refused}");

    for (arguments, code, words) in [
        (
            &["backup", "create", "whole"][..],
            1,
            "a backup named whole exists already",
        ),
        (
            &["backup", "create", "Whole"],
            2,
            "\"Whole\" is not a name for a backup",
        ),
        (
            &["backup", "create", "x", "-l", "a in b"],
            2,
            "the selector \"a in b\" does not parse",
        ),
        (
            &["backup", "create", "x", "--include-resources", "gadgets"],
            2,
            "gadgets",
        ),
        (
            &["backup", "create", "x", "--exclude-resources", "gadgets"],
            2,
            "gadgets",
        ),
        (
            &[
                "backup",
                "create",
                "x",
                "--include-namespaces",
                "a",
                "--exclude-namespaces",
                "a",
            ],
            2,
            "a",
        ),
        (
            &[
                "restore",
                "create",
                "whole",
                "--include-resources",
                "gadgets",
            ],
            2,
            "gadgets",
        ),
        (
            &[
                "restore",
                "create",
                "whole",
                "--namespace-mappings",
                "default:Bad_Name",
            ],
            2,
            "Bad_Name",
        ),
        (
            &["restore", "create", "refused", "--from-backup", "whole"],
            2,
            "a restore named refused exists already",
        ),
        (
            &["restore", "create", "missing"],
            1,
            "there is no backup \"missing\"",
        ),
        (&["backup", "ls", "whole", "gadgets"], 1, "gadgets"),
        (
            &["backup", "cat", "whole", "secrets", "default/none"],
            1,
            "default/none",
        ),
    ] {
        place.ark.run(arguments).refuses(code, &[words]);
    }
    place.assert_sound();
    assert_eq!(place.backups(), ["partial", "whole"]);
    assert_eq!(place.content("whole"), content);
    // What was refused left no name taken and nothing to wait for.
    place.backup("x");
    place.ark.run(&["prune"]).done();
    place.assert_no_garbage().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_versions_that_do_not_fit_are_told_apart() {
    let nowhere = tempfile::tempdir().unwrap();
    let place = Place::folder(&nowhere.path().join("kubeconfig"));
    let get = ["backup", "get"];
    std::fs::write(place.ark.home().join("other"), "ab".repeat(32)).unwrap();
    let other = place.ark.with("ARK_KEY_FILE", "other");
    other
        .run(&get)
        .refuses(5, &["the key does not open the repository"]);
    let elsewhere = open_with(&ark(), &place.url);
    elsewhere
        .run(&get)
        .exits(5)
        .says(&["cannot read the key file"]);

    let phrase = place
        .ark
        .with("ARK_KEY_FILE", "")
        .with("ARK_PASSPHRASE", "correct horse");
    phrase
        .run(&get)
        .refuses(5, &["has no key slot for a passphrase"]);
    std::fs::write(place.ark.home().join("phrase"), "battery staple\n").unwrap();
    place
        .ark
        .run(&["repo", "keys", "add", "--new-passphrase-file", "phrase"])
        .done();
    phrase
        .run(&get)
        .refuses(5, &["the passphrase does not open the repository"]);
    phrase
        .with("ARK_PASSPHRASE", "battery staple")
        .run(&get)
        .done();

    // A version and features of a later ark. It would have written a right MAC.
    let path = place.root().unwrap().join("ark.json");
    let original = std::fs::read(&path).unwrap();
    let later = |edit: fn(&mut Value)| {
        let config = Config::decode(&original).unwrap();
        let mut settings = json!(config.unauthenticated());
        edit(&mut settings);
        let raw = serde_json::to_vec(&settings).unwrap();
        let mac = blake3_mac(&place, &raw);
        [
            b"{\"settings\":",
            &raw[..],
            b",\"mac\":\"",
            mac.as_bytes(),
            b"\"}\n",
        ]
        .concat()
    };
    let every = [
        &get[..],
        &["verify"],
        &["prune", "--now"],
        &["repo", "info"],
    ];
    for (bytes, words, refused) in [
        (
            later(|s| s["version"] = json!(9)),
            "format version 9",
            &every[..],
        ),
        (
            later(|s| s["features"]["read"] = json!(["erasure-coding"])),
            "erasure-coding",
            &every,
        ),
        // Who cannot write it can still read it.
        (
            later(|s| s["features"]["write"] = json!(["parity"])),
            "parity",
            &[&["prune", "--now"]],
        ),
        // Nor who cannot prune it.
        (
            later(|s| s["features"]["prune"] = json!(["quantum"])),
            "quantum",
            &[&["prune", "--now"]],
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        for verb in every {
            let done = place.ark.run(verb);
            if refused.contains(&verb) {
                done.refuses(5, &[words, "hint: upgrade ark"]);
            } else {
                done.done();
            }
        }
    }
    // Settings that nobody with the key has written.
    let forged = String::from_utf8(original.clone()).unwrap().replace(
        "blake3-128\",\"chunks\":{\"min\":16384",
        "blake3-128\",\"chunks\":{\"min\":16385",
    );
    assert_ne!(forged.as_bytes(), original);
    std::fs::write(&path, forged).unwrap();
    place.ark.run(&get).refuses(4, &["ark.json is damaged"]);
    std::fs::write(&path, b"{}").unwrap();
    place.ark.run(&get).refuses(4, &["ark.json is damaged"]);
    std::fs::remove_file(&path).unwrap();
    place
        .ark
        .run(&get)
        .refuses(5, &["is not an ark repository"]);
    place
        .ark
        .run(&["repo", "init"])
        .refuses(1, &["is not empty"]);
    std::fs::write(&path, original).unwrap();
    place.assert_sound();
}

/// The MAC that who has the key puts on settings.
fn blake3_mac(place: &Place, raw: &[u8]) -> String {
    let root = place.root().unwrap();
    let settings: Settings = Config::decode(&std::fs::read(root.join("ark.json")).unwrap())
        .unwrap()
        .unauthenticated()
        .clone();
    let text = std::fs::read_to_string(place.ark.home().join("key")).unwrap();
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).unwrap();
    for entry in std::fs::read_dir(root.join("keys")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            continue;
        }
        let name = format!("keys/{}", entry.file_name().to_string_lossy());
        let bytes = std::fs::read(entry.path()).unwrap();
        let header = slot::SlotHeader::decode(&bytes).unwrap();
        let wrapping = slot::raw_wrapping_key(&key, &header.kdf_salt);
        if let Ok(document) = slot::unwrap(settings.cipher, settings.id, &name, &wrapping, &bytes) {
            let mac_key = document.keys.settings_mac_key();
            return blake3::keyed_hash(&mac_key, raw).to_hex().to_string();
        }
    }
    panic!("no slot opens");
}
