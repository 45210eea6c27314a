//! Where the objects of a backup come from.
//!
//! A restore reads a backup several times over, each time only a part: all keys to plan, one resource at a time to apply.
//! So the source hands out keys, and objects in bounded batches in key order, and never holds a whole backup.

use std::error::Error as StdError;

use bytes::Bytes;
use futures::stream::BoxStream;
use thiserror::Error;

use super::object::Key;
use crate::api::ResourceEntry;
use crate::cluster::GroupResource;

/// The objects of one backup.
pub trait ObjectSource: Send + Sync {
    /// Every key, ascending, without the objects. The entry of a resource comes before its objects.
    fn keys(&self) -> BoxStream<'_, Result<SourceKey, SourceError>>;

    /// The wanted objects of a resource, in key order, in batches of bounded size. An object that cannot be read does not
    /// end the stream.
    fn objects<'a>(
        &'a self,
        resource: &'a GroupResource,
        wanted: Wanted<'a>,
    ) -> BoxStream<'a, Result<Vec<Loaded>, SourceError>>;
}

/// Which objects are read.
pub type Wanted<'a> = Box<dyn Fn(&Key) -> bool + Send + Sync + 'a>;

/// One key of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKey {
    /// The entry of a resource.
    Resource(GroupResource, ResourceEntry),
    /// An object.
    Object(Key),
}

/// One object of a backup.
#[derive(Debug)]
pub struct Loaded {
    /// Which one.
    pub key: Key,
    /// Its JSON, or why it cannot be read.
    pub bytes: Result<Bytes, SourceError>,
}

/// Why a backup cannot be read.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A part of the repository cannot be read.
    #[error("cannot read {what} from the backup")]
    Read {
        /// What was to be read.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The entry of a resource is not understood.
    #[error("the backup's entry of {resource} cannot be understood")]
    Entry {
        /// The resource.
        resource: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key that is no object's.
    #[error("the backup holds a key that is no object's: {key}")]
    Key {
        /// The key, printable.
        key: String,
    },
}

/// A backup in memory.
#[cfg(test)]
pub(super) mod memory {
    use std::collections::BTreeMap;

    use futures::StreamExt;

    use super::*;
    use crate::api::Captured;

    /// By path.
    type Objects = BTreeMap<String, (Key, Bytes)>;

    /// Resources in the order of the dataset, each with its objects by path.
    #[derive(Default)]
    pub struct MemorySource {
        resources: BTreeMap<(String, String), (ResourceEntry, Objects)>,
    }

    impl MemorySource {
        pub fn add(
            &mut self,
            api_version: &str,
            kind: &str,
            plural: &str,
            object: &serde_json::Value,
        ) {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let namespace = object["metadata"]["namespace"].as_str();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let entry = ResourceEntry {
                version: version.to_owned(),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
                namespaced: namespace.is_some(),
                captured: Captured::Yes,
                reason: None,
            };
            let key = Key::new(GroupResource::new(group, plural), namespace, name);
            self.resources
                .entry((group.to_owned(), plural.to_owned()))
                .or_insert_with(|| (entry, BTreeMap::new()))
                .1
                .insert(key.path(), (key, Bytes::from(object.to_string())));
        }
    }

    impl ObjectSource for MemorySource {
        fn keys(&self) -> BoxStream<'_, Result<SourceKey, SourceError>> {
            let all = self
                .resources
                .iter()
                .flat_map(|((group, plural), (entry, objects))| {
                    let name = GroupResource::new(group.clone(), plural.clone());
                    std::iter::once(SourceKey::Resource(name, entry.clone())).chain(
                        objects
                            .values()
                            .map(|(key, _)| SourceKey::Object(key.clone())),
                    )
                });
            futures::stream::iter(all.map(Ok)).boxed()
        }

        fn objects<'a>(
            &'a self,
            resource: &'a GroupResource,
            wanted: Wanted<'a>,
        ) -> BoxStream<'a, Result<Vec<Loaded>, SourceError>> {
            let id = (resource.group.to_string(), resource.resource.to_string());
            let objects = self.resources.get(&id).map(|(_, objects)| objects);
            let all: Vec<Loaded> = objects
                .into_iter()
                .flat_map(Objects::values)
                .filter(|(key, _)| wanted(key))
                .map(|(key, bytes)| Loaded {
                    key: key.clone(),
                    bytes: Ok(bytes.clone()),
                })
                .collect();
            futures::stream::iter(all).chunks(100).map(Ok).boxed()
        }
    }
}
