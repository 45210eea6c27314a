//! `ark` without `--repo`: the verbs through the server's custom resources, and that they say what direct mode says.

mod restores;
mod schedules;

use std::sync::Arc;

use ark::api::{Backup, BackupPhase, BackupStorageLocation, LocationPhase};
use ark_testkit::{Ark, Ran};
use serde_json::{Value, json};

use crate::operations::fill;
use crate::served::Served;

/// A cluster with a server whose location can be used.
async fn ready() -> Served {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let served = Served::bare(folder, &[]).await;
    // Nothing of ark is there yet, and that is said.
    let get = served.ark.run(&["backup", "get"]);
    get.refuses(
        1,
        &["does not know ark's backups", "hint: install", "--repo"],
    );
    served.define().await;
    let create = served.ark.run(&["backup", "create", "x"]);
    create.refuses(
        1,
        &[
            "no server of ark answers in the namespace heptio-ark",
            "--repo",
        ],
    );
    run(served).await
}

async fn run(mut served: Served) -> Served {
    served.location("ReadWrite").await;
    served.run();
    served
        .until(
            "default",
            "Available",
            |location: &BackupStorageLocation| {
                let status = location.status.as_ref();
                status.is_some_and(|status| status.phase == Some(LocationPhase::Available))
            },
        )
        .await;
    served
}

/// The cells of a table, without the column of that name.
fn cells(ran: &Ran, without: &[&str]) -> Vec<Vec<String>> {
    let split = |line: &str| -> Vec<String> {
        line.split("   ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut rows: Vec<Vec<String>> = ran.stdout.lines().map(split).collect();
    let columns = rows[0].clone();
    for row in &mut rows {
        assert_eq!(row.len(), columns.len(), "{ran}");
        let mut column = columns.iter();
        row.retain(|_| !without.contains(&column.next().unwrap().as_str()));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_through_the_server() {
    let mut served = ready().await;
    fill(&served, "app", 5).await;
    let ark = served.ark.clone();
    a_backup_is_made_and_waited_for(&ark);
    both_modes_show_the_same(&ark, &served.direct().await);
    what_makes_no_sense_is_told(&ark);
    one_that_waits_is_left_and_canceled(&mut served).await;
    what_is_deleted_is_gone(&ark, &served.direct().await);
    served.stop();
}

fn a_backup_is_made_and_waited_for(ark: &Ark) {
    let line = [
        "backup",
        "create",
        "one",
        "--include-namespaces",
        "app",
        "--labels",
        "team=a",
        "--ttl",
        "48h",
        "--wait",
        "-o",
        "json",
    ];
    let ran = ark.run(&line).done();
    let ran = ran.says(&["through the server, namespace heptio-ark at https://"]);
    assert_eq!(ran.stderr.matches("through the server").count(), 1, "{ran}");
    let made = ran.json();
    assert_eq!(made["status"]["phase"], "Completed", "{made:#}");
    assert_eq!(made["spec"]["includedNamespaces"], json!(["app"]));
    assert_eq!(made["spec"]["ttl"], "48h0m0s");
    assert_eq!(made["metadata"]["labels"]["team"], "a");
    assert_eq!(made["repository"]["status"], "Completed");
    assert!(made["metadata"].get("managedFields").is_none(), "{made:#}");
    // Without --wait it returns at once, and says how to follow.
    let ran = ark
        .run(&["create", "backup", "two", "-l", "none=here"])
        .done();
    assert_eq!(ran.stdout, "backup.ark.heptio.com/two created\n");
    ran.says(&["`ark backup describe two`"]);
    let ran = ark.run(&["backup", "create", "two", "--wait"]);
    ran.refuses(1, &["a Backup \"two\" exists already"]);
    let ran = ark.run(&["backup", "create", "three", "--wait"]).done();
    let summary = "backup.ark.heptio.com/three Completed: ";
    assert!(ran.stdout.starts_with(summary), "{ran}");
    assert!(ran.stdout.contains("; added "), "{ran}");
}

fn both_modes_show_the_same(ark: &Ark, direct: &Ark) {
    // `two` was not waited for, but is older than `three`; one at a time would not say so.
    let shown = loop {
        let ran = ark.run(&["backup", "get"]).done();
        if !ran.stdout.contains("New") && !ran.stdout.contains("InProgress") {
            break ran;
        }
    };
    let expected = direct.run(&["backup", "get"]).done();
    expected.clone().says(&["direct mode, repository"]);
    // The one began when its object was taken up, the other when its session was opened.
    let by_name = |ran: &Ran| {
        let mut rows = cells(ran, &["CREATED"]);
        rows[1..].sort();
        rows
    };
    assert_eq!(by_name(&shown), by_name(&expected));
    assert_eq!(by_name(&shown).len(), 4);
    for line in [
        &["backup", "get", "one", "-o", "name"][..],
        &["get", "backups", "-l", "team=a", "-o", "name"],
    ] {
        let (served, direct) = (ark.run(line).done(), direct.run(line).done());
        assert_eq!(served.stdout, "backup.ark.heptio.com/one\n");
        assert_eq!(served.stdout, direct.stdout);
    }
    let line = ["backup", "get", "one", "-o", "json"];
    let (mut served, mut direct_json) = (ark.run(&line).done().json(), direct.run(&line).json());
    for value in [&mut served, &mut direct_json] {
        let at = &mut value["repository"];
        at["created"] = Value::Null;
        at["failed"] = Value::Null;
        at["expires"] = Value::Null;
    }
    assert_eq!(served["repository"], direct_json["repository"]);
    assert_eq!(served["kind"], direct_json["kind"]);
    let id = served["repository"]["id"].as_str().unwrap();
    let described = ark.run(&["backup", "describe", id]).done().stdout;
    for expected in [
        "Name:                 one",
        "Status:               Completed",
        "Labels:               ark.heptio.com/storage-location=default",
        "Included namespaces:  app",
        "TTL:                  48h0m0s",
        "Location:             default",
    ] {
        assert!(described.contains(expected), "{expected}: {described}");
    }
    let wide = ark.run(&["backup", "get", "one", "-o", "wide"]).done();
    assert!(wide.stdout.contains("LOCATION"), "{wide}");
    assert!(wide.stdout.contains(id), "{wide}");
    let ran = ark.run(&["backup", "get", "--cluster", "elsewhere"]);
    ran.refuses(1, &["holds no backups of a cluster \"elsewhere\""]);
}

fn what_makes_no_sense_is_told(ark: &Ark) {
    let line = ["backup", "create", "odd", "--include-resources", "gizmos"];
    let ran = ark.run(&[&line[..], &["--wait"]].concat()).exits(2);
    ran.says(&["gizmos"]);
    let ran = ark.run(&["backup", "describe", "odd"]).done();
    assert!(ran.stdout.contains("FailedValidation"), "{ran}");
    assert!(ran.stdout.contains("Refused:"), "{ran}");
    for name in ["nothing", "no/thing", "../secrets/x"] {
        let ran = ark.run(&["backup", "describe", name]);
        ran.refuses(1, &["there is no Backup", "in the namespace heptio-ark"]);
    }
    let ran = ark.run(&["backup", "cancel", "one"]).exits(1);
    ran.says(&["it has ended (Completed)"]);
    let ran = ark.run(&["backup", "create", "z", "--from-schedule", "none"]);
    ran.refuses(1, &["there is no Schedule \"none\""]);
}

/// A location that cannot be used is waited for, for a minute.
async fn one_that_waits_is_left_and_canceled(served: &mut Served) {
    let nowhere = json!({
        "apiVersion": "ark.heptio.com/v1",
        "kind": "BackupStorageLocation",
        "metadata": { "name": "nowhere" },
        "spec": { "provider": "local", "objectStorage": { "bucket": "/proc/nowhere" } },
    });
    served.create::<BackupStorageLocation>(nowhere).await;
    let ark = served.ark.clone();
    let line = [
        "backup",
        "create",
        "stuck",
        "--storage-location",
        "nowhere",
        "--wait",
    ];
    let waiting = ark.start(&line);
    served.until("stuck", "there", |_: &Backup| true).await;
    let described = ark.run(&["backup", "describe", "stuck"]).done();
    assert!(
        described.stdout.contains("Status:               New"),
        "{described}"
    );
    let ran = ark
        .run(&["backup", "delete", "stuck", "--confirm"])
        .exits(1);
    ran.says(&["nothing is deleted: the Backup stuck is being made"]);
    waiting.interrupt();
    let ran = waiting.wait().exits(130);
    ran.says(&["`ark backup cancel stuck` stops it"]);
    let ran = ark.run(&["backup", "cancel", "stuck", "--wait"]).done();
    assert_eq!(ran.stdout, "backup.ark.heptio.com/stuck Canceled\n");
    let stuck = served.api::<Backup>().get("stuck").await.unwrap();
    assert_eq!(stuck.phase(), BackupPhase::Canceled);
}

fn what_is_deleted_is_gone(ark: &Ark, direct: &Ark) {
    let ran = ark.run(&["backup", "delete", "one"]);
    ran.refuses(2, &["delete the backup one", "--confirm"]);
    let ran = ark.run(&["backup", "delete", "one", "odd", "--confirm", "--wait"]);
    assert_eq!(
        ran.done().stdout,
        "backup.ark.heptio.com/one deleted\nbackup.ark.heptio.com/odd deleted\n"
    );
    let ran = ark.run(&["backup", "get", "one"]);
    ran.refuses(1, &["there is no Backup \"one\""]);
    let deleted = direct
        .run(&["backup", "get", "--deleted", "-o", "name"])
        .done();
    assert_eq!(deleted.stdout, "backup.ark.heptio.com/one\n");
    let ran = ark
        .run(&["backup", "delete", "--all", "--confirm", "--wait"])
        .done();
    assert_eq!(ran.stdout.lines().count(), 3, "{ran}");
    let ran = ark
        .run(&["backup", "get"])
        .done()
        .says(&["no backups found"]);
    assert_eq!(ran.stdout, "");
}
