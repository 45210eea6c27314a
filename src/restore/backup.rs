//! The objects of a backup in a repository, as a restore reads them.
//!
//! Keys come from a walk over the tree; objects are fetched in batches, so that neighbours that share a frame cost one
//! request. A batch is bounded in count and in bytes: of large objects there are few in it.

use ark_engine::objects::{parse_key, resource_prefix};
use ark_engine::{MapReader, RangeReader, Reader, Value};
use futures::stream::{self, BoxStream};

use super::object::Key;
use super::source::{Loaded, ObjectSource, SourceError, SourceKey, Wanted};
use crate::api::ResourceEntry;
use crate::cluster::GroupResource;

/// Objects of a batch at most.
const BATCH_OBJECTS: usize = 512;
/// Bytes of a batch at most, except for one object that is larger by itself.
const BATCH_BYTES: u64 = 4 << 20;

/// The first key that is behind all keys with this prefix, which ends in 0x00.
pub fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    if let Some(last) = key.last_mut() {
        *last += 1;
    }
    key
}

/// How many bytes a value holds.
pub fn length(value: &Value) -> u64 {
    match value {
        Value::Inline(bytes) => bytes.len() as u64,
        Value::Chunk { len, .. } => u64::from(*len),
        Value::List { chunks } => chunks.iter().map(|(_, len)| u64::from(*len)).sum(),
        Value::Map { len, .. } => *len,
    }
}

/// A backup in a repository.
pub struct BackupSource {
    reader: Reader,
    map: MapReader,
}

impl BackupSource {
    /// The objects of this map.
    pub fn new(reader: Reader, map: MapReader) -> BackupSource {
        BackupSource { reader, map }
    }
}

fn unreadable(what: String, source: ark_engine::Error) -> SourceError {
    SourceError::Read {
        what,
        source: Box::new(source),
    }
}

fn key_of(bytes: &[u8]) -> Result<(bool, Key), SourceError> {
    let parsed = parse_key(bytes).ok_or_else(|| SourceError::Key {
        key: String::from_utf8_lossy(bytes).escape_debug().to_string(),
    })?;
    let is_resource = parsed.is_resource();
    let namespace = Some(parsed.namespace).filter(|namespace| !namespace.is_empty());
    let key = Key {
        resource: GroupResource::new(parsed.group, parsed.resource),
        namespace,
        name: parsed.name,
    };
    Ok((is_resource, key))
}

impl BackupSource {
    /// The next key of a walk.
    async fn next_key(&self, range: &mut RangeReader) -> Result<Option<SourceKey>, SourceError> {
        let next = range.next().await;
        let next = next.map_err(|source| unreadable("the keys".to_owned(), source))?;
        let Some((bytes, value)) = next else {
            return Ok(None);
        };
        let (is_resource, key) = key_of(&bytes)?;
        if !is_resource {
            return Ok(Some(SourceKey::Object(key)));
        }
        let resource = key.resource;
        let entry = self.reader.read(&value).await;
        let entry =
            entry.map_err(|source| unreadable(format!("the entry of {resource}"), source))?;
        let entry = ResourceEntry::from_bytes(&entry).map_err(|source| SourceError::Entry {
            resource: resource.to_string(),
            source,
        })?;
        Ok(Some(SourceKey::Resource(resource, entry)))
    }

    /// The next objects of a scan; none at its end.
    async fn next_objects(&self, scan: &mut Scan<'_>) -> Result<Vec<Loaded>, SourceError> {
        let batch = scan.next_batch().await?;
        let values: Vec<Value> = batch.iter().map(|(_, value)| value.clone()).collect();
        let objects = self.reader.read_many(values).await;
        let mut loaded = Vec::with_capacity(batch.len());
        for ((key, _), bytes) in batch.into_iter().zip(objects) {
            let bytes = bytes.map_err(|source| unreadable(key.to_string(), source));
            loaded.push(Loaded { key, bytes });
        }
        Ok(loaded)
    }
}

impl ObjectSource for BackupSource {
    fn keys(&self) -> BoxStream<'_, Result<SourceKey, SourceError>> {
        let range = self.map.range(&[], None);
        let next = move |mut range| async move {
            let key = self.next_key(&mut range).await?;
            Ok(key.map(|key| (key, range)))
        };
        Box::pin(stream::try_unfold(range, next))
    }

    fn objects<'a>(
        &'a self,
        resource: &'a GroupResource,
        wanted: Wanted<'a>,
    ) -> BoxStream<'a, Result<Vec<Loaded>, SourceError>> {
        let from = resource_prefix(&resource.group, &resource.resource);
        let to = behind(&from);
        let scan = Scan {
            range: self.map.range(&from, Some(&to)),
            wanted,
            ahead: None,
            ended: false,
        };
        let next = move |mut scan: Scan<'a>| async move {
            let objects = self.next_objects(&mut scan).await?;
            Ok((!objects.is_empty()).then_some((objects, scan)))
        };
        Box::pin(stream::try_unfold(scan, next))
    }
}

/// The wanted keys of one resource, cut into batches.
struct Scan<'a> {
    range: RangeReader,
    wanted: Wanted<'a>,
    /// A key that did not fit into the last batch.
    ahead: Option<(Key, Value)>,
    ended: bool,
}

impl Scan<'_> {
    async fn next_batch(&mut self) -> Result<Vec<(Key, Value)>, SourceError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_OBJECTS {
            let Some((key, value)) = self.next().await? else {
                break;
            };
            let size = length(&value);
            if !batch.is_empty() && bytes + size > BATCH_BYTES {
                self.ahead = Some((key, value));
                break;
            }
            bytes += size;
            batch.push((key, value));
        }
        Ok(batch)
    }

    /// The next wanted key.
    async fn next(&mut self) -> Result<Option<(Key, Value)>, SourceError> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        while !self.ended {
            let next = self.range.next().await;
            let next = next.map_err(|source| unreadable("the keys".to_owned(), source))?;
            let Some((bytes, value)) = next else {
                self.ended = true;
                break;
            };
            let (is_resource, key) = key_of(&bytes)?;
            if !is_resource && (self.wanted)(&key) {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}
