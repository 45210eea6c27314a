//! The Secret that holds the key of a repository.
//!
//! What it guarantees:
//!
//! * A key is made only for a bucket that holds nothing: a second cluster that is pointed at somebody's repository never invents a
//!   key that does not open it, and a Secret that lost its key is never filled with another one.
//! * The Secret exists before the repository does. A server that dies in between finds the key again; the other way round nobody could
//!   ever open what it made.
//! * Keys live in memory that is wiped, and in no message.

use std::collections::BTreeMap;

use ark_engine::{Env, Unlock};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::api::location::{KEY_IN_SECRET, REPOSITORY_KEY};
use crate::api::{ObjectMeta, SecretKey};

/// What lies at a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A repository.
    Repository,
    /// Nothing at all.
    Nothing,
}

/// What the Secret says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is no Secret of that name.
    NoSecret,
    /// The Secret has no such key.
    NoKey,
    /// It is there.
    Key,
}

/// What to do about the key.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Use the one that is there.
    Use,
    /// Make one.
    Create,
    /// Ask for help.
    Refuse(KeyError),
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The repository is somebody else's, or the Secret is gone.
    #[error(
        "there is a repository at {url}, and no Secret {secret} with its key. Take the key from the cluster that made it, or the \
         recovery key, and run: kubectl -n {namespace} create secret generic {secret} --from-file={key}=FILE"
    )]
    Missing {
        /// The namespace of ark's objects.
        namespace: String,
        /// The Secret.
        secret: String,
        /// The key in it.
        key: String,
        /// The location.
        url: String,
    },
    /// The Secret is there and holds something else.
    #[error(
        "the Secret {secret} has no key {key}: name the right one in spec.repositoryKey, or add it"
    )]
    NoKey {
        /// The Secret.
        secret: String,
        /// The key in it.
        key: String,
    },
    /// Nothing may be made here.
    #[error(
        "there is no repository at {url}, and a location whose accessMode is ReadOnly is not given one"
    )]
    ReadOnly {
        /// The location.
        url: String,
    },
}

/// Decides what to do about the key of a location.
pub fn decide(
    found: Found,
    holds: Holds,
    writable: bool,
    reference: &SecretKey,
    namespace: &str,
    url: &str,
) -> Action {
    match (found, holds) {
        (Found::NoKey, _) => Action::Refuse(KeyError::NoKey {
            secret: reference.name.clone(),
            key: reference.key.clone(),
        }),
        (_, Holds::Nothing) if !writable => Action::Refuse(KeyError::ReadOnly {
            url: url.to_owned(),
        }),
        (Found::Key, _) => Action::Use,
        (Found::NoSecret, Holds::Nothing) => Action::Create,
        (Found::NoSecret, Holds::Repository) => Action::Refuse(KeyError::Missing {
            namespace: namespace.to_owned(),
            secret: reference.name.clone(),
            key: reference.key.clone(),
            url: url.to_owned(),
        }),
    }
}

/// The Secret and key that a location names, or the default ones.
pub fn reference(named: Option<&SecretKey>) -> SecretKey {
    named.cloned().unwrap_or_else(|| SecretKey {
        name: REPOSITORY_KEY.to_owned(),
        key: KEY_IN_SECRET.to_owned(),
    })
}

/// The value of a key in a Secret; the Secret may be absent.
///
/// # Errors
/// The apiserver's.
pub async fn read(
    secrets: &Api<Secret>,
    reference: &SecretKey,
) -> Result<(Found, Zeroizing<Vec<u8>>), kube::Error> {
    let Some(secret) = secrets.get_opt(&reference.name).await? else {
        return Ok((Found::NoSecret, Zeroizing::default()));
    };
    let value = secret.data.unwrap_or_default().remove(&reference.key);
    Ok(match value {
        Some(ByteString(bytes)) => (Found::Key, Zeroizing::new(bytes)),
        None => (Found::NoKey, Zeroizing::default()),
    })
}

/// Makes a key and its Secret. If somebody was faster, theirs counts: read it again.
///
/// # Errors
/// The apiserver's.
pub async fn create(
    secrets: &Api<Secret>,
    reference: &SecretKey,
    env: &Env,
) -> Result<(), kube::Error> {
    let key = Zeroizing::new(env.bytes::<32>());
    let text = format!("{}\n", hex::encode(*key)).into_bytes();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(reference.name.clone()),
            labels: Some(BTreeMap::from([("component".to_owned(), "ark".to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(reference.key.clone(), ByteString(text))])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error),
    }
}

/// The key that opens a repository, from the bytes of its Secret: a raw key, or what `ark repo keys` prints.
///
/// # Errors
/// [`ark_engine::Error::NotAKey`].
pub fn unlock(bytes: &[u8]) -> Result<Unlock, ark_engine::Error> {
    Unlock::from_key_file(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_key_is_made_for_an_empty_bucket_only() {
        let reference = reference(None);
        assert_eq!(reference.name, "ark-repository-key");
        let says = |found, holds, writable| match decide(
            found,
            holds,
            writable,
            &reference,
            "heptio-ark",
            "s3://b/p",
        ) {
            Action::Use => "use".to_owned(),
            Action::Create => "create".to_owned(),
            Action::Refuse(error) => error.to_string(),
        };
        for (found, holds, writable, expected) in [
            (Found::NoSecret, Holds::Nothing, true, "create"),
            (Found::Key, Holds::Nothing, true, "use"),
            (Found::Key, Holds::Repository, true, "use"),
            (Found::Key, Holds::Repository, false, "use"),
            (
                Found::NoSecret,
                Holds::Repository,
                true,
                "kubectl -n heptio-ark create secret",
            ),
            (
                Found::NoSecret,
                Holds::Repository,
                false,
                "kubectl -n heptio-ark create secret",
            ),
            (Found::NoSecret, Holds::Nothing, false, "is ReadOnly"),
            (Found::Key, Holds::Nothing, false, "is ReadOnly"),
            (Found::NoKey, Holds::Nothing, true, "has no key key"),
            (Found::NoKey, Holds::Repository, true, "has no key key"),
        ] {
            let said = says(found, holds, writable);
            assert!(
                said.contains(expected),
                "{found:?} {holds:?} {writable}: {said}"
            );
        }
    }
}
