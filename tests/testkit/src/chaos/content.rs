//! A namespace of a real cluster that one worker alone changes: between two changes it holds still, so that what a backup of it must
//! contain is known to the byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::{Api, collection};
use crate::dataset::random::Random;
use crate::dataset::text;

/// `Kind name` → the object as the API server gives it by itself.
pub(super) type Content = BTreeMap<String, Arc<str>>;

/// A kind of object that a namespace holds.
struct Kind {
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    /// Of a hundred objects.
    share: usize,
}

const KINDS: [Kind; 3] = [
    Kind {
        group: "",
        plural: "configmaps",
        kind: "ConfigMap",
        share: 60,
    },
    Kind {
        group: "",
        plural: "secrets",
        kind: "Secret",
        share: 25,
    },
    Kind {
        group: "apps",
        plural: "deployments",
        kind: "Deployment",
        share: 15,
    },
];

impl Kind {
    fn path(&self, namespace: &str) -> String {
        collection(self.group, "v1", self.plural, Some(namespace))
    }

    fn api_version(&self) -> &'static str {
        match self.group {
            "" => "v1",
            _ => "apps/v1",
        }
    }

    fn make(&self, name: &str, random: &mut Random) -> Value {
        let mut object = json!({"apiVersion": self.api_version(), "kind": self.kind,
            "metadata": {"name": name, "labels": {"app": text::word(random)}, "annotations": {"note": text::sentence(random)}}});
        self.fill(&mut object, random);
        object
    }

    /// Gives it new content.
    fn fill(&self, object: &mut Value, random: &mut Random) {
        match self.kind {
            "ConfigMap" => {
                let size = random.between(200, 3000);
                object["data"] = json!({"app.properties": text::properties(random, size)});
                // Some are large and do not compress, so that there is more than one frame, and packs to rewrite.
                if random.chance(6) {
                    let size = random.between(40_000, 160_000);
                    object["data"]["blob"] = text::base64(&random.bytes(size)).into();
                }
            }
            "Secret" => {
                let size = random.between(16, 2000);
                object["type"] = "Opaque".into();
                object["data"] = json!({"token": text::base64(&random.bytes(size))});
            }
            _ => {
                let app = text::word(random).to_owned();
                object["spec"] = json!({"replicas": random.between(0, 5), "selector": {"matchLabels": {"app": "x"}},
                    "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [
                        {"name": "main", "image": text::image(random, &app), "args": [text::sentence(random)]}]}}});
            }
        }
    }
}

/// A namespace of the source cluster.
pub(super) struct Namespace {
    api: Api,
    pub name: String,
    random: Random,
    /// The name of the next object.
    next: usize,
    content: Arc<Content>,
}

impl Namespace {
    /// Makes it, with so many objects.
    pub(super) async fn create(
        api: &Api,
        name: &str,
        objects: usize,
        random: Random,
    ) -> anyhow::Result<Namespace> {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        api.post("/api/v1/namespaces", &object)
            .await
            .with_context(|| format!("creating the namespace {name}"))?;
        let mut namespace = Namespace {
            api: api.clone(),
            name: name.to_owned(),
            random,
            next: 0,
            content: Arc::default(),
        };
        for _ in 0..objects {
            namespace.add().await?;
        }
        namespace.look().await?;
        Ok(namespace)
    }

    async fn add(&mut self) -> anyhow::Result<()> {
        let mut draw = self.random.below(100);
        let mut chosen = &KINDS[0];
        for kind in &KINDS {
            if draw < kind.share {
                chosen = kind;
                break;
            }
            draw -= kind.share;
        }
        let object = chosen.make(&format!("object-{}", self.next), &mut self.random);
        self.next += 1;
        let path = chosen.path(&self.name);
        self.api
            .post(&path, &object)
            .await
            .context("adding an object")?;
        Ok(())
    }

    /// Changes, adds and removes a few objects. The number stays about the same.
    pub(super) async fn churn(&mut self, objects: usize) -> anyhow::Result<()> {
        for _ in 0..self.random.between(1, 6) {
            let keys: Vec<String> = self.content.keys().cloned().collect();
            let key = &keys[self.random.below(keys.len())];
            let (kind, name) = key.split_once(' ').unwrap_or_default();
            let known = KINDS.iter().find(|known| known.kind == kind);
            let draw = self.random.below(100);
            let grow = self.content.len() < objects;
            match known {
                Some(kind) if draw < 70 => {
                    let mut patch = json!({"metadata": {"annotations": {"note": text::sentence(&mut self.random)}}});
                    if draw < 40 {
                        kind.fill(&mut patch, &mut self.random);
                    }
                    let path = format!("{}/{name}", kind.path(&self.name));
                    match self.api.patch(&path, &patch).await {
                        // Deleted by this very churn.
                        Err(error) if error.code() == Some(404) => {}
                        patched => {
                            patched.context("changing an object")?;
                        }
                    }
                }
                Some(kind) if !grow => {
                    let path = format!("{}/{name}", kind.path(&self.name));
                    self.api.delete(&path).await.context("deleting an object")?;
                }
                _ => self.add().await?,
            }
        }
        self.look().await
    }

    /// What it holds now, which is what a backup must hold until the next change.
    pub(super) fn content(&self) -> &Arc<Content> {
        &self.content
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let mut content = Content::new();
        for kind in &KINDS {
            let items = self.api.list(&kind.path(&self.name), "").await;
            let items = items.context("listing what a backup must contain")?;
            for item in items {
                let whole = complete(item.get(), kind.kind, kind.api_version())?;
                self.keep(&mut content, whole)?;
            }
        }
        let only = format!("&fieldSelector=metadata.name={}", self.name);
        for item in self.api.list("/api/v1/namespaces", &only).await? {
            let whole = complete(item.get(), "Namespace", "v1")?;
            self.keep(&mut content, whole)?;
        }
        self.content = Arc::new(content);
        Ok(())
    }

    /// What did not change shares its memory with what was there before: many backups are remembered.
    fn keep(&self, content: &mut Content, whole: String) -> anyhow::Result<()> {
        let key = key(&whole)?;
        let before = self.content.get(&key).filter(|old| ***old == *whole);
        let whole = before.map_or_else(|| Arc::from(whole), Arc::clone);
        content.insert(key, whole);
        Ok(())
    }
}

/// Items of a list lack what stands once in the list.
fn complete(item: &str, kind: &str, api_version: &str) -> anyhow::Result<String> {
    let Some(rest) = item.strip_prefix("{\"metadata\":") else {
        bail!("an item of a list begins unlike the others: {item:.80}");
    };
    Ok(format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{rest}"
    ))
}

fn key(object: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Head {
        kind: String,
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    let head: Head = serde_json::from_str(object).context("reading an object")?;
    Ok(format!("{} {}", head.kind, head.metadata.name))
}

/// What `ark backup cat -o json` printed.
pub(super) fn printed(stdout: &str) -> anyhow::Result<Content> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let list: List<'_> = serde_json::from_str(stdout).context("reading a list of objects")?;
    let mut content = Content::new();
    for item in list.items {
        if content
            .insert(key(item.get())?, Arc::from(item.get()))
            .is_some()
        {
            bail!("an object is there twice: {}", key(item.get())?);
        }
    }
    Ok(content)
}

/// In what two contents differ; none if they are equal to the byte.
pub(super) fn difference(expected: &Content, found: &Content) -> Option<String> {
    let keys = expected.keys().chain(found.keys());
    let differs = |key: &&String| expected.get(*key) != found.get(*key);
    let mut keys: Vec<&String> = keys.filter(differs).collect();
    keys.dedup();
    let first = keys.first()?;
    Some(format!(
        "{} objects differ, the first is {first}:\nexpected {:?}\nfound    {:?}",
        keys.len(),
        expected.get(*first),
        found.get(*first)
    ))
}

/// The part of an object that a restore must bring back as it was.
fn restored_part(object: &Value) -> Value {
    let own = |map: &Value| -> Value {
        let entries = map.as_object().into_iter().flatten();
        let entries = entries.filter(|(name, _)| !name.contains("ark.heptio.com/"));
        Value::Object(entries.map(|(k, v)| (k.clone(), v.clone())).collect())
    };
    json!({"data": object["data"], "type": object["type"], "spec": object["spec"],
        "labels": own(&object["metadata"]["labels"]), "annotations": own(&object["metadata"]["annotations"])})
}

/// Removes what an earlier restore has put into a namespace.
pub(super) async fn clear(api: &Api, namespace: &str) -> anyhow::Result<()> {
    for kind in &KINDS {
        api.delete(&kind.path(namespace))
            .await
            .context("clearing a namespace")?;
    }
    Ok(())
}

/// In what a namespace differs from a backup that was restored into it; none if it does not.
pub(super) async fn restored_difference(
    api: &Api,
    namespace: &str,
    expected: &Content,
) -> anyhow::Result<Option<String>> {
    let mut parts = BTreeMap::new();
    for (key, object) in expected {
        if !key.starts_with("Namespace ") {
            let object: Value = serde_json::from_str(object).context("reading an object")?;
            parts.insert(key.clone(), restored_part(&object));
        }
    }
    let mut found = BTreeMap::new();
    for kind in &KINDS {
        for item in api.list(&kind.path(namespace), "").await? {
            let whole = complete(item.get(), kind.kind, kind.api_version())?;
            let object: Value = serde_json::from_str(&whole).context("reading an object")?;
            found.insert(key(&whole)?, restored_part(&object));
        }
    }
    let keys = parts.keys().chain(found.keys());
    Ok(keys
        .filter(|key| parts.get(*key) != found.get(*key))
        .map(|key| {
            format!(
                "{key}: expected {:?}, found {:?}",
                parts.get(key),
                found.get(key)
            )
        })
        .next())
}
