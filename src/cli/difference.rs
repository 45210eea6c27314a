//! Differences between two states of a cluster's objects, and how they are shown.
//!
//! A hole is never read as a deletion: an object that one side lacks is *added* or *removed* only if the side that lacks
//! it was asked for the object and read its resource completely. Otherwise nothing is known, and that is what is said.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use super::objects::BackedUpResource;
use super::printer::safe_text;
use crate::api::{BackupSpec, Captured};
use crate::cluster::Glob;

/// What a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// How it differs.
    pub change: Change,
    /// `deployments.apps`
    pub resource: String,
    /// Its namespace; empty at cluster scope.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The object in the first state, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The object in the second state.
    #[serde(skip_serializing_if = "Option::is_none")]
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

impl Difference {
    /// `~ deployments.apps shop/web`
    pub fn line(&self) -> String {
        let mut line = format!("{} {} ", self.change.sign(), self.resource);
        if !self.namespace.is_empty() {
            line.push_str(&self.namespace);
            line.push('/');
        }
        line.push_str(&self.name);
        if let Some(reason) = &self.reason {
            let _ = write!(line, "  ({reason})");
        }
        line.push('\n');
        safe_text(&line)
    }

    /// The unified diff of the two objects as YAML, without the apiserver's bookkeeping.
    pub fn patch(&self, show_secrets: bool) -> Result<String, serde_yaml_ng::Error> {
        let secret = self.resource == "secrets" && !show_secrets;
        let (mut before, mut after) = (self.before.clone(), self.after.clone());
        for side in [&mut before, &mut after].into_iter().flatten() {
            drop_bookkeeping(side);
        }
        if secret {
            mask(before.as_mut(), after.as_mut());
        }
        let before = text(before.as_ref())?;
        let after = text(after.as_ref())?;
        let name = format!("{}/{}/{}", self.resource, self.namespace, self.name).replace("//", "/");
        if before == after {
            return Ok(format!(
                "  (only managedFields or the resourceVersion of {name} differ)\n"
            ));
        }
        let diff = TextDiff::from_lines(&before, &after);
        let text = diff
            .unified_diff()
            .context_radius(3)
            .header(&format!("a/{name}"), &format!("b/{name}"))
            .to_string();
        Ok(safe_text(&text))
    }
}

fn text(object: Option<&Value>) -> Result<String, serde_yaml_ng::Error> {
    object.map_or(Ok(String::new()), serde_yaml_ng::to_string)
}

fn drop_bookkeeping(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
}

/// Replaces the values of Secrets, so that one sees which of them differ and not what they are.
fn mask(before: Option<&mut Value>, after: Option<&mut Value>) {
    let (mut nothing, mut none) = (Value::Null, Value::Null);
    let before = before.unwrap_or(&mut nothing);
    let after = after.unwrap_or(&mut none);
    for field in ["data", "stringData"] {
        let old = before.get(field).cloned().unwrap_or_default();
        let new = after.get(field).cloned().unwrap_or_default();
        for (side, other, word) in [(&mut *before, &new, "before"), (&mut *after, &old, "after")] {
            let values = side.get_mut(field).and_then(Value::as_object_mut);
            for (key, value) in values.into_iter().flatten() {
                let same = other.get(key) == Some(&*value);
                *value = Value::String(if same {
                    "***".to_owned()
                } else {
                    format!("*** ({word})")
                });
            }
        }
    }
    // kubectl keeps the whole object, values and all, in an annotation.
    for side in [before, after] {
        let annotations = side.pointer_mut("/metadata/annotations");
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
}

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Only in the second state.
    pub added: u64,
    /// Only in the first.
    pub removed: u64,
    /// In both, different.
    pub changed: u64,
    /// Not known.
    pub unknown: u64,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, change: Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Changed => &mut self.changed,
            Change::Unknown => &mut self.unknown,
        } += 1;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} added, {} removed, {} changed",
            self.added, self.removed, self.changed
        )?;
        if self.unknown > 0 {
            write!(f, ", {} not comparable", self.unknown)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::api::ResourceEntry;
    use serde_json::json;

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

    fn difference(before: Option<Value>, after: Option<Value>, resource: &str) -> Difference {
        Difference {
            change: Change::Changed,
            resource: resource.to_owned(),
            namespace: "a".to_owned(),
            name: "x".to_owned(),
            reason: None,
            before,
            after,
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

    #[test]
    fn patches_hide_bookkeeping_and_secrets() {
        let object = |v: &str, rv: &str| {
            Some(json!({
                "metadata": { "name": "x", "resourceVersion": rv, "managedFields": [] },
                "data": { "same": "1", "password": v },
            }))
        };
        let same = difference(object("1", "1"), object("1", "2"), "configmaps");
        assert!(same.patch(false).unwrap().contains("only managedFields"));
        let map = difference(object("1", "1"), object("2", "2"), "configmaps")
            .patch(false)
            .unwrap();
        assert!(
            map.contains("-  password: '1'\n+  password: '2'\n"),
            "{map}"
        );
        let secret = difference(object("hunter2", "1"), object("hunter3", "2"), "secrets");
        let text = secret.patch(false).unwrap();
        assert!(
            text.contains("*** (before)") && !text.contains("hunter"),
            "{text}"
        );
        assert!(secret.patch(true).unwrap().contains("hunter2"));
        let gone = difference(object("hunter2", "1"), None, "secrets")
            .patch(false)
            .unwrap();
        assert!(!gone.contains("hunter"), "{gone}");
    }

    #[test]
    fn lines_and_tally() {
        let mut one = difference(None, None, "pods");
        assert_eq!(one.line(), "~ pods a/x\n");
        one.namespace.clear();
        one.change = Change::Unknown;
        one.reason = Some("why".to_owned());
        assert_eq!(one.line(), "? pods x  (why)\n");
        let mut tally = Tally::default();
        tally.add(Change::Added);
        tally.add(Change::Unknown);
        assert_eq!(
            tally.to_string(),
            "1 added, 0 removed, 0 changed, 1 not comparable"
        );
    }
}
