//! One resource as discovery describes it, and the paths of its objects.

use std::fmt;

use serde::{Serialize, Serializer};

use super::kinds::GroupResource;

/// A resource that the apiserver serves, in the version it prefers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Group and plural name.
    #[serde(flatten)]
    pub name: GroupResource,
    /// The version that is read and written: the most preferred one that has the resource.
    pub version: String,
    /// The kind of the objects.
    pub kind: String,
    /// The singular name.
    #[serde(skip)]
    pub singular: String,
    /// Short names, as `po` for pods.
    #[serde(skip)]
    pub short_names: Vec<String>,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with them.
    pub verbs: Verbs,
    /// Every version that has the resource, most preferred first.
    #[serde(skip)]
    pub versions: Vec<String>,
    /// The resource whose objects these are too, under which they are stored.
    #[serde(skip)]
    pub stored_as: Option<GroupResource>,
    /// The place in discovery: a name that several groups have means the first of them.
    #[serde(skip)]
    pub rank: usize,
}

impl Resource {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        &self.name.group
    }

    /// The plural name.
    pub fn plural(&self) -> &str {
        &self.name.resource
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        match self.group() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Whether ark can back it up: what cannot be created again, or not be deleted, is not worth storing.
    pub fn can_be_backed_up(&self) -> bool {
        self.verbs
            .has(Verbs::LIST | Verbs::GET | Verbs::CREATE | Verbs::DELETE)
    }

    /// The path of all objects, or of those in one namespace, in the preferred version.
    pub fn collection_path(&self, namespace: Option<&str>) -> String {
        self.collection_path_in(&self.version, namespace)
    }

    /// The same in another version.
    pub fn collection_path_in(&self, version: &str, namespace: Option<&str>) -> String {
        let mut path = match self.group() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            push_encoded(&mut path, namespace);
        }
        path.push('/');
        path.push_str(self.plural());
        path
    }

    /// The path of one object. The namespace is passed over for cluster-scoped resources.
    pub fn object_path(&self, namespace: Option<&str>, name: &str) -> String {
        let mut path = self.collection_path(namespace);
        path.push('/');
        push_encoded(&mut path, name);
        path
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// Appends text as one path segment or query value.
/// A text as a part of a query.
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    push_encoded(&mut out, text);
    out
}

pub(super) fn push_encoded(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verbs(u8);

impl Verbs {
    /// Read a collection.
    pub const LIST: Verbs = Verbs(1);
    /// Read one object.
    pub const GET: Verbs = Verbs(2);
    /// Make an object.
    pub const CREATE: Verbs = Verbs(4);
    /// Delete an object.
    pub const DELETE: Verbs = Verbs(8);
    /// Replace an object.
    pub const UPDATE: Verbs = Verbs(16);
    /// Change a part of an object.
    pub const PATCH: Verbs = Verbs(32);
    /// Follow changes.
    pub const WATCH: Verbs = Verbs(64);

    const NAMES: [(&'static str, Verbs); 7] = [
        ("list", Verbs::LIST),
        ("get", Verbs::GET),
        ("create", Verbs::CREATE),
        ("delete", Verbs::DELETE),
        ("update", Verbs::UPDATE),
        ("patch", Verbs::PATCH),
        ("watch", Verbs::WATCH),
    ];

    /// The set of the verbs that are known by these names.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Verbs {
        let known = |name: &str| {
            Verbs::NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .map_or(0, |(_, verb)| verb.0)
        };
        Verbs(names.iter().fold(0, |set, name| set | known(name.as_ref())))
    }

    /// Whether every verb of the other set is in this one.
    pub fn has(self, other: Verbs) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Verbs {
    type Output = Verbs;

    fn bitor(self, other: Verbs) -> Verbs {
        Verbs(self.0 | other.0)
    }
}

impl Serialize for Verbs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            Verbs::NAMES
                .iter()
                .filter(|(_, verb)| self.has(*verb))
                .map(|(name, _)| name),
        )
    }
}
