//! Backups, restores and schedules as objects, made by the server: what users see, and what a server that is killed leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use ark::api::labels::{BACKUP_ID, RESTORE_NAME, SCHEDULE_NAME, STORAGE_LOCATION};
use ark::api::{
    Backup, BackupPhase, BackupStorageLocation, Restore, RestorePhase, Schedule, SchedulePhase,
    ServerStatusRequest,
};
use ark_testkit::{Dataset, DatasetSpec, load};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions::is_deleted};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::served::{Served, annotation, object};

pub async fn fill(served: &Served, namespace: &str, objects: usize) {
    served.namespace(namespace).await;
    let maps: Api<ConfigMap> = Api::namespaced(served.client.clone(), namespace);
    for number in 0..objects {
        let map = json!({
            "metadata": { "name": format!("map-{number:03}") },
            "data": { "number": number.to_string() },
        });
        let map = serde_json::from_value(map).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
}

pub async fn delete_namespace(served: &Served, namespace: &str) {
    let namespaces: Api<Namespace> = Api::all(served.client.clone());
    let uid = namespaces.get(namespace).await.unwrap().uid().unwrap();
    namespaces
        .delete(namespace, &DeleteParams::default())
        .await
        .unwrap();
    let gone = await_condition(namespaces, namespace, is_deleted(&uid));
    let gone = tokio::time::timeout(Duration::from_secs(120), gone).await;
    gone.expect("the namespace is not deleted").unwrap();
}

/// The uids of the configmaps of the dataset in a namespace by name.
async fn maps(served: &Served, namespace: &str) -> BTreeMap<String, String> {
    let maps: Api<ConfigMap> = Api::namespaced(served.client.clone(), namespace);
    let listed = maps.list(&ListParams::default()).await.unwrap();
    listed
        .items
        .into_iter()
        .filter(|map| map.name_any() != "kube-root-ca.crt")
        .map(|map| (map.name_any(), map.uid().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_ask_for_backups_and_restores() {
    let mut served = Served::start(&["--default-backup-ttl", "240h"]).await;
    fill(&served, "app", 5).await;
    a_backup_completes(&mut served).await;
    what_makes_no_sense_is_refused(&mut served).await;
    a_restore_completes(&mut served).await;
    what_is_canceled_ends(&mut served).await;
    a_name_that_is_taken_is_refused(&mut served).await;
    the_server_says_its_version(&mut served).await;
    served.stop();
}

async fn a_backup_completes(served: &mut Served) {
    served
        .backup("one", json!({ "includedNamespaces": ["app"] }))
        .await;
    let backup = served.finished_backup("one").await;
    let status = backup.status.clone().unwrap();
    assert_eq!(status.phase, BackupPhase::Completed, "{status:#?}");
    assert_eq!((status.warnings, status.errors), (0, 0));
    let progress = status.progress.unwrap();
    assert!(progress.items_backed_up >= 6, "{progress:?}");
    assert_eq!(progress.total_items, progress.items_backed_up);
    let (started, ended) = (
        status.start_timestamp.unwrap().0,
        status.completion_timestamp.unwrap().0,
    );
    assert!(started <= ended);
    let expires = status.expiration.unwrap().0;
    assert_eq!(expires.duration_since(started).as_hours(), 240);
    assert_eq!(backup.spec.storage_location.as_deref(), Some("default"));
    assert_eq!(backup.labels()[STORAGE_LOCATION], "default");
    let rows = served.in_repository().await;
    let id = annotation(&backup, BACKUP_ID).unwrap().to_owned();
    assert_eq!(rows, [("one".to_owned(), id)]);
    let events = served.events(&backup).await;
    assert!(events.contains(&"BackupCompleted".to_owned()), "{events:?}");
}

async fn what_makes_no_sense_is_refused(served: &mut Served) {
    for (name, spec, expected) in [
        (
            "no-resource",
            json!({ "includedResources": ["gizmos"] }),
            "gizmos",
        ),
        (
            "no-location",
            json!({ "storageLocation": "elsewhere" }),
            "there is no BackupStorageLocation elsewhere",
        ),
    ] {
        served.backup(name, spec).await;
        let backup: Backup = served
            .until(name, "refused", |backup: &Backup| {
                let status = backup.status.as_ref();
                status.is_some_and(|status| status.phase == BackupPhase::FailedValidation)
            })
            .await;
        let errors = backup.status.unwrap().validation_errors;
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{errors:?}"
        );
    }
    for (name, spec, expected) in [
        (
            "no-backup",
            json!({ "backupName": "none" }),
            "there is no Backup none",
        ),
        (
            "bad-backup",
            json!({ "backupName": "no-resource" }),
            "only one that is Completed or PartiallyFailed",
        ),
        (
            "no-schedule",
            json!({ "scheduleName": "none" }),
            "the schedule none has no Completed backup",
        ),
    ] {
        served.restore(name, spec).await;
        let restore: Restore = served
            .until(name, "refused", |restore: &Restore| {
                let status = restore.status.as_ref();
                status.is_some_and(|status| status.phase == RestorePhase::FailedValidation)
            })
            .await;
        let errors = restore.status.unwrap().validation_errors;
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{errors:?}"
        );
    }
}

async fn a_restore_completes(served: &mut Served) {
    delete_namespace(served, "app").await;
    served.restore("back", json!({ "backupName": "one" })).await;
    let restore = served.finished_restore("back").await;
    let status = restore.status.clone().unwrap();
    assert_eq!(status.phase, RestorePhase::Completed, "{status:#?}");
    assert_eq!((status.warnings, status.errors), (0, 0));
    assert_eq!(status.backup_name.as_deref(), Some("one"));
    assert_eq!(maps(served, "app").await.len(), 5);
    let events = served.events(&restore).await;
    assert!(
        events.contains(&"RestoreCompleted".to_owned()),
        "{events:?}"
    );
    // What direct mode shows is the same restore.
    let direct = served.direct().await;
    let shown = direct.run(&["restore", "get", "-o", "json"]).done().json();
    assert_eq!(shown["items"][0]["metadata"]["name"], "back", "{shown:#}");
    assert_eq!(
        shown["items"][0]["status"]["phase"], "Completed",
        "{shown:#}"
    );
}

async fn what_is_canceled_ends(served: &mut Served) {
    served.backup("unwanted", json!({ "cancel": true })).await;
    served
        .until("unwanted", "Canceled", |backup: &Backup| {
            let status = backup.status.as_ref();
            status.is_some_and(|status| status.phase == BackupPhase::Canceled)
        })
        .await;
    let unwanted = json!({ "backupName": "one", "cancel": true });
    served.restore("unwanted", unwanted).await;
    served
        .until("unwanted", "Canceled", |restore: &Restore| {
            let status = restore.status.as_ref();
            status.is_some_and(|status| status.phase == RestorePhase::Canceled)
        })
        .await;
    assert_eq!(served.in_repository().await.len(), 1);
}

async fn a_name_that_is_taken_is_refused(served: &mut Served) {
    // By a backup that was made without the server: an object of that name cannot stand for it.
    let direct = served.direct().await;
    let create = ["backup", "create", "direct", "--include-namespaces", "app"];
    direct.run(&create).done();
    let backups: Api<Backup> = served.api();
    // The server may have made an object for it by now: then the name is taken already.
    let made = object(
        "Backup",
        "direct",
        json!({ "includedNamespaces": ["default"] }),
    );
    let made = serde_json::from_value(made).unwrap();
    match backups.create(&PostParams::default(), &made).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.reason, "AlreadyExists"),
        Err(error) => panic!("{error}"),
        Ok(_) => {
            let refused: Backup = served
                .until("direct", "refused", |backup: &Backup| {
                    let status = backup.status.as_ref();
                    status.is_some_and(|status| status.phase == BackupPhase::FailedValidation)
                })
                .await;
            let errors = refused.status.unwrap().validation_errors;
            assert!(
                errors[0].contains("has another backup named direct"),
                "{errors:?}"
            );
        }
    }
}

async fn the_server_says_its_version(served: &mut Served) {
    let request = object("ServerStatusRequest", "version", json!({}));
    served.create::<ServerStatusRequest>(request).await;
    let answer: ServerStatusRequest = served
        .until("version", "answered", |request: &ServerStatusRequest| {
            request.status.is_some()
        })
        .await;
    let version = answer.status.unwrap().server_version;
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_make_backups() {
    let mut served = Served::start(&[]).await;
    fill(&served, "app", 2).await;
    let wrong = object("Schedule", "wrong", json!({ "schedule": "at noon" }));
    served.create::<Schedule>(wrong).await;
    let spec = json!({
        "schedule": "@every 2s",
        "template": { "includedNamespaces": ["app"], "ttl": "24h" },
    });
    served
        .create::<Schedule>(object("Schedule", "often", spec))
        .await;
    let refused: Schedule = served
        .until("wrong", "refused", |schedule: &Schedule| {
            let status = schedule.status.as_ref();
            status.is_some_and(|status| status.phase == SchedulePhase::FailedValidation)
        })
        .await;
    let errors = refused.status.unwrap().validation_errors;
    assert!(errors[0].contains("not a cron expression"), "{errors:?}");
    let first = first_backup(&mut served, "often").await;
    // Further ones follow by themselves.
    let later: Schedule = served
        .until("often", "at a later backup", |schedule: &Schedule| {
            let last = schedule.status.as_ref().and_then(|s| s.last_backup.clone());
            last.is_some_and(|last| last.0.duration_since(first).as_secs() >= 4)
        })
        .await;
    let patch = Patch::Merge(json!({ "spec": { "paused": true } }));
    let schedules: Api<Schedule> = served.api();
    schedules
        .patch("often", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let last = later.status.unwrap().last_backup.unwrap();
    let newest = ark::server::controllers::schedule::backup_name("often", last.0);
    let backup = served.finished_backup(&newest).await;
    assert_eq!(backup.status.clone().unwrap().phase, BackupPhase::Completed);
    assert_eq!(backup.labels()[SCHEDULE_NAME], "often");
    assert_eq!(backup.spec.ttl.unwrap().seconds(), 24 * 3600);
    // Each time has one backup, and each backup its own time.
    let of_schedule = ListParams::default().labels(&format!("{SCHEDULE_NAME}=often"));
    let backups: Api<Backup> = served.api();
    for backup in backups.list(&of_schedule).await.unwrap() {
        served.finished_backup(&backup.name_any()).await;
    }
    let mut objects: Vec<String> = backups
        .list(&of_schedule)
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    objects.sort();
    assert!(objects.len() >= 2, "{objects:?}");
    let rows = served.in_repository().await;
    let mut rows: Vec<String> = rows.into_iter().map(|(name, _)| name).collect();
    rows.sort();
    assert_eq!(rows, objects);
    // The newest of them can be asked for by the schedule's name.
    delete_namespace(&served, "app").await;
    served
        .restore("again", json!({ "scheduleName": "often" }))
        .await;
    let restore = served.finished_restore("again").await;
    let status = restore.status.unwrap();
    assert_eq!(status.phase, RestorePhase::Completed, "{status:#?}");
    assert_eq!(status.backup_name, objects.last().cloned());
    assert_eq!(maps(&served, "app").await.len(), 2);
    served.stop();
}

async fn first_backup(served: &mut Served, schedule: &str) -> jiff::Timestamp {
    let with: Schedule = served
        .until(schedule, "at its first backup", |schedule: &Schedule| {
            let status = schedule.status.as_ref();
            status.is_some_and(|status| status.last_backup.is_some())
        })
        .await;
    with.status.unwrap().last_backup.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_finishes_everything_once() {
    let mut served = Served::start(&["--concurrent-backups", "1"]).await;
    let data = Dataset::new(&DatasetSpec {
        objects: 1500,
        ..DatasetSpec::default()
    });
    let api = ark_testkit::Api::connect(&served.plane.kubeconfig())
        .await
        .unwrap();
    load(&api, &data).await.unwrap();
    fill(&served, "app", 400).await;
    killed_while_it_makes_a_backup(&mut served).await;
    killed_between_commit_and_status(&mut served).await;
    canceled_while_it_is_made(&mut served).await;
    nobody_was_held_up(&mut served).await;
    killed_while_it_restores(&mut served).await;
    served.stop();
    let report = served
        .direct()
        .await
        .run(&["verify", "--read-data", "-o", "json"])
        .done()
        .json();
    assert_eq!(report["damage"], json!([]), "{report:#}");
}

async fn killed_while_it_makes_a_backup(served: &mut Served) {
    for round in 0..2 {
        let name = format!("killed-{round}");
        served.backup(&name, json!({})).await;
        served
            .until(&name, "begun", |backup: &Backup| {
                let status = backup.status.as_ref();
                status.is_some_and(|status| status.phase == BackupPhase::InProgress)
            })
            .await;
        match round {
            0 => served.kill(),
            // In good order, and in the middle all the same.
            _ => served.stop(),
        }
        let begun: Backup = served.api().get(&name).await.unwrap();
        let begun = begun.status.unwrap();
        assert_eq!(begun.phase, BackupPhase::InProgress, "it was too fast");
        served.run();
        let backup = served.finished_backup(&name).await;
        let status = backup.status.clone().unwrap();
        assert_eq!(status.phase, BackupPhase::Completed, "{status:#?}");
        assert_eq!(status.start_timestamp, begun.start_timestamp);
        let rows = served.in_repository().await;
        let id = annotation(&backup, BACKUP_ID).unwrap().to_owned();
        let of_name: Vec<_> = rows.iter().filter(|(row, _)| *row == name).collect();
        assert_eq!(of_name, [&(name, id)]);
    }
}

/// A backup that was begun, and whose location holds what is somebody else's by now: it waits until that is put right.
async fn one_whose_location_is_away(served: &Served) {
    let foreign = served.root().with_file_name("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("file"), "not ark's").unwrap();
    let spec = json!({ "provider": "local", "objectStorage": { "bucket": foreign } });
    let location = object("BackupStorageLocation", "foreign", spec);
    served.create::<BackupStorageLocation>(location).await;
    served
        .backup("waiting", json!({ "storageLocation": "foreign" }))
        .await;
    let status = json!({ "status": {
        "phase": "InProgress", "startTimestamp": "2026-01-01T00:00:00Z",
    } });
    let backups: Api<Backup> = served.api();
    backups
        .patch_status("waiting", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

/// One backup may be made at a time, and others were made while it waited. It can be canceled all the same.
async fn nobody_was_held_up(served: &mut Served) {
    let backups: Api<Backup> = served.api();
    let waiting = backups.get("waiting").await.unwrap();
    assert_eq!(waiting.status.unwrap().phase, BackupPhase::InProgress);
    let cancel = Patch::Merge(json!({ "spec": { "cancel": true } }));
    backups
        .patch("waiting", &PatchParams::default(), &cancel)
        .await
        .unwrap();
    let waiting = served.finished_backup("waiting").await;
    assert_eq!(waiting.status.unwrap().phase, BackupPhase::Canceled);
}

async fn canceled_while_it_is_made(served: &mut Served) {
    served.backup("canceled", json!({})).await;
    served
        .until("canceled", "begun", |backup: &Backup| {
            let status = backup.status.as_ref();
            status.is_some_and(|status| status.phase == BackupPhase::InProgress)
        })
        .await;
    let backups: Api<Backup> = served.api();
    let cancel = Patch::Merge(json!({ "spec": { "cancel": true } }));
    backups
        .patch("canceled", &PatchParams::default(), &cancel)
        .await
        .unwrap();
    let backup = served.finished_backup("canceled").await;
    let status = backup.status.clone().unwrap();
    assert_eq!(status.phase, BackupPhase::Canceled, "{status:#?}");
    assert_eq!(annotation(&backup, BACKUP_ID), None);
    let rows = served.in_repository().await;
    assert!(!rows.iter().any(|(name, _)| name == "canceled"), "{rows:?}");
}

/// The commit is there and nobody has written so.
async fn killed_between_commit_and_status(served: &mut Served) {
    served.kill();
    let name = "killed-1";
    let backups: Api<Backup> = served.api();
    let before = backups.get(name).await.unwrap();
    let status = json!({ "status": {
        "phase": "InProgress", "completionTimestamp": null, "progress": null,
    } });
    let params = PatchParams::default();
    backups
        .patch_status(name, &params, &Patch::Merge(status))
        .await
        .unwrap();
    let metadata = json!({ "metadata": { "annotations": { (BACKUP_ID): null } } });
    backups
        .patch(name, &params, &Patch::Merge(metadata))
        .await
        .unwrap();
    let rows = served.in_repository().await;
    one_whose_location_is_away(served).await;
    served.run();
    let after = served.finished_backup(name).await;
    assert_eq!(after.status, before.status);
    assert_eq!(
        annotation(&after, BACKUP_ID),
        annotation(&before, BACKUP_ID)
    );
    assert_eq!(served.in_repository().await, rows);
}

async fn killed_while_it_restores(served: &mut Served) {
    let original = maps(served, "app").await;
    let spec = json!({
        "backupName": "killed-0",
        "includedNamespaces": ["app"],
        "namespaceMapping": { "app": "copy" },
    });
    served.restore("killed", spec).await;
    // Some objects are there, and not all.
    let copies: Api<ConfigMap> = Api::namespaced(served.client.clone(), "copy");
    let some = await_condition(copies, "map-100", |map: Option<&ConfigMap>| map.is_some());
    let some = tokio::time::timeout(Duration::from_secs(120), some).await;
    some.expect("nothing is restored").unwrap();
    served.kill();
    let first = maps(served, "copy").await;
    assert!(
        !first.is_empty() && first.len() < original.len(),
        "{}",
        first.len()
    );
    let begun: Restore = served.api().get("killed").await.unwrap();
    assert_eq!(
        begun.status.clone().unwrap().phase,
        RestorePhase::InProgress
    );
    served.run();
    let restore = served.finished_restore("killed").await;
    let status = restore.status.unwrap();
    assert_eq!(status.phase, RestorePhase::Completed, "{status:#?}");
    assert_eq!((status.warnings, status.errors), (0, 0), "{status:#?}");
    assert_eq!(
        status.start_timestamp,
        begun.status.unwrap().start_timestamp
    );
    // Everything is there, and nothing was made twice.
    let after = maps(served, "copy").await;
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        original.keys().collect::<Vec<_>>()
    );
    for (name, uid) in &first {
        assert_eq!(after.get(name), Some(uid), "{name} was made again");
    }
    let copies: Api<ConfigMap> = Api::namespaced(served.client.clone(), "copy");
    let marked = ListParams::default().labels(&format!("{RESTORE_NAME}=killed"));
    assert_eq!(
        copies.list(&marked).await.unwrap().items.len(),
        original.len()
    );
}
