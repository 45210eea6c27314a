//! The operations on a damaged repository, each on a copy of its own, and what must hold whatever was damaged.

use std::collections::BTreeSet;
use std::error::Error as _;

use ark_engine::store::Store;
use ark_engine::{Error, Reader, RepairOptions, Repository, SessionId};

use super::base::{Base, Expected, NOW, Objects, Who, bucket, objects_of, open, report};
use super::harm::{Damaged, Harm};
use crate::roundtrip::{Items, Plain, backup, contents, read_all};

/// The four answers to one damage, each a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    pub verify: &'static str,
    pub restore: &'static str,
    pub backup: &'static str,
    pub prune: &'static str,
}

/// One damage of one object.
pub struct Trial<'a> {
    pub base: &'a Base,
    /// For messages.
    pub what: String,
    pub harm: Harm,
    pub damaged: Damaged,
}

/// A client that has seen the repository before it was damaged.
struct Client {
    repository: Result<Repository, Error>,
    store: Store,
    _state: tempfile::TempDir,
}

async fn client(base: &Base, objects: &Objects, who: Who) -> Client {
    let state = tempfile::tempdir().unwrap();
    for (name, bytes) in &base.state {
        std::fs::write(state.path().join(name), bytes).unwrap();
    }
    let store = bucket(objects).await;
    Client {
        repository: open(store.clone(), who, Some(state.path())).await,
        store,
        _state: state,
    }
}

/// The error and its causes, in one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn read(repository: &Repository, reader: &Reader, id: &SessionId) -> Result<Items, Error> {
    let manifest = repository.manifest(id).await?;
    read_all(reader, manifest.dataset("objects").unwrap()).await
}

impl Trial<'_> {
    pub async fn run(&self) -> Answers {
        let (restore, unreadable) = self.restore().await;
        Answers {
            verify: self.verify(&unreadable).await,
            backup: self.backup(&unreadable).await,
            prune: self.prune(&unreadable).await,
            restore,
        }
    }

    fn names(&self, text: &str) -> bool {
        self.damaged.changed.iter().any(|key| text.contains(key))
    }

    /// Names of the backups that cannot be read. What can be read is right to the byte.
    async fn unreadable(&self, repository: &Repository) -> BTreeSet<&'static str> {
        let mut unreadable = BTreeSet::new();
        let reader = repository.reader().await;
        for Expected { name, id, items } in &self.base.backups {
            let found = match &reader {
                Ok(reader) => read(repository, reader, id).await,
                Err(_) => contents(repository, id).await,
            };
            match found {
                Ok(found) => assert!(found == *items, "{}: {name} has other content", self.what),
                Err(error) => {
                    unreadable.insert(*name);
                    // A chunk that no readable segment has is in the one that cannot be read.
                    let text = told(&error);
                    let vague = matches!(
                        error,
                        Error::ChunkUnknown { .. }
                            | Error::NoSuchBackup { .. }
                            | Error::RolledBack { .. }
                    );
                    assert!(
                        vague || self.names(&text) || text.contains("not in the index"),
                        "{}: {name}: {text}",
                        self.what
                    );
                }
            }
        }
        if let Ok(reader) = reader {
            reader.close().await;
        }
        unreadable
    }

    async fn restore(&self) -> (&'static str, BTreeSet<&'static str>) {
        let client = client(self.base, &self.damaged.objects, Who::Beside).await;
        let all = self.base.backups.iter().map(|b| b.name).collect();
        let repository = match &client.repository {
            Ok(repository) => repository,
            Err(_) => return ("refused", all),
        };
        let unreadable = self.unreadable(repository).await;
        if let Ok(rows) = repository.backups().await {
            // Nothing comes back that was collected.
            for row in rows {
                let known = self.base.backups.iter().any(|b| b.id == row.id);
                assert!(known, "{}: {} is listed", self.what, row.name);
            }
        }
        let answer = match unreadable.len() {
            0 => "whole",
            n if unreadable == all => {
                assert_eq!(n, all.len());
                "none"
            }
            _ => "others",
        };
        (answer, unreadable)
    }

    /// Damage is named, and with it exactly the backups that cannot be read.
    async fn verify(&self, unreadable: &BTreeSet<&'static str>) -> &'static str {
        let mut found = [false; 2];
        for read_data in [false, true] {
            let client = client(self.base, &self.damaged.objects, Who::Beside).await;
            let Ok(repository) = &client.repository else {
                return "refused";
            };
            let report = match report(repository, read_data).await {
                Ok(report) => report,
                Err(error) => {
                    let text = told(&error);
                    let known = self.names(&text)
                        || matches!(error, Error::RolledBack { .. } | Error::Missing { .. });
                    assert!(known, "{}: {text}", self.what);
                    return "refused";
                }
            };
            let mut hit = BTreeSet::new();
            for damage in &report.damage {
                // What a lost segment or manifest held is named too.
                let known = self.damaged.changed.contains(&damage.object)
                    || damage.object.starts_with("chunk ");
                assert!(known, "{}: {damage:?}", self.what);
                hit.extend(damage.backups.iter().cloned());
                found[usize::from(read_data)] |= self.damaged.changed.contains(&damage.object);
            }
            if read_data {
                let listed: BTreeSet<String> = repository
                    .backups()
                    .await
                    .unwrap()
                    .iter()
                    .map(|row| row.name.clone())
                    .collect();
                let expected: BTreeSet<String> = unreadable
                    .iter()
                    .filter(|name| listed.contains(**name))
                    .map(|name| (*name).to_owned())
                    .collect();
                assert_eq!(hit, expected, "{}: {report:?}", self.what);
            }
        }
        match found {
            [true, true] => "named",
            [false, true] => "read-data",
            [true, false] => panic!("{}: reading all data hides it", self.what),
            [false, false] => {
                let by_nature = matches!(self.harm, Harm::Missing | Harm::Replayed);
                assert!(by_nature, "{}: nobody notices", self.what);
                "–"
            }
        }
    }

    /// A backup made now can be read, and makes whole what lacks the same content; if not at once, then after a repair.
    async fn backup(&self, unreadable: &BTreeSet<&'static str>) -> &'static str {
        let client = client(self.base, &self.damaged.objects, Who::Beside).await;
        let Ok(repository) = &client.repository else {
            return "refused";
        };
        let mut answer = match unreadable.is_empty() {
            true => "works",
            false => "heals",
        };
        if !self.all_back(repository, "at once", unreadable).await {
            answer = "repair";
            let options = RepairOptions {
                read_data: true,
                ..RepairOptions::default()
            };
            if let Err(error) = repository.repair(&options, &Plain, |_| {}).await {
                let text = told(&error);
                assert!(
                    self.names(&text)
                        || matches!(error, Error::RolledBack { .. } | Error::Missing { .. }),
                    "{}: {text}",
                    self.what
                );
                return "refused";
            }
            if !self.all_back(repository, "after repair", unreadable).await {
                answer = "copy";
            }
        }
        answer
    }

    /// Makes backups with the content of all that cannot be read, which can be read themselves; whether the originals
    /// can be read by then.
    async fn all_back(
        &self,
        repository: &Repository,
        when: &str,
        unreadable: &BTreeSet<&'static str>,
    ) -> bool {
        for Expected { name, items, .. } in &self.base.backups {
            let stands_for_all = unreadable.is_empty() && *name == "three";
            if !stands_for_all && !unreadable.contains(name) {
                continue;
            }
            let made = backup(repository, &format!("{name} {when}"), items).await;
            let Ok(made) = made else { return false };
            match contents(repository, &made.id).await {
                Ok(found) => assert!(found == *items, "{}: {name} {when}", self.what),
                Err(error) => {
                    assert_eq!(when, "at once", "{}: {name}: {}", self.what, told(&error));
                    return false;
                }
            }
        }
        // The name of a backup stays taken, whatever is damaged.
        let taken = backup(repository, "two", &self.base.backups[1].items).await;
        assert!(
            matches!(taken, Err(Error::NameTaken { .. })),
            "{}: {taken:?}",
            self.what
        );
        self.unreadable(repository).await.is_empty()
    }

    /// Whatever could be read before can be read after, and with what was damaged put back everything is sound.
    async fn prune(&self, unreadable: &BTreeSet<&'static str>) -> &'static str {
        let mut objects = self.damaged.objects.clone();
        let mut answer = "works";
        // Beside a backup that is being written, and when its process has ended: then all that is not needed goes.
        for who in [Who::Beside, Who::Alone] {
            let client = client(self.base, &objects, who).await;
            match &client.repository {
                Err(_) => answer = "refused",
                Ok(repository) => {
                    if let Err(error) = repository.prune(&NOW, |_| {}).await {
                        let text = told(&error);
                        assert!(
                            self.names(&text)
                                || text.contains("not in the index")
                                || matches!(
                                    error,
                                    Error::RolledBack { .. } | Error::Missing { .. }
                                ),
                            "{}: {text}",
                            self.what
                        );
                        answer = "refused";
                    }
                }
            }
            objects = objects_of(&client.store).await;
        }
        // `four` was forgotten, and is collected by who may.
        let collected = |name: &&str| *name == "four" && answer == "works";
        let mut expected = unreadable.clone();
        let after = open(bucket(&objects).await, Who::Alone, None).await;
        if let Ok(repository) = &after {
            let mut now = self.unreadable(repository).await;
            now.retain(|name| !collected(name));
            expected.retain(|name| !collected(name));
            assert!(
                now.is_subset(&expected),
                "{}: before {expected:?}, after {now:?}",
                self.what
            );
        }
        for key in &self.damaged.changed {
            match self.damaged.sound.get(key) {
                Some(original) => objects.insert(key.clone(), original.clone()),
                None => objects.remove(key),
            };
        }
        let repository = open(bucket(&objects).await, Who::Alone, None).await;
        let repository = &repository.unwrap();
        let report = report(repository, true).await;
        let report = report.unwrap_or_else(|error| panic!("{}: {}", self.what, told(&error)));
        assert_eq!(report.damage, [], "{}, put back after a prune", self.what);
        let mut left = self.unreadable(repository).await;
        left.retain(|name| !collected(name));
        assert!(left.is_empty(), "{}: {left:?}", self.what);
        answer
    }
}
