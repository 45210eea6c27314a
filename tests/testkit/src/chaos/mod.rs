//! Real `ark` processes on real stores, killed, stopped, cut off and starved of disk at random, and what must be true afterwards.
//!
//! Each worker owns a namespace of a real cluster, so what each backup must contain is known to the byte. What `ark` reported is kept in a
//! [`ledger`]; whenever everything is at rest it is compared with the repository: nothing that was committed may be gone or different,
//! nothing that was not disturbed may have failed. All random choices come from one seed, which is printed; how processes interleave
//! is the machine's affair, so a seed repeats the choices and not the run.

mod arena;
mod content;
mod disk;
mod ledger;
mod pace;
mod relay;
mod summary;
mod victim;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::try_join_all;

use self::arena::{Arena, Place, lock};
use self::content::Namespace;
use self::pace::Pace;
use self::relay::Relay;
pub use self::summary::Summary;
use self::worker::{ELSEWHERE, OBJECTS, Worker};
use crate::dataset::random::Random;
use crate::{Api, Ark, ControlPlane, Options};

/// How to make a mess.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// The `ark` program. It is copied first, so that it may be rebuilt meanwhile.
    pub ark: PathBuf,
    /// How long things are disturbed; servers start before that, and checks come on top.
    pub time: Duration,
    /// How long until everything is checked at rest.
    pub phase: Duration,
    /// Simulated machines for each store. Every third is a container: a PID namespace of its own.
    pub workers: usize,
    /// Cores that the `ark` processes use on average.
    pub cores: f64,
    /// What random choices come from; none: a new one.
    pub seed: Option<u64>,
    /// Only on `file` or only on `minio`.
    pub only: Option<String>,
}

/// After so many things that should not have happened there is no point in going on.
const ENOUGH: usize = 10;

/// Makes a mess, and says what came of it.
///
/// # Errors
/// If the servers or the run itself fail. What `ark` did wrong is in the summary.
pub async fn chaos(options: &ChaosOptions) -> anyhow::Result<Summary> {
    let seed = options.seed.unwrap_or_else(new_seed);
    eprintln!("seed {seed}");
    let temporary = tempfile::Builder::new()
        .prefix("ark-chaos-")
        .tempdir()
        .context("making a folder for the run")?;
    let result = run(options, seed, temporary.path()).await;
    let failed = match &result {
        Ok(summary) => !summary.unexpected.is_empty(),
        Err(_) => true,
    };
    let kept = failed.then(|| temporary.keep());
    if let Some(kept) = &kept {
        let kept = kept.display();
        eprintln!("kept: {kept} (a repository on a disk: mount -o loop {kept}/file/disk.ext4)");
    }
    let mut summary = result?;
    summary.kept = kept.map(|path| path.display().to_string());
    Ok(summary)
}

fn new_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_nanos() as u64 & 0xffff_ffff)
}

async fn run(options: &ChaosOptions, seed: u64, work: &std::path::Path) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let program = work.join("ark");
    std::fs::copy(&options.ark, &program)
        .with_context(|| format!("copying {}", options.ark.display()))?;
    let mut left_out = Vec::new();
    let elsewhere = may_unshare();
    if !elsewhere {
        eprintln!("NOTE: no PID namespaces in this run: unshare is not permitted");
        left_out.push("PID namespaces: unshare is not permitted".to_owned());
    }
    let quiet = Options { controllers: false };
    let (source, target) = tokio::try_join!(
        ControlPlane::start_with(quiet),
        ControlPlane::start_with(quiet)
    )?;
    let source_api = Api::connect(&source.kubeconfig()).await?;
    let target_api = Api::connect(&target.kubeconfig()).await?;
    let ark = Ark::new(program)?
        .with("ARK_KEY_FILE", work.join("key"))
        .with("KUBECONFIG", source.kubeconfig());
    let mut arenas = Vec::new();
    if options.only.as_deref() != Some("minio") {
        arenas.push(Arc::new(Arena::folder(work, &ark, &mut left_out)?));
    }
    if options.only.as_deref() != Some("file") {
        arenas.push(Arc::new(Arena::bucket(work, &ark).await?));
    }
    let pace = Arc::new(Pace::new(options.cores));
    let mut workers = Vec::new();
    for arena in &arenas {
        let init = arena.operator(&["repo", "init", "-o", "json"]).await?;
        if init.code != Some(0) {
            bail!("ark repo init failed: {}", init.last_words());
        }
        let mut home = arena.ark.elsewhere()?;
        for number in 0..options.workers {
            let contained = number % 3 == 2;
            // Two processes of one machine share its cache.
            if number % 3 != 1 {
                home = arena.ark.elsewhere()?;
            }
            let relay = match &arena.place {
                Place::Folder { .. } => None,
                Place::Bucket { minio } => {
                    let endpoint = minio.endpoint();
                    Some(Relay::to(endpoint.trim_start_matches("http://")).await?)
                }
            };
            let ark = match &relay {
                Some(relay) => home.with("AWS_ENDPOINT_URL", relay.endpoint()),
                None => home.clone(),
            };
            let parts = [arena.label, &number.to_string()];
            let name = format!("chaos-{}-{number}", arena.label);
            let random = Random::new(seed, &[&parts[..], &["content"]].concat());
            workers.push(Worker {
                number,
                arena: Arc::clone(arena),
                ark_for_restores: ark.with("KUBECONFIG", target.kubeconfig()),
                ark,
                target: target_api.clone(),
                relay,
                through: if contained && elsewhere {
                    ELSEWHERE
                } else {
                    &[]
                },
                namespace: Namespace::create(&source_api, &name, OBJECTS, random).await?,
                random: Random::new(seed, &parts),
                pace: Arc::clone(&pace),
                made: 0,
            });
        }
    }
    let mut random = Random::new(seed, &["phases"]);
    let messing = Instant::now();
    let mut phases = 0;
    loop {
        let left = options.time.saturating_sub(messing.elapsed());
        let last = left <= options.phase + options.phase / 4;
        let lasts = if last { left } else { options.phase };
        phase(&mut workers, &arenas, &mut random, lasts, phases).await?;
        phases += 1;
        let checks = arenas.iter().map(|arena| {
            let mine = workers.iter().filter(|w| Arc::ptr_eq(&w.arena, arena));
            let relays: Vec<&Relay> = mine.filter_map(|worker| worker.relay.as_ref()).collect();
            async move { arena.check(&relays, last).await }
        });
        try_join_all(checks).await?;
        let wrong: usize = arenas.iter().map(|a| lock(&a.unexpected).len()).sum();
        report(&arenas, phases, began, wrong);
        if last || wrong >= ENOUGH {
            break;
        }
    }
    let summary = summarise(&arenas, &workers, seed, began, left_out);
    drop(workers);
    Ok(summary)
}

/// Everybody works until the time is over, and the disk may get full meanwhile.
async fn phase(
    workers: &mut [Worker],
    arenas: &[Arc<Arena>],
    random: &mut Random,
    lasts: Duration,
    number: usize,
) -> anyhow::Result<()> {
    let until = Instant::now() + lasts;
    let full = number == 0 || random.chance(40);
    let wait = lasts / 4 + lasts.mul_f64(random.below(30) as f64 / 100.0);
    // Room for nothing, for a pin, for a small backup.
    let leave = [0, 16 << 10, 128 << 10, 512 << 10][random.below(4)];
    let hold = (lasts / 5).min(Duration::from_secs(15));
    let folder = arenas.iter().find(|arena| arena.is_folder());
    let filling = async {
        if let (true, Some(arena)) = (full, folder) {
            tokio::time::sleep(wait).await;
            arena.fill_disk(leave, hold).await?;
        }
        anyhow::Ok(())
    };
    let working = try_join_all(workers.iter_mut().map(|worker| worker.work(until)));
    tokio::try_join!(filling, working)?;
    Ok(())
}

fn report(arenas: &[Arc<Arena>], phases: usize, began: Instant, wrong: usize) {
    let (mut operations, mut kills, mut verified) = (0, 0, 0);
    for arena in arenas {
        let counts = lock(&arena.counts);
        operations += total(&counts);
        kills += counts.kills;
        verified += counts.backups_verified;
    }
    eprintln!(
        "phase {phases}, {:.0} s: {operations} operations, {kills} kills, {verified} backups compared at rest, {wrong} unexpected",
        began.elapsed().as_secs_f64()
    );
}

fn total(counts: &summary::Counts) -> u64 {
    let all = counts.operations.values();
    all.map(|o| o.ok + o.failed_as_expected + o.unexpected)
        .sum()
}

fn summarise(
    arenas: &[Arc<Arena>],
    workers: &[Worker],
    seed: u64,
    began: Instant,
    left_out: Vec<String>,
) -> Summary {
    let mut repositories = BTreeMap::new();
    let mut unexpected = Vec::new();
    for arena in arenas {
        let mut counts = lock(&arena.counts).clone();
        let mine = workers.iter().filter(|w| Arc::ptr_eq(&w.arena, arena));
        for relay in mine.filter_map(|worker| worker.relay.as_ref()) {
            let (up, down) = relay.bytes();
            counts.bytes_written += up;
            counts.bytes_read += down;
            for (fault, times) in relay.struck() {
                *counts.network_faults.entry(fault).or_default() += times;
            }
        }
        unexpected.extend(lock(&arena.unexpected).iter().cloned());
        repositories.insert(arena.label, counts);
    }
    Summary {
        seed,
        minutes: began.elapsed().as_secs_f64() / 60.0,
        ark_cpu_seconds: pace::used(),
        operations: repositories.values().map(total).sum(),
        kills: repositories.values().map(|counts| counts.kills).sum(),
        losses: repositories.values().map(|counts| counts.losses).sum(),
        repositories,
        left_out,
        unexpected,
        kept: None,
    }
}

fn may_unshare() -> bool {
    let [program, arguments @ ..] = ELSEWHERE else {
        return false;
    };
    let ran = Command::new(program)
        .args(arguments)
        .arg("true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ran.is_ok_and(|status| status.success())
}
