//! What makes a whole restore fail. What befalls single objects stands in the report.

use thiserror::Error;

use super::filter::FilterError;
use super::source::SourceError;
use crate::cluster;

/// What makes a whole restore fail.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The backup cannot be read.
    #[error("the backup cannot be read")]
    Source {
        /// Why.
        #[from]
        source: SourceError,
    },
    /// What the user asked for makes no sense.
    #[error("the restore cannot be planned")]
    Filter {
        /// Why.
        #[from]
        source: FilterError,
    },
    /// The cluster does not answer.
    #[error("the restore of the cluster cannot go on")]
    Cluster {
        /// Why.
        #[from]
        source: cluster::Error,
    },
    /// The backup has no API objects.
    #[error("the backup {backup:?} holds no API objects")]
    NoObjects {
        /// Its name.
        backup: String,
    },
}

impl RestoreError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RestoreError::Source { .. } => Some("`ark verify` names what is damaged".to_owned()),
            RestoreError::Filter { source } => source.hint(),
            RestoreError::Cluster { source } => source.hint(),
            RestoreError::NoObjects { .. } => None,
        }
    }
}
