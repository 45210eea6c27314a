//! Control objects: each is opened as what its key says it is.

use std::collections::BTreeSet;

use ark_format::config::Config;
use ark_format::documents::{
    Claim, EpochBody, EpochStub, Heartbeat, Pin, RestoreRecord, Tombstone, VerifyRecord,
};
use ark_format::envelope::Kind;
use ark_format::layout::{self, Object};
use ark_format::slot;
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::{Findings, VerifyMonitor};
use crate::data_keys;
use crate::error::DamagedAt;
use crate::index::Index;
use crate::repository::Repository;
use crate::reserve::ReserveDocument;
use crate::store::StoreError;
use crate::view::View;
use crate::{Error, Result};

/// Control objects read at once.
const FETCHES: usize = 8;

impl Repository {
    /// What must be there beside packs, manifests and segments.
    pub(super) fn verify_required(
        &self,
        control: &[(String, Object)],
        view: &View,
        findings: &mut Findings,
    ) {
        let there: BTreeSet<&str> = control.iter().map(|(key, _)| key.as_str()).collect();
        let own_slot = layout::slot(&self.inner.slot);
        let mut required = vec![layout::CONFIG.to_owned(), own_slot];
        required.extend((0..=view.number).map(layout::epoch_stub));
        // A cached copy hides that they are gone.
        let segments = view.segments.iter();
        required.extend(segments.map(|s| layout::segment(s.session, s.number)));
        for key in required {
            if !there.contains(key.as_str()) {
                findings.object(&key, "it is missing");
            }
        }
    }

    /// Reads the data keys that are there, and those that frames need. What this process has opened earlier proves nothing.
    pub(super) async fn verify_data_keys(
        &self,
        control: &[(String, Object)],
        index: &Index,
        findings: &mut Findings,
    ) -> Result<()> {
        let mut numbers = data_keys::used(index);
        numbers.extend(self.opened_data_keys());
        numbers.extend(control.iter().filter_map(|(_, object)| match object {
            Object::DataKey(number) => Some(*number),
            _ => None,
        }));
        for (number, what) in self.check_data_keys(&numbers).await? {
            findings.object(&layout::data_key(number), &what);
            findings.data_keys.insert(number, what.to_string());
        }
        Ok(())
    }

    /// Reads and opens every control object.
    pub(super) async fn verify_control(
        &self,
        control: &[(String, Object)],
        view: &View,
        findings: &mut Findings,
        monitor: &dyn VerifyMonitor,
    ) -> Result<()> {
        let total = control.len() as u64;
        let mut checks = stream::iter(control)
            .map(|(key, object)| async move {
                let result = match self.store().get(key).await {
                    Ok(bytes) => self.check_control(key, object, &bytes),
                    // A prune deletes what ended; what must be there is checked elsewhere.
                    Err(StoreError::NotFound { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                };
                (key, result)
            })
            .buffer_unordered(FETCHES)
            // Boxed: the compiler cannot see through it that the futures above are Send.
            .boxed();
        let mut done = 0;
        while let Some((key, result)) = checks.next().await {
            match result {
                Ok(()) => {}
                Err(Error::Damaged { object, source }) => findings.control(view, &object, source),
                Err(Error::Missing { object }) => findings.object(&object, "it is missing"),
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => findings.object(key, error),
            }
            done += 1;
            monitor.progress("control objects", done, total);
        }
        Ok(())
    }

    fn check_control(&self, key: &str, object: &Object, bytes: &Bytes) -> Result<()> {
        let sealer = self.sealer();
        let open = |kind| -> Result<()> {
            match kind {
                Kind::Session => sealer.decode::<Pin>(kind, key, bytes).map(drop).at(key),
                Kind::Heartbeat => sealer
                    .decode::<Heartbeat>(kind, key, bytes)
                    .map(drop)
                    .at(key),
                Kind::Claim => sealer.decode::<Claim>(kind, key, bytes).map(drop).at(key),
                Kind::Restore => sealer
                    .decode::<RestoreRecord>(kind, key, bytes)
                    .map(drop)
                    .at(key),
                Kind::Reserve => sealer
                    .decode::<ReserveDocument>(kind, key, bytes)
                    .map(drop)
                    .at(key),
                _ => sealer
                    .decode::<VerifyRecord>(kind, key, bytes)
                    .map(drop)
                    .at(key),
            }
        };
        match object {
            Object::Config => {
                let config = Config::decode(bytes).at(key)?;
                config
                    .authenticate(&self.key_set().settings_mac_key())
                    .map(drop)
                    .at(key)
            }
            Object::Slot(_) => slot::authenticate(self.key_set(), key, bytes)
                .map(drop)
                .at(key),
            Object::DataKey(number) => self.decode_data_key(*number, bytes).map(drop).at(key),
            Object::EpochStub(number) => {
                let stub: EpochStub = self.decode_signed(Kind::EpochStub, key, bytes)?;
                same(key, stub.number == *number)
            }
            Object::EpochBody(number) => {
                let body: EpochBody = sealer.decode(Kind::EpochBody, key, bytes).at(key)?;
                same(key, body.number == *number)
            }
            Object::Segment(..) => self.decode_segment(key, bytes, 0).map(drop),
            Object::Manifest(_, id) => self.decode_ending(key, *id, bytes).map(drop),
            Object::Tombstone(id, _) => {
                let stone: Tombstone = self.decode_signed(Kind::Tombstone, key, bytes)?;
                same(key, stone.session == *id)
            }
            Object::Undo(id, _) => {
                let stone: Tombstone = self.decode_signed(Kind::Undo, key, bytes)?;
                same(key, stone.session == *id)
            }
            Object::Session(..) => open(Kind::Session),
            Object::Heartbeat(..) => open(Kind::Heartbeat),
            Object::Claim(..) => open(Kind::Claim),
            Object::Restore(..) => open(Kind::Restore),
            Object::Reserve => open(Kind::Reserve),
            Object::Verify(_) => open(Kind::Verify),
            Object::Pack(_) => Ok(()),
        }
    }
}

fn same(key: &str, same: bool) -> Result<()> {
    if same {
        return Ok(());
    }
    let source = ark_format::DecodeError::Invalid("its content belongs to another key");
    Err(Error::Damaged {
        object: key.to_owned(),
        source,
    })
}
