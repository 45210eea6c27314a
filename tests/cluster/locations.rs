//! Locations, their repositories and keys; which replica works; what sync, deletion and expiry do to the objects and to the repository.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use ark::api::labels::{BACKUP_ID, CLUSTER_ID};
use ark::api::{
    Backup, BackupPhase, BackupRepository, BackupStorageLocation, Condition, DeleteBackupRequest,
    DeleteBackupRequestPhase, LocationPhase,
};
use ark_testkit::{Ark, Minio, MinioOptions, Running};
use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::place::{ark, open_with};
use crate::served::{QUICK, Served, annotation, object};

const PATIENCE: Duration = Duration::from_secs(120);

fn location(name: &str, spec: Value) -> Value {
    object("BackupStorageLocation", name, spec)
}

fn folder(path: &Path) -> Value {
    json!({ "provider": "local", "objectStorage": { "bucket": path } })
}

fn condition<'a>(location: &'a BackupStorageLocation, name: &str) -> Option<&'a Condition> {
    let status = location.status.as_ref()?;
    status.conditions.iter().find(|known| known.type_ == name)
}

async fn available(served: &mut Served, name: &str) -> BackupStorageLocation {
    served
        .until(name, "Available", |location: &BackupStorageLocation| {
            condition(location, "Available").is_some_and(|known| known.status == "True")
        })
        .await
}

/// Waits until the location cannot be used for this reason.
async fn refused(served: &mut Served, name: &str, reason: &str, words: &[&str]) {
    let refused = served
        .until(name, reason, |location: &BackupStorageLocation| {
            condition(location, "Available").is_some_and(|known| known.reason == reason)
        })
        .await;
    let status = refused.status.unwrap();
    assert_eq!(status.phase, Some(LocationPhase::Unavailable));
    let message = status.message.unwrap();
    for word in words {
        assert!(message.contains(word), "{word:?} is not in {message}");
    }
}

async fn gone<K>(served: &Served, name: &str)
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let waiting = await_condition(served.api::<K>(), name, |found: Option<&K>| found.is_none());
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{name} is still there"))
        .unwrap();
}

async fn secret(served: &Served, name: &str, key: &str, value: &[u8]) {
    let secrets: Api<Secret> = served.api();
    let secret = Secret {
        metadata: kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            ..Default::default()
        },
        data: Some([(key.to_owned(), ByteString(value.to_vec()))].into()),
        ..Default::default()
    };
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn locations_are_what_they_say_or_say_why_not() {
    let mut served = Served::start(&QUICK).await;
    a_new_location_gets_a_key_and_a_repository(&mut served).await;
    what_is_not_arks_is_left_alone(&mut served).await;
    keys_are_never_invented_for_what_is_there(&mut served).await;
    buckets_are_reached_with_the_credential_of_the_location(&mut served).await;
    served.stop();
}

async fn a_new_location_gets_a_key_and_a_repository(served: &mut Served) {
    let location = available(served, "default").await;
    let missing = condition(&location, "RecoveryMissing").unwrap();
    assert_eq!(missing.status, "True", "{missing:?}");
    assert!(
        missing.message.contains("ark-repository-key"),
        "{missing:?}"
    );
    let repository = served
        .until("default", "known", |repository: &BackupRepository| {
            repository
                .status
                .as_ref()
                .is_some_and(|status| status.epoch.is_some())
        })
        .await;
    assert_eq!(repository.metadata.owner_references.unwrap().len(), 1);
    let direct = served.direct().await;
    let info = direct.run(&["repo", "info", "-o", "json"]).done().json();
    assert_eq!(
        repository.status.unwrap().repository_id.as_deref(),
        info["id"].as_str()
    );
    let events = served.events(&location).await;
    assert!(
        events.contains(&"LocationAvailable".to_owned()),
        "{events:?}"
    );
    direct.run(&["repo", "keys", "recovery"]).done();
    served
        .until(
            "default",
            "recoverable",
            |location: &BackupStorageLocation| {
                condition(location, "RecoveryMissing").is_some_and(|known| known.status == "False")
            },
        )
        .await;
}

async fn what_is_not_arks_is_left_alone(served: &mut Served) {
    let velero = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(velero.path().join("backups/nightly")).unwrap();
    std::fs::write(
        velero.path().join("backups/nightly/velero-backup.json"),
        "{}",
    )
    .unwrap();
    let object = location("velero", folder(velero.path()));
    served.create::<BackupStorageLocation>(object).await;
    let words = ["velero-backup.json", "Velero", "/ark"];
    refused(served, "velero", "ForeignObjects", &words).await;
    assert_eq!(names(velero.path()), ["backups"]);

    let empty = tempfile::tempdir().unwrap();
    let mut spec = folder(empty.path());
    spec["accessMode"] = json!("ReadOnly");
    let object = location("empty", spec);
    served.create::<BackupStorageLocation>(object).await;
    refused(served, "empty", "KeyMissing", &["is ReadOnly"]).await;
    assert_eq!(names(empty.path()), Vec::<String>::new());

    let mut spec = folder(empty.path());
    spec["config"] = json!({ "s3Url": "http://minio" });
    let object = location("strange", spec);
    served.create::<BackupStorageLocation>(object).await;
    refused(served, "strange", "Invalid", &["spec.config.s3Url"]).await;
    assert_eq!(names(empty.path()), Vec::<String>::new());
}

async fn keys_are_never_invented_for_what_is_there(served: &mut Served) {
    let theirs = tempfile::tempdir().unwrap();
    let other = open_with(&ark(), &format!("file://{}", theirs.path().display()));
    other.run(&["repo", "init"]).done();
    let object = location("theirs", folder(theirs.path()));
    served.create::<BackupStorageLocation>(object).await;
    refused(
        served,
        "theirs",
        "WrongKey",
        &["does not open the repository"],
    )
    .await;

    let mut spec = folder(theirs.path());
    spec["repositoryKey"] = json!({ "name": "their-key", "key": "key" });
    let object = location("nearly", spec);
    served.create::<BackupStorageLocation>(object).await;
    let command = "kubectl -n heptio-ark create secret generic their-key --from-file=key=FILE";
    refused(served, "nearly", "KeyMissing", &[command]).await;
    let secrets: Api<Secret> = served.api();
    assert!(secrets.get_opt("their-key").await.unwrap().is_none());

    // With the key it opens, without anybody touching the location.
    let key = std::fs::read(key_file(&other)).unwrap();
    secret(served, "their-key", "key", &key).await;
    available(served, "nearly").await;
}

/// Where `open_with` has the key.
fn key_file(ark: &Ark) -> std::path::PathBuf {
    let command = ark.command(&[]);
    let mut variables = command.get_envs();
    let (_, value) = variables.find(|(name, _)| *name == "ARK_KEY_FILE").unwrap();
    ark.home().join(value.unwrap())
}

async fn buckets_are_reached_with_the_credential_of_the_location(served: &mut Served) {
    let minio = Minio::start_with(MinioOptions {
        tls: true,
        ..MinioOptions::default()
    })
    .await
    .unwrap();
    minio.create_bucket("backups").unwrap();
    let file = |password: &str| {
        format!(
            "[default]\naws_access_key_id = nobody\naws_secret_access_key = wrong\n\
             [minio]\naws_access_key_id = {}\naws_secret_access_key = {password}\n",
            minio.access_key()
        )
    };
    secret(
        served,
        "cloud",
        "cloud",
        file(minio.secret_key()).as_bytes(),
    )
    .await;
    let pem = std::fs::read(minio.ca_file().unwrap()).unwrap();
    let spec = json!({
        "provider": "aws",
        "objectStorage": { "bucket": "backups", "prefix": "prod", "caCert": ByteString(pem) },
        "credential": { "name": "cloud", "key": "cloud" },
        "config": {
            "region": "minio",
            "s3ForcePathStyle": "true",
            "s3Url": minio.endpoint(),
            "profile": "minio",
            "publicUrl": "https://minio.example",
        },
    });
    served
        .create::<BackupStorageLocation>(location("bucket", spec))
        .await;
    let bucket = available(served, "bucket").await;
    let notes = &condition(&bucket, "Available").unwrap().message;
    assert!(
        notes.contains("spec.config.publicUrl has no effect"),
        "{notes}"
    );

    // Another password: the repository that is open with the old one is not used any more.
    let secrets: Api<Secret> = served.api();
    let change =
        |password: &str| json!({ "data": { "cloud": ByteString(file(password).into_bytes()) } });
    let parameters = PatchParams::default();
    let patch = Patch::Merge(change("changed"));
    secrets.patch("cloud", &parameters, &patch).await.unwrap();
    refused(
        served,
        "bucket",
        "RepositoryUnusable",
        &["permission denied"],
    )
    .await;
    let patch = Patch::Merge(change(minio.secret_key()));
    secrets.patch("cloud", &parameters, &patch).await.unwrap();
    available(served, "bucket").await;
    secrets
        .delete("cloud", &DeleteParams::default())
        .await
        .unwrap();
    refused(served, "bucket", "CredentialMissing", &["the Secret cloud"]).await;
}

/// A replica beside the one of the fixture, and where its metrics are.
pub struct Replica {
    running: Option<Running>,
    port: u16,
}

impl Replica {
    pub fn start(served: &Served, arguments: &[&str]) -> Replica {
        // Free now; nobody else asks for that very port.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let own = [
            "server",
            "--lease-duration",
            "3s",
            "--metrics-address",
            &address,
            "--download-address",
            "127.0.0.1:0",
        ];
        let running = served.ark.start(&[&own[..], &QUICK, arguments].concat());
        Replica {
            running: Some(running),
            port,
        }
    }

    /// The answer to a GET, head and body.
    pub async fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: ark\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Asks until the answer is as wanted.
    pub async fn until(&self, path: &str, wanted: &str) -> String {
        let asking = async {
            loop {
                match self.ask(path).await {
                    Ok(answer) if answer.contains(wanted) => return answer,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => panic!("{wanted:?} is not at {path}: {:?}", self.ask(path).await),
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.kill();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_works_and_another_takes_over() {
    let mut served = Served::start(&QUICK).await;
    available(&mut served, "default").await;
    let mut other = Replica::start(&served, &[]);
    let ready = other.until("/readyz", "200 OK").await;
    assert!(ready.ends_with("ready\n"), "{ready}");
    let metrics = other.ask("/metrics").await.unwrap();
    assert!(metrics.contains("ark_leader 0"), "{metrics}");
    assert!(!metrics.contains("backup_location_name"), "{metrics}");

    served.kill();
    let wanted = "ark_backup_location_status_gauge{backup_location_name=\"default\"} 1";
    let metrics = other.until("/metrics", wanted).await;
    assert!(metrics.contains("ark_leader 1"), "{metrics}");
    assert!(metrics.contains("openmetrics-text"), "{metrics}");
    served
        .backup("after", json!({ "includedNamespaces": ["default"] }))
        .await;
    let backup = served.finished_backup("after").await;
    assert_eq!(backup.status.unwrap().phase, BackupPhase::Completed);
    let wanted = "ark_backup_success_total{schedule=\"\"} 1";
    other.until("/metrics", wanted).await;

    // Who leaves in good order gives the lease back: the next one need not wait for its end.
    let running = other.running.take().unwrap();
    running.interrupt();
    running
        .wait()
        .done()
        .says(&["gave the lease ark-server back"]);
    served.run();
    served
        .backup("again", json!({ "includedNamespaces": ["default"] }))
        .await;
    let backup = served.finished_backup("again").await;
    assert_eq!(backup.status.unwrap().phase, BackupPhase::Completed);

    // Who has lost the lease ends at once.
    let leases: Api<Lease> = served.api();
    let now = MicroTime(jiff::Timestamp::now());
    let taken = json!({ "spec": { "holderIdentity": "somebody", "renewTime": now } });
    let parameters = PatchParams::default();
    leases
        .patch("ark-server", &parameters, &Patch::Merge(taken))
        .await
        .unwrap();
    let words = ["the lease was lost: another replica may work now"];
    served.ended().refuses(1, &words);
    let lease = leases.get("ark-server").await.unwrap();
    let holder = lease.spec.unwrap().holder_identity;
    assert_eq!(holder.as_deref(), Some("somebody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_pruned_and_verified_and_damage_is_told() {
    let pace = ["--prune-frequency", "2s", "--verify-period", "30s"];
    let mut served = Served::start(&[&pace[..], &QUICK].concat()).await;
    let location = available(&mut served, "default").await;
    served
        .backup("one", json!({ "includedNamespaces": ["default"] }))
        .await;
    served.finished_backup("one").await;
    served
        .until("default", "kept up", |repository: &BackupRepository| {
            repository.status.as_ref().is_some_and(|status| {
                status.stored_bytes > Some(0)
                    && status.last_prune_time.is_some()
                    && status.last_verify_time.is_some()
            })
        })
        .await;
    let mut metrics = Replica::start(&served, &pace);
    // The other one takes over and goes on.
    served.stop();
    let location_of = "{backup_location_name=\"default\"}";
    let sound = format!("ark_verify_damaged_objects{location_of} 0");
    let shown = metrics.until("/metrics", &sound).await;
    assert!(shown.contains("ark_verify_last_timestamp"), "{shown}");
    metrics
        .until(
            "/metrics",
            &format!("ark_repo_maintenance_success_total{location_of}"),
        )
        .await;

    let mut packs = Vec::new();
    files(&served.root().join("packs"), &mut packs);
    assert!(!packs.is_empty());
    for pack in packs {
        let mut bytes = std::fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // Objects of a repository are written once: this one is put in the place of the old one.
        std::fs::remove_file(&pack).unwrap();
        std::fs::write(&pack, bytes).unwrap();
    }
    let told = async {
        loop {
            let events = served.events(&location).await;
            if events.contains(&"DamageFound".to_owned()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("no Event tells of the damage");
    let running = metrics.running.take().unwrap();
    running.interrupt();
    running.wait().done();

    // The damage is not forgotten by a server that has just begun, and verifies nothing for a day.
    let repositories: Api<BackupRepository> = served.api();
    let known = repositories.get("default").await.unwrap().status.unwrap();
    let damaged = known.damaged_objects.unwrap();
    assert!(damaged > 0);
    let later = Replica::start(&served, &["--prune-frequency", "2s"]);
    let line = format!("ark_verify_damaged_objects{location_of} {damaged}\n");
    later.until("/metrics", &line).await;
}

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_what_the_repository_holds() {
    let mut served = Served::start(&QUICK).await;
    available(&mut served, "default").await;
    served
        .backup("one", json!({ "includedNamespaces": ["default"] }))
        .await;
    let one = served.finished_backup("one").await;
    let direct = served.direct().await;
    let create = |name: &str| {
        let arguments = ["backup", "create", name, "--include-namespaces", "default"];
        direct.run(&arguments).done();
    };
    create("two");
    let in_order = |backup: &Backup| {
        let status = backup.status.as_ref();
        backup.annotations().contains_key(BACKUP_ID)
            && status.is_some_and(|status| status.phase == BackupPhase::Completed)
    };
    let two = served.until("two", "synced", in_order).await;
    assert_eq!(two.spec.storage_location.as_deref(), Some("default"));
    assert_eq!(two.labels().get(CLUSTER_ID), None);

    // Deleting an object deletes no data: it comes back.
    let backups: Api<Backup> = served.api();
    backups
        .delete("one", &DeleteParams::default())
        .await
        .unwrap();
    let uid = one.uid();
    let back = served
        .until("one", "back", |backup: &Backup| {
            backup.uid() != uid && in_order(backup)
        })
        .await;
    assert_eq!(annotation(&back, BACKUP_ID), annotation(&one, BACKUP_ID));
    assert_eq!(
        back.status.as_ref().unwrap().start_timestamp,
        one.status.as_ref().unwrap().start_timestamp
    );
    served
        .until("one", "back", |backup: &Backup| in_order(backup))
        .await;

    // Deleting a backup takes its object along.
    direct.run(&["backup", "delete", "two", "--confirm"]).done();
    gone::<Backup>(&served, "two").await;

    deletions_are_asked_for(&mut served).await;
    another_cluster_sees_and_leaves_alone(&mut served).await;
    what_has_expired_goes(&mut served).await;
    what_vanished_is_lost(&mut served).await;
    an_older_copy_is_told_while_the_server_runs(&mut served).await;
    an_emptied_bucket_is_no_fresh_start(&mut served).await;
    served.stop();
}

async fn deletions_are_asked_for(served: &mut Served) {
    let request = |name: &str, backup: &str| {
        object("DeleteBackupRequest", name, json!({ "backupName": backup }))
    };
    served
        .backup("three", json!({ "includedNamespaces": ["default"] }))
        .await;
    served.finished_backup("three").await;
    served
        .create::<DeleteBackupRequest>(request("del", "three"))
        .await;
    gone::<Backup>(served, "three").await;
    gone::<DeleteBackupRequest>(served, "del").await;
    let left = served.in_repository().await;
    assert!(left.iter().all(|(name, _)| name != "three"), "{left:?}");
    served
        .create::<DeleteBackupRequest>(request("none", "missing"))
        .await;
    let refused = served
        .until("none", "Processed", |request: &DeleteBackupRequest| {
            let status = request.status.as_ref();
            status.is_some_and(|status| status.phase == DeleteBackupRequestPhase::Processed)
        })
        .await;
    assert_eq!(
        refused.status.unwrap().errors,
        ["there is no Backup missing"]
    );
}

async fn another_cluster_sees_and_leaves_alone(served: &mut Served) {
    let mut other = Served::beside(served, &QUICK).await;
    available(&mut other, "default").await;
    let seen = other
        .until("one", "synced", |backup: &Backup| {
            backup
                .status
                .as_ref()
                .is_some_and(|status| status.phase == BackupPhase::Completed)
        })
        .await;
    assert!(seen.labels().contains_key(CLUSTER_ID), "{seen:?}");
    let request = object("DeleteBackupRequest", "no", json!({ "backupName": "one" }));
    other.create::<DeleteBackupRequest>(request).await;
    let refused = other
        .until("no", "refused", |request: &DeleteBackupRequest| {
            request
                .status
                .as_ref()
                .is_some_and(|status| !status.errors.is_empty())
        })
        .await;
    let errors = refused.status.unwrap().errors;
    assert!(errors[0].contains("is ReadOnly"), "{errors:?}");
    // Nothing can be written there, by a backup neither.
    other
        .backup("mine", json!({ "includedNamespaces": ["default"] }))
        .await;
    let mine = other
        .until("mine", "refused", |backup: &Backup| {
            let phase = backup.status.as_ref().map(|status| status.phase);
            phase.is_some_and(|phase| {
                matches!(phase, BackupPhase::FailedValidation | BackupPhase::Failed)
            })
        })
        .await;
    let status = format!("{:?}", mine.status);
    assert!(
        status.contains("ReadOnly") || status.contains("read-only"),
        "{status}"
    );
    other.stop();
}

async fn what_has_expired_goes(served: &mut Served) {
    served
        .backup(
            "short",
            json!({ "includedNamespaces": ["default"], "ttl": "3s" }),
        )
        .await;
    gone_after_it_was(served, "short").await;
    let left = served.in_repository().await;
    assert!(left.iter().all(|(name, _)| name != "short"), "{left:?}");
    assert!(left.iter().any(|(name, _)| name == "one"), "{left:?}");
}

/// Waits for the end of an object that may go at any moment.
async fn gone_after_it_was(served: &Served, name: &str) {
    gone::<Backup>(served, name).await;
}

async fn what_vanished_is_lost(served: &mut Served) {
    let one: Backup = served.api().get("one").await.unwrap();
    let id = annotation(&one, BACKUP_ID).unwrap().to_owned();
    let manifests = served.root().join("manifests");
    let manifest = names(&manifests)
        .into_iter()
        .find(|name| name.ends_with(&id))
        .unwrap();
    let away = served.root().with_file_name("away");
    std::fs::rename(manifests.join(&manifest), &away).unwrap();
    let lost = served
        .until("one", "Lost", |backup: &Backup| {
            backup
                .status
                .as_ref()
                .is_some_and(|status| status.phase == BackupPhase::Lost)
        })
        .await;
    let events = served.events(&lost).await;
    assert!(events.contains(&"BackupLost".to_owned()), "{events:?}");
    // Put back, it is what it was.
    std::fs::rename(&away, manifests.join(&manifest)).unwrap();
    served
        .until("one", "Completed", |backup: &Backup| {
            backup
                .status
                .as_ref()
                .is_some_and(|status| status.phase == BackupPhase::Completed)
        })
        .await;
}

/// The bucket is put back to an older state under a running server.
async fn an_older_copy_is_told_while_the_server_runs(served: &mut Served) {
    let older = served.root().with_file_name("older");
    copy(&served.root(), &older);
    served
        .backup("newer", json!({ "includedNamespaces": ["default"] }))
        .await;
    served.finished_backup("newer").await;
    let before: BackupRepository = served.api().get("default").await.unwrap();
    let before = before.status.unwrap().epoch;
    served.direct().await.run(&["prune"]).done();
    served
        .until("default", "at a newer epoch", |known: &BackupRepository| {
            known
                .status
                .as_ref()
                .is_some_and(|status| status.epoch > before)
        })
        .await;
    let newer = served.root().with_file_name("newer");
    empty_into(&served.root(), &newer);
    fill_from(&older, &served.root());
    refused(served, "default", "RolledBack", &["epoch"]).await;
    // Nothing follows from what an older copy does not hold.
    let kept: Backup = served.api().get("newer").await.unwrap();
    assert_eq!(kept.status.unwrap().phase, BackupPhase::Completed);
    empty_into(&served.root(), &older);
    fill_from(&newer, &served.root());
    available(served, "default").await;
}

/// Moves everything out of a folder. The folder stays: another one in its place would be told from it. The head goes first, so that nobody
/// takes what is left for all that there is.
fn empty_into(root: &Path, away: &Path) {
    std::fs::create_dir_all(away).unwrap();
    let mut entries = names(root);
    entries.sort_by_key(|name| name != "epochs");
    for name in entries {
        std::fs::rename(root.join(&name), away.join(&name)).unwrap();
    }
}

/// Moves everything into an empty folder, the head last.
fn fill_from(away: &Path, root: &Path) {
    let mut entries = names(away);
    entries.sort_by_key(|name| name == "epochs");
    for name in entries {
        std::fs::rename(away.join(&name), root.join(&name)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => std::fs::copy(&path, &target).map(|_| ()).unwrap(),
        }
    }
}

async fn an_emptied_bucket_is_no_fresh_start(served: &mut Served) {
    served.stop();
    let away = served.root().with_file_name("emptied");
    std::fs::rename(served.root(), &away).unwrap();
    std::fs::create_dir(served.root()).unwrap();
    served.run();
    let words = ["now holds nothing", "delete the BackupRepository default"];
    refused(served, "default", "RepositoryReplaced", &words).await;
    assert_eq!(names(&served.root()), Vec::<String>::new());
    let one: Backup = served.api().get("one").await.unwrap();
    assert_eq!(one.status.unwrap().phase, BackupPhase::Completed);
    // Put back, all is as it was.
    std::fs::remove_dir(served.root()).unwrap();
    std::fs::rename(&away, served.root()).unwrap();
    available(served, "default").await;
}
