//! The same flags mean the same, whoever does the work.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::cli::args::{Cli, Verb};
use clap::Parser;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn everything_is_said_by_absence() {
    let filters = FilterArgs {
        include_namespaces: strings(&["*"]),
        include_resources: strings(&[" ", "pods"]),
        selector: Some(String::new()),
        ..FilterArgs::default()
    };
    let spec = backup(&filters, None).unwrap();
    assert!(spec.included_namespaces.is_empty());
    assert_eq!(spec.included_resources, ["pods"]);
    assert_eq!(spec.label_selector, None);
}

/// Every way to say each of these, or not to say it.
const SAID: [&[&str]; 9] = [
    &["", "--include-namespaces=a,b", "--include-namespaces=*"],
    &["", "--exclude-namespaces=c"],
    &["", "--include-resources=deploy,pods"],
    &["", "--exclude-resources=events"],
    &[
        "",
        "--include-cluster-resources",
        "--include-cluster-resources=false",
    ],
    &["", "--selector=a=b,c", "--or-selector=a=b or c!=d"],
    &["", "--ttl=7d"],
    &["", "--labels=team=web"],
    &["", "--storage-location=elsewhere"],
];

fn lines() -> Vec<Vec<&'static str>> {
    let mut lines: Vec<Vec<&str>> = vec![Vec::new()];
    for ways in SAID {
        let longer = lines.iter().flat_map(|line| {
            ways.iter().map(|way| {
                let mut line = line.clone();
                line.extend(Some(*way).filter(|way| !way.is_empty()));
                line
            })
        });
        lines = longer.collect();
    }
    lines
}

fn create(line: &[&str]) -> BackupCreateArgs {
    let words = ["ark", "backup", "create", "x"].iter().chain(line);
    match Cli::try_parse_from(words).unwrap().command.verb() {
        Verb::BackupCreate(args) => args,
        other => panic!("{other:?}"),
    }
}

/// Direct mode takes what the spec says; so does the server, from what it reads in the cluster.
#[test]
fn the_server_reads_what_direct_mode_would_do() {
    let now = Timestamp::UNIX_EPOCH;
    let lines = lines();
    assert_eq!(lines.len(), 1728);
    for line in lines {
        let args = create(&line);
        let posted = backup_object(&args, "heptio-ark", None, now).unwrap();
        let read: Backup = serde_json::from_value(serde_json::json!(posted)).unwrap();
        let mut does = read.spec;
        assert_eq!(
            does.storage_location.take(),
            args.served.storage_location,
            "{line:?}"
        );
        assert_eq!(does, backup(&args.filters, args.ttl).unwrap(), "{line:?}");
        assert_eq!(read.metadata.labels, labels(args.labels), "{line:?}");
        assert_eq!(read.metadata.name.as_deref(), Some("x"));
    }
}

/// What a schedule makes at its time is what `ark backup create` would make with the same flags then.
#[test]
fn a_schedule_makes_what_its_flags_would_make() {
    let now: Timestamp = "2026-03-01T03:00:00Z".parse().unwrap();
    for flags in lines().into_iter().step_by(7) {
        let words = ["ark", "schedule", "create", "s", "--schedule=@daily"];
        let words = words.iter().chain(&flags);
        let args = match Cli::try_parse_from(words).unwrap().command.verb() {
            Verb::ScheduleCreate(args) => args,
            other => panic!("{other:?}"),
        };
        let posted = schedule_object(&args, "heptio-ark", now).unwrap();
        let read: Schedule = serde_json::from_value(serde_json::json!(posted)).unwrap();
        let made = schedule::backup(&read, "heptio-ark", now, None);
        let by_hand = backup_object(&create(&flags), "heptio-ark", None, now).unwrap();
        assert_eq!(made.spec, by_hand.spec, "{flags:?}");
        let mut labels = made.metadata.labels.unwrap();
        labels.remove(crate::api::labels::SCHEDULE_NAME);
        assert_eq!(labels, by_hand.metadata.labels.unwrap_or_default());
    }
    let parse = |flag: &str| {
        let words = ["ark", "schedule", "create", "s", "--schedule=@daily", flag];
        match Cli::try_parse_from(words).unwrap().command.verb() {
            Verb::ScheduleCreate(args) => schedule_object(&args, "heptio-ark", now).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let rules = |flag| parse(flag).spec.retention.unwrap();
    assert_eq!(rules("--keep-last=2").keep_last, Some(2));
    assert_eq!(rules("--keep-hourly=3").keep_hourly, Some(3));
    assert_eq!(rules("--keep-daily=4").keep_daily, Some(4));
    assert_eq!(rules("--keep-weekly=5").keep_weekly, Some(5));
    assert_eq!(rules("--keep-monthly=6").keep_monthly, Some(6));
    assert_eq!(rules("--keep-yearly=7").keep_yearly, Some(7));
    assert_eq!(parse("--labels=a=b").spec.retention, None);
    assert!(parse("--paused").spec.paused);
    assert_eq!(
        parse("--skip-immediately").spec.skip_immediately,
        Some(true)
    );
    let owned = parse("--use-owner-references-in-backup").spec;
    assert_eq!(owned.use_owner_references_in_backup, Some(true));
}

#[test]
fn the_server_restores_what_direct_mode_would() {
    let flags: [&[&str]; 8] = [
        &[],
        &["--namespace-mappings=a:b,c:d"],
        &["--existing-resource-policy=update"],
        &["--preserve-nodeports"],
        &["--labels=team=web"],
        &["--include-namespaces=a", "--exclude-namespaces=c"],
        &["--include-resources=deploy", "--or-selector=a or b"],
        &["--include-cluster-resources=false", "--exclude-resources=x"],
    ];
    let pairs = (0..flags.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    for (one, other) in pairs {
        let words = ["ark", "restore", "create", "r", "--from-backup", "b"];
        let words = words.iter().chain(flags[one]).chain(flags[other]);
        let args = match Cli::try_parse_from(words).unwrap().command.verb() {
            Verb::RestoreCreate(args) => args,
            other => panic!("{other:?}"),
        };
        let posted = restore_object(&args, "heptio-ark", "r", "b").unwrap();
        let read: Restore = serde_json::from_value(serde_json::json!(posted)).unwrap();
        assert_eq!(read.spec, restore(&args, "b").unwrap(), "{one} {other}");
        assert_eq!(read.metadata.labels, labels(args.labels));
    }
}

#[test]
fn a_backup_from_a_schedule_is_as_the_schedule_makes_them() {
    let now: Timestamp = "2026-03-01T03:00:00Z".parse().unwrap();
    let mut nightly: Schedule = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "nightly", "labels": { "team": "a" } },
        "spec": {
            "schedule": "@daily",
            "template": { "includedNamespaces": ["shop"], "ttl": "24h" },
        },
    }))
    .unwrap();
    let schedule_says = schedule::backup(&nightly, "heptio-ark", now, None);
    let words = "ark backup create --from-schedule nightly";
    let parse = |words: &str| match Cli::try_parse_from(words.split(' '))
        .unwrap()
        .command
        .verb()
    {
        Verb::BackupCreate(args) => args,
        other => panic!("{other:?}"),
    };
    let made = backup_object(&parse(words), "heptio-ark", Some(&nightly), now).unwrap();
    assert_eq!(made, schedule_says);
    let words = format!("{words} --ttl 1h --labels team=b,x=y --storage-location l");
    let made = backup_object(&parse(&words), "heptio-ark", Some(&nightly), now).unwrap();
    assert_eq!(made.spec.ttl, Some("1h".parse().unwrap()));
    assert_eq!(made.spec.storage_location.as_deref(), Some("l"));
    let labels = made.metadata.labels.unwrap();
    assert_eq!((labels["team"].as_str(), labels["x"].as_str()), ("b", "y"));
    assert_eq!(labels[crate::api::labels::SCHEDULE_NAME], "nightly");
    // A name that is too long is refused here, not by the apiserver.
    nightly.metadata.name = Some("a".repeat(250));
    let parsed = parse("ark backup create --from-schedule nightly");
    assert!(backup_object(&parsed, "heptio-ark", Some(&nightly), now).is_err());
    // What a schedule takes is the schedule's to say.
    for flag in ["--selector a=b", "--include-namespaces a"] {
        let line = format!("ark backup create --from-schedule nightly {flag}");
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{flag}");
    }
}

#[test]
fn several_selectors_are_read_from_one_flag_or_several() {
    let filters = FilterArgs {
        or_selector: strings(&["a=b or c=d", "e"]),
        ..FilterArgs::default()
    };
    assert_eq!(backup(&filters, None).unwrap().or_label_selectors.len(), 3);
    let filters = FilterArgs {
        selector: Some("a in b".to_owned()),
        ..FilterArgs::default()
    };
    let error = backup(&filters, None).unwrap_err();
    assert!(error.to_string().contains("does not parse"));
    assert!(!error.hints().is_empty());
}
