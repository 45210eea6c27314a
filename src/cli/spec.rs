//! From filters on the command line to the specs that a client would post.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::args::backup::BackupCreateArgs;
use super::args::filters::FilterArgs;
use super::args::restore::{ExistingPolicy, RestoreCreateArgs};
use super::args::schedule::ScheduleCreateArgs;
use super::args::values::Labels;
use super::catalog::parse_selector;
use super::error::{Error, Result};
use crate::api::names::{check_name, check_namespace};
use crate::api::{
    Backup, BackupSpec, ExistingResourcePolicy, GoDuration, LabelSelector, Restore, RestoreSpec,
    Retention, Schedule, ScheduleSpec,
};
use crate::cluster::Selector;
use crate::server::controllers::schedule;

/// The Backup that these arguments ask for, whoever makes it. With a Schedule: as that one makes them, but for what the
/// arguments say.
pub fn backup_object(
    args: &BackupCreateArgs,
    namespace: &str,
    schedule: Option<&Schedule>,
    now: Timestamp,
) -> Result<Backup> {
    let mut wanted = match schedule {
        // What the server keeps by default is the server's to say.
        Some(schedule) => schedule::backup(schedule, namespace, now, None),
        None => Backup::named(namespace, "", backup(&args.filters, args.ttl)?),
    };
    if let Some(name) = &args.name {
        wanted.metadata.name = Some(name.clone());
    }
    check_name(
        "backup",
        wanted.metadata.name.as_deref().unwrap_or_default(),
    )?;
    if let Some(ttl) = args.ttl {
        wanted.spec.ttl = Some(GoDuration(ttl));
    }
    if let Some(location) = &args.served.storage_location {
        wanted.spec.storage_location = Some(location.clone());
    }
    if let Some(own) = labels(args.labels.clone()) {
        let labels = wanted.metadata.labels.get_or_insert_default();
        labels.extend(own);
    }
    Ok(wanted)
}

/// The spec of a backup.
pub fn backup(filters: &FilterArgs, ttl: Option<SignedDuration>) -> Result<BackupSpec> {
    let (label_selector, or_label_selectors) = selectors(filters)?;
    Ok(BackupSpec {
        included_namespaces: all_or(&filters.include_namespaces),
        excluded_namespaces: words(&filters.exclude_namespaces),
        included_resources: all_or(&filters.include_resources),
        excluded_resources: words(&filters.exclude_resources),
        include_cluster_resources: filters.include_cluster_resources,
        label_selector,
        or_label_selectors,
        ttl: ttl.map(GoDuration),
        ..BackupSpec::default()
    })
}

/// The Schedule that these arguments ask for, if the server would take it.
pub fn schedule_object(
    args: &ScheduleCreateArgs,
    namespace: &str,
    now: Timestamp,
) -> Result<Schedule> {
    check_name("schedule", &args.name)?;
    let mut template = backup(&args.filters, args.ttl)?;
    template.storage_location = args.storage_location.clone();
    let keep = &args.retention;
    let retention = Retention {
        keep_last: keep.keep_last,
        keep_hourly: keep.keep_hourly,
        keep_daily: keep.keep_daily,
        keep_weekly: keep.keep_weekly,
        keep_monthly: keep.keep_monthly,
        keep_yearly: keep.keep_yearly,
    };
    let mut wanted = Schedule::new(
        &args.name,
        ScheduleSpec {
            schedule: args.schedule.clone(),
            time_zone: args.time_zone.clone(),
            template,
            paused: args.paused,
            skip_immediately: args.skip_immediately.then_some(true),
            use_owner_references_in_backup: args.use_owner_references_in_backup.then_some(true),
            retention: (retention != Retention::default()).then_some(retention),
        },
    );
    wanted.metadata.namespace = Some(namespace.to_owned());
    wanted.metadata.labels = labels(args.labels.clone());
    match schedule::decide(&wanted, false, now) {
        schedule::Action::Refuse(errors) => Err(Error::Usage {
            what: errors.join("; "),
            hint: Some("nothing was made".to_owned()),
        }),
        _ => Ok(wanted),
    }
}

/// The Restore that these arguments ask for, whoever makes it, of the backup `backup_name` or of the schedule that they
/// name.
pub fn restore_object(
    args: &RestoreCreateArgs,
    namespace: &str,
    name: &str,
    backup_name: &str,
) -> Result<Restore> {
    check_name("restore", name)?;
    let mut spec = restore(args, backup_name)?;
    spec.schedule_name = args.served.from_schedule.clone();
    let mut wanted = Restore::named(namespace, name, spec);
    wanted.metadata.labels = labels(args.labels.clone());
    Ok(wanted)
}

/// The spec of a restore of the backup `backup_name`.
pub fn restore(args: &RestoreCreateArgs, backup_name: &str) -> Result<RestoreSpec> {
    let filters = &args.filters;
    let (label_selector, or_label_selectors) = selectors(filters)?;
    let namespace_mapping = args
        .namespace_mappings
        .clone()
        .map(|mappings| mappings.0)
        .unwrap_or_default();
    for (from, to) in &namespace_mapping {
        check_namespace(from)?;
        check_namespace(to)?;
    }
    Ok(RestoreSpec {
        backup_name: backup_name.to_owned(),
        included_namespaces: all_or(&filters.include_namespaces),
        excluded_namespaces: words(&filters.exclude_namespaces),
        included_resources: all_or(&filters.include_resources),
        excluded_resources: words(&filters.exclude_resources),
        include_cluster_resources: filters.include_cluster_resources,
        label_selector,
        or_label_selectors,
        namespace_mapping,
        existing_resource_policy: match args.existing_resource_policy {
            ExistingPolicy::None => None,
            ExistingPolicy::Update => Some(ExistingResourcePolicy::Update),
        },
        preserve_node_ports: args.preserve_nodeports.then_some(true),
        ..RestoreSpec::default()
    })
}

/// Labels as metadata holds them.
pub fn labels(labels: Option<Labels>) -> Option<BTreeMap<String, String>> {
    labels
        .map(|labels| labels.0)
        .filter(|labels| !labels.is_empty())
}

fn words(texts: &[String]) -> Vec<String> {
    texts
        .iter()
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

/// A lone `*` is what an absent list means; the spec says it by absence.
fn all_or(texts: &[String]) -> Vec<String> {
    let words = words(texts);
    match words.as_slice() {
        [all] if all == "*" => Vec::new(),
        _ => words,
    }
}

fn selectors(filters: &FilterArgs) -> Result<(Option<LabelSelector>, Vec<LabelSelector>)> {
    let one = match filters.selector.as_deref() {
        None => None,
        Some(text) => {
            Some(parse_selector(Some(text))?).filter(|selector| !selector.is_everything())
        }
    };
    let mut any = Vec::new();
    for text in &filters.or_selector {
        let parsed = Selector::parse_any(text).map_err(|source| Error::Selector {
            text: text.clone(),
            source,
        })?;
        any.extend(parsed.iter().map(Selector::to_spec));
    }
    Ok((one.map(|selector| selector.to_spec()), any))
}

#[cfg(test)]
mod tests {
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
}
