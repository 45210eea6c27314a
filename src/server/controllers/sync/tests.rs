#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::count::{last_successes, lost_objects, newest};
use super::*;
use crate::api::labels;
use crate::server::counterpart::Origin;

fn row(id: &str, name: &str, cluster: &str) -> Row {
    Row {
        id: id.to_owned(),
        name: name.to_owned(),
        cluster: cluster.to_owned(),
        origin: Origin::Unasked,
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

/// Made of an object with that uid.
fn of(row: Row, uid: &str) -> Row {
    Row {
        origin: Origin::Uid(uid.to_owned()),
        ..row
    }
}

fn object(name: &str, id: Option<&str>, phase: BackupPhase) -> Object {
    Object {
        name: name.to_owned(),
        uid: Some(format!("uid-{name}")),
        id: id.map(str::to_owned),
        said: id.map(str::to_owned),
        phase,
    }
}

/// With nothing but the annotation.
fn said(name: &str, id: &str, phase: BackupPhase) -> Object {
    Object {
        id: None,
        ..object(name, Some(id), phase)
    }
}

fn steps(rows: &[Row], objects: &[Object], same_epoch: bool) -> Vec<String> {
    steps_after(rows, objects, same_epoch, &BTreeSet::new())
}

fn steps_after(
    rows: &[Row],
    objects: &[Object],
    same_epoch: bool,
    vanished: &BTreeSet<String>,
) -> Vec<String> {
    let taken = objects.iter().map(|object| object.name.clone()).collect();
    plan(&Known {
        rows,
        objects,
        elsewhere: &BTreeSet::from(["elsewhere".to_owned()]),
        taken: &taken,
        own: "own",
        same_epoch,
        vanished,
    })
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
            vec![of(own(), "uid-a")],
            a(None, InProgress),
            true,
            "",
        ),
        (
            "being made, and another one of its name cannot be read",
            vec![Row {
                origin: Origin::Unread,
                ..own()
            }],
            a(None, InProgress),
            true,
            "",
        ),
        (
            "begun with a name that is taken",
            vec![of(own(), "another")],
            a(None, New),
            true,
            "create a-1 1",
        ),
        (
            "failed with a name that is taken",
            vec![of(own(), "another")],
            a(None, Failed),
            true,
            "create a-1 1",
        ),
        (
            "committed, and nobody had an answer",
            vec![of(own(), "uid-a")],
            a(None, Failed),
            true,
            "finish a 1",
        ),
        (
            "of a location that has another name now",
            vec![row("elsewhere", "a", "own")],
            vec![],
            true,
            "",
        ),
        (
            "sync died in between",
            vec![own()],
            vec![said("a", "1", New)],
            true,
            "finish a 1",
        ),
        (
            "sync died in between, and it was deleted",
            vec![forgotten(own())],
            vec![said("a", "1", New)],
            true,
            "remove a",
        ),
        (
            "a copy of an object",
            vec![own()],
            vec![object("a", Some("1"), Completed), said("b", "1", New)],
            true,
            "",
        ),
        (
            "a copy from elsewhere",
            vec![],
            vec![said("b", "1", Failed)],
            false,
            "",
        ),
        (
            "of an older server",
            vec![own()],
            vec![said("a", "1", Completed)],
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
            "failed, and one of its name was deleted",
            vec![forgotten(own())],
            a(None, Failed),
            true,
            "",
        ),
        (
            "being deleted",
            vec![forgotten(own())],
            a(Some("1"), Deleting),
            true,
            "remove a",
        ),
        (
            "its deletion came to nothing",
            vec![own()],
            a(Some("1"), Deleting),
            true,
            "finish a 1",
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

/// An epoch says that something may have been collected. What this process has seen, and what no epoch has given up, was not.
#[test]
fn what_is_known_to_have_vanished_is_lost_in_any_epoch() {
    let objects = [object("a", Some("1"), BackupPhase::Completed)];
    let vanished = BTreeSet::from(["1".to_owned()]);
    assert_eq!(steps_after(&[], &objects, false, &vanished), ["lose a"]);
    assert_eq!(steps(&[], &objects, false), ["remove a"]);
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
    assert_eq!(last_successes(&backups, "own"), expected.into());
}

#[test]
fn what_ended_last_and_what_is_lost_is_told_from_the_objects() {
    let backup = |phase: &str, ended: Option<&str>, schedule: &str, location: &str| -> Backup {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "Backup",
            "metadata": {"name": "b", "labels": {(labels::SCHEDULE_NAME): schedule}},
            "spec": {"storageLocation": location},
            "status": {"phase": phase, "completionTimestamp": ended, "errors": 3},
        }))
        .unwrap()
    };
    let backups = [
        backup("Completed", Some("1970-01-01T00:00:20Z"), "nightly", "one"),
        backup(
            "PartiallyFailed",
            Some("1970-01-01T00:00:30Z"),
            "nightly",
            "one",
        ),
        backup("InProgress", None, "nightly", "one"),
        backup("Canceled", Some("1970-01-01T00:00:50Z"), "nightly", "one"),
        backup("Lost", Some("1970-01-01T00:01:00Z"), "hourly", "one"),
        backup("Lost", None, "hourly", "two"),
    ];
    let shown: Vec<_> = newest(&backups, "own")
        .into_iter()
        .map(|(schedule, status)| (schedule, status.phase))
        .collect();
    let expected = ("nightly".to_owned(), BackupPhase::PartiallyFailed);
    assert_eq!(shown, [expected]);
    assert_eq!(lost_objects(&backups, "one"), 1);
    assert_eq!(lost_objects(&backups, "none"), 0);
}
