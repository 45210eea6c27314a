//! The reading of one listing: pages → objects → chunks, and entries into a queue.
//!
//! Every object that the filter takes goes to the chunk writer at once, as the bytes of the page; only its key and where its
//! content went are queued. Nothing here waits for the map: when the queue of this listing is full the task waits, and the
//! listings before it go on.

use std::sync::Arc;

use ark_engine::{ChunkWriter, FrameClass, WriteSession, objects};
use tokio::sync::mpsc::Sender;

use super::batch::Batch;
use super::error::Result;
use super::plan::{Listing, Plan};
use super::related::References;
use super::report::Monitor;
use crate::api::Captured;
use crate::cluster::kinds::{NAMESPACES, SECRETS};
use crate::cluster::{self, Cluster, Item, ListOptions, Lister, Resource, describe};

/// What the task that writes the map is told of a listing.
pub enum Message {
    /// Some entries.
    Batch(Batch),
    /// There are no more.
    End(Box<End>),
}

/// How a listing ended.
#[derive(Debug, Default)]
pub struct End {
    /// Objects that were taken.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What could not be read, and why.
    pub failures: Vec<String>,
    /// Whether the resource is not served any more.
    pub gone: bool,
    /// What is worth a line in the log.
    pub notes: Vec<String>,
    /// What the objects refer to, if that was asked for.
    pub references: References,
}

impl End {
    /// How much of the listing was read, and why not all.
    pub fn captured(&self) -> (Captured, Option<String>) {
        let captured = match (self.failures.is_empty(), self.objects) {
            (true, _) => return (Captured::Yes, None),
            (false, 0) => Captured::No,
            (false, _) => Captured::Partial,
        };
        let mut reason = self.failures.join("; ");
        if let Some((end, _)) = reason.char_indices().nth(500) {
            reason.truncate(end);
        }
        (captured, Some(reason))
    }
}

/// What all listings of a capture share.
pub struct Context {
    /// Where from.
    pub cluster: Cluster,
    /// Where to.
    pub session: WriteSession,
    /// What.
    pub plan: Arc<Plan>,
    /// Who watches.
    pub monitor: Arc<dyn Monitor>,
}

/// Where the objects of one resource go.
pub struct Sink<'w> {
    writer: Writer<'w>,
    prefix: Vec<u8>,
    namespace: String,
    queue: Option<Sender<Message>>,
    /// Entries that were not sent yet.
    pub batch: Batch,
}

enum Writer<'w> {
    Shared(&'w mut ChunkWriter),
    Own(ChunkWriter),
}

impl<'w> Sink<'w> {
    /// A place for the objects of a resource. Secrets get a writer of their own, which ends a frame with each namespace.
    pub fn new(
        context: &Context,
        resource: &Resource,
        shared: &'w mut ChunkWriter,
        queue: Option<Sender<Message>>,
    ) -> Sink<'w> {
        let writer = if resource.name == SECRETS {
            Writer::Own(context.session.chunks(FrameClass::Secrets))
        } else {
            Writer::Shared(shared)
        };
        let prefix = objects::resource_prefix(resource.group(), resource.plural());
        Sink {
            writer,
            prefix,
            namespace: String::new(),
            queue,
            batch: Batch::default(),
        }
    }

    /// Stores an object. Says whether anybody still wants more.
    pub async fn put(&mut self, item: &Item<'_>) -> Result<bool> {
        let (namespace, name) = (item.meta.namespace.as_ref(), item.meta.name.as_ref());
        let value = match &mut self.writer {
            Writer::Shared(writer) => writer.put_value(item.raw.as_bytes()).await?,
            Writer::Own(writer) => {
                if self.namespace != namespace {
                    writer.cut().await?;
                    namespace.clone_into(&mut self.namespace);
                }
                writer.put_value(item.raw.as_bytes()).await?
            }
        };
        let (namespace, slash): (_, &[u8]) = if namespace.is_empty() {
            ("", b"")
        } else {
            (namespace, b"/")
        };
        self.batch.push(
            &[&self.prefix, namespace.as_bytes(), slash, name.as_bytes()],
            value,
        );
        if self.batch.is_full() {
            self.send().await
        } else {
            Ok(true)
        }
    }

    async fn send(&mut self) -> Result<bool> {
        match &self.queue {
            Some(queue) if !self.batch.is_empty() => {
                let mut batch = std::mem::take(&mut self.batch);
                batch.shrink();
                Ok(queue.send(Message::Batch(batch)).await.is_ok())
            }
            _ => Ok(true),
        }
    }

    /// Ends the frame of Secrets and gives back what was not sent.
    pub async fn finish(self) -> Result<Batch> {
        if let Writer::Own(writer) = self.writer {
            writer.finish().await?;
        }
        Ok(self.batch)
    }
}

/// Reads a listing to its end, whatever becomes of it. An error is returned only where going on makes no sense: the
/// apiserver is gone, or the repository does not take more.
pub async fn read(
    context: &Context,
    listing: &Listing,
    shared: &mut ChunkWriter,
    queue: Sender<Message>,
) -> Result<()> {
    let resource = listing.resource.as_ref();
    context.monitor.resource_started(&resource.to_string());
    let mut end = End::default();
    let mut sink = Sink::new(context, resource, shared, Some(queue.clone()));
    let all = [None];
    let one_by_one: Vec<Option<String>>;
    let scopes = match &listing.namespaces {
        None => all.as_slice(),
        Some(names) => {
            one_by_one = names.iter().cloned().map(Some).collect();
            one_by_one.as_slice()
        }
    };
    for namespace in scopes {
        let options = ListOptions {
            namespace: namespace.clone(),
            label_selector: listing.label_selector.clone(),
            ..ListOptions::default()
        };
        let mut lister = Lister::new(&context.cluster, resource, &options);
        match pages(context, resource, &mut lister, &mut sink, &mut end).await? {
            // The capture is being given up. What was put must still be stored: others may refer to it.
            Pages::Unwanted => {
                sink.finish().await?;
                return Ok(());
            }
            Pages::Read => {}
            Pages::Failed(error) if error.is_not_found() && end.objects == 0 => end.gone = true,
            Pages::Failed(error) => end.failures.push(describe(&error)),
        }
        if lister.expiries() > 0 {
            end.notes.push(format!(
                "the list of {resource} expired and was resumed in a newer state"
            ));
        }
    }
    let wanted = sink.send().await?;
    sink.finish().await?;
    if wanted {
        // Nobody waits for the end when the capture is being given up.
        let _ = queue.send(Message::End(Box::new(end))).await;
    }
    Ok(())
}

enum Pages {
    Read,
    Failed(cluster::Error),
    Unwanted,
}

async fn pages(
    context: &Context,
    resource: &Resource,
    lister: &mut Lister,
    sink: &mut Sink<'_>,
    end: &mut End,
) -> Result<Pages> {
    let mut last = String::new();
    let mut verdict = NamespaceVerdict::default();
    let name = resource.to_string();
    loop {
        let page = match lister.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(Pages::Read),
            Err(error) if is_fatal(&error) => return Err(error.into()),
            Err(error) => return Ok(Pages::Failed(error)),
        };
        let (mut objects, mut bytes) = (0u64, 0u64);
        for item in page.items() {
            let item = match item {
                Ok(item) => item,
                Err(error) => return Ok(Pages::Failed(error)),
            };
            let key = item.key();
            if key.as_bytes() <= last.as_bytes() && !last.is_empty() {
                lister.unordered();
            }
            last = key;
            if !takes(context, resource, &item, &mut verdict) {
                continue;
            }
            if context.plan.relations {
                end.references.note(resource, &item);
            }
            objects += 1;
            bytes += item.raw.len() as u64;
            if !sink.put(&item).await? {
                return Ok(Pages::Unwanted);
            }
        }
        end.objects += objects;
        end.bytes += bytes;
        context.monitor.objects(&name, objects, bytes);
        if !sink.send().await? {
            return Ok(Pages::Unwanted);
        }
    }
}

/// Whether the backup takes an object that was listed.
fn takes(
    context: &Context,
    resource: &Resource,
    item: &Item<'_>,
    verdict: &mut NamespaceVerdict,
) -> bool {
    let namespace = if resource.name == NAMESPACES {
        &item.meta.name
    } else {
        &item.meta.namespace
    };
    (namespace.is_empty() || verdict.takes(&context.plan, namespace))
        && context.plan.takes_by_labels(&item.meta)
}

/// Objects of a namespace come one after the other: what was decided for the last one mostly holds.
#[derive(Default)]
struct NamespaceVerdict {
    namespace: String,
    takes: bool,
}

impl NamespaceVerdict {
    fn takes(&mut self, plan: &Plan, namespace: &str) -> bool {
        if self.namespace != namespace {
            namespace.clone_into(&mut self.namespace);
            self.takes = plan.takes_namespace(namespace);
        }
        self.takes
    }
}

/// Whether nothing else will work either.
pub fn is_fatal(error: &cluster::Error) -> bool {
    match error {
        cluster::Error::Unreachable { .. } | cluster::Error::Credentials { .. } => true,
        cluster::Error::Api(api) => api.code == 401,
        _ => false,
    }
}
