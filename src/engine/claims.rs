//! Names of backups: unique within a cluster, by create-if-absent.
//!
//! A claim is never overwritten. A name is free when the session of its newest claim ended without a commit, or its
//! backup was forgotten; then the next claim has the next number.

use ark_format::documents::{Claim, ClusterRef};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};

use crate::repository::{Made, Repository};
use crate::session::{Session, is_dead};
use crate::store::StoreError;
use crate::view::{BackupRow, View};
use crate::{Error, Result};

impl Repository {
    /// Claims `name` for the backup of `session`; returns the bytes written.
    pub(crate) async fn claim(
        &self,
        view: &View,
        session: &Session,
        cluster: &ClusterRef,
        name: &str,
    ) -> Result<u64> {
        // Whatever has become of its claim.
        if held(view, cluster, name) {
            return Err(taken(name));
        }
        let hash = self.key_set().claim_hash(&cluster.id, name);
        loop {
            let newest = self
                .store()
                .list(&format!("{}{hash}/", layout::NAMES))
                .await?
                .into_iter()
                .filter_map(|object| match layout::parse(&object.key) {
                    Some(Object::Claim(_, number)) => Some((number, object.key)),
                    _ => None,
                })
                .max();
            let number = match newest {
                None => 0,
                Some((number, key)) => {
                    self.check_free(view, session, &key, name).await?;
                    number + 1
                }
            };
            let key = layout::claim(&hash, number);
            let claim = Claim {
                session: session.id,
                epoch: session.epoch,
                name: name.to_owned(),
                cluster: cluster.id.clone(),
            };
            if let Made::New { size } = self.create_document(Kind::Claim, &key, &claim).await? {
                return Ok(size);
            }
        }
    }

    async fn check_free(
        &self,
        view: &View,
        session: &Session,
        key: &str,
        name: &str,
    ) -> Result<()> {
        let mut read = self.read_document(Kind::Claim, key).await;
        if let Err(Error::Damaged { .. }) = read {
            // It may have been garbled on the way only.
            read = self.read_document(Kind::Claim, key).await;
        }
        let claim: Claim = match read {
            Ok(claim) => claim,
            // A claim that nobody can read holds no name; a backup would.
            Err(Error::Damaged { .. }) => return Ok(()),
            // Freed meanwhile.
            Err(Error::Store(StoreError::NotFound { .. })) => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(backup) = view.backup(&claim.session) {
            return match backup.forgotten {
                Some(_) => Ok(()),
                None => Err(taken(name)),
            };
        }
        // A commit that is damaged or was removed may come back; a fence in its place would prevent it.
        let commit = layout::manifest(claim.epoch, claim.session);
        if view.problems.iter().any(|(object, _)| *object == commit) {
            return Err(taken(name));
        }
        let open = self.open_sessions(view).await?;
        let Some(other) = open.iter().find(|s| s.id == claim.session) else {
            if claim.epoch < view.body.watermark || view.body.is_retired(&claim.session) {
                return Ok(());
            }
            // It may have committed since the view was made, and a prune have taken its pin.
            return match self.read_commit(claim.epoch, claim.session).await {
                Ok(Some(_)) => Err(taken(name)),
                Ok(None) | Err(Error::Store(StoreError::NotFound { .. })) => Ok(()),
                Err(error) => Err(error),
            };
        };
        let now = self.store_now(session).await?;
        if !is_dead(other, self.env().host.as_ref(), now) {
            let host = other
                .pin
                .as_ref()
                .map_or_else(String::new, |pin| pin.host.clone());
            return Err(Error::NameBusy {
                name: name.to_owned(),
                host,
            });
        }
        if self.fence(other.epoch, other.id, session.id).await? {
            Ok(())
        } else {
            Err(taken(name))
        }
    }
}

fn taken(name: &str) -> Error {
    Error::NameTaken {
        name: name.to_owned(),
    }
}

/// Whether a backup in force has the name.
fn held(view: &View, cluster: &ClusterRef, name: &str) -> bool {
    let holds = |b: &BackupRow| {
        b.forgotten.is_none() && b.row.name == name && b.row.cluster.id == cluster.id
    };
    view.backups.iter().any(holds)
}
