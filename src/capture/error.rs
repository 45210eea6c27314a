//! What stops a capture. What only makes it incomplete is in the report instead.

use thiserror::Error;

use super::request::RequestErrors;
use crate::cluster;

/// The result of a capture.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What stops a capture.
#[derive(Debug, Error)]
pub enum Error {
    /// The spec cannot be meant for this cluster.
    #[error(transparent)]
    Request(#[from] RequestErrors),
    /// The cluster does not answer.
    #[error("cannot read the cluster")]
    Cluster(#[from] cluster::Error),
    /// The repository does not take what was read.
    #[error("cannot write the backup")]
    Engine(#[from] ark_engine::Error),
    /// A resource's entry could not be encoded.
    #[error("cannot encode the entry of {resource}")]
    Encode {
        /// The resource.
        resource: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The lists kept failing in the middle.
    #[error(
        "the cluster could not be read: {times} times a list failed after much of it had been stored"
    )]
    Unstable {
        /// How often it was tried.
        times: u32,
    },
    /// A task of the capture ended by itself.
    #[error("a task of the backup ended unexpectedly")]
    Task,
}
