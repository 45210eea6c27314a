//! The Kubernetes API as plain requests: what the loader, the floors and the tests need, and nothing typed.
//!
//! Requests go through `kube`'s client, so that authentication and TLS are those of any kubeconfig. Answers are never compressed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use http::{Method, Request};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A connection to one apiserver, with counters. Clones share both.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    requests: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

/// Why a request failed.
#[derive(Debug)]
pub enum ApiError {
    /// The apiserver answered with this HTTP status.
    Status {
        /// The HTTP status code.
        code: u16,
        /// Method and path.
        request: String,
        /// The message of the answer.
        message: String,
    },
    /// There was no answer, or no readable one.
    Transport {
        /// Method and path.
        request: String,
        /// What went wrong.
        source: anyhow::Error,
    },
}

impl ApiError {
    /// The HTTP status, if there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            ApiError::Status { code, .. } => Some(*code),
            ApiError::Transport { .. } => None,
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ApiError::Status {
                code,
                request,
                message,
            } => write!(f, "{request}: {code} {message}"),
            ApiError::Transport { request, .. } => write!(f, "{request}: no answer"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ApiError::Status { .. } => None,
            ApiError::Transport { source, .. } => Some(source.as_ref()),
        }
    }
}

/// A listable resource, as discovery names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// API group, empty for the core group.
    pub group: String,
    /// Preferred version.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Kind.
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs that the apiserver accepts.
    pub verbs: Vec<String>,
}

impl Resource {
    /// `plural.group`, or `plural` for the core group.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The path of all its objects.
    pub fn path(&self) -> String {
        format!("{}/{}", root(&self.group, &self.version), self.plural)
    }

    /// The path of the objects of one namespace, or of all of a resource of cluster scope.
    pub fn path_in(&self, namespace: Option<&str>) -> String {
        collection(&self.group, &self.version, &self.plural, namespace)
    }

    /// `group/version`, or `version` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

pub(crate) fn collection(
    group: &str,
    version: &str,
    plural: &str,
    namespace: Option<&str>,
) -> String {
    match namespace {
        Some(namespace) => format!("{}/namespaces/{namespace}/{plural}", root(group, version)),
        None => format!("{}/{plural}", root(group, version)),
    }
}

/// One page of a LIST.
#[derive(Debug)]
pub struct Listed {
    /// The objects, as the apiserver wrote them.
    pub items: Vec<Box<RawValue>>,
    /// The token of the next page.
    pub next: Option<String>,
}

impl Api {
    /// Connects as the current user of a kubeconfig.
    pub async fn connect(kubeconfig: &Path) -> anyhow::Result<Api> {
        let parsed = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("reading {}", kubeconfig.display()))?;
        let config = kube::Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("using {}", kubeconfig.display()))?;
        let client = kube::Client::try_from(config).context("making a client")?;
        Ok(Api {
            client,
            requests: Arc::default(),
            bytes: Arc::default(),
        })
    }

    /// Requests sent so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of answers' bodies received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sends a request and returns the body of its answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        accept: &str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ApiError> {
        let name = format!("{method} {path}");
        let broken = |source: anyhow::Error| ApiError::Transport {
            request: name.clone(),
            source,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::ACCEPT, accept)
            .header(http::header::CONTENT_TYPE, content_type)
            .body(Body::from(body))
            .map_err(|error| broken(error.into()))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| broken(error.into()))?;
        let code = response.status();
        let body = response
            .into_body()
            .collect_bytes()
            .await
            .map_err(|error| broken(error.into()))?;
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        if !code.is_success() {
            let message = serde_json::from_slice::<Value>(&body)
                .ok()
                .and_then(|status| Some(status["message"].as_str()?.to_owned()));
            let message = message.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
            return Err(ApiError::Status {
                code: code.as_u16(),
                request: name,
                message,
            });
        }
        Ok(body.into())
    }

    /// GET, as text.
    pub async fn get_text(&self, path: &str) -> Result<String, ApiError> {
        let body = self
            .send(Method::GET, path, JSON, "*/*", Vec::new())
            .await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// GET, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.json(Method::GET, path, JSON, Vec::new()).await
    }

    /// POST of an object: returns the created one.
    pub async fn post(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.json(Method::POST, path, JSON, object.to_string().into_bytes())
            .await
    }

    /// POST or merge PATCH of an encoded object, for many of them: returns only the uid of the stored one.
    pub(crate) async fn write(
        &self,
        method: Method,
        path: &str,
        object: Vec<u8>,
    ) -> Result<String, ApiError> {
        #[derive(Deserialize)]
        struct Stored {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default)]
            uid: String,
        }
        let content_type = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            JSON
        };
        let name = format!("{method} {path}");
        let body = self.send(method, path, content_type, JSON, object).await?;
        let stored: Stored =
            serde_json::from_slice(&body).map_err(|error| ApiError::Transport {
                request: name,
                source: error.into(),
            })?;
        Ok(stored.metadata.uid)
    }

    /// PUT of an object: returns the stored one.
    pub async fn put(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.json(Method::PUT, path, JSON, object.to_string().into_bytes())
            .await
    }

    /// Merge PATCH: returns the patched object.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Value, ApiError> {
        self.json(
            Method::PATCH,
            path,
            "application/merge-patch+json",
            patch.to_string().into_bytes(),
        )
        .await
    }

    /// DELETE. An object that is gone already is no error.
    pub async fn delete(&self, path: &str) -> Result<(), ApiError> {
        match self
            .send(Method::DELETE, path, JSON, JSON, Vec::new())
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Value, ApiError> {
        let request = format!("{method} {path}");
        let body = self.send(method, path, content_type, JSON, body).await?;
        serde_json::from_slice(&body).map_err(|error| ApiError::Transport {
            request,
            source: error.into(),
        })
    }

    /// One page of a LIST, with 500 objects at most. `query` holds further parameters, each with its leading `&`.
    pub async fn list_page(
        &self,
        path: &str,
        query: &str,
        next: Option<&str>,
    ) -> Result<Listed, ApiError> {
        #[derive(Deserialize)]
        struct Page {
            metadata: Metadata,
            #[serde(default)]
            items: Option<Vec<Box<RawValue>>>,
        }
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default, rename = "continue")]
            next: Option<String>,
        }
        let token = next
            .map(|token| format!("&continue={token}"))
            .unwrap_or_default();
        let path = format!("{path}?limit=500{query}{token}");
        let body = self
            .send(Method::GET, &path, JSON, JSON, Vec::new())
            .await?;
        let page: Page = serde_json::from_slice(&body).map_err(|error| ApiError::Transport {
            request: format!("GET {path}"),
            source: error.into(),
        })?;
        Ok(Listed {
            items: page.items.unwrap_or_default(),
            next: page.metadata.next.filter(|token| !token.is_empty()),
        })
    }

    /// Every object of a LIST.
    pub async fn list(&self, path: &str, query: &str) -> Result<Vec<Box<RawValue>>, ApiError> {
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let page = self.list_page(path, query, next.as_deref()).await?;
            all.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(all);
            }
        }
    }

    /// Every resource in its preferred version that can be listed. Subresources are left out.
    pub async fn resources(&self) -> Result<Vec<Resource>, ApiError> {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let body = self
                .send(Method::GET, path, JSON, accept, Vec::new())
                .await?;
            let list: Value =
                serde_json::from_slice(&body).map_err(|error| ApiError::Transport {
                    request: format!("GET {path}"),
                    source: error.into(),
                })?;
            for group in array(&list["items"]) {
                let name = string(&group["metadata"]["name"]);
                // Versions stand in the order of preference; a resource counts in the first that has it.
                let mut seen = std::collections::BTreeSet::new();
                for version in array(&group["versions"]) {
                    for resource in array(&version["resources"]) {
                        let verbs: Vec<String> =
                            array(&resource["verbs"]).iter().map(string).collect();
                        let plural = string(&resource["resource"]);
                        if verbs.iter().any(|verb| verb == "list") && seen.insert(plural.clone()) {
                            all.push(Resource {
                                group: name.clone(),
                                version: string(&version["version"]),
                                plural,
                                kind: string(&resource["responseKind"]["kind"]),
                                namespaced: resource["scope"] == "Namespaced",
                                verbs,
                            });
                        }
                    }
                }
            }
        }
        all.sort();
        Ok(all)
    }

    pub(crate) async fn core_resources(&self) -> Result<Vec<String>, ApiError> {
        Ok(self
            .resources()
            .await?
            .into_iter()
            .filter(|r| r.group.is_empty())
            .map(|r| r.plural)
            .collect())
    }

    pub(crate) async fn groups(&self) -> Result<Vec<String>, ApiError> {
        let mut groups: Vec<String> = self
            .resources()
            .await?
            .into_iter()
            .map(|r| r.group)
            .collect();
        groups.dedup();
        Ok(groups)
    }
}

const JSON: &str = "application/json";

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
