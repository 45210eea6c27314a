//! The objects of a backup as readers need them: by the name a person types, and as they were served.
//!
//! A resource is found without asking any cluster, through the entries that the backup itself holds. Those are read by
//! jumping from entry to entry, not by walking over the objects between them.

use std::fmt;

use ark_engine::objects::{ObjectKey, parse_key, resource_prefix};
use ark_engine::{MapReader, Reader};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::error::{Doing, ReadError, Result};
use crate::api::ResourceEntry;
use crate::restore::backup::behind;

/// A resource of a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackedUpResource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural name.
    pub resource: String,
    /// What the backup says of it.
    #[serde(flatten)]
    pub entry: ResourceEntry,
}

/// `deployments.apps`
impl fmt::Display for BackedUpResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

impl BackedUpResource {
    /// `apps/v1`
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.entry.version.clone(),
            group => format!("{group}/{}", self.entry.version),
        }
    }

    /// The first key of its objects and the first key behind them.
    pub fn key_range(&self) -> (Vec<u8>, Vec<u8>) {
        let from = resource_prefix(&self.group, &self.resource);
        let to = behind(&from);
        (from, to)
    }

    fn is(&self, name: &str, group: Option<&str>) -> bool {
        let full = self.resource == name
            || self.entry.kind.eq_ignore_ascii_case(name)
            || SHORT_NAMES
                .iter()
                .any(|(short, plural)| *short == name && *plural == self.resource);
        full && group.is_none_or(|group| {
            self.group == group
                || self.group.starts_with(&format!("{group}."))
                || format!("{}.{}", self.entry.version, self.group) == group
        })
    }

    /// The object as the apiserver served it by itself: list items of built-in kinds lack apiVersion and kind.
    pub fn complete(&self, raw: &[u8]) -> Result<serde_json::Value, serde_json::Error> {
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(raw)?;
        let mut whole = serde_json::Map::new();
        let api_version = object.remove("apiVersion");
        let kind = object.remove("kind");
        whole.insert(
            "apiVersion".to_owned(),
            api_version.unwrap_or_else(|| self.api_version().into()),
        );
        whole.insert(
            "kind".to_owned(),
            kind.unwrap_or_else(|| self.entry.kind.clone().into()),
        );
        whole.extend(object);
        Ok(serde_json::Value::Object(whole))
    }

    /// As [`BackedUpResource::complete`], byte for byte: what lacks is put in front.
    pub fn complete_bytes(&self, raw: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            kind: Option<IgnoredAny>,
            api_version: Option<IgnoredAny>,
        }
        let head: Head = serde_json::from_slice(raw)?;
        let mut whole = b"{".to_vec();
        let mut field = |name: &str, value: &str| {
            whole.extend_from_slice(format!("\"{name}\":").as_bytes());
            serde_json::to_writer(&mut whole, value)?;
            whole.push(b',');
            Ok::<_, serde_json::Error>(())
        };
        if head.kind.is_none() {
            field("kind", &self.entry.kind)?;
        }
        if head.api_version.is_none() {
            field("apiVersion", &self.api_version())?;
        }
        let open = raw.iter().position(|byte| *byte == b'{').unwrap_or(0) + 1;
        if raw[open..].trim_ascii_start().starts_with(b"}") && whole.len() > 1 {
            whole.pop();
        }
        whole.extend_from_slice(&raw[open..]);
        Ok(whole)
    }
}

/// Every resource of the backup, in the order of its keys.
pub async fn resources(
    reader: &Reader,
    map: &MapReader,
    backup: &str,
) -> Result<Vec<BackedUpResource>> {
    let mut found = Vec::new();
    let mut from = Vec::new();
    loop {
        let next = map
            .range(&from, None)
            .next()
            .await
            .doing(format!("cannot read the objects of {backup}"))?;
        let Some((key, value)) = next else { break };
        let Some(parsed) = parse_key(&key) else {
            // A key of a later version of ark: pass over it.
            from = key;
            from.push(0);
            continue;
        };
        if parsed.is_resource() {
            let bytes = reader
                .read(&value)
                .await
                .doing(format!("cannot read the entry of {parsed} in {backup}"))?;
            let entry =
                ResourceEntry::from_bytes(&bytes).map_err(|source| ReadError::Document {
                    of: format!("{parsed} in {backup}"),
                    source,
                })?;
            found.push(BackedUpResource {
                group: parsed.group.clone(),
                resource: parsed.resource.clone(),
                entry,
            });
        }
        from = behind(&resource_prefix(&parsed.group, &parsed.resource));
    }
    Ok(found)
}

/// The resource that a person means: plural, singular, kind or short name, with or without group.
pub fn resolve<'a>(
    resources: &'a [BackedUpResource],
    text: &str,
    backup: &str,
) -> Result<&'a BackedUpResource> {
    let wanted = text.to_ascii_lowercase();
    let (name, group) = match wanted.split_once('.') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted.as_str(), None),
    };
    resources
        .iter()
        .find(|resource| resource.is(name, group))
        .ok_or_else(|| ReadError::NoResource {
            backup: backup.to_owned(),
            resource: text.to_owned(),
        })
}

/// `namespace/name`, or `name`.
pub fn object_name(key: &ObjectKey) -> String {
    qualified(&key.namespace, &key.name)
}

/// `namespace/name`, or `name`.
pub fn qualified(namespace: &str, name: &str) -> String {
    match namespace {
        "" => name.to_owned(),
        namespace => format!("{namespace}/{name}"),
    }
}

/// Short names of the built-in resources. A backup does not hold those of custom ones.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("cj", "cronjobs"),
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions"),
    ("crds", "customresourcedefinitions"),
    ("csr", "certificatesigningrequests"),
    ("deploy", "deployments"),
    ("ds", "daemonsets"),
    ("ep", "endpoints"),
    ("ev", "events"),
    ("hpa", "horizontalpodautoscalers"),
    ("ing", "ingresses"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies"),
    ("no", "nodes"),
    ("ns", "namespaces"),
    ("pc", "priorityclasses"),
    ("pdb", "poddisruptionbudgets"),
    ("po", "pods"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("quota", "resourcequotas"),
    ("rc", "replicationcontrollers"),
    ("rs", "replicasets"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses"),
    ("sts", "statefulsets"),
    ("svc", "services"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::api::Captured;

    fn resource(group: &str, plural: &str, kind: &str) -> BackedUpResource {
        BackedUpResource {
            group: group.to_owned(),
            resource: plural.to_owned(),
            entry: ResourceEntry {
                version: "v1".to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
                namespaced: true,
                captured: Captured::Yes,
                reason: None,
            },
        }
    }

    #[test]
    fn resources_are_found_as_people_name_them() {
        let resources = [
            resource("", "pods", "Pod"),
            resource("apps", "deployments", "Deployment"),
            resource("metrics.k8s.io", "pods", "PodMetrics"),
        ];
        for (text, found) in [
            ("po", "pods"),
            ("pod", "pods"),
            ("Pods", "pods"),
            ("deploy", "deployments.apps"),
            ("Deployment.apps", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("pods.metrics.k8s.io", "pods.metrics.k8s.io"),
            ("pods.metrics", "pods.metrics.k8s.io"),
        ] {
            assert_eq!(
                resolve(&resources, text, "b").unwrap().to_string(),
                found,
                "{text}"
            );
        }
        let error = resolve(&resources, "deployments.batch", "nightly").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the backup nightly has no resource \"deployments.batch\""
        );
    }

    #[test]
    fn objects_are_whole_again() {
        let whole = resource("apps", "deployments", "Deployment")
            .complete(br#"{"metadata":{"name":"x"}}"#)
            .unwrap();
        assert_eq!(
            whole.to_string(),
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"}}"#
        );
        let kept = resource("", "widgets", "Widget")
            .complete(br#"{"apiVersion":"a/v2","kind":"W"}"#)
            .unwrap();
        assert_eq!(kept["apiVersion"], "a/v2");
    }

    #[test]
    fn bytes_stay_as_they_were_served() {
        let deployment = resource("apps", "deployments", "Deployment");
        for (raw, whole) in [
            (
                r#"{"metadata":{"name":"x","b":1.0},"a":[1, 2]}"#,
                r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"x","b":1.0},"a":[1, 2]}"#,
            ),
            (
                r#"{"kind":"D","x":1}"#,
                r#"{"apiVersion":"apps/v1","kind":"D","x":1}"#,
            ),
            (
                r#"{"apiVersion":"a/v2","kind":"W"}"#,
                r#"{"apiVersion":"a/v2","kind":"W"}"#,
            ),
            ("{}", r#"{"kind":"Deployment","apiVersion":"apps/v1"}"#),
        ] {
            let found = deployment.complete_bytes(raw.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), whole);
        }
        assert!(deployment.complete_bytes(b"[1]").is_err());
    }

    #[test]
    fn the_key_behind_a_resource_is_behind_all_its_objects() {
        let (from, to) = resource("apps", "deployments", "Deployment").key_range();
        let last = ark_engine::objects::object_key("apps", "deployments", "zzz", "zzz");
        assert!(from < last && last < to);
        assert!(to < resource_prefix("apps", "deploymentsx"));
    }
}
