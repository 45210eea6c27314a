//! A cluster's worth of objects from a seed: every common kind, in the shares and sizes of a real cluster.
//!
//! The generator is pure: the same [`DatasetSpec`] gives the same objects in the same order on every machine, and an object
//! depends on nothing but the seed, its resource and its number. Objects refer to each other as real ones do (service accounts,
//! volumes, owners), and always to objects that exist. They are made so that a controller-manager leaves them alone once it has seen
//! them: workloads ask for no pods, pods belong to a custom resource, volumes are bound in advance.

mod access;
mod cluster;
mod configuration;
mod networking;
pub mod random;
pub mod text;
mod workloads;

use std::collections::BTreeMap;

use random::Random;
use serde_json::{Map, Value, json};

/// What to generate.
#[derive(Clone, Debug)]
pub struct DatasetSpec {
    /// How many objects in all. Small numbers are raised to about 150: at least one of each kind.
    pub objects: usize,
    /// Which data set.
    pub seed: u64,
    /// The start of every name, of cluster scope above all; also the value of the label `app.kubernetes.io/part-of`.
    pub prefix: String,
}

impl Default for DatasetSpec {
    fn default() -> DatasetSpec {
        DatasetSpec {
            objects: 1000,
            seed: 1,
            prefix: "ark-demo".to_owned(),
        }
    }
}

/// One object to create.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Group, version and names.
    pub resource: ItemResource,
    /// The namespace, if it has one.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The object; an owner's uid, which only the apiserver knows, is missing.
    pub object: Value,
    /// What to write through the status subresource afterwards.
    pub status: Option<Value>,
    /// Path of the owner whose uid the object's owner reference needs.
    pub owner: Option<String>,
    /// Objects of a wave need those of the waves before.
    pub wave: u8,
}

/// The names of an item's resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResource {
    /// API group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural.
    pub plural: String,
    /// Kind.
    pub kind: String,
}

impl Item {
    /// Where to POST it.
    pub fn collection(&self) -> String {
        let r = &self.resource;
        crate::api::collection(&r.group, &r.version, &r.plural, self.namespace.as_deref())
    }

    /// Where it is once it exists.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }
}

/// How many objects a resource gets.
#[derive(Clone, Copy)]
enum Share {
    /// Parts of the whole; at least one.
    Parts(usize),
    /// This many.
    Fixed(usize),
    /// One in each namespace whose number is divisible.
    EachNamespace(usize),
    /// Namespaces themselves.
    Namespaces,
    /// As many as another resource has.
    Same(&'static str),
}

/// The parts of an object that its kind decides.
#[derive(Default)]
struct Body {
    /// Everything beside metadata.
    fields: Value,
    labels: Vec<(&'static str, String)>,
    annotations: Vec<(String, String)>,
    /// Shape and number of the owner, and whether it controls.
    owner: Option<(&'static str, usize, bool)>,
    status: Option<Value>,
    /// Put the object itself into an annotation, as `kubectl apply` does.
    applied: bool,
}

/// One resource of the data set.
struct Shape {
    /// Group; a leading `*` stands for the data set's own group.
    group: &'static str,
    version: &'static str,
    /// The plural, and the shape's id.
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    wave: u8,
    share: Share,
    build: fn(&Slot<'_>, &mut Random) -> Body,
}

/// A data set: its shapes with their counts, and which namespace each object is in.
pub struct Dataset {
    seed: u64,
    prefix: String,
    namespaces: Vec<String>,
    shapes: Vec<(Shape, usize)>,
    /// For each shape the numbers of its objects in each namespace.
    placed: BTreeMap<&'static str, Vec<Vec<usize>>>,
    inert: bool,
}

/// The object being made.
struct Slot<'a> {
    data: &'a Dataset,
    number: usize,
    /// Number of the namespace.
    home: usize,
}

impl Slot<'_> {
    fn namespace(&self) -> &str {
        self.data
            .namespaces
            .get(self.home)
            .map_or("default", String::as_str)
    }

    /// The name of some object of a shape in this object's namespace.
    fn sibling(&self, plural: &str, random: &mut Random) -> Option<(usize, String)> {
        let here = self.data.placed.get(plural)?.get(self.home)?;
        let number = *here.get(random.below(here.len()))?;
        Some((number, self.data.name(plural, number)))
    }
}

impl Dataset {
    /// Decides how many objects of each kind there are and where.
    pub fn new(spec: &DatasetSpec) -> Dataset {
        let namespaces = (spec.objects / 450).clamp(4, 48);
        let namespaces = (0..namespaces)
            .map(|n| {
                format!(
                    "{}-{}-{n:02}",
                    spec.prefix,
                    text::TEAMS[n % text::TEAMS.len()]
                )
            })
            .collect();
        let mut data = Dataset {
            seed: spec.seed,
            prefix: spec.prefix.clone(),
            namespaces,
            shapes: Vec::new(),
            placed: BTreeMap::new(),
            inert: false,
        };
        data.count(spec.objects);
        data.place();
        data
    }

    /// The same data set without what costs something in a cluster that has nodes and a cloud behind it: no pods, nothing that
    /// makes pods, no load balancers.
    pub fn inert(mut self) -> Dataset {
        self.shapes
            .retain(|(shape, _)| !matches!(shape.plural, "pods" | "daemonsets"));
        self.inert = true;
        self
    }

    fn count(&mut self, objects: usize) {
        let shapes: Vec<Shape> = [
            cluster::shapes(),
            access::shapes(),
            configuration::shapes(),
            networking::shapes(),
            workloads::shapes(),
        ]
        .into_iter()
        .flatten()
        .collect();
        let each = |share| match share {
            Share::Fixed(count) => count,
            Share::EachNamespace(every) => self.namespaces.len().div_ceil(every),
            Share::Namespaces => self.namespaces.len(),
            Share::Parts(_) | Share::Same(_) => 0,
        };
        let fixed: usize = shapes.iter().map(|shape| each(shape.share)).sum();
        let parts_of = |plural: &str| {
            shapes
                .iter()
                .find(|s| s.plural == plural)
                .map_or(0, |s| if let Share::Parts(p) = s.share { p } else { 0 })
        };
        let parts = |share| match share {
            Share::Parts(parts) => parts,
            Share::Same(plural) => parts_of(plural),
            _ => 0,
        };
        let total: usize = shapes.iter().map(|shape| parts(shape.share)).sum();
        let rest = objects.saturating_sub(fixed);
        let mut counts: Vec<usize> = shapes
            .iter()
            .map(|shape| match parts(shape.share) {
                0 => each(shape.share),
                parts => (rest * parts / total).max(1),
            })
            .collect();
        // Rounding down leaves a few objects over: pods take them.
        let sum: usize = counts.iter().sum();
        if let Some(pods) = shapes.iter().position(|shape| shape.plural == "pods") {
            counts[pods] += objects.saturating_sub(sum);
        }
        self.shapes = shapes.into_iter().zip(counts).collect();
    }

    fn place(&mut self) {
        let homes = self.namespaces.len();
        for (shape, count) in &self.shapes {
            let mut placed = vec![Vec::new(); homes];
            let mut random = Random::new(self.seed, &["home", shape.plural]);
            let every = if let Share::EachNamespace(every) = shape.share {
                every
            } else {
                1
            };
            for number in 0..*count {
                // Everybody has one first; then some namespaces are far larger than others.
                let home = if number < homes {
                    number * every % homes
                } else {
                    random.below(homes).min(random.below(homes))
                };
                placed[home].push(number);
            }
            self.placed.insert(shape.plural, placed);
        }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shapes.iter().map(|(_, count)| count).sum()
    }

    /// Whether there are none; there never are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The start of every name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The names of its namespaces.
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    /// The group of its custom resources.
    pub fn custom_group(&self) -> String {
        format!("{}.ark.test", self.prefix)
    }

    /// How many objects each resource has: `plural.group` and count.
    pub fn counts(&self) -> Vec<(String, usize)> {
        let name = |shape: &Shape| match self.group(shape) {
            group if group.is_empty() => self.plural(shape),
            group => format!("{}.{group}", self.plural(shape)),
        };
        self.shapes
            .iter()
            .map(|(shape, count)| (name(shape), *count))
            .collect()
    }

    /// Every object, in an order in which it can be created.
    pub fn items(&self) -> impl Iterator<Item = Item> + Send + '_ {
        let mut order: Vec<(&Shape, usize, usize, usize)> = Vec::with_capacity(self.len());
        for (shape, _) in &self.shapes {
            for (home, numbers) in self.placed[shape.plural].iter().enumerate() {
                order.extend(numbers.iter().map(|number| (shape, *number, home, *number)));
            }
        }
        order.sort_by_key(|(shape, _, _, number)| (shape.wave, *number, shape.plural));
        order
            .into_iter()
            .map(|(shape, number, home, _)| self.item(shape, number, home))
    }

    fn group(&self, shape: &Shape) -> String {
        if shape.group == "*" {
            self.custom_group()
        } else {
            shape.group.to_owned()
        }
    }

    fn plural(&self, shape: &Shape) -> String {
        if shape.group == "*" {
            format!("{}-{}", self.prefix, shape.plural)
        } else {
            shape.plural.to_owned()
        }
    }

    /// The name of an object, from its shape and number alone.
    fn name(&self, plural: &str, number: usize) -> String {
        let mut random = Random::new(self.seed, &["name", plural, &number.to_string()]);
        let (app, role) = (random.pick(text::APPS), random.pick(text::ROLES));
        match plural {
            "namespaces" => self.namespaces[number].clone(),
            "customresourcedefinitions" => cluster::definition_name(self, number),
            "pods" => format!(
                "{}-{app}-{role}-{}-{}",
                self.prefix,
                random.hex(10),
                suffix(number)
            ),
            _ => format!("{}-{app}-{role}-{}", self.prefix, suffix(number)),
        }
    }

    fn item(&self, shape: &Shape, number: usize, home: usize) -> Item {
        let (group, plural, name) = (
            self.group(shape),
            self.plural(shape),
            self.name(shape.plural, number),
        );
        let mut random = Random::new(self.seed, &["object", shape.plural, &number.to_string()]);
        let slot = Slot {
            data: self,
            number,
            home,
        };
        let mut body = (shape.build)(&slot, &mut random);
        if self.inert && body.fields["spec"]["type"] == "LoadBalancer" {
            body.fields["spec"]["type"] = "ClusterIP".into();
        }
        let api_version = if group.is_empty() {
            shape.version.to_owned()
        } else {
            format!("{group}/{}", shape.version)
        };
        let mut labels = Map::new();
        labels.insert(
            "app.kubernetes.io/part-of".to_owned(),
            self.prefix.clone().into(),
        );
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            random
                .pick(&["helm", "kustomize", "argo", "terraform"])
                .into(),
        );
        labels.extend(
            body.labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.into())),
        );
        let mut metadata = json!({"name": name, "labels": labels});
        if shape.namespaced {
            metadata["namespace"] = slot.namespace().into();
        }
        let mut annotations: Map<String, Value> = body
            .annotations
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect();
        if random.chance(40) {
            annotations.insert(
                "ark.test/description".to_owned(),
                text::sentence(&mut random).into(),
            );
        }
        let owner = body.owner.map(|(plural, number, controls)| {
            self.owner(plural, number, controls, slot.namespace())
        });
        if let Some((_, reference)) = &owner {
            metadata["ownerReferences"] = json!([reference]);
        }
        let mut object =
            json!({"apiVersion": api_version, "kind": shape.kind, "metadata": metadata});
        if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), body.fields) {
            object.extend(fields);
        }
        if body.applied {
            annotations.insert(
                "kubectl.kubernetes.io/last-applied-configuration".to_owned(),
                format!("{object}\n").into(),
            );
        }
        if !annotations.is_empty() {
            object["metadata"]["annotations"] = annotations.into();
        }
        Item {
            resource: ItemResource {
                group,
                version: shape.version.to_owned(),
                plural,
                kind: shape.kind.to_owned(),
            },
            namespace: shape.namespaced.then(|| slot.namespace().to_owned()),
            name,
            object,
            status: body.status,
            owner: owner.map(|(path, _)| path),
            wave: shape.wave,
        }
    }

    fn owner(
        &self,
        plural: &'static str,
        number: usize,
        controls: bool,
        namespace: &str,
    ) -> (String, Value) {
        let name = self.name(plural, number);
        let Some((shape, _)) = self.shapes.iter().find(|(shape, _)| shape.plural == plural) else {
            return (String::new(), Value::Null);
        };
        let (group, namespace) = (self.group(shape), shape.namespaced.then_some(namespace));
        let collection =
            crate::api::collection(&group, shape.version, &self.plural(shape), namespace);
        let api_version = if group.is_empty() {
            shape.version.to_owned()
        } else {
            format!("{group}/{}", shape.version)
        };
        let reference = json!({"apiVersion": api_version, "kind": shape.kind, "name": name, "controller": controls, "blockOwnerDeletion": controls});
        (format!("{collection}/{name}"), reference)
    }
}

/// Five letters and digits, different for each number, in no visible order.
fn suffix(number: usize) -> String {
    const DIGITS: &[u8; 32] = b"bcdfghjklmnpqrstvwxz0123456789ae";
    const SPACE: u64 = 1 << 25;
    let mut rest = (number as u64 + 1).wrapping_mul(19_088_743) % SPACE;
    let mut text = String::with_capacity(5);
    for _ in 0..5 {
        text.push(char::from(DIGITS[(rest % 32) as usize]));
        rest /= 32;
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn data(objects: usize, seed: u64) -> Dataset {
        Dataset::new(&DatasetSpec {
            objects,
            seed,
            prefix: "ark-demo".to_owned(),
        })
    }

    #[test]
    fn one_seed_gives_the_same_objects_in_the_same_order() {
        let (first, again): (Vec<Item>, Vec<Item>) = (
            data(600, 3).items().collect(),
            data(600, 3).items().collect(),
        );
        assert_eq!(first, again);
        let other: Vec<Item> = data(600, 4).items().collect();
        assert_eq!(first.len(), other.len());
        assert_ne!(first, other);
    }

    #[test]
    fn counts_are_what_was_asked_for_and_names_are_unique() {
        for objects in [600, 5000] {
            let data = data(objects, 1);
            let paths: BTreeSet<String> = data.items().map(|item| item.path()).collect();
            assert_eq!((data.len(), paths.len()), (objects, objects));
        }
        assert!(data(1, 1).items().count() < 200);
    }

    #[test]
    fn every_kind_occurs_and_everything_carries_the_prefix() {
        let data = data(600, 1);
        for (name, count) in data.counts() {
            assert!(count > 0, "no {name}");
        }
        for item in data.items() {
            assert!(item.name.starts_with("ark-demo"), "{}", item.path());
            let named = item
                .namespace
                .as_deref()
                .is_none_or(|namespace| namespace.starts_with("ark-demo-"));
            assert!(named, "{}", item.path());
            assert!(
                item.name.len() <= 253
                    && item.object["metadata"]["labels"]["app.kubernetes.io/part-of"] == "ark-demo"
            );
        }
    }

    #[test]
    fn an_inert_data_set_makes_no_pods_and_no_load_balancers() {
        let (all, inert) = (data(2000, 1), data(2000, 1).inert());
        let kept = inert.items().count();
        assert_eq!(kept, inert.len());
        assert!(kept > all.len() / 2 && kept < all.len());
        for item in inert.items() {
            assert!(!matches!(item.resource.kind.as_str(), "Pod" | "DaemonSet"));
            assert_ne!(item.object["spec"]["type"], "LoadBalancer");
        }
    }

    #[test]
    fn owners_exist_and_come_first() {
        let data = data(1500, 9);
        let mut waves = BTreeMap::new();
        let mut owned = 0;
        for item in data.items() {
            if let Some(owner) = &item.owner {
                owned += 1;
                assert!(
                    waves.get(owner).is_some_and(|wave| *wave < item.wave),
                    "{} is owned by {owner}",
                    item.path()
                );
            }
            waves.insert(item.path(), item.wave);
        }
        assert!(owned > 300, "only {owned} objects have owners");
    }

    #[test]
    fn sizes_and_scripts_are_mixed() {
        let items: Vec<Item> = data(3000, 1).items().collect();
        let sizes: Vec<usize> = items
            .iter()
            .map(|item| item.object.to_string().len())
            .collect();
        assert!(
            sizes.iter().any(|size| *size > 200_000) && sizes.iter().all(|size| *size < 1_000_000)
        );
        let foreign = items
            .iter()
            .filter(|item| !item.object.to_string().is_ascii())
            .count();
        assert!(
            foreign > items.len() / 20,
            "{foreign} objects hold other scripts"
        );
    }
}
