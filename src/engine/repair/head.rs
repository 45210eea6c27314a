//! What a repair decides on, also where the head cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use ark_format::PackName;
use ark_format::documents::{Activity, EpochBody, EpochStub, Retired, SegmentRef};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};

use crate::confirmation::{Confirmed, Damage, Trailers};
use crate::index::Index;
use crate::repository::Repository;
use crate::session::{OpenSession, Session, is_dead};
use crate::store::StoreError;
use crate::view::{Head, View};
use crate::{Error, Result};

/// What a repair decides on.
pub(super) struct Facts {
    /// The repository as of the head; as of what is left, if the head cannot be read.
    pub view: View,
    /// Why the head cannot be read.
    pub head: Option<String>,
    /// The index that can be read, and nothing untrue of packs in it.
    pub index: Index,
    /// Segments that it has otherwise than their objects.
    pub corrected: BTreeSet<SegmentRef>,
    /// Packs that must confirm what a commit says of them and cannot, as their trailers are damaged.
    pub unconfirmed: BTreeSet<PackName>,
    /// Packs in the bucket, listed before the sessions were.
    pub listed: BTreeMap<PackName, u64>,
    /// Sessions listed before the commits were.
    pub open: Vec<OpenSession>,
}

/// Why an object that an epoch consists of cannot be used; `None` for errors that are no damage of it.
fn damage_of_head(error: &Error) -> Option<String> {
    let of_head = |key: &str| key.starts_with(layout::INDEX) || key.starts_with(layout::EPOCHS);
    match error {
        Error::Damaged { object, source } if of_head(object) => {
            Some(format!("{object} is damaged: {source}"))
        }
        // Without any stub there is no number to go on from.
        Error::Missing { object } if of_head(object) && object != layout::EPOCHS => {
            Some(format!("{object} is missing"))
        }
        Error::Store(StoreError::Truncated { .. }) => Some(error.to_string()),
        _ => None,
    }
}

fn pack_of(key: &str) -> Option<PackName> {
    match layout::parse(key) {
        Some(Object::Pack(name)) => Some(name),
        _ => None,
    }
}

impl Repository {
    /// The head, or an empty one in its place and what is wrong with it.
    async fn head_or_empty(&self) -> Result<(Head, Option<String>)> {
        let error = match self.head().await {
            Ok(head) => return Ok((head, None)),
            Err(error) => error,
        };
        let Some(what) = damage_of_head(&error) else {
            return Err(error);
        };
        let (number, hash) = self.newest_number().await?;
        let stub = EpochStub {
            number,
            parent_hash: [0; 32],
            body_key: String::new(),
            body_hash: [0; 32],
            body_size: 0,
            nonce: [0; 16],
            created: 0,
        };
        let body = EpochBody {
            number,
            ..EpochBody::default()
        };
        Ok((Head { stub, hash, body }, Some(what)))
    }

    /// The number of the newest epoch by its key, and the hash of its stub, readable or not.
    pub(super) async fn newest_number(&self) -> Result<(u64, [u8; 32])> {
        for object in self.store().list(layout::EPOCHS).await? {
            let key = &object.key;
            let Some(Object::EpochStub(number)) = layout::parse(key) else {
                continue;
            };
            let bytes = self.store().get(key).await?;
            match self.decode_signed::<EpochStub>(Kind::EpochStub, key, &bytes) {
                Err(Error::Forged { object }) => self.pass_over(object),
                _ => return Ok((number, *blake3::hash(&bytes).as_bytes())),
            }
        }
        Err(Error::Missing {
            object: layout::EPOCHS.to_owned(),
        })
    }

    /// A session as a prune's, also where the head cannot be read.
    pub(super) async fn open_repair_session(&self) -> Result<Session> {
        loop {
            match self.open_session(Activity::Prune).await {
                Ok((session, _)) => return Ok(session),
                Err(error) if damage_of_head(&error).is_none() => return Err(error),
                Err(_) => {}
            }
            let (number, hash) = self.newest_number().await?;
            if let Some(session) = self.pin(number, hash, Activity::Prune).await? {
                return Ok(session);
            }
        }
    }

    /// What the next epoch is decided from. `own` is absent for a plan, which ends no session.
    pub(super) async fn repair_facts(&self, own: Option<&Session>) -> Result<Facts> {
        for _ in 0..8 {
            let (head, what) = self.head_or_empty().await?;
            let number = head.stub.number;
            let mut listed = self.list_packs().await?.sizes;
            let earlier = self.view_at(head.clone()).await?;
            let mut open = self.open_sessions(&earlier).await?;
            open.retain(|session| own.is_none_or(|own| own.id != session.id));
            if what.is_some() {
                self.end_older_sessions(&open, own, number).await?;
            }
            let mut view = self.view_at(head).await?;
            if what.is_some() {
                // Nobody whose epoch is older can commit any more.
                view.body.watermark = number;
                let fences = view.fences.iter();
                let fences = fences.map(|(id, epoch)| Retired {
                    epoch: *epoch,
                    session: *id,
                });
                view.body.retired = fences.filter(|fence| fence.epoch >= number).collect();
            }
            let index = self.load_index(&view).await?;
            // Missing because the head has moved on is not damage.
            if index.lacks_segments && self.newest_number().await?.0 != number {
                continue;
            }
            // It absorbs what was committed since, as a prune does.
            let trailers = &mut Trailers::default();
            let Confirmed {
                index,
                corrected,
                unreadable,
                ..
            } = self
                .confirmed(&view, index, &mut listed, trailers, Damage::IsMended)
                .await?;
            let unconfirmed = unreadable.iter().filter_map(|(key, _)| pack_of(key));
            return Ok(Facts {
                view,
                head: what,
                index,
                corrected,
                unconfirmed: unconfirmed.collect(),
                listed,
                open,
            });
        }
        Err(Error::RepairBusy {
            by: "prunes that publish epochs all the time".to_owned(),
        })
    }

    /// Under a head that nobody can read: no process of an older epoch may commit, and no prune may be alive.
    async fn end_older_sessions(
        &self,
        open: &[OpenSession],
        own: Option<&Session>,
        number: u64,
    ) -> Result<()> {
        let now = match own {
            Some(own) => self.store_now(own).await?,
            None => self.env().clock.now_ms(),
        };
        let dead = |session: &OpenSession| is_dead(session, self.env().host.as_ref(), now);
        let prunes = |session: &&OpenSession| {
            let pin = session.pin.as_ref();
            pin.is_none_or(|pin| pin.activity == Activity::Prune) && !dead(session)
        };
        if let Some(prune) = open.iter().find(prunes) {
            return Err(Error::RepairBusy {
                by: prune.to_string(),
            });
        }
        let Some(own) = own else { return Ok(()) };
        for session in open {
            if session.epoch < number || dead(session) {
                self.fence(session.epoch, session.id, own.id).await?;
            }
        }
        Ok(())
    }
}
