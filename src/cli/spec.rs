//! From filters on the command line to the specs that a client would post.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::args::filters::FilterArgs;
use super::args::restore::{ExistingPolicy, RestoreCreateArgs};
use super::args::values::Labels;
use super::catalog::parse_selector;
use super::error::{Error, Result};
use crate::api::names::check_namespace;
use crate::api::{BackupSpec, ExistingResourcePolicy, GoDuration, LabelSelector, RestoreSpec};
use crate::cluster::Selector;

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
