#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn row(id: &str, name: &str, cluster: &str) -> Row {
    Row {
        id: id.to_owned(),
        name: name.to_owned(),
        cluster: cluster.to_owned(),
        forgotten: false,
        lost: false,
    }
}

fn forgotten(row: Row) -> Row {
    Row {
        forgotten: true,
        ..row
    }
}

fn lost(row: Row) -> Row {
    Row { lost: true, ..row }
}

fn object(name: &str, id: Option<&str>, phase: BackupPhase) -> Object {
    Object {
        name: name.to_owned(),
        id: id.map(str::to_owned),
        phase,
    }
}

fn steps(rows: &[Row], objects: &[Object], same_epoch: bool) -> Vec<String> {
    let taken = objects.iter().map(|object| object.name.clone()).collect();
    plan(rows, objects, &taken, "own", same_epoch)
        .iter()
        .map(|step| match step {
            Step::Create { object, id } => format!("create {object} {id}"),
            Step::Finish { object, id } => format!("finish {object} {id}"),
            Step::Remove { object } => format!("remove {object}"),
            Step::Lose { object } => format!("lose {object}"),
        })
        .collect()
}

#[test]
fn each_case_alone() {
    use BackupPhase::*;
    let own = || row("1", "a", "own");
    let a = |id, phase| vec![object("a", id, phase)];
    for (case, rows, objects, same_epoch, expected) in [
        ("nothing there", vec![own()], vec![], true, "create a 1"),
        ("in order", vec![own()], a(Some("1"), Completed), true, ""),
        (
            "committed a moment ago",
            vec![own()],
            a(None, InProgress),
            true,
            "",
        ),
        (
            "begun with a name that is taken",
            vec![own()],
            a(None, New),
            true,
            "",
        ),
        (
            "sync died in between",
            vec![own()],
            a(Some("1"), New),
            true,
            "finish a 1",
        ),
        (
            "came back",
            vec![own()],
            a(Some("1"), Lost),
            true,
            "finish a 1",
        ),
        (
            "deleted",
            vec![forgotten(own())],
            a(Some("1"), Completed),
            true,
            "remove a",
        ),
        (
            "deleted, was lost",
            vec![forgotten(own())],
            a(Some("1"), Lost),
            true,
            "remove a",
        ),
        (
            "deleted, never had an object",
            vec![forgotten(own())],
            vec![],
            true,
            "",
        ),
        (
            "deleted, and its name used again",
            vec![forgotten(own())],
            a(None, New),
            true,
            "",
        ),
        (
            "deleted, and its name being used",
            vec![forgotten(own())],
            a(None, InProgress),
            true,
            "",
        ),
        (
            "being deleted",
            vec![forgotten(own())],
            a(Some("1"), Deleting),
            true,
            "",
        ),
        (
            "manifest gone",
            vec![lost(own())],
            a(Some("1"), Completed),
            false,
            "lose a",
        ),
        (
            "manifest gone, told",
            vec![lost(own())],
            a(Some("1"), Lost),
            false,
            "",
        ),
        (
            "manifest gone, no object",
            vec![lost(own())],
            vec![],
            false,
            "",
        ),
        (
            "vanished",
            vec![],
            a(Some("1"), PartiallyFailed),
            true,
            "lose a",
        ),
        (
            "collected",
            vec![],
            a(Some("1"), Completed),
            false,
            "remove a",
        ),
        ("vanished, told", vec![], a(Some("1"), Lost), true, ""),
        (
            "never was in a repository",
            vec![],
            a(None, Failed),
            false,
            "",
        ),
        ("not begun", vec![], a(None, New), true, ""),
        ("canceled", vec![], a(None, Canceled), true, ""),
    ] {
        let got = steps(&rows, &objects, same_epoch).join(", ");
        assert_eq!(got, expected, "{case}");
    }
}

#[test]
fn backups_of_other_clusters_never_take_a_name_of_ours() {
    let rows = [
        row("1", "nightly", "cluster-b-long-id"),
        row("2", "nightly", "own"),
        row("3", "weekly", "cluster-b-long-id"),
        row("4", "taken", "cluster-b-long-id"),
    ];
    let objects = [object("taken", None, BackupPhase::InProgress)];
    assert_eq!(
        steps(&rows, &objects, true),
        [
            "create nightly-cluster 1",
            "create nightly 2",
            "create weekly 3",
            "create taken-cluster 4",
        ]
    );
    // The same again changes nothing.
    let objects = [
        object("nightly-cluster", Some("1"), BackupPhase::Completed),
        object("nightly", Some("2"), BackupPhase::Completed),
        object("weekly", Some("3"), BackupPhase::Completed),
        object("taken-cluster", Some("4"), BackupPhase::Completed),
    ];
    assert_eq!(steps(&rows, &objects, true), Vec::<String>::new());
    // Ours begins to have that name: the other one keeps its object.
    let rows = [row("3", "weekly", "other"), row("5", "weekly", "own")];
    let objects = [object("weekly", Some("3"), BackupPhase::Completed)];
    assert_eq!(steps(&rows, &objects, true), ["create weekly-5 5"]);
}

#[test]
fn the_newest_success_of_each_schedule_of_ours_counts() {
    let backup = |phase: &str, ended: &str, labels: serde_json::Value| -> Backup {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "Backup",
            "metadata": {"name": "b", "labels": labels},
            "spec": {},
            "status": {"phase": phase, "completionTimestamp": ended},
        }))
        .unwrap()
    };
    let nightly = || json!({ (labels::SCHEDULE_NAME): "nightly" });
    let backups = [
        backup("Completed", "1970-01-01T00:00:20Z", nightly()),
        backup("Completed", "1970-01-01T00:00:10Z", nightly()),
        backup("PartiallyFailed", "1970-01-01T00:00:30Z", nightly()),
        backup("Completed", "1970-01-01T00:00:05Z", json!({})),
        backup(
            "Completed",
            "1970-01-01T00:00:40Z",
            json!({ (labels::CLUSTER_ID): "other" }),
        ),
    ];
    let expected = [(String::new(), 5), ("nightly".to_owned(), 20)];
    assert_eq!(last_successes(&backups), expected.into());
}
