//! Repaired backups: the same maps without what is lost, committed under a name of their own.
//!
//! A manifest never changes, so a repaired backup is a new one. Nodes and chunks that can be read are reused; only the
//! nodes on the paths to what is lost are new.

use std::collections::BTreeSet;

use ark_format::SessionId;
use ark_format::keys::ChunkKind;
use ark_format::objects::{parse_key, resource_key};
use ark_format::tree::{Dataset, Root, Value};

use super::assess::whole;
use super::plan::{DamagedBackup, LostItems, LostPlace};
use super::scan::{Found, Scan, fails};
use super::{RepairContent, RepairReport, RepairedBackup};
use crate::map_write::MapWriter;
use crate::read::Reader;
use crate::repository::Repository;
use crate::write::{BeginBackup, Commit, FrameClass, WriteSession};
use crate::{BackupRow, BackupStatus, Error, Result};

/// What a resource's own entry says of objects that are lost.
const WHY: &str = "objects were lost by damage of the repository";
/// Names are cut to this length before the suffix: Kubernetes allows 253.
const NAME_MAX: usize = 230;

/// What was written of a map.
#[derive(Default)]
struct Written {
    items: u64,
    bytes: u64,
}

impl Repository {
    /// Makes a repaired backup for each that needs one.
    pub(super) async fn repair_backups(
        &self,
        report: &mut RepairReport,
        content: &dyn RepairContent,
    ) -> Result<()> {
        let mut wanted: Vec<DamagedBackup> = report
            .plan
            .backups
            .iter()
            .filter(|b| b.repaired_by.is_none() && !b.entirely)
            .cloned()
            .collect();
        // Their maps may be whole; what they lack is a manifest.
        for commit in report.plan.commits.iter().filter(|c| c.maps_known) {
            let known = report.plan.backups.iter().any(|b| b.id == commit.id);
            if !known {
                wanted.push(DamagedBackup {
                    id: commit.id,
                    name: commit.name.clone().unwrap_or_default(),
                    cluster: String::new(),
                    lost: Vec::new(),
                    entirely: false,
                    repaired_by: None,
                });
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let reader = self.browse().await?;
        for damaged in wanted {
            let rows = reader.backups();
            let Some(row) = rows.iter().find(|row| row.row.id == damaged.id) else {
                continue;
            };
            if row.forgotten.is_some() {
                continue;
            }
            let repaired = self.repair_backup(&reader, row, &damaged, content).await?;
            report.repaired.push(repaired);
        }
        Ok(())
    }

    async fn repair_backup(
        &self,
        reader: &Reader,
        row: &BackupRow,
        damaged: &DamagedBackup,
        content: &dyn RepairContent,
    ) -> Result<RepairedBackup> {
        let original = match self.manifest_of(row).await {
            Ok(manifest) => Some(manifest),
            Err(error) if fails(&error) => return Err(error),
            Err(_) => None,
        };
        let (session, name) = self.begin_repaired(row).await?;
        let written = self
            .write_repaired(reader, row, damaged, &session, content)
            .await;
        let (datasets, written) = match written {
            Ok(written) => written,
            Err(error) => {
                session.abort().await?;
                return Err(error);
            }
        };
        let lost = damaged.count();
        let (document, mut log) = match &original {
            Some(manifest) => (Some(manifest.document.as_slice()), manifest.log.clone()),
            None => (None, Vec::new()),
        };
        log.extend_from_slice(log_of(row, damaged, original.is_none()).as_bytes());
        let mut counts = row.row.counts;
        counts.items = written.items;
        counts.bytes = written.bytes;
        counts.failed += lost;
        let commit = Commit {
            document: content.document(document, &row.row, &name, lost),
            datasets,
            counts,
            status: BackupStatus::PartiallyFailed,
            expires: row.row.expires,
            log,
        };
        let committed = session.commit_repairing(commit, Some(row.row.id)).await?;
        Ok(RepairedBackup {
            original: row.row.id,
            original_name: row.row.name.clone(),
            id: committed.id,
            name,
            lost,
        })
    }

    async fn begin_repaired(&self, row: &BackupRow) -> Result<(WriteSession, String)> {
        let stem = row
            .row
            .name
            .strip_suffix("-repaired")
            .unwrap_or(&row.row.name);
        let stem: String = stem.chars().take(NAME_MAX).collect();
        for number in 1u32.. {
            let name = match number {
                1 => format!("{stem}-repaired"),
                _ => format!("{stem}-repaired-{number}"),
            };
            let begin = BeginBackup {
                name: name.clone(),
                cluster: row.row.cluster.clone(),
            };
            match self.begin_backup(begin).await {
                Ok(session) => return Ok((session, name)),
                Err(Error::NameTaken { .. } | Error::NameBusy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Stopped)
    }

    async fn write_repaired(
        &self,
        reader: &Reader,
        row: &BackupRow,
        damaged: &DamagedBackup,
        session: &WriteSession,
        content: &dyn RepairContent,
    ) -> Result<(Vec<(String, Root)>, Written)> {
        let mut datasets = Vec::new();
        let mut written = Written::default();
        for (dataset, root) in &row.row.datasets {
            let lost: Vec<&LostItems> = damaged
                .lost
                .iter()
                .filter(|l| l.dataset == *dataset)
                .collect();
            let kind = match dataset.split('/').next() {
                Some("files") => Dataset::Files,
                Some("blocks") => Dataset::Blocks,
                _ => Dataset::Objects,
            };
            let mut copy = Copy {
                repository: self,
                reader,
                session,
                content,
                map: session.map(kind),
                lost,
                row,
                dataset,
                own: BTreeSet::new(),
                written: &mut written,
            };
            copy.all(*root).await?;
            if let Some(root) = copy.map.finish().await? {
                datasets.push((dataset.clone(), root));
            }
        }
        Ok((datasets, written))
    }

    /// Forgets what was repaired, now or earlier, and what nothing can be read of.
    pub(super) async fn forget_originals(&self, report: &mut RepairReport) -> Result<()> {
        let lost = report.plan.backups.iter();
        let mut ids: BTreeSet<SessionId> = lost
            .filter(|b| b.entirely || b.repaired_by.is_some())
            .map(|b| b.id)
            .collect();
        ids.extend(report.repaired.iter().map(|r| r.original));
        for row in self.backups().await? {
            if row.forgotten.is_none() && ids.contains(&row.row.id) {
                self.forget(&[row.row.id]).await?;
                report.forgotten.push(row.row.name.clone());
            }
        }
        Ok(())
    }
}

/// Writes one map again, without what is lost.
struct Copy<'a> {
    repository: &'a Repository,
    reader: &'a Reader,
    session: &'a WriteSession,
    content: &'a dyn RepairContent,
    map: MapWriter,
    lost: Vec<&'a LostItems>,
    row: &'a BackupRow,
    dataset: &'a str,
    /// Resources whose own entry was written.
    own: BTreeSet<Vec<u8>>,
    written: &'a mut Written,
}

impl Copy<'_> {
    async fn all(&mut self, root: Root) -> Result<()> {
        let reader = self.reader.clone();
        let mut scan = Scan::new(&reader, root);
        while let Some(found) = scan.next(None).await? {
            let (key, value) = match found {
                Found::Gap(LostPlace::Range(after, upto), ..) => {
                    self.entries_of_others(after.as_deref(), upto.as_deref())
                        .await?;
                    continue;
                }
                Found::Gap(..) => continue,
                Found::Entry(key, value) => (key, value),
            };
            let index = &reader.snapshot().index;
            if !whole(&reader, index, &value, &mut BTreeSet::new()).await? {
                // Judged before; but an own entry that is lost has a twin in other backups.
                self.entries_of_others(Some(&key), Some(&key)).await?;
                continue;
            }
            let own = parse_key(&key).is_some_and(|k| k.is_resource());
            if own && self.lost.iter().any(|l| l.place.hits(&key)) {
                let entry = self.reader.read(&value).await?;
                self.push_hole(&key, &entry, &value).await?;
            } else {
                let value = self.stored(value).await?;
                self.map.push(&key, &value).await?;
                if !own {
                    self.written.items += 1;
                    self.written.bytes += value.len();
                }
            }
            if own {
                self.own.insert(key);
            }
        }
        Ok(())
    }

    /// Says in a resource's own entry that objects are missing.
    async fn push_hole(&mut self, key: &[u8], entry: &[u8], value: &Value) -> Result<()> {
        let value = match self.content.hole(entry, WHY) {
            Some(hole) => self.put(&hole).await?,
            None => self.stored(value.clone()).await?,
        };
        self.map.push(key, &value).await
    }

    async fn put(&self, bytes: &[u8]) -> Result<Value> {
        let mut chunks = self.session.chunks(FrameClass::Objects);
        let value = chunks.put_value(bytes).await?;
        chunks.finish().await?;
        Ok(value)
    }

    /// In a gap: own entries of resources, without which the objects behind it could not be restored, as the newest other
    /// backup of the cluster has them.
    async fn entries_of_others(&mut self, after: Option<&[u8]>, upto: Option<&[u8]>) -> Result<()> {
        let (id, cluster) = (self.row.row.id, &self.row.row.cluster.id);
        let others = self.reader.backups();
        let mut others = others
            .iter()
            .filter(|b| b.row.id != id && b.row.cluster.id == *cluster && b.forgotten.is_none());
        let found = loop {
            let Some(other) = others.next() else {
                return Ok(());
            };
            let Some(root) = other.row.dataset(self.dataset) else {
                continue;
            };
            match self.own_entries(root, after, upto).await {
                Ok(found) => break found,
                Err(error) if fails(&error) => return Err(error),
                Err(_) => {}
            }
        };
        for (key, entry) in found {
            if self.own.insert(key.clone())
                && let Some(hole) = self.content.hole(&entry, WHY)
            {
                let value = self.put(&hole).await?;
                self.map.push(&key, &value).await?;
            }
        }
        Ok(())
    }

    async fn own_entries(
        &self,
        root: Root,
        after: Option<&[u8]>,
        upto: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, bytes::Bytes)>> {
        let map = self.reader.map(root);
        let mut from = after.map(<[u8]>::to_vec).unwrap_or_default();
        let mut found = Vec::new();
        // From one resource to the next, not over all their objects.
        while let Some((key, value)) = map.range(&from, None).next().await? {
            if upto.is_some_and(|upto| key.as_slice() > upto) {
                break;
            }
            let Some(parsed) = parse_key(&key) else {
                break;
            };
            let within = after.is_none_or(|after| key.as_slice() > after || upto == Some(after));
            if parsed.is_resource() && within {
                found.push((key.clone(), self.reader.read(&value).await?));
            }
            from = resource_key(&parsed.group, &parsed.resource);
            if let Some(end) = from.last_mut() {
                // The prefix ends in 0x00: what is above it and all keys that start with it.
                *end = 1;
            }
        }
        Ok(found)
    }

    /// The value, with every chunk of it where the new session may rely on it.
    async fn stored(&self, value: Value) -> Result<Value> {
        match &value {
            Value::Inline(_) => {}
            Value::Chunk { id, .. } => self.keep(*id).await?,
            Value::List { chunks } => {
                for (id, _) in chunks {
                    self.keep(*id).await?;
                }
            }
            Value::Map { root, .. } => {
                // Written again as it is: nodes that may be reused cost nothing.
                let mut copy = self.session.map(Dataset::Blocks);
                let mut range = self.reader.map(*root).range(&[], None);
                while let Some((key, value)) = range.next().await? {
                    if let Value::Chunk { id, .. } = &value {
                        self.keep(*id).await?;
                    }
                    copy.push(&key, &value).await?;
                }
                copy.finish().await?;
            }
        }
        Ok(value)
    }

    async fn keep(&self, id: ark_format::ChunkId) -> Result<()> {
        if self.session.may_reuse(&id)? {
            return Ok(());
        }
        let mut found = self.reader.chunks(ChunkKind::Data, vec![id]).await;
        let bytes = found
            .remove(&id)
            .unwrap_or_else(|| Err(Error::ChunkUnknown { id: id.to_string() }))?;
        debug_assert_eq!(
            self.repository.key_set().chunk_id(ChunkKind::Data, &bytes),
            id
        );
        // A frame of its own: nobody knows here what it may share one with.
        let mut chunks = self.session.chunks(FrameClass::Secrets);
        chunks.put_chunk(id, &bytes).await?;
        chunks.finish().await
    }
}

/// The lines that a repaired backup's log has more than the original's.
fn log_of(row: &BackupRow, damaged: &DamagedBackup, document_lost: bool) -> String {
    let mut log = format!(
        "repair: this is what could be saved of backup {} ({})\n",
        row.row.name, row.row.id
    );
    if document_lost {
        log.push_str("repair: its document and log are lost\n");
    }
    for lost in &damaged.lost {
        log.push_str(&format!("repair: lost: {lost}\n"));
    }
    log
}
