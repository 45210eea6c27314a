//! Which resources and objects a backup takes.
//!
//! Exclusion wins over inclusion, always. A relation (a pod's claim, a claim's volume) brings in what was not included, but
//! never what was excluded. Cluster-scoped objects are three-valued as in Ark: all, none but namespaces, or, by default, all
//! if namespaces are not filtered and else those that objects taken refer to. The label `exclude-from-backup=true` under
//! ark's or Velero's prefix leaves out an object; on a Namespace, it leaves out everything in it.

use std::collections::BTreeSet;

use crate::api::labels;
use crate::cluster::kinds::NAMESPACES;
use crate::cluster::{Glob, GroupResource, ObjectMetaView, Resource, Selector};

/// What a backup takes.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Namespaces.
    pub namespaces: NamespaceFilter,
    /// Resources that are taken; `None` means all.
    pub included: Option<BTreeSet<GroupResource>>,
    /// Resources that are not.
    pub excluded: BTreeSet<GroupResource>,
    /// Cluster-scoped objects: all, none, or what fits.
    pub cluster_scoped: Option<bool>,
    /// Objects must match one of these, if there are any.
    pub selectors: Vec<Selector>,
}

/// Which namespaces are taken.
#[derive(Debug, Clone, Default)]
pub struct NamespaceFilter {
    /// Those taken; none means all.
    pub included: Vec<Glob>,
    /// Those left out.
    pub excluded: Vec<Glob>,
}

impl NamespaceFilter {
    /// Whether every namespace is taken.
    pub fn is_everything(&self) -> bool {
        self.excluded.is_empty()
            && (self.included.is_empty() || self.included.iter().any(Glob::is_everything))
    }

    /// Whether a namespace of that name is taken.
    pub fn takes(&self, name: &str) -> bool {
        (self.included.is_empty() || self.included.iter().any(|glob| glob.matches(name)))
            && !self.excluded.iter().any(|glob| glob.matches(name))
    }
}

/// How a resource is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It is listed.
    Listed,
    /// Only objects that others refer to are taken.
    Referenced,
    /// It is left out, for this reason.
    LeftOut(&'static str),
}

impl Filter {
    /// How a resource is treated.
    pub fn treats(&self, resource: &Resource) -> Treatment {
        if self.excluded.contains(&resource.name) {
            return Treatment::LeftOut("excluded");
        }
        let is_namespaces = resource.name == NAMESPACES;
        if !resource.namespaced && !is_namespaces && self.cluster_scoped == Some(false) {
            return Treatment::LeftOut("cluster-scoped");
        }
        if self
            .included
            .as_ref()
            .is_some_and(|included| !included.contains(&resource.name))
        {
            return Treatment::Referenced;
        }
        let narrowed = self.cluster_scoped.is_none() && !self.namespaces.is_everything();
        if !resource.namespaced && !is_namespaces && narrowed {
            return Treatment::Referenced;
        }
        Treatment::Listed
    }

    /// Whether objects that were taken may refer to others that the filter passes over.
    pub fn needs_relations(&self) -> bool {
        !self.selectors.is_empty()
            || self.included.is_some()
            || (self.cluster_scoped.is_none() && !self.namespaces.is_everything())
    }

    /// Whether the selectors take an object with this metadata.
    pub fn selects(&self, meta: &ObjectMetaView<'_>) -> bool {
        self.selectors.is_empty()
            || self
                .selectors
                .iter()
                .any(|selector| selector.matches(label_pairs(meta)))
    }
}

fn label_pairs<'m>(
    meta: &'m ObjectMetaView<'_>,
) -> impl Iterator<Item = (&'m str, &'m str)> + Clone {
    meta.labels
        .iter()
        .map(|(key, value)| (key.as_ref(), value.as_ref()))
}

/// Whether an object says of itself that it is not to be backed up.
pub fn excludes_itself(meta: &ObjectMetaView<'_>) -> bool {
    !meta.labels.is_empty()
        && labels::lookup(label_pairs(meta), labels::EXCLUDE_FROM_BACKUP) == Some("true")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::discovery::sample;

    fn filter(
        included_namespaces: &[&str],
        excluded_namespaces: &[&str],
        cluster_scoped: Option<bool>,
    ) -> Filter {
        let globs = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Glob::parse(text).unwrap())
                .collect()
        };
        Filter {
            namespaces: NamespaceFilter {
                included: globs(included_namespaces),
                excluded: globs(excluded_namespaces),
            },
            cluster_scoped,
            ..Filter::default()
        }
    }

    #[test]
    fn namespaces_are_taken_by_pattern_and_exclusion_wins() {
        let table: &[(&[&str], &[&str], &str, bool)] = &[
            (&[], &[], "x", true),
            (&["*"], &[], "x", true),
            (&["a"], &[], "a", true),
            (&["a"], &[], "b", false),
            (&["team-*"], &["team-x"], "team-a", true),
            (&["team-*"], &["team-x"], "team-x", false),
            (&[], &["kube-*"], "kube-system", false),
            (&[], &["kube-*"], "default", true),
        ];
        for (included, excluded, name, expected) in table {
            assert_eq!(
                filter(included, excluded, None).namespaces.takes(name),
                *expected,
                "{included:?} {excluded:?} {name}"
            );
        }
    }

    #[test]
    fn cluster_scoped_is_three_valued() {
        use Treatment::{LeftOut, Listed, Referenced};
        let none = LeftOut("cluster-scoped");
        // namespaces filtered, includeClusterResources → nodes, namespaces, pods
        let table: &[(&[&str], Option<bool>, Treatment)] = &[
            (&[], None, Listed),
            (&[], Some(true), Listed),
            (&[], Some(false), none),
            (&["a"], None, Referenced),
            (&["a"], Some(true), Listed),
            (&["a"], Some(false), none),
            (&["*"], None, Listed),
        ];
        let discovery = sample();
        let resource = |name: &str| discovery.resolve(name).unwrap().resource;
        for (namespaces, cluster_scoped, expected) in table {
            let filter = filter(namespaces, &[], *cluster_scoped);
            assert_eq!(
                filter.treats(&resource("nodes")),
                *expected,
                "{namespaces:?} {cluster_scoped:?}"
            );
            assert_eq!(filter.treats(&resource("namespaces")), Listed);
            assert_eq!(filter.treats(&resource("pods")), Listed);
        }
    }

    #[test]
    fn excluded_wins_and_not_included_means_only_by_reference() {
        let discovery = sample();
        let resource = |name: &str| discovery.resolve(name).unwrap().resource;
        let mut filter = filter(&[], &[], None);
        filter.included = Some(
            [
                resource("pods").name.clone(),
                resource("secrets").name.clone(),
            ]
            .into(),
        );
        filter.excluded = [
            resource("secrets").name.clone(),
            resource("namespaces").name.clone(),
        ]
        .into();
        assert_eq!(filter.treats(&resource("pods")), Treatment::Listed);
        assert_eq!(filter.treats(&resource("pvc")), Treatment::Referenced);
        assert_eq!(
            filter.treats(&resource("secrets")),
            Treatment::LeftOut("excluded")
        );
        assert_eq!(
            filter.treats(&resource("namespaces")),
            Treatment::LeftOut("excluded")
        );
    }

    #[test]
    fn objects_can_exclude_themselves_under_both_prefixes() {
        let excludes = |label: &str, value: &str| {
            let json = format!(r#"{{"metadata":{{"name":"x","labels":{{"{label}":"{value}"}}}}}}"#);
            excludes_itself(&ObjectMetaView::parse(&json).unwrap())
        };
        assert!(excludes("velero.io/exclude-from-backup", "true"));
        assert!(excludes("ark.heptio.com/exclude-from-backup", "true"));
        assert!(!excludes("ark.heptio.com/exclude-from-backup", "false"));
        assert!(!excludes("example.com/exclude-from-backup", "true"));
    }

    #[test]
    fn one_of_several_selectors_is_enough() {
        let mut filter = Filter::default();
        let meta =
            ObjectMetaView::parse(r#"{"metadata":{"name":"x","labels":{"app":"web"}}}"#).unwrap();
        assert!(filter.selects(&meta));
        filter.selectors = Selector::parse_any("app=api or app=web").unwrap();
        assert!(filter.selects(&meta));
        filter.selectors = Selector::parse_any("app=api or tier").unwrap();
        assert!(!filter.selects(&meta));
    }
}
