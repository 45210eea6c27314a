//! Lists in which one object that cannot be read hides no other.
//!
//! The definitions let nothing through that the types do not read. Objects may be older or younger than the definitions of today: after a
//! downgrade, or written before a limit was there. Such an object is named, told of, and left alone; it never stops what is done for others.

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::context::Context;
use crate::api::ObjectMeta;

/// What a list holds.
#[derive(Debug)]
pub struct Listing<K> {
    /// The objects that can be read.
    pub items: Vec<K>,
    /// The metadata of those that cannot.
    pub broken: Vec<ObjectMeta>,
}

impl<K: Resource> Listing<K> {
    fn of(objects: Vec<DeserializeGuard<K>>) -> Listing<K> {
        let mut listing = Listing {
            items: Vec::new(),
            broken: Vec::new(),
        };
        for object in objects {
            match object.0 {
                Ok(object) => listing.items.push(object),
                Err(invalid) => listing.broken.push(invalid.metadata),
            }
        }
        listing
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let broken = self
            .broken
            .iter()
            .filter_map(|metadata| metadata.name.clone());
        self.items.iter().map(ResourceExt::name_any).chain(broken)
    }

    /// The names of those that cannot be read.
    pub fn broken_names(&self) -> impl Iterator<Item = &str> {
        self.broken
            .iter()
            .filter_map(|metadata| metadata.name.as_deref())
    }
}

/// Lists ark's own objects of a kind.
///
/// # Errors
/// The apiserver's.
pub async fn list<K>(context: &Context, parameters: &ListParams) -> Result<Listing<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    list_some(&context.client, &context.namespace, parameters).await
}

/// Lists all objects of a kind in a namespace.
///
/// # Errors
/// The apiserver's.
pub async fn list_in<K>(client: &Client, namespace: &str) -> Result<Listing<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    list_some(client, namespace, &ListParams::default()).await
}

async fn list_some<K>(
    client: &Client,
    namespace: &str,
    parameters: &ListParams,
) -> Result<Listing<K>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), namespace);
    Ok(Listing::of(api.list(parameters).await?.items))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::Schedule;
    use serde_json::json;

    #[test]
    fn one_that_cannot_be_read_hides_no_other() {
        let schedule = |name: &str, keep: u64| -> DeserializeGuard<Schedule> {
            serde_json::from_value(json!({
                "apiVersion": "ark.heptio.com/v1", "kind": "Schedule",
                "metadata": {"name": name},
                "spec": {"schedule": "@daily", "retention": {"keepLast": keep}},
            }))
            .unwrap()
        };
        let listing = Listing::of(vec![schedule("bad", 5_000_000_000), schedule("good", 5)]);
        assert_eq!(listing.items.len(), 1);
        assert_eq!(listing.names().collect::<Vec<_>>(), ["good", "bad"]);
        assert_eq!(listing.broken_names().collect::<Vec<_>>(), ["bad"]);
    }
}
