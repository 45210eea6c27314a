//! Addresses of repositories: a folder, or a bucket and a path in it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A folder of this machine, absolute.
    Local(PathBuf),
    /// Amazon S3 and what speaks its protocol.
    S3 {
        /// The bucket.
        bucket: String,
        /// Path inside the bucket, without slashes at its ends.
        prefix: String,
    },
    /// Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// Path inside the bucket, without slashes at its ends.
        prefix: String,
    },
    /// Azure Blob Storage; the account comes from the environment.
    Azure {
        /// The container.
        container: String,
        /// Path inside the container, without slashes at its ends.
        prefix: String,
    },
    /// The process's memory, new at each open: for tests.
    Memory,
}

impl StoreUrl {
    /// Reads an address, or a plain path.
    pub fn parse(text: &str) -> Result<StoreUrl, StoreError> {
        let bad = |reason: &str| bad_url(text, reason);
        if text.is_empty() {
            return Err(bad("the address is empty"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            if text.starts_with("file:") {
                return Err(bad("a file address starts with file:///"));
            }
            return local(text, text);
        };
        if scheme == "file" {
            if !rest.starts_with('/') {
                return Err(bad("a file address holds an absolute path: file:///path"));
            }
            let parsed = url::Url::parse(text).map_err(|e| bad(&e.to_string()))?;
            let path = parsed
                .to_file_path()
                .map_err(|()| bad("this is not a path of this machine"))?;
            return path.to_str().map_or_else(
                || Err(bad("the path is not UTF-8")),
                |path| local(text, path),
            );
        }
        if rest.contains(['?', '#']) {
            return Err(bad(
                "settings belong in options or the environment, not in the address",
            ));
        }
        let (place, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if place.contains('@') {
            // Not repeated in the message: a password may stand there.
            return Err(bad_url(
                &format!("{scheme}://…"),
                "credentials belong in the environment, not in the address",
            ));
        }
        if scheme == "memory" {
            return Ok(StoreUrl::Memory);
        }
        let prefix = prefix.trim_matches('/').to_owned();
        let named = |what: &str| match place {
            "" => Err(bad(&format!("the {what} is missing"))),
            place => Ok(place.to_owned()),
        };
        if object_store::path::Path::parse(&prefix).is_err() {
            return Err(bad(
                "the path may not hold empty segments, '.', '..' or control characters",
            ));
        }
        match scheme {
            "s3" | "s3a" => Ok(StoreUrl::S3 {
                bucket: named("bucket")?,
                prefix,
            }),
            "gs" | "gcs" => Ok(StoreUrl::Gcs {
                bucket: named("bucket")?,
                prefix,
            }),
            "az" | "azure" => Ok(StoreUrl::Azure {
                container: named("container")?,
                prefix,
            }),
            _ => Err(bad(&format!("stores of kind {scheme}:// are not known"))),
        }
    }

    /// The path inside the bucket, container or folder.
    pub(super) fn prefix(&self) -> &str {
        match self {
            StoreUrl::Local(_) | StoreUrl::Memory => "",
            StoreUrl::S3 { prefix, .. }
            | StoreUrl::Gcs { prefix, .. }
            | StoreUrl::Azure { prefix, .. } => prefix,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, place, prefix) = match self {
            StoreUrl::Local(path) => return write!(f, "file://{}", path.display()),
            StoreUrl::Memory => return f.write_str("memory://"),
            StoreUrl::S3 { bucket, prefix } => ("s3", bucket, prefix),
            StoreUrl::Gcs { bucket, prefix } => ("gs", bucket, prefix),
            StoreUrl::Azure { container, prefix } => ("az", container, prefix),
        };
        write!(f, "{scheme}://{place}")?;
        if !prefix.is_empty() {
            write!(f, "/{prefix}")?;
        }
        Ok(())
    }
}

fn local(text: &str, path: &str) -> Result<StoreUrl, StoreError> {
    std::path::absolute(Path::new(path))
        .map(StoreUrl::Local)
        .map_err(|e| bad_url(text, &e.to_string()))
}

pub(super) fn bad_url(url: &str, reason: &str) -> StoreError {
    StoreError::BadUrl {
        url: url.to_owned(),
        reason: reason.to_owned(),
    }
}
