//! A process: its connection to the bucket, its clock, its random numbers, its identity, and its death.
//!
//! A crash drops the future of what the process was doing, and cuts its connection for ever: what the engine had spawned
//! besides may still be polled, but no request of it is sent and no answer arrives, so that for everybody else it is
//! gone. A request that was under way at that moment takes effect or does not. A process stands still (a frozen
//! machine) while nothing is sent and no answer arrives until a later time.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};
use std::{fmt, io};

use ark_engine::Env;
use ark_engine::env::{Clock, Host, Pool, Random};
use ark_engine::store::Store;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::network::{Fate, Fault, Network, Op};
use super::rng::Rng;
use crate::gate::disk_says;

/// Where in a request a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before it is sent.
    Before,
    /// While it is under way.
    During,
    /// When it has taken effect and its answer is there.
    After,
}

struct Condition {
    dead: bool,
    skew_ms: i64,
    asleep_until: Instant,
    requests: u64,
    /// Faults that excuse an error of this process.
    excuses: u64,
    /// Bytes that were changed on the way.
    corruptions: u64,
    crash: Option<(u64, Moment)>,
    /// How long it stands still before it creates its next commit or fence.
    nap: Option<Duration>,
    rng: Rng,
}

/// A process.
pub struct Process {
    pub name: String,
    host: usize,
    /// How far its clock may jump while it stands still.
    jump_ms: u64,
    network: Network,
    condition: Mutex<Condition>,
    died: Notify,
}

impl Process {
    pub fn start(
        network: Network,
        number: usize,
        host: usize,
        (skew_ms, jump_ms): (i64, u64),
        rng: Rng,
    ) -> Arc<Process> {
        let name = format!("h{host}/p{number}");
        network.state().running.insert(name.clone());
        Arc::new(Process {
            name,
            host,
            jump_ms,
            network,
            condition: Mutex::new(Condition {
                dead: false,
                skew_ms,
                asleep_until: Instant::now(),
                requests: 0,
                excuses: 0,
                corruptions: 0,
                crash: None,
                nap: None,
                rng,
            }),
            died: Notify::new(),
        })
    }

    fn condition(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap()
    }

    /// Lets it die at the `nth` request from now on.
    pub fn crash_at(&self, nth: u64, moment: Moment) {
        let mut condition = self.condition();
        condition.crash = Some((condition.requests + nth, moment));
    }

    /// It will not die any more.
    pub fn survive(&self) {
        self.condition().crash = None;
    }

    /// Returns when it has died.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// Its end, wanted or not.
    pub fn end(&self) {
        self.condition().dead = true;
        self.network.state().running.remove(&self.name);
    }

    /// Lets it stand still from now on, as a machine that sleeps.
    pub fn sleep(&self, duration: Duration) {
        let mut condition = self.condition();
        condition.asleep_until = Instant::now() + duration;
        condition.excuses += 1;
    }

    /// Lets it stand still when everything is uploaded and only the commit is missing.
    pub fn sleep_before_commit(&self, duration: Duration) {
        self.condition().nap = Some(duration);
    }

    /// Faults so far that excuse an error.
    pub fn excuses(&self) -> u64 {
        self.condition().excuses
    }

    /// Bytes so far that were changed on the way.
    pub fn corruptions(&self) -> u64 {
        self.condition().corruptions
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.condition().requests
    }

    /// Its connection, with or without time limits.
    pub fn store(self: &Arc<Process>, limits: bool) -> Store {
        let link = Arc::new(Link(Arc::clone(self)));
        match limits {
            _ if self.network.state().weather.room.is_some() => Store::on_a_disk(link, "sim"),
            true => Store::over_network(link, "sim"),
            false => Store::from_object_store(link, "sim"),
        }
    }

    /// Its surroundings.
    pub fn env(self: &Arc<Process>) -> Env {
        Env {
            clock: Arc::new(Link(Arc::clone(self))),
            random: Arc::new(Link(Arc::clone(self))),
            pool: Pool::Inline,
            host: Arc::new(Link(Arc::clone(self))),
        }
    }

    fn die(&self) {
        self.end();
        self.died.notify_one();
    }

    /// Waits while the process stands still; for ever if it is dead.
    pub async fn awake(&self) {
        loop {
            let until = {
                let condition = self.condition();
                if condition.dead {
                    None
                } else {
                    Some(condition.asleep_until)
                }
            };
            match until {
                None => std::future::pending().await,
                Some(until) if until <= Instant::now() => return,
                Some(until) => sleep_until(until).await,
            }
        }
    }

    /// Sends a request and waits for its answer.
    async fn ask<T: Send + 'static>(
        self: &Arc<Process>,
        op: Op,
        key: &str,
        serve: impl FnOnce(Network, Fate) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.awake().await;
        let fate = self.network.fate(op);
        let crash = {
            let mut condition = self.condition();
            condition.requests += 1;
            condition.excuses += u64::from(fate.fault.is_some_and(Fault::excuses));
            if op == Op::Put
                && key.starts_with("manifests/")
                && let Some(nap) = condition.nap.take()
            {
                condition.asleep_until = Instant::now() + nap;
                condition.excuses += 1;
            }
            if fate.fault == Some(Fault::Pause) {
                let pause = Duration::from_millis(condition.rng.spread(1_000, 90 * 60_000));
                condition.asleep_until = Instant::now() + pause;
                let jump = condition.rng.between(0, 2 * self.jump_ms) as i64;
                condition.skew_ms += jump - self.jump_ms as i64;
            }
            if matches!(fate.fault, Some(Fault::Torn | Fault::Flipped)) {
                condition.corruptions += 1;
            }
            match condition.crash {
                Some((at, moment)) if at <= condition.requests => Some(moment),
                _ => None,
            }
        };
        self.note(op, key, "asks", fate.fault);
        if crash == Some(Moment::Before) {
            self.die();
        }
        self.awake().await;
        let (mut reply, answer) = tokio::sync::oneshot::channel();
        let (network, sender) = (self.network.clone(), Arc::clone(self));
        let name = key.to_owned();
        network.state().under_way += 1;
        tokio::spawn(async move {
            sleep(fate.there).await;
            // Who sent it may have given up, or be dead: then it arrives or not.
            let alone = reply.is_closed() || sender.condition().dead;
            if !alone || fate.survives {
                let result = serve(network.clone(), fate).await;
                let outcome = if result.is_ok() { "done" } else { "refused" };
                sender.note(op, &name, outcome, None);
                tokio::select! {
                    biased;
                    () = sleep(fate.back) => { let _ = reply.send(result); }
                    () = reply.closed() => {}
                }
            }
            network.state().under_way -= 1;
        });
        if crash == Some(Moment::During) {
            tokio::task::yield_now().await;
            self.die();
        }
        let result = answer.await;
        if crash == Some(Moment::After) {
            self.die();
        }
        self.awake().await;
        let result = result.unwrap_or_else(|_| Err(reset()));
        if op == Op::Put && result.as_ref().is_err_and(is_full) {
            self.condition().excuses += 1;
        }
        match fate.fault {
            Some(Fault::ErrorBefore | Fault::LostReply | Fault::Late) => Err(broken(fate.detail)),
            Some(Fault::Conflict409 | Fault::Exists412) => Err(exists(key)),
            Some(Fault::Throttled429) if fate.gives_up() => Err(status("429 Too Many Requests")),
            Some(Fault::Unavailable503) if fate.gives_up() => {
                Err(status("503 Service Unavailable"))
            }
            _ => result,
        }
    }

    fn note(&self, op: Op, key: &str, what: &str, fault: Option<Fault>) {
        match fault {
            None => self
                .network
                .note(&self.name, format_args!("{op:?} {key} {what}")),
            Some(fault) => self
                .network
                .note(&self.name, format_args!("{op:?} {key} {what} {fault:?}")),
        }
    }
}

/// Whether a request with this fate reaches the bucket.
fn arrives(fate: &Fate) -> bool {
    match fate.fault {
        Some(Fault::ErrorBefore | Fault::Conflict409) => false,
        Some(Fault::Throttled429 | Fault::Unavailable503) => !fate.gives_up(),
        _ => true,
    }
}

/// Applies an effect when its time has come: at once, late, or twice.
fn apply(
    network: &Network,
    fate: &Fate,
    key: &str,
    effect: impl Fn() -> bool + Send + 'static,
) -> bool {
    let mut done = true;
    if fate.fault != Some(Fault::Late) && arrives(fate) {
        done = effect();
    }
    if matches!(fate.fault, Some(Fault::Late | Fault::Duplicate)) {
        let (network, later, key) = (network.clone(), fate.later, key.to_owned());
        network.state().under_way += 1;
        tokio::spawn(async move {
            sleep(later).await;
            let done = effect();
            network.note("late", format_args!("{key} {done}"));
            network.state().under_way -= 1;
        });
    }
    done
}

fn reset() -> Error {
    let cause = io::Error::from(io::ErrorKind::ConnectionReset);
    Error::Generic {
        store: "sim",
        source: Box::new(HttpError::new(HttpErrorKind::Interrupted, cause)),
    }
}

fn is_full(error: &Error) -> bool {
    let Error::Generic { source, .. } = error else {
        return false;
    };
    let source = source.downcast_ref::<io::Error>();
    source.is_some_and(|error| error.kind() == io::ErrorKind::StorageFull)
}

/// A connection that broke, as the library tells it, or something less clear.
fn broken(detail: u64) -> Error {
    match detail % 3 {
        0 => Error::Generic {
            store: "sim",
            source: "an unclear answer".into(),
        },
        _ => reset(),
    }
}

fn status(text: &str) -> Error {
    Error::Generic {
        store: "sim",
        source: format!("Server returned non-2xx status code: {text}: ").into(),
    }
}

fn exists(key: &str) -> Error {
    Error::AlreadyExists {
        path: key.to_owned(),
        source: "409".into(),
    }
}

fn meta(key: &str, size: u64, modified_ms: i64) -> ObjectMeta {
    ObjectMeta {
        location: Path::from(key),
        last_modified: (UNIX_EPOCH + Duration::from_millis(modified_ms as u64)).into(),
        size,
        e_tag: None,
        version: None,
    }
}

/// What the engine holds of a process.
struct Link(Arc<Process>);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl Clock for Link {
    fn now_ms(&self) -> i64 {
        self.0.network.now_ms() + self.0.condition().skew_ms
    }
}

impl Random for Link {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.condition().rng.fill(bytes);
    }
}

impl Host for Link {
    fn name(&self) -> String {
        format!("h{}", self.0.host)
    }

    fn process(&self) -> String {
        self.0.name.clone()
    }

    fn alive(&self, process: &str) -> Option<bool> {
        let here = process.split_once('/')?.0 == self.name();
        here.then(|| self.0.network.state().running.contains(process))
    }
}

#[async_trait]
impl ObjectStore for Link {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            self.0.network.state().breach = Some(format!("{path} is written unconditionally"));
        }
        let bytes = Bytes::from(payload);
        let key = path.to_string();
        let serve = move |network: Network, fate: Fate| -> BoxFuture<'static, Result<PutResult>> {
            Box::pin(async move {
                if !network.has_room(bytes.len()) {
                    return Err(disk_says(io::ErrorKind::StorageFull));
                }
                let bucket = network.clone();
                let name = key.clone();
                let effect = move || bucket.create(&name, &bytes);
                if apply(&network, &fate, &key, effect) {
                    Ok(PutResult {
                        e_tag: None,
                        version: None,
                        extensions: Default::default(),
                    })
                } else {
                    Err(exists(&key))
                }
            })
        };
        self.0.ask(Op::Put, path.as_ref(), serve).await
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("multipart uploads cannot be conditional")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let key = path.to_string();
        let serve = move |network: Network, fate: Fate| -> BoxFuture<'static, Result<GetResult>> {
            Box::pin(async move {
                let stored = network.get(&key).ok_or_else(|| Error::NotFound {
                    path: key.clone(),
                    source: "404".into(),
                })?;
                let size = stored.bytes.len() as u64;
                let range = match &options.range {
                    Some(range) => range
                        .as_range(size)
                        .map_err(|_| status("416 Range Not Satisfiable"))?,
                    None => 0..size,
                };
                let mut body = stored.bytes.slice(range.start as usize..range.end as usize);
                if options.head {
                    body = Bytes::new();
                }
                let at = fate.detail as usize % body.len().max(1);
                match fate.fault {
                    Some(Fault::Torn) => body.truncate(at),
                    Some(Fault::Flipped) if !body.is_empty() => {
                        let mut changed = body.to_vec();
                        changed[at] ^= 1 << (fate.detail >> 61);
                        body = changed.into();
                    }
                    _ => {}
                }
                Ok(GetResult {
                    payload: GetResultPayload::Stream(
                        stream::iter((!body.is_empty()).then_some(Ok(body))).boxed(),
                    ),
                    meta: meta(&key, size, stored.modified_ms),
                    range,
                    attributes: Attributes::new(),
                    extensions: Default::default(),
                })
            })
        };
        self.0.ask(Op::Get, path.as_ref(), serve).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let process = Arc::clone(&self.0);
        locations
            .then(move |location| {
                let process = Arc::clone(&process);
                async move {
                    let location = location?;
                    let key = location.to_string();
                    let serve =
                        move |network: Network, fate: Fate| -> BoxFuture<'static, Result<()>> {
                            Box::pin(async move {
                                let bucket = network.clone();
                                let name = key.clone();
                                apply(&network, &fate, &key, move || bucket.delete(&name));
                                Ok(())
                            })
                        };
                    process.ask(Op::Delete, location.as_ref(), serve).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let process = Arc::clone(&self.0);
        let folder = prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let asked = async move {
            let below = folder.clone();
            let serve = move |network: Network,
                              fate: Fate|
                  -> BoxFuture<'static, Result<Vec<Result<ObjectMeta>>>> {
                Box::pin(async move {
                    let before = network.snapshot(&below);
                    sleep(fate.work).await;
                    let after = network.snapshot(&below);
                    let shown = network.listing(before, after);
                    Ok(shown
                        .into_iter()
                        .map(|(key, size, modified)| Ok(meta(&key, size, modified)))
                        .collect())
                })
            };
            match process.ask(Op::List, &folder, serve).await {
                Ok(shown) => shown,
                Err(error) => vec![Err(error)],
            }
        };
        stream::once(asked).flat_map(stream::iter).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        panic!("the engine does not list with delimiters")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        panic!("the engine does not copy")
    }
}
