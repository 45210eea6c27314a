//! Proof that backups can be restored.
//!
//! The default checks that everything in force is there with the right size, reads every tree node, and resolves every
//! reference of every backup. With `read_data` it reads, authenticates and re-hashes every byte of every object, the
//! clear headers, padding, key slots, pins, stubs and tombstones included. Damage is named with what it hits: which
//! backups, and which items in them.

mod control;
mod packs;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use ark_format::PackName;
use ark_format::documents::{Activity, VerifyRecord};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};
use serde::Serialize;

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
    objects: BTreeMap<String, String>,
    /// Packs of which nothing can be read.
    packs: BTreeSet<PackName>,
    /// Frames that cannot be read.
    frames: BTreeSet<(PackName, u16)>,
    /// Object → backups and items that it hits.
    hits: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>,
}

impl Findings {
    fn object(&mut self, key: &str, what: impl ToString) {
        self.objects
            .entry(key.to_owned())
            .or_insert_with(|| what.to_string());
    }

    fn hit(&mut self, key: &str, what: &str, backup: &str, item: Option<String>) {
        self.object(key, what);
        let (backups, items) = self.hits.entry(key.to_owned()).or_default();
        backups.insert(backup.to_owned());
        items.extend(item.map(|item| format!("{backup}: {item}")));
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
        let result = self.verify_settled(view, index, options, monitor).await;
        if let Some(session) = &session {
            session.close().await?;
        }
        let mut report = result?;
        if session.is_some() {
            self.record_verify(&report).await?;
        }
        report.requests = self.store().counters() - before;
        Ok(report)
    }

    /// Verifies a view; again if something seems damaged and the head has moved on since: a prune may have taken it away.
    async fn verify_settled(
        &self,
        mut view: View,
        mut index: Index,
        options: VerifyOptions,
        monitor: &dyn VerifyMonitor,
    ) -> Result<VerifyReport> {
        for _ in 0..8 {
            let number = view.number;
            let result = self.verify_view(view, index, options, monitor).await;
            if result.as_ref().is_ok_and(VerifyReport::is_sound)
                || self.head_stub().await?.0.number == number
            {
                return result;
            }
            (view, index) = self.view_with_index().await?;
        }
        self.verify_view(view, index, options, monitor).await
    }

    async fn verify_view(
        &self,
        view: View,
        index: Index,
        options: VerifyOptions,
        monitor: &dyn VerifyMonitor,
    ) -> Result<VerifyReport> {
        let mut report = VerifyReport {
            read_data: options.read_data,
            epoch: view.number,
            ..VerifyReport::default()
        };
        let mut findings = Findings::default();
        for (key, what) in &view.problems {
            findings.object(key, what);
        }
        let reader = self.reader_of(None, view.clone(), index);
        let snapshot = reader.snapshot();
        let index = &snapshot.index;
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

        self.verify_required(&control, &view, &mut findings);
        if options.read_data {
            self.verify_control(&control, &mut findings, monitor)
                .await?;
            self.verify_packs(index, &listed, &mut findings, &mut report, monitor)
                .await?;
        }
        self.walk_backups(&reader, &view, &mut findings, &mut report, monitor)
            .await?;

        let Findings {
            objects, mut hits, ..
        } = findings;
        report.damage = objects
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
            .collect();
        Ok(report)
    }

    async fn record_verify(&self, report: &VerifyReport) -> Result<()> {
        let id = self.env().session_id();
        let record = VerifyRecord {
            at: self.env().clock.now_ms(),
            read_data: report.read_data,
            epoch: report.epoch,
            objects: report.objects,
            bytes: report.requests.bytes_read,
            damage: report.damage.iter().map(|d| d.object.clone()).collect(),
            packs: Vec::new(),
            replaces: Vec::new(),
        };
        self.create_document(Kind::Verify, &format!("{}{id}", layout::VERIFY), &record)
            .await?;
        Ok(())
    }
}
