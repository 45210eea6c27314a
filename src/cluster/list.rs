//! A collection, read page by page as raw JSON.
//!
//! Items are slices of the answer: no object is taken apart or built again, so what is stored is byte for byte what the
//! apiserver sent. While one page is worked on the next is already on its way. Memory holds two pages of one list; when
//! objects are large, the next pages ask for fewer of them.
//!
//! A continue token lives for minutes. When it expires, the apiserver offers one that goes on after the same key in a newer
//! state; where it does not, the list starts again and everything up to the last key is passed over. Both need the
//! keys to come in order; who works on the items checks that, and calls [`Lister::unordered`] if not.

use tokio::task::JoinHandle;

use super::call::{Call, Verb};
use super::connect::Cluster;
use super::error::{Error, Result};
use super::page::Page;
use super::resource::{Resource, push_encoded};

/// How many objects a page asks for at most.
pub const PAGE_LIMIT: u32 = 500;
/// How many bytes a page should hold. Pages that hold much more make the next ones ask for fewer objects.
const PAGE_BYTES: usize = 4 << 20;
/// Objects as they are.
const JSON: &str = "application/json";
/// Their metadata; a server that cannot cut them down sends them as they are.
const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// How often a list may expire before it is given up.
const MAX_EXPIRIES: u32 = 20;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only what this selects, in kubectl's notation.
    pub label_selector: Option<String>,
    /// Only what this selects, as `metadata.name=x`.
    pub field_selector: Option<String>,
    /// How many objects a page asks for at most; 0 means [`PAGE_LIMIT`].
    pub page_limit: u32,
    /// Ask for the metadata of the objects alone.
    pub metadata_only: bool,
}

/// A list under way.
pub struct Lister {
    cluster: Cluster,
    path: String,
    accept: &'static str,
    most: u32,
    limit: u32,
    next: Next,
    pending: Option<JoinHandle<Result<Page>>>,
    prefetching: bool,
    last: Option<String>,
    skipping: bool,
    ordered: bool,
    expiries: u32,
}

enum Next {
    Start,
    Token(String),
    End,
}

impl Lister {
    /// A list in the resource's preferred version.
    pub fn new(cluster: &Cluster, resource: &Resource, options: &ListOptions) -> Lister {
        let mut path = resource.collection_path(options.namespace.as_deref());
        let most = if options.page_limit == 0 {
            PAGE_LIMIT
        } else {
            options.page_limit
        };
        let mut separator = '?';
        let selectors = [
            ("labelSelector", &options.label_selector),
            ("fieldSelector", &options.field_selector),
        ];
        for (name, value) in selectors {
            if let Some(value) = value {
                path.push(separator);
                path.push_str(name);
                path.push('=');
                push_encoded(&mut path, value);
                separator = '&';
            }
        }
        Lister {
            cluster: cluster.clone(),
            path,
            accept: match options.metadata_only {
                true => METADATA,
                false => JSON,
            },
            most,
            limit: most,
            next: Next::Start,
            pending: None,
            prefetching: true,
            last: None,
            skipping: false,
            ordered: true,
            expiries: 0,
        }
    }

    /// The same, for who wants the first page only: the next one is fetched when it is asked for.
    pub fn without_prefetch(
        cluster: &Cluster,
        resource: &Resource,
        options: &ListOptions,
    ) -> Lister {
        let mut lister = Lister::new(cluster, resource, options);
        lister.prefetching = false;
        lister
    }

    /// The next page, or nothing after the last one.
    pub async fn next(&mut self) -> Result<Option<Page>> {
        loop {
            let mut page = match self.fetch().await {
                Ok(None) => return Ok(None),
                Ok(Some(page)) => page,
                Err(Error::Api(api)) if api.code == 410 && self.expiries < MAX_EXPIRIES => {
                    self.expiries += 1;
                    match api.continue_token {
                        Some(token) => self.next = Next::Token(token),
                        None => {
                            self.next = Next::Start;
                            self.skipping = self.ordered;
                        }
                    }
                    continue;
                }
                Err(Error::Api(api)) if api.code == 410 => {
                    return Err(Error::Expired {
                        path: self.path.clone(),
                        times: self.expiries,
                    });
                }
                Err(error) => return Err(error),
            };
            self.adapt(&page);
            self.next = match &page.continue_token {
                Some(token) => Next::Token(token.clone()),
                None => Next::End,
            };
            self.prefetch();
            if self.skipping {
                page.skip_to_after(self.last.as_deref(), &self.path)?;
                if page.is_empty() {
                    continue;
                }
                self.skipping = false;
            }
            if let Some(item) = page.items().last() {
                self.last = Some(item?.key());
            }
            return Ok(Some(page));
        }
    }

    /// Tells the list that its keys do not come in order, so that nothing is passed over when it has to start again: the
    /// items of a list that was started again then come twice.
    pub fn unordered(&mut self) {
        self.ordered = false;
    }

    /// How often the list expired and went on in a newer state.
    pub fn expiries(&self) -> u32 {
        self.expiries
    }

    /// What is listed.
    pub fn path(&self) -> &str {
        &self.path
    }

    async fn fetch(&mut self) -> Result<Option<Page>> {
        if let Some(pending) = &mut self.pending {
            let outcome = pending.await;
            self.pending = None;
            // A task that was cancelled or panicked says nothing: the request is made again, here.
            if let Ok(outcome) = outcome {
                return outcome.map(Some);
            }
        }
        match self.url() {
            Some(url) => read_page(self.cluster.clone(), url, self.accept)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    fn prefetch(&mut self) {
        if self.prefetching
            && let Next::Token(_) = self.next
            && let Some(url) = self.url()
        {
            self.pending = Some(tokio::spawn(read_page(
                self.cluster.clone(),
                url,
                self.accept,
            )));
        }
    }

    fn url(&self) -> Option<String> {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let mut url = format!("{}{separator}limit={}", self.path, self.limit);
        match &self.next {
            Next::Start => {}
            Next::Token(token) => {
                url.push_str("&continue=");
                push_encoded(&mut url, token);
            }
            Next::End => return None,
        }
        Some(url)
    }

    fn adapt(&mut self, page: &Page) {
        let average = page.bytes() / page.len().max(1);
        let fitting = PAGE_BYTES / average.max(1);
        let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
        // Twice the target is still fine: most lists never change their limit.
        self.limit = if fitting.saturating_mul(2) >= self.limit && self.limit == self.most {
            self.most
        } else {
            fitting.clamp(10.min(self.most), self.most)
        };
    }
}

impl Drop for Lister {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending {
            pending.abort();
        }
    }
}

async fn read_page(cluster: Cluster, url: String, accept: &'static str) -> Result<Page> {
    let call = Call {
        accept,
        ..Call::new(Verb::List, url.as_str())
    };
    let body = cluster.call(&call).await?;
    Page::parse(body, &url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::cluster::fake;

    const PAGE: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"abc=","remainingItemCount":12},"items":[{"metadata":{"name":"a","namespace":"n"},"spec":{"x":[1,2]}}, {"metadata":{"name":"ü","namespace":"n"}}]}
"#;

    #[test]
    fn items_are_slices_of_the_answer() {
        let page = Page::parse(Bytes::from_static(PAGE.as_bytes()), "/x").unwrap();
        let items: Vec<_> = page.items().map(|item| item.unwrap()).collect();
        assert_eq!(
            items[0].raw,
            r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"x":[1,2]}}"#
        );
        assert_eq!(items[1].raw, r#"{"metadata":{"name":"ü","namespace":"n"}}"#);
        assert_eq!(items[1].key(), "n/ü");
        assert_eq!(
            (page.remaining(), page.has_more(), page.len()),
            (Some(12), true, 2)
        );
    }

    #[test]
    fn items_that_were_read_are_passed_over() {
        let mut page = Page::parse(Bytes::from_static(PAGE.as_bytes()), "/x").unwrap();
        page.skip_to_after(Some("n/a"), "/x").unwrap();
        assert_eq!(
            page.items()
                .map(|item| item.unwrap().key())
                .collect::<Vec<_>>(),
            ["n/ü"]
        );
        page.skip_to_after(Some("z"), "/x").unwrap();
        assert!(page.is_empty());
    }

    #[test]
    fn null_items_are_no_items_and_other_answers_are_errors() {
        let parse = |text: &'static str| Page::parse(Bytes::from_static(text.as_bytes()), "/x");
        assert!(parse(r#"{"metadata":{},"items":null}"#).unwrap().is_empty());
        assert!(
            !parse(r#"{"metadata":{"continue":""},"items":[]}"#)
                .unwrap()
                .has_more()
        );
        for bad in ["", "[]", "{\"items\":3}", "{\"items\":[1,]}", "<html>"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(
            Page::parse(Bytes::from_static(b"{\"a\":\"\xff\"}"), "/x"),
            Err(Error::NotText { .. })
        ));
        assert!(
            parse(r#"{"items":[3]}"#)
                .unwrap()
                .items()
                .next()
                .unwrap()
                .is_err()
        );
    }

    async fn keys(cluster: &Cluster) -> (Vec<String>, u32) {
        let discovery = crate::cluster::discovery::sample();
        let pods = discovery.find("", "pods").unwrap();
        let mut lister = Lister::new(cluster, pods, &ListOptions::default());
        let mut keys = Vec::new();
        while let Some(page) = lister.next().await.unwrap() {
            keys.extend(page.items().map(|item| item.unwrap().key()));
        }
        (keys, lister.expiries())
    }

    #[tokio::test]
    async fn an_expired_list_goes_on_with_the_token_it_is_given() {
        let cluster = fake::cluster(|path| match path {
            "/api/v1/pods?limit=500" => fake::page(&[("n", "a"), ("n", "b")], Some("old")),
            "/api/v1/pods?limit=500&continue=old" => fake::refuse(410, "Expired", Some("new")),
            "/api/v1/pods?limit=500&continue=new" => fake::page(&[("n", "c")], None),
            other => fake::refuse(404, other, None),
        });
        let (keys, expiries) = keys(&cluster.await).await;
        assert_eq!((keys.join(" ").as_str(), expiries), ("n/a n/b n/c", 1));
    }

    #[tokio::test]
    async fn an_expired_list_without_a_token_starts_again_behind_the_last_key() {
        let starts = std::sync::atomic::AtomicU32::new(0);
        let cluster = fake::cluster(move |path| match path {
            // The second time an object is gone, and a new one stands before the last key: neither brings doubles.
            "/api/v1/pods?limit=500" => {
                match starts.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                    0 => fake::page(&[("n", "a"), ("n", "b")], Some("one")),
                    _ => fake::page(&[("n", "a2"), ("n", "b")], Some("two")),
                }
            }
            "/api/v1/pods?limit=500&continue=one" => fake::refuse(410, "Expired", None),
            "/api/v1/pods?limit=500&continue=two" => fake::page(&[("n", "b2"), ("o", "c")], None),
            other => fake::refuse(404, other, None),
        });
        let (keys, expiries) = keys(&cluster.await).await;
        assert_eq!((keys.join(" ").as_str(), expiries), ("n/a n/b n/b2 o/c", 1));
    }

    #[tokio::test]
    async fn a_list_that_keeps_expiring_is_given_up() {
        let cluster = fake::cluster(|path| match path {
            "/api/v1/pods?limit=500" => fake::page(&[("n", "a")], Some("one")),
            _ => fake::refuse(410, "Expired", Some("one")),
        });
        let discovery = crate::cluster::discovery::sample();
        let mut lister = Lister::new(
            &cluster.await,
            discovery.find("", "pods").unwrap(),
            &ListOptions::default(),
        );
        assert_eq!(lister.next().await.unwrap().unwrap().len(), 1);
        assert!(matches!(
            lister.next().await,
            Err(Error::Expired {
                times: MAX_EXPIRIES,
                ..
            })
        ));
    }
}
