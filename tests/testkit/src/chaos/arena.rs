//! A repository that many processes work on, and what is demanded of it when they rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use serde_json::Value;

use super::content;
use super::disk::Disk;
use super::ledger::{Breach, Ledger, Moment};
use super::relay::Relay;
use super::summary::Counts;
use super::victim::{self, Disturbance, Ended};
use crate::{Ark, Minio};

/// The disk of a `file://` repository: room for the run, small enough to fill in a moment.
const DISK: u64 = 96 << 20;
/// More than a session without a sign of life may have had it.
const EXPIRED: Duration = Duration::from_secs(31 * 60);

/// Where the repository is.
pub(super) enum Place {
    Folder { root: PathBuf, disk: Option<Disk> },
    Bucket { minio: Box<Minio> },
}

/// A repository and what is known of it.
pub(super) struct Arena {
    pub label: &'static str,
    pub place: Place,
    /// `ark` of an undisturbed operator.
    pub ark: Ark,
    pub ledger: Mutex<Ledger>,
    pub counts: Mutex<Counts>,
    pub unexpected: Mutex<Vec<String>>,
    takes: Mutex<BTreeMap<&'static str, Duration>>,
    clock: AtomicU64,
    /// Odd while the disk is full.
    full: AtomicU64,
    log: Mutex<fs::File>,
    started: Instant,
}

/// A lock that a panic elsewhere does not spoil.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    /// A new repository in a folder, on a disk of its own if that can be had.
    pub(super) fn folder(
        work: &Path,
        ark: &Ark,
        left_out: &mut Vec<String>,
    ) -> anyhow::Result<Arena> {
        let work = work.join("file");
        fs::create_dir_all(&work).context("making a folder")?;
        let disk = match Disk::mount(&work, DISK) {
            Ok(disk) => Some(disk),
            Err(error) => {
                eprintln!("NOTE: no full disks in this run: {error:#}");
                left_out.push(format!("full disks: {error:#}"));
                None
            }
        };
        let root = disk.as_ref().map_or(work.as_path(), Disk::path);
        let root = root.join("repository");
        let url = format!("file://{}", root.display());
        let place = Place::Folder { root, disk };
        Arena::new("file", &work, place, &ark.with("ARK_REPOSITORY", url))
    }

    /// A new repository in a bucket.
    pub(super) async fn bucket(work: &Path, ark: &Ark) -> anyhow::Result<Arena> {
        let work = work.join("minio");
        let minio = Minio::start_in(&work, crate::MinioOptions::default(), false).await?;
        minio.create_bucket("backups")?;
        let variables = minio.environment();
        let ark = variables
            .iter()
            .fold(ark.clone(), |ark, (name, value)| ark.with(name, value));
        let ark = ark.with("ARK_REPOSITORY", "s3://backups/ark");
        let minio = Box::new(minio);
        Arena::new("minio", &work, Place::Bucket { minio }, &ark)
    }

    fn new(label: &'static str, work: &Path, place: Place, ark: &Ark) -> anyhow::Result<Arena> {
        let log = fs::File::create(work.join("operations.jsonl")).context("making a log")?;
        Ok(Arena {
            label,
            place,
            ark: ark.clone(),
            ledger: Mutex::default(),
            counts: Mutex::default(),
            unexpected: Mutex::default(),
            takes: Mutex::default(),
            clock: AtomicU64::new(1),
            full: AtomicU64::new(0),
            log: Mutex::new(log),
            started: Instant::now(),
        })
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self.place, Place::Folder { .. })
    }

    /// A number higher than all before.
    pub(super) fn now(&self) -> Moment {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// How long an operation usually takes when nobody disturbs it.
    pub(super) fn usual(&self, kind: &'static str) -> Duration {
        let takes = lock(&self.takes);
        takes
            .get(kind)
            .copied()
            .unwrap_or(Duration::from_millis(700))
    }

    pub(super) fn took(&self, kind: &'static str, time: Duration) {
        let mut takes = lock(&self.takes);
        let usual = takes.entry(kind).or_insert(time);
        *usual = (*usual * 4 + time) / 5;
    }

    /// Changes whenever the disk gets full or empty; odd while it is full.
    pub(super) fn fullness(&self) -> u64 {
        self.full.load(Ordering::SeqCst)
    }

    /// Something should not have happened.
    pub(super) fn complain(&self, what: String) {
        let what = format!("{}: {what}", self.label);
        // All of it stands in the summary.
        eprintln!("UNEXPECTED {what:.600}");
        lock(&self.unexpected).push(what);
    }

    /// A backup is not there, or not as it was.
    pub(super) fn lose(&self, what: String) {
        lock(&self.counts).losses += 1;
        self.complain(format!("LOSS: {what}"));
    }

    /// Writes a line of the log.
    pub(super) fn note(&self, who: &str, arguments: &[&str], disturbance: &str, ended: &Ended) {
        use std::io::Write;
        let done = ended.code == Some(0);
        let line = serde_json::json!({
            "second": self.started.elapsed().as_secs_f64(), "who": who, "arguments": arguments.join(" "),
            "disturbance": disturbance, "struck": ended.struck, "code": ended.code, "signal": ended.signal,
            "took": ended.took.as_secs_f64(), "stderr": if done { String::new() } else { ended.last_words() },
        });
        // A log that cannot be written must not end the run.
        let _ = writeln!(lock(&self.log), "{line}");
    }

    /// Counts the bytes that an operation reports, where no relay counts them.
    pub(super) fn reported(&self, stdout: &str) {
        if !self.is_folder() {
            return;
        }
        let Ok(value) = serde_json::from_str::<Value>(stdout) else {
            return;
        };
        let mut counts = lock(&self.counts);
        for (requests, written, read) in [
            (&value["run"]["storeRequests"], "bytesWritten", "bytesRead"),
            (&value["requests"], "bytes_written", "bytes_read"),
        ] {
            counts.bytes_written += requests[written].as_u64().unwrap_or(0);
            counts.bytes_read += requests[read].as_u64().unwrap_or(0);
        }
    }

    /// Runs `ark` as the operator, undisturbed.
    pub(super) async fn operator(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let ended = victim::run(&self.ark, &[], arguments, Disturbance::None, None).await?;
        self.note("operator", arguments, "none", &ended);
        self.reported(&ended.stdout);
        Ok(ended)
    }

    /// As [`Arena::operator`]; complains if it does not end well.
    async fn demand(&self, arguments: &[&str]) -> anyhow::Result<Option<Value>> {
        let ended = self.operator(arguments).await?;
        if ended.code != Some(0) || ended.panicked() {
            self.complain(format!(
                "at rest, ark {} ended with {:?}: {} {:.2000}",
                arguments.join(" "),
                ended.code,
                ended.last_words(),
                ended.stdout
            ));
            return Ok(None);
        }
        let value = serde_json::from_str(&ended.stdout)
            .with_context(|| format!("what ark {} printed", arguments.join(" ")))?;
        Ok(Some(value))
    }

    async fn names(&self, arguments: &[&str]) -> anyhow::Result<Option<BTreeSet<String>>> {
        let Some(rows) = self.demand(arguments).await? else {
            return Ok(None);
        };
        let items = rows["items"].as_array().into_iter().flatten();
        let mut names = BTreeSet::new();
        for row in items {
            let status = row["repository"]["status"].as_str().unwrap_or_default();
            let name = row["metadata"]["name"].as_str().unwrap_or_default();
            match status {
                "Completed" | "Deleted" => names.insert(name.to_owned()),
                _ => bail!("{name} is {status}"),
            };
        }
        Ok(Some(names))
    }

    /// With no process alive: what was reported is so.
    pub(super) async fn check(&self, relays: &[&Relay], last: bool) -> anyhow::Result<()> {
        for relay in relays {
            relay.drained().await;
        }
        lock(&self.counts).checks += 1;
        self.expire()?;
        self.check_list(false).await?;
        self.check_sound("before the prune").await?;
        if last || lock(&self.counts).checks.is_multiple_of(2) {
            self.check_prune(last).await?;
            self.check_list(true).await?;
            self.check_sound("after the prune").await?;
        }
        self.check_contents().await
    }

    /// Makes the pins of processes of other hosts, all dead by now, look as old as they are when a prune takes their processes for
    /// dead. In a folder this is how time passes.
    fn expire(&self) -> anyhow::Result<()> {
        let Place::Folder { root, .. } = &self.place else {
            return Ok(());
        };
        let then = SystemTime::now() - EXPIRED;
        let Ok(pins) = fs::read_dir(root.join("sessions")) else {
            return Ok(());
        };
        for pin in pins {
            let path = pin.context("reading the pins")?.path();
            let file = fs::File::options().append(true).open(&path);
            file.and_then(|file| file.set_modified(then))
                .with_context(|| format!("setting the time of {}", path.display()))?;
        }
        Ok(())
    }

    async fn check_list(&self, pruned: bool) -> anyhow::Result<()> {
        let listed = self.names(&["backup", "get", "-o", "json"]).await?;
        let deleted = self
            .names(&["backup", "get", "--deleted", "-o", "json"])
            .await?;
        let (Some(listed), Some(deleted)) = (listed, deleted) else {
            return Ok(());
        };
        if pruned && !deleted.is_empty() {
            self.complain(format!(
                "with nothing else open, a prune left deleted backups: {deleted:?}"
            ));
        }
        for breach in lock(&self.ledger).observe(&listed, &deleted) {
            match breach {
                Breach::Lost(name) => self.lose(format!("{name} is not listed")),
                Breach::Back(name) => self.complain(format!("{name} was deleted and is back")),
                Breach::Unknown(name) => self.complain(format!("nobody made {name}")),
            }
        }
        Ok(())
    }

    async fn check_sound(&self, when: &str) -> anyhow::Result<()> {
        let ended = self
            .operator(&["verify", "--read-data", "-o", "json"])
            .await?;
        let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let sound = ended.code == Some(0)
            && report["damage"] == serde_json::json!([])
            && report["foreign"] == serde_json::json!([]);
        if !sound {
            self.lose(format!(
                "verify --read-data {when} ended with {:?}: {} {:.3000}",
                ended.code,
                ended.last_words(),
                ended.stdout
            ));
        }
        Ok(())
    }

    /// With nothing else open everything that nothing needs goes.
    async fn check_prune(&self, last: bool) -> anyhow::Result<()> {
        lock(&self.ledger).prune_begins();
        let report = self.demand(&["prune", "--now", "-o", "json"]).await?;
        let now = self.now();
        lock(&self.ledger).prune_ends(now);
        let Some(report) = report else { return Ok(()) };
        let none = serde_json::json!([]);
        if report["waiting_for"] != none {
            self.complain(format!("a prune waits for the dead: {report}"));
        }
        if !last {
            return Ok(());
        }
        let plan = ["prune", "--now", "--dry-run", "-o", "json"];
        if let Some(plan) = self.demand(&plan).await? {
            for work in ["remove", "condemn", "drop", "repack", "reinstate"] {
                if plan[work] != none {
                    self.complain(format!("after a prune there is more to {work}: {plan}"));
                }
            }
        }
        if let Some(report) = self.demand(&["verify", "-o", "json"]).await?
            && report["unreferenced"] != none
        {
            self.complain(format!(
                "after a prune packs are left that nothing needs: {report}"
            ));
        }
        if let Some(info) = self.demand(&["repo", "info", "-o", "json"]).await?
            && info["sessions"] != 0
        {
            self.complain(format!("sessions of the dead are left: {info}"));
        }
        if let Place::Folder { root, .. } = &self.place {
            for folder in ["packs", "index", "manifests", "epochs"] {
                let staged = half_written(&root.join(folder))?;
                if !staged.is_empty() {
                    self.complain(format!("half-written files are left: {staged:?}"));
                }
            }
        }
        Ok(())
    }

    async fn check_contents(&self) -> anyhow::Result<()> {
        let Some(listed) = self.names(&["backup", "get", "-o", "json"]).await? else {
            return Ok(());
        };
        for name in listed {
            let ended = self
                .operator(&["backup", "cat", &name, "-o", "json"])
                .await?;
            self.compare(&name, &ended)?;
            lock(&self.counts).backups_verified += 1;
        }
        Ok(())
    }

    /// Compares what `ark backup cat` printed with what the backup must contain.
    pub(super) fn compare(&self, name: &str, ended: &Ended) -> anyhow::Result<()> {
        let Some(expected) = lock(&self.ledger).content(name) else {
            return Ok(());
        };
        if ended.code != Some(0) {
            self.lose(format!("{name} cannot be read: {}", ended.last_words()));
            return Ok(());
        }
        let difference = match content::printed(&ended.stdout) {
            Ok(found) => content::difference(&expected, &found),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(difference) = difference {
            self.lose(format!("{name} is not as it was: {difference}"));
        }
        Ok(())
    }

    /// Fills the disk for a while, tries a prune on it, and empties it.
    pub(super) async fn fill_disk(&self, leave: u64, lasts: Duration) -> anyhow::Result<()> {
        let Place::Folder {
            disk: Some(disk), ..
        } = &self.place
        else {
            return Ok(());
        };
        self.full.fetch_add(1, Ordering::SeqCst);
        let result = self.on_full_disk(disk, leave, lasts).await;
        let emptied = disk.empty();
        self.full.fetch_add(1, Ordering::SeqCst);
        lock(&self.counts).disk_full_episodes += 1;
        result.and(emptied)
    }

    async fn on_full_disk(&self, disk: &Disk, leave: u64, lasts: Duration) -> anyhow::Result<()> {
        disk.fill(leave)?;
        tokio::time::sleep(lasts).await;
        // What others have freed meanwhile is taken too.
        disk.fill(leave)?;
        lock(&self.ledger).prune_begins();
        let ended = self.operator(&["prune", "--now", "-o", "json"]).await;
        let now = self.now();
        lock(&self.ledger).prune_ends(now);
        let ended = ended?;
        let full = ended.stderr.contains(FULL);
        match ended.code {
            Some(0) => lock(&self.counts).prunes_on_full_disk[0] += 1,
            Some(1) if full => lock(&self.counts).prunes_on_full_disk[1] += 1,
            code => self.complain(format!(
                "a prune on a full disk ended with {code:?}: {}",
                ended.last_words()
            )),
        }
        Ok(())
    }
}

/// What `ark` says on a full disk.
pub(super) const FULL: &str = "no space left in";

fn half_written(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    // A folder that was never written to is not there.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.context("reading the repository")?.path();
        if path.is_dir() {
            found.extend(half_written(&path)?);
        } else if path.to_string_lossy().contains('#') {
            found.push(path);
        }
    }
    Ok(found)
}
