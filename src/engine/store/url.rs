//! From an address and its settings to a connection.
//!
//! Nothing here reads the process's environment: the caller passes it in, so that a test or a
//! server with several repositories decides what a store sees. No request is sent; only a local
//! folder is looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::list::PaginatedListStore;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, HeaderValue, ObjectStore, RetryConfig,
};

use super::address::{StoreUrl, bad_url};
use super::error::StoreError;
use super::protection::Observant;

/// Time to connect to a store.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the library repeats a request by itself. A request, its repetitions and the last
/// connection attempt stay under 30 s together: that is when a wrong address is reported.
const RETRY: Duration = Duration::from_secs(15);

/// How to reach a store, apart from its address.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// Base address of the service (`https://minio.example:9000`), where it is not the cloud's own.
    pub endpoint: Option<String>,
    /// Region of an S3 bucket.
    pub region: Option<String>,
    /// `endpoint/bucket/key` (true) or `bucket.endpoint/key` (false). By default true with an
    /// endpoint of one's own and false on AWS.
    pub path_style: Option<bool>,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// HTTP proxy for all requests of this store.
    pub proxy: Option<String>,
    /// Storage class of data packs (`packs/data/`). Nothing else gets it: control objects and tree
    /// nodes are read at every start, and the cold classes charge for that.
    pub storage_class: Option<String>,
    /// KMS key that S3 encrypts new objects with (SSE-KMS).
    pub sse_kms_key: Option<String>,
    /// Accept `http://` endpoints.
    pub allow_http: bool,
    /// Upload limit in bytes per second.
    pub limit_upload: Option<u64>,
    /// Download limit in bytes per second.
    pub limit_download: Option<u64>,
    /// The environment: credentials and settings under `AWS_*`, `GOOGLE_*` and `AZURE_*`.
    pub env: BTreeMap<String, String>,
}

impl StoreOptions {
    fn env(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    fn env_true(&self, name: &str) -> bool {
        self.env(name)
            .is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "true" | "yes"))
    }
}

/// A connection that was set up, not yet used.
pub(super) struct Connection {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same, for listings of which only the beginning is wanted.
    pub(super) pages: Arc<dyn PaginatedListStore>,
    /// Where requests go, for messages.
    pub(super) endpoint: String,
    /// Listings come in the order of keys.
    pub(super) ordered: bool,
}

/// Sets up the connection of a remote address.
pub(super) fn connect(url: &StoreUrl, options: &StoreOptions) -> Result<Connection, StoreError> {
    match url {
        StoreUrl::S3 { bucket, .. } => s3(url, bucket, options),
        StoreUrl::Gcs { bucket, .. } => gcs(url, bucket, options),
        StoreUrl::Azure { container, .. } => azure(url, container, options),
        StoreUrl::Local(_) | StoreUrl::Memory => Err(bad_url(
            &url.to_string(),
            "this address needs no connection",
        )),
    }
}

fn s3(url: &StoreUrl, bucket: &str, options: &StoreOptions) -> Result<Connection, StoreError> {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &options.env {
        if name.starts_with("AWS_")
            && let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()
        {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = options
        .endpoint
        .as_deref()
        .or(options.env("AWS_ENDPOINT_URL_S3"))
        .or(options.env("AWS_ENDPOINT_URL"))
        .or(options.env("AWS_ENDPOINT"));
    let allow_http = options.allow_http || options.env_true("AWS_ALLOW_HTTP");
    let express = bucket.ends_with("--x-s3");
    let virtual_hosted = match options.path_style {
        Some(path_style) => !path_style,
        None if options.env("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").is_some() => {
            options.env_true("AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
        }
        // A dot in the bucket's name does not match AWS's wildcard certificate.
        None => endpoint.is_none() && !bucket.contains('.'),
    };
    let shown = match endpoint {
        Some(endpoint) => {
            let mut parsed = check_endpoint(url, endpoint, allow_http)?;
            if virtual_hosted {
                let host = parsed.host_str().unwrap_or("").to_owned();
                parsed
                    .set_host(Some(&format!("{bucket}.{host}")))
                    .map_err(|e| bad_url(endpoint, &e.to_string()))?;
            }
            let text = parsed.as_str().trim_end_matches('/').to_owned();
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, &text);
            text
        }
        None => "https://s3.amazonaws.com".to_owned(),
    };
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(key) = &options.sse_kms_key {
        builder = builder.with_sse_kms_encryption(key);
    }
    if express {
        builder = builder.with_s3_express(true);
    }
    let ca_bundle = options.env("AWS_CA_BUNDLE").map(PathBuf::from);
    let ca_file = options.ca_file.clone().or(ca_bundle);
    let built = builder
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(virtual_hosted)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_checksum_algorithm(Checksum::SHA256)
        // The bulk form needs another request that not every S3 speaks.
        .with_disable_bulk_delete(true)
        .with_retry(retry())
        .with_http_connector(Observant)
        .with_client_options(client(url, options, ca_file, allow_http)?)
        .build()
        .map_err(|e| settings(url, &e))?;
    let objects = Arc::new(built);
    Ok(Connection {
        pages: objects.clone(),
        objects,
        endpoint: through_proxy(shown, options),
        // Directory buckets list in no order.
        ordered: !express,
    })
}

fn gcs(url: &StoreUrl, bucket: &str, options: &StoreOptions) -> Result<Connection, StoreError> {
    not_here(url, "SSE-KMS", options.sse_kms_key.is_some())?;
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in &options.env {
        if name.starts_with("GOOGLE_")
            && let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>()
        {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = options
        .endpoint
        .as_deref()
        .or(options.env("GOOGLE_BASE_URL"));
    let allow_http = options.allow_http || options.env_true("GOOGLE_ALLOW_HTTP");
    let shown = match endpoint {
        Some(endpoint) => {
            let parsed = check_endpoint(url, endpoint, allow_http)?;
            let text = parsed.as_str().trim_end_matches('/').to_owned();
            builder = builder.with_config(GoogleConfigKey::BaseUrl, &text);
            text
        }
        None => "https://storage.googleapis.com".to_owned(),
    };
    let built = builder
        .with_bucket_name(bucket)
        .with_retry(retry())
        .with_http_connector(Observant)
        .with_client_options(client(url, options, options.ca_file.clone(), allow_http)?)
        .build()
        .map_err(|e| settings(url, &e))?;
    let objects = Arc::new(built);
    Ok(Connection {
        pages: objects.clone(),
        objects,
        endpoint: through_proxy(shown, options),
        ordered: true,
    })
}

fn azure(
    url: &StoreUrl,
    container: &str,
    options: &StoreOptions,
) -> Result<Connection, StoreError> {
    not_here(url, "SSE-KMS", options.sse_kms_key.is_some())?;
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in &options.env {
        if name.starts_with("AZURE_")
            && let Ok(key) = name.to_ascii_lowercase().parse::<AzureConfigKey>()
        {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(identity) = options.env("IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(identity);
    }
    let endpoint = options
        .endpoint
        .as_deref()
        .or(options.env("AZURE_STORAGE_ENDPOINT"));
    let allow_http = options.allow_http || options.env_true("AZURE_ALLOW_HTTP");
    let shown = match endpoint {
        Some(endpoint) => {
            let parsed = check_endpoint(url, endpoint, allow_http)?;
            let text = parsed.as_str().trim_end_matches('/').to_owned();
            builder = builder.with_endpoint(text.clone());
            text
        }
        None => format!(
            "https://{}.blob.core.windows.net",
            options.env("AZURE_STORAGE_ACCOUNT_NAME").unwrap_or("…")
        ),
    };
    let built = builder
        .with_container_name(container)
        .with_retry(retry())
        .with_http_connector(Observant)
        .with_client_options(client(url, options, options.ca_file.clone(), allow_http)?)
        .build()
        .map_err(|e| settings(url, &e))?;
    let objects = Arc::new(built);
    Ok(Connection {
        pages: objects.clone(),
        objects,
        endpoint: through_proxy(shown, options),
        ordered: true,
    })
}

/// Refuses a setting that this kind of store would silently ignore.
pub(super) fn not_here(url: &StoreUrl, what: &str, given: bool) -> Result<(), StoreError> {
    if given {
        return Err(StoreError::Unsupported {
            url: url.to_string(),
            what: what.to_owned(),
        });
    }
    Ok(())
}

fn check_endpoint(
    url: &StoreUrl,
    endpoint: &str,
    allow_http: bool,
) -> Result<url::Url, StoreError> {
    let parsed = url::Url::parse(endpoint)
        .map_err(|e| bad_url(endpoint, &format!("bad endpoint of {url}: {e}")))?;
    match parsed.scheme() {
        _ if parsed.cannot_be_a_base() || parsed.host_str().is_none() => Err(bad_url(
            endpoint,
            &format!("the endpoint of {url} must start with https:// or http://"),
        )),
        "https" => Ok(parsed),
        "http" if allow_http => Ok(parsed),
        "http" => Err(bad_url(
            endpoint,
            &format!(
                "the endpoint of {url} speaks http without TLS; allow that with {}=true, or use https",
                match url {
                    StoreUrl::Gcs { .. } => "GOOGLE_ALLOW_HTTP",
                    StoreUrl::Azure { .. } => "AZURE_ALLOW_HTTP",
                    _ => "AWS_ALLOW_HTTP",
                }
            ),
        )),
        _ => Err(bad_url(
            endpoint,
            &format!("the endpoint of {url} must start with https:// or http://"),
        )),
    }
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(4),
            base: 2.0,
        },
        max_retries: 10,
        retry_timeout: RETRY,
    }
}

fn client(
    url: &StoreUrl,
    options: &StoreOptions,
    ca_file: Option<PathBuf>,
    allow_http: bool,
) -> Result<ClientOptions, StoreError> {
    // No limit on the whole request: it would cut large uploads on slow lines. The store sets
    // limits that know the size.
    let mut client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT)
        .with_allow_http(allow_http)
        .with_user_agent(HeaderValue::from_static(concat!(
            "ark/",
            env!("CARGO_PKG_VERSION")
        )));
    if let Some(path) = ca_file {
        let reason = |e: &dyn fmt::Display| {
            bad_url(
                &url.to_string(),
                &format!("cannot use the CA file {}: {e}", path.display()),
            )
        };
        let pem = std::fs::read(&path).map_err(|e| reason(&e))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| reason(&e))?;
        if certificates.is_empty() {
            return Err(reason(&"it holds no certificate"));
        }
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    if let Some(proxy) = &options.proxy {
        if url::Url::parse(proxy).is_err() {
            return Err(bad_url(&url.to_string(), "the proxy is not a URL"));
        }
        client = client.with_proxy_url(proxy);
        if let Some(excluded) = options.env("NO_PROXY").or(options.env("no_proxy")) {
            client = client.with_proxy_excludes(excluded);
        }
    }
    Ok(client)
}

fn through_proxy(endpoint: String, options: &StoreOptions) -> String {
    let host = options.proxy.as_deref().and_then(|proxy| {
        let parsed = url::Url::parse(proxy).ok()?;
        parsed.host_str().map(str::to_owned)
    });
    match host {
        Some(host) => format!("{endpoint} through the proxy {host}"),
        None => endpoint,
    }
}

/// The library refused the settings.
fn settings(url: &StoreUrl, error: &object_store::Error) -> StoreError {
    let text = match error {
        object_store::Error::Generic { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    bad_url(&url.to_string(), &format!("settings: {text}"))
}
