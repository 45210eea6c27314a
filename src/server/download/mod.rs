//! Downloads: somebody without access to the bucket and without its key reads what a repository holds, through the apiserver.
//!
//! The way: a DownloadRequest says what is wanted and has the hash of a token ([`crate::api::download`]). The replica that holds the lease
//! looks at it and writes where to fetch the data: a path of the apiserver, which passes a request for it on to the Service of the server.
//! Whichever replica gets it compares the token, takes the request, and streams.
//!
//! What it guarantees:
//!
//! * Nobody gets anything without a token whose hash is in a request that was looked at, is not older than [`GOOD_FOR`], and was not
//!   taken. Hashes are compared in constant time. A token is in no status, no log and no URL.
//! * A request is taken once, whichever replica is asked: taking is an update that the apiserver lets only one do.
//! * Who may do what is the apiserver's to say: who makes a DownloadRequest may read what it names. `get` on the Service's proxy is the way for
//!   who is outside of the cluster; who reaches the listener in another way needs no more than the token.
//! * Nothing is written to a repository. Memory is bounded by [`AT_ONCE`] downloads and what one needs ([`crate::server::reading`]).

mod serve;
mod target;
mod tls;

pub use serve::serve;
pub use target::{Found, look, makes_sense};
pub use tls::{TlsError, TlsListener};

use std::time::Duration;

/// How long a token is good.
pub const GOOD_FOR: Duration = Duration::from_secs(120);
/// How long a request stays.
pub const KEPT: Duration = Duration::from_secs(600);
/// Downloads of one replica at once.
pub const AT_ONCE: usize = 8;
/// The header that brings the token.
pub const TOKEN: &str = "ark-download-token";
/// The port of the Service.
pub const PORT: &str = "downloads";

/// Where on the apiserver a request of that name is fetched.
pub fn path(namespace: &str, service: &str, name: &str) -> String {
    format!("{}/v1/downloads/{name}", proxy(namespace, service))
}

/// What a request has of a token.
pub fn hash(token: &[u8]) -> String {
    blake3::hash(token).to_hex().to_string()
}

fn proxy(namespace: &str, service: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/services/https:{service}:{PORT}/proxy")
}

/// Whether a token may be sent to this path: it leads to a Service of ark's namespace, encrypted. What a status says is not followed
/// anywhere else.
pub fn is_fetched_at(path: &str, namespace: &str, name: &str) -> bool {
    let Some(rest) = path.strip_prefix(&format!("/api/v1/namespaces/{namespace}/services/https:"))
    else {
        return false;
    };
    let Some(service) = rest.strip_suffix(&format!(":{PORT}/proxy/v1/downloads/{name}")) else {
        return false;
    };
    crate::api::names::check_name("", service).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_a_service_of_its_namespace_and_nowhere_else() {
        assert!(is_fetched_at(&path("ark", "ark", "x-1"), "ark", "x-1"));
        for path in [
            path("other", "ark", "x-1"),
            path("ark", "ark", "x-2"),
            path("ark", "../../secrets/a", "x-1"),
            path("ark", "", "x-1"),
            "/api/v1/namespaces/ark/services/http:ark:downloads/proxy/v1/downloads/x-1".to_owned(),
            "https://elsewhere/v1/downloads/x-1".to_owned(),
            String::new(),
        ] {
            assert!(!is_fetched_at(&path, "ark", "x-1"), "{path}");
        }
    }
}
