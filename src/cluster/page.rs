//! A page of a list: the answer of the apiserver as it came, and where the items are in it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Error, Result};
use super::object::ObjectMetaView;

/// One page: the answer and where its items are in it.
#[derive(Debug, Clone)]
pub struct Page {
    body: Bytes,
    slices: Vec<Range<usize>>,
    /// Where the next page starts.
    pub(super) continue_token: Option<String>,
    remaining: Option<u64>,
    path: Arc<str>,
}

/// One item of a page.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    /// The object as the apiserver sent it.
    pub raw: &'a str,
    /// Its metadata.
    pub meta: ObjectMetaView<'a>,
}

impl Item<'_> {
    /// `namespace/name`, or the name of a cluster-scoped object: what lists are ordered by.
    pub fn key(&self) -> String {
        if self.meta.namespace.is_empty() {
            self.meta.name.to_string()
        } else {
            format!("{}/{}", self.meta.namespace, self.meta.name)
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    metadata: ListMeta<'a>,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta<'a> {
    #[serde(borrow, rename = "continue")]
    token: Option<Cow<'a, str>>,
    remaining_item_count: Option<u64>,
}

impl Page {
    /// Finds the items of an answer.
    pub fn parse(body: Bytes, path: &str) -> Result<Page> {
        let text = std::str::from_utf8(&body).map_err(|_| Error::NotText {
            path: path.to_owned(),
        })?;
        let envelope: Envelope<'_> =
            serde_json::from_str(text).map_err(|source| Error::Decode {
                path: path.to_owned(),
                source,
            })?;
        let start = text.as_ptr() as usize;
        let slices = envelope.items.unwrap_or_default();
        let slices = slices
            .into_iter()
            .map(|item| {
                let from = item.get().as_ptr() as usize - start;
                from..from + item.get().len()
            })
            .collect();
        let continue_token = envelope
            .metadata
            .token
            .filter(|token| !token.is_empty())
            .map(Cow::into_owned);
        let remaining = envelope.metadata.remaining_item_count;
        Ok(Page {
            slices,
            continue_token,
            remaining,
            path: Arc::from(path),
            body,
        })
    }

    /// The items.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = Result<Item<'_>>> {
        self.slices.iter().map(move |slice| self.item(slice))
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// How many bytes the answer has.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// How many items come after this page, where the apiserver says so.
    pub fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// Whether the apiserver has more.
    pub fn has_more(&self) -> bool {
        self.continue_token.is_some()
    }

    fn item(&self, slice: &Range<usize>) -> Result<Item<'_>> {
        let bytes = self.body.get(slice.clone()).unwrap_or_default();
        let raw = std::str::from_utf8(bytes).map_err(|_| Error::NotText {
            path: self.path.to_string(),
        })?;
        let meta = ObjectMetaView::parse(raw).map_err(|source| Error::Decode {
            path: self.path.to_string(),
            source,
        })?;
        Ok(Item { raw, meta })
    }

    pub(super) fn skip_to_after(&mut self, last: Option<&str>, path: &str) -> Result<()> {
        let Some(last) = last else { return Ok(()) };
        let mut skip = 0;
        for item in self.items() {
            let item = item?;
            if item.key().as_bytes() > last.as_bytes() {
                break;
            }
            skip += 1;
        }
        tracing::debug!(
            path,
            skip,
            "passing over items that were read before the list expired"
        );
        self.slices.drain(..skip);
        Ok(())
    }
}
