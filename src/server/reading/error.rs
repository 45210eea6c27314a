//! Why something cannot be read, here and over the wire.

use ark_engine::store::StoreError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::server::told::told;

/// The result of reading.
pub type Result<T, E = ReadError> = std::result::Result<T, E>;

/// Why something cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The backup holds no API objects at all.
    #[error("the backup {backup} holds no objects")]
    NoObjects {
        /// The backup.
        backup: String,
    },
    /// The backup has no such resource.
    #[error("the backup {backup} has no resource {resource:?}")]
    NoResource {
        /// The backup.
        backup: String,
        /// What was asked for.
        resource: String,
    },
    /// The backup has no such object.
    #[error("the backup {backup} has no {resource} {object:?}")]
    NoObject {
        /// The backup.
        backup: String,
        /// The resource.
        resource: String,
        /// What was asked for.
        object: String,
    },
    /// A document is not what ark writes.
    #[error("the document of {of} cannot be read")]
    Document {
        /// Of what.
        of: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The repository failed.
    #[error("{doing}")]
    Engine {
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: ark_engine::Error,
    },
    /// The server says that it failed.
    #[error("{message}")]
    Told {
        /// What it says.
        message: String,
        /// Whether the repository is damaged.
        damage: bool,
    },
    /// The stream is not what it should be.
    #[error("the answer of ark's server cannot be used: {why}")]
    Broken {
        /// What is wrong with it.
        why: String,
    },
    /// Nobody takes the answer any more.
    #[error("nobody takes the answer")]
    Untaken,
}

/// Why something cannot be read, as the wire has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    /// [`ReadError::NoObjects`].
    NoObjects {
        /// The backup.
        backup: String,
    },
    /// [`ReadError::NoResource`].
    NoResource {
        /// The backup.
        backup: String,
        /// What was asked for.
        resource: String,
    },
    /// [`ReadError::NoObject`].
    NoObject {
        /// The backup.
        backup: String,
        /// The resource.
        resource: String,
        /// What was asked for.
        object: String,
    },
    /// Anything else.
    Other {
        /// What and why.
        message: String,
        /// Whether the repository is damaged.
        damage: bool,
    },
}

impl From<&ReadError> for Failure {
    fn from(error: &ReadError) -> Failure {
        match error {
            ReadError::NoObjects { backup } => Failure::NoObjects {
                backup: backup.clone(),
            },
            ReadError::NoResource { backup, resource } => Failure::NoResource {
                backup: backup.clone(),
                resource: resource.clone(),
            },
            ReadError::NoObject {
                backup,
                resource,
                object,
            } => Failure::NoObject {
                backup: backup.clone(),
                resource: resource.clone(),
                object: object.clone(),
            },
            ReadError::Engine { doing, source } => Failure::Other {
                message: format!("{doing}: {}", told(source)),
                damage: is_damage(source),
            },
            ReadError::Document { source, .. } => Failure::Other {
                message: format!("{error}: {source}"),
                damage: true,
            },
            ReadError::Told { message, damage } => Failure::Other {
                message: message.clone(),
                damage: *damage,
            },
            ReadError::Broken { .. } | ReadError::Untaken => Failure::Other {
                message: error.to_string(),
                damage: false,
            },
        }
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> ReadError {
        match failure {
            Failure::NoObjects { backup } => ReadError::NoObjects { backup },
            Failure::NoResource { backup, resource } => ReadError::NoResource { backup, resource },
            Failure::NoObject {
                backup,
                resource,
                object,
            } => ReadError::NoObject {
                backup,
                resource,
                object,
            },
            Failure::Other { message, damage } => ReadError::Told { message, damage },
        }
    }
}

/// Names what was being done when the engine failed.
pub(super) trait Doing<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, ark_engine::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| ReadError::Engine {
            doing: doing.into(),
            source,
        })
    }
}

/// Whether it says that the repository is damaged.
pub fn is_damage(error: &ark_engine::Error) -> bool {
    use ark_engine::Error as E;
    matches!(
        error,
        E::Damaged { .. }
            | E::Missing { .. }
            | E::ChunkUnknown { .. }
            | E::PruneBlocked { .. }
            | E::RolledBack { .. }
            | E::Unconfirmed { .. }
            | E::Store(StoreError::Truncated { .. } | StoreError::TooLarge { .. })
    )
}
