//! A backup and the cluster as it is now.
//!
//! The cluster is listed by the same plan that a backup with the same spec would have. An object is changed if a restore
//! would find that it differs: what the cluster writes by itself ([`crate::restore::compare`]) does not count, else everything
//! that was ever restored, and every object with a status, would be. Of each live object only its key and two hashes stay in
//! memory, so memory grows by about 150 bytes an object of one resource. A resource that cannot be listed, or is served in
//! another version now, is named and not compared.

use std::collections::BTreeMap;

use ark_engine::objects::parse_key;
use ark_engine::{MapReader, Reader, Value};

use super::super::{objects, rows};
use super::{Sink, unreadable};
use crate::api::BackupSpec;
use crate::capture::filter::excludes_itself;
use crate::capture::{self, Listing, Plan};
use crate::cli::args::backup::DiffArgs;
use crate::cli::catalog;
use crate::cli::context::Context;
use crate::cli::difference::{Change, Difference, Side, Tally, one_sided};
use crate::cli::error::{Doing, Error, Result};
use crate::cli::exit::Exit;
use crate::cli::objects::{BackedUpResource, resources};
use crate::cli::size::grouped;
use crate::cluster::kinds::NAMESPACES;
use crate::cluster::{Cluster, GroupResource, ListOptions, Lister, Selector};
use crate::restore::compare::normalise;

/// How many objects are read from the repository at once.
const BATCH: usize = 64;

/// The live objects of a resource, by `namespace/name`.
type Live = BTreeMap<Vec<u8>, Print>;

/// What tells objects apart.
struct Print {
    /// Hash of what the apiserver sends.
    sent: blake3::Hash,
    /// Hash of what of it counts.
    counts: blake3::Hash,
}

fn counts(raw: &[u8], resource: &GroupResource) -> Result<blake3::Hash, serde_json::Error> {
    let mut object: serde_json::Value = serde_json::from_slice(raw)?;
    normalise(&mut object, resource);
    let mut hasher = blake3::Hasher::new();
    feed(&object, &mut hasher);
    Ok(hasher.finalize())
}

/// Hashes a value whatever the order of its fields.
fn feed(value: &serde_json::Value, hasher: &mut blake3::Hasher) {
    use serde_json::Value;
    let mut part = |tag: u8, bytes: &[u8]| {
        hasher.update(&[tag]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        Value::Array(list) => {
            part(b'[', &(list.len() as u64).to_le_bytes());
            list.iter().for_each(|value| feed(value, hasher));
        }
        Value::Object(map) => {
            part(b'{', &(map.len() as u64).to_le_bytes());
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (name, value) in sorted {
                feed(&Value::String(name.clone()), hasher);
                feed(value, hasher);
            }
        }
        Value::String(text) => part(b'"', text.as_bytes()),
        other => part(b'1', other.to_string().as_bytes()),
    }
}

pub async fn run(args: &DiffArgs, context: &mut Context) -> Result<(Tally, Exit)> {
    let repository = context.open().await?;
    let rows = rows(&repository, &args.cluster).await?;
    let row = rows.find(&args.before)?;
    let cluster = context.connect().await?;
    if row.cluster.id != cluster.id() {
        context
            .talk
            .note(&format!("{} is a backup of another cluster", row.name));
    }
    let content = catalog::content(&repository, row).await?;
    let spec = &content.backup.spec;
    let plan = capture::prepare(&cluster, spec).await?;
    let selectors = plan
        .selectors
        .iter()
        .map(|text| catalog::parse_selector(Some(text)))
        .collect::<Result<Vec<_>>>()?;
    let (reader, map) = objects(&repository, row).await?;
    let all = resources(&reader, &map, &row.name).await?;
    let talk = context.talk.clone();
    let progress = talk.progress("comparing");
    let mut exit = Exit::Ok;
    let mut side = Comparison {
        cluster: &cluster,
        reader: &reader,
        map: &map,
        spec,
        patch: args.patch,
        sink: Sink::new(&mut context.printer, args),
        alike: 0,
    };
    for listing in &plan.listings {
        progress.set(format!("comparing {}", listing.resource));
        let backed_up = all.iter().find(|resource| {
            resource.group == listing.resource.group()
                && resource.resource == listing.resource.plural()
        });
        if let Some(resource) =
            backed_up.filter(|resource| resource.entry.version != listing.version)
        {
            talk.note(&format!(
                "{resource} is not compared: it was backed up as {}, and is served as {} now",
                resource.entry.version, listing.version
            ));
            continue;
        }
        match list(&cluster, &plan, listing, &selectors).await {
            Ok(live) => side.compare(listing, backed_up, live).await?,
            Err(LiveError::Cluster(error)) if error.is_forbidden() || error.is_not_found() => {
                talk.line(&format!(
                    "ark: {} is not compared: {error}",
                    listing.resource
                ));
                exit = Exit::PartiallyFailed;
            }
            Err(LiveError::Cluster(source)) => {
                let doing = format!("cannot list {}", listing.resource);
                return Err(Error::Cluster { doing, source });
            }
            Err(LiveError::Object(of, source)) => return Err(Error::Document { of, source }),
        }
    }
    drop(progress);
    for resource in &all {
        let listed = plan.listings.iter().any(|listing| {
            listing
                .resource
                .name
                .is(&resource.group, &resource.resource)
        });
        if !listed {
            talk.note(&format!(
                "{resource} is not compared: the cluster is not listed for it"
            ));
        }
    }
    if side.alike > 0 {
        talk.note(&format!(
            "{} more differ only in what the cluster writes by itself",
            grouped(side.alike)
        ));
    }
    Ok((side.sink.finish()?, exit))
}

/// Why a resource cannot be listed.
enum LiveError {
    Cluster(crate::cluster::Error),
    Object(String, serde_json::Error),
}

impl From<crate::cluster::Error> for LiveError {
    fn from(error: crate::cluster::Error) -> LiveError {
        LiveError::Cluster(error)
    }
}

async fn list(
    cluster: &Cluster,
    plan: &Plan,
    listing: &Listing,
    selectors: &[Selector],
) -> Result<Live, LiveError> {
    let is_namespaces = listing.resource.name == NAMESPACES;
    let scopes: Vec<Option<String>> = match &listing.namespaces {
        None => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    let mut live = Live::new();
    for namespace in scopes {
        let options = ListOptions {
            namespace,
            label_selector: listing.label_selector.clone(),
            ..ListOptions::default()
        };
        let mut lister = Lister::new(cluster, &listing.resource, &options);
        while let Some(page) = lister.next().await? {
            for item in page.items() {
                let item = item?;
                let meta = &item.meta;
                let home = if is_namespaces {
                    &meta.name
                } else {
                    &meta.namespace
                };
                let labels = || {
                    meta.labels
                        .iter()
                        .map(|(key, value)| (key.as_ref(), value.as_ref()))
                };
                let taken = (home.is_empty() || plan.takes_namespace(home))
                    && !excludes_itself(meta)
                    && (selectors.is_empty()
                        || selectors.iter().any(|selector| selector.matches(labels())));
                if taken {
                    let raw = item.raw.as_bytes();
                    let print = Print {
                        sent: blake3::hash(raw),
                        counts: counts(raw, &listing.resource.name).map_err(|source| {
                            LiveError::Object(format!("{} {}", listing.resource, meta.name), source)
                        })?,
                    };
                    live.insert(item.key().into_bytes(), print);
                }
            }
        }
    }
    Ok(live)
}

struct Comparison<'a> {
    cluster: &'a Cluster,
    reader: &'a Reader,
    map: &'a MapReader,
    spec: &'a BackupSpec,
    patch: bool,
    sink: Sink<'a>,
    /// Objects that are equal as far as it counts, and not to the byte.
    alike: u64,
}

impl Comparison<'_> {
    async fn compare(
        &mut self,
        listing: &Listing,
        backed_up: Option<&BackedUpResource>,
        mut live: Live,
    ) -> Result<()> {
        if let Some(resource) = backed_up {
            let (from, to) = resource.key_range();
            let mut range = self.map.range(&from, Some(&to));
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                let next = range.next().await.doing("cannot read the backup")?;
                let end = next.is_none();
                batch.extend(next.filter(|(key, _)| *key != from));
                if batch.len() >= BATCH || end {
                    let full = std::mem::take(&mut batch);
                    self.compare_batch(listing, resource, &from, full, &mut live)
                        .await?;
                }
                if end {
                    break;
                }
            }
        }
        // What is left is in the cluster only.
        for key in live.keys() {
            let key = String::from_utf8_lossy(key).into_owned();
            let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
            let lacking = Side {
                spec: self.spec,
                resource: backed_up,
            };
            let (change, reason) = one_sided(Change::Added, lacking, self.spec, namespace);
            let after = self.live_object(listing, namespace, name).await?;
            self.put(listing, change, reason, (namespace, name), (None, after))?;
        }
        Ok(())
    }

    async fn compare_batch(
        &mut self,
        listing: &Listing,
        resource: &BackedUpResource,
        prefix: &[u8],
        batch: Vec<(Vec<u8>, Value)>,
        live: &mut Live,
    ) -> Result<()> {
        let values = batch.iter().map(|(_, value)| value.clone()).collect();
        let stored = self.reader.read_many(values).await;
        for ((key, _), stored) in batch.iter().zip(stored) {
            let Some(parsed) = parse_key(key) else {
                continue;
            };
            let stored = stored.doing(format!("cannot read {parsed} from the backup"))?;
            let now = live.remove(&key[prefix.len()..]);
            if let Some(now) = &now {
                if now.sent == blake3::hash(&stored) {
                    continue;
                }
                let stored = counts(&stored, &listing.resource.name)
                    .map_err(unreadable(parsed.to_string()))?;
                if now.counts == stored {
                    self.alike += 1;
                    continue;
                }
            }
            let change = match now {
                Some(_) => Change::Changed,
                None => Change::Removed,
            };
            let (namespace, name) = (parsed.namespace.as_str(), parsed.name.as_str());
            let (mut before, mut after) = (None, None);
            if self.patch {
                before = Some(
                    resource
                        .complete(&stored)
                        .map_err(unreadable(parsed.to_string()))?,
                );
                if now.is_some() {
                    after = self.live_object(listing, namespace, name).await?;
                }
            }
            self.put(listing, change, None, (namespace, name), (before, after))?;
        }
        Ok(())
    }

    /// The object as it is now, if patches are asked for. It may be gone by now.
    async fn live_object(
        &self,
        listing: &Listing,
        namespace: &str,
        name: &str,
    ) -> Result<Option<serde_json::Value>> {
        if !self.patch {
            return Ok(None);
        }
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        match self.cluster.get(&listing.resource, namespace, name).await {
            Ok(body) => serde_json::from_slice(&body)
                .map(Some)
                .map_err(unreadable(format!("{} {name}", listing.resource))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(Error::Cluster {
                doing: format!("cannot read {} {name}", listing.resource),
                source,
            }),
        }
    }

    fn put(
        &mut self,
        listing: &Listing,
        change: Change,
        reason: Option<String>,
        (namespace, name): (&str, &str),
        (before, after): (Option<serde_json::Value>, Option<serde_json::Value>),
    ) -> Result<()> {
        self.sink.put(&Difference {
            change,
            resource: listing.resource.to_string(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            reason,
            before,
            after,
        })
    }
}
