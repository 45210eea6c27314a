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
mod tests;
