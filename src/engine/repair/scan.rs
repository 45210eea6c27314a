//! Walking a map past its damage.
//!
//! What can be read comes as entries, in order; what cannot comes as a gap, with the keys between which it lies.

use std::collections::HashSet;

use ark_format::ChunkId;
use ark_format::tree::{Child, Node, Root, Value};

use super::plan::LostPlace;
use crate::read::Reader;
use crate::store::StoreError;
use crate::{Error, Result};

/// What a walk comes by.
pub(super) enum Found {
    /// An entry.
    Entry(Vec<u8>, Value),
    /// A part that cannot be read, with its number of entries; and the node because of which.
    Gap(LostPlace, u64, ChunkId),
}

enum Step {
    Enter {
        level: u8,
        child: Child,
        last: Option<Vec<u8>>,
    },
    Entry(Vec<u8>, Value),
    Leave {
        id: ChunkId,
        lost_before: usize,
    },
}

/// A walk over one map.
pub(super) struct Scan<'a> {
    reader: &'a Reader,
    steps: Vec<Step>,
    /// The last key that was passed.
    previous: Option<Vec<u8>>,
    /// Gaps, and entries that the caller has found lost.
    pub lost: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(reader: &'a Reader, root: Root) -> Scan<'a> {
        let child = Child {
            id: root.id,
            entries: root.entries,
        };
        Scan {
            reader,
            steps: vec![Step::Enter {
                level: root.level,
                child,
                last: None,
            }],
            previous: None,
            lost: 0,
        }
    }

    /// What comes next. Subtrees in `sound` are passed over, and those that turn out to be sound are added.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn next(
        &mut self,
        mut sound: Option<&mut HashSet<ChunkId>>,
    ) -> Result<Option<Found>> {
        while let Some(step) = self.steps.pop() {
            let (level, child, last) = match step {
                Step::Entry(key, value) => {
                    self.previous = Some(key.clone());
                    return Ok(Some(Found::Entry(key, value)));
                }
                Step::Leave { id, lost_before } => {
                    if let Some(sound) = sound.as_deref_mut()
                        && self.lost == lost_before
                    {
                        sound.insert(id);
                    }
                    continue;
                }
                Step::Enter { level, child, last } => (level, child, last),
            };
            if sound.as_ref().is_some_and(|s| s.contains(&child.id)) {
                if last.is_some() {
                    self.previous = last;
                }
                continue;
            }
            match self.reader.node(child.id, level).await {
                Ok(node) => self.enter(child.id, node),
                Err(error) if fails(&error) => return Err(error),
                Err(_) => {
                    self.lost += 1;
                    let after = self.previous.take();
                    self.previous.clone_from(&last);
                    let place = LostPlace::Range(after, last);
                    return Ok(Some(Found::Gap(place, child.entries, child.id)));
                }
            }
        }
        Ok(None)
    }

    fn enter(&mut self, id: ChunkId, node: Node) {
        self.steps.push(Step::Leave {
            id,
            lost_before: self.lost,
        });
        match node {
            Node::Inner { level, children } => {
                self.steps
                    .extend(children.into_iter().rev().map(|(last, child)| Step::Enter {
                        level: level - 1,
                        child,
                        last: Some(last),
                    }));
            }
            Node::Leaf(entries) => {
                let entries = entries.into_iter().rev();
                self.steps
                    .extend(entries.map(|(key, value)| Step::Entry(key, value)));
            }
        }
    }
}

/// Whether the store fails, which is no damage.
pub(super) fn fails(error: &Error) -> bool {
    match error {
        Error::Store(StoreError::Truncated { .. } | StoreError::NotFound { .. }) => false,
        Error::Store(_) | Error::Stopped | Error::IndexCopy(_) => true,
        _ => false,
    }
}
