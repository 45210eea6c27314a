//! The engine against what it must behave like: a list of plain maps.
//!
//! Random backups, each an edit of what an earlier one held, forgets, undeletes and prunes; what is read, compared and
//! verified in between must be what the plain maps say, and equal contents must have equal roots, whatever the history.

use std::collections::BTreeMap;

use ark_engine::store::Store;
use ark_engine::{
    BackupStatus, BeginBackup, Commit, Counts, Dataset, Error, FrameClass, OpenOptions,
    PruneOptions, Repository, Root, SessionId, VerifyOptions, WriteSession, diff,
    verify::Unwatched,
};
use proptest::prelude::*;

use crate::roundtrip::{Items, cluster, env, memory, new_repository, read_all, unlock};

#[derive(Clone, Debug)]
enum Edit {
    Set(u16, u8, u16),
    /// Many neighbours at once.
    Fill(u16, u16, u8),
    Remove(u16, u16),
    /// An earlier backup's content.
    Back(u8),
}

#[derive(Clone, Debug)]
enum Step {
    /// Edits, and whether a prune runs while it is written.
    Backup(Vec<Edit>, bool),
    Forget(u8),
    Undelete(u8),
    Prune(u8),
    /// Reads a backup, with a prune after the reader's start or not.
    Read(u8, bool),
    Range(u8, u16, u16),
    Diff(u8, u8),
    Verify(bool),
    Reopen,
}

const KEYS: u16 = 600;

fn key(n: u16) -> Vec<u8> {
    format!("group\0things\0ns-{}/item-{n:05}", n % KEYS / 50).into_bytes()
}

fn value(seed: u8, length: u16) -> Vec<u8> {
    // Inline, a chunk, and now and then enough for a list of chunks.
    let length = match length % 40 {
        0 => 0,
        1 => 1_100_000,
        2..20 => usize::from(length % 97),
        _ => usize::from(length % 2000),
    };
    filled(seed, length)
}

fn filled(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| seed.wrapping_add((i / 7) as u8))
        .collect()
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (0..KEYS, any::<u8>(), any::<u16>()).prop_map(|(k, s, l)| Edit::Set(k, s, l)),
        3 => (0..KEYS, 1..300u16, any::<u8>()).prop_map(|(k, n, s)| Edit::Fill(k, n, s)),
        3 => (0..KEYS, 1..300u16).prop_map(|(k, n)| Edit::Remove(k, n)),
        1 => any::<u8>().prop_map(Edit::Back),
    ];
    prop::collection::vec(edit, 0..6)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (edits(), any::<bool>()).prop_map(|(e, p)| Step::Backup(e, p)),
        3 => any::<u8>().prop_map(Step::Forget),
        1 => any::<u8>().prop_map(Step::Undelete),
        3 => (0..30u8).prop_map(Step::Prune),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(n, p)| Step::Read(n, p)),
        2 => (any::<u8>(), 0..KEYS, 0..KEYS).prop_map(|(n, a, b)| Step::Range(n, a, b)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Diff(a, b)),
        1 => any::<bool>().prop_map(Step::Verify),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..24)
}

struct Made {
    id: SessionId,
    root: Option<Root>,
    items: Items,
    forgotten: bool,
}

struct World {
    store: Store,
    repository: Repository,
    /// Those that are not gone, oldest first.
    backups: Vec<Made>,
    /// The last content written, even if its backup is gone.
    last: Items,
    roots: BTreeMap<Items, Root>,
    number: u32,
}

async fn write_half(
    session: &WriteSession,
    items: &[(&Vec<u8>, &Vec<u8>)],
    map: &mut ark_engine::MapWriter,
) -> Result<(), Error> {
    let mut chunks = session.chunks(FrameClass::Objects);
    for (key, content) in items {
        let value = chunks.put_value(content).await?;
        map.push(key, &value).await?;
    }
    chunks.finish().await
}

impl World {
    async fn new() -> World {
        let store = memory();
        World {
            repository: new_repository(store.clone()).await,
            store,
            backups: Vec::new(),
            last: Items::new(),
            roots: BTreeMap::new(),
            number: 0,
        }
    }

    fn pick(&self, n: u8) -> Option<&Made> {
        (!self.backups.is_empty()).then(|| &self.backups[usize::from(n) % self.backups.len()])
    }

    async fn step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Backup(edits, prune) => self.backup(edits, prune).await?,
            Step::Forget(n) => {
                let Some(id) = self.pick(n).map(|b| b.id) else {
                    return Ok(());
                };
                self.repository.forget(&[id]).await?;
                self.set_forgotten(id, true);
            }
            Step::Undelete(n) => {
                let Some(id) = self.pick(n).map(|b| b.id) else {
                    return Ok(());
                };
                self.repository.undelete(&id).await?;
                self.set_forgotten(id, false);
            }
            Step::Prune(unused) => self.prune(f64::from(unused) / 100.0, true).await?,
            Step::Read(n, prune) => {
                let reader = self.repository.reader().await?;
                let picked = self.pick(n).map(|b| (b.root, b.items.clone()));
                if prune {
                    self.prune(0.0, false).await?;
                }
                if let Some((Some(root), items)) = picked {
                    assert!(read_all(&reader, root).await? == items);
                }
                reader.close().await;
            }
            Step::Range(n, a, b) => self.range(n, a, b).await?,
            Step::Diff(a, b) => self.diff(a, b).await?,
            Step::Verify(read_data) => self.verify(read_data).await?,
            Step::Reopen => {
                let (store, options) = (self.store.clone(), OpenOptions::default());
                self.repository = Repository::open(store, env(), &unlock(), options).await?;
            }
        }
        Ok(())
    }

    fn set_forgotten(&mut self, id: SessionId, forgotten: bool) {
        for backup in self.backups.iter_mut().filter(|b| b.id == id) {
            backup.forgotten = forgotten;
        }
    }

    async fn backup(&mut self, edits: Vec<Edit>, prune: bool) -> Result<(), Error> {
        let mut items = self.last.clone();
        for edit in edits {
            match edit {
                Edit::Set(k, seed, length) => {
                    items.insert(key(k), value(seed, length));
                }
                Edit::Fill(k, count, seed) => {
                    for n in k..k + count {
                        let length = 20 + n % 60 + n % 7 * 40;
                        items.insert(key(n), filled(seed, length.into()));
                    }
                }
                Edit::Remove(k, count) => {
                    for n in k..k + count {
                        items.remove(&key(n));
                    }
                }
                Edit::Back(n) => {
                    if let Some(made) = self.pick(n) {
                        items = made.items.clone();
                    }
                }
            }
        }
        self.number += 1;
        let session = self
            .repository
            .begin_backup(BeginBackup {
                name: format!("backup-{}", self.number),
                cluster: cluster(),
            })
            .await?;
        let mut map = session.map(Dataset::Objects);
        let all: Vec<_> = items.iter().collect();
        let (first, second) = all.split_at(all.len() / 2);
        write_half(&session, first, &mut map).await?;
        if prune {
            self.prune(0.0, false).await?;
        }
        write_half(&session, second, &mut map).await?;
        let root = map.finish().await?;
        let committed = session
            .commit(Commit {
                document: Vec::new(),
                datasets: root.map(|r| ("objects".into(), r)).into_iter().collect(),
                counts: Counts::default(),
                status: BackupStatus::Completed,
                expires: None,
                log: Vec::new(),
            })
            .await?;
        assert_eq!(root.map_or(0, |r| r.entries), items.len() as u64);
        if let Some(root) = root {
            let same = *self.roots.entry(items.clone()).or_insert(root);
            assert_eq!(same, root, "equal content, another root");
        }
        self.last = items.clone();
        self.backups.push(Made {
            id: committed.id,
            root,
            items,
            forgotten: false,
        });
        Ok(())
    }

    /// `alone`: no session of this test is open.
    async fn prune(&mut self, max_unused: f64, alone: bool) -> Result<(), Error> {
        let options = PruneOptions {
            now: true,
            max_unused,
        };
        let report = self.repository.prune(&options, |_| {}).await?;
        let listed: Vec<SessionId> = self
            .repository
            .backups()
            .await?
            .iter()
            .map(|b| b.row.id)
            .collect();
        self.backups.retain(|made| {
            let there = listed.contains(&made.id);
            assert!(there || made.forgotten, "a backup vanished");
            assert!(
                !there || !made.forgotten || !alone,
                "a forgotten backup stays"
            );
            there
        });
        if alone {
            assert!(report.waiting_for.is_empty(), "{report:?}");
            assert_eq!(report.held_back_bytes, 0);
        }
        Ok(())
    }

    async fn range(&self, n: u8, a: u16, b: u16) -> Result<(), Error> {
        let Some(made) = self.pick(n) else {
            return Ok(());
        };
        let Some(root) = made.root else {
            return Ok(());
        };
        let reader = self.repository.browse().await?;
        let (from, to) = (key(a), key(b));
        let mut range = reader.map(root).range(&from, Some(&to));
        let mut found = Vec::new();
        while let Some((key, _)) = range.next().await? {
            found.push(key);
        }
        let expected: Vec<Vec<u8>> = made
            .items
            .keys()
            .filter(|k| **k >= from && **k < to)
            .cloned()
            .collect();
        assert!(found == expected);
        let value = reader.map(root).get(&from).await?;
        let content = match &value {
            Some(value) => Some(reader.read(value).await?.to_vec()),
            None => None,
        };
        assert!(content.as_ref() == made.items.get(&from));
        Ok(())
    }

    async fn diff(&self, a: u8, b: u8) -> Result<(), Error> {
        let (Some(a), Some(b)) = (self.pick(a), self.pick(b)) else {
            return Ok(());
        };
        let mut expected = BTreeMap::new();
        for key in a.items.keys().chain(b.items.keys()) {
            let (before, after) = (a.items.get(key).cloned(), b.items.get(key).cloned());
            if before != after {
                expected.insert(key.clone(), (before, after));
            }
        }
        let reader = self.repository.browse().await?;
        let mut walk = diff(&reader, a.root, b.root);
        let mut found = BTreeMap::new();
        let mut last = None;
        while let Some(d) = walk.next().await? {
            assert!(last < Some(d.key.clone()), "not in order");
            last = Some(d.key.clone());
            let mut sides = Vec::new();
            for side in [&d.before, &d.after] {
                sides.push(match side {
                    Some(value) => Some(reader.read(value).await?.to_vec()),
                    None => None,
                });
            }
            let after = sides.pop().flatten();
            found.insert(d.key, (sides.pop().flatten(), after));
        }
        assert!(found == expected);
        Ok(())
    }

    async fn verify(&self, read_data: bool) -> Result<(), Error> {
        let report = self
            .repository
            .verify(VerifyOptions { read_data }, &Unwatched)
            .await?;
        assert_eq!(report.damage, []);
        assert_eq!(report.foreign, Vec::<String>::new());
        Ok(())
    }

    /// All that there is can be read, and once it is forgotten a prune leaves nothing.
    async fn end(mut self) -> Result<(), Error> {
        self.verify(true).await?;
        let reader = self.repository.browse().await?;
        for made in &self.backups {
            if let Some(root) = made.root {
                assert!(read_all(&reader, root).await? == made.items);
            }
        }
        let ids: Vec<SessionId> = self.backups.iter().map(|b| b.id).collect();
        self.repository.forget(&ids).await?;
        for id in ids {
            self.set_forgotten(id, true);
        }
        self.prune(0.05, true).await?;
        assert_eq!(self.store.list("packs/").await?, []);
        assert_eq!(self.store.list("forgotten/").await?, []);
        self.verify(true).await
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_behaves_like_plain_maps(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                let shown = format!("{step:?}");
                world.step(step).await.unwrap_or_else(|e| panic!("{shown}: {e:?}"));
            }
            world.end().await.unwrap();
        });
    }
}

/// Whatever was there before, equal contents are equal trees: in one go, by growing, by shrinking, from the other end.
#[tokio::test]
async fn equal_contents_have_equal_roots() {
    let mut world = World::new().await;
    let fill = |k, n| Edit::Fill(k, n, 7);
    let histories: [Vec<Vec<Edit>>; 4] = [
        vec![vec![fill(0, 2500)]],
        vec![vec![fill(0, 1)], vec![fill(1, 130)], vec![fill(131, 2369)]],
        vec![vec![fill(0, 4000)], vec![Edit::Remove(2500, 1500)]],
        vec![
            vec![fill(1500, 1000), Edit::Set(10_000, 1, 70)],
            vec![fill(0, 2000)],
            vec![Edit::Remove(10_000, 1)],
        ],
    ];
    let mut roots = Vec::new();
    for history in histories {
        world.last = Items::new();
        for edits in history {
            world.backup(edits, false).await.unwrap();
        }
        roots.push(world.backups.last().unwrap().root.unwrap());
    }
    assert!(roots.iter().all(|root| *root == roots[0]), "{roots:?}");
    assert_eq!(roots[0].entries, 2500);
    assert!(roots[0].level >= 2);
    world.end().await.unwrap();
}
