//! Proof that backups can be restored.
//!
//! The default checks that everything in force is there with the right size, reads every tree node, and resolves every
//! reference of every backup. With `read_data` it reads, authenticates and re-hashes every byte of every object, the
//! clear headers, padding, key slots, pins, stubs and tombstones included. Damage is named with what it hits: which
//! backups, and which items in them.
//!
//! [`Repository::verify_portion`] reads the packs in portions, least recently verified first, and stops when its time is
//! over; the journal in the repository says what was read when. Everything else is small and is checked every time.

mod control;
mod journal;
mod packs;
mod portion;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ark_format::PackName;
use ark_format::documents::{Activity, PackRead, VerifyRecord};
use ark_format::layout::{self, Object};
use serde::Serialize;

pub use journal::{Coverage, Journal, Window};
pub use portion::Portion;

use crate::index::Index;
use crate::repository::Repository;
use crate::store::{RequestCounts, StoreError};
use crate::view::View;
use crate::{Error, Result};

/// How to verify.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Read every byte of every object.
    pub read_data: bool,
}

/// Records of a verify that takes longer than this are written on the way, so that little is forgotten if it is killed.
const RECORD_EVERY_MS: i64 = 10 * 60 * 1000;

/// What a verify reads of the packs, and what it has read.
pub(crate) struct Reading {
    portion: Portion,
    /// No further pack is begun after this time by our clock, Unix ms.
    until: Option<i64>,
    journal: Journal,
    /// What was chosen when the verify had to begin again.
    again: Option<Vec<PackName>>,
    /// What was read.
    read: Vec<PackRead>,
    /// How much of it is on record.
    on_record: usize,
    /// Whether records can be written.
    records: bool,
    recorded_at: i64,
}

impl Reading {
    /// Nothing read yet, and nothing to be put on record.
    pub(crate) fn new(portion: Portion, until: Option<i64>, journal: Journal) -> Reading {
        Reading {
            portion,
            until,
            journal,
            again: None,
            read: Vec::new(),
            on_record: 0,
            records: false,
            recorded_at: 0,
        }
    }
}

/// Follows a verify.
pub trait VerifyMonitor: Send + Sync {
    /// Some of the work of a stage is done.
    fn progress(&self, stage: &'static str, done: u64, total: u64);
}

/// Follows nothing.
pub struct Unwatched;

impl VerifyMonitor for Unwatched {
    fn progress(&self, _: &'static str, _: u64, _: u64) {}
}

/// Something damaged, and what it hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Names of the backups that need it.
    pub backups: Vec<String>,
    /// The items in them that cannot be restored.
    pub items: Vec<String>,
}

/// What a verify found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Whether every byte was read.
    pub read_data: bool,
    /// The epoch that was looked at.
    pub epoch: u64,
    /// Backups whose references were resolved.
    pub backups: u64,
    /// Items in them.
    pub items: u64,
    /// Objects checked.
    pub objects: u64,
    /// Chunks hashed.
    pub chunks: u64,
    /// Damage.
    pub damage: Vec<Damage>,
    /// Objects that ark did not write.
    pub foreign: Vec<String>,
    /// Packs that no index knows: garbage that prune collects.
    pub unreferenced: Vec<String>,
    /// The portion that was asked for; absent if no data was to be read.
    pub portion: Option<Portion>,
    /// How much of all data was read, and how long ago.
    pub coverage: Coverage,
    /// Requests to the store.
    pub requests: RequestCounts,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// What is known to be damaged while a verify runs.
#[derive(Default)]
pub(crate) struct Findings {
    /// Object → what is wrong.
    pub(crate) objects: BTreeMap<String, String>,
    /// Packs of which nothing can be read.
    pub(crate) packs: BTreeSet<PackName>,
    /// Frames that cannot be read.
    pub(crate) frames: BTreeSet<(PackName, u16)>,
    /// Data keys that cannot be used, and why.
    pub(crate) data_keys: BTreeMap<u16, String>,
    /// Object → backups and items that it hits.
    hits: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
}

impl Findings {
    fn object(&mut self, key: &str, what: impl ToString) {
        self.objects
            .entry(key.to_owned())
            .or_insert_with(|| what.to_string());
    }

    /// A control object; a manifest that the head lists hits its backup.
    fn control(&mut self, view: &View, key: &str, what: impl ToString) {
        let what = what.to_string();
        let backup = match layout::parse(key) {
            Some(Object::Manifest(_, id)) => view.backup(&id),
            _ => None,
        };
        match backup {
            Some(backup) => self.hit(key, &what, &backup.row.name, None),
            None => self.object(key, what),
        }
    }

    fn hit(&mut self, key: &str, what: &str, backup: &str, item: Option<String>) {
        self.object(key, what);
        let (backups, items) = self.hits.entry(key.to_owned()).or_default();
        backups.insert(backup.to_owned());
        items.extend(item.map(|item| format!("{backup}: {item}")));
    }

    fn into_damage(self) -> Vec<Damage> {
        let Findings {
            objects, mut hits, ..
        } = self;
        objects
            .into_iter()
            .map(|(object, what)| {
                let (backups, items) = hits.remove(&object).unwrap_or_default();
                Damage {
                    object,
                    what,
                    backups: backups.into_iter().collect(),
                    items: items.into_iter().collect(),
                }
            })
            .collect()
    }
}

impl Repository {
    /// Verifies the repository.
    ///
    /// # Errors
    /// If the store fails, or the head cannot be read, without which nothing can be judged. Damage is in the report.
    pub async fn verify(
        &self,
        options: VerifyOptions,
        monitor: &dyn VerifyMonitor,
    ) -> Result<VerifyReport> {
        let portion = options.read_data.then_some(Portion::All);
        self.verify_until(portion, None, monitor).await
    }

    /// Verifies the repository and reads a portion of its packs, least recently verified first. No further pack is begun
    /// once `max_duration` is over; the report says what remains.
    ///
    /// # Errors
    /// As [`Repository::verify`].
    pub async fn verify_portion(
        &self,
        portion: Portion,
        max_duration: Option<Duration>,
        monitor: &dyn VerifyMonitor,
    ) -> Result<VerifyReport> {
        let until = max_duration
            .map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
            .map(|d| self.env().clock.now_ms().saturating_add(d));
        self.verify_until(Some(portion), until, monitor).await
    }

    async fn verify_until(
        &self,
        portion: Option<Portion>,
        until: Option<i64>,
        monitor: &dyn VerifyMonitor,
    ) -> Result<VerifyReport> {
        let before = self.store().counters();
        // Pinned, so that a prune takes nothing away that is about to be read.
        let (session, view, index) = match self.open_session_with_index(Activity::Verify).await {
            Ok((session, view, index)) => (Some(session), view, index),
            Err(Error::Store(StoreError::PermissionDenied { .. })) => {
                let (view, index) = self.view_with_index().await?;
                (None, view, index)
            }
            Err(error) => return Err(error),
        };
        let result = self
            .verify_and_record(view, index, portion, until, session.is_some(), monitor)
            .await;
        let mut report = match (result, &session) {
            (Ok(report), Some(session)) => {
                session.close().await?;
                report
            }
            (Err(error), Some(session)) => return Err(session.give_up(error).await),
            (result, None) => result?,
        };
        report.requests = self.store().counters() - before;
        Ok(report)
    }

    async fn verify_and_record(
        &self,
        view: View,
        index: Index,
        portion: Option<Portion>,
        until: Option<i64>,
        records: bool,
        monitor: &dyn VerifyMonitor,
    ) -> Result<VerifyReport> {
        let before = self.store().counters();
        // Without a portion no pack is chosen, and nothing of it is used but the journal.
        let mut reading = Reading {
            records,
            recorded_at: self.env().clock.now_ms(),
            ..Reading::new(
                portion.unwrap_or(Portion::All),
                until,
                self.verify_journal().await?,
            )
        };
        let (mut report, listed) = self
            .verify_settled(view, index, portion, &mut reading, monitor)
            .await?;
        report.requests = self.store().counters() - before;
        self.put_on_record(&mut reading, &listed, &report).await?;
        let now = self.env().clock.now_ms();
        report.coverage = Coverage {
            read_packs: report.coverage.read_packs,
            read_bytes: report.coverage.read_bytes,
            remaining_packs: report.coverage.remaining_packs,
            remaining_bytes: report.coverage.remaining_bytes,
            recorded: reading.records,
            ..reading.journal.coverage(&listed, now)
        };
        Ok(report)
    }

    /// Verifies a view; again if something seems damaged and the head has moved on since: a prune may have taken it away.
    async fn verify_settled(
        &self,
        mut view: View,
        mut index: Index,
        portion: Option<Portion>,
        reading: &mut Reading,
        monitor: &dyn VerifyMonitor,
    ) -> Result<(VerifyReport, BTreeMap<PackName, u64>)> {
        for _ in 0..8 {
            let number = view.number;
            let result = self
                .verify_view(view, index, portion, reading, monitor)
                .await;
            if result.as_ref().is_ok_and(|(report, _)| report.is_sound())
                || self.head_stub().await?.0.number == number
            {
                return result;
            }
            // What was read is read again, whatever the time: half of a judgement is none.
            reading.again = Some(reading.read.drain(..).map(|read| read.pack).collect());
            reading.on_record = 0;
            (view, index) = self.view_with_index().await?;
        }
        self.verify_view(view, index, portion, reading, monitor)
            .await
    }

    async fn verify_view(
        &self,
        view: View,
        index: Index,
        portion: Option<Portion>,
        reading: &mut Reading,
        monitor: &dyn VerifyMonitor,
    ) -> Result<(VerifyReport, BTreeMap<PackName, u64>)> {
        let mut report = VerifyReport {
            epoch: view.number,
            portion,
            ..VerifyReport::default()
        };
        let mut findings = Findings::default();
        let reader = self.reader_of(None, view.clone(), index);
        let snapshot = reader.snapshot();
        let listed = self
            .verify_objects(
                &view,
                &snapshot.index,
                portion.is_some().then_some(reading),
                &mut findings,
                &mut report,
                monitor,
            )
            .await?;
        self.walk_backups(&reader, &view, &mut findings, &mut report, monitor)
            .await?;
        report.damage = findings.into_damage();
        Ok((report, listed))
    }

    /// Everything but the references: what must be there, control objects, and packs as far as `reading` says. Returns
    /// the packs in the bucket.
    pub(crate) async fn verify_objects(
        &self,
        view: &View,
        index: &Index,
        reading: Option<&mut Reading>,
        findings: &mut Findings,
        report: &mut VerifyReport,
        monitor: &dyn VerifyMonitor,
    ) -> Result<BTreeMap<PackName, u64>> {
        for (key, what) in &view.problems {
            findings.control(view, key, what);
        }
        for (key, what) in &index.problems {
            findings.object(key, what);
        }
        for row in view.backups.iter().filter(|b| b.lost) {
            findings.hit(
                &row.manifest_key(),
                "it is missing: the backup is Lost",
                &row.row.name,
                None,
            );
        }

        let mut listed = BTreeMap::new();
        let mut control = Vec::new();
        for object in self.store().list("").await? {
            match layout::parse(&object.key) {
                Some(Object::Pack(name)) => {
                    listed.insert(name, object.size);
                }
                Some(known) => control.push((object.key, known)),
                None => report.foreign.push(object.key),
            }
        }
        report.objects = (listed.len() + control.len()) as u64;
        let rows = index.packs();
        for (name, row) in &rows {
            let key = layout::pack(name);
            match listed.get(name) {
                // Dropped while this ran: no damage, unless something still needs it.
                None if view.condemned.contains_key(name) => {
                    findings.packs.insert(*name);
                }
                None => {
                    findings.object(&key, "it is missing");
                    findings.packs.insert(*name);
                }
                Some(size) if *size != row.size => {
                    findings.object(&key, format!("its size is {size}, not {}", row.size));
                    findings.packs.insert(*name);
                }
                Some(_) => {}
            }
        }
        report.unreferenced = listed
            .keys()
            .filter(|name| !rows.contains_key(name))
            .map(layout::pack)
            .collect();

        self.verify_required(&control, view, findings);
        self.verify_data_keys(&control, index, findings).await?;
        if let Some(reading) = reading {
            self.verify_control(&control, view, findings, monitor)
                .await?;
            self.verify_packs(index, &listed, reading, findings, report, monitor)
                .await?;
        }
        Ok(listed)
    }

    /// Writes a record of what was read and is on none yet.
    async fn put_on_record(
        &self,
        reading: &mut Reading,
        listed: &BTreeMap<PackName, u64>,
        report: &VerifyReport,
    ) -> Result<()> {
        let fresh = reading.read[reading.on_record..].to_vec();
        for read in &fresh {
            reading.journal.add(read);
        }
        reading.on_record = reading.read.len();
        reading.recorded_at = self.env().clock.now_ms();
        if reading.records {
            let record = VerifyRecord {
                at: reading.recorded_at,
                read_data: report.read_data,
                epoch: report.epoch,
                objects: report.objects,
                bytes: report.requests.bytes_read,
                damage: report.damage.iter().map(|d| d.object.clone()).collect(),
                packs: fresh,
                replaces: Vec::new(),
            };
            reading.records = self
                .record_verify(&mut reading.journal, listed, record)
                .await?;
        }
        Ok(())
    }
}
