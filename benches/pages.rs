//! A bucket in memory that lists as S3 does: in the order of keys, a thousand at a time, and only as far as somebody reads on.
//!
//! Without that a listing of which only the beginning is read would cost what is in the bucket, here and in no real one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

const PAGE: usize = 1000;

#[derive(Clone, Debug, Default)]
pub struct Pages {
    objects: Arc<InMemory>,
    listed: Arc<Mutex<BTreeMap<Path, ObjectMeta>>>,
    /// The sizes of the pages that were asked for by those who give one.
    pub asked: Arc<Mutex<Vec<usize>>>,
}

impl Pages {
    fn listed(&self) -> MutexGuard<'_, BTreeMap<Path, ObjectMeta>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, prefix: &str, after: Option<Path>, keys: usize) -> Vec<ObjectMeta> {
        let from = match after {
            Some(last) => Bound::Excluded(last),
            None => Bound::Included(Path::from(prefix)),
        };
        let listed = self.listed();
        let below = listed
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_ref().starts_with(prefix));
        let below = below.filter(|(key, _)| {
            prefix.is_empty() || key.as_ref().as_bytes().get(prefix.len()) == Some(&b'/')
        });
        below.take(keys).map(|(_, meta)| meta.clone()).collect()
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pages")
    }
}

#[async_trait]
impl ObjectStore for Pages {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let result = self.objects.put_opts(path, payload, options).await?;
        let meta = self.objects.head(path).await?;
        self.listed().insert(path.clone(), meta);
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let pages = self.clone();
        paths
            .and_then(move |path| {
                let pages = pages.clone();
                async move {
                    pages.objects.delete(&path).await?;
                    pages.listed().remove(&path);
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.map_or_else(String::new, Path::to_string);
        let start = Some((self.clone(), prefix, None));
        stream::unfold(start, |state| async {
            let (pages, prefix, after) = state?;
            let page = pages.page(&prefix, after, PAGE);
            let last = page.last().map(|meta| meta.location.clone());
            let next = match page.len() {
                PAGE => Some((pages, prefix, last)),
                _ => None,
            };
            Some((stream::iter(page.into_iter().map(Ok)), next))
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[async_trait]
impl PaginatedListStore for Pages {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let keys = options.max_keys.unwrap_or(PAGE).min(PAGE);
        let prefix = prefix.unwrap_or_default().trim_end_matches('/');
        let objects = self.page(prefix, options.page_token.map(Path::from), keys);
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(keys);
        let last = objects.last().map(|meta| meta.location.to_string());
        Ok(PaginatedListResult {
            page_token: last.filter(|_| objects.len() == keys),
            result: ListResult {
                common_prefixes: Vec::new(),
                objects,
                extensions: Default::default(),
            },
        })
    }
}
