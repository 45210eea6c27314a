//! Why ark cannot be installed, renewed or removed.

use thiserror::Error as ThisError;

/// Why ark cannot be installed, renewed or removed.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The apiserver does not do what it is asked.
    #[error("cannot {doing}")]
    Cluster {
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: crate::cluster::Error,
    },
    /// An answer of the apiserver, or a manifest, is not what it should be.
    #[error("{what} is not an object that ark knows")]
    Shape {
        /// What it is.
        what: String,
    },
    /// Something has not come about in time.
    #[error("{what} after {seconds} s: {last}")]
    Late {
        /// What is still missing.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
    /// An older ark in the place of a newer one.
    #[error("ark {installed} is installed, and this is ark {own}")]
    Downgrade {
        /// What is there.
        installed: String,
        /// This one.
        own: String,
    },
    /// There is another repository key.
    #[error("the Secret {secret} in the namespace {namespace} holds another key")]
    OtherKey {
        /// The Secret.
        secret: String,
        /// Where.
        namespace: String,
    },
    /// Nothing is there.
    #[error("there is no ark in the namespace {namespace}")]
    NotInstalled {
        /// Where.
        namespace: String,
    },
    /// Something else made the Deployment.
    #[error("the Deployment ark in the namespace {namespace} does not say how it was installed")]
    Unknown {
        /// Where.
        namespace: String,
    },
    /// Removing ark would remove the only key of a repository.
    #[error("the Secret {secrets} may hold the only key to the backups in {locations}")]
    LastKey {
        /// The Secrets.
        secrets: String,
        /// The locations.
        locations: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Cluster { source, .. } => return source.hint(),
            Error::Shape { .. } => return None,
            Error::Late { .. } => {
                "it may still come about; `kubectl -n NAMESPACE logs deployment/ark` says more"
            }
            Error::Downgrade { .. } => "use an ark that is as new as the installed one",
            Error::OtherKey { .. } => {
                "a key is never replaced: backups may depend on it. Leave --repository-key-file out, or delete the Secret yourself"
            }
            Error::NotInstalled { .. } => "name its namespace with -n, or run `ark install`",
            Error::Unknown { .. } => {
                "upgrade it with what installed it, or run `ark install` over it"
            }
            Error::LastKey { .. } => {
                "keep the keys with --keys-out FOLDER; or make a recovery key first (`ark repo keys recovery`); or say --lose-keys"
            }
        };
        Some(hint.to_owned())
    }
}

/// Names what was being done.
pub(super) trait Doing<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, crate::cluster::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::Cluster {
            doing: doing.into(),
            source,
        })
    }
}
