//! Carries out a plan: several resources are listed at once, one map is written.
//!
//! Listings are taken up in key order, and the map is written in key order. Each listing has a bounded queue. The listing that
//! the map waits for is always under way, because it is the smallest of those not finished, and its queue is the one being
//! emptied: so there is no deadlock, and what waits is bounded by listings under way times queue.
//!
//! A resource's own entry, which says whether the resource was read completely, sorts before its objects. Entries are
//! therefore held back until the listing ends, up to [`HELD_BYTES`]. A listing that outgrows that is taken for complete; if it
//! fails later, or turns out not to be in order, the map is started again with that known. Chunks that were
//! written are found again, so that only the lists are paid twice.
//!
//! When filters make it necessary to look for related objects, keys are known only at the end: then entries are kept in
//! memory, sorted and written. That takes about a hundred bytes an object.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use ark_engine::{Dataset, FrameClass, MapWriter, Root, Value, WriteSession, objects};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::batch::{Batch, QUEUE_BATCHES};
use super::error::{Error, Result};
use super::gather::{Found, gather};
use super::plan::{Listing, Plan};
use super::read::{Context, End, Message, read};
use super::related::References;
use super::report::{CaptureReport, Level, LogLine, Monitor, ResourceReport};
use crate::api::{Captured, ResourceEntry};
use crate::cluster::{Cluster, GroupResource, Resource};

/// How many resources are listed at once. Each has a page on its way while another one is worked on, so that two keep an
/// apiserver busy; a third one made backups slower and larger.
const AT_ONCE: usize = 2;
/// How much of a listing is held back before its entry is written.
const HELD_BYTES: usize = 512 << 10;
/// How often a map is started again.
const MAX_RESTARTS: u32 = 5;

/// What a capture leaves.
#[derive(Debug)]
pub struct CaptureOutcome {
    /// The root of the `objects` dataset.
    pub root: Option<Root>,
    /// What was done, and what is missing.
    pub report: CaptureReport,
}

/// Carries out a plan. The session is the caller's: committing it, with the root, makes the backup.
pub async fn capture(
    cluster: &Cluster,
    plan: &Arc<Plan>,
    session: &WriteSession,
    monitor: Arc<dyn Monitor>,
) -> Result<CaptureOutcome> {
    let before = cluster.requests();
    let context = Arc::new(Context {
        cluster: cluster.clone(),
        session: session.clone(),
        plan: Arc::clone(plan),
        monitor: Arc::clone(&monitor),
    });
    let mut known = Known::default();
    for _ in 0..=MAX_RESTARTS {
        let mut log = Log {
            monitor: Arc::clone(&monitor),
            lines: Vec::new(),
        };
        plan.warnings
            .iter()
            .for_each(|text| log.add(Level::Warning, text.clone()));
        let attempt = if plan.relations {
            collect(&context, &mut log).await?
        } else {
            stream(&context, &mut known, &mut log).await?
        };
        let Some((root, resources)) = attempt else {
            continue;
        };
        let report = report(resources, log, cluster.requests().since(&before));
        return Ok(CaptureOutcome { root, report });
    }
    Err(Error::Unstable {
        times: MAX_RESTARTS + 1,
    })
}

/// What was learnt in an attempt that had to be given up.
#[derive(Debug, Default)]
struct Known {
    /// Resources that failed in the middle, and why.
    broken: BTreeMap<GroupResource, String>,
    /// Resources that are not listed in order.
    unordered: BTreeSet<GroupResource>,
}

struct Log {
    monitor: Arc<dyn Monitor>,
    lines: Vec<LogLine>,
}

impl Log {
    fn add(&mut self, level: Level, text: String) {
        let line = LogLine { level, text };
        self.monitor.line(&line);
        self.lines.push(line);
    }
}

type Attempt = Option<(Option<Root>, Vec<ResourceReport>)>;

/// Every entry goes into the map as soon as it may.
async fn stream(context: &Arc<Context>, known: &mut Known, log: &mut Log) -> Result<Attempt> {
    let (mut tasks, mut queues) = start(context);
    let mut map = context.session.map(Dataset::Objects);
    let mut reports = Vec::new();
    while let Some((listing, mut queue)) = queues.pop_front() {
        let name = &listing.resource.name;
        let mut entry = Pending::new(
            &listing.resource,
            known.broken.get(name).cloned(),
            known.unordered.contains(name),
        );
        let end = loop {
            match queue.recv().await {
                Some(Message::Batch(batch)) => {
                    if !entry.take(batch, &mut map).await? {
                        log.add(
                            Level::Info,
                            format!("{name} is not listed in order; starting again to sort it"),
                        );
                        known.unordered.insert(name.clone());
                        drop((queue, queues));
                        tasks.give_up(map).await?;
                        return Ok(None);
                    }
                }
                Some(Message::End(end)) => break end,
                // The task is gone: it says why, or another one that failed first does.
                None => return Err(tasks.failure().await),
            }
        };
        let (captured, reason) = end.captured();
        if entry.written && entry.broken.is_none() && captured != Captured::Yes {
            known
                .broken
                .insert(name.clone(), reason.unwrap_or_default());
            log.add(
                Level::Info,
                format!("{name} could not be read to its end; starting again to record that"),
            );
            drop((queue, queues));
            tasks.give_up(map).await?;
            return Ok(None);
        }
        let (captured, reason) = match entry.broken.take() {
            Some(reason) => (Captured::Partial, Some(reason)),
            None => (captured, reason),
        };
        if entry.unordered {
            log.add(
                Level::Warning,
                format!("{name} is not listed in the order of its names; it was sorted"),
            );
        }
        if let Some(report) = conclude(context, &listing.resource, &end, captured, reason, log) {
            entry.finish(&report, &mut map).await?;
            reports.push(report);
        }
    }
    tasks.finished().await?;
    Ok(Some((map.finish().await?, reports)))
}

/// Every entry is kept; related objects are looked for; then all are sorted and written.
async fn collect(context: &Arc<Context>, log: &mut Log) -> Result<Attempt> {
    let (mut tasks, queues) = start(context);
    let mut spill = Spill::default();
    let mut references = References::default();
    let mut reports: BTreeMap<GroupResource, ResourceReport> = BTreeMap::new();
    for (listing, mut queue) in queues {
        let mut end = loop {
            match queue.recv().await {
                Some(Message::Batch(batch)) => spill.take(&batch),
                Some(Message::End(end)) => break end,
                None => return Err(tasks.failure().await),
            }
        };
        references.merge(std::mem::take(&mut end.references));
        let (captured, reason) = end.captured();
        if let Some(report) = conclude(context, &listing.resource, &end, captured, reason, log) {
            reports.insert(listing.resource.name.clone(), report);
        }
    }
    tasks.finished().await?;
    let mut writer = context.session.chunks(FrameClass::Objects);
    let found = gather(context, references, &mut writer).await?;
    writer.finish().await?;
    for (name, found) in found {
        let Some(resource) = context.plan.discovery.find_name(&name) else {
            continue;
        };
        for batch in &found.batches {
            spill.take(batch);
        }
        add_found(resource, &found, &mut reports, log);
    }
    for report in reports.values() {
        if let Some(resource) = context
            .plan
            .discovery
            .resources()
            .iter()
            .find(|r| r.to_string() == report.resource)
        {
            let entry = entry_bytes(resource, report.captured, report.reason.as_deref())?;
            spill.entries.push((
                objects::resource_key(resource.group(), resource.plural()),
                Value::Inline(entry),
            ));
        }
    }
    let mut map = context.session.map(Dataset::Objects);
    let counts = spill.write(&mut map).await?;
    for (name, report) in &mut reports {
        // An object may be listed and referred to; it is there once.
        (report.objects, report.bytes) = counts.get(name).copied().unwrap_or_default();
    }
    Ok(Some((map.finish().await?, reports.into_values().collect())))
}

fn add_found(
    resource: &Resource,
    found: &Found,
    reports: &mut BTreeMap<GroupResource, ResourceReport>,
    log: &mut Log,
) {
    for failure in &found.failures {
        log.add(
            Level::Error,
            format!("{resource}: related objects could not be read: {failure}"),
        );
    }
    if found.objects == 0 && found.failures.is_empty() {
        return;
    }
    log.add(
        Level::Info,
        format!(
            "{resource}: {} that other objects refer to",
            plural(found.objects)
        ),
    );
    match reports.get_mut(&resource.name) {
        Some(report) => {
            if let Some(failure) = found.failures.first() {
                report.captured = Captured::Partial;
                report.reason.get_or_insert_with(|| failure.clone());
            }
        }
        None => {
            // Not "yes": what is not here was not looked for, so nobody may call it deleted.
            let (captured, reason) = match found.failures.first() {
                Some(failure) if found.objects == 0 => (Captured::No, failure.clone()),
                Some(failure) => (Captured::Partial, failure.clone()),
                None => (
                    Captured::Partial,
                    "only objects that others refer to".to_owned(),
                ),
            };
            let report = ResourceReport {
                resource: resource.to_string(),
                version: resource.version.clone(),
                objects: found.objects,
                bytes: found.bytes,
                captured,
                reason: Some(reason),
                referenced_only: true,
            };
            reports.insert(resource.name.clone(), report);
        }
    }
}

type Queues = VecDeque<(Listing, Receiver<Message>)>;
type Waiting = VecDeque<(Listing, Sender<Message>)>;

/// The tasks that list, and what they have not taken up yet.
struct Tasks {
    running: JoinSet<Result<()>>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Starts the tasks that list. Each takes up the next listing, in key order, when it is done with one.
fn start(context: &Arc<Context>) -> (Tasks, Queues) {
    let (mut waiting, mut queues) = (Waiting::new(), Queues::new());
    for listing in &context.plan.listings {
        let (sender, receiver) = channel(QUEUE_BATCHES);
        waiting.push_back((listing.clone(), sender));
        queues.push_back((listing.clone(), receiver));
    }
    let waiting = Arc::new(Mutex::new(waiting));
    let mut running = JoinSet::new();
    for _ in 0..AT_ONCE.min(queues.len()) {
        let (context, waiting) = (Arc::clone(context), Arc::clone(&waiting));
        running.spawn(async move {
            // One neighbourhood for all that this task reads: frames are filled across resources.
            let mut shared = context.session.chunks(FrameClass::Objects);
            loop {
                let next = waiting.lock().map_err(|_| Error::Task)?.pop_front();
                let Some((listing, queue)) = next else { break };
                read(&context, &listing, &mut shared, queue).await?;
            }
            shared.finish().await?;
            Ok(())
        });
    }
    (Tasks { running, waiting }, queues)
}

impl Tasks {
    async fn finished(&mut self) -> Result<()> {
        while let Some(outcome) = self.running.join_next().await {
            outcome.map_err(|_| Error::Task)??;
        }
        Ok(())
    }

    /// Why a queue ended without an end.
    async fn failure(&mut self) -> Error {
        match self.finished().await {
            Err(error) => error,
            Ok(()) => Error::Task,
        }
    }

    /// Ends an attempt. The queues are closed already, so every task ends after what it has in hand. Neither a task nor the
    /// map is just dropped: chunks that they promised must be stored, because the next attempt refers to them.
    async fn give_up(&mut self, map: MapWriter) -> Result<()> {
        self.waiting.lock().map_err(|_| Error::Task)?.clear();
        self.finished().await?;
        map.finish().await?;
        Ok(())
    }
}

/// The entries of one resource on their way into the map.
struct Pending<'r> {
    resource: &'r Resource,
    /// Why the resource is known to be incomplete, from an attempt before.
    broken: Option<String>,
    unordered: bool,
    written: bool,
    held: Vec<Batch>,
    held_bytes: usize,
    last: Vec<u8>,
}

impl<'r> Pending<'r> {
    fn new(resource: &'r Resource, broken: Option<String>, unordered: bool) -> Pending<'r> {
        Pending {
            resource,
            broken,
            unordered,
            written: false,
            held: Vec::new(),
            held_bytes: 0,
            last: Vec::new(),
        }
    }

    /// Takes a batch. `false` says that it comes too late to be sorted in.
    async fn take(&mut self, batch: Batch, map: &mut MapWriter) -> Result<bool> {
        if !self.unordered && !batch.ascends_from(&self.last) {
            if self.written {
                return Ok(false);
            }
            self.unordered = true;
        }
        if let Some(last) = batch.last_key() {
            last.clone_into(&mut self.last);
        }
        if self.written {
            push(&batch, map).await?;
            return Ok(true);
        }
        self.held_bytes += batch.bytes();
        self.held.push(batch);
        if self.held_bytes > HELD_BYTES && !self.unordered {
            let (captured, reason) = match &self.broken {
                Some(reason) => (Captured::Partial, Some(reason.as_str())),
                None => (Captured::Yes, None),
            };
            let entry = entry_bytes(self.resource, captured, reason)?;
            self.release(entry, map).await?;
        }
        Ok(true)
    }

    async fn finish(mut self, report: &ResourceReport, map: &mut MapWriter) -> Result<()> {
        if self.written {
            return Ok(());
        }
        let entry = entry_bytes(self.resource, report.captured, report.reason.as_deref())?;
        self.release(entry, map).await
    }

    async fn release(&mut self, entry: Vec<u8>, map: &mut MapWriter) -> Result<()> {
        self.written = true;
        let key = objects::resource_key(self.resource.group(), self.resource.plural());
        map.push(&key, &Value::Inline(entry)).await?;
        if self.unordered {
            let mut spill = Spill::default();
            self.held.iter().for_each(|batch| spill.take(batch));
            self.held.clear();
            spill.write(map).await?;
        }
        for batch in self.held.drain(..) {
            push(&batch, map).await?;
        }
        Ok(())
    }
}

async fn push(batch: &Batch, map: &mut MapWriter) -> Result<()> {
    for (key, value) in batch.iter() {
        map.push(key, value).await?;
    }
    Ok(())
}

/// Entries in any order.
#[derive(Default)]
struct Spill {
    entries: Vec<(Vec<u8>, Value)>,
}

impl Spill {
    fn take(&mut self, batch: &Batch) {
        self.entries.extend(
            batch
                .iter()
                .map(|(key, value)| (key.to_vec(), value.clone())),
        );
    }

    /// Writes them sorted, each key once: the one that was taken last. Returns how many objects each resource
    /// has, and their bytes.
    async fn write(mut self, map: &mut MapWriter) -> Result<BTreeMap<GroupResource, (u64, u64)>> {
        self.entries.reverse();
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        self.entries.dedup_by(|a, b| a.0 == b.0);
        let mut counts: BTreeMap<GroupResource, (u64, u64)> = BTreeMap::new();
        for (key, value) in &self.entries {
            map.push(key, value).await?;
            if let Some(key) = objects::parse_key(key).filter(|key| !key.is_resource()) {
                let (objects, bytes) = counts
                    .entry(GroupResource::new(key.group, key.resource))
                    .or_default();
                *objects += 1;
                *bytes += value.len();
            }
        }
        Ok(counts)
    }
}

fn entry_bytes(resource: &Resource, captured: Captured, reason: Option<&str>) -> Result<Vec<u8>> {
    let entry = ResourceEntry {
        version: resource.version.clone(),
        kind: resource.kind.clone(),
        plural: resource.plural().to_owned(),
        namespaced: resource.namespaced,
        captured,
        reason: reason.map(str::to_owned),
    };
    entry.to_bytes().map_err(|source| Error::Encode {
        resource: resource.to_string(),
        source,
    })
}

/// Turns the end of a listing into log lines and a report; nothing if the resource is not served any more.
fn conclude(
    context: &Context,
    resource: &Resource,
    end: &End,
    captured: Captured,
    reason: Option<String>,
    log: &mut Log,
) -> Option<ResourceReport> {
    if end.gone {
        log.add(Level::Warning, format!("{resource} is not served any more"));
        return None;
    }
    for note in &end.notes {
        log.add(Level::Info, note.clone());
    }
    if let Some(reason) = &reason {
        let how = if captured == Captured::No {
            "not captured"
        } else {
            "not completely captured"
        };
        log.add(Level::Error, format!("{resource}: {how}: {reason}"));
    }
    if end.objects > 0 {
        log.add(
            Level::Info,
            format!("{resource}: {}, {} bytes", plural(end.objects), end.bytes),
        );
    }
    let report = ResourceReport {
        resource: resource.to_string(),
        version: resource.version.clone(),
        objects: end.objects,
        bytes: end.bytes,
        captured,
        reason,
        referenced_only: false,
    };
    context.monitor.resource_finished(&report);
    Some(report)
}

fn plural(objects: u64) -> String {
    if objects == 1 {
        "1 object".to_owned()
    } else {
        format!("{objects} objects")
    }
}

fn report(
    resources: Vec<ResourceReport>,
    log: Log,
    requests: crate::cluster::RequestCounts,
) -> CaptureReport {
    CaptureReport {
        objects: resources.iter().map(|resource| resource.objects).sum(),
        bytes: resources.iter().map(|resource| resource.bytes).sum(),
        failed: resources
            .iter()
            .filter(|r| r.captured != Captured::Yes && !r.referenced_only)
            .count() as u64,
        resources,
        requests,
        hooks: None,
        log: log.lines,
    }
}
