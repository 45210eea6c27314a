//! What a bucket keeps of an object that is deleted: its versions, and how long it locks them.
//!
//! Only a response's headers tell, and the library passes on those that it knows. So connections are made by a connector
//! of ours, which attaches what these headers say to the answer of a HEAD request; everything else passes through.

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientOptions, GetOptions, HeaderMap};

use super::counters::add;
use super::{ANSWER, Store, StoreError};

/// Headers with the version of an object, where its bucket keeps versions. GCS numbers every object, so its generation
/// says nothing.
const VERSIONS: [&str; 2] = ["x-amz-version-id", "x-ms-version-id"];

/// Headers with the end of an object's lock. S3 shows it to who has s3:GetObjectRetention.
const LOCKS: [&str; 3] = [
    "x-amz-object-lock-retain-until-date",
    "x-goog-object-lock-retain-until-date",
    "x-ms-immutability-policy-until-date",
];

/// What stays when an object is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// The bucket keeps the object as an older version.
    pub versioned: bool,
    /// Nobody can remove that version before this time, as the store writes it.
    pub locked_until: Option<String>,
}

impl Protection {
    fn of(headers: &HeaderMap) -> Protection {
        let first = |names: &[&str]| {
            let mut values = names
                .iter()
                .filter_map(|name| headers.get(*name)?.to_str().ok());
            values.next().map(str::to_owned)
        };
        Protection {
            // An object from before a bucket had versions.
            versioned: first(&VERSIONS).is_some_and(|version| version != "null"),
            locked_until: first(&LOCKS),
        }
    }
}

/// Makes connections whose HEAD answers carry a [`Protection`].
#[derive(Debug)]
pub(super) struct Observant;

impl HttpConnector for Observant {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Observed { inner }))
    }
}

#[derive(Debug)]
struct Observed {
    inner: HttpClient,
}

#[async_trait]
impl HttpService for Observed {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asks = request.method().as_str() == "HEAD";
        let mut response = self.inner.execute(request).await?;
        if asks {
            let protection = Protection::of(response.headers());
            response.extensions_mut().insert(protection);
        }
        Ok(response)
    }
}

impl Store {
    /// What stays of an object that is there when it is deleted. Nothing in a folder or in memory, or if the object is gone.
    pub async fn protection(&self, key: &str) -> Result<Protection, StoreError> {
        if !self.inner.remote {
            return Ok(Protection::default());
        }
        let path = self.path(key)?;
        let result = self
            .persist(|| async {
                add(&self.inner.counters.head, 1);
                let options = GetOptions::new().with_head(true);
                let asked = self.inner.objects.get_opts(&path, options);
                self.within(ANSWER, key, asked).await
            })
            .await;
        match result {
            Ok(found) => Ok(found.extensions.get().cloned().unwrap_or_default()),
            Err(error) if error.is_not_found() => Ok(Protection::default()),
            Err(error) => Err(error),
        }
    }
}
