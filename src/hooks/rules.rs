//! The hooks of a spec, checked: which pods each of them is for.

use thiserror::Error;

use super::operation;
use super::plan::Stage;
use super::pods::Pod;
use crate::api::{BackupHook, BackupHooks, BackupResourceHooks, ExecHook, LabelSelector};
use crate::cluster::glob::GlobError;
use crate::cluster::kinds::PODS;
use crate::cluster::{Discovery, Glob, ResolveError, Selector, SelectorError};

/// What is wrong with the hooks of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HookError {
    /// A namespace pattern.
    #[error("hook {hook}: {field}: {source}")]
    Namespace {
        /// The hook's name.
        hook: String,
        /// The field.
        field: &'static str,
        /// Why.
        source: GlobError,
    },
    /// A resource.
    #[error("hook {hook}: {field}: {source}")]
    Resource {
        /// The hook's name.
        hook: String,
        /// The field.
        field: &'static str,
        /// Why.
        source: ResolveError,
    },
    /// A selector.
    #[error("hook {hook}: labelSelector: {source}")]
    Selector {
        /// The hook's name.
        hook: String,
        /// Why.
        source: SelectorError,
    },
    /// No pod is meant.
    #[error("hook {hook} is for no pods, and commands are run in pods only")]
    NotPods {
        /// The hook's name.
        hook: String,
    },
    /// An init container is none.
    #[error("hook {hook}: an init container cannot be used: {why}")]
    Container {
        /// The hook's name.
        hook: String,
        /// Why.
        why: String,
    },
    /// A hook around the whole operation.
    #[error("hook {hook}: {why}")]
    Operation {
        /// The hook's name.
        hook: String,
        /// Why.
        why: String,
    },
    /// Nothing is to be run.
    #[error("hook {hook}: a command is empty")]
    NoCommand {
        /// The hook's name.
        hook: String,
    },
}

impl HookError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            HookError::Namespace { .. } => "write names or patterns such as team-*".to_owned(),
            HookError::Resource { source, .. } => source.hint(),
            HookError::Selector { source, .. } => source.hint().to_owned(),
            HookError::NotPods { .. } => {
                "leave out includedResources and excludedResources of the hook".to_owned()
            }
            HookError::Container { .. } => "give it a name and an image, as in a pod".to_owned(),
            HookError::Operation { .. } => {
                "`kubectl explain backup.spec.hooks` says what there is".to_owned()
            }
            HookError::NoCommand { .. } => "name a program".to_owned(),
        }
    }
}

/// Which pods a hook of a spec is for.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    included: Vec<Glob>,
    excluded: Vec<Glob>,
    selector: Selector,
}

/// What a user writes to say which pods a hook is for.
pub(super) struct Written<'a> {
    pub name: &'a str,
    pub included_namespaces: &'a [String],
    pub excluded_namespaces: &'a [String],
    pub included_resources: &'a [String],
    pub excluded_resources: &'a [String],
    pub label_selector: Option<&'a LabelSelector>,
}

impl Selection {
    /// Reads what is written; everything that is wrong is told at once.
    pub fn read(
        written: &Written<'_>,
        discovery: &Discovery,
        errors: &mut Vec<HookError>,
    ) -> Selection {
        let hook = || written.name.to_owned();
        let mut globs = |field: &'static str, texts: &[String]| {
            let mut globs = Vec::new();
            for text in texts {
                match Glob::parse(text.trim()) {
                    Ok(glob) => globs.push(glob),
                    Err(source) => errors.push(HookError::Namespace {
                        hook: hook(),
                        field,
                        source,
                    }),
                }
            }
            globs
        };
        let included = globs("includedNamespaces", written.included_namespaces);
        let excluded = globs("excludedNamespaces", written.excluded_namespaces);
        let mut has_pods = |field: &'static str, texts: &[String]| {
            let mut has = false;
            for text in texts {
                match discovery.resolve(text) {
                    _ if text.trim() == "*" => has = true,
                    Ok(resolved) => has |= resolved.resource.name == PODS,
                    Err(source) => errors.push(HookError::Resource {
                        hook: hook(),
                        field,
                        source,
                    }),
                }
            }
            has
        };
        let before = has_pods("includedResources", written.included_resources);
        let not = has_pods("excludedResources", written.excluded_resources);
        if not || !(before || written.included_resources.is_empty()) {
            errors.push(HookError::NotPods { hook: hook() });
        }
        let selector = match written.label_selector.map(Selector::from_spec) {
            None => Selector::default(),
            Some(Ok(selector)) => selector,
            Some(Err(source)) => {
                errors.push(HookError::Selector {
                    hook: hook(),
                    source,
                });
                Selector::default()
            }
        };
        Selection {
            included,
            excluded,
            selector,
        }
    }

    /// Whether a pod with these labels in that namespace is meant.
    pub fn takes<'l>(
        &self,
        namespace: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
    ) -> bool {
        (self.included.is_empty() || self.included.iter().any(|glob| glob.matches(namespace)))
            && !self.excluded.iter().any(|glob| glob.matches(namespace))
            && self.selector.matches(labels)
    }
}

#[derive(Debug, Clone)]
struct Rule {
    name: String,
    selection: Selection,
    pre: Vec<ExecHook>,
    post: Vec<ExecHook>,
}

/// The hooks of a Backup's spec.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads them.
    pub fn read(
        spec: Option<&BackupHooks>,
        discovery: &Discovery,
        errors: &mut Vec<HookError>,
    ) -> Rules {
        if let Some(hooks) = spec {
            errors.extend(operation::check(hooks.before.iter().chain(&hooks.after)));
        }
        let resources = spec.map(|hooks| hooks.resources.as_slice());
        let rules = resources.unwrap_or_default().iter().map(|written| {
            let commands = |hooks: &[BackupHook]| -> Vec<ExecHook> {
                hooks.iter().map(|hook| hook.exec.clone()).collect()
            };
            let (pre, post) = (commands(&written.pre), commands(&written.post));
            let program =
                |exec: &ExecHook| exec.command.first().is_some_and(|word| !word.is_empty());
            if !pre.iter().chain(&post).all(program) {
                errors.push(HookError::NoCommand {
                    hook: written.name.clone(),
                });
            }
            Rule {
                name: written.name.clone(),
                selection: Selection::read(&of(written), discovery, errors),
                pre,
                post,
            }
        });
        Rules(rules.collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is for a pod with these labels in that namespace.
    pub fn takes<'l>(
        &self,
        namespace: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
    ) -> bool {
        self.0
            .iter()
            .any(|rule| rule.selection.takes(namespace, labels.clone()))
    }

    /// What is to be run in a pod at that stage, with the name of the hook that says so.
    pub(super) fn hooks(&self, pod: &Pod, stage: Stage) -> impl Iterator<Item = (&str, &ExecHook)> {
        let rules = self
            .0
            .iter()
            .filter(|rule| rule.selection.takes(&pod.name.namespace, pod.label_pairs()));
        rules.flat_map(move |rule| {
            let hooks = match stage {
                Stage::Pre => &rule.pre,
                Stage::Post => &rule.post,
            };
            hooks.iter().map(|hook| (rule.name.as_str(), hook))
        })
    }
}

fn of(written: &BackupResourceHooks) -> Written<'_> {
    Written {
        name: &written.name,
        included_namespaces: &written.included_namespaces,
        excluded_namespaces: &written.excluded_namespaces,
        included_resources: &written.included_resources,
        excluded_resources: &written.excluded_resources,
        label_selector: written.label_selector.as_ref(),
    }
}
