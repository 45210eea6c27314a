//! How differences between two states of a cluster's objects are shown.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use super::printer::safe_text;
use crate::server::reading::Difference;
use crate::server::reading::difference::Change;

/// A difference as it is shown.
pub trait Shown {
    /// `~ deployments.apps shop/web`
    fn line(&self) -> String;
    /// The unified diff of the two objects as YAML, without the apiserver's bookkeeping.
    fn patch(&self, show_secrets: bool) -> Result<String, serde_yaml_ng::Error>;
}

impl Shown for Difference {
    fn line(&self) -> String {
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

    fn patch(&self, show_secrets: bool) -> Result<String, serde_yaml_ng::Error> {
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
    use serde_json::json;

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
