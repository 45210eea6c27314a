//! The difference of two maps, by a lock-step walk that skips equal subtrees.
//!
//! Both sides are sequences of pending subtrees and entries in key order. Equal subtrees at the same place are skipped
//! unread; otherwise the one whose keys end first (or the higher one) is opened. Cost: nodes on the paths to what differs.

use std::collections::VecDeque;

use ark_format::tree::{Child, Node, Root, Value};

use crate::Result;
use crate::read::Reader;

/// One differing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The key.
    pub key: Vec<u8>,
    /// Its value in the first map.
    pub before: Option<Value>,
    /// Its value in the second map.
    pub after: Option<Value>,
}

#[derive(Clone, Debug)]
enum Item {
    Entry(Vec<u8>, Value),
    /// A subtree: level, node.
    Tree(u8, Child),
}

/// Walks two maps at once.
pub struct DiffReader {
    reader: Reader,
    before: VecDeque<Item>,
    after: VecDeque<Item>,
}

/// The entries in which two maps differ, in key order.
pub fn diff(reader: &Reader, a: Option<Root>, b: Option<Root>) -> DiffReader {
    let start = |root: Option<Root>| {
        root.map(|r| {
            Item::Tree(
                r.level,
                Child {
                    id: r.id,
                    entries: r.entries,
                },
            )
        })
        .into_iter()
        .collect()
    };
    DiffReader {
        reader: reader.clone(),
        before: start(a),
        after: start(b),
    }
}

impl DiffReader {
    /// The next differing key.
    ///
    /// # Errors
    /// If a node cannot be read.
    pub async fn next(&mut self) -> Result<Option<Diff>> {
        loop {
            let (open_before, open_after) = match (self.before.front(), self.after.front()) {
                (None, None) => return Ok(None),
                (Some(Item::Entry(..)), None) => {
                    return Ok(take(&mut self.before).map(|(key, value)| Diff {
                        key,
                        before: Some(value),
                        after: None,
                    }));
                }
                (None, Some(Item::Entry(..))) => {
                    return Ok(take(&mut self.after).map(|(key, value)| Diff {
                        key,
                        before: None,
                        after: Some(value),
                    }));
                }
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some(Item::Entry(a, x)), Some(Item::Entry(b, y))) => {
                    if a == b {
                        let same = x == y;
                        let (before, after) = (take(&mut self.before), take(&mut self.after));
                        match (before, after) {
                            (Some((key, before)), Some((_, after))) if !same => {
                                return Ok(Some(Diff {
                                    key,
                                    before: Some(before),
                                    after: Some(after),
                                }));
                            }
                            _ => continue,
                        }
                    }
                    if a < b {
                        return Ok(take(&mut self.before).map(|(key, v)| Diff {
                            key,
                            before: Some(v),
                            after: None,
                        }));
                    }
                    return Ok(take(&mut self.after).map(|(key, v)| Diff {
                        key,
                        before: None,
                        after: Some(v),
                    }));
                }
                (Some(Item::Tree(la, a)), Some(Item::Tree(lb, b))) => {
                    if a.id == b.id {
                        self.before.pop_front();
                        self.after.pop_front();
                        continue;
                    }
                    (la >= lb, lb >= la)
                }
                // A subtree may be emitted past only once it is known to lie beyond the other side's entry: open it,
                // unless all of it lies below the entry, in which case it has to be opened as well.
                (Some(Item::Tree(..)), Some(Item::Entry(..))) => (true, false),
                (Some(Item::Entry(..)), Some(Item::Tree(..))) => (false, true),
            };
            if open_before {
                open(&self.reader, &mut self.before).await?;
            }
            if open_after {
                open(&self.reader, &mut self.after).await?;
            }
        }
    }
}

fn take(side: &mut VecDeque<Item>) -> Option<(Vec<u8>, Value)> {
    match side.pop_front()? {
        Item::Entry(key, value) => Some((key, value)),
        other => {
            side.push_front(other);
            None
        }
    }
}

async fn open(reader: &Reader, side: &mut VecDeque<Item>) -> Result<()> {
    let Some(Item::Tree(level, child)) = side.pop_front() else {
        return Ok(());
    };
    match reader.node(child.id, level).await {
        Ok(Node::Leaf(entries)) => {
            for (key, value) in entries.into_iter().rev() {
                side.push_front(Item::Entry(key, value));
            }
        }
        Ok(Node::Inner { level, children }) => {
            for (_, child) in children.into_iter().rev() {
                side.push_front(Item::Tree(level - 1, child));
            }
        }
        Err(error) => {
            side.push_front(Item::Tree(level, child));
            return Err(error);
        }
    }
    Ok(())
}
