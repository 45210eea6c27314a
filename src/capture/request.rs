//! From a spec to a filter: what the user wrote, checked against what the cluster serves.
//!
//! Everything that is wrong is reported at once. A text that means no resource is an error, in the excluded ones too: a
//! typing error must neither make a backup smaller nor put into it what was to stay out.

use std::collections::BTreeSet;

use thiserror::Error;

use super::filter::{Filter, NamespaceFilter};
use crate::api::{BackupSpec, LabelSelector};
use crate::cluster::glob::GlobError;
use crate::cluster::{Discovery, Glob, GroupResource, ResolveError, Selector, SelectorError};
use crate::hooks::{HookError, Rules};

/// What is wrong with one part of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// A namespace pattern.
    #[error("{field}: {source}")]
    Namespace {
        /// The field of the spec.
        field: &'static str,
        /// Why.
        source: GlobError,
    },
    /// A resource.
    #[error("{field}: {source}")]
    Resource {
        /// The field of the spec.
        field: &'static str,
        /// Why.
        source: ResolveError,
    },
    /// A resource that cannot be stored, because it cannot be listed or not be created again.
    #[error(
        "includedResources: {resource} cannot be backed up: the cluster does not let it be listed, read, created and deleted"
    )]
    NotStorable {
        /// The resource.
        resource: String,
    },
    /// The same thing is asked for and ruled out.
    #[error("{what:?} is both included and excluded")]
    Contradiction {
        /// The namespace or resource.
        what: String,
    },
    /// Everything is ruled out.
    #[error("{field}: \"*\" leaves nothing to back up")]
    Nothing {
        /// The field of the spec.
        field: &'static str,
    },
    /// A selector.
    #[error("{field}: {source}")]
    Selector {
        /// The field of the spec.
        field: &'static str,
        /// Why.
        source: SelectorError,
    },
    /// A hook.
    #[error("hooks: {0}")]
    Hook(HookError),
    /// Both kinds of selectors.
    #[error("labelSelector and orLabelSelectors cannot be used together")]
    TwoSelectors,
}

impl RequestError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RequestError::Namespace { .. } => {
                Some("write names or patterns such as team-*".to_owned())
            }
            RequestError::Resource { source, .. } => Some(source.hint()),
            RequestError::NotStorable { .. } => None,
            RequestError::Contradiction { .. } => Some("leave it out of one of the two".to_owned()),
            RequestError::Nothing { .. } => None,
            RequestError::Selector { source, .. } => Some(source.hint().to_owned()),
            RequestError::Hook(error) => Some(error.hint()),
            RequestError::TwoSelectors => Some("put everything into orLabelSelectors".to_owned()),
        }
    }
}

/// Everything that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestErrors(pub Vec<RequestError>);

impl std::error::Error for RequestErrors {}

impl std::fmt::Display for RequestErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl RequestErrors {
    /// What to do about it, as far as that is known.
    pub fn hints(&self) -> Vec<String> {
        self.0.iter().filter_map(RequestError::hint).collect()
    }
}

/// A spec that can be meant, and what the user should be told about it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What is taken.
    pub filter: Filter,
    /// What is run around it.
    pub hooks: Rules,
    /// What may not be as the user thinks.
    pub warnings: Vec<String>,
}

/// Checks a spec against what the cluster serves.
pub fn resolve(spec: &BackupSpec, discovery: &Discovery) -> Result<Resolved, RequestErrors> {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let namespaces = namespaces(spec, &mut errors);
    let included = resources(
        "includedResources",
        &spec.included_resources,
        discovery,
        &mut errors,
        &mut warnings,
    );
    let excluded = resources(
        "excludedResources",
        &spec.excluded_resources,
        discovery,
        &mut errors,
        &mut warnings,
    );
    let included = match included {
        Chosen::Everything => None,
        Chosen::These(names) if spec.included_resources.is_empty() => {
            debug_assert!(names.is_empty());
            None
        }
        Chosen::These(names) => Some(names),
    };
    let excluded = match excluded {
        Chosen::Everything => {
            errors.push(RequestError::Nothing {
                field: "excludedResources",
            });
            BTreeSet::new()
        }
        Chosen::These(names) => names,
    };
    for name in included.iter().flatten() {
        if excluded.contains(name) {
            errors.push(RequestError::Contradiction {
                what: name.to_string(),
            });
        }
        let Some(resource) = discovery.find_name(name) else {
            continue;
        };
        if !resource.can_be_backed_up() {
            errors.push(RequestError::NotStorable {
                resource: name.to_string(),
            });
        } else if !resource.namespaced
            && !namespaces.is_everything()
            && spec.include_cluster_resources.is_none()
        {
            warnings.push(format!(
                "{name} has no namespaces and namespaces are filtered: only those that other objects refer to are taken; \
                 set includeClusterResources to take all"
            ));
        } else if !resource.namespaced && spec.include_cluster_resources == Some(false) {
            warnings.push(format!(
                "{name} has no namespaces and includeClusterResources is false: none are taken"
            ));
        }
    }
    let selectors = selectors(spec, &mut errors);
    let mut wrong = Vec::new();
    let hooks = Rules::read(spec.hooks.as_ref(), discovery, &mut wrong);
    errors.extend(wrong.into_iter().map(RequestError::Hook));
    if !errors.is_empty() {
        return Err(RequestErrors(errors));
    }
    let cluster_scoped = spec.include_cluster_resources;
    Ok(Resolved {
        filter: Filter {
            namespaces,
            included,
            excluded,
            cluster_scoped,
            selectors,
        },
        hooks,
        warnings,
    })
}

fn namespaces(spec: &BackupSpec, errors: &mut Vec<RequestError>) -> NamespaceFilter {
    let mut read = |field: &'static str, texts: &[String]| -> Vec<Glob> {
        let read = texts
            .iter()
            .filter_map(|text| match Glob::parse(text.trim()) {
                Ok(glob) => Some(glob),
                Err(source) => {
                    errors.push(RequestError::Namespace { field, source });
                    None
                }
            });
        read.collect()
    };
    let included = read("includedNamespaces", &spec.included_namespaces);
    let excluded = read("excludedNamespaces", &spec.excluded_namespaces);
    if excluded.iter().any(Glob::is_everything) {
        errors.push(RequestError::Nothing {
            field: "excludedNamespaces",
        });
    }
    for name in included.iter().filter_map(Glob::literal) {
        if excluded.iter().any(|glob| glob.literal() == Some(name)) {
            errors.push(RequestError::Contradiction {
                what: name.to_owned(),
            });
        }
    }
    NamespaceFilter { included, excluded }
}

enum Chosen {
    Everything,
    These(BTreeSet<GroupResource>),
}

fn resources(
    field: &'static str,
    texts: &[String],
    discovery: &Discovery,
    errors: &mut Vec<RequestError>,
    warnings: &mut Vec<String>,
) -> Chosen {
    let mut names = BTreeSet::new();
    for text in texts {
        if text.trim() == "*" {
            return Chosen::Everything;
        }
        match discovery.resolve(text) {
            Ok(resolved) => {
                if !resolved.also.is_empty() {
                    let also: Vec<String> = resolved.also.iter().map(|r| r.to_string()).collect();
                    warnings.push(format!(
                        "{field}: {text} is taken to mean {}; write {} if that was meant",
                        resolved.resource,
                        also.join(" or ")
                    ));
                }
                let resource = resolved.resource;
                names.insert(
                    resource
                        .stored_as
                        .clone()
                        .unwrap_or_else(|| resource.name.clone()),
                );
            }
            Err(source) => errors.push(RequestError::Resource { field, source }),
        }
    }
    Chosen::These(names)
}

fn selectors(spec: &BackupSpec, errors: &mut Vec<RequestError>) -> Vec<Selector> {
    if spec.label_selector.is_some() && !spec.or_label_selectors.is_empty() {
        errors.push(RequestError::TwoSelectors);
    }
    let mut read =
        |field: &'static str, selector: &LabelSelector| match Selector::from_spec(selector) {
            Ok(selector) => Some(selector),
            Err(source) => {
                errors.push(RequestError::Selector { field, source });
                None
            }
        };
    let mut selectors: Vec<Selector> = spec
        .label_selector
        .iter()
        .filter_map(|one| read("labelSelector", one))
        .collect();
    selectors.extend(
        spec.or_label_selectors
            .iter()
            .filter_map(|one| read("orLabelSelectors", one)),
    );
    // One that selects everything makes the others moot.
    if selectors.iter().any(Selector::is_everything) {
        selectors.clear();
    }
    selectors
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::discovery::sample;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let spec = BackupSpec {
            included_namespaces: strings(&["a", "[b"]),
            excluded_namespaces: strings(&["a"]),
            included_resources: strings(&["pods", "podz", "tokenreviews"]),
            excluded_resources: strings(&["po"]),
            label_selector: Some(LabelSelector::default()),
            or_label_selectors: vec![LabelSelector::default()],
            ..BackupSpec::default()
        };
        let errors = resolve(&spec, &sample()).unwrap_err();
        let text = errors.to_string();
        for part in [
            "includedNamespaces: '['",
            "\"a\" is both",
            "no resource \"podz\"",
            "tokenreviews.authentication.k8s.io cannot be backed up",
            "\"pods\" is both",
            "cannot be used together",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(
            errors
                .hints()
                .iter()
                .any(|hint| hint.contains("did you mean pods?")),
            "{:?}",
            errors.hints()
        );
    }

    #[test]
    fn aliases_mean_what_is_stored() {
        let spec = BackupSpec {
            excluded_resources: strings(&["events.events.k8s.io"]),
            ..BackupSpec::default()
        };
        let resolved = resolve(&spec, &sample()).unwrap();
        assert!(
            resolved
                .filter
                .excluded
                .contains(&GroupResource::new("", "events"))
        );
    }

    #[test]
    fn ambiguous_and_ineffective_choices_are_warned_of() {
        let spec = BackupSpec {
            included_namespaces: strings(&["a"]),
            included_resources: strings(&["services", "clusterroles"]),
            ..BackupSpec::default()
        };
        let warnings = resolve(&spec, &sample()).unwrap().warnings.join("\n");
        assert!(
            warnings.contains("services.serving.knative.dev"),
            "{warnings}"
        );
        assert!(
            warnings.contains("clusterroles.rbac.authorization.k8s.io has no namespaces"),
            "{warnings}"
        );
    }

    #[test]
    fn stars_mean_all_or_nothing() {
        let all = BackupSpec {
            included_namespaces: strings(&["*"]),
            included_resources: strings(&["*"]),
            ..BackupSpec::default()
        };
        let filter = resolve(&all, &sample()).unwrap().filter;
        assert!(filter.namespaces.is_everything() && filter.included.is_none());
        let nothing = BackupSpec {
            excluded_resources: strings(&["*"]),
            excluded_namespaces: strings(&["*"]),
            ..BackupSpec::default()
        };
        assert_eq!(resolve(&nothing, &sample()).unwrap_err().0.len(), 2);
    }
}
