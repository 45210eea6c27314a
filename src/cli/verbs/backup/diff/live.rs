//! A backup and the cluster as it is now.
//!
//! The cluster is listed by the same plan that a backup with the same spec would have. An object is changed if a restore
//! would find that it differs: what the cluster writes by itself ([`crate::restore::compare`]) does not count, else everything
//! that was ever restored, and every object with a status, would be. Of each live object only its key and two hashes stay in
//! memory, so memory grows by about 150 bytes an object of one resource. A resource that cannot be listed, or is served in
//! another version now, is named and not compared.

use std::collections::BTreeMap;

use super::super::choose::Objects;
use super::super::{Part, fetch, rows};
use super::{Sink, unreadable};
use crate::api::BackupSpec;
use crate::capture::filter::excludes_itself;
use crate::capture::{self, Listing, Plan};
use crate::cli::args::backup::DiffArgs;
use crate::cli::catalog;
use crate::cli::context::Context;
use crate::cli::difference::Tally;
use crate::cli::error::{Error, Result};
use crate::cli::exit::Exit;
use crate::cli::progress::Talk;
use crate::cli::size::grouped;
use crate::cluster::kinds::NAMESPACES;
use crate::cluster::{Cluster, GroupResource, ListOptions, Lister, Selector};
use crate::restore::compare::normalise;
use crate::server::reading::difference::{Change, Side, one_sided};
use crate::server::reading::objects::{BackedUpResource, qualified};
use crate::server::reading::{self, Difference, Head, Pieces, Question, Wanted};

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
    let backup = Asked::new(args, context).await?;
    let cluster = context.connect().await?;
    if backup.cluster != cluster.id() {
        context
            .talk
            .note(&format!("{} is a backup of another cluster", backup.name));
    }
    let plan = capture::prepare(&cluster, &backup.spec).await?;
    let selectors = plan
        .selectors
        .iter()
        .map(|text| catalog::parse_selector(Some(text)))
        .collect::<Result<Vec<_>>>()?;
    let talk = context.talk.clone();
    let progress = talk.progress("comparing");
    let mut live = Now {
        cluster: &cluster,
        plan: &plan,
        selectors: &selectors,
        talk: &talk,
        exit: Exit::Ok,
    };
    let mut side = Comparison {
        cluster: &cluster,
        spec: &backup.spec,
        patch: args.patch,
        sink: Sink::new(&mut context.printer, args),
        alike: 0,
    };
    let mut left: Vec<&Listing> = plan.listings.iter().collect();
    let mut current: Option<Current<'_>> = None;
    let mut pieces = backup.pieces;
    while let Some(piece) = pieces.next().await? {
        match piece.head {
            Head::Resource(resource) => {
                side.finish(current.take()).await?;
                let listing = left.iter().position(|listing| {
                    let name = &listing.resource.name;
                    name.is(&resource.group, &resource.resource)
                });
                let Some(listing) = listing.map(|at| left.remove(at)) else {
                    talk.note(&format!(
                        "{resource} is not compared: the cluster is not listed for it"
                    ));
                    continue;
                };
                if resource.entry.version != listing.version {
                    talk.note(&format!(
                        "{resource} is not compared: it was backed up as {}, and is served as {} now",
                        resource.entry.version, listing.version
                    ));
                    continue;
                }
                progress.set(format!("comparing {}", listing.resource));
                current = live.current(listing, Some(resource)).await?;
            }
            Head::Object {
                namespace, name, ..
            } => {
                if let Some(current) = &mut current {
                    side.compare(current, (&namespace, &name), &piece.body)
                        .await?;
                }
            }
            _ => {}
        }
    }
    side.finish(current.take()).await?;
    // The backup knows nothing of these.
    for listing in left {
        progress.set(format!("comparing {}", listing.resource));
        let current = live.current(listing, None).await?;
        side.finish(current).await?;
    }
    drop(progress);
    if side.alike > 0 {
        talk.note(&format!(
            "{} more differ only in what the cluster writes by itself",
            grouped(side.alike)
        ));
    }
    let exit = live.exit;
    Ok((side.sink.finish()?, exit))
}

/// The backup that is compared.
struct Asked {
    name: String,
    cluster: String,
    spec: BackupSpec,
    pieces: Pieces,
}

impl Asked {
    async fn new(args: &DiffArgs, context: &Context) -> Result<Asked> {
        let wanted = Wanted {
            contents: true,
            ..Wanted::default()
        };
        if context.is_direct() {
            let repository = context.open().await?;
            let rows = rows(&repository, &args.cluster).await?;
            let row = rows.find(&args.before)?;
            let content = reading::content(&repository, row).await?;
            let question = Question::Objects {
                row: Box::new(row.clone()),
                wanted,
            };
            return Ok(Asked {
                name: row.name.clone(),
                cluster: row.cluster.id.clone(),
                spec: content.backup.spec,
                pieces: reading::ask(repository, question),
            });
        }
        let served = context.serve().await?;
        let objects = Objects::read(&served, args.cluster.cluster.as_deref()).await?;
        let chosen = objects.find(&args.before, &served)?;
        let name = chosen.line.name.clone();
        let target = Part::Objects(wanted).target(&name);
        Ok(Asked {
            cluster: chosen.line.cluster.0.clone(),
            spec: chosen.found.object.spec.clone(),
            pieces: fetch(&served, target, &context.env).await?,
            name,
        })
    }
}

/// The resource that is compared.
struct Current<'a> {
    listing: &'a Listing,
    /// As the backup has it.
    resource: Option<BackedUpResource>,
    /// The live objects that the backup was not seen to have.
    live: Live,
}

/// The cluster as it is now.
struct Now<'a> {
    cluster: &'a Cluster,
    plan: &'a Plan,
    selectors: &'a [Selector],
    talk: &'a Talk,
    exit: Exit,
}

impl Now<'_> {
    /// Lists a resource; `None` if that cannot be done.
    async fn current<'a>(
        &mut self,
        listing: &'a Listing,
        resource: Option<BackedUpResource>,
    ) -> Result<Option<Current<'a>>> {
        match list(self.cluster, self.plan, listing, self.selectors).await {
            Ok(live) => Ok(Some(Current {
                listing,
                resource,
                live,
            })),
            Err(LiveError::Cluster(error)) if error.is_forbidden() || error.is_not_found() => {
                self.talk.line(&format!(
                    "ark: {} is not compared: {error}",
                    listing.resource
                ));
                self.exit = Exit::PartiallyFailed;
                Ok(None)
            }
            Err(LiveError::Cluster(source)) => {
                let doing = format!("cannot list {}", listing.resource);
                Err(Error::Cluster { doing, source })
            }
            Err(LiveError::Object(of, source)) => Err(Error::Document { of, source }),
        }
    }
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
    spec: &'a BackupSpec,
    patch: bool,
    sink: Sink<'a>,
    /// Objects that are equal as far as it counts, and not to the byte.
    alike: u64,
}

impl Comparison<'_> {
    /// Compares an object of the backup with the live one.
    async fn compare(
        &mut self,
        current: &mut Current<'_>,
        (namespace, name): (&str, &str),
        stored: &[u8],
    ) -> Result<()> {
        let listing = current.listing;
        let key = qualified(namespace, name);
        let of = || format!("{} {key}", listing.resource);
        let now = current.live.remove(key.as_bytes());
        if let Some(now) = &now {
            if now.sent == blake3::hash(stored) {
                return Ok(());
            }
            let counting = counts(stored, &listing.resource.name).map_err(unreadable(of()))?;
            if now.counts == counting {
                self.alike += 1;
                return Ok(());
            }
        }
        let change = match now {
            Some(_) => Change::Changed,
            None => Change::Removed,
        };
        let (mut before, mut after) = (None, None);
        if let Some(resource) = current.resource.as_ref().filter(|_| self.patch) {
            before = Some(resource.complete(stored).map_err(unreadable(of()))?);
            if now.is_some() {
                after = self.live_object(listing, namespace, name).await?;
            }
        }
        self.put(listing, change, None, (namespace, name), (before, after))
    }

    /// What is left is in the cluster only.
    async fn finish(&mut self, current: Option<Current<'_>>) -> Result<()> {
        let Some(current) = current else {
            return Ok(());
        };
        for key in current.live.keys() {
            let key = String::from_utf8_lossy(key).into_owned();
            let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
            let lacking = Side {
                spec: self.spec,
                resource: current.resource.as_ref(),
            };
            let (change, reason) = one_sided(Change::Added, lacking, self.spec, namespace);
            let after = self.live_object(current.listing, namespace, name).await?;
            let names = (namespace, name);
            self.put(current.listing, change, reason, names, (None, after))?;
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
