//! Stores that are missing, closed, full, or somebody else's.

use std::path::{Path, PathBuf};
use std::process::Command;

use ark_testkit::{Api, ControlPlane, Minio};
use serde_json::{Value, json};

use crate::place::{ark, open_with, with_minio};

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_cannot_be_used_say_why() {
    let minio = Minio::start().await.unwrap();
    minio.create_bucket("backups").unwrap();
    let fresh = with_minio(&ark(), &minio);
    let at = |url: &str| open_with(&fresh, url);
    let init = ["repo", "init"];
    let get = ["backup", "get"];

    at("s3://missing/ark")
        .run(&init)
        .refuses(1, &["s3://missing/ark", "bucket"]);
    let good = at("s3://backups/good");
    good.run(&init).done();
    at("s3://missing/ark")
        .run(&get)
        .refuses(1, &["s3://missing/ark", "bucket"]);
    at("s3://backups/nothing")
        .run(&get)
        .refuses(5, &["is not an ark repository"]);

    let wrong = good.with("AWS_SECRET_ACCESS_KEY", "wrong");
    wrong.run(&get).refuses(
        1,
        &[
            "permission denied",
            "SignatureDoesNotMatch",
            "hint: the store does not accept these credentials",
        ],
    );
    let nobody = good.with("AWS_ACCESS_KEY_ID", "nobody");
    nobody
        .run(&get)
        .refuses(1, &["permission denied", "InvalidAccessKeyId"]);
    open_with(&wrong, "s3://backups/other")
        .run(&init)
        .refuses(1, &["permission denied"]);

    // Where Velero's backups are, and where somebody's photos are.
    let velero = at("s3://backups/velero");
    put(
        &velero_store(&minio, "s3://backups/velero"),
        "backups/nightly/velero-backup.json",
    )
    .await;
    velero.run(&init).refuses(
        1,
        &[
            "is not empty: it holds backups/nightly/velero-backup.json",
            "hint: this looks like a Velero location",
            "s3://backups/velero/ark",
        ],
    );
    put(
        &velero_store(&minio, "s3://backups/photos"),
        "2017/photo.jpg",
    )
    .await;
    at("s3://backups/photos")
        .run(&init)
        .refuses(1, &["is not empty: it holds 2017/photo.jpg"]);
    at("s3://backups/velero/ark").run(&init).done();

    good.run(&["verify", "--read-data"]).done();
    // Ends the server; its port is free now.
    drop(minio);
    let gone = good
        .run(&get)
        .refuses(1, &["cannot reach http://127.0.0.1:"]);
    assert!(gone.took.as_secs() < 60, "{gone}");
}

fn velero_store(minio: &Minio, url: &str) -> ark_engine::store::Store {
    let env = minio
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let options = ark_engine::store::StoreOptions {
        allow_http: true,
        env: env.collect(),
        ..Default::default()
    };
    ark_engine::store::Store::open(url, &options).unwrap()
}

async fn put(store: &ark_engine::store::Store, key: &str) {
    store.create(key, "not ark's".into()).await.unwrap();
}

/// A file system in memory, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with the reason on stderr, where this process may not mount.
    fn new(folder: &Path, size: &str) -> Option<Mounted> {
        let options = format!("size={size},mode=700");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "ark-test"])
            .arg(folder)
            .output();
        match output {
            Ok(output) if output.status.success() => Some(Mounted(folder.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                eprintln!("skipped: cannot mount a small disk: {}", why.trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: cannot run mount: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that was killed a moment ago may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_read_only_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(folder.path(), "20m") else {
        return;
    };
    let plane = ControlPlane::start_quiet().await.unwrap();
    let api = Api::connect(&plane.kubeconfig()).await.unwrap();
    let url = format!("file://{}/repository", folder.path().display());
    let ark = open_with(&ark(), &url).with("KUBECONFIG", plane.kubeconfig());
    ark.run(&["repo", "init"]).done();
    fill(&api, "early", 100_000).await;
    ark.run(&["backup", "create", "early"]).done();
    let content = ark
        .run(&[
            "backup",
            "cat",
            "early",
            "cm",
            "default/early",
            "-o",
            "json",
        ])
        .done()
        .stdout;
    let sound = || {
        let report = ark
            .run(&["verify", "--read-data", "-o", "json"])
            .done()
            .json();
        assert_eq!(report["damage"], json!([]), "{report:#}");
        report
    };
    sound();

    // Another program takes what is free.
    fill(&api, "late", 700_000).await;
    let filler = folder.path().join("filler");
    let free = free_bytes(folder.path());
    std::fs::write(&filler, vec![1; (free - (256 << 10)) as usize]).unwrap();
    let full = ark.run(&["backup", "create", "late"]);
    full.refuses(
        1,
        &[
            "no space left",
            "hint: free space on that disk",
            "nothing committed was lost",
        ],
    );
    std::fs::write(
        folder.path().join("filler-2"),
        vec![1; free_bytes(folder.path()) as usize],
    )
    .unwrap();
    for verb in [
        &["backup", "create", "later"][..],
        &["verify"],
        &["backup", "delete", "early", "--confirm"],
    ] {
        ark.run(verb).refuses(1, &["no space left"]);
    }
    // Looking needs no room.
    ark.run(&["backup", "get"]).done().says(&[]);
    assert_eq!(
        ark.run(&[
            "backup",
            "cat",
            "early",
            "cm",
            "default/early",
            "-o",
            "json"
        ])
        .done()
        .stdout,
        content
    );
    // The reserve lets a prune work, and take away what the failed backups left.
    ark.run(&["prune", "--now"]).done();
    std::fs::remove_file(folder.path().join("filler-2")).unwrap();
    std::fs::remove_file(&filler).unwrap();
    let report = sound();
    assert_eq!(report["unreferenced"], json!([]), "{report:#}");
    ark.run(&["prune", "--now"]).done();
    ark.run(&["backup", "create", "late"]).done();
    let report: Value = sound();
    assert_eq!(report["backups"], 2);

    disk.remount("ro");
    ark.run(&["backup", "create", "never"]).refuses(
        1,
        &[
            "permission denied",
            "hint: check the owner and mode of the folder, and that its disk is not read-only",
        ],
    );
    ark.run(&["prune"]).refuses(1, &["permission denied"]);
    let other = open_with(&ark, &format!("{url}-2"));
    other
        .run(&["repo", "init"])
        .refuses(1, &["permission denied"]);
    // Reading works.
    assert_eq!(
        ark.run(&[
            "backup",
            "cat",
            "early",
            "cm",
            "default/early",
            "-o",
            "json"
        ])
        .done()
        .stdout,
        content
    );
    sound();
    disk.remount("rw");
    sound();
}

fn free_bytes(folder: &Path) -> u64 {
    let output = Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(folder)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

/// A ConfigMap of this size that does not compress.
async fn fill(api: &Api, name: &str, bytes: usize) {
    let mut state = bytes as u64;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                [(state >> 58) as usize],
        )
    };
    let text: String = (0..bytes).map(|_| letter()).collect();
    let object = json!({"metadata": {"name": name}, "data": {"noise": text}});
    api.post("/api/v1/namespaces/default/configmaps", &object)
        .await
        .unwrap();
}
