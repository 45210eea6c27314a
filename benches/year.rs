//! A backup a minute for as long as asked, with retention and a prune every hour, on a simulated clock.
//!
//! `year BACKUPS [FOLDER]`: 200 items of which two change each minute; kept are the last 60 backups, 48 hourly, 30 daily and
//! 12 monthly ones. Every backup opens the repository anew, as a process would. Prints a JSON line for the first hours and
//! then now and again: requests, bytes and time of a backup, of listing the backups, and of opening without a cache.
//! The last line compares the last hour with the first. The repository is in memory, in a bucket that lists as S3 does, and
//! at the end backups of both ages are made in turns, the early ones in a copy of the second hour's bucket: their CPU time is
//! then not that of two states of the machine. With FOLDER both buckets are kept there, and `year turns FOLDER [URL]`
//! makes such backups again, in memory or in a store of that address, whose credentials are in the environment.
mod pages;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::Context;
use ark_engine::env::Clock;
use ark_engine::store::{Store, StoreOptions};
use ark_engine::{
    BackupStatus, BeginBackup, ClusterRef, Commit, Counts, Dataset, Env, FrameClass, InitOptions,
    OpenOptions, PruneOptions, Repository, SessionId, Unlock,
};
use serde_json::{Value, json};

use self::pages::Pages;

const MINUTE: i64 = 60_000;
const ITEMS: u64 = 200;

struct Simulated(AtomicI64);

impl Clock for Simulated {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct World {
    store: Store,
    env: Env,
    clock: Arc<Simulated>,
    cache: tempfile::TempDir,
}

/// CPU time of all threads of this process so far, also of those that have ended: unlike wall time it does not depend on what
/// else the machine does.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    #[allow(unsafe_code, reason = "the C library has no safe wrapper for it")]
    // SAFETY: it writes one timespec, to one that is there.
    unsafe {
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time)
    };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn bucket() -> Store {
    Store::over_network_in_pages(Arc::new(Pages::default()), "memory")
}

impl World {
    async fn open(&self, cache: Option<&Path>) -> anyhow::Result<Repository> {
        let options = OpenOptions {
            cache_dir: cache.map(Path::to_owned),
            ..OpenOptions::default()
        };
        let unlock = Unlock::from_key_file(&[7; 32])?;
        Ok(Repository::open(self.store.clone(), self.env.clone(), &unlock, options).await?)
    }

    /// What `act` costs: its value, and requests, bytes, seconds and seconds of CPU time.
    async fn cost<T>(
        &self,
        act: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, Value)> {
        let before = self.store.counters();
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let value = act.await?;
        let seconds = began.elapsed().as_secs_f64();
        let mut cost = json!(self.store.counters() - before);
        cost["seconds"] = json!(seconds);
        cost["cpu_seconds"] = json!(cpu_seconds() - cpu);
        Ok((value, cost))
    }

    /// An empty bucket at this time, with an empty cache.
    fn at(now_ms: i64) -> anyhow::Result<World> {
        let clock = Arc::new(Simulated(AtomicI64::new(now_ms)));
        Ok(World {
            store: bucket(),
            env: Env {
                clock: clock.clone(),
                ..Env::system(2)?
            },
            clock,
            cache: tempfile::tempdir()?,
        })
    }

    /// A copy of the bucket as it is now, with a cache of its own.
    async fn copy(&self) -> anyhow::Result<World> {
        let copy = World::at(self.clock.now_ms())?;
        for object in self.store.list("").await? {
            let bytes = self.store.get(&object.key).await?;
            copy.store.create(&object.key, bytes).await?;
        }
        Ok(copy)
    }

    /// Writes the bucket and the time into a folder.
    async fn keep(&self, folder: &Path, minute: u64) -> anyhow::Result<()> {
        for object in self.store.list("").await? {
            let path = folder.join("bucket").join(&object.key);
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            std::fs::write(path, self.store.get(&object.key).await?)?;
        }
        let when = json!({"now_ms": self.clock.now_ms(), "minute": minute});
        Ok(std::fs::write(folder.join("when.json"), when.to_string())?)
    }

    /// What [`World::keep`] wrote, and its minute.
    async fn kept(folder: &Path, url: Option<&str>) -> anyhow::Result<(World, u64)> {
        let when: Value = serde_json::from_slice(&std::fs::read(folder.join("when.json"))?)?;
        let mut world = World::at(when["now_ms"].as_i64().context("no now_ms")?)?;
        if let Some(url) = url {
            let age = folder.file_name().context("no name")?.display();
            let options = StoreOptions {
                env: std::env::vars().collect(),
                ..StoreOptions::default()
            };
            world.store = Store::create_root(&format!("{url}/{age}"), &options)?;
        }
        let root = folder.join("bucket");
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let key = path.strip_prefix(&root)?.to_str().context("not UTF-8")?;
                world
                    .store
                    .create(key, std::fs::read(&path)?.into())
                    .await?;
            }
        }
        Ok((world, when["minute"].as_u64().context("no minute")?))
    }

    async fn backup(&self, minute: u64) -> anyhow::Result<u64> {
        let repository = self.open(Some(self.cache.path())).await?;
        let session = repository
            .begin_backup(BeginBackup {
                name: format!("m{minute:07}"),
                cluster: ClusterRef {
                    id: "year".into(),
                    name: "year".into(),
                },
            })
            .await?;
        let mut writer = session.chunks(FrameClass::Objects);
        let mut map = session.map(Dataset::Objects);
        for item in 0..ITEMS {
            // Each item changes once in 100 minutes, two a minute.
            let version = (minute + 100 - item % 100) / 100;
            let text = format!(
                r#"{{"metadata":{{"name":"item-{item}","resourceVersion":"{version}"}},"data":"#
            );
            let filling = blake3::hash(format!("{item} {version}").as_bytes()).to_hex();
            let bytes = format!("{text}\"{}\"}}", filling.as_str().repeat(8));
            let value = writer.put_value(bytes.as_bytes()).await?;
            let key = format!("\0configmaps\0ns/item-{item:04}");
            map.push(key.as_bytes(), &value).await?;
        }
        writer.finish().await?;
        let root = map.finish().await?;
        let committed = session
            .commit(Commit {
                document: b"{}".to_vec(),
                datasets: root
                    .into_iter()
                    .map(|r| ("objects".to_owned(), r))
                    .collect(),
                counts: Counts {
                    items: ITEMS,
                    bytes: ITEMS * 600,
                    failed: 0,
                },
                status: BackupStatus::Completed,
                expires: None,
                log: Vec::new(),
            })
            .await?;
        Ok(committed.stats.packs)
    }

    /// Forgets what no rule keeps, and prunes.
    async fn retain(&self) -> anyhow::Result<usize> {
        let repository = self.open(Some(self.cache.path())).await?;
        let rows = repository.backups().await?;
        let alive: Vec<(SessionId, i64)> = rows
            .iter()
            .filter(|b| b.forgotten.is_none())
            .map(|b| (b.row.id, b.row.created))
            .collect();
        let mut kept: BTreeSet<SessionId> = alive.iter().take(60).map(|(id, _)| *id).collect();
        for (period, count) in [(60, 48), (24 * 60, 30), (30 * 24 * 60, 12)] {
            let mut periods = BTreeSet::new();
            for (id, created) in &alive {
                if periods.len() < count && periods.insert(created / (period * MINUTE)) {
                    kept.insert(*id);
                }
            }
        }
        let gone: Vec<SessionId> = alive
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| !kept.contains(id))
            .collect();
        repository.forget(&gone).await?;
        let options = PruneOptions {
            now: true,
            max_unused: 0.05,
        };
        repository.prune(&options, |_| {}).await?;
        Ok(kept.len())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "year BACKUPS [FOLDER] | year turns FOLDER [URL]";
    let count = args.next().context(usage)?;
    if count == "turns" {
        let folder = PathBuf::from(args.next().context(usage)?);
        let url = args.next();
        let young = World::kept(&folder.join("young"), url.as_deref()).await?;
        let old = World::kept(&folder.join("old"), url.as_deref()).await?;
        return turns(&young, &old).await;
    }
    let count: u64 = count.parse()?;
    let folder = args.next().map(PathBuf::from);
    let world = World::at(1_800_000_000_000)?;
    let clock = world.clock.clone();
    let unlock = Unlock::from_key_file(&[7; 32])?;
    Repository::init(
        world.store.clone(),
        world.env.clone(),
        InitOptions { unlock },
    )
    .await?;
    let mut hours: Vec<Value> = Vec::new();
    let mut last = Vec::new();
    let mut young = None;
    for minute in 0..count {
        clock.0.fetch_add(MINUTE, Ordering::SeqCst);
        let (_, cost) = world.cost(world.backup(minute)).await?;
        last.push(cost);
        if minute % 60 != 59 {
            continue;
        }
        let (kept, prune) = world.cost(world.retain()).await?;
        let hour = minute / 60;
        if hour == 1 {
            young = Some((world.copy().await?, minute));
        }
        // The first hour fills an empty repository.
        if hour == 1 || hour % 240 == 0 || minute + 60 >= count {
            let (_, list) = world
                .cost(async {
                    let repository = world.open(Some(world.cache.path())).await?;
                    Ok(repository.backups().await?.len())
                })
                .await?;
            let (_, cold) = world
                .cost(async {
                    let view = world.open(None).await?;
                    let view = (view.view().await?, view);
                    Ok(view.1.load_index(&view.0).await?.chunks())
                })
                .await?;
            let objects = world.store.list("").await?.len();
            let line = json!({
                "hour": hour, "kept": kept, "objects": objects, "backup": median(&last),
                "prune": prune, "list": list, "cold": cold,
            });
            println!("{line}");
            hours.push(line);
        }
        last.clear();
    }
    if let (Some(first), Some(last)) = (hours.iter().find(|h| h["hour"] == 1), hours.last()) {
        let ratio = |what: &str, of: &str| {
            let number = |line: &Value| line[what][of].as_f64().unwrap_or(0.0);
            (number(last) / number(first).max(1e-9) * 100.0).round() / 100.0
        };
        let mut ratios = json!({});
        for what in ["backup", "list", "cold", "prune"] {
            for of in [
                "put",
                "get",
                "list",
                "bytes_written",
                "bytes_read",
                "seconds",
                "cpu_seconds",
            ] {
                ratios[what][of] = json!(ratio(what, of));
            }
        }
        println!("{}", json!({"last / first": ratios}));
    }
    let Some(young) = young else {
        return Ok(());
    };
    let old = (world, count);
    if let Some(folder) = folder {
        young.0.keep(&folder.join("young"), young.1).await?;
        old.0.keep(&folder.join("old"), old.1).await?;
    }
    turns(&young, &old).await
}

/// What a backup costs early and late, made in turns.
async fn turns(young: &(World, u64), old: &(World, u64)) -> anyhow::Result<()> {
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for turn in 1..=60 {
        for ((world, minute), costs) in [(young, &mut early), (old, &mut late)] {
            world.clock.0.fetch_add(MINUTE, Ordering::SeqCst);
            costs.push(world.cost(world.backup(minute + turn)).await?.1);
        }
    }
    println!(
        "{}",
        json!({"in turns": {"first": median(&early), "last": median(&late)}})
    );
    Ok(())
}

/// The median of each figure.
fn median(costs: &[Value]) -> Value {
    let mut result = json!({});
    if let Some(Value::Object(first)) = costs.first() {
        for name in first.keys() {
            let mut figures: Vec<f64> = costs.iter().filter_map(|c| c[name].as_f64()).collect();
            figures.sort_by(f64::total_cmp);
            result[name] = json!(figures.get(figures.len() / 2));
        }
    }
    result
}
