//! What a backup will read, decided before anything is read.
//!
//! The plan is a pure function of the filter, what the cluster serves, and its namespaces. Listings stand in the order of
//! the `objects` dataset, so that a capture can stream. Few namespaces are listed one by one, which leaves the rest of a
//! large cluster unread; many are cheaper to read as a whole and to filter.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::error::Result;
use super::filter::{Filter, Treatment, excludes_itself};
use super::request;
use crate::api::BackupSpec;
use crate::cluster::kinds::NAMESPACES;
use crate::cluster::{Cluster, Discovery, Glob, ListOptions, Lister, ObjectMetaView, Resource};
use crate::hooks::Rules;

/// So many namespaces are always listed one by one.
const FEW_NAMESPACES: usize = 8;
/// One namespace in so many: then too.
const FEW_OF_ALL: usize = 20;

/// What a backup will read.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What is listed, in key order.
    pub listings: Vec<Listing>,
    /// Resources of which only objects that others refer to are taken.
    #[serde(serialize_with = "by_name")]
    pub referenced: Vec<Arc<Resource>>,
    /// Resources that are left out, and why.
    pub left_out: Vec<LeftOut>,
    /// The namespaces, where they are filtered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Namespaces that exclude themselves by their label.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub excluded_by_label: BTreeSet<String>,
    /// Objects must match one of these, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<String>,
    /// Whether related objects are looked for afterwards.
    pub relations: bool,
    /// What the user should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(skip)]
    pub(super) filter: Filter,
    #[serde(skip)]
    pub(super) discovery: Arc<Discovery>,
    #[serde(skip)]
    pub(super) hooks: Rules,
}

/// One resource that is listed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// The resource.
    #[serde(serialize_with = "name")]
    pub resource: Arc<Resource>,
    /// The version.
    pub version: String,
    /// The namespaces that are listed one by one, in key order; absent means all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// What the apiserver selects by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
}

/// A resource that is left out.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The resource.
    #[serde(serialize_with = "name")]
    pub resource: Arc<Resource>,
    /// Why.
    pub reason: String,
}

fn name<S: Serializer>(resource: &Arc<Resource>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(resource)
}

fn by_name<S: Serializer>(resources: &[Arc<Resource>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(resources.iter().map(|resource| resource.to_string()))
}

/// A namespace of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNamespace {
    /// Its name.
    pub name: String,
    /// Whether it excludes itself by its label.
    pub excludes_itself: bool,
}

/// Asks the cluster what it serves and which namespaces it has, and makes the plan.
pub async fn prepare(cluster: &Cluster, spec: &BackupSpec) -> Result<Plan> {
    let discovery = Arc::new(Discovery::load(cluster).await?);
    let resolved = request::resolve(spec, &discovery)?;
    let mut warnings = resolved.warnings;
    let known = match read_namespaces(cluster, &discovery).await {
        Ok(known) => Some(known),
        Err(error) if error.is_forbidden() => {
            warnings.push(format!(
                "the namespaces cannot be listed, so labels on them are not seen: {error}"
            ));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let mut plan = plan(resolved.filter, discovery, known.as_deref());
    warnings.append(&mut plan.warnings);
    plan.warnings = warnings;
    plan.hooks = resolved.hooks;
    Ok(plan)
}

async fn read_namespaces(
    cluster: &Cluster,
    discovery: &Discovery,
) -> Result<Vec<KnownNamespace>, crate::cluster::Error> {
    let mut known = Vec::new();
    let Some(resource) = discovery.find_name(&NAMESPACES) else {
        return Ok(known);
    };
    let mut lister = Lister::new(cluster, resource, &ListOptions::default());
    while let Some(page) = lister.next().await? {
        for item in page.items() {
            let meta = item?.meta;
            known.push(KnownNamespace {
                excludes_itself: excludes_itself(&meta),
                name: meta.name.into_owned(),
            });
        }
    }
    Ok(known)
}

/// Makes the plan. Namespaces that could not be read are `None`; then only names that the filter spells out are known.
pub fn plan(filter: Filter, discovery: Arc<Discovery>, known: Option<&[KnownNamespace]>) -> Plan {
    let mut warnings: Vec<String> = discovery
        .unread()
        .iter()
        .map(|unread| unread.to_string())
        .collect();
    let everything = filter.namespaces.is_everything();
    let excluded_by_label: BTreeSet<String> = known
        .unwrap_or_default()
        .iter()
        .filter(|ns| ns.excludes_itself)
        .map(|ns| ns.name.clone())
        .collect();
    let literals = filter.namespaces.included.iter().filter_map(Glob::literal);
    let only_literals = filter
        .namespaces
        .included
        .iter()
        .all(|glob| glob.literal().is_some());
    let chosen: Option<Vec<String>> = match known {
        _ if everything => None,
        Some(known) => {
            let taken =
                |ns: &&KnownNamespace| filter.namespaces.takes(&ns.name) && !ns.excludes_itself;
            Some(
                known
                    .iter()
                    .filter(taken)
                    .map(|ns| ns.name.clone())
                    .collect(),
            )
        }
        None if only_literals && !filter.namespaces.included.is_empty() => Some(
            literals
                .clone()
                .filter(|name| filter.namespaces.takes(name))
                .map(str::to_owned)
                .collect(),
        ),
        None => None,
    };
    let chosen = chosen.map(|mut names| {
        names.sort_by_cached_key(|name| format!("{name}/"));
        names.dedup();
        names
    });
    if let Some(known) = known {
        for name in literals {
            if !known.iter().any(|ns| ns.name == name) {
                warnings.push(format!("the cluster has no namespace {name:?}"));
            }
        }
        if chosen.as_ref().is_some_and(Vec::is_empty) {
            warnings.push("no namespace of the cluster is taken".to_owned());
        }
    }
    let one_by_one = chosen.clone().filter(|chosen| {
        known.is_none()
            || chosen.len() <= FEW_NAMESPACES.max(known.unwrap_or_default().len() / FEW_OF_ALL)
    });
    let label_selector = match filter.selectors.as_slice() {
        [one] => Some(one.to_string()),
        _ => None,
    };
    let (mut listings, mut referenced, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for resource in discovery.resources() {
        let leave = |reason: String| LeftOut {
            resource: Arc::clone(resource),
            reason,
        };
        if !resource.can_be_backed_up() {
            // Reviews and the like are no objects at all; only what can be listed is worth a word.
            if resource.verbs.has(crate::cluster::Verbs::LIST) {
                left_out.push(leave("it cannot be created or deleted".to_owned()));
            }
            continue;
        }
        if let Some(stored) = &resource.stored_as {
            left_out.push(leave(format!("stored as {stored}")));
            continue;
        }
        match filter.treats(resource) {
            Treatment::Listed => listings.push(Listing {
                resource: Arc::clone(resource),
                version: resource.version.clone(),
                namespaces: one_by_one.clone().filter(|_| resource.namespaced),
                label_selector: label_selector.clone(),
            }),
            Treatment::Referenced => referenced.push(Arc::clone(resource)),
            Treatment::LeftOut(reason) => left_out.push(leave(reason.to_owned())),
        }
    }
    Plan {
        listings,
        referenced,
        left_out,
        namespaces: chosen,
        excluded_by_label,
        selectors: filter
            .selectors
            .iter()
            .map(|selector| selector.to_string())
            .collect(),
        relations: filter.needs_relations(),
        warnings,
        filter,
        discovery,
        hooks: Rules::default(),
    }
}

impl Plan {
    /// Whether objects of that namespace are taken.
    pub fn takes_namespace(&self, name: &str) -> bool {
        self.filter.namespaces.takes(name) && !self.excluded_by_label.contains(name)
    }

    /// Whether an object with these labels is taken.
    pub(super) fn takes_by_labels(&self, meta: &ObjectMetaView<'_>) -> bool {
        !excludes_itself(meta) && self.filter.selects(meta)
    }

    /// Whether every object of the resource that namespaces and labels allow is listed.
    pub(super) fn lists_all(&self, resource: &Resource) -> bool {
        self.filter.selectors.is_empty() && self.filter.treats(resource) == Treatment::Listed
    }

    /// Whether objects of the resource may be taken because others refer to them.
    pub(super) fn takes_related(&self, resource: &Resource) -> bool {
        resource.can_be_backed_up()
            && !matches!(self.filter.treats(resource), Treatment::LeftOut(_))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespaces {
            None => writeln!(f, "Namespaces:  all")?,
            Some(names) if names.is_empty() => writeln!(f, "Namespaces:  none")?,
            Some(names) => writeln!(f, "Namespaces:  {}", names.join(", "))?,
        }
        if !self.excluded_by_label.is_empty() {
            let names: Vec<&str> = self.excluded_by_label.iter().map(String::as_str).collect();
            writeln!(f, "Left out by their label:  {}", names.join(", "))?;
        }
        if !self.selectors.is_empty() {
            writeln!(f, "Selector:    {}", self.selectors.join(" or "))?;
        }
        writeln!(f, "Resources:")?;
        for listing in &self.listings {
            let scope = match &listing.namespaces {
                Some(names) => format!("{} namespaces one by one", names.len()),
                None if listing.resource.namespaced => "all namespaces at once".to_owned(),
                None => "cluster-scoped".to_owned(),
            };
            writeln!(f, "  {} {} ({scope})", listing.resource, listing.version)?;
        }
        if self.relations && !self.referenced.is_empty() {
            writeln!(f, "Only what the objects above refer to:")?;
            for resource in self
                .referenced
                .iter()
                .filter(|resource| super::related::can_be_referred_to(resource))
            {
                writeln!(f, "  {resource}")?;
            }
        }
        for left_out in &self.left_out {
            writeln!(f, "Not: {} ({})", left_out.resource, left_out.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cluster::discovery::sample;

    fn known(names: &[&str]) -> Vec<KnownNamespace> {
        let one = |name: &&str| KnownNamespace {
            excludes_itself: name.starts_with('!'),
            name: name.trim_start_matches('!').to_owned(),
        };
        names.iter().map(one).collect()
    }

    fn plan_of(spec: BackupSpec, namespaces: Option<&[KnownNamespace]>) -> Plan {
        let discovery = Arc::new(sample());
        let resolved = request::resolve(&spec, &discovery).unwrap();
        plan(resolved.filter, discovery, namespaces)
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn without_filters_everything_is_listed_once_in_key_order() {
        let plan = plan_of(BackupSpec::default(), Some(&known(&["a", "!b"])));
        let names: Vec<_> = plan
            .listings
            .iter()
            .map(|l| l.resource.name.clone())
            .collect();
        assert!(names.is_sorted() && !plan.relations && plan.namespaces.is_none());
        assert_eq!(
            names
                .iter()
                .filter(|name| name.resource == "events")
                .count(),
            1
        );
        assert!(!names.iter().any(|name| name.resource == "tokenreviews"));
        assert!(
            plan.takes_namespace("a")
                && !plan.takes_namespace("b")
                && plan.takes_namespace("made-later")
        );
        assert!(plan.warnings[0].contains("metrics.k8s.io/v1beta1"));
    }

    #[test]
    fn few_namespaces_are_listed_one_by_one_in_key_order() {
        let spec = BackupSpec {
            included_namespaces: strings(&["a*"]),
            ..BackupSpec::default()
        };
        let plan = plan_of(spec, Some(&known(&["a", "a-b", "a0", "b", "!ax"])));
        let pods = plan
            .listings
            .iter()
            .find(|l| l.resource.plural() == "pods")
            .unwrap();
        // '-' sorts before '/', which sorts before '0'.
        assert_eq!(pods.namespaces.as_deref().unwrap(), ["a-b", "a", "a0"]);
        let namespaces = plan
            .listings
            .iter()
            .find(|l| l.resource.plural() == "namespaces")
            .unwrap();
        assert_eq!(namespaces.namespaces, None);
        assert!(
            plan.relations
                && plan
                    .referenced
                    .iter()
                    .any(|r| r.plural() == "persistentvolumes")
        );
    }

    #[test]
    fn many_namespaces_are_listed_at_once() {
        let names: Vec<String> = (0..40).map(|n| format!("n{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let spec = BackupSpec {
            excluded_namespaces: strings(&["n00"]),
            ..BackupSpec::default()
        };
        let plan = plan_of(spec, Some(&known(&names)));
        assert!(
            plan.listings
                .iter()
                .all(|listing| listing.namespaces.is_none())
        );
        assert_eq!(plan.namespaces.as_ref().unwrap().len(), 39);
        assert!(!plan.takes_namespace("n00"));
    }

    #[test]
    fn unknown_namespaces_are_warned_of_and_unreadable_ones_taken_by_name() {
        let spec = BackupSpec {
            included_namespaces: strings(&["gone"]),
            ..BackupSpec::default()
        };
        let plan = plan_of(spec.clone(), Some(&known(&["a"])));
        assert!(
            plan.warnings
                .iter()
                .any(|w| w.contains("no namespace \"gone\"")),
            "{:?}",
            plan.warnings
        );
        assert!(
            plan.warnings
                .iter()
                .any(|w| w.contains("no namespace of the cluster"))
        );
        let plan = plan_of(spec, None);
        assert_eq!(plan.namespaces.unwrap(), ["gone"]);
    }

    #[test]
    fn one_selector_is_the_apiservers_work_and_several_are_ours() {
        let selector = |text: &str| crate::cluster::Selector::parse(text).unwrap().to_spec();
        let one = BackupSpec {
            label_selector: Some(selector("a=b,!c")),
            ..BackupSpec::default()
        };
        assert_eq!(
            plan_of(one, Some(&[])).listings[0]
                .label_selector
                .as_deref(),
            Some("a=b,!c")
        );
        let two = BackupSpec {
            or_label_selectors: vec![selector("a"), selector("b")],
            ..BackupSpec::default()
        };
        let plan = plan_of(two, Some(&[]));
        assert!(plan.listings[0].label_selector.is_none() && plan.relations);
    }

    #[test]
    fn a_plan_can_be_printed_and_serialized() {
        let spec = BackupSpec {
            included_namespaces: strings(&["a"]),
            included_resources: strings(&["pods"]),
            excluded_resources: strings(&["secrets"]),
            ..BackupSpec::default()
        };
        let plan = plan_of(spec, Some(&known(&["a"])));
        let text = plan.to_string();
        assert!(
            text.contains("pods v1 (1 namespaces one by one)")
                && text.contains("Not: secrets (excluded)"),
            "{text}"
        );
        assert!(
            text.contains("  persistentvolumes\n") && !text.contains("gadgets"),
            "{text}"
        );
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["listings"][0]["resource"], "pods");
    }
}
