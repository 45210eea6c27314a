//! Ctrl-C and `kill -9` at any moment: what is committed stays, the next backup succeeds, and a prune takes away the rest.
//!
//! The moments are drawn from a seed (`ARK_TEST_SEED`, printed), between the start of the process and a little after the
//! time that the verb takes when nobody disturbs it.

use std::collections::BTreeMap;
use std::time::Duration;

use ark_testkit::dataset::random::Random;
use ark_testkit::{Api, Churn, ControlPlane, Dataset, DatasetSpec, Ran, churn, load};
use serde_json::json;

use crate::place::Place;
use crate::snapshot::{Snapshot, assert_same, snapshot};

const OBJECTS: usize = 200;
const ROUNDS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder() {
    let world = World::new(1, false).await;
    world.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_bucket() {
    let world = World::new(2, true).await;
    world.run().await;
}

struct World {
    plane: ControlPlane,
    api: Api,
    data: Dataset,
    place: Place,
    random: Random,
    seed: u64,
    /// What the last undisturbed prune took.
    prune_takes: Duration,
    /// What each committed backup gave when it was new.
    committed: BTreeMap<String, (String, Vec<String>)>,
}

impl World {
    async fn new(number: u64, bucket: bool) -> World {
        let seed = std::env::var("ARK_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or(20_170_801) + number;
        eprintln!("seed {seed}");
        let plane = ControlPlane::start().await.unwrap();
        let api = Api::connect(&plane.kubeconfig()).await.unwrap();
        let data = Dataset::new(&DatasetSpec {
            objects: OBJECTS,
            ..DatasetSpec::default()
        });
        load(&api, &data).await.unwrap();
        let place = match bucket {
            false => Place::folder(&plane.kubeconfig()),
            true => Place::minio(&plane.kubeconfig()).await,
        };
        World {
            plane,
            api,
            data,
            place,
            random: Random::new(seed, &[]),
            seed,
            prune_takes: Duration::ZERO,
            committed: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        self.backups().await;
        self.prunes().await;
        self.restores().await;
        drop(self.plane);
    }

    /// Runs `ark`, and ends it at a moment of the time that it is expected to take.
    fn disturb(&mut self, arguments: &[&str], takes: Duration) -> Ran {
        let hard = self.random.below(2) == 0;
        let within = takes.as_millis() as usize * 5 / 4 + 20;
        let moment = Duration::from_millis(self.random.below(within) as u64);
        let running = self.place.ark.start(arguments);
        std::thread::sleep(moment);
        match hard {
            true => running.kill(),
            false => running.interrupt(),
        }
        let ran = running.wait();
        let expected = match hard {
            true => [None, Some(0)],
            false => [Some(130), Some(0)],
        };
        // A process that has not set up its handlers yet is ended by the signal itself.
        let early = !hard && ran.code.is_none() && ran.took < Duration::from_millis(500);
        assert!(
            expected.contains(&ran.code) || early,
            "seed {}: {ran}",
            self.seed
        );
        eprintln!(
            "{} after {moment:?} (of {takes:?}), hard {hard}: {:?}",
            arguments.join(" "),
            ran.code
        );
        ran
    }

    fn remember(&mut self, name: &str) {
        let content = self.place.content(name);
        self.committed.insert(name.to_owned(), content);
    }

    async fn change(&mut self) {
        let change = Churn {
            prefix: self.data.prefix().to_owned(),
            percent: 20.0,
            seed: self.random.below(1 << 30) as u64,
            delete: false,
        };
        churn(&self.api, &change).await.unwrap();
    }

    /// Nothing committed is lost, a backup succeeds at once, and a prune takes away everything else.
    async fn assert_whole(&mut self, next: &str) {
        let row = |name: &String| !self.committed.contains_key(name);
        let unknown: Vec<String> = self.place.backups().into_iter().filter(row).collect();
        // A backup may have been committed before its process could say so.
        for name in unknown {
            self.remember(&name);
        }
        if !self.committed.contains_key(next) {
            self.place.backup(next);
            self.remember(next);
        }
        self.place.assert_sound();
        let mut names: Vec<String> = self.place.backups();
        names.sort();
        let expected: Vec<String> = self.committed.keys().cloned().collect();
        assert_eq!(names, expected, "seed {}", self.seed);
        for (name, content) in &self.committed {
            assert!(
                self.place.content(name) == *content,
                "{name} has changed, seed {}",
                self.seed
            );
        }
        let ran = self.place.ark.run(&["prune", "--now", "-o", "json"]).done();
        self.prune_takes = ran.took;
        let pruned = ran.json();
        assert_eq!(
            pruned["waiting_for"],
            json!([]),
            "seed {}: {pruned:#}",
            self.seed
        );
        self.place.assert_no_garbage().await;
    }

    /// Deletes all but the newest backups, so that the rounds stay short.
    fn keep(&mut self, newest: usize) {
        let old: Vec<String> = self.place.backups().into_iter().skip(newest).collect();
        for name in &old {
            self.committed.remove(name);
        }
        let names: Vec<&str> = old.iter().map(String::as_str).collect();
        if !names.is_empty() {
            self.place
                .ark
                .run(&[&["backup", "delete", "--confirm"], &names[..]].concat())
                .done();
        }
    }

    async fn backups(&mut self) {
        let ran = self.place.ark.run(&["backup", "create", "base"]).done();
        self.remember("base");
        for round in 0..ROUNDS {
            self.change().await;
            let name = format!("backup-{round}");
            // The name of a backup that came to nothing is free at once.
            self.disturb(&["backup", "create", &name], ran.took);
            self.assert_whole(&name).await;
            self.keep(2);
        }
    }

    async fn restores(&mut self) {
        self.keep(1);
        let backup = self.place.backups().remove(0);
        let namespace = self.data.namespaces()[0].clone();
        let before = snapshot(&self.api, &namespace).await;
        let mut takes = Duration::ZERO;
        for round in 0..=ROUNDS / 2 {
            let target = format!("copy-{round}");
            let name = format!("restore-{round}");
            let mapping = format!("{namespace}:{target}");
            let restore = [
                "restore",
                "create",
                &name,
                "--from-backup",
                &backup,
                "--include-namespaces",
                &namespace,
                "--namespace-mappings",
                &mapping,
            ];
            if round == 0 {
                takes = self.place.ark.run(&restore).done().took;
            } else if self.disturb(&restore, takes).code != Some(0) {
                // The same again goes on where it stopped, or begins if it had not begun.
                self.place.ark.run(&restore).done();
            }
            self.assert_copied(&before, &namespace, &target).await;
            self.assert_whole(&backup).await;
        }
    }

    async fn assert_copied(&self, before: &Snapshot, namespace: &str, target: &str) {
        let in_namespace = before
            .iter()
            .filter(|(key, _)| key.contains('/') && !key.contains(" /"));
        let before: Snapshot = in_namespace
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert!(before.len() > 10);
        let renamed = |text: &str| text.replace(target, namespace);
        let mut after = Snapshot::new();
        for (key, (resource, object)) in snapshot(&self.api, target).await {
            let object = serde_json::from_str(&renamed(&object.to_string())).unwrap();
            if !key.contains(" /") {
                after.insert(renamed(&key), (resource, object));
            }
        }
        assert_same(&before, &after);
    }

    async fn prunes(&mut self) {
        for round in 0..ROUNDS {
            self.change().await;
            let name = format!("prune-{round}");
            self.place.backup(&name);
            self.remember(&name);
            self.keep(2);
            self.disturb(&["prune", "--now"], self.prune_takes);
            self.assert_whole(&format!("after-{round}")).await;
        }
    }
}
