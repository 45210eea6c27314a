//! Taking ark out of a cluster.
//!
//! What it guarantees:
//!
//! * Nothing in a bucket is touched: the server ends before its objects go, and the objects of backups are not the backups.
//! * The only key of a repository is not removed unless the caller has kept it or says that it may be lost.
//! * A namespace that ark did not make stays, and what others have in it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::apply::{called, delete, delete_path, get, until};
use super::error::Error;
use super::location::DEFAULT;
use super::secrets::CREDENTIAL;
use super::{COMPONENT, NAME, Options, Profile, definitions, objects};
use crate::api::API_VERSION;
use crate::api::location::{KEY_IN_SECRET, REPOSITORY_KEY, recovery_secret};
use crate::cluster::Cluster;

/// How long the server's pod may take to end: its own grace, and a little.
const POD_GOES: Duration = Duration::from_secs(45);

/// A Secret with the key of a repository.
pub struct RepositoryKey {
    /// The Secret.
    pub secret: String,
    /// The key in it.
    pub key: String,
    /// The locations whose repository it opens.
    pub locations: Vec<String>,
    /// Whether nothing says that another key opens them.
    pub only: bool,
    /// What it is.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// What there is of ark.
pub struct Installed {
    /// The namespace.
    pub namespace: String,
    /// Whether ark made it, so that it goes too.
    pub own_namespace: bool,
    /// The namespaces of other servers, which need the definitions.
    pub others: Vec<String>,
    /// How many Backup objects there are.
    pub backups: usize,
    /// The keys of repositories.
    pub keys: Vec<RepositoryKey>,
}

/// Looks at what there is.
///
/// # Errors
/// [`Error::NotInstalled`]; the apiserver's.
pub async fn look(cluster: &Cluster, namespace: &str) -> Result<Installed, Error> {
    let found = get(cluster, &format!("/api/v1/namespaces/{namespace}")).await?;
    let none = || Error::NotInstalled {
        namespace: namespace.to_owned(),
    };
    let found = found.ok_or_else(none)?;
    let base = format!("/apis/ark.heptio.com/v1/namespaces/{namespace}");
    let locations = get(cluster, &format!("{base}/backupstoragelocations")).await?;
    let deployment = get(
        cluster,
        &format!("/apis/apps/v1/namespaces/{namespace}/deployments/{NAME}"),
    )
    .await?;
    let own_namespace = super::is_own(Some(&found));
    if locations.is_none() && deployment.is_none() && !own_namespace {
        return Err(none());
    }
    let backups = get(cluster, &format!("{base}/backups")).await?;
    let mut keys = Vec::new();
    for ((secret, key), of) in references(&locations.unwrap_or_default()) {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
        let Some(found) = get(cluster, &path).await? else {
            continue;
        };
        let bytes: Option<ByteString> = serde_json::from_value(found["data"][&key].clone()).ok();
        if let Some(bytes) = bytes {
            keys.push(RepositoryKey {
                secret,
                key,
                only: of.iter().any(|(_, only)| *only),
                locations: of.into_iter().map(|(name, _)| name).collect(),
                bytes: Zeroizing::new(bytes.0),
            });
        }
    }
    let servers = format!("/apis/apps/v1/deployments?labelSelector={COMPONENT}%3D{NAME}");
    let servers = get(cluster, &servers).await?.unwrap_or_default();
    let others = servers["items"].as_array().into_iter().flatten();
    let others = others.filter_map(|server| server["metadata"]["namespace"].as_str());
    let others = others.filter(|other| *other != namespace);
    Ok(Installed {
        others: others.map(str::to_owned).collect(),
        namespace: namespace.to_owned(),
        own_namespace,
        backups: count(&backups),
        keys,
    })
}

fn count(list: &Option<Value>) -> usize {
    list.as_ref()
        .and_then(|list| list["items"].as_array())
        .map_or(0, Vec::len)
}

/// Which Secrets hold keys: of which locations, and whether each says that there is another key to its repository. Without locations
/// the default Secret may still hold one.
fn references(locations: &Value) -> BTreeMap<(String, String), Vec<(String, bool)>> {
    let mut references: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let default = (REPOSITORY_KEY.to_owned(), KEY_IN_SECRET.to_owned());
    for location in locations["items"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let named = &location["spec"]["repositoryKey"];
        let reference = match (text(&named["name"]), text(&named["key"])) {
            (Some(name), Some(key)) => (name, key),
            _ => default.clone(),
        };
        let conditions = location["status"]["conditions"].as_array();
        let another = conditions.into_iter().flatten().any(|condition| {
            condition["type"] == "RecoveryMissing" && condition["status"] == "False"
        });
        let name = text(&location["metadata"]["name"]).unwrap_or_default();
        references
            .entry(reference)
            .or_default()
            .push((name, !another));
    }
    references
        .entry(default)
        .or_insert_with(|| vec![("a location that is not there any more".to_owned(), true)]);
    references
}

impl Installed {
    /// Refuses to go on if a key would be lost.
    ///
    /// # Errors
    /// [`Error::LastKey`].
    pub fn check_keys(&self) -> Result<(), Error> {
        let only: Vec<&RepositoryKey> = self.keys.iter().filter(|key| key.only).collect();
        if only.is_empty() {
            return Ok(());
        }
        let join = |names: Vec<&str>| names.join(", ");
        Err(Error::LastKey {
            secrets: join(only.iter().map(|key| key.secret.as_str()).collect()),
            locations: join(
                only.iter()
                    .flat_map(|key| key.locations.iter().map(String::as_str))
                    .collect(),
            ),
        })
    }

    /// Removes everything, and waits until it is gone.
    ///
    /// # Errors
    /// [`Error::Late`]; the apiserver's.
    pub async fn remove(
        &self,
        cluster: &Cluster,
        within: Duration,
        mut told: impl FnMut(&str),
    ) -> Result<(), Error> {
        let namespace = &self.namespace;
        // Of the options only the namespace matters for what there is.
        let mut options = Options::new(namespace, "");
        options.profile = Profile::Full;
        let of = |kind: &str, name: &str| json!({ "kind": kind, "metadata": { "name": name, "namespace": namespace } });
        told("ending the server");
        delete(cluster, &of("Deployment", NAME)).await?;
        self.pods_gone(cluster, within.min(POD_GOES)).await?;
        self.remove_kinds(cluster, within, &mut told).await?;
        told("removing roles and the namespace");
        let mut rest = objects(&options);
        rest.reverse();
        rest.push(of("Secret", CREDENTIAL.name));
        rest.push(of("Secret", &recovery_secret(DEFAULT)));
        rest.push(of("Lease", "ark-server"));
        rest.extend(self.keys.iter().map(|key| of("Secret", &key.secret)));
        for object in &rest {
            if object["kind"] == "Namespace" && !self.own_namespace {
                continue;
            }
            delete(cluster, object).await?;
        }
        for object in &rest {
            if object["kind"] == "Namespace" && !self.own_namespace {
                continue;
            }
            gone(cluster, object, within).await?;
        }
        Ok(())
    }

    /// Removes the objects of ark's kinds, and the definitions too if nobody else needs them.
    async fn remove_kinds(
        &self,
        cluster: &Cluster,
        within: Duration,
        told: &mut impl FnMut(&str),
    ) -> Result<(), Error> {
        let definitions = definitions();
        if !self.others.is_empty() {
            told(&format!(
                "removing the objects of ark's kinds; the definitions stay, for the ark in {}",
                self.others.join(", ")
            ));
            for definition in &definitions {
                let plural = definition["spec"]["names"]["plural"]
                    .as_str()
                    .unwrap_or_default();
                let path = format!("/apis/{API_VERSION}/namespaces/{}/{plural}", self.namespace);
                delete_path(cluster, &path, plural).await?;
            }
            return Ok(());
        }
        told("removing the definitions and all objects of them");
        for definition in &definitions {
            delete(cluster, definition).await?;
        }
        for definition in &definitions {
            gone(cluster, definition, within).await?;
        }
        Ok(())
    }

    /// The server must have ended before its objects go: it would make those of the backups in the bucket again. A pod of a node
    /// that does not answer is not waited for for ever; it has lost its account by the time it comes back.
    async fn pods_gone(&self, cluster: &Cluster, within: Duration) -> Result<(), Error> {
        let deadline = std::time::Instant::now() + within;
        let path = format!(
            "/api/v1/namespaces/{}/pods?labelSelector={COMPONENT}%3D{NAME}",
            self.namespace
        );
        while count(&get(cluster, &path).await?) > 0 && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }
}

async fn gone(cluster: &Cluster, object: &Value, within: Duration) -> Result<(), Error> {
    until(cluster, object, within, |found| match found {
        None => Ok(()),
        Some(found) => {
            let finalizers = &found["metadata"]["finalizers"];
            let held = finalizers.as_array().is_some_and(|list| !list.is_empty());
            Err(match held {
                true => format!(
                    "the {} is still there, with finalizers {finalizers}",
                    called(object)
                ),
                false => "it is still there".to_owned(),
            })
        }
    })
    .await
}

/// Removes what other options had asked for.
///
/// # Errors
/// The apiserver's.
pub async fn surplus(cluster: &Cluster, options: &Options) -> Result<(), Error> {
    for object in super::rbac::surplus(options) {
        let what = called(&object);
        if let Some(path) = super::apply::path(&object) {
            delete_path(cluster, &path, &what).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_only_one_unless_the_location_says_otherwise() {
        let location = |name: &str, secret: Option<&str>, missing: Option<&str>| {
            json!({
                "metadata": { "name": name },
                "spec": { "repositoryKey": secret.map(|name| json!({"name": name, "key": "k"})) },
                "status": { "conditions": missing.map(|status| json!([{"type": "RecoveryMissing", "status": status}])) },
            })
        };
        let key = |secret: &str, key: &str| (secret.to_owned(), key.to_owned());
        let found = references(&json!({ "items": [
            location("a", None, Some("False")),
            location("b", None, Some("True")),
            location("c", Some("s"), Some("False")),
            location("d", Some("t"), Some("Unknown")),
            location("e", Some("u"), None),
        ]}));
        let of = |name: &str, only| (name.to_owned(), only);
        assert_eq!(
            found[&key("ark-repository-key", "key")],
            [of("a", false), of("b", true)]
        );
        assert_eq!(found[&key("s", "k")], [of("c", false)]);
        assert_eq!(found[&key("t", "k")], [of("d", true)]);
        assert_eq!(found[&key("u", "k")], [of("e", true)]);
        let none = references(&Value::Null);
        assert!(none[&key("ark-repository-key", "key")][0].1);
    }
}
