//! What stores really answer when something goes wrong, produced on demand.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use ark_engine::store::{Created, Store, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use crate::gate::disk_says;

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The object is written, the reply is lost.
    LostReply,
    /// The object is written; the repeated request is told that it exists.
    LateExists,
    /// Nothing is written, yet "exists" is answered (S3's 409 among concurrent writers).
    FalseExists,
    /// Nothing is written.
    Refused,
    /// Somebody else writes first; our reply is an unclear error.
    Overtaken,
    /// The condition is ignored.
    Overwrites,
    /// The disk says this.
    Disk(io::ErrorKind),
    /// The body ends early.
    ShortBody,
}

#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    puts: Mutex<VecDeque<Fault>>,
    gets: Mutex<VecDeque<Fault>>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty memory")
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "faulty",
        source: "connection reset".into(),
    }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists {
        path: path.to_string(),
        source: "409".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.puts.lock().unwrap().pop_front();
        match fault {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::LostReply) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(lost())
            }
            Some(Fault::LateExists) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(exists(path))
            }
            Some(Fault::FalseExists) => Err(exists(path)),
            Some(Fault::Refused | Fault::ShortBody) => Err(lost()),
            Some(Fault::Overtaken) => {
                self.inner.put(path, "theirs".into()).await?;
                Err(lost())
            }
            Some(Fault::Overwrites) => {
                assert_eq!(options.mode, PutMode::Create);
                self.inner.put(path, payload).await
            }
            Some(Fault::Disk(kind)) => Err(disk_says(kind)),
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("multipart uploads cannot be conditional")
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.gets.lock().unwrap().pop_front();
        match fault {
            None => self.inner.get_opts(path, options).await,
            Some(Fault::ShortBody) => {
                let mut result = self.inner.get_opts(path, options).await?;
                let short = Bytes::from_static(b"sho");
                let body = futures::stream::iter([Ok(short)]);
                result.payload = GetResultPayload::Stream(Box::pin(body));
                Ok(result)
            }
            Some(Fault::Disk(kind)) => Err(disk_says(kind)),
            Some(_) => Err(lost()),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn store(puts: &[Fault], gets: &[Fault]) -> Store {
    let faulty = Faulty {
        inner: InMemory::new(),
        puts: Mutex::new(puts.iter().copied().collect()),
        gets: Mutex::new(gets.iter().copied().collect()),
    };
    Store::from_object_store(Arc::new(faulty), "faulty memory")
}

const OURS: Bytes = Bytes::from_static(b"ours");

async fn create(
    puts: &[Fault],
    gets: &[Fault],
) -> (Store, std::result::Result<Created, StoreError>) {
    let store = store(puts, gets);
    let result = store.create("k", OURS).await;
    (store, result)
}

#[tokio::test]
async fn our_own_object_is_new_however_the_reply_was_lost() {
    for fault in [Fault::LostReply, Fault::LateExists] {
        let (store, result) = create(&[fault], &[]).await;
        assert_eq!(result.unwrap(), Created::New, "{fault:?}");
        assert_eq!(store.counters().put, 1);
    }
}

#[tokio::test]
async fn what_was_not_written_is_written_again() {
    for fault in [Fault::FalseExists, Fault::Refused] {
        let (store, result) = create(&[fault, fault, fault], &[]).await;
        assert_eq!(result.unwrap(), Created::New, "{fault:?}");
        assert_eq!(store.counters().put, 4);
        assert_eq!(store.get("k").await.unwrap(), OURS);
    }
}

#[tokio::test]
async fn a_mixture_ends_in_the_truth() {
    use Fault::{FalseExists, LostReply, Overtaken, Refused};
    let (_, result) = create(&[FalseExists, Refused, LostReply], &[]).await;
    assert_eq!(result.unwrap(), Created::New);
    let (_, result) = create(&[FalseExists, Refused, Overtaken], &[]).await;
    assert_eq!(
        result.unwrap(),
        Created::Exists(Bytes::from_static(b"theirs"))
    );
}

#[tokio::test]
async fn an_outcome_that_cannot_be_looked_up_is_an_error() {
    let (_, result) = create(&[Fault::LostReply], &[Fault::Refused]).await;
    assert!(
        matches!(result, Err(StoreError::Other { .. })),
        "{result:?}"
    );
    // A short answer must not pass for somebody else's bytes.
    let (_, result) = create(&[Fault::LostReply], &[Fault::ShortBody]).await;
    assert!(
        matches!(result, Err(StoreError::Truncated { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (store, result) = create(&[Fault::FalseExists; 50], &[]).await;
    assert!(result.is_err());
    assert!(store.counters().put < 10);
}

#[tokio::test]
async fn a_full_disk_and_a_closed_folder_are_told_at_once() {
    let (store, result) = create(&[Fault::Disk(io::ErrorKind::StorageFull); 9], &[]).await;
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("ark prune"));
    assert_eq!(store.counters().put, 1);

    let (_, result) = create(&[Fault::Disk(io::ErrorKind::PermissionDenied); 9], &[]).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, StoreError::PermissionDenied { .. }),
        "{error:?}"
    );
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_short_body_is_never_returned() {
    let store = store(&[], &[Fault::ShortBody, Fault::ShortBody]);
    store
        .create("k", Bytes::from_static(b"a longer text"))
        .await
        .unwrap();
    let error = store.get("k").await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Truncated {
                expected: 13,
                found: 3,
                ..
            }
        ),
        "{error:?}"
    );
    let error = store.get_range("k", 2..8).await.unwrap_err();
    assert!(matches!(error, StoreError::Truncated { .. }), "{error:?}");
    assert_eq!(store.get_range("k", 2..8).await.unwrap(), "longer");
}

#[tokio::test]
async fn a_store_that_overwrites_is_found_out() {
    let store = store(&[Fault::Overwrites, Fault::Overwrites], &[]);
    let error = store.probe_create().await.unwrap_err();
    assert!(
        matches!(error, StoreError::NoCreateIfAbsent { .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("If-None-Match"));
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn the_probe_stands_faults() {
    use Fault::{FalseExists, LostReply, Refused};
    store(&[LostReply, FalseExists], &[])
        .probe_create()
        .await
        .unwrap();
    store(&[FalseExists, Refused], &[])
        .probe_create()
        .await
        .unwrap();
}
