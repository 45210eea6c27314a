//! A recovery key that somebody hands over: a Secret whose key gets a slot of the repository, and which is then deleted.
//!
//! It is the way to a second key for who cannot reach the bucket: `ark install` makes the Secret. What it guarantees:
//!
//! * The Secret is deleted only after the slot is in the repository. A server that dies in between finds that the key opens the repository
//!   already, and only deletes.
//! * Nothing of the key is in a log, an Event or a status.

use ark_engine::{OpenOptions, Repository, Role, Unlock};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::DeleteParams;
use secrecy::SecretString;
use thiserror::Error;
use zeroize::Zeroizing;

use super::context::Context;
use super::repositories::Opened;
use super::told::{chain, told};
use crate::api::BackupStorageLocation;
use crate::api::location::{RECOVERY_KEY, RECOVERY_PASSPHRASE, recovery_secret};

/// Why a recovery key was not added.
#[derive(Debug, Error)]
enum RecoveryError {
    #[error("the Secret {secret} cannot be {doing}")]
    Cluster {
        secret: String,
        doing: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error(
        "the Secret {secret} has neither a {RECOVERY_PASSPHRASE} nor a {RECOVERY_KEY} that could open a repository"
    )]
    Nothing { secret: String },
    #[error("the location is ReadOnly: who may write to it adds keys; delete the Secret {secret}")]
    ReadOnly { secret: String },
    #[error("the key in the Secret {secret} cannot be added: {}", told(source))]
    Engine {
        secret: String,
        source: Box<ark_engine::Error>,
    },
}

/// Adds the recovery key that lies ready for the location, if one does. What comes of it is told in an Event; the location works without.
pub async fn take(location: &BackupStorageLocation, opened: &Opened, context: &Context) {
    let name = location.name_any();
    let (good, reason, note) = match try_take(&name, opened, context).await {
        Ok(false) => return,
        Ok(true) => (
            true,
            "RecoveryKeyAdded",
            format!(
                "the recovery key opens the repository from now on, and the Secret {} is gone",
                recovery_secret(&name)
            ),
        ),
        Err(error) => (false, "RecoveryKeyNotAdded", chain(&error)),
    };
    tracing::info!(location = name, reason, "{note}");
    context.events.tell(location, good, reason, &note).await;
}

async fn try_take(
    location: &str,
    opened: &Opened,
    context: &Context,
) -> Result<bool, RecoveryError> {
    let secret = recovery_secret(location);
    let secrets = context.api::<Secret>();
    let cluster = |doing| {
        let secret = secret.clone();
        move |source| RecoveryError::Cluster {
            secret,
            doing,
            source: Box::new(source),
        }
    };
    let Some(found) = secrets.get_opt(&secret).await.map_err(cluster("read"))? else {
        return Ok(false);
    };
    if opened.read_only {
        return Err(RecoveryError::ReadOnly { secret });
    }
    let engine = |source: ark_engine::Error| RecoveryError::Engine {
        secret: secret.clone(),
        source: Box::new(source),
    };
    let unlock = unlock(found).ok_or_else(|| RecoveryError::Nothing {
        secret: secret.clone(),
    })?;
    if !opens(&opened.repository, &unlock).await {
        let added = opened.repository.add_key(&unlock, Role::Full).await;
        added.map_err(engine)?;
    }
    match secrets.delete(&secret, &DeleteParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        Err(error) => Err(cluster("deleted, though its key was added")(error)),
    }
}

/// Whether the key has a slot already. Whatever keeps it from opening the repository now: then a slot is added.
async fn opens(repository: &Repository, unlock: &Unlock) -> bool {
    let (store, env) = (repository.store().clone(), repository.env().clone());
    let opened = Repository::open(store, env, unlock, OpenOptions::default()).await;
    opened.is_ok()
}

fn unlock(secret: Secret) -> Option<Unlock> {
    let mut data = secret.data.unwrap_or_default();
    let mut take = |key: &str| data.remove(key).map(|bytes| Zeroizing::new(bytes.0));
    if let Some(bytes) = take(RECOVERY_PASSPHRASE) {
        // A file that was made with an editor ends in a line break.
        let text = std::str::from_utf8(&bytes).ok()?;
        let line = text.lines().next().filter(|line| !line.is_empty())?;
        return Some(Unlock::Passphrase(SecretString::from(line)));
    }
    Unlock::from_key_file(&take(RECOVERY_KEY)?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use k8s_openapi::ByteString;
    use secrecy::ExposeSecret;

    fn secret(key: &str, value: &[u8]) -> Secret {
        Secret {
            data: Some([(key.to_owned(), ByteString(value.to_vec()))].into()),
            ..Secret::default()
        }
    }

    #[test]
    fn a_passphrase_is_a_line_and_a_key_is_a_key_file() {
        for text in ["open sesame", "open sesame\n", "open sesame\r\nmore"] {
            match unlock(secret("passphrase", text.as_bytes())).unwrap() {
                Unlock::Passphrase(words) => assert_eq!(words.expose_secret(), "open sesame"),
                Unlock::Key(_) => panic!("{text:?} is no key"),
            }
        }
        let key = unlock(secret("key", "ab".repeat(32).as_bytes()));
        assert!(matches!(key, Some(Unlock::Key(_))));
        for (key, value) in [
            ("passphrase", &b"\nx"[..]),
            ("passphrase", b"\xff"),
            ("key", b"short"),
            ("other", b"open sesame"),
        ] {
            assert!(unlock(secret(key, value)).is_none(), "{key} {value:?}");
        }
    }
}
