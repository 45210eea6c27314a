//! Which backup of a repository a Backup object stands for, and whose backup it is: decided here, for sync, deletion, restore and gc alike.
//!
//! What it guarantees:
//!
//! * The id in the status decides alone where there is one. Only the server writes a status, and a copy of an object comes without it.
//! * Without it the annotation counts if the object has a name that sync gives to that very backup: sync was interrupted between the object
//!   and its status. A copy under another name stands for nothing.
//! * Without either an object stands for the backup that was made of it: of this cluster, of its name, and with its uid in the document.
//! * A name alone decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use crate::api::labels;
use crate::api::{Backup, BackupPhase};

/// A backup as the repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The id of its commit.
    pub id: String,
    /// Its name in its own cluster.
    pub name: String,
    /// The id of its cluster.
    pub cluster: String,
    /// The uid of the object that it was made of, where somebody needs to know.
    pub origin: Origin,
    /// It was deleted.
    pub forgotten: bool,
    /// It is listed and not there.
    pub lost: bool,
}

/// What is known of the object that a backup was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody needs to know.
    #[default]
    Unasked,
    /// It cannot be read just now.
    Unread,
    /// It was made without a server.
    None,
    /// Its uid.
    Uid(String),
}

/// A Backup object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Option<String>,
    /// The id in its status.
    pub id: Option<String>,
    /// The id in its annotation, which anybody may have written.
    pub said: Option<String>,
    /// Where it stands.
    pub phase: BackupPhase,
}

impl Object {
    /// What there is to know of it.
    pub fn of(backup: &Backup) -> Object {
        Object {
            name: backup.name_any(),
            uid: backup.uid(),
            id: backup_id(backup).map(str::to_owned),
            said: backup.annotations().get(labels::BACKUP_ID).cloned(),
            phase: backup.phase(),
        }
    }

    /// Whether it takes the document of this backup to know if the object stands for it.
    pub fn asks(&self, row: &Row, own: &str) -> bool {
        self.id.is_none()
            && self.uid.is_some()
            && row.cluster == own
            && row.name == self.name
            && !row.forgotten
            && !row.lost
    }

    /// Whether it stands for this backup. `own` is the id of this cluster.
    pub fn stands_for(&self, row: &Row, own: &str) -> bool {
        if let Some(id) = &self.id {
            return *id == row.id;
        }
        if self.said.as_ref() == Some(&row.id) && is_called(&self.name, row, own) {
            return true;
        }
        match (&row.origin, &self.uid) {
            (Origin::Uid(origin), Some(uid)) => {
                row.cluster == own && row.name == self.name && origin == uid
            }
            _ => false,
        }
    }
}

/// The objects by the backups that they stand for.
pub struct Counterparts<'a> {
    by_id: BTreeMap<&'a str, &'a Object>,
    by_said: BTreeMap<&'a str, Vec<&'a Object>>,
    by_name: BTreeMap<&'a str, &'a Object>,
    own: &'a str,
}

impl<'a> Counterparts<'a> {
    /// `own` is the id of this cluster.
    pub fn new(objects: &'a [Object], own: &'a str) -> Counterparts<'a> {
        let mut found = Counterparts {
            by_id: BTreeMap::new(),
            by_said: BTreeMap::new(),
            by_name: BTreeMap::new(),
            own,
        };
        for object in objects {
            match (&object.id, &object.said) {
                (Some(id), _) => {
                    found.by_id.entry(id).or_insert(object);
                }
                (None, said) => {
                    if let Some(said) = said {
                        found.by_said.entry(said).or_default().push(object);
                    }
                    found.by_name.insert(&object.name, object);
                }
            }
        }
        found
    }

    /// The object that stands for this backup.
    pub fn of(&self, row: &Row) -> Option<&'a Object> {
        let said = self.by_said.get(row.id.as_str()).into_iter().flatten();
        let named = self.by_name.get(row.name.as_str());
        self.by_id
            .get(row.id.as_str())
            .into_iter()
            .chain(said)
            .chain(named)
            .find(|object| object.stands_for(row, self.own))
            .copied()
    }

    /// Whether it cannot be said if an object stands for this backup: its document cannot be read.
    pub fn is_open(&self, row: &Row) -> bool {
        row.origin == Origin::Unread
            && self
                .by_name
                .get(row.name.as_str())
                .is_some_and(|object| object.asks(row, self.own))
    }
}

/// The id of the backup that the server has written into the object's status.
pub fn backup_id(backup: &Backup) -> Option<&str> {
    backup.status.as_ref()?.backup_id.as_deref()
}

/// Whether a Backup object is of this cluster, not of another one that shares the repository.
pub fn is_own(backup: &Backup, own: &str) -> bool {
    let status = backup.status.as_ref();
    match status.and_then(|status| status.cluster_id.as_deref()) {
        Some(cluster) => cluster == own,
        None => !backup.labels().contains_key(labels::CLUSTER_ID),
    }
}

/// Whether something of it may be in a repository.
pub fn may_be_stored(backup: &Backup) -> bool {
    let begun = || {
        let status = backup.status.as_ref();
        status.is_some_and(|status| status.start_timestamp.is_some())
    };
    backup_id(backup).is_some()
        || match backup.phase() {
            BackupPhase::FailedValidation | BackupPhase::Canceled => false,
            BackupPhase::Failed => begun(),
            _ => true,
        }
}

/// Whether sync may have given this name to the object of that backup.
fn is_called(name: &str, row: &Row, own: &str) -> bool {
    let foreign = (row.cluster != own).then(|| with_cluster(row));
    name == row.name || foreign.is_some_and(|foreign| foreign == name) || name == with_id(row)
}

/// The name of the object of a backup that has none: its own, and of another cluster's backup whose name is taken here (`living` are the names
/// of this cluster's backups), or of one whose object has failed, another one.
pub fn free_name(
    row: &Row,
    own: &str,
    living: &BTreeSet<&str>,
    taken: &BTreeSet<String>,
) -> String {
    let name = &row.name;
    let free = !taken.contains(name) && (row.cluster == own || !living.contains(name.as_str()));
    if free {
        return name.clone();
    }
    let of_cluster = with_cluster(row);
    match taken.contains(&of_cluster) || row.cluster == own {
        false => of_cluster,
        true => with_id(row),
    }
}

fn with_cluster(row: &Row) -> String {
    let head: String = row.cluster.chars().take(8).collect();
    format!("{}-{}", short(row), head.trim_end_matches(['-', '.']))
}

fn with_id(row: &Row) -> String {
    format!("{}-{}", short(row), row.id.to_lowercase())
}

fn short(row: &Row) -> String {
    let short: String = row.name.chars().take(220).collect();
    short.trim_end_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn row(id: &str, name: &str, cluster: &str, origin: Origin) -> Row {
        Row {
            id: id.to_owned(),
            name: name.to_owned(),
            cluster: cluster.to_owned(),
            origin,
            forgotten: false,
            lost: false,
        }
    }

    fn object(name: &str, uid: &str, id: Option<&str>, said: Option<&str>) -> Object {
        Object {
            name: name.to_owned(),
            uid: Some(uid.to_owned()),
            id: id.map(str::to_owned),
            said: said.map(str::to_owned),
            phase: BackupPhase::New,
        }
    }

    #[test]
    fn each_case_alone() {
        let made = || Origin::Uid("u".to_owned());
        let stands = |object: &Object, row: &Row| object.stands_for(row, "own");
        // The status decides, whatever else there is.
        let own = row("1", "b", "own", made());
        assert!(stands(&object("other", "x", Some("1"), Some("2")), &own));
        assert!(!stands(&object("b", "u", Some("2"), Some("1")), &own));
        // A copy is a backup of its own.
        assert!(!stands(&object("b2", "x", None, Some("1")), &own));
        // What sync has just made, and what it makes of a backup whose name is taken.
        assert!(stands(&object("b", "x", None, Some("1")), &own));
        assert!(stands(&object("b-1", "x", None, Some("1")), &own));
        let foreign = row("1", "b", "cluster-of-others", Origin::Unasked);
        assert!(stands(&object("b-cluster", "x", None, Some("1")), &foreign));
        assert!(!stands(&object("b-cluster", "x", None, Some("1")), &own));
        // The commit of the very object, and the one of another object of its name.
        assert!(stands(&object("b", "u", None, None), &own));
        assert!(!stands(&object("b", "later", None, None), &own));
        for origin in [Origin::Unasked, Origin::Unread, Origin::None] {
            let row = row("1", "b", "own", origin);
            assert!(!stands(&object("b", "u", None, None), &row));
        }
        // Another cluster's, although everything else is the same.
        let copied = row("1", "b", "other", made());
        assert!(!stands(&object("b", "u", None, None), &copied));
    }

    #[test]
    fn whose_it_is_says_the_status() {
        let backup = |labels: serde_json::Value, status: serde_json::Value| -> Backup {
            serde_json::from_value(json!({
                "apiVersion": "ark.heptio.com/v1", "kind": "Backup",
                "metadata": {"name": "b", "labels": labels}, "spec": {}, "status": status,
            }))
            .unwrap()
        };
        let label = || json!({ (labels::CLUSTER_ID): "other" });
        let of = |cluster: &str| json!({ "clusterId": cluster });
        assert!(is_own(&backup(json!({}), json!({})), "own"));
        assert!(!is_own(&backup(label(), json!({})), "own"));
        // A label that was copied or removed changes nothing.
        assert!(is_own(&backup(label(), of("own")), "own"));
        assert!(!is_own(&backup(json!({}), of("other")), "own"));
    }

    fn rows() -> impl Strategy<Value = Row> {
        let origin = prop_oneof![
            Just(Origin::Unasked),
            Just(Origin::Unread),
            Just(Origin::None),
            "[uvw]".prop_map(Origin::Uid),
        ];
        ("[12]", "[ab]", "own|other", origin).prop_map(|(id, name, cluster, origin)| Row {
            id,
            name,
            cluster,
            origin,
            forgotten: false,
            lost: false,
        })
    }

    fn objects() -> impl Strategy<Value = Object> {
        let id = || proptest::option::of("[12]");
        ("a|b|a-1|a-other", "[uvw]", id(), id()).prop_map(|(name, uid, id, said)| Object {
            name,
            uid: Some(uid),
            id,
            said,
            phase: BackupPhase::New,
        })
    }

    proptest! {
        /// What an object stands for, it says itself by an id, or the document of the backup says it by the uid.
        #[test]
        fn a_name_alone_decides_nothing(object in objects(), row in rows()) {
            if object.stands_for(&row, "own") {
                let by_id = object.id.as_ref().or(object.said.as_ref()) == Some(&row.id);
                let by_uid = object.uid.clone().map(Origin::Uid) == Some(row.origin.clone());
                prop_assert!(by_id || (by_uid && row.cluster == "own"));
            }
        }

        /// The index finds what the rule says.
        #[test]
        fn the_index_is_the_rule(objects in proptest::collection::vec(objects(), 0..6), row in rows()) {
            let mut unique: Vec<Object> = Vec::new();
            for object in objects {
                if !unique.iter().any(|known| known.name == object.name) {
                    unique.push(object);
                }
            }
            let index = Counterparts::new(&unique, "own");
            let found = index.of(&row);
            prop_assert_eq!(found.is_some(), unique.iter().any(|o| o.stands_for(&row, "own")));
            prop_assert!(found.is_none_or(|object| object.stands_for(&row, "own")));
        }

        /// An object that sync has made and not finished is recognised by the name that it was given.
        #[test]
        fn what_sync_makes_is_recognised(
            row in rows(),
            taken in proptest::collection::btree_set("a|b|a-other|b-other", 0..4),
            living in any::<bool>(),
        ) {
            let names: BTreeSet<&str> = living.then_some(row.name.as_str()).into_iter().collect();
            let name = free_name(&row, "own", &names, &taken);
            prop_assert!(!taken.contains(&name));
            prop_assert!(object(&name, "new", None, Some(&row.id)).stands_for(&row, "own"));
        }
    }
}
