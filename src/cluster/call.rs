//! One request to the apiserver: counted, retried with backoff, its refusal read.
//!
//! What is retried: 429, 500, 502, 503, 504 and broken connections, for every verb, after the time the apiserver asks for
//! or a growing pause. A create whose answer was lost is therefore sent again and may then be told `AlreadyExists`:
//! whoever creates must compare, which a restore does anyway. Nothing else is retried here.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::{Deserialize, Serialize};

use super::connect::Cluster;
use super::error::{ApiError, Error, Result};

/// What a request does. Requests are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Ask what the apiserver serves.
    Discover,
    /// Read one object.
    Get,
    /// Read a page of a collection.
    List,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change a part of an object.
    Patch,
    /// Delete an object.
    Delete,
}

impl Verb {
    const COUNT: usize = 7;

    fn method(self) -> http::Method {
        match self {
            Verb::Discover | Verb::Get | Verb::List => http::Method::GET,
            Verb::Create => http::Method::POST,
            Verb::Update => http::Method::PUT,
            Verb::Patch => http::Method::PATCH,
            Verb::Delete => http::Method::DELETE,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Discover => "discover",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        })
    }
}

/// How long to go on after failures that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often to try in all.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Patience {
    /// For the first contact: somebody waits, and a wrong address will not get better.
    pub const SHORT: Patience = Patience {
        attempts: 2,
        first: Duration::from_millis(200),
        longest: Duration::from_secs(1),
    };
    /// For work under way: survives the restart of an apiserver, about a minute.
    pub const LONG: Patience = Patience {
        attempts: 10,
        first: Duration::from_millis(200),
        longest: Duration::from_secs(10),
    };

    fn pause(&self, failed: u32, asked: Option<u64>) -> Duration {
        if let Some(seconds) = asked {
            return Duration::from_secs(seconds.min(60));
        }
        let full = self
            .first
            .saturating_mul(1 << failed.min(16))
            .min(self.longest);
        // Between half and all of it, so that clients that failed together do not come back together.
        let spread = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), failed) % 512;
        full / 2 + full.saturating_mul(spread as u32) / 1024
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// What it does.
    pub verb: Verb,
    /// Path and query.
    pub path: String,
    /// The form of the answer asked for.
    pub accept: &'static str,
    /// The form of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// How long to go on after failures.
    pub patience: Patience,
}

impl Call {
    /// A request for JSON, without a body.
    pub fn new(verb: Verb, path: impl Into<String>) -> Call {
        Call {
            verb,
            path: path.into(),
            accept: "application/json",
            content_type: "application/json",
            body: Bytes::new(),
            patience: Patience::LONG,
        }
    }

    /// The same request with a body.
    pub fn with_body(self, content_type: &'static str, body: impl Into<Bytes>) -> Call {
        Call {
            content_type,
            body: body.into(),
            ..self
        }
    }
}

/// How many requests were sent, retries included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCounts {
    /// Requests for what the apiserver serves.
    pub discover: u64,
    /// Reads of one object.
    pub get: u64,
    /// Reads of a page.
    pub list: u64,
    /// Objects made.
    pub create: u64,
    /// Objects replaced.
    pub update: u64,
    /// Objects changed.
    pub patch: u64,
    /// Objects deleted.
    pub delete: u64,
}

impl RequestCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.discover + self.get + self.list + self.create + self.update + self.patch + self.delete
    }

    /// What came since an earlier count.
    pub fn since(&self, earlier: &RequestCounts) -> RequestCounts {
        RequestCounts {
            discover: self.discover - earlier.discover,
            get: self.get - earlier.get,
            list: self.list - earlier.list,
            create: self.create - earlier.create,
            update: self.update - earlier.update,
            patch: self.patch - earlier.patch,
            delete: self.delete - earlier.delete,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter([AtomicU64; Verb::COUNT]);

impl Counter {
    fn add(&self, verb: Verb) {
        self.0[verb as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> RequestCounts {
        let of = |verb: Verb| self.0[verb as usize].load(Ordering::Relaxed);
        RequestCounts {
            discover: of(Verb::Discover),
            get: of(Verb::Get),
            list: of(Verb::List),
            create: of(Verb::Create),
            update: of(Verb::Update),
            patch: of(Verb::Patch),
            delete: of(Verb::Delete),
        }
    }
}

impl Cluster {
    /// Sends a request and returns the body of the answer.
    pub async fn call(&self, call: &Call) -> Result<Bytes> {
        let mut failed = 0;
        loop {
            match self.attempt(call).await {
                Ok(body) => return Ok(body),
                Err(error) => again(call, error, &mut failed).await?,
            }
        }
    }

    /// Sends a request with one more header, whose value appears nowhere, and returns the body of the answer as it arrives.
    pub async fn stream(
        &self,
        call: &Call,
        header: (&'static str, &str),
    ) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let mut failed = 0;
        let body = loop {
            match self.open(call, Some(header)).await {
                Ok(body) => break body,
                Err(error) => again(call, error, &mut failed).await?,
            }
        };
        let cluster = self.clone();
        Ok(body
            .into_data_stream()
            .map(move |bytes| bytes.map_err(|source| cluster.transport(source))))
    }

    async fn attempt(&self, call: &Call) -> Result<Bytes> {
        let body = self.open(call, None).await?;
        whole(body).await.map_err(|source| self.transport(source))
    }

    /// Sends a request once, and returns the body of an answer that says yes.
    async fn open(&self, call: &Call, header: Option<(&'static str, &str)>) -> Result<Body> {
        let mut request = http::Request::builder()
            .method(call.verb.method())
            .uri(&call.path)
            .header(http::header::ACCEPT, call.accept);
        if !call.body.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, call.content_type);
        }
        if let Some((name, value)) = header {
            let value = http::HeaderValue::from_str(value).map(|mut value| {
                value.set_sensitive(true);
                value
            });
            let value = value.map_err(|source| Error::Request {
                path: call.path.clone(),
                source: source.into(),
            })?;
            request = request.header(name, value);
        }
        let request = request
            .body(Body::from(call.body.clone()))
            .map_err(|source| Error::Request {
                path: call.path.clone(),
                source,
            })?;
        self.counter().add(call.verb);
        let answer = self
            .client()
            .send(request)
            .await
            .map_err(|source| self.transport(source))?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let body = whole(body).await.map_err(|source| self.transport(source))?;
        let retry_after = head
            .headers
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok());
        Err(refusal(call, head.status.as_u16(), retry_after, body))
    }

    fn transport(&self, source: kube::Error) -> Error {
        let server = self.server().to_owned();
        match source {
            kube::Error::Auth(_) => Error::Credentials {
                server,
                source: Box::new(source),
            },
            // What is inside says it all; the wrapper would only say it twice.
            kube::Error::Service(source) => Error::Unreachable { server, source },
            kube::Error::HyperError(source) => Error::Unreachable {
                server,
                source: Box::new(source),
            },
            source => Error::Unreachable {
                server,
                source: Box::new(source),
            },
        }
    }
}

/// Waits for the next try, if there is one after this failure.
async fn again(call: &Call, error: Error, failed: &mut u32) -> Result<()> {
    *failed += 1;
    let asked = match &error {
        Error::Api(api) if matches!(api.code, 429 | 500 | 502 | 503 | 504) => api.retry_after,
        Error::Unreachable { .. } => None,
        _ => return Err(error),
    };
    if *failed >= call.patience.attempts {
        return Err(error);
    }
    let pause = call.patience.pause(*failed - 1, asked);
    tracing::debug!(verb = %call.verb, path = %call.path, %error, ?pause, "trying again");
    tokio::time::sleep(pause).await;
    Ok(())
}

/// The whole body, in one buffer from the start: pieces that are joined at the end are there twice.
async fn whole(mut body: Body) -> Result<Bytes, kube::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.into())
}

fn refusal(call: &Call, code: u16, retry_after: Option<u64>, body: Bytes) -> Error {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        reason: String,
        message: String,
        metadata: Metadata,
        details: Option<Details>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata {
        #[serde(rename = "continue")]
        continue_token: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Details {
        retry_after_seconds: Option<u64>,
    }
    // A proxy in between answers in its own way; then the text itself is all there is to say.
    let status = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(&body[..body.len().min(500)])
            .trim()
            .to_owned(),
        ..Status::default()
    });
    let asked = status
        .details
        .and_then(|details| details.retry_after_seconds)
        .filter(|seconds| *seconds > 0);
    Error::Api(Box::new(ApiError {
        verb: call.verb,
        path: call.path.clone(),
        code,
        reason: status.reason,
        message: status.message,
        retry_after: retry_after.or(asked),
        continue_token: status
            .metadata
            .continue_token
            .filter(|token| !token.is_empty()),
        body,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_obey_the_server() {
        let patience = Patience::LONG;
        for failed in 0..100 {
            let pause = patience.pause(failed, None);
            assert!(
                pause >= patience.first / 2 && pause <= patience.longest,
                "{failed}: {pause:?}"
            );
        }
        assert!(patience.pause(6, None) >= Duration::from_secs(5));
        assert_eq!(patience.pause(0, Some(3)), Duration::from_secs(3));
        assert_eq!(patience.pause(0, Some(9999)), Duration::from_secs(60));
    }

    #[test]
    fn refusals_are_read() {
        let call = Call::new(Verb::List, "/api/v1/pods?limit=500");
        let body = r#"{"kind":"Status","metadata":{"continue":"abc"},"message":"too old","reason":"Expired","code":410}"#;
        let error = refusal(&call, 410, None, Bytes::from_static(body.as_bytes()));
        assert_eq!(error.api().unwrap().continue_token.as_deref(), Some("abc"));
        assert_eq!(error.to_string(), "list /api/v1/pods: too old");
        let error = refusal(
            &call,
            502,
            None,
            Bytes::from_static(b"<html>bad gateway</html>\n"),
        );
        assert_eq!(
            error.to_string(),
            "list /api/v1/pods: <html>bad gateway</html>"
        );
        let error = refusal(&call, 500, Some(2), Bytes::new());
        assert_eq!(error.to_string(), "list /api/v1/pods: HTTP 500");
    }
}
