//! Create-if-absent, and the truth about it.
//!
//! A failed answer says little: S3 answers 409 "exists" though it wrote nothing, a repeated request
//! answers 412 because the first one, whose reply was lost, did write. So after any error the key
//! is read. Our bytes there mean that we created it: everything ark writes holds a fresh nonce or
//! salt, so that nobody else's object has the same bytes. Other bytes mean that somebody else did.
//! Nothing there means that it did not happen, and it is tried again, since a second Create can do
//! no harm. Only when the store does not answer is the outcome left open
//! ([`StoreError::Unreachable`]).

use std::time::Duration;

use bytes::Bytes;
use object_store::{Attribute, Attributes, PutMode, PutOptions, PutPayload};
use tokio::time::Instant;

use super::counters::add;
use super::error::{Cause, StoreError};
use super::{ANSWER, Store};

/// Attempts of one Create while the store answers.
const ATTEMPTS: u32 = 6;

/// The slowest upload that still counts as alive, bytes per second.
const SLOWEST: u64 = 64 << 10;

/// Seconds to wait for a store that just did not answer, when only the outcome is in question.
const AFTERTHOUGHT: u64 = 5;

/// Bytes of a foreign object that are read to hand them to the caller.
const LARGEST: u64 = 256 << 20;

/// Where objects get the storage class asked for.
const CLASSED: &str = "packs/data/";

/// What a Create found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The object is ours.
    New,
    /// Somebody else's object was there; these are its bytes.
    Exists(Bytes),
}

impl Store {
    /// Creates an object if there is none under this key. The bytes must be unlike those of any
    /// other writer (a nonce in them): see this module's text.
    pub async fn create(&self, key: &str, bytes: Bytes) -> Result<Created, StoreError> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(100);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failed = match self.put(key, bytes.clone()).await {
                Ok(()) => return Ok(Created::New),
                Err(failed) => failed,
            };
            let away = matches!(failed, StoreError::Unreachable { .. });
            match self.existing(key, bytes.len() as u64, away).await {
                Ok(Some(found)) if found == bytes => {
                    self.settle(key).await?;
                    return Ok(Created::New);
                }
                Ok(Some(found)) => return Ok(Created::Exists(found)),
                Ok(None) if attempt >= ATTEMPTS || is_final(&failed) => return Err(failed),
                Ok(None) => {}
                Err(StoreError::Unreachable { .. }) if self.may_come_back(start) => {
                    tracing::warn!(error = %failed, key, "the store is away; trying again");
                    attempt -= 1;
                    pause = Duration::from_secs(2);
                }
                // The reason why the write failed says more than why it cannot be looked up, except
                // where the write only said "exists".
                Err(error) if matches!(failed, StoreError::Other { .. }) => return Err(error),
                Err(_) => return Err(failed),
            }
            tracing::debug!(error = %failed, key, attempt, "create failed, nothing is there; again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// One Create request.
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StoreError> {
        let path = self.path(key)?;
        self.still_there().await?;
        let inner = &self.inner;
        let size = bytes.len() as u64;
        if let Some(limit) = &inner.upload {
            limit.acquire(size).await;
        }
        add(&inner.counters.put, 1);
        add(&inner.counters.bytes_written, size);
        let mut attributes = Attributes::new();
        if let Some(class) = inner.storage_class.clone()
            && key.starts_with(CLASSED)
        {
            attributes.insert(Attribute::StorageClass, class.into());
        }
        let options = PutOptions {
            mode: PutMode::Create,
            attributes,
            ..PutOptions::default()
        };
        let payload = PutPayload::from_bytes(bytes);
        let sent = inner.objects.put_opts(&path, payload, options);
        let result = self.within(ANSWER + size / SLOWEST, key, sent).await;
        match result {
            Ok(_) => {
                inner
                    .answered
                    .store(true, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
            Err(StoreError::NotFound { url, .. }) if inner.remote => {
                Err(StoreError::NoSuchLocation {
                    url,
                    what: "the bucket or container does not exist".to_owned(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes under a key after a failed Create.
    async fn existing(
        &self,
        key: &str,
        ours: u64,
        away: bool,
    ) -> Result<Option<Bytes>, StoreError> {
        // A store that is away is asked a short question first, so that two long waits do not add up.
        if away && self.head_within(key, AFTERTHOUGHT).await?.is_none() {
            return Ok(None);
        }
        match self.read(key, None, ours.max(LARGEST)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// On a disk an object may have got its name before the failure and still not be durable.
    async fn settle(&self, key: &str) -> Result<(), StoreError> {
        if !self.is_local() {
            return Ok(());
        }
        let key = key.to_owned();
        self.on_disk(move |root, url| {
            root.sync_object(&key)
                .map_err(|error| super::local::disk(url, &key, &error))
        })
        .await
    }

    /// Proves that the store honours create-if-absent: of two Creates of one key with different
    /// bytes, the second must find the first's. The probe (`probe/<random>`) is deleted again;
    /// where that is not permitted it stays.
    pub async fn probe_create(&self) -> Result<(), StoreError> {
        let refused = |what: String| StoreError::NoCreateIfAbsent {
            url: self.url().to_owned(),
            what,
        };
        let name = random::<16>(self)?;
        let key = format!("probe/{}", hex::encode(name));
        let first = Bytes::copy_from_slice(&random::<32>(self)?);
        let second = Bytes::copy_from_slice(&random::<32>(self)?);
        match self.create(&key, first.clone()).await {
            Ok(Created::New) => {}
            Ok(Created::Exists(_)) => {
                return Err(refused("a new key was said to exist".to_owned()));
            }
            Err(StoreError::Unsupported { what, .. }) if !what.contains("hard link") => {
                return Err(refused(format!("it does not support {what}")));
            }
            Err(error) => return Err(error),
        }
        let again = self.create(&key, second).await;
        match self.delete(&key).await {
            Ok(()) => {}
            Err(error @ StoreError::PermissionDenied { .. }) => {
                tracing::debug!(%error, key, "the probe stays");
            }
            Err(error) => return Err(error),
        }
        match again? {
            Created::Exists(found) if found == first => Ok(()),
            Created::Exists(_) => Err(refused("an object changed while it was probed".to_owned())),
            Created::New => Err(refused(
                "the second of two creates overwrote the first".to_owned(),
            )),
        }
    }
}

/// Errors that another attempt does not cure.
fn is_final(error: &StoreError) -> bool {
    match error {
        StoreError::NoSuchLocation { .. }
        | StoreError::PermissionDenied { .. }
        | StoreError::Retained { .. }
        | StoreError::NoCredentials { .. }
        | StoreError::Full { .. }
        | StoreError::NoCreateIfAbsent { .. }
        | StoreError::BadUrl { .. }
        | StoreError::Unsupported { .. } => true,
        StoreError::NotFound { .. }
        | StoreError::Unreachable { .. }
        | StoreError::Truncated { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Other { .. } => false,
    }
}

fn random<const N: usize>(store: &Store) -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StoreError::Other {
        url: store.url().to_owned(),
        key: String::new(),
        source: Cause::new("the system gives no random bytes"),
    })?;
    Ok(bytes)
}
