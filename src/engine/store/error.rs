//! What can go wrong with a store, sorted by what the caller can do about it.
//!
//! The stores answer the same trouble in many shapes (a status, a code in XML, an errno deep in a
//! chain). All of them are read here, once, so that the rest of the engine never looks at a message.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use object_store::client::HttpError;

/// Why a store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The object does not exist.
    #[error("{key} does not exist in {url}")]
    NotFound {
        /// The store.
        url: String,
        /// The object.
        key: String,
    },
    /// The folder, bucket or container does not exist (or is another one than before).
    #[error("{url}: {what}")]
    NoSuchLocation {
        /// The store.
        url: String,
        /// What is missing.
        what: String,
    },
    /// The store knows us and says no, or does not accept the credentials.
    #[error("permission denied for {}{url}{}", within(key), paren(code))]
    PermissionDenied {
        /// The store.
        url: String,
        /// The object, or the listed prefix.
        key: String,
        /// The store's own word for it (`AccessDenied`, `SignatureDoesNotMatch`).
        code: Option<String>,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// The store has to keep the object for now: a lock, a retention policy, a legal hold.
    #[error("{key} in {url} cannot be deleted{}", until.as_ref().map_or(" yet: it is locked".to_owned(), |until| format!(": it is locked until {until}")))]
    Retained {
        /// The store.
        url: String,
        /// The object.
        key: String,
        /// When that ends, in the store's words, if it said so.
        until: Option<Box<str>>,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// No credentials were found.
    #[error("no usable credentials for {url}")]
    NoCredentials {
        /// The store.
        url: String,
        /// What was tried.
        #[source]
        source: Cause,
    },
    /// No room for more.
    #[error("no space left in {url} to write {key}")]
    Full {
        /// The store.
        url: String,
        /// The object that was being written.
        key: String,
        /// What the store said.
        #[source]
        source: Cause,
    },
    /// No answer, or none but "try later", for as long as it is worth waiting. Of a write it is not
    /// known whether it happened.
    #[error("cannot reach {endpoint}{}", paren(reason))]
    Unreachable {
        /// Where the requests went.
        endpoint: String,
        /// In which way it failed, if known.
        reason: Option<String>,
        /// The last failure.
        #[source]
        source: Cause,
    },
    /// The object is shorter than the bytes that were asked for.
    #[error(
        "{key} in {url} is cut short: bytes up to {expected} were expected, it ends at {found}"
    )]
    Truncated {
        /// The store.
        url: String,
        /// The object.
        key: String,
        /// Where the asked range ends.
        expected: u64,
        /// Where the object ends.
        found: u64,
    },
    /// The object is larger than the caller accepts.
    #[error("{key} in {url} is {size} bytes long, more than the {max} it may have")]
    TooLarge {
        /// The store.
        url: String,
        /// The object.
        key: String,
        /// Its size.
        size: u64,
        /// The largest size accepted.
        max: u64,
    },
    /// The store overwrites objects though it was asked to create them only if absent.
    #[error("{url} does not honour create-if-absent: {what}")]
    NoCreateIfAbsent {
        /// The store.
        url: String,
        /// How that was seen.
        what: String,
    },
    /// The address or its settings cannot be used.
    #[error("{url}: {reason}")]
    BadUrl {
        /// The address as given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// This store cannot do this at all.
    #[error("{url} does not support {what}")]
    Unsupported {
        /// The store.
        url: String,
        /// What was asked.
        what: String,
    },
    /// Anything else.
    #[error("request for {}{url} failed", within(key))]
    Other {
        /// The store.
        url: String,
        /// The object.
        key: String,
        /// What the store said.
        #[source]
        source: Cause,
    },
}

/// Requests about the whole place have no key.
fn within(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!("{key} in "),
    }
}

fn paren(text: &Option<String>) -> String {
    text.as_ref().map_or(String::new(), |t| format!(" ({t})"))
}

impl StoreError {
    /// What to do about it, in a sentence for the person at the keyboard.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            StoreError::NotFound { .. } => return None,
            StoreError::NoSuchLocation { url, what } => {
                if what.contains("region") {
                    "give the bucket's region with --s3-region or AWS_REGION".to_owned()
                } else if url.starts_with("file://") {
                    "check the path and that its disk is mounted; `ark repo init` creates the folder of a new repository".to_owned()
                } else {
                    "check the name, and create the bucket or container first: ark does not create it".to_owned()
                }
            }
            StoreError::PermissionDenied { url, code, .. } => {
                return Some(denied_hint(url, code.as_deref()));
            }
            StoreError::Retained { .. } => {
                "delete it once the lock has ended; `ark prune` does that by itself".to_owned()
            }
            StoreError::NoCredentials { url, .. } => credentials_hint(url).to_owned(),
            StoreError::Full { url, .. } if url.starts_with("file://") => {
                "free space on that disk, or expire backups and run `ark prune`; nothing committed was lost".to_owned()
            }
            StoreError::Full { .. } => {
                "raise the store's quota, or expire backups and run `ark prune`; nothing committed was lost".to_owned()
            }
            StoreError::Unreachable { .. } => {
                "check the address (--s3-endpoint), the network, the proxy and the CA file, and that the store is up; then run the command again".to_owned()
            }
            StoreError::Truncated { .. } | StoreError::TooLarge { .. } => {
                "the object is damaged: run `ark verify` to see what that affects".to_owned()
            }
            StoreError::NoCreateIfAbsent { .. } => {
                "use a store that honours `If-None-Match: *` on PUT (AWS S3, MinIO, Ceph, R2, GCS, Azure), or a local disk".to_owned()
            }
            StoreError::BadUrl { .. } => {
                "addresses look like file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix".to_owned()
            }
            StoreError::Unsupported { what, .. } if what.contains("hard link") => {
                "ark needs hard links on a local disk: use ext4, xfs, btrfs, zfs or NFS".to_owned()
            }
            StoreError::Unsupported { .. } | StoreError::Other { .. } => return None,
        };
        Some(text)
    }

    /// True if the object (not the place it should be in) is missing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StoreError::NotFound { .. })
    }
}

fn credentials_hint(url: &str) -> &'static str {
    if url.starts_with("gs://") {
        "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or use workload identity"
    } else if url.starts_with("az://") {
        "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or use workload identity"
    } else {
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role of the instance or service account"
    }
}

fn denied_hint(url: &str, code: Option<&str>) -> String {
    match code {
        Some("RequestTimeTooSkewed") => "set this machine's clock".to_owned(),
        Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            "the session token has expired: get new credentials".to_owned()
        }
        Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AuthenticationFailed") => format!(
            "the store does not accept these credentials: {}",
            credentials_hint(url)
        ),
        _ if url.starts_with("file://") => {
            "check the owner and mode of the folder, and that its disk is not read-only".to_owned()
        }
        _ => "the credentials need get, put and list in this prefix, and delete for prune; a missing list permission also shows as \"denied\" when an object is absent".to_owned(),
    }
}

/// The failure below ours, as text: the libraries' chains repeat themselves at every level.
#[derive(Clone, Debug)]
pub struct Cause(String);

impl Cause {
    pub(super) fn new(text: impl Into<String>) -> Cause {
        Cause(text.into())
    }

    fn of(error: &(dyn StdError + 'static)) -> Cause {
        let mut text = clip(error.to_string());
        let mut deepest = error;
        while let Some(below) = deepest.source() {
            deepest = below;
        }
        let last = deepest.to_string();
        if !text.contains(&last) {
            text = format!("{text}: {}", clip(last));
        }
        Cause(text)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

/// Error pages can be long.
fn clip(mut text: String) -> String {
    const MOST: usize = 600;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|i| text.is_char_boundary(*i));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// What is needed to speak about a store.
#[derive(Debug)]
pub(super) struct Place {
    /// The store's address, without secrets.
    pub(super) url: String,
    /// Where its requests go.
    pub(super) endpoint: String,
}

impl Place {
    /// Reads a failure of the library.
    pub(super) fn read(&self, key: &str, error: &object_store::Error) -> StoreError {
        use object_store::Error as E;
        let source = Cause::of(error);
        let url = self.url.clone();
        let key = key.to_owned();
        let whole = error.to_string();
        let reply = Reply::of(&whole);
        let http = find::<HttpError>(error);

        if asks_for_credentials(&whole) {
            return StoreError::NoCredentials { url, source };
        }
        if http.is_none()
            && let Some(io) = find::<io::Error>(error)
            && let Some(kind) = Disk::of(io)
        {
            return match kind {
                Disk::Full => StoreError::Full { url, key, source },
                Disk::Denied => StoreError::PermissionDenied {
                    url,
                    key,
                    code: None,
                    source,
                },
                Disk::NoLinks => StoreError::Unsupported {
                    url,
                    what: format!("hard links, or writing {key} is not permitted ({io})"),
                },
            };
        }
        if is_retained(&whole, &reply) {
            return StoreError::Retained {
                url,
                key,
                until: locked_until(&whole),
                source,
            };
        }
        if let Some(found) = reply.meaning() {
            return match found {
                Meaning::NoLocation(what) => StoreError::NoSuchLocation {
                    url,
                    what: what.to_owned(),
                },
                Meaning::Full => StoreError::Full { url, key, source },
                Meaning::Denied => StoreError::PermissionDenied {
                    url,
                    key,
                    code: reply.code,
                    source,
                },
                Meaning::Absent => StoreError::NotFound { url, key },
                Meaning::Later => StoreError::Unreachable {
                    endpoint: self.endpoint.clone(),
                    reason: Some(reply.says()),
                    source,
                },
                Meaning::Never => StoreError::Unsupported {
                    url,
                    what: match reply.message {
                        Some(message) => format!("this request: {message}"),
                        None => format!("this request ({})", reply.says()),
                    },
                },
            };
        }
        match error {
            E::NotFound { .. } => StoreError::NotFound { url, key },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                StoreError::PermissionDenied {
                    url,
                    key,
                    code: reply.code,
                    source,
                }
            }
            E::NotImplemented { operation, .. } => StoreError::Unsupported {
                url,
                what: operation.clone(),
            },
            E::NotSupported { source } => StoreError::Unsupported {
                url,
                what: source.to_string(),
            },
            _ if http.is_some() => StoreError::Unreachable {
                endpoint: self.endpoint.clone(),
                reason: root(error).filter(|text| text.len() < 120),
                source,
            },
            _ => StoreError::Other { url, key, source },
        }
    }

    /// A request that took longer than it may.
    pub(super) fn timed_out(&self, seconds: u64) -> StoreError {
        StoreError::Unreachable {
            endpoint: self.endpoint.clone(),
            reason: Some("no answer".to_owned()),
            source: Cause::new(format!("nothing came within {seconds} s")),
        }
    }
}

/// The instance metadata service is asked when nothing else gave credentials: that it does not
/// answer is not the fact to report.
fn asks_for_credentials(text: &str) -> bool {
    const SIGNS: [&str; 5] = [
        "http://169.254.169.254",
        "http://169.254.170.2",
        "metadata.google.internal",
        "performing token request",
        "getting token response",
    ];
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// Whether a store refuses because it has to keep the object. S3 does so only for a version; on GCS a bucket's retention
/// policy and on Azure an immutability policy or a legal hold refuse a plain delete.
fn is_retained(text: &str, reply: &Reply) -> bool {
    const SIGNS: [&str; 4] = [
        "retention policy",
        "RetentionPolicyNotMet",
        "protected by object lock",
        "WORM protected",
    ];
    let code = reply.code.as_deref().unwrap_or("");
    matches!(reply.status, Some(400 | 403 | 409 | 412))
        && (code.starts_with("BlobImmutableDueTo") || SIGNS.iter().any(|sign| text.contains(sign)))
}

/// The time that such a refusal names.
fn locked_until(text: &str) -> Option<Box<str>> {
    let (_, rest) = text.split_once("until ")?;
    let end = |c: char| c.is_whitespace() || matches!(c, '<' | '"' | '\'' | ',');
    let word = rest.split(end).next()?.trim_end_matches('.');
    word.starts_with(|c: char| c.is_ascii_digit())
        .then(|| word.into())
}

/// What an errno means to us.
enum Disk {
    Full,
    Denied,
    NoLinks,
}

impl Disk {
    fn of(error: &io::Error) -> Option<Disk> {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => return Some(Disk::Full),
            Some(libc::EACCES | libc::EROFS) => return Some(Disk::Denied),
            // link(2) says EPERM on file systems without hard links.
            Some(libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK) => return Some(Disk::NoLinks),
            _ => {}
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Disk::Full),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some(Disk::Denied)
            }
            _ => None,
        }
    }
}

/// An HTTP answer, read from the library's message: it keeps the typed form to itself.
struct Reply {
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
}

enum Meaning {
    NoLocation(&'static str),
    Full,
    Denied,
    Absent,
    Later,
    Never,
}

impl Reply {
    fn of(text: &str) -> Reply {
        let status = between(text, "status code: ", " ")
            .or_else(|| between(text, "status code: ", ":"))
            .and_then(|number| number.parse().ok())
            .or(text
                .contains("incorrectly configured region")
                .then_some(301));
        let code = between(text, "<Code>", "</Code>").map(str::to_owned);
        let message = between(text, "<Message>", "</Message>").map(str::to_owned);
        Reply {
            status,
            code,
            message,
        }
    }

    fn says(&self) -> String {
        match (self.status, &self.code) {
            (Some(status), Some(code)) => format!("it answers {status} {code}"),
            (Some(status), None) => format!("it answers {status}"),
            (None, Some(code)) => format!("it answers {code}"),
            (None, None) => "unclear answer".to_owned(),
        }
    }

    fn meaning(&self) -> Option<Meaning> {
        match self.code.as_deref().unwrap_or("") {
            "NoSuchBucket" => return Some(Meaning::NoLocation("the bucket does not exist")),
            "ContainerNotFound" | "ContainerBeingDeleted" => {
                return Some(Meaning::NoLocation("the container does not exist"));
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
                return Some(Meaning::NoLocation("the bucket is in another region"));
            }
            "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "QuotaExceeded" => {
                return Some(Meaning::Full);
            }
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => {
                return Some(Meaning::Denied);
            }
            "NotImplemented" => return Some(Meaning::Never),
            _ => {}
        }
        match self.status? {
            301 | 307 | 308 => Some(Meaning::NoLocation("the bucket is in another region")),
            401 | 403 => Some(Meaning::Denied),
            404 => Some(Meaning::Absent),
            501 => Some(Meaning::Never),
            507 => Some(Meaning::Full),
            408 | 429 | 500..=599 => Some(Meaning::Later),
            _ => None,
        }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

fn root(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut deepest = error.source()?;
    while let Some(below) = deepest.source() {
        deepest = below;
    }
    Some(deepest.to_string())
}
