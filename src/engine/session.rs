//! Sessions: how a running process tells a prune what it must not touch.
//!
//! A pin names the epoch that its process looked at before it pinned. A prune drops a pack only if every open session
//! looked at an epoch in which the pack was condemned already, so no open session can rely on it. A session ends by its
//! commit, or by a fence created under the commit's own key, so that the two exclude each other: a process that was
//! declared dead cannot commit any more, whatever its clock says.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use ark_format::SessionId;
use ark_format::documents::{Activity, Fence, Heartbeat, Pin};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};

use crate::index::Index;
use crate::repository::{Made, Repository};
use crate::view::{Ending, View};
use crate::{Error, Result};

/// How often a long session gives a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(600);
/// How long after its last sign of life a session counts as dead.
pub const EXPIRY_MS: i64 = 30 * 60 * 1000;

/// An open session of this process. Dropping it stops its heartbeat but does not end it; [`Session::close`] does.
pub struct Session {
    repository: Repository,
    /// Its id.
    pub id: SessionId,
    /// The epoch in its key: a lower bound of what it looked at.
    pub epoch: u64,
    /// Bytes of the pin.
    pub pin_bytes: u64,
    heartbeat: tokio::task::JoinHandle<()>,
}

/// Another process's session, as its pin says.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// Its id.
    pub id: SessionId,
    /// The epoch in its key.
    pub epoch: u64,
    /// The last sign of life, by the store's clock, Unix ms.
    pub last_sign: i64,
    /// Its pin, if readable.
    pub pin: Option<Pin>,
    /// Whether the repository has no such epoch as it looked at: the bucket was put back to an older state since, and its
    /// number is above the head's or was given to another epoch. Or the pin cannot be read, and nobody knows.
    pub elsewhere: bool,
}

impl std::fmt::Display for OpenSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.pin {
            Some(pin) => write!(f, "{} ({:?} on {})", self.id, pin.activity, pin.host),
            None => write!(f, "{}", self.id),
        }
    }
}

impl Repository {
    /// Pins the repository and returns what it consists of.
    pub(crate) async fn open_session(&self, activity: Activity) -> Result<(Session, View)> {
        loop {
            let (stub, hash) = self.head_stub().await?;
            let Some(session) = self.pin(stub.number, hash, activity).await? else {
                continue;
            };
            // Looked at after the pin is there: what a prune decided without seeing the pin is visible now. If the head
            // has moved, a prune that never saw the pin may publish a watermark above it later still: begin again.
            let writes = matches!(activity, Activity::Backup | Activity::Prune);
            let looked = futures::join!(self.view(), async {
                match writes {
                    // Also those that were made since the repository was opened.
                    true => self.list_data_keys().await,
                    false => Ok(()),
                }
            });
            let view = match looked {
                (Ok(view), Ok(())) => view,
                (Err(error), _) | (_, Err(error)) => return Err(session.give_up(error).await),
            };
            if (view.number, view.hash) != (session.epoch, hash) {
                session.close().await?;
                continue;
            }
            return Ok((session, view));
        }
    }

    /// Creates a pin and nothing more; `None` if its key is taken.
    pub(crate) async fn pin(
        &self,
        epoch: u64,
        view_hash: [u8; 32],
        activity: Activity,
    ) -> Result<Option<Session>> {
        let id = self.env().session_id();
        let key = layout::session(epoch, id);
        let host = &self.env().host;
        let pin = Pin {
            activity,
            started: self.env().clock.now_ms(),
            host: host.name(),
            process: host.process(),
            view_hash,
        };
        // Noted before it is there: this may be dropped when the store has it already.
        self.opened().insert(id, epoch);
        let Made::New { size } = self.create_document(Kind::Session, &key, &pin).await? else {
            self.opened().remove(&id);
            return Ok(None);
        };
        Ok(Some(Session {
            heartbeat: tokio::spawn(beat(self.clone(), epoch, id)),
            repository: self.clone(),
            id,
            epoch,
            pin_bytes: size,
        }))
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, u64>> {
        let open = &self.inner.open;
        open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the sessions of work that was dropped before its end, so that no prune waits for them. Only for who has
    /// stopped all work on this repository: what still runs cannot commit any more.
    pub async fn end_sessions(&self) {
        let open = std::mem::take(&mut *self.opened());
        for (id, epoch) in open {
            if let Err(error) = self.fence(epoch, id, id).await {
                tracing::warn!(%id, %error, "the pin could not be ended; it expires by itself");
            }
        }
    }

    /// As [`Repository::open_session`], with the index of the view.
    pub(crate) async fn open_session_with_index(
        &self,
        activity: Activity,
    ) -> Result<(Session, View, Index)> {
        loop {
            let (session, view) = self.open_session(activity).await?;
            let checked = async {
                let index = self.load_index(&view).await?;
                let moved = index.lacks_segments && self.head_stub().await?.0.number != view.number;
                Ok((index, moved))
            };
            match checked.await {
                Ok((index, false)) => return Ok((session, view, index)),
                Ok((_, true)) => session.close().await?,
                Err(error) => return Err(session.give_up(error).await),
            }
        }
    }

    /// Ends a session of this process.
    pub(crate) async fn close_session(&self, epoch: u64, id: SessionId) -> Result<()> {
        self.fence(epoch, id, id).await?;
        self.opened().remove(&id);
        Ok(())
    }

    /// Ends a session that has not committed; `false` if it had.
    pub(crate) async fn fence(&self, epoch: u64, id: SessionId, by: SessionId) -> Result<bool> {
        let key = layout::manifest(epoch, id);
        let fence = Fence {
            by,
            at: self.env().clock.now_ms(),
        };
        match self.create_document(Kind::Fence, &key, &fence).await? {
            Made::New { .. } => Ok(true),
            Made::Exists(bytes) => {
                let ending = self.decode_ending(&key, id, &bytes)?;
                Ok(matches!(ending, Ending::Fence(_)))
            }
        }
    }

    /// The sessions that have neither committed nor been fenced, and that the watermark has not passed.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn open_sessions(&self, view: &View) -> Result<Vec<OpenSession>> {
        let ended = |id: &SessionId| view.fences.contains_key(id) || view.backup(id).is_some();
        let mut sessions: BTreeMap<SessionId, OpenSession> = BTreeMap::new();
        for object in self.store().list(layout::SESSIONS).await? {
            match layout::parse(&object.key) {
                Some(Object::Session(epoch, id)) if !ended(&id) && epoch >= view.body.watermark => {
                    let pin = self.read_document(Kind::Session, &object.key).await.ok();
                    let session = OpenSession {
                        id,
                        epoch,
                        last_sign: object.modified_ms,
                        pin,
                        elsewhere: false,
                    };
                    sessions.insert(id, session);
                }
                Some(Object::Heartbeat(_, id, _)) => {
                    if let Some(session) = sessions.get_mut(&id) {
                        session.last_sign = session.last_sign.max(object.modified_ms);
                    }
                }
                _ => {}
            }
        }
        // Not from the cache: it may hold the epoch that had the number before the bucket was put back.
        let mut hashes = BTreeMap::from([(view.number, Some(view.hash))]);
        for session in sessions.values_mut() {
            let looked_at = session.pin.as_ref().map(|pin| pin.view_hash);
            let there = match hashes.get(&session.epoch) {
                Some(hash) => *hash,
                None if session.epoch > view.number => None,
                None => {
                    let hash = self.hash_of_epoch(session.epoch).await?;
                    hashes.insert(session.epoch, hash);
                    hash
                }
            };
            session.elsewhere = looked_at.is_none() || looked_at != there;
        }
        Ok(sessions.into_values().collect())
    }
}

async fn beat(repository: Repository, epoch: u64, id: SessionId) {
    for number in 0.. {
        tokio::time::sleep(HEARTBEAT).await;
        let document = Heartbeat {
            at: repository.env().clock.now_ms(),
        };
        let key = layout::heartbeat(epoch, id, number);
        if let Err(error) = repository
            .create_document(Kind::Heartbeat, &key, &document)
            .await
        {
            tracing::warn!(%id, %error, "no sign of life could be given; a prune may end this session");
        }
    }
}

impl Session {
    /// The key of its commit.
    pub fn commit_key(&self) -> String {
        layout::manifest(self.epoch, self.id)
    }

    /// Ends it without a commit, so that a prune need not wait for its expiry.
    ///
    /// # Errors
    /// If the store fails; the session expires by itself then.
    pub async fn close(&self) -> Result<()> {
        self.heartbeat.abort();
        self.repository.close_session(self.epoch, self.id).await
    }

    /// Ends it because of an error, which it returns: that this fails too hides nothing.
    pub(crate) async fn give_up(&self, error: Error) -> Error {
        if let Err(second) = self.close().await {
            tracing::warn!(id = %self.id, error = %second, "the pin could not be ended; it expires by itself");
        }
        error
    }

    /// Stops the heartbeat of a session that has committed, or that another process has declared dead.
    pub fn ended(&self) {
        self.heartbeat.abort();
        self.repository.opened().remove(&self.id);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// Whether a session's process is gone, by its host's word.
pub fn is_gone(session: &OpenSession, host: &dyn crate::env::Host) -> bool {
    let pin = session.pin.as_ref();
    pin.and_then(|pin| host.alive(&pin.process)) == Some(false)
}

/// Whether a session counts as dead: its process is gone, or gave no sign of life for 30 minutes by the store's clock. A
/// wrong answer costs the session time, never data: it is fenced, and its writer has to go on with another one.
pub fn is_dead(session: &OpenSession, host: &dyn crate::env::Host, store_now: i64) -> bool {
    is_gone(session, host) || store_now - session.last_sign > EXPIRY_MS
}

/// Whether a session may rely on a pack that was condemned in `condemned`. One that looked at an epoch which is no longer
/// there, because the bucket was put back, may rely on anything: nobody knows what it found in that.
pub fn may_rely_on(session: &OpenSession, condemned: u64) -> bool {
    session.epoch < condemned || session.elsewhere
}

impl From<tokio::task::JoinError> for Error {
    fn from(_: tokio::task::JoinError) -> Error {
        Error::Stopped
    }
}
