//! How an interrupted restore goes on: the cluster is its journal.
//!
//! Every object that a restore creates or patches carries the restore's name and the backup's, set in the same request. So
//! what is done is written down where it was done, atomically, and survives the loss of the machine that ran the
//! restore. A restore that goes on lists, resource by resource, what carries both labels, and neither creates nor reads
//! those objects again; what depends on their uids is done again, which changes nothing if it was done.
//!
//! Without that list a rerun would be right too, only slower: a create is refused, the object is compared, and one that is
//! equal and carries the labels counts as created.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::object::Uid;
use super::target::Target;
use crate::api::labels::{BACKUP_NAME, RESTORE_NAME};
use crate::cluster::{Call, Cluster, Error, Result, Verb};

/// The metadata of a page is enough.
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const PAGE: usize = 500;

/// Objects of one resource that the restore has put there, by namespace (empty at cluster scope) and name.
#[derive(Debug, Default)]
pub struct Done(HashMap<(String, String), Put>);

/// What the restore has put there.
#[derive(Debug, Clone, Copy)]
pub struct Put {
    /// Its uid in the cluster.
    pub uid: Uid,
    /// How many owners it has there; the restore may have been stopped before it had linked it to all.
    pub owners: usize,
}

impl Done {
    /// Lists what carries the labels.
    pub async fn load(
        cluster: &Cluster,
        target: &Target,
        backup_label: &str,
        restore_label: &str,
    ) -> Result<Done> {
        let mut done = Done::default();
        let mut token = String::new();
        loop {
            // Label values hold no character that a query would have to escape but the comma and the sign.
            let path = format!(
                "{}?limit={PAGE}&labelSelector={BACKUP_NAME}%3D{backup_label}%2C{RESTORE_NAME}%3D{restore_label}{}",
                target.resource.collection_path(None),
                match token.is_empty() {
                    true => String::new(),
                    false => format!("&continue={token}"),
                }
            )
            .replace("ark.heptio.com/", "ark.heptio.com%2F");
            let call = Call {
                accept: METADATA_LIST,
                ..Call::new(Verb::List, path.clone())
            };
            let body = cluster.call(&call).await?;
            let page: Page =
                serde_json::from_slice(&body).map_err(|source| Error::Decode { path, source })?;
            for item in page.items.unwrap_or_default() {
                if let Some(uid) = Uid::parse(&item.metadata.uid) {
                    let owners = item.metadata.owners.map_or(0, |owners| owners.len());
                    let key = (item.metadata.namespace, item.metadata.name);
                    done.0.insert(key, Put { uid, owners });
                }
            }
            match page.metadata.next {
                Some(next) if !next.is_empty() => token = next,
                _ => return Ok(done),
            }
        }
    }

    /// An object that the restore has put there.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Put> {
        let key = (namespace.unwrap_or_default().to_owned(), name.to_owned());
        self.0.get(&key).copied()
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    // Null for no objects, from some apiservers' handlers.
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
struct ItemMeta {
    #[serde(default)]
    namespace: String,
    name: String,
    uid: String,
    #[serde(default, rename = "ownerReferences")]
    owners: Option<Vec<IgnoredAny>>,
}
