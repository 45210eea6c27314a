//! What the processes share: the bucket, and the reference model that says what must be in it.
//!
//! The model is a plain map from a session's id to what it was told to back up, and to what was done about that backup
//! since. It knows nothing of packs, epochs or pins.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use ark_engine::{BackupRow, SessionId};

use super::content::{self, Content};
use super::network::Network;
use super::rng::Rng;
use super::settings::Settings;

/// What became of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is being written, or its process died, or its commit returned an error: absent, or there and exact.
    Unknown,
    /// Its commit returned Ok.
    Committed,
}

/// A backup that was begun.
#[derive(Clone)]
pub struct Attempt {
    /// Tells the backup from others, whatever session commits it: it stands in the manifest as the time of its expiry.
    pub mark: i64,
    pub name: String,
    pub content: Arc<Content>,
    pub outcome: Outcome,
    /// Forgets that were begun, and those of them that returned Ok.
    pub forgets: (u32, u32),
    /// It must be there: committed and not forgotten, or taken back.
    pub held: bool,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub operations: u64,
    pub refused: u64,
    pub crashes: u64,
    pub cancelled: u64,
    pub commits: u64,
    pub verified: u64,
    pub reads: u64,
    pub epochs: u64,
    pub packs_deleted: u64,
    pub backups_removed: u64,
    pub repacked: u64,
    pub fenced: u64,
    /// Commits of backups that had been taken for dead.
    pub went_on: u64,
    /// Bytes of packs that prunes kept for such backups.
    pub kept_bytes: u64,
    pub repairs: u64,
    pub rotations: u64,
}

pub struct Model {
    pub rng: Rng,
    pub attempts: BTreeMap<SessionId, Attempt>,
    /// Contents of earlier backups, committed or not.
    contents: Vec<Arc<Content>>,
    named: u32,
    marks: i64,
    pub operations_left: u64,
    pub processes: usize,
    pub done: Done,
    pub violation: Option<String>,
}

/// A backup that must be there, and how often it had been forgotten when that was so.
pub type Held = BTreeMap<SessionId, u32>;

pub struct World {
    pub settings: Settings,
    pub network: Network,
    model: Mutex<Model>,
}

impl World {
    pub fn new(settings: Settings, network: Network, rng: Rng) -> World {
        World {
            model: Mutex::new(Model {
                rng,
                attempts: BTreeMap::new(),
                contents: Vec::new(),
                named: 0,
                marks: 0,
                operations_left: settings.operations,
                processes: 0,
                done: Done::default(),
                violation: None,
            }),
            settings,
            network,
        }
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// A property does not hold.
    pub fn violated(&self, what: impl fmt::Display) {
        self.network.note("VIOLATED", format_args!("{what}"));
        let mut model = self.model();
        model.violation.get_or_insert_with(|| what.to_string());
    }

    pub fn is_violated(&self) -> bool {
        if let Some(breach) = self.network.state().breach.take() {
            self.violated(breach);
        }
        self.model().violation.is_some()
    }

    /// Backups that were committed by another session than they were begun with.
    pub fn recognize(&self, rows: &[BackupRow]) {
        let mut model = self.model();
        for row in rows {
            if let Some(mark) = row.row.expires {
                model.recognize(row.row.id, mark);
            }
        }
    }

    /// A listing must have each backup that was held before and still is, and nothing that nobody wrote.
    pub fn check_rows(&self, before: &Held, rows: &[BackupRow]) {
        self.recognize(rows);
        let now = self.model().held();
        for (id, forgets) in before {
            if now.get(id) != Some(forgets) {
                continue;
            }
            let name = self.model().attempts[id].name.clone();
            match rows.iter().find(|row| row.row.id == *id) {
                None => self.violated(format!("backup {name} ({id}) is not listed")),
                Some(row) if row.lost => self.violated(format!("backup {name} ({id}) is lost")),
                Some(row) if row.forgotten.is_some() => {
                    self.violated(format!("backup {name} ({id}) is listed as forgotten"));
                }
                Some(_) => {}
            }
        }
        for row in rows {
            match self.model().attempts.get(&row.row.id) {
                Some(attempt) if attempt.name == row.row.name => continue,
                _ => {}
            }
            self.violated(format!("backup {} was never written", row.row.id));
        }
    }
}

impl Model {
    /// What the next backup holds, and its name.
    pub fn next_backup(&mut self, big: bool) -> (String, Arc<Content>) {
        let base = self.rng.pick(&self.contents).cloned();
        let content = match base {
            None => content::first(&mut self.rng, big),
            Some(base) => {
                let mut content = (*base).clone();
                if !self.rng.chance(0.1) {
                    content::change(&mut self.rng, &mut content, big);
                }
                content
            }
        };
        let content = Arc::new(content);
        self.contents.push(Arc::clone(&content));
        if self.contents.len() > 6 {
            self.contents.remove(0);
        }
        let name = match self.rng.chance(0.2) && self.named > 0 {
            true => self.rng.below(self.named as usize) as u32,
            false => {
                self.named += 1;
                self.named - 1
            }
        };
        (format!("backup-{name}"), content)
    }

    /// A backup is begun; what tells it from others.
    pub fn began(&mut self, id: SessionId, name: &str, content: &Arc<Content>) -> i64 {
        self.marks += 1;
        let attempt = Attempt {
            mark: self.marks,
            name: name.to_owned(),
            content: Arc::clone(content),
            outcome: Outcome::Unknown,
            forgets: (0, 0),
            held: false,
        };
        self.attempts.insert(id, attempt);
        self.marks
    }

    /// The backup with this mark may have been committed by this session.
    fn recognize(&mut self, id: SessionId, mark: i64) {
        let begun = self.attempts.values().find(|attempt| attempt.mark == mark);
        if !self.attempts.contains_key(&id)
            && let Some(begun) = begun
        {
            let again = Attempt {
                outcome: Outcome::Unknown,
                forgets: (0, 0),
                held: false,
                ..begun.clone()
            };
            self.attempts.insert(id, again);
        }
    }

    /// The backup with this mark was committed.
    pub fn committed(&mut self, mark: i64, id: &SessionId) {
        self.recognize(*id, mark);
        self.done.commits += 1;
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.outcome = Outcome::Committed;
            attempt.held = attempt.forgets.0 == 0;
        }
    }

    pub fn forget_begins(&mut self, ids: &[SessionId]) {
        for id in ids {
            if let Some(attempt) = self.attempts.get_mut(id) {
                attempt.forgets.0 += 1;
                attempt.held = false;
            }
        }
    }

    pub fn forgotten(&mut self, ids: &[SessionId]) {
        for id in ids {
            if let Some(attempt) = self.attempts.get_mut(id) {
                attempt.forgets.1 += 1;
            }
        }
    }

    /// Forgets of a backup so far, if none of them may still take effect.
    pub fn settled(&self, id: &SessionId) -> Option<u32> {
        let (begun, ended) = self.attempts.get(id)?.forgets;
        (begun == ended).then_some(begun)
    }

    /// An undelete that began when `settled` said this returned Ok.
    pub fn undeleted(&mut self, id: &SessionId, settled: Option<u32>) {
        if let Some(attempt) = self.attempts.get_mut(id)
            && settled == Some(attempt.forgets.0)
            && attempt.outcome == Outcome::Committed
        {
            attempt.held = true;
        }
    }

    pub fn held(&self) -> Held {
        self.attempts
            .iter()
            .filter(|(_, attempt)| attempt.held)
            .map(|(id, attempt)| (*id, attempt.forgets.0))
            .collect()
    }
}
