//! What sync does about one location: a pure function of what the repository holds and of the objects.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::api::BackupPhase;
use crate::server::counterpart::{Counterparts, Object, Row, free_name};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Make the object of the backup.
    Create {
        /// The object.
        object: String,
        /// The backup's id.
        id: String,
    },
    /// Write the status that the object lacks.
    Finish {
        /// The object.
        object: String,
        /// The backup's id.
        id: String,
    },
    /// Remove the object: its backup was deleted.
    Remove {
        /// The object.
        object: String,
    },
    /// Say that the backup vanished.
    Lose {
        /// The object.
        object: String,
    },
}

/// What is known of one location.
#[derive(Debug)]
pub struct Known<'a> {
    /// What its repository holds.
    pub rows: &'a [Row],
    /// Its objects.
    pub objects: &'a [Object],
    /// The ids of backups that an object of another location shows.
    pub elsewhere: &'a BTreeSet<String>,
    /// The names of the objects of all locations.
    pub taken: &'a BTreeSet<String>,
    /// The id of this cluster.
    pub own: &'a str,
    /// Whether no epoch was published since the last sync: then nothing can have been collected.
    pub same_epoch: bool,
    /// The ids of backups that this process has seen, and that went without having been collected.
    pub vanished: &'a BTreeSet<String>,
}

/// Decides.
pub fn plan(known: &Known) -> Vec<Step> {
    let Known { rows, own, .. } = *known;
    let mut steps = Vec::new();
    let mut names = known.taken.clone();
    let counterparts = Counterparts::new(known.objects, own);
    let living: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.cluster == own && !row.forgotten)
        .map(|row| row.name.as_str())
        .collect();
    for row in rows {
        match counterparts.of(row) {
            Some(object) => steps.extend(for_object(object, row)),
            // Nothing to show, or nothing to show it from.
            None if row.forgotten || row.lost => {}
            // One that is being made has committed perhaps.
            None if counterparts.is_open(row) => {}
            // The location has another name than before, and the objects of the earlier one are about to go.
            None if known.elsewhere.contains(&row.id) => {}
            None => {
                let object = free_name(row, own, &living, &names);
                names.insert(object.clone());
                steps.push(Step::Create {
                    object,
                    id: row.id.clone(),
                });
            }
        }
    }
    let there: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    for object in known.objects {
        // What the status says: an annotation may have come with a copy.
        let Some(id) = object.id.as_deref().filter(|id| !there.contains(id)) else {
            continue;
        };
        let name = object.name.clone();
        let gone = known.same_epoch || known.vanished.contains(id);
        match object.phase {
            BackupPhase::Deleting => steps.push(Step::Remove { object: name }),
            phase if !has_ended(phase) => {}
            _ if gone => steps.push(Step::Lose { object: name }),
            _ => steps.push(Step::Remove { object: name }),
        }
    }
    steps
}

/// What to do about an object and the backup that it stands for.
fn for_object(object: &Object, row: &Row) -> Option<Step> {
    use BackupPhase::*;
    let name = object.name.clone();
    let by_sync = object.said.is_some() && object.phase == New;
    if row.forgotten {
        let shown = has_ended(object.phase) || matches!(object.phase, Lost | Deleting) || by_sync;
        return shown.then_some(Step::Remove { object: name });
    }
    if row.lost {
        return has_ended(object.phase).then_some(Step::Lose { object: name });
    }
    let finish = match object.phase {
        // It is being made.
        New => by_sync,
        InProgress | Canceling => false,
        Completed | PartiallyFailed | Failed => object.id.is_none(),
        // It is there all the same: its outcome was not known, or its deletion was taken back.
        FailedValidation | Canceled | Deleting | Lost => true,
    };
    finish.then(|| Step::Finish {
        object: name,
        id: row.id.clone(),
    })
}

/// Whether an object in that phase shows what a repository holds.
pub fn has_ended(phase: BackupPhase) -> bool {
    matches!(
        phase,
        BackupPhase::Completed | BackupPhase::PartiallyFailed | BackupPhase::Failed
    )
}
