//! Two backups: a lock-step walk over both maps that skips what they share.

use ark_engine::objects::{ObjectKey, parse_key};
use ark_engine::{BackupRow, Reader, Repository, Value, diff};

use super::difference::{Change, Difference, Side, one_sided};
use super::error::{Doing, ReadError, Result};
use super::manifest::{self, Content};
use super::objects::{BackedUpResource, resources};
use super::{Head, Out};

/// A backup that is compared.
struct Compared {
    content: Content,
    resources: Vec<BackedUpResource>,
}

impl Compared {
    async fn new(repository: &Repository, reader: &Reader, row: &BackupRow) -> Result<Compared> {
        Ok(Compared {
            content: manifest::content(repository, row).await?,
            resources: match row.dataset("objects") {
                Some(root) => resources(reader, &reader.map(root), &row.name).await?,
                None => Vec::new(),
            },
        })
    }

    fn side(&self, key: &ObjectKey) -> Side<'_> {
        Side {
            spec: &self.content.backup.spec,
            resource: self
                .resources
                .iter()
                .find(|resource| resource.group == key.group && resource.resource == key.resource),
        }
    }

    async fn object(
        &self,
        reader: &Reader,
        key: &ObjectKey,
        value: Option<&Value>,
    ) -> Result<Option<serde_json::Value>> {
        let (Some(resource), Some(value)) = (self.side(key).resource, value) else {
            return Ok(None);
        };
        let bytes = reader.read(value).await;
        let bytes = bytes.doing(format!("cannot read {key}"))?;
        let object = resource.complete(&bytes);
        object.map(Some).map_err(|source| ReadError::Document {
            of: key.to_string(),
            source,
        })
    }
}

/// Gives what differs.
pub(super) async fn compare(
    repository: &Repository,
    a: &BackupRow,
    b: &BackupRow,
    with_objects: bool,
    out: &Out,
) -> Result<()> {
    let reader = repository
        .browse()
        .await
        .doing("cannot read the repository")?;
    let before = Compared::new(repository, &reader, a).await?;
    let after = Compared::new(repository, &reader, b).await?;
    out.put(Head::Compared {
        same_cluster: a.cluster.id == b.cluster.id,
    })
    .await?;
    let mut walk = diff(&reader, a.dataset("objects"), b.dataset("objects"));
    while let Some(found) = walk.next().await.doing("cannot compare the backups")? {
        let Some(key) = parse_key(&found.key).filter(|key| !key.is_resource()) else {
            continue;
        };
        let (one, other) = (before.side(&key), after.side(&key));
        let (change, reason) = match (&found.before, &found.after) {
            (Some(_), None) => one_sided(Change::Removed, other, one.spec, &key.namespace),
            (None, Some(_)) => one_sided(Change::Added, one, other.spec, &key.namespace),
            _ => (Change::Changed, None),
        };
        let mut difference = Difference {
            change,
            resource: key.group_resource(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            reason,
            before: None,
            after: None,
        };
        if with_objects {
            difference.before = before.object(&reader, &key, found.before.as_ref()).await?;
            difference.after = after.object(&reader, &key, found.after.as_ref()).await?;
        }
        out.put(Head::Difference(Box::new(difference))).await?;
    }
    Ok(())
}
