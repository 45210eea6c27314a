//! Restores through the server.

use ark::api::BackupStorageLocation;
use ark_testkit::Ran;
use serde_json::json;

use super::cells;
use crate::operations::{delete_namespace, fill};
use crate::served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn restores_through_the_server() {
    let mut served = Served::start(&[]).await;
    fill(&served, "app", 5).await;
    let ark = served.ark.clone();
    // A server that has just begun is waited for.
    let location = |location: &BackupStorageLocation| location.status.is_some();
    served.until("default", "checked", location).await;
    let line = [
        "backup",
        "create",
        "one",
        "--include-namespaces",
        "app",
        "--wait",
    ];
    ark.run(&line).done();
    delete_namespace(&served, "app").await;
    let ran = ark.run(&[
        "restore",
        "create",
        "back",
        "--from-backup",
        "one",
        "--wait",
    ]);
    let ran = ran.done();
    let summary = "restore.ark.heptio.com/back Completed: ";
    assert!(ran.stdout.starts_with(summary), "{ran}");
    assert!(ran.stdout.contains("0 warnings, 0 errors"), "{ran}");
    // A lone name is the backup's; what is there and the same is no warning.
    let line = [
        "create",
        "restore",
        "one",
        "--namespace-mappings",
        "app:copy",
        "--wait",
    ];
    let ran = ark.run(&[&line[..], &["-o", "json"]].concat()).done();
    let copy = ran.json();
    assert_eq!(copy["spec"]["namespaceMapping"], json!({ "app": "copy" }));
    let name = copy["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("one-2"), "{name}");
    let direct = served.direct().await;
    let by_name = |ran: &Ran| {
        let mut rows = cells(ran, &["CREATED"]);
        rows[1..].sort();
        rows
    };
    let (shown, expected) = (
        ark.run(&["restore", "get"]),
        direct.run(&["restore", "get"]),
    );
    let shown = by_name(&shown.done());
    assert_eq!(shown, by_name(&expected.done()));
    let columns = ["NAME", "BACKUP", "STATUS", "WARNINGS", "ERRORS", "SELECTOR"];
    assert_eq!(shown[0], columns);
    assert_eq!(shown[1], ["back", "one", "Completed", "0", "0", "<none>"]);
    let described = ark
        .run(&["restore", "describe", "back", &name])
        .done()
        .stdout;
    for expected in [
        "Backup:               one",
        "Namespace mappings:   app=copy",
    ] {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let found = described.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words == expected
        });
        assert!(found, "{expected:?}: {described}");
    }
    let ran = ark.run(&[
        "restore",
        "create",
        "back",
        "--from-backup",
        "one",
        "--wait",
    ]);
    ran.refuses(1, &["a Restore \"back\" exists already"]);
    let ran = ark.run(&["restore", "create", "x", "--from-backup", "none"]);
    ran.refuses(1, &["there is no Backup \"none\""]);
    let ran = ark.run(&[
        "restore",
        "create",
        "x",
        "--from-schedule",
        "none",
        "--wait",
    ]);
    ran.exits(2)
        .says(&["the schedule none has no Completed backup"]);
    let ran = ark.run(&["restore", "create", "one", "--dry-run"]);
    ran.refuses(2, &["--dry-run needs the repository itself"]);
    let ran = ark.run(&["restore", "cancel", "back"]).exits(1);
    ran.says(&["it has ended (Completed)"]);
    a_restore_is_canceled(&mut served).await;
    let ran = ark.run(&["restore", "delete", "back"]);
    ran.refuses(2, &["delete the restore back", "--confirm"]);
    let ran = ark.run(&["delete", "restore", "back", "--confirm"]).done();
    assert_eq!(ran.stdout, "restore.ark.heptio.com/back deleted\n");
    ark.run(&["restore", "delete", "--all", "--confirm"]).done();
    let ran = ark.run(&["restore", "get"]).done();
    ran.says(&["no restores found"]);
    // Only the objects went.
    let kept = direct.run(&["restore", "get", "back", "-o", "name"]).done();
    assert_eq!(kept.stdout, "restore.ark.heptio.com/back\n");
    served.stop();
}

/// One that no server has taken up yet.
async fn a_restore_is_canceled(served: &mut Served) {
    served.stop();
    served.restore("late", json!({ "backupName": "one" })).await;
    let ark = served.ark.clone();
    let ran = ark
        .run(&["restore", "delete", "late", "--confirm"])
        .exits(1);
    ran.says(&["the restore late is under way"]);
    let ran = ark.run(&["restore", "cancel", "late"]).done();
    assert_eq!(
        ran.stdout,
        "restore.ark.heptio.com/late is being canceled\n"
    );
    let waiting = ark.start(&["restore", "cancel", "late", "--wait"]);
    served.run();
    let ran = waiting.wait().done();
    assert_eq!(ran.stdout, "restore.ark.heptio.com/late Canceled\n");
}
