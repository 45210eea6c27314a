//! What can go wrong between ark and an apiserver.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use thiserror::Error;

use super::call::Verb;

/// The result of talking to a cluster.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error and what caused it, in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What can go wrong between ark and an apiserver.
#[derive(Debug, Error)]
pub enum Error {
    /// There is a kubeconfig but it cannot be used, or there is none.
    #[error("cannot use the kubeconfig{}", .path.as_ref().map(|p| format!(" {}", p.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file, where the user named one.
        path: Option<PathBuf>,
        /// Why.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The context is not in the kubeconfig.
    #[error("the kubeconfig has no context {context:?}")]
    NoContext {
        /// The context asked for.
        context: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// No client can be made from the kubeconfig: a certificate, a key or a proxy is wrong.
    #[error("cannot set up a connection to {server}")]
    Client {
        /// The apiserver's address.
        server: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The user's credentials could not be obtained.
    #[error("cannot get credentials for {server}")]
    Credentials {
        /// The apiserver's address.
        server: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer, after retries.
    #[error("no answer from the apiserver {server}")]
    Unreachable {
        /// The apiserver's address.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The apiserver refused.
    #[error(transparent)]
    Api(#[from] Box<ApiError>),
    /// An answer is not what its path promises.
    #[error("the answer to {path} cannot be read")]
    Decode {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An answer is not text.
    #[error("the answer to {path} is not UTF-8")]
    NotText {
        /// What was asked.
        path: String,
    },
    /// The list could not be finished because its continue token kept expiring.
    #[error("the list {path} expired {times} times before it could be read to its end")]
    Expired {
        /// What was listed.
        path: String,
        /// How often.
        times: u32,
    },
    /// A request could not be put together.
    #[error("no request can be made for {path}")]
    Request {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: http::Error,
    },
}

impl Error {
    /// The apiserver's answer, if it answered.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Error::Api(api) => Some(api),
            _ => None,
        }
    }

    /// Whether the apiserver says that the object or the path does not exist.
    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(|api| api.code == 404)
    }

    /// Whether the user may not do it.
    pub fn is_forbidden(&self) -> bool {
        self.api().is_some_and(|api| api.code == 403)
    }

    /// Whether an object of that name is there already.
    pub fn is_already_exists(&self) -> bool {
        self.api()
            .is_some_and(|api| api.code == 409 && api.reason == "AlreadyExists")
    }

    /// Whether the object changed in between.
    pub fn is_conflict(&self) -> bool {
        self.api()
            .is_some_and(|api| api.code == 409 && api.reason == "Conflict")
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Kubeconfig { .. } => {
                Some("name one with --kubeconfig or KUBECONFIG; `kubectl config view` shows what is in force".to_owned())
            }
            Error::NoContext { known, .. } if known.is_empty() => Some("it has no contexts at all".to_owned()),
            Error::NoContext { known, .. } => Some(format!("its contexts are: {}", known.join(", "))),
            Error::Credentials { .. } => Some("log in to the cluster again".to_owned()),
            Error::Unreachable { .. } => Some("check that the cluster runs and that `kubectl version` reaches it".to_owned()),
            Error::Api(api) if api.code == 401 => {
                Some("the credentials are wrong or have expired; log in to the cluster again".to_owned())
            }
            Error::Api(api) if api.code == 403 => Some("ask for a role that allows it".to_owned()),
            _ => None,
        }
    }
}

/// An answer of the apiserver that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What was tried.
    pub verb: Verb,
    /// On what.
    pub path: String,
    /// The HTTP status code.
    pub code: u16,
    /// The reason in one word, as `NotFound`.
    pub reason: String,
    /// The apiserver's own words.
    pub message: String,
    /// How long to wait before the next try.
    pub retry_after: Option<u64>,
    /// The token with which an expired list goes on.
    pub continue_token: Option<String>,
    /// The whole answer.
    pub body: Bytes,
}

impl std::error::Error for ApiError {}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{} {path}: ", self.verb)?;
        match self.message.trim() {
            "" => write!(f, "HTTP {}", self.code),
            message => f.write_str(message),
        }
    }
}
