//! The Merkle walk: every reference of every backup resolves, and what does not is named by item.
//!
//! A subtree found sound is not walked again for another backup.

use std::collections::HashSet;

use ark_format::ChunkId;
use ark_format::layout::{data_key, pack};
use ark_format::objects::parse_key;
use ark_format::tree::{Child, Node, Root, Value};

use super::{Findings, VerifyMonitor, VerifyReport};
use crate::index::{Index, Place};
use crate::read::Reader;
use crate::repository::Repository;
use crate::store::StoreError;
use crate::view::View;
use crate::{Error, Result};

impl Repository {
    pub(super) async fn walk_backups(
        &self,
        reader: &Reader,
        view: &View,
        findings: &mut Findings,
        report: &mut VerifyReport,
        monitor: &dyn VerifyMonitor,
    ) -> Result<()> {
        let snapshot = reader.snapshot();
        let total = view.backups.len() as u64;
        let mut walk = Walk {
            reader,
            index: &snapshot.index,
            sound: HashSet::new(),
        };
        for (number, backup) in view.backups.iter().enumerate() {
            monitor.progress("backups", number as u64, total);
            for (_, root) in &backup.row.datasets {
                walk.map(*root, &backup.row.name, None, findings).await?;
            }
            report.backups += 1;
            report.items += backup.row.counts.items;
        }
        monitor.progress("backups", total, total);
        Ok(())
    }
}

struct Walk<'a> {
    reader: &'a Reader,
    index: &'a Index,
    sound: HashSet<ChunkId>,
}

/// A step of the walk: enter a node, or leave one whose children are done.
enum Step {
    Enter {
        level: u8,
        child: Child,
        last: Option<Vec<u8>>,
    },
    Leave {
        id: ChunkId,
        findings_before: usize,
    },
}

impl Walk<'_> {
    /// Where damage of a chunk lies, if it is damaged as far as is known.
    fn broken(&self, id: &ChunkId, findings: &Findings) -> Result<Option<(String, String)>> {
        let places = self.index.locate(id)?;
        let there = |p: &Place| {
            !findings.packs.contains(&p.pack) && !findings.frames.contains(&(p.pack, p.frame))
        };
        let lost_key = |p: &Place| findings.data_keys.get(&p.data_key);
        if places.iter().any(|p| there(p) && lost_key(p).is_none()) {
            return Ok(None);
        }
        Ok(Some(match places.first() {
            Some(place) => match lost_key(place) {
                Some(what) if there(place) => (data_key(place.data_key), what.clone()),
                _ => (pack(&place.pack), "it is damaged".to_owned()),
            },
            None => (
                format!("chunk {id}"),
                "it is in no index segment".to_owned(),
            ),
        }))
    }

    /// Walks one map and counts what it could not resolve. `owner` is the item that the map is the content of.
    async fn map(
        &mut self,
        root: Root,
        backup: &str,
        owner: Option<&str>,
        findings: &mut Findings,
    ) -> Result<usize> {
        let mut hits = 0usize;
        let child = Child {
            id: root.id,
            entries: root.entries,
        };
        let mut steps = vec![Step::Enter {
            level: root.level,
            child,
            last: None,
        }];
        while let Some(step) = steps.pop() {
            let (level, child, last) = match step {
                Step::Leave {
                    id,
                    findings_before,
                } => {
                    if hits == findings_before {
                        self.sound.insert(id);
                    }
                    continue;
                }
                Step::Enter { level, child, last } => (level, child, last),
            };
            if self.sound.contains(&child.id) {
                continue;
            }
            let node = match self.reader.node(child.id, level).await {
                Ok(node) => node,
                // An object that is cut short is damage; a store that fails is not.
                Err(error @ Error::Store(_))
                    if !matches!(error, Error::Store(StoreError::Truncated { .. })) =>
                {
                    return Err(error);
                }
                Err(error) => {
                    let (object, what) = self.culprit(&child.id, &error, findings)?;
                    let item = owner.map_or_else(
                        || {
                            let upto = last
                                .as_deref()
                                .map_or_else(String::new, |key| format!(" up to {}", name(key)));
                            format!("{} items{upto}", child.entries)
                        },
                        str::to_owned,
                    );
                    findings.hit(&object, &what, backup, Some(item));
                    hits += 1;
                    continue;
                }
            };
            steps.push(Step::Leave {
                id: child.id,
                findings_before: hits,
            });
            match node {
                Node::Inner { level, children } => {
                    steps.extend(children.into_iter().rev().map(|(last, child)| Step::Enter {
                        level: level - 1,
                        child,
                        last: Some(last),
                    }));
                }
                Node::Leaf(entries) => {
                    for (key, value) in entries {
                        let item = owner.map_or_else(|| name(&key), str::to_owned);
                        let ids: Vec<ChunkId> = match &value {
                            Value::Inline(_) => Vec::new(),
                            Value::Chunk { id, .. } => vec![*id],
                            Value::List { chunks } => chunks.iter().map(|(id, _)| *id).collect(),
                            Value::Map { root, .. } => {
                                hits += Box::pin(self.map(*root, backup, Some(&item), findings))
                                    .await?;
                                Vec::new()
                            }
                        };
                        for id in ids {
                            if let Some((object, what)) = self.broken(&id, findings)? {
                                findings.hit(&object, &what, backup, Some(item.clone()));
                                hits += 1;
                            }
                        }
                    }
                }
            }
        }
        Ok(hits)
    }

    /// The object to blame for a node that cannot be read.
    fn culprit(
        &self,
        id: &ChunkId,
        error: &Error,
        findings: &Findings,
    ) -> Result<(String, String)> {
        let what =
            std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        Ok(match self.broken(id, findings)? {
            Some((object, _)) => (object, what),
            None => match self.index.locate(id)?.first() {
                Some(place) => (pack(&place.pack), what),
                None => (format!("chunk {id}"), what),
            },
        })
    }
}

fn name(key: &[u8]) -> String {
    parse_key(key).map_or_else(
        || String::from_utf8_lossy(key).into_owned(),
        |key| key.to_string(),
    )
}
