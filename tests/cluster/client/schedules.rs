//! Schedules and locations through the server.

use ark::api::{BackupStorageLocation, Schedule, SchedulePhase};
use ark_testkit::Ark;
use serde_json::json;

use super::cells;
use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn schedules_through_the_server() {
    let mut served = Served::start(&[]).await;
    let ark = served.ark.clone();
    let location = |location: &BackupStorageLocation| location.status.is_some();
    served.until("default", "checked", location).await;
    let line = ["schedule", "create", "wrong", "--schedule", "0 25 * * *"];
    let ran = ark.run(&line);
    ran.refuses(2, &["the schedule \"0 25 * * *\" is not a cron expression"]);
    let line = [
        "schedule",
        "create",
        "wrong",
        "--schedule",
        "@daily",
        "--time-zone",
        "Nowhere",
    ];
    ark.run(&line)
        .refuses(2, &["\"Nowhere\" is not a time zone"]);
    let ran = ark.run(&["schedule", "get"]).done();
    assert_eq!(ran.says(&["no schedules found"]).stdout, "");
    let line = [
        "create",
        "schedule",
        "often",
        "--schedule",
        "@every 1s",
        "--include-namespaces",
        "default",
        "--include-resources",
        "configmaps",
        "--keep-last",
        "2",
        "--keep-daily",
        "7",
        "--labels",
        "team=a",
        "--paused",
        "--skip-immediately",
    ];
    let ran = ark.run(&line).done();
    assert_eq!(ran.stdout, "schedule.ark.heptio.com/often created\n");
    ran.says(&["it is paused: `ark schedule unpause often`"]);
    let line = [
        "schedule",
        "create",
        "nightly",
        "--schedule",
        "0 3 * * *",
        "--ttl",
        "24h",
    ];
    ark.run(&line).done().says(&["the first backup is due 20"]);
    served
        .until("often", "taken up", |schedule: &Schedule| {
            let status = schedule.status.as_ref();
            status.is_some_and(|status| status.phase == SchedulePhase::Enabled)
        })
        .await;
    let rows = cells(
        &ark.run(&["get", "schedules", "often"]).done(),
        &["CREATED"],
    );
    let columns = [
        "NAME",
        "STATUS",
        "SCHEDULE",
        "KEPT",
        "LAST BACKUP",
        "SELECTOR",
        "PAUSED",
    ];
    assert_eq!(rows[0], columns);
    assert_eq!(
        rows[1],
        [
            "often",
            "Enabled",
            "@every 1s",
            "last 2, daily 7",
            "<none>",
            "<none>",
            "true"
        ]
    );
    // As it makes them, and counted by its retention.
    let line = [
        "backup",
        "create",
        "by-hand",
        "--from-schedule",
        "often",
        "--wait",
        "-o",
        "json",
    ];
    let made = ark.run(&line).done().json();
    assert_eq!(made["spec"]["includedResources"], json!(["configmaps"]));
    assert_eq!(
        made["metadata"]["labels"]["ark.heptio.com/schedule-name"],
        "often"
    );
    assert_eq!(made["metadata"]["labels"]["team"], "a");
    let ran = ark.run(&["schedule", "unpause", "often", "nightly"]).done();
    assert_eq!(ran.stdout.matches(" unpaused\n").count(), 2, "{ran}");
    served
        .until("often", "at work", |schedule: &Schedule| {
            let status = schedule.status.as_ref();
            status.is_some_and(|status| status.last_backup.is_some())
        })
        .await;
    ark.run(&["schedule", "pause", "often"]).done();
    let described = ark.run(&["schedule", "describe", "often"]).done().stdout;
    for expected in [
        "Paused:",
        "Kept:",
        "Included resources:",
        "Last backup:",
        "Next backup:",
    ] {
        assert!(described.contains(expected), "{expected}: {described}");
    }
    let line = [
        "restore",
        "create",
        "--from-schedule",
        "often",
        "again",
        "--wait",
    ];
    ark.run(&line).done();
    let ran = ark.run(&["schedule", "pause", "often", "none"]);
    ran.refuses(1, &["there is no Schedule \"none\""]);
    let ran = served.direct().await.run(&["schedule", "get"]);
    ran.refuses(2, &["schedule needs ark's server"]);
    let ran = ark.run(&["schedule", "delete", "often"]);
    ran.refuses(2, &["delete the schedule often", "--confirm"]);
    let ran = ark
        .run(&["schedule", "delete", "--all", "--confirm"])
        .done();
    assert_eq!(ran.stdout.lines().count(), 2, "{ran}");
    // Its backups are no reason to keep it, nor it one to keep them.
    let kept = ark.run(&["backup", "get", "by-hand", "-o", "name"]).done();
    assert_eq!(kept.stdout, "backup.ark.heptio.com/by-hand\n");
    locations(&served, &ark);
    served.stop();
}

fn locations(served: &Served, ark: &Ark) {
    let shown = || {
        cells(
            &ark.run(&["backup-location", "get"]).done(),
            &["LAST VALIDATED"],
        )
    };
    let root = served.root().display().to_string();
    let first = ["default", "local", &root, "Available", "ReadWrite", "true"];
    let columns = [
        "NAME",
        "PROVIDER",
        "BUCKET/PREFIX",
        "PHASE",
        "ACCESS MODE",
        "DEFAULT",
    ];
    assert_eq!(shown(), [columns.to_vec(), first.to_vec()]);
    let folder = format!("{root}-2");
    let line = [
        "backup-location",
        "create",
        "second",
        "--provider",
        "local",
        "--bucket",
        &folder,
        "--default",
        "--wait",
    ];
    let ran = ark.run(&line).done();
    assert_eq!(
        ran.stdout,
        "backupstoragelocation.ark.heptio.com/second Available\n"
    );
    let defaults = |rows: &[Vec<String>]| -> Vec<String> {
        let chosen = rows.iter().filter(|row| row[5] == "true");
        chosen.map(|row| row[0].clone()).collect()
    };
    assert_eq!(defaults(&shown()), ["second"]);
    ark.run(&["backup-location", "set", "default", "--default"])
        .done();
    assert_eq!(defaults(&shown()), ["default"]);
    let line = [
        "set",
        "backup-location",
        "second",
        "--access-mode",
        "readonly",
    ];
    ark.run(&line).done();
    let described = ark
        .run(&["describe", "backup-location", "second"])
        .done()
        .stdout;
    for expected in [
        "ReadOnly",
        "ark-repository-key=key",
        "RecoveryMissing",
        &folder,
    ] {
        assert!(described.contains(expected), "{expected}: {described}");
    }
    let line = [
        "create",
        "backup-location",
        "bad",
        "--provider",
        "local",
        "--bucket",
        "x",
    ];
    ark.run(&line)
        .refuses(2, &["\"x\" is not an absolute path"]);
    let line = [
        "backup-location",
        "create",
        "bad",
        "--provider",
        "local",
        "--bucket",
        "/proc/x",
        "--wait",
    ];
    let ran = ark.run(&line).exits(1);
    assert_eq!(
        ran.stdout,
        "backupstoragelocation.ark.heptio.com/bad Unavailable\n"
    );
    ran.says(&["/proc/x"]);
    let ran = ark
        .run(&["backup-location", "delete", "bad", "second", "--confirm"])
        .done();
    assert_eq!(ran.stdout.matches(" deleted\n").count(), 2, "{ran}");
    assert_eq!(shown().len(), 2);
}
