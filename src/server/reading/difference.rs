//! Differences between two states of a cluster's objects.
//!
//! A hole is never read as a deletion: an object that one side lacks is *added* or *removed* only if the side that lacks
//! it was asked for the object and read its resource completely. Otherwise nothing is known, and that is what is said.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::objects::BackedUpResource;
use crate::api::{BackupSpec, Captured};
use crate::cluster::Glob;

/// What a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the second state has it.
    Added,
    /// Only the first state has it.
    Removed,
    /// Both have it and it is not the same.
    Changed,
    /// One state has it, and the other was not read where it would be.
    Unknown,
}

impl Change {
    /// The sign in front of a line.
    pub fn sign(self) -> char {
        match self {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
            Change::Unknown => '?',
        }
    }
}

/// One object that differs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// How it differs.
    pub change: Change,
    /// `deployments.apps`
    pub resource: String,
    /// Its namespace; empty at cluster scope.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The object in the first state, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The object in the second state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// One side of a comparison, as far as it decides what its lack of an object means.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What it was asked for.
    pub spec: &'a BackupSpec,
    /// What it says of the resource; `None` if the resource is not in it.
    pub resource: Option<&'a BackedUpResource>,
}

impl Side<'_> {
    /// Why it may lack an object that exists; `None` if it would have it.
    pub fn hole(&self, other: &BackupSpec, namespace: &str) -> Option<String> {
        let Some(resource) = self.resource else {
            return Some("the resource was not captured".to_owned());
        };
        if resource.entry.captured != Captured::Yes {
            let reason = resource
                .entry
                .reason
                .as_deref()
                .unwrap_or("no reason is recorded");
            return Some(format!(
                "the resource was not completely captured: {reason}"
            ));
        }
        let spec = self.spec;
        if !takes_namespace(spec, namespace) {
            return Some("the namespace was not asked for".to_owned());
        }
        let selected = (&spec.label_selector, &spec.or_label_selectors);
        let unselected = spec.label_selector.is_none() && spec.or_label_selectors.is_empty();
        if !unselected && selected != (&other.label_selector, &other.or_label_selectors) {
            return Some("the labels asked for were others".to_owned());
        }
        None
    }
}

fn takes_namespace(spec: &BackupSpec, namespace: &str) -> bool {
    let any = |globs: &[String]| {
        globs
            .iter()
            // What does not parse was refused when the backup was made.
            .filter_map(|text| Glob::parse(text).ok())
            .any(|glob| glob.matches(namespace))
    };
    namespace.is_empty()
        || ((spec.included_namespaces.is_empty() || any(&spec.included_namespaces))
            && !any(&spec.excluded_namespaces))
}

/// What it means that only one side has an object: `Added` and `Removed` by the caller's view, or nothing.
pub fn one_sided(
    change: Change,
    lacking: Side<'_>,
    having: &BackupSpec,
    namespace: &str,
) -> (Change, Option<String>) {
    match lacking.hole(having, namespace) {
        None => (change, None),
        Some(reason) => (Change::Unknown, Some(reason)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::api::ResourceEntry;

    fn pods(captured: Captured) -> BackedUpResource {
        BackedUpResource {
            group: String::new(),
            resource: "pods".to_owned(),
            entry: ResourceEntry {
                version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                plural: "pods".to_owned(),
                namespaced: true,
                captured,
                reason: None,
            },
        }
    }

    #[test]
    fn a_hole_is_not_a_deletion() {
        let all = BackupSpec::default();
        let only_b = BackupSpec {
            included_namespaces: vec!["b*".to_owned()],
            ..BackupSpec::default()
        };
        let judge = |captured: Option<Captured>, spec: &BackupSpec| {
            let resource = captured.map(pods);
            let lacking = Side {
                spec,
                resource: resource.as_ref(),
            };
            one_sided(Change::Removed, lacking, &all, "a").0
        };
        assert_eq!(judge(Some(Captured::Yes), &all), Change::Removed);
        assert_eq!(judge(Some(Captured::Partial), &all), Change::Unknown);
        assert_eq!(judge(Some(Captured::No), &all), Change::Unknown);
        assert_eq!(judge(None, &all), Change::Unknown);
        assert_eq!(judge(Some(Captured::Yes), &only_b), Change::Unknown);
    }

    #[test]
    fn other_selectors_make_no_deletions() {
        let all = BackupSpec::default();
        let selected = BackupSpec {
            label_selector: Some(crate::cluster::Selector::parse("a=b").unwrap().to_spec()),
            ..BackupSpec::default()
        };
        let resource = pods(Captured::Yes);
        let side = |spec| Side {
            spec,
            resource: Some(&resource),
        };
        assert!(side(&selected).hole(&all, "a").is_some());
        assert!(side(&selected).hole(&selected, "a").is_none());
        assert!(side(&all).hole(&selected, "a").is_none());
    }
}
