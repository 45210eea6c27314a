//! What a process does, and what of it the model must hold true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ark_engine::{
    BackupRow, BackupStatus, BeginBackup, Commit, Counts, Dataset, Error, FrameClass, OpenOptions,
    Portion, PruneOptions, Reader, RepairOptions, RepairReport, Repository, Root, SessionId,
    VerifyOptions, WriteSession, verify::Unwatched,
};
use tokio::time::sleep;

use super::content::{Content, SECRET};
use super::process::Process;
use super::rng::Rng;
use super::settings::Kind;
use super::world::{Held, World};
use crate::roundtrip::{Items, Plain, cluster, read_all, unlock};

/// A running process with what it works on.
pub struct Worker<'a> {
    pub world: &'a World,
    pub process: Arc<Process>,
    pub rng: Rng,
    pub repository: Option<Repository>,
    pub state_dir: Option<std::path::PathBuf>,
}

impl Worker<'_> {
    /// Does it, and judges how it ended.
    pub async fn perform(&mut self, kind: Kind) {
        // It may still stand still since a request that the operation before did not wait for.
        self.process.awake().await;
        let excuses = self.process.excuses();
        let held = self.world.model().held();
        self.world
            .network
            .note(&self.process.name, format_args!("begins {kind:?}"));
        let result = self.run(kind).await;
        match &result {
            Ok(()) => self
                .world
                .network
                .note(&self.process.name, format_args!("ended {kind:?}")),
            Err(error) => {
                let text = chain(error);
                self.world
                    .network
                    .note(&self.process.name, format_args!("ended {kind:?}: {text}"));
                let excused = self.process.excuses() > excuses || is_legal(error);
                let mut model = self.world.model();
                model.done.refused += 1;
                let gone = matches!(error, Error::NoSuchBackup { .. })
                    && matches!(kind, Kind::Forget | Kind::Undelete);
                drop(model);
                if gone {
                    self.check_gone(error, &held);
                } else if !excused {
                    self.world
                        .violated(format!("{kind:?} failed without a reason: {text}"));
                }
            }
        }
        self.world.model().done.operations += 1;
    }

    fn check_gone(&self, error: &Error, held: &Held) {
        let Error::NoSuchBackup { name } = error else {
            return;
        };
        let now = self.world.model().held();
        let lost = held
            .iter()
            .find(|(id, n)| id.to_string() == *name && now.get(id) == Some(n));
        if let Some((id, _)) = lost {
            self.world
                .violated(format!("backup {id} is said not to be there"));
        }
    }

    /// A listing in which nothing was changed on the way must be right: a manifest that cannot be read is not listed.
    fn check_rows(&self, held: &Held, rows: &[BackupRow], corruptions: u64) {
        if self.process.corruptions() == corruptions {
            self.world.check_rows(held, rows);
        }
    }

    async fn run(&mut self, kind: Kind) -> Result<(), Error> {
        let repository = match &self.repository {
            Some(repository) => repository.clone(),
            None => {
                let opened = self.open().await?;
                self.repository = Some(opened.clone());
                opened
            }
        };
        match kind {
            Kind::Backup => self.back_up(&repository).await,
            Kind::Restore => self.restore(&repository).await,
            Kind::Verify => self.verify(&repository).await,
            Kind::Repair => self.repair(&repository).await,
            Kind::Prune => self.prune(&repository).await,
            Kind::Plan => {
                repository
                    .plan_prune(&PruneOptions {
                        now: self.rng.chance(0.5),
                        max_unused: 0.05,
                    })
                    .await?;
                Ok(())
            }
            Kind::Forget => self.forget(&repository).await,
            Kind::Undelete => self.undelete(&repository).await,
            Kind::Rotate => {
                repository.rotate_data_key().await?;
                self.world.model().done.rotations += 1;
                Ok(())
            }
            Kind::List => {
                let corruptions = self.process.corruptions();
                let held = self.world.model().held();
                let rows = repository.backups().await?;
                self.check_rows(&held, &rows, corruptions);
                repository.info().await?;
                Ok(())
            }
        }
    }

    /// After an operation was cancelled: ends what it left open.
    pub async fn clean_up(&mut self) -> Result<(), Error> {
        self.process.awake().await;
        let Some(repository) = self.repository.clone() else {
            return Ok(());
        };
        let excuses = self.process.excuses();
        repository.end_sessions().await;
        let view = repository.view().await?;
        for session in repository.open_sessions(&view).await? {
            let pin = session.pin.as_ref();
            let own = pin.is_some_and(|pin| pin.process == self.process.name);
            if own && self.process.excuses() == excuses {
                let text = format!("session {session} is open although it was ended");
                self.world.violated(text);
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<Repository, Error> {
        let store = self.process.store(self.world.settings.limits);
        let options = OpenOptions {
            memory: 8 << 20,
            state_dir: self.state_dir.clone(),
            ..OpenOptions::default()
        };
        Repository::open(store, self.process.env(), &unlock(), options).await
    }

    async fn back_up(&mut self, repository: &Repository) -> Result<(), Error> {
        let (name, content) = self.world.model().next_backup(self.world.settings.big);
        let begin = BeginBackup {
            name: name.clone(),
            cluster: cluster(),
        };
        let session = repository.begin_backup(begin).await?;
        let id = session.id();
        let mark = self.world.model().began(id, &name, &content);
        let pause = self
            .rng
            .chance(0.2)
            .then(|| self.rng.spread(10, 50 * 60_000));
        let (sleeps, before) = (self.world.settings.sleeps, self.rng.chance(0.3));
        let sleep = Duration::from_millis(self.rng.between(31 * 60_000, 5 * 3_600_000));
        let sleeps = self.rng.chance(sleeps);
        if sleeps && before {
            self.process.sleep(sleep);
        }
        let written = write(&session, &content, pause).await;
        if sleeps && !before {
            self.process.sleep_before_commit(sleep);
        }
        if self.rng.chance(0.05) {
            session.abort().await?;
            written?;
            return Ok(());
        }
        let datasets = match written {
            Ok(datasets) => datasets,
            Err(error) => {
                if self.rng.chance(0.5) {
                    session.abort().await?;
                }
                return Err(error);
            }
        };
        let items = content.values().map(|items| items.len() as u64).sum();
        let committed = session
            .commit(Commit {
                document: b"{}".to_vec(),
                datasets,
                counts: Counts {
                    items,
                    bytes: 0,
                    failed: 0,
                },
                status: BackupStatus::Completed,
                expires: Some(mark),
                log: b"done".to_vec(),
            })
            .await?;
        let mut model = self.world.model();
        model.committed(mark, &committed.id);
        model.done.went_on += u64::from(committed.id != id);
        Ok(())
    }

    async fn restore(&mut self, repository: &Repository) -> Result<(), Error> {
        let corruptions = self.process.corruptions();
        let held = self.world.model().held();
        let reader = repository.reader().await?;
        let rows = reader.backups();
        self.world.recognize(&rows);
        self.check_rows(&held, &rows, corruptions);
        let there: Vec<&BackupRow> = rows.iter().filter(|row| !row.lost).collect();
        let mut result = Ok(());
        for _ in 0..self.rng.between(1, 2) {
            let Some(row) = self.rng.pick(&there) else {
                break;
            };
            if self.rng.chance(0.3) {
                sleep(Duration::from_millis(self.rng.spread(10, 50 * 60_000))).await;
            }
            result = self.read(&reader, row).await;
            if result.is_err() {
                break;
            }
        }
        reader.close().await;
        result
    }

    /// Reads a backup and compares it with what it must hold.
    pub async fn read(&self, reader: &Reader, row: &BackupRow) -> Result<(), Error> {
        let expected = match self.world.model().attempts.get(&row.row.id) {
            Some(attempt) => Arc::clone(&attempt.content),
            None => return Ok(()),
        };
        let mut found: BTreeMap<&str, Items> = BTreeMap::new();
        for (name, root) in &row.row.datasets {
            found.insert(name, read_all(reader, *root).await?);
        }
        for (name, items) in expected.iter() {
            if found.remove(name).unwrap_or_default() != *items {
                let text = format!("{name} of backup {} has other content", row.row.id);
                self.world.violated(text);
            }
        }
        if !found.is_empty() {
            self.world
                .violated(format!("backup {} has more datasets", row.row.id));
        }
        self.world.model().done.reads += 1;
        Ok(())
    }

    async fn verify(&mut self, repository: &Repository) -> Result<(), Error> {
        let corruptions = self.process.corruptions();
        let report = if self.rng.chance(0.4) {
            let portion = match self.rng.below(4) {
                0 => Portion::All,
                1 => Portion::Percent(40.0),
                2 => Portion::Bytes(self.rng.spread(1, 1 << 22)),
                _ => Portion::Part {
                    number: self.rng.between(1, 2) as u32,
                    of: 2,
                },
            };
            let hurry = self.rng.chance(0.3);
            let longest = hurry.then(|| Duration::from_millis(self.rng.spread(1, 60_000)));
            repository
                .verify_portion(portion, longest, &Unwatched)
                .await?
        } else {
            let read_data = self.rng.chance(0.5);
            let options = VerifyOptions { read_data };
            repository.verify(options, &Unwatched).await?
        };
        if self.process.corruptions() == corruptions && !report.is_sound() {
            let text = format!("verify finds damage: {:?}", report.damage);
            self.world.violated(text);
        }
        if !report.foreign.is_empty() {
            self.world
                .violated(format!("foreign objects: {:?}", report.foreign));
        }
        Ok(())
    }

    /// Where nothing is damaged there is nothing to repair.
    async fn repair(&mut self, repository: &Repository) -> Result<(), Error> {
        let options = RepairOptions {
            index_only: self.rng.chance(0.5),
            read_data: self.rng.chance(0.5),
            forget_originals: self.rng.chance(0.5),
        };
        let report = match self.rng.chance(0.2) {
            true => RepairReport {
                plan: repository.plan_repair(&options).await?,
                ..RepairReport::default()
            },
            false => repository.repair(&options, &Plain, |_| {}).await?,
        };
        if report.plan.changes() || report.epochs > 0 {
            let text = format!("a repair finds damage: {}", report.plan);
            self.world.violated(text);
        }
        self.world.model().done.repairs += 1;
        Ok(())
    }

    async fn prune(&mut self, repository: &Repository) -> Result<(), Error> {
        let options = PruneOptions {
            now: self.rng.chance(self.world.settings.now),
            max_unused: *self.rng.pick(&[0.0, 0.05, 0.5]).unwrap_or(&0.0),
        };
        let report = repository.prune(&options, |_| {}).await?;
        let mut model = self.world.model();
        model.done.kept_bytes += report.kept_bytes;
        model.done.epochs += u64::from(report.epochs);
        model.done.packs_deleted += report.packs_deleted;
        model.done.repacked += report.packs_repacked;
        model.done.backups_removed += report.backups_removed.len() as u64;
        model.done.fenced += report.sessions_ended.len() as u64;
        Ok(())
    }

    async fn forget(&mut self, repository: &Repository) -> Result<(), Error> {
        let mut ids: Vec<SessionId> = self.world.model().attempts.keys().copied().collect();
        for _ in 0..ids.len().saturating_sub(self.rng.between(1, 2) as usize) {
            // Mostly old ones go.
            let n = self.rng.below(ids.len());
            let n = n.max(self.rng.below(ids.len()));
            ids.remove(n);
        }
        {
            let model = self.world.model();
            ids.retain(|id| model.attempts[id].held || self.rng.chance(0.2));
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.world.model().forget_begins(&ids);
        repository.forget(&ids).await?;
        self.world.model().forgotten(&ids);
        Ok(())
    }

    async fn undelete(&mut self, repository: &Repository) -> Result<(), Error> {
        let forgotten: Vec<SessionId> = self
            .world
            .model()
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.forgets.0 > 0 && !attempt.held)
            .map(|(id, _)| *id)
            .collect();
        let Some(id) = self.rng.pick(&forgotten).copied() else {
            return Ok(());
        };
        let settled = self.world.model().settled(&id);
        repository.undelete(&id).await?;
        self.world.model().undeleted(&id, settled);
        Ok(())
    }
}

/// Writes everything, several datasets at once.
async fn write(
    session: &WriteSession,
    content: &Content,
    pause: Option<u64>,
) -> Result<Vec<(String, Root)>, Error> {
    let (objects, files) = futures::join!(
        dataset(session, &content["objects"], Dataset::Objects, pause),
        dataset(session, &content["files/data"], Dataset::Files, None),
    );
    let mut datasets = Vec::new();
    datasets.extend(objects?.map(|root| ("objects".to_owned(), root)));
    datasets.extend(files?.map(|root| ("files/data".to_owned(), root)));
    Ok(datasets)
}

async fn dataset(
    session: &WriteSession,
    items: &Items,
    kind: Dataset,
    pause: Option<u64>,
) -> Result<Option<Root>, Error> {
    let class = match kind {
        Dataset::Objects => FrameClass::Objects,
        _ => FrameClass::Files,
    };
    let mut plain = session.chunks(class);
    let mut secrets = session.chunks(FrameClass::Secrets);
    let mut map = session.map(kind);
    for (n, (key, bytes)) in items.iter().enumerate() {
        let writer = match key.starts_with(SECRET) {
            true => &mut secrets,
            false => &mut plain,
        };
        let value = writer.put_value(bytes).await?;
        map.push(key, &value).await?;
        if n == items.len() / 2 {
            plain.cut().await?;
            if let Some(pause) = pause {
                sleep(Duration::from_millis(pause)).await;
            }
        }
    }
    secrets.finish().await?;
    plain.finish().await?;
    map.finish().await
}

/// Errors that other processes may cause by right.
fn is_legal(error: &Error) -> bool {
    matches!(error, Error::NameTaken { .. } | Error::NameBusy { .. })
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
