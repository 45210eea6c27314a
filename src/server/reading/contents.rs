//! The objects of a backup: their names by a walk over the keys, and the objects themselves in batches.

use ark_engine::objects::{ObjectKey, object_key, parse_key};
use ark_engine::{BackupRow, MapReader, Reader, Repository, Value};

use super::error::{Doing, ReadError, Result};
use super::manifest::{self, Record};
use super::objects::{BackedUpResource, object_name, resolve, resources};
use super::{Head, Out, Wanted};
use crate::restore::backup::length;

/// Objects that are read at once.
const BATCH_OBJECTS: usize = 256;
/// Bytes that are read at once, except for an object that is larger by itself.
const BATCH_BYTES: u64 = 4 << 20;

/// The dataset of API objects of a backup, and a reader for it.
async fn dataset(repository: &Repository, row: &BackupRow) -> Result<(Reader, MapReader)> {
    let reader = repository
        .browse()
        .await
        .doing("cannot read the repository")?;
    match row.dataset("objects") {
        Some(root) => {
            let map = reader.map(root);
            Ok((reader, map))
        }
        None => Err(ReadError::NoObjects {
            backup: row.name.clone(),
        }),
    }
}

/// Each resource with the number of its objects, by a walk over all keys; no object is read.
///
/// # Errors
/// The repository's. A backup without objects has no resources.
pub async fn count(
    repository: &Repository,
    row: &BackupRow,
) -> Result<Vec<(BackedUpResource, u64)>> {
    let (reader, map) = match dataset(repository, row).await {
        Err(ReadError::NoObjects { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let mut counted = Vec::new();
    for resource in resources(&reader, &map, &row.name).await? {
        let objects = objects_of(&map, &resource, &row.name).await?;
        counted.push((resource, objects));
    }
    Ok(counted)
}

async fn objects_of(map: &MapReader, resource: &BackedUpResource, name: &str) -> Result<u64> {
    let (from, to) = resource.key_range();
    let mut range = map.range(&from, Some(&to));
    let mut keys = 0_u64;
    while range.next().await.doing(cannot_read(name))?.is_some() {
        keys += 1;
    }
    // One of the keys is the resource's own entry.
    Ok(keys.saturating_sub(1))
}

/// Gives what the repository knows of the backup, and its resources counted.
pub(super) async fn details(repository: &Repository, row: &BackupRow, out: &Out) -> Result<()> {
    let content = manifest::content(repository, row).await?;
    let record = Record::new(row, Some(&content.manifest));
    out.put(Head::Record(Box::new(record))).await?;
    let (reader, map) = match dataset(repository, row).await {
        Err(ReadError::NoObjects { .. }) => return Ok(()),
        other => other?,
    };
    for resource in resources(&reader, &map, &row.name).await? {
        let objects = objects_of(&map, &resource, &row.name).await?;
        out.put(Head::Counted { resource, objects }).await?;
    }
    Ok(())
}

/// Gives the objects that are wanted, or their names.
pub(super) async fn objects(
    repository: &Repository,
    row: &BackupRow,
    wanted: &Wanted,
    out: &Out,
) -> Result<()> {
    let (reader, map) = dataset(repository, row).await?;
    let mut chosen = resources(&reader, &map, &row.name).await?;
    if let Some(text) = &wanted.resource {
        chosen = vec![resolve(&chosen, text, &row.name)?.clone()];
    }
    let walk = Walk {
        reader: &reader,
        map: &map,
        backup: &row.name,
        wanted,
        out,
    };
    for resource in &chosen {
        out.put(Head::Resource(resource.clone())).await?;
        match &wanted.object {
            Some(object) => walk.one(resource, object).await?,
            None => walk.all(resource).await?,
        }
    }
    Ok(())
}

struct Walk<'a> {
    reader: &'a Reader,
    map: &'a MapReader,
    backup: &'a str,
    wanted: &'a Wanted,
    out: &'a Out,
}

impl Walk<'_> {
    async fn one(&self, resource: &BackedUpResource, object: &str) -> Result<()> {
        let (namespace, name) = object.split_once('/').unwrap_or(("", object));
        let missing = || ReadError::NoObject {
            backup: self.backup.to_owned(),
            resource: resource.to_string(),
            object: object.to_owned(),
        };
        if name.is_empty() {
            return Err(missing());
        }
        let key = object_key(&resource.group, &resource.resource, namespace, name);
        let value = self.map.get(&key).await;
        let value = value.doing(format!(
            "cannot read {resource} {object} from {}",
            self.backup
        ))?;
        let key = parse_key(&key).ok_or_else(missing)?;
        let batch = vec![(key, value.ok_or_else(missing)?)];
        self.give(resource, batch).await
    }

    async fn all(&self, resource: &BackedUpResource) -> Result<()> {
        let (first, to) = resource.key_range();
        let mut from = first.clone();
        from.extend_from_slice(self.wanted.prefix.as_deref().unwrap_or_default().as_bytes());
        let mut range = self.map.range(&from, Some(&to));
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((key, value)) = range.next().await.doing(cannot_read(self.backup))? {
            if !key.starts_with(&from) {
                break;
            }
            let Some(parsed) = parse_key(&key).filter(|_| key != first) else {
                continue;
            };
            bytes += length(&value);
            batch.push((parsed, value));
            if batch.len() == BATCH_OBJECTS || bytes >= BATCH_BYTES {
                self.give(resource, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        self.give(resource, batch).await
    }

    async fn give(
        &self,
        resource: &BackedUpResource,
        batch: Vec<(ObjectKey, Value)>,
    ) -> Result<()> {
        let head = |key: ObjectKey, value: &Value| Head::Object {
            namespace: key.namespace,
            name: key.name,
            bytes: length(value),
        };
        if !self.wanted.contents {
            for (key, value) in batch {
                self.out.put(head(key, &value)).await?;
            }
            return Ok(());
        }
        let values: Vec<Value> = batch.iter().map(|(_, value)| value.clone()).collect();
        let objects = self.reader.read_many(values).await;
        for ((key, value), bytes) in batch.into_iter().zip(objects) {
            let name = object_name(&key);
            let bytes = bytes.doing(format!(
                "cannot read {resource} {name} from {}",
                self.backup
            ))?;
            self.out.with(head(key, &value), bytes).await?;
        }
        Ok(())
    }
}

fn cannot_read(backup: &str) -> String {
    format!("cannot read the objects of {backup}")
}
