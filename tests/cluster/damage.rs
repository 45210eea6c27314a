//! Damage of every kind of object: it is found and named, the rest stays readable, and nothing makes it worse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ark_testkit::{Api, Ark, ControlPlane, Ran};
use serde_json::{Value, json};

use crate::place::{Place, open_with};

/// What happens to an object.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Truncated,
    Zeroed,
    Flipped,
    Gone,
}

/// Kinds of which nothing may be missing. Others come and go, or nobody can know that there was one.
const REQUIRED: [&str; 9] = [
    "data key",
    "an older epoch",
    "epoch body",
    "segment of the head",
    "segment",
    "manifest in the head",
    "data pack",
    "meta pack",
    "recent data pack",
];

impl Harm {
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Harm::Truncated => bytes.truncate(bytes.len() / 2),
            Harm::Zeroed => bytes.fill(0),
            Harm::Gone => bytes.clear(),
            Harm::Flipped => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x10;
            }
        }
        bytes
    }
}

/// The key of one object of each kind.
fn victims(root: &Path, ark: &Ark) -> BTreeMap<&'static str, String> {
    let keys = keys(root);
    let first = |prefix: &str| {
        keys.iter()
            .find(|key| key.starts_with(prefix))
            .unwrap()
            .clone()
    };
    let last = |prefix: &str| {
        keys.iter()
            .rfind(|key| key.starts_with(prefix))
            .unwrap()
            .clone()
    };
    let slots = ark
        .run(&["repo", "keys", "list", "-o", "json"])
        .done()
        .json();
    let slot = |current: bool| {
        let slots = slots["items"].as_array().unwrap();
        let slot = slots
            .iter()
            .find(|slot| slot["current"] == json!(current))
            .unwrap();
        format!("keys/{}", slot["id"].as_str().unwrap())
    };
    let rows = ark.run(&["backup", "get", "-o", "json"]).done().json();
    let manifest = |name: &str| {
        let rows = rows["items"].as_array().unwrap();
        let row = rows
            .iter()
            .find(|row| row["metadata"]["name"] == json!(name))
            .unwrap();
        let id = row["repository"]["id"].as_str().unwrap();
        keys.iter()
            .find(|key| key.starts_with("manifests/") && key.ends_with(id))
            .unwrap()
            .clone()
    };
    let of_session = |prefix: &str, manifest: &str| {
        let id = manifest.rsplit('-').next().unwrap();
        let found = keys
            .iter()
            .find(|key| key.starts_with(prefix) && key.contains(id));
        found
            .unwrap_or_else(|| panic!("{prefix} of {manifest}: {keys:#?}"))
            .clone()
    };
    let (listed, recent) = (manifest("first"), manifest("second"));
    let is_commit = |key: &String| [&listed, &recent].contains(&key);
    let fence = keys.iter().rfind(|key| {
        key.starts_with("manifests/") && !is_commit(key) && !key.contains(&deleted_id(ark))
    });
    BTreeMap::from([
        ("settings", "ark.json".to_owned()),
        ("slot in use", slot(true)),
        ("another slot", slot(false)),
        ("data key", "keys/data/0001".to_owned()),
        ("head", first("epochs/")),
        ("an older epoch", last("epochs/")),
        ("epoch body", first("index/epoch-")),
        ("segment of the head", of_session("index/", &listed)),
        ("segment", of_session("index/", &recent)),
        ("manifest in the head", listed.clone()),
        ("manifest", recent.clone()),
        ("fence", fence.unwrap().clone()),
        ("session", of_session("sessions/", &recent)),
        ("claim", first("names/")),
        ("tombstone", first("forgotten/")),
        ("data pack", of_session("packs/data/", &listed)),
        ("meta pack", of_session("packs/meta/", &listed)),
        ("recent data pack", of_session("packs/data/", &recent)),
        ("recent meta pack", of_session("packs/meta/", &recent)),
        ("restore record", last("restores/")),
        ("verify record", last("verify/")),
        ("reserve", "reserve".to_owned()),
    ])
}

fn deleted_id(ark: &Ark) -> String {
    let rows = ark
        .run(&["backup", "get", "--deleted", "-o", "json"])
        .done()
        .json();
    rows["items"][0]["repository"]["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn keys(root: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, keys: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(root, &path, keys),
                false => keys.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                ),
            }
        }
    }
    let mut keys = Vec::new();
    walk(root, root, &mut keys);
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_named_and_made_no_worse() {
    let plane = ControlPlane::start_quiet().await.unwrap();
    let place = Place::folder(&plane.kubeconfig());
    make(&place, &plane).await;
    place.assert_sound();
    let root = place.root().unwrap();
    let victims = victims(&root, &place.ark);
    let whole = Expected {
        first: read(&place.ark, "first"),
        second: read(&place.ark, "second"),
    };
    drop(plane);
    let mut cases = Vec::new();
    for (kind, key) in &victims {
        for harm in [Harm::Truncated, Harm::Zeroed, Harm::Flipped, Harm::Gone] {
            if !matches!(harm, Harm::Gone) || REQUIRED.contains(kind) {
                cases.push((*kind, key.as_str(), harm));
            }
        }
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let problems = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) =
                    cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let found = Case::new(&place, &root, case).check(&whole);
                    problems.lock().unwrap().extend(found);
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// A head with one backup, a newer backup, a deleted one, a restore, and what closed sessions leave.
async fn make(place: &Place, plane: &ControlPlane) {
    let api = Api::connect(&plane.kubeconfig()).await.unwrap();
    let namespace = json!({"metadata": {"name": "shop"}});
    api.post("/api/v1/namespaces", &namespace).await.unwrap();
    let configure = |name: &str, text: &str| json!({"metadata": {"name": name}, "data": {"text": text.repeat(3000)}});
    let maps = "/api/v1/namespaces/shop/configmaps";
    api.post(maps, &configure("old", "first light "))
        .await
        .unwrap();
    place.backup("first");
    place.ark.run(&["prune"]).done();
    api.post(maps, &configure("new", "second thoughts "))
        .await
        .unwrap();
    place.backup("second");
    let restore = [
        "restore",
        "create",
        "record",
        "--from-backup",
        "first",
        "--include-resources",
        "cm",
        "--include-namespaces",
        "shop",
    ];
    place.ark.run(&restore).done();
    place.backup("third");
    place
        .ark
        .run(&["backup", "delete", "third", "--confirm"])
        .done();
    place.ark.run(&["verify"]).done();
}

/// What reads of a backup give.
struct Expected {
    first: String,
    second: String,
}

fn read(ark: &Ark, backup: &str) -> String {
    let list = ark
        .run(&["backup", "ls", backup, "-o", "json"])
        .done()
        .stdout;
    let object = match backup {
        "first" => "shop/old",
        _ => "shop/new",
    };
    list + &ark
        .run(&["backup", "cat", backup, "cm", object])
        .done()
        .stdout
}

struct Case {
    name: String,
    kind: &'static str,
    harm: Harm,
    key: String,
    path: PathBuf,
    original: Vec<u8>,
    ark: Ark,
    _folder: tempfile::TempDir,
    problems: Vec<String>,
}

impl Case {
    fn new(place: &Place, root: &Path, (kind, key, harm): &(&'static str, &str, Harm)) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("repository");
        // The reserve is large, and nothing refers to it.
        let copied = |other: &String| other != "reserve" || *key == "reserve";
        for key in keys(root).into_iter().filter(copied) {
            let to = copy.join(&key);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(root.join(&key), to).unwrap();
        }
        let path = copy.join(key);
        let original = std::fs::read(&path).unwrap();
        match harm {
            Harm::Gone => std::fs::remove_file(&path).unwrap(),
            _ => std::fs::write(&path, harm.of(&original)).unwrap(),
        }
        let url = format!("file://{}", copy.display());
        let key_file = place.ark.home().join("key");
        // A home of its own: nothing is known from a cache, nor from another copy's epochs.
        let ark = open_with(&place.ark.elsewhere().unwrap(), &url).with("ARK_KEY_FILE", key_file);
        Case {
            name: format!("{kind} {harm:?} ({key})"),
            kind,
            harm: *harm,
            key: (*key).to_owned(),
            path,
            original,
            ark,
            _folder: folder,
            problems: Vec::new(),
        }
    }

    fn expect(&mut self, right: bool, what: &str, ran: &Ran) {
        if !right {
            self.problems.push(format!("{}: {what}: {ran}", self.name));
        }
    }

    fn check(mut self, whole: &Expected) -> Vec<String> {
        self.verify_names_it();
        self.others_are_readable(whole);
        // What else is tried is the same for every harm.
        if let Harm::Flipped = self.harm {
            self.prune_makes_it_no_worse(whole);
        }
        self.problems
    }

    fn verify_names_it(&mut self) {
        let verify = self.ark.run(&["verify", "--read-data", "-o", "json"]);
        let named = verify.stdout.contains(&self.key) || verify.stderr.contains(&self.key);
        // A slot whose header is whole cannot be told from one for another key.
        let told = match self.kind {
            "slot in use" => [Some(4), Some(5)].contains(&verify.code),
            _ => verify.code == Some(4) && named,
        };
        self.expect(told, "verify does not name it", &verify);
        if verify.stdout.is_empty() {
            self.expect(verify.stderr.contains("hint: "), "no hint", &verify);
            return;
        }
        let report: Value = verify.json();
        let damage = report["damage"].as_array().unwrap();
        let hit = damage
            .iter()
            .find(|damage| damage["object"] == json!(self.key));
        // Where the index is damaged, chunks cannot be found.
        let consequence =
            |damage: &&Value| damage["object"].as_str().unwrap().starts_with("chunk ");
        let chunks = damage.iter().filter(consequence).count();
        let with_chunks = ["segment", "segment of the head", "manifest"].contains(&self.kind);
        let right = hit.is_some() && damage.len() == 1 + chunks && (chunks == 0 || with_chunks);
        self.expect(right, "other damage is reported too", &verify);
        let backups = |name: &str| {
            hit.is_some_and(|hit| hit["backups"].as_array().unwrap().contains(&json!(name)))
        };
        match self.kind {
            "data pack" | "meta pack" => {
                self.expect(
                    backups("first") && backups("second"),
                    "the backups that it hits are not named",
                    &verify,
                );
            }
            "recent data pack" | "recent meta pack" => {
                self.expect(
                    backups("second") && !backups("first"),
                    "not exactly the backups that it hits are named",
                    &verify,
                );
            }
            _ => {}
        }
    }

    /// Whether a read that does not need the damaged object works.
    fn others_are_readable(&mut self, whole: &Expected) {
        let (first, second) = match self.kind {
            "another slot" | "an older epoch" | "fence" | "session" | "claim" | "tombstone"
            | "restore record" | "verify record" | "reserve" => (true, true),
            "segment" | "manifest" | "recent data pack" | "recent meta pack" => (true, false),
            _ => (false, false),
        };
        for (name, readable, expected) in [
            ("first", first, &whole.first),
            ("second", second, &whole.second),
        ] {
            let list = self.ark.run(&["backup", "ls", name, "-o", "json"]);
            let object = if name == "first" {
                "shop/old"
            } else {
                "shop/new"
            };
            let cat = self.ark.run(&["backup", "cat", name, "cm", object]);
            let same = format!("{}{}", list.stdout, cat.stdout) == *expected;
            if readable {
                self.expect(same, "a backup that does not need it cannot be read", &cat);
            }
            for ran in [list, cat] {
                let told = ran.code == Some(0) || ran.stderr.contains("hint: ");
                self.expect(told, "no hint", &ran);
                let right = ran.code != Some(0) || expected.contains(&ran.stdout);
                self.expect(right, "something wrong was read", &ran);
            }
        }
    }

    /// A prune while something is damaged must take nothing that is needed: with the object back, everything is there.
    fn prune_makes_it_no_worse(&mut self, whole: &Expected) {
        let prune = self.ark.run(&["prune", "--now"]);
        let refused = [Some(4), Some(5)].contains(&prune.code) && prune.stderr.contains("hint: ");
        let told = prune.code == Some(0) || refused;
        self.expect(told, "prune neither works nor says what is damaged", &prune);
        if self.path.exists() {
            std::fs::write(&self.path, &self.original).unwrap();
        }
        let verify = self.ark.run(&["verify", "--read-data", "-o", "json"]);
        self.expect(verify.code == Some(0), "a prune made it worse", &verify);
        for (name, expected) in [("first", &whole.first), ("second", &whole.second)] {
            let ran = self.ark.run(&["backup", "ls", name, "-o", "json"]);
            self.expect(
                expected.starts_with(&ran.stdout) && ran.code == Some(0),
                "a backup is lost",
                &ran,
            );
        }
    }
}
