//! The Secrets of an installation: the credential of the bucket, the key of the repository, and the recovery key on its way.
//!
//! What it guarantees:
//!
//! * No manifest and no message holds what is in them; what is printed in their place is the command that makes them.
//! * A key of a repository that is there is never replaced by another one.
//! * The client needs no access to the bucket. A recovery key or passphrase goes to the server in a Secret of its own, which the server
//!   deletes as soon as the repository has a slot for it. While it is there it gives away no more than the Secret beside it does,
//!   which holds the repository's key for good.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::apply;
use super::error::{Doing, Error};
use super::labels;
use crate::api::location::{KEY_IN_SECRET, RECOVERY_KEY, RECOVERY_PASSPHRASE, REPOSITORY_KEY};
use crate::cluster::{Call, Cluster, Verb};

/// The Secret of the recovery key of the location `default`; the server may delete no other.
pub(super) const RECOVERY: &str = "ark-recovery-default";

/// A key of a Secret.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    /// The Secret.
    pub name: &'static str,
    /// The key in it.
    pub key: &'static str,
}

/// The credential of the bucket.
pub const CREDENTIAL: Name = Name {
    name: "cloud-credentials",
    key: "cloud",
};

const REPOSITORY: Name = Name {
    name: REPOSITORY_KEY,
    key: KEY_IN_SECRET,
};

/// Something secret, and the file that it is in.
pub struct Given {
    /// The file.
    pub file: PathBuf,
    /// What is in it.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// The second key to the repository.
pub enum Recovery {
    /// What somebody remembers.
    Passphrase(Given),
    /// A printable key.
    Key(Given),
}

/// The Secrets of an installation.
#[derive(Default)]
pub struct Secrets {
    /// The credential of the bucket.
    pub credential: Option<Given>,
    /// The key of a repository that another cluster made.
    pub repository_key: Option<Given>,
    /// The second key to the repository.
    pub recovery: Option<Recovery>,
}

impl Secrets {
    fn each(&self) -> Vec<(Name, &Given)> {
        let recovery = self.recovery.as_ref().map(|recovery| match recovery {
            Recovery::Passphrase(given) => (RECOVERY_PASSPHRASE, given),
            Recovery::Key(given) => (RECOVERY_KEY, given),
        });
        let given = |name: Name, given: &Option<Given>| given.as_ref().map(|_| name);
        let mut each = Vec::new();
        for (name, value) in [
            (given(CREDENTIAL, &self.credential), &self.credential),
            (
                given(REPOSITORY, &self.repository_key),
                &self.repository_key,
            ),
        ] {
            if let (Some(name), Some(value)) = (name, value) {
                each.push((name, value));
            }
        }
        if let Some((key, value)) = recovery {
            each.push((
                Name {
                    name: RECOVERY,
                    key,
                },
                value,
            ));
        }
        each
    }

    /// The commands that make them.
    pub fn commands(&self, namespace: &str) -> Vec<String> {
        self.each()
            .into_iter()
            .map(|(name, given)| {
                format!(
                    "kubectl -n {namespace} create secret generic {} --from-file={}={}",
                    name.name,
                    name.key,
                    given.file.display()
                )
            })
            .collect()
    }

    /// Puts them into the cluster.
    ///
    /// # Errors
    /// [`Error::OtherKey`]; the apiserver's.
    pub async fn apply(&self, cluster: &Cluster, namespace: &str) -> Result<(), Error> {
        for (name, given) in self.each() {
            let secret = secret(name, namespace, &given.bytes);
            if name.name == REPOSITORY.name {
                create(cluster, &secret, namespace).await?;
            } else {
                apply::apply(cluster, &secret).await?;
            }
        }
        Ok(())
    }
}

fn secret(name: Name, namespace: &str, bytes: &[u8]) -> Value {
    let data = BTreeMap::from([(name.key, ByteString(bytes.to_vec()))]);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name.name, "namespace": namespace, "labels": labels() },
        "type": "Opaque",
        "data": data,
    })
}

/// Makes the Secret of the repository's key, or sees that it is there with the same key.
async fn create(cluster: &Cluster, secret: &Value, namespace: &str) -> Result<(), Error> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let call = Call::new(Verb::Create, &path).with_body("application/json", secret.to_string());
    let doing = format!("make the Secret {}", REPOSITORY.name);
    match cluster.call(&call).await {
        Ok(_) => return Ok(()),
        Err(error) if error.api().is_some_and(|api| api.code == 409) => {}
        Err(error) => return Err(error).doing(doing),
    }
    let there = apply::get(cluster, &format!("{path}/{}", REPOSITORY.name)).await?;
    let key = |of: &Value| of["data"][REPOSITORY.key].clone();
    match there.is_some_and(|there| key(&there) == key(secret)) {
        true => Ok(()),
        false => Err(Error::OtherKey {
            secret: REPOSITORY.name.to_owned(),
            namespace: namespace.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_names_files_and_holds_nothing_of_them() {
        let given = |file: &str| Given {
            file: PathBuf::from(file),
            bytes: Zeroizing::new(b"very secret".to_vec()),
        };
        let secrets = Secrets {
            credential: Some(given("cloud.txt")),
            repository_key: Some(given("key")),
            recovery: Some(Recovery::Passphrase(given("words"))),
        };
        assert_eq!(
            secrets.commands("heptio-ark"),
            [
                "kubectl -n heptio-ark create secret generic cloud-credentials --from-file=cloud=cloud.txt",
                "kubectl -n heptio-ark create secret generic ark-repository-key --from-file=key=key",
                "kubectl -n heptio-ark create secret generic ark-recovery-default --from-file=passphrase=words",
            ]
        );
        assert_eq!(
            RECOVERY,
            crate::api::location::recovery_secret(super::super::location::DEFAULT)
        );
    }
}
