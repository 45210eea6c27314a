//! What resource a user means.
//!
//! A resource may be written as plural, singular, short name or kind, in any case, with or without its group
//! (`deployments`, `Deployment`, `deploy.apps`, `deployments.v1.apps`). Without a group, a name that several groups have means
//! the first in the apiserver's order, as with kubectl, and full names go before short ones; the others are named, so
//! that a warning can be given.

use std::sync::Arc;

use thiserror::Error;

use super::discovery::Discovery;
use super::resource::Resource;

/// A resource that was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Others that the same text could have meant.
    pub also: Vec<Arc<Resource>>,
}

/// Why no resource is meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The cluster has no such resource.
    #[error("the cluster has no resource {text:?}")]
    Unknown {
        /// What was given.
        text: String,
        /// What is written nearly so.
        candidates: Vec<String>,
        /// Group versions that could not be asked.
        unread: Vec<String>,
    },
    /// A part of a resource cannot be chosen.
    #[error("{text:?} is a part of a resource, which cannot be chosen by itself")]
    Subresource {
        /// What was given.
        text: String,
    },
}

impl ResolveError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            ResolveError::Unknown {
                candidates, unread, ..
            } => {
                let mut hint = if candidates.is_empty() {
                    "`kubectl api-resources` lists what there is".to_owned()
                } else {
                    format!("did you mean {}?", candidates.join(" or "))
                };
                if !unread.is_empty() {
                    hint.push_str(&format!(" (could not ask {})", unread.join(", ")));
                }
                hint
            }
            ResolveError::Subresource { text } => {
                format!("write {:?}", text.split('/').next().unwrap_or_default())
            }
        }
    }
}

impl Discovery {
    /// The resource that a user means by this text.
    pub fn resolve(&self, text: &str) -> Result<Resolved, ResolveError> {
        if text.contains('/') {
            return Err(ResolveError::Subresource {
                text: text.to_owned(),
            });
        }
        let wanted = text.trim().to_ascii_lowercase();
        let (name, group) = match wanted.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (wanted.as_str(), None),
        };
        let mut matching: Vec<(bool, usize, &Arc<Resource>)> = Vec::new();
        for resource in self.resources() {
            if !group.is_none_or(|group| in_group(resource, group)) {
                continue;
            }
            let full = resource.plural() == name
                || resource.singular == name
                || resource.kind.to_ascii_lowercase() == name;
            if full
                || resource
                    .short_names
                    .iter()
                    .any(|short| short.eq_ignore_ascii_case(name))
            {
                matching.push((!full, resource.rank, resource));
            }
        }
        matching.sort_by_key(|(short, rank, _)| (*short, *rank));
        let mut matching = matching.into_iter().map(|(_, _, resource)| resource);
        let Some(first) = matching.next() else {
            return Err(ResolveError::Unknown {
                text: text.to_owned(),
                candidates: self.candidates(name),
                unread: self
                    .unread()
                    .iter()
                    .map(|unread| unread.group_version.clone())
                    .collect(),
            });
        };
        // Another name of the same objects is no other meaning.
        let stored = |resource: &Arc<Resource>| {
            resource
                .stored_as
                .clone()
                .unwrap_or_else(|| resource.name.clone())
        };
        let also = matching
            .filter(|other| stored(other) != stored(first))
            .cloned()
            .collect();
        Ok(Resolved {
            resource: Arc::clone(first),
            also,
        })
    }

    fn candidates(&self, name: &str) -> Vec<String> {
        let mut near: Vec<(usize, usize, String)> = self
            .resources()
            .iter()
            .filter_map(|resource| {
                let names = [resource.plural(), &resource.singular];
                let names = names
                    .into_iter()
                    .chain(resource.short_names.iter().map(String::as_str));
                let distance = names.map(|known| distance(known, name)).min()?;
                let starts = name.len() > 2 && resource.plural().starts_with(name);
                (starts || distance * 3 <= name.len())
                    .then(|| (distance, resource.rank, resource.to_string()))
            })
            .collect();
        near.sort();
        near.into_iter().take(3).map(|(_, _, name)| name).collect()
    }
}

fn in_group(resource: &Resource, group: &str) -> bool {
    if resource.group() == group {
        return true;
    }
    // `deployments.v1.apps`, and `pods.v1` for the core group.
    match group.split_once('.') {
        Some((version, group)) => {
            resource.group() == group && resource.versions.iter().any(|v| v == version)
        }
        None => resource.group().is_empty() && resource.versions.iter().any(|v| v == group),
    }
}

/// How many letters must be put in, left out or replaced to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::discovery::sample;
    use super::*;

    #[test]
    fn every_way_of_writing_a_resource_is_understood() {
        let discovery = sample();
        let table = [
            ("pods", "pods"),
            ("pod", "pods"),
            ("Pod", "pods"),
            ("PO", "pods"),
            ("pods.v1", "pods"),
            ("deploy", "deployments.apps"),
            ("Deployment.apps", "deployments.apps"),
            ("deployments.v1.apps", "deployments.apps"),
            ("svc", "services"),
            (
                "services.serving.knative.dev",
                "services.serving.knative.dev",
            ),
            ("ksvc", "services.serving.knative.dev"),
            ("events.events.k8s.io", "events.events.k8s.io"),
            ("gadgets.example.com", "gadgets.example.com"),
            ("widgets.v1beta1.example.com", "widgets.example.com"),
            (" crd ", "customresourcedefinitions.apiextensions.k8s.io"),
        ];
        for (text, expected) in table {
            assert_eq!(
                discovery.resolve(text).unwrap().resource.to_string(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn other_meanings_are_named() {
        let discovery = sample();
        let also = |text: &str| {
            let resolved = discovery.resolve(text).unwrap();
            resolved
                .also
                .iter()
                .map(|r| r.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(also("services"), ["services.serving.knative.dev"]);
        assert_eq!(also("po"), ["widgets.example.com"]);
        assert!(
            also("events").is_empty(),
            "the same objects under another name"
        );
    }

    #[test]
    fn unknown_resources_are_refused_with_candidates() {
        let discovery = sample();
        let error = discovery.resolve("deploymnets").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the cluster has no resource \"deploymnets\""
        );
        assert!(
            error.hint().contains("deployments.apps"),
            "{}",
            error.hint()
        );
        assert!(error.hint().contains("metrics.k8s.io/v1beta1"));
        assert!(
            discovery
                .resolve("config")
                .unwrap_err()
                .hint()
                .contains("configmaps")
        );
        assert!(discovery.resolve("pods.apps").is_err());
        assert!(discovery.resolve("").is_err());
        assert!(
            discovery
                .resolve("pods/log")
                .unwrap_err()
                .hint()
                .contains("\"pods\"")
        );
        assert!(
            discovery
                .resolve("zzzzzzz")
                .unwrap_err()
                .hint()
                .contains("kubectl api-resources")
        );
    }

    #[test]
    fn distances() {
        assert_eq!(
            (
                distance("kitten", "sitting"),
                distance("", "ab"),
                distance("a", "a")
            ),
            (3, 2, 0)
        );
    }
}
