//! Two clusters that write to one repository: each sees the backups of the other, and judges none but its own.

use std::time::Duration;

use ark::api::labels::{BACKUP_ID, CLUSTER_ID, SCHEDULE_NAME};
use ark::api::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
    Restore, RestorePhase, Schedule,
};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::served::{QUICK, Served, annotation, object};

const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_write_to_one_repository() {
    let mut first = Served::start(&QUICK).await;
    usable(&mut first).await;
    a_schedule_keeps_what_it_says(&mut first).await;
    a_ttl_of_zero_is_none(&mut first).await;
    a_copy_of_an_object_is_a_backup_of_its_own(&mut first).await;
    a_request_is_about_one_object(&mut first).await;
    a_second_location_at_the_repository_is_refused(&mut first).await;

    let mut second = Served::beside(&first, &QUICK).await;
    let write = Patch::Merge(json!({ "spec": { "accessMode": "ReadWrite" } }));
    let locations: Api<BackupStorageLocation> = second.api();
    let parameters = PatchParams::default();
    locations
        .patch("default", &parameters, &write)
        .await
        .unwrap();
    usable(&mut second).await;
    a_schedule_of_one_name_is_not_the_others(&first, &mut second).await;
    names_are_each_clusters_own(&mut first, &mut second).await;
    first.stop();
    second.stop();
}

async fn usable(served: &mut Served) {
    served
        .until("default", "usable", |location: &BackupStorageLocation| {
            let status = location.status.as_ref();
            let synced = status.is_some_and(|status| status.last_synced_time.is_some());
            synced && status.and_then(|status| status.phase).is_some()
        })
        .await;
}

fn often(keep: u32) -> Value {
    json!({
        "schedule": "@every 1s",
        "template": { "includedNamespaces": ["default"] },
        "retention": { "keepLast": keep },
    })
}

/// Names of the Completed backups of the schedule `often` that this cluster has made, oldest first.
async fn made(served: &Served) -> Vec<String> {
    let backups: Api<Backup> = served.api();
    let of = ListParams::default().labels(&format!("{SCHEDULE_NAME}=often,!{CLUSTER_ID}"));
    let listed = backups.list(&of).await.unwrap();
    let mut names: Vec<String> = listed
        .iter()
        .filter(|backup| backup.phase() == BackupPhase::Completed)
        .map(ResourceExt::name_any)
        .collect();
    names.sort();
    names
}

/// Makes the schedule, lets it make some backups, and waits until it keeps so many.
async fn keeps(served: &mut Served, keep: u32) -> Vec<String> {
    let schedule: Schedule = served
        .create(object("Schedule", "often", often(keep)))
        .await;
    let made_at = schedule.creation_timestamp().unwrap().0;
    served
        .until("often", "at its fifth time", |schedule: &Schedule| {
            let last = schedule.status.as_ref().and_then(|s| s.last_backup.clone());
            last.is_some_and(|last| last.0.duration_since(made_at).as_secs() >= 5)
        })
        .await;
    let paused = Patch::Merge(json!({ "spec": { "paused": true } }));
    let schedules: Api<Schedule> = served.api();
    schedules
        .patch("often", &PatchParams::default(), &paused)
        .await
        .unwrap();
    // One may have been begun before it was paused: what is kept is what stays, and all that the repository has of the schedule.
    let settled = async {
        let mut same = 0;
        let mut before = Vec::new();
        loop {
            let names = made(served).await;
            let rows = names_in_repository(served).await;
            let stored = rows.iter().filter(|row| row.starts_with("often-")).count();
            let settled = names.len() == keep as usize && stored >= names.len();
            same = match settled && names == before {
                true => same + 1,
                false => 0,
            };
            if same == 5 {
                return names;
            }
            before = names;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, settled).await {
        Ok(names) => names,
        Err(_) => panic!("not {keep} are kept: {:?}", made(served).await),
    }
}

async fn a_schedule_keeps_what_it_says(served: &mut Served) {
    let kept = keeps(served, 2).await;
    let mut rows: Vec<String> = names_in_repository(served).await;
    rows.sort();
    assert_eq!(rows, kept);
}

async fn names_in_repository(served: &Served) -> Vec<String> {
    let rows = served.in_repository().await;
    rows.into_iter().map(|(name, _)| name).collect()
}

/// As Velero's clients write it.
async fn a_ttl_of_zero_is_none(served: &mut Served) {
    let spec = json!({ "includedNamespaces": ["default"], "ttl": "0s" });
    served.backup("zero", spec).await;
    let zero = served.finished_backup("zero").await;
    assert_eq!(zero.status.unwrap().expiration, None);
}

/// `kubectl get backup zero -o yaml | sed s/zero/copy/ | kubectl create -f -`.
async fn a_copy_of_an_object_is_a_backup_of_its_own(served: &mut Served) {
    let zero: Backup = served.api().get("zero").await.unwrap();
    let mut copy = object("Backup", "copy", json!(zero.spec));
    copy["metadata"]["annotations"] = json!(zero.annotations());
    copy["metadata"]["labels"] = json!(zero.labels());
    copy["status"] = json!(zero.status);
    served.create::<Backup>(copy).await;
    let copy = served.finished_backup("copy").await;
    let status = copy.status.clone().unwrap();
    assert_eq!(status.phase, BackupPhase::Completed, "{status:#?}");
    let ids = [annotation(&zero, BACKUP_ID), annotation(&copy, BACKUP_ID)];
    assert!(ids[0].is_some() && ids[1].is_some() && ids[0] != ids[1]);
    assert_eq!(status.backup_id.as_deref(), ids[1]);
}

async fn a_request_is_about_one_object(served: &mut Served) {
    let spec = json!({ "backupName": "copy", "backupUid": "of-an-earlier-one" });
    let request = object("DeleteBackupRequest", "late", spec);
    served.create::<DeleteBackupRequest>(request).await;
    let late = served
        .until("late", "refused", |request: &DeleteBackupRequest| {
            let status = request.status.as_ref();
            status.is_some_and(|status| status.phase == DeleteBackupRequestPhase::Processed)
        })
        .await;
    let errors = late.status.unwrap().errors;
    assert!(errors[0].contains("a later one of its name"), "{errors:?}");
    assert!(
        names_in_repository(served)
            .await
            .contains(&"copy".to_owned())
    );
}

async fn a_second_location_at_the_repository_is_refused(served: &mut Served) {
    let spec = json!({ "provider": "local", "objectStorage": { "bucket": served.root() } });
    let twin = object("BackupStorageLocation", "twin", spec);
    served.create::<BackupStorageLocation>(twin).await;
    let twin = served
        .until("twin", "refused", |location: &BackupStorageLocation| {
            let status = location.status.as_ref();
            status.is_some_and(|status| {
                let reasons = status.conditions.iter().map(|known| known.reason.as_str());
                reasons.into_iter().any(|reason| reason == "SameRepository")
            })
        })
        .await;
    let message = twin.status.unwrap().message.unwrap();
    assert!(
        message.contains("which the location default holds"),
        "{message}"
    );
}

async fn a_schedule_of_one_name_is_not_the_others(first: &Served, second: &mut Served) {
    let of_first = made(first).await;
    let seen = of_first.last().unwrap();
    second
        .until(seen, "synced", |backup: &Backup| {
            backup.phase() == BackupPhase::Completed
        })
        .await;
    // Those of the other cluster are not restored by the name of a schedule.
    let newest = object("Restore", "newest", json!({ "scheduleName": "often" }));
    second.create::<Restore>(newest).await;
    let refused = second
        .until("newest", "refused", |restore: &Restore| {
            let status = restore.status.as_ref();
            status.is_some_and(|status| status.phase == RestorePhase::FailedValidation)
        })
        .await;
    let errors = refused.status.unwrap().validation_errors;
    assert!(errors[0].contains("of another cluster"), "{errors:?}");
    // They are not counted, and none of them goes.
    let of_second = keeps(second, 1).await;
    assert_eq!(of_second.len(), 1);
    assert_eq!(made(first).await, of_first);
    let rows = names_in_repository(first).await;
    for name in of_first.iter().chain(&of_second) {
        assert!(rows.contains(name), "{name} is not in {rows:?}");
    }
}

async fn names_are_each_clusters_own(first: &mut Served, second: &mut Served) {
    let spec = || json!({ "includedNamespaces": ["default"] });
    first.backup("same", spec()).await;
    first.finished_backup("same").await;
    let theirs = second
        .until("same", "synced", |backup: &Backup| {
            backup.phase() == BackupPhase::Completed
        })
        .await;
    assert!(theirs.labels().contains_key(CLUSTER_ID), "{theirs:?}");
    let named = |names: &[String]| names.iter().filter(|name| *name == "same").count();
    assert_eq!(named(&names_in_repository(first).await), 1);
    // Who asks for it by its object means the other cluster's: that is allowed, and hits that one alone.
    first.backup("stays", spec()).await;
    first.finished_backup("stays").await;
    let request = object(
        "DeleteBackupRequest",
        "del",
        json!({ "backupName": "same" }),
    );
    second.create::<DeleteBackupRequest>(request).await;
    let waiting = async {
        while first
            .api::<Backup>()
            .get_opt("same")
            .await
            .unwrap()
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the object stays in the cluster that made the backup");
    let rows = names_in_repository(first).await;
    assert_eq!(named(&rows), 0);
    assert!(rows.contains(&"stays".to_owned()), "{rows:?}");
}
