//! The pipeline, against a repository in memory and an apiserver that misbehaves.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use ark_engine::slots::Unlock;
use ark_engine::store::{Store, StoreOptions};
use ark_engine::write::BeginBackup;
use ark_engine::{BackupStatus, ClusterRef, Commit, Counts, Env, InitOptions, Repository, objects};

use super::*;
use crate::api::{BackupPhase, BackupSpec, Captured, ResourceEntry};
use crate::cluster::{Cluster, fake};

const RESOURCES: &[(&str, &str)] = &[
    ("configmaps", "ConfigMap"),
    ("namespaces", "Namespace"),
    ("pods", "Pod"),
    ("secrets", "Secret"),
];

/// A cluster whose lists are empty unless the handler has something to say.
async fn cluster(
    handler: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
) -> Cluster {
    fake::cluster(move |path| {
        fake::discovery(path, RESOURCES)
            .or_else(|| handler(path))
            .unwrap_or_else(|| fake::page(&[], None))
    })
    .await
}

async fn repository() -> Repository {
    let store = Store::open("memory:///", &StoreOptions::default()).unwrap();
    let unlock = Unlock::from_key_file(&[7; 32]).unwrap();
    Repository::init(store, Env::system(1).unwrap(), InitOptions { unlock })
        .await
        .unwrap()
        .repository
}

/// What a backup of the cluster holds: `resource namespace/name`, or `resource` and its state.
async fn back_up(cluster: &Cluster, spec: BackupSpec) -> (CaptureReport, Vec<String>) {
    let repository = repository().await;
    let cluster_ref = ClusterRef {
        id: cluster.id().to_owned(),
        name: cluster.name().to_owned(),
    };
    let begin = BeginBackup {
        name: "b".to_owned(),
        cluster: cluster_ref,
    };
    let session = repository.begin_backup(begin).await.unwrap();
    let plan = Arc::new(prepare(cluster, &spec).await.unwrap());
    let outcome = capture(cluster, &plan, &session, Arc::new(Silent))
        .await
        .unwrap();
    let root = outcome.root.unwrap();
    let commit = Commit {
        document: b"{}".to_vec(),
        datasets: vec![("objects".to_owned(), root)],
        counts: Counts::default(),
        status: BackupStatus::Completed,
        expires: None,
        log: outcome.report.log_text().into_bytes(),
    };
    session.commit(commit).await.unwrap();
    let reader = repository.reader().await.unwrap();
    let mut range = reader.map(root).range(&[], None);
    let mut held = Vec::new();
    while let Some((key, value)) = range.next().await.unwrap() {
        let key = objects::parse_key(&key).unwrap();
        let bytes = reader.read(&value).await.unwrap();
        held.push(if key.is_resource() {
            let entry = ResourceEntry::from_bytes(&bytes).unwrap();
            format!("{} {:?}", key.resource, entry.captured)
        } else {
            assert!(bytes.starts_with(b"{\"metadata\":"));
            key.to_string()
        });
    }
    (outcome.report, held)
}

#[tokio::test]
async fn everything_is_stored_in_key_order() {
    let cluster = cluster(|path| {
        Some(match path {
            "/api/v1/configmaps?limit=500" => fake::page(&[("a", "x"), ("a", "y")], Some("t=")),
            "/api/v1/configmaps?limit=500&continue=t%3D" => fake::page(&[("a-b", "x")], None),
            "/api/v1/namespaces?limit=500" => fake::page(&[("", "a"), ("", "a-b")], None),
            "/api/v1/secrets?limit=500" => fake::page(&[("a", "s"), ("b", "s")], None),
            _ => return None,
        })
    });
    // "a-b/x" sorts before "a/x": the second page is out of order, which is seen and put right.
    let (report, held) = back_up(&cluster.await, BackupSpec::default()).await;
    let expected = [
        "configmaps Yes",
        "configmaps a-b/x",
        "configmaps a/x",
        "configmaps a/y",
        "namespaces Yes",
        "namespaces a",
        "namespaces a-b",
        "pods Yes",
        "secrets Yes",
        "secrets a/s",
        "secrets b/s",
    ];
    assert_eq!(held, expected);
    assert_eq!(
        (report.phase(), report.objects, report.failed),
        (BackupPhase::Completed, 7, 0)
    );
    assert!(
        report
            .warnings()
            .any(|text| text.contains("configmaps is not listed in the order"))
    );
    assert!(report.requests.list >= 5 && report.requests.discover == 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_recorded_as_not_captured() {
    let cluster = cluster(|path| {
        Some(match path {
            "/api/v1/configmaps?limit=500" => fake::page(&[("a", "x")], Some("t")),
            "/api/v1/configmaps?limit=500&continue=t" => fake::refuse(400, "Broken", None),
            "/api/v1/secrets?limit=500" => fake::refuse(403, "Forbidden", None),
            "/api/v1/pods?limit=500" => fake::refuse(404, "NotFound", None),
            _ => return None,
        })
    });
    let (report, held) = back_up(&cluster.await, BackupSpec::default()).await;
    assert_eq!(
        held,
        [
            "configmaps Partial",
            "configmaps a/x",
            "namespaces Yes",
            "secrets No"
        ]
    );
    assert_eq!(
        (report.phase(), report.failed),
        (BackupPhase::PartiallyFailed, 2)
    );
    let errors: Vec<&str> = report.errors().collect();
    assert!(
        errors[0]
            .contains("configmaps: not completely captured: list /api/v1/configmaps: it is Broken"),
        "{errors:?}"
    );
    assert!(errors[1].contains("secrets: not captured"), "{errors:?}");
    assert!(
        report
            .warnings()
            .any(|text| text == "pods is not served any more")
    );
    assert_eq!(
        report
            .resources
            .iter()
            .map(|r| r.captured)
            .collect::<Vec<_>>(),
        [Captured::Partial, Captured::Yes, Captured::No]
    );
}

/// Twenty pages of long names: more than is held back before the resource's entry is written.
fn long_list(path: &str, last: impl Fn() -> (u16, String)) -> Option<(u16, String)> {
    let query = path.strip_prefix("/api/v1/configmaps?limit=500")?;
    let number: usize = query
        .strip_prefix("&continue=")
        .map_or(0, |token| token.parse().unwrap());
    if number == 20 {
        return Some(last());
    }
    let names: Vec<String> = (0..500)
        .map(|n| format!("{}-{:05}", "x".repeat(200), number * 500 + n))
        .collect();
    let names: Vec<(&str, &str)> = names.iter().map(|name| ("n", name.as_str())).collect();
    Some(fake::page(&names, Some(&(number + 1).to_string())))
}

#[tokio::test]
async fn a_long_list_that_fails_late_is_still_recorded_as_partial() {
    let cluster = cluster(|path| long_list(path, || fake::refuse(400, "Broken", None)));
    let (report, held) = back_up(&cluster.await, BackupSpec::default()).await;
    assert_eq!(held[0], "configmaps Partial");
    assert_eq!(
        (report.phase(), report.objects),
        (BackupPhase::PartiallyFailed, 10_000)
    );
    assert_eq!(held.len(), 10_000 + 4);
}

#[tokio::test]
async fn a_long_list_that_turns_out_unordered_is_sorted() {
    let cluster =
        cluster(|path| long_list(path, || fake::page(&[("a", "first"), ("n", "zzz")], None)));
    let (report, held) = back_up(&cluster.await, BackupSpec::default()).await;
    assert_eq!(held[..2], ["configmaps Yes", "configmaps a/first"]);
    assert_eq!(
        (report.phase(), report.objects),
        (BackupPhase::Completed, 10_002)
    );
    assert!(held.len() == 10_002 + 4 && report.warnings().count() == 1);
}

#[tokio::test]
async fn filtered_backups_pull_in_what_objects_refer_to() {
    let cluster = cluster(|path| {
        Some(match path {
            "/api/v1/namespaces?limit=500" => fake::page(&[("", "a"), ("", "b")], None),
            "/api/v1/namespaces/a/pods?limit=500" => fake::page(&[("a", "p")], None),
            "/api/v1/namespaces?fieldSelector=metadata.name%3Da&limit=500" => {
                fake::page(&[("", "a")], None)
            }
            _ => return None,
        })
    });
    let spec = BackupSpec {
        included_namespaces: vec!["a".to_owned()],
        included_resources: vec!["pods".to_owned()],
        ..BackupSpec::default()
    };
    let (report, held) = back_up(&cluster.await, spec).await;
    assert_eq!(
        held,
        ["namespaces Partial", "namespaces a", "pods Yes", "pods a/p"]
    );
    assert_eq!(
        (report.phase(), report.objects, report.failed),
        (BackupPhase::Completed, 2, 0)
    );
}

#[tokio::test]
async fn an_apiserver_that_no_longer_knows_us_stops_the_backup() {
    let cluster = cluster(|path| {
        path.starts_with("/api/v1/pods")
            .then(|| fake::refuse(401, "Unauthorized", None))
    })
    .await;
    let repository = repository().await;
    let cluster_ref = ClusterRef {
        id: cluster.id().to_owned(),
        name: String::new(),
    };
    let session = repository
        .begin_backup(BeginBackup {
            name: "b".to_owned(),
            cluster: cluster_ref,
        })
        .await
        .unwrap();
    let plan = Arc::new(prepare(&cluster, &BackupSpec::default()).await.unwrap());
    let error = capture(&cluster, &plan, &session, Arc::new(Silent))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Cluster(_)), "{error:?}");
    session.abort().await.unwrap();
}
