//! The keys of the `objects` dataset: API objects in the order in which the API server lists them.
//!
//! `group 0x00 resource 0x00 name`, where name is `namespace '/' name` for namespaced objects. With an empty name it is
//! the resource's own entry, which sorts before its objects.

/// A key of the `objects` dataset, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// API group; empty for the core group.
    pub group: String,
    /// Plural resource name.
    pub resource: String,
    /// Namespace; empty for cluster scope and for the resource's own entry.
    pub namespace: String,
    /// Name; empty for the resource's own entry.
    pub name: String,
}

impl ObjectKey {
    /// Whether this is the resource's own entry.
    pub fn is_resource(&self) -> bool {
        self.name.is_empty()
    }

    /// The key's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        object_key(&self.group, &self.resource, &self.namespace, &self.name)
    }

    /// `resource.group`, or `resource` in the core group.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.group_resource())?;
        if !self.namespace.is_empty() {
            write!(f, " {}/{}", self.namespace, self.name)
        } else if !self.name.is_empty() {
            write!(f, " {}", self.name)
        } else {
            Ok(())
        }
    }
}

/// The key of an object.
pub fn object_key(group: &str, resource: &str, namespace: &str, name: &str) -> Vec<u8> {
    let mut key = resource_prefix(group, resource);
    if !namespace.is_empty() {
        key.extend_from_slice(namespace.as_bytes());
        key.push(b'/');
    }
    key.extend_from_slice(name.as_bytes());
    key
}

/// The key of a resource's own entry.
pub fn resource_key(group: &str, resource: &str) -> Vec<u8> {
    resource_prefix(group, resource)
}

/// What the keys of a resource start with.
pub fn resource_prefix(group: &str, resource: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(group.len() + resource.len() + 66);
    key.extend_from_slice(group.as_bytes());
    key.push(0);
    key.extend_from_slice(resource.as_bytes());
    key.push(0);
    key
}

/// Takes a key apart; `None` if it is not a key of this dataset.
pub fn parse_key(key: &[u8]) -> Option<ObjectKey> {
    let text = std::str::from_utf8(key).ok()?;
    let (group, rest) = text.split_once('\0')?;
    let (resource, rest) = rest.split_once('\0')?;
    if resource.is_empty() || rest.contains('\0') {
        return None;
    }
    let (namespace, name) = match rest.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (namespace, name),
        Some(_) => return None,
        None => ("", rest),
    };
    Some(ObjectKey {
        group: group.into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
    })
}
