//! What a restore will do, before it does it: waves of resources, and an intent for every object.
//!
//! A plan is a value made from the keys of a backup, the filters and, only where labels or relations decide, the objects.
//! It holds counts and names, never objects: what does not follow from a key by rule ([`Plan::intent`]) is kept as a set of
//! keys. So it can be printed, compared and shown without touching a cluster.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde::Serialize;

use super::filter::{ByKey, Filter};
use super::mutate::{Skip, reason_by_key};
use super::object::{Key, as_text};
use super::order::{Wave, place};
use crate::api::{Captured, ResourceEntry};
use crate::cluster::{GroupResource, kinds};

/// What is meant to happen to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// It is put into the cluster.
    Apply,
    /// It is left out, and the report says why.
    Skip(Skip),
    /// The filters leave it out.
    LeaveOut,
}

/// The objects that were chosen by more than their keys.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Objects whose labels are selected. None if labels were not asked.
    pub selected: HashSet<Key>,
    /// Objects that others refer to.
    pub related: HashSet<Key>,
}

/// What a restore will do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The waves that have objects, in order.
    pub waves: Vec<PlannedWave>,
    /// Namespaces that are needed, as they are called in the cluster, with those they stand for in the backup.
    pub namespaces: BTreeMap<String, Vec<String>>,
    /// Namespaces that are needed and not in the backup: they are made blank.
    pub blank_namespaces: BTreeSet<String>,
    /// Resources that were not captured completely: what is missing of them cannot be restored.
    pub holes: Vec<Hole>,
    /// Objects that the filters leave out.
    pub left_out: u64,
    #[serde(skip)]
    filter: Filter,
    #[serde(skip)]
    choice: Choice,
}

/// One wave of a plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWave {
    /// Which one.
    pub wave: Wave,
    /// Its resources, in order.
    pub resources: Vec<PlannedResource>,
}

/// One resource of a plan.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedResource {
    /// Its name.
    #[serde(serialize_with = "as_text")]
    pub resource: GroupResource,
    /// How it was backed up.
    pub entry: ResourceEntry,
    /// Objects that are put into the cluster.
    pub objects: u64,
    /// Objects that are left out, by reason, as far as keys tell.
    pub skipped: BTreeMap<Skip, u64>,
}

/// A resource that was not captured completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hole {
    /// The resource.
    #[serde(serialize_with = "as_text")]
    pub resource: GroupResource,
    /// How much of it is there.
    pub captured: Captured,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.captured {
            Captured::No => "not captured",
            _ => "not captured completely",
        };
        write!(f, "{} was {how}: {}", self.resource, self.reason)
    }
}

impl Plan {
    /// What happens to an object.
    pub fn intent(&self, key: &Key) -> Intent {
        intent(&self.filter, &self.choice, key)
    }

    /// Whether an object is only there because another one needs it. Then it need not be as it was.
    pub fn is_only_related(&self, key: &Key) -> bool {
        self.filter.by_key(key) != ByKey::Take && !self.choice.selected.contains(key)
    }

    /// Objects that are put into the cluster.
    pub fn objects(&self) -> u64 {
        self.resources().map(|resource| resource.objects).sum()
    }

    /// The resources, in order.
    pub fn resources(&self) -> impl Iterator<Item = &PlannedResource> {
        self.waves.iter().flat_map(|wave| &wave.resources)
    }
}

/// Makes a plan from the keys of a backup, in any order that has a resource before its objects.
#[derive(Debug)]
pub struct Planner {
    filter: Filter,
    choice: Choice,
    mapping: BTreeMap<String, String>,
    resources: BTreeMap<GroupResource, PlannedResource>,
    namespaces: BTreeSet<String>,
    backed_up_namespaces: BTreeSet<String>,
    left_out: BTreeMap<GroupResource, u64>,
}

impl Planner {
    /// An empty plan under these filters.
    pub fn new(filter: Filter, choice: Choice, mapping: BTreeMap<String, String>) -> Planner {
        Planner {
            filter,
            choice,
            mapping,
            resources: BTreeMap::new(),
            namespaces: BTreeSet::new(),
            backed_up_namespaces: BTreeSet::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Adds a resource of the backup.
    pub fn resource(&mut self, resource: GroupResource, entry: ResourceEntry) {
        let planned = PlannedResource {
            resource: resource.clone(),
            entry,
            objects: 0,
            skipped: BTreeMap::new(),
        };
        self.resources.insert(resource, planned);
    }

    /// Adds an object of the backup.
    pub fn object(&mut self, key: &Key) {
        let intent = intent(&self.filter, &self.choice, key);
        if key.resource == kinds::NAMESPACES && intent != Intent::LeaveOut {
            self.backed_up_namespaces.insert(key.name.clone());
        } else if key.resource == kinds::NAMESPACES && self.filter.namespace(&key.name) {
            // Only made if something lives in it, which the keys that follow tell.
            self.backed_up_namespaces.insert(key.name.clone());
            return;
        }
        let Some(planned) = self.resources.get_mut(&key.resource) else {
            return;
        };
        match intent {
            Intent::Apply if key.resource == kinds::NAMESPACES => {
                self.namespaces.insert(key.name.clone());
            }
            Intent::Apply => {
                planned.objects += 1;
                self.namespaces.extend(key.namespace.clone());
            }
            Intent::Skip(skip) => *planned.skipped.entry(skip).or_default() += 1,
            Intent::LeaveOut => *self.left_out.entry(key.resource.clone()).or_default() += 1,
        }
    }

    /// The plan.
    pub fn finish(mut self) -> Plan {
        let mut namespaces: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for source in &self.namespaces {
            let target = self.mapping.get(source).unwrap_or(source);
            namespaces
                .entry(target.clone())
                .or_default()
                .push(source.clone());
            self.choice
                .related
                .insert(Key::new(kinds::NAMESPACES, None, source));
        }
        let from_backup = self
            .namespaces
            .intersection(&self.backed_up_namespaces)
            .count() as u64;
        if let Some(planned) = self.resources.get_mut(&kinds::NAMESPACES) {
            planned.objects = from_backup;
        }
        let blank_namespaces = namespaces
            .iter()
            .filter(|(_, sources)| {
                !sources
                    .iter()
                    .any(|source| self.backed_up_namespaces.contains(source))
            })
            .map(|(target, _)| target.clone())
            .collect();
        let filter = self.filter;
        let holes = self
            .resources
            .values()
            .filter(|planned| {
                planned.entry.captured != Captured::Yes && filter.resource(&planned.resource)
            })
            .map(|planned| Hole {
                resource: planned.resource.clone(),
                captured: planned.entry.captured,
                reason: planned
                    .entry
                    .reason
                    .clone()
                    .unwrap_or_else(|| "no reason is recorded".to_owned()),
            })
            .collect();
        let mut resources: Vec<PlannedResource> = self
            .resources
            .into_values()
            .filter(|planned| planned.objects > 0 || !planned.skipped.is_empty())
            .collect();
        resources.sort_by_cached_key(|planned| place(&planned.resource));
        let mut waves: Vec<PlannedWave> = Vec::new();
        for planned in resources {
            let wave = place(&planned.resource).wave;
            match waves.last_mut() {
                Some(last) if last.wave == wave => last.resources.push(planned),
                _ => waves.push(PlannedWave {
                    wave,
                    resources: vec![planned],
                }),
            }
        }
        Plan {
            waves,
            namespaces,
            blank_namespaces,
            holes,
            left_out: self.left_out.values().sum(),
            filter,
            choice: self.choice,
        }
    }
}

fn intent(filter: &Filter, choice: &Choice, key: &Key) -> Intent {
    let taken = match filter.by_key(key) {
        ByKey::Take => true,
        ByKey::Ask => choice.selected.contains(key) || choice.related.contains(key),
        ByKey::IfRelated => choice.related.contains(key),
        ByKey::Leave => false,
    };
    if !taken {
        return Intent::LeaveOut;
    }
    match reason_by_key(key) {
        Some(skip) => Intent::Skip(skip),
        None => Intent::Apply,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .resources()
            .map(|planned| planned.resource.to_string().len())
            .max()
            .unwrap_or(0);
        for (number, wave) in self.waves.iter().enumerate() {
            writeln!(f, "wave {}: {}", number + 1, wave.wave)?;
            for planned in &wave.resources {
                let name = planned.resource.to_string();
                write!(f, "  {name:width$}  {:>7}", planned.objects)?;
                for (skip, objects) in &planned.skipped {
                    write!(f, "  ({objects} left out: {skip})")?;
                }
                writeln!(f)?;
            }
        }
        for (target, sources) in &self.namespaces {
            for source in sources.iter().filter(|source| *source != target) {
                writeln!(f, "namespace {source} is restored into {target}")?;
            }
        }
        for name in &self.blank_namespaces {
            writeln!(
                f,
                "namespace {name} is not in the backup and is made without labels"
            )?;
        }
        for hole in &self.holes {
            writeln!(f, "warning: {hole}")?;
        }
        if self.left_out > 0 {
            writeln!(
                f,
                "{} objects of the backup are left out by the filters",
                self.left_out
            )?;
        }
        write!(f, "{} objects to restore", self.objects())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::RestoreSpec;
    use crate::cluster::discovery::sample;

    fn plan(spec: RestoreSpec, objects: &[(&str, &str, &str)]) -> Plan {
        let filter = Filter::new(&spec, &[], &sample()).unwrap();
        let mut planner = Planner::new(filter, Choice::default(), spec.namespace_mapping.clone());
        for (resource, namespace, name) in objects {
            let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
            let resource = GroupResource::new(group, plural);
            if name.is_empty() {
                planner.resource(
                    resource,
                    ResourceEntry {
                        version: "v1".to_owned(),
                        kind: "X".to_owned(),
                        plural: plural.to_owned(),
                        namespaced: !namespace.is_empty(),
                        captured: if *namespace == "partial" {
                            Captured::Partial
                        } else {
                            Captured::Yes
                        },
                        reason: (*namespace == "partial").then(|| "forbidden".to_owned()),
                    },
                );
            } else {
                planner.object(&Key::new(
                    resource,
                    (!namespace.is_empty()).then_some(namespace),
                    name,
                ));
            }
        }
        planner.finish()
    }

    const BACKUP: &[(&str, &str, &str)] = &[
        ("configmaps", "yes", ""),
        ("configmaps", "a", "kube-root-ca.crt"),
        ("configmaps", "a", "one"),
        ("configmaps", "b", "two"),
        ("configmaps", "c", "three"),
        ("namespaces", "", ""),
        ("namespaces", "", "a"),
        ("namespaces", "", "b"),
        ("namespaces", "", "empty"),
        ("nodes", "", ""),
        ("nodes", "", "n1"),
        ("secrets", "partial", ""),
        ("widgets.example.com", "yes", ""),
        ("widgets.example.com", "b", "w"),
    ];

    #[test]
    fn everything_is_planned_in_waves() {
        let plan = plan(RestoreSpec::default(), BACKUP);
        assert_eq!(
            plan.to_string(),
            "wave 1: namespaces\n  namespaces                 3\n\
             wave 2: configuration\n  configmaps                 3  (1 left out: a controller makes it by itself)\n\
             wave 3: rest\n  nodes                      0  (1 left out: describes a cluster, not what runs on it)\n  \
             widgets.example.com        1\n\
             namespace c is not in the backup and is made without labels\n\
             warning: secrets was not captured completely: forbidden\n\
             7 objects to restore"
        );
    }

    #[test]
    fn only_needed_namespaces_are_made() {
        let spec = RestoreSpec {
            included_resources: vec!["widgets.example.com".to_owned()],
            namespace_mapping: [("b".to_owned(), "b2".to_owned())].into(),
            ..RestoreSpec::default()
        };
        let plan = plan(spec, BACKUP);
        assert_eq!(
            plan.namespaces,
            [("b2".to_owned(), vec!["b".to_owned()])].into()
        );
        assert_eq!(plan.objects(), 2);
        let namespace = |name: &str| Key::new(kinds::NAMESPACES, None, name);
        assert_eq!(plan.intent(&namespace("b")), Intent::Apply);
        assert!(plan.is_only_related(&namespace("b")));
        assert_eq!(plan.intent(&namespace("a")), Intent::LeaveOut);
        assert!(plan.holes.is_empty(), "secrets are not asked for");
        assert!(plan.to_string().contains("namespace b is restored into b2"));
    }

    #[test]
    fn plans_can_be_shown_as_data() {
        let json = serde_json::to_value(plan(RestoreSpec::default(), BACKUP)).unwrap();
        assert_eq!(json["waves"][1]["resources"][0]["resource"], "configmaps");
        assert_eq!(
            json["waves"][1]["resources"][0]["skipped"]["controller-made"],
            1
        );
        assert_eq!(json["holes"][0]["captured"], "partial");
    }
}
