//! Records of restores, kept in the repository so that any client can show them.

use ark_format::documents::RestoreRecord;
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};
use serde::Serialize;

use crate::error::DamagedAt;
use crate::repository::Repository;
use crate::{Error, Result};

/// A restore's line in a list.
#[derive(Clone, Debug, Serialize)]
pub struct RestoreSummary {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The backup's name.
    pub backup: String,
    /// Unix ms.
    pub created: i64,
    /// The Restore as JSON.
    #[serde(skip)]
    pub document: Vec<u8>,
}

impl Repository {
    /// Keeps the record of a restore and returns its id.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn record_restore(&self, record: &RestoreRecord) -> Result<String> {
        let id = self.env().session_id();
        self.create_document(Kind::Restore, &layout::restore(id, 0), record)
            .await?;
        Ok(id.to_string())
    }

    /// The restores on record, newest first. Damaged records are left out; verify names them.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn restores(&self) -> Result<Vec<RestoreSummary>> {
        let mut restores = Vec::new();
        for object in self.store().list(layout::RESTORES).await? {
            let Some(Object::Restore(id, 0)) = layout::parse(&object.key) else {
                continue;
            };
            match self.restore_record(&id.to_string()).await {
                Ok(record) => restores.push(RestoreSummary {
                    id: id.to_string(),
                    name: record.name,
                    backup: record.backup,
                    created: id.unix_ms() as i64,
                    document: record.document,
                }),
                Err(error @ Error::Damaged { .. }) => {
                    tracing::warn!(%error, "a restore's record cannot be read")
                }
                Err(error) => return Err(error),
            }
        }
        restores.reverse();
        Ok(restores)
    }

    /// One restore's record.
    ///
    /// # Errors
    /// [`Error::NoSuchRestore`], [`Error::Damaged`], or the store's.
    pub async fn restore_record(&self, id: &str) -> Result<RestoreRecord> {
        let missing = || Error::NoSuchRestore {
            name: id.to_owned(),
        };
        let key = layout::restore(id.parse().map_err(|_| missing())?, 0);
        let open = |bytes: &[u8]| self.sealer().decode(Kind::Restore, &key, bytes).at(&key);
        let cache = &self.inner.cache;
        match cache.get_checked(self.store(), &key, None, open).await {
            Err(Error::Store(crate::store::StoreError::NotFound { .. })) => Err(missing()),
            record => record,
        }
    }
}
