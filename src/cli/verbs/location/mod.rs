//! `ark backup-location …`: only through the server; in direct mode a repository is named by its URL.

pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
pub mod set;

use std::path::Path;

use k8s_openapi::ByteString;
use serde_json::Value;

use crate::api::{self, AccessMode, BackupStorageLocation, SecretKey};
use crate::cli::args::location::AccessModeName;
use crate::cli::args::values::Named;
use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::served::Served;

/// The way to the server.
async fn serve(context: &Context) -> Result<Served> {
    match context.is_direct() {
        true => Err(Error::only_served("backup-location")),
        false => context.serve().await,
    }
}

/// `backupstoragelocation.ark.heptio.com/x`
fn location_name(name: &str) -> String {
    format!("backupstoragelocation.{}/{name}", api::GROUP)
}

/// The phase column.
fn phase(location: &BackupStorageLocation) -> String {
    let phase = location.status.as_ref().and_then(|status| status.phase);
    phase.map_or_else(|| "New".to_owned(), |phase| format!("{phase:?}"))
}

/// `bucket/prefix`
fn place(location: &BackupStorageLocation) -> String {
    let storage = &location.spec.object_storage;
    match &storage.prefix {
        Some(prefix) => format!("{}/{prefix}", storage.bucket),
        None => storage.bucket.clone(),
    }
}

/// A word of the API as it is written there.
fn word<T: serde::Serialize>(of: T) -> String {
    match serde_json::json!(of) {
        Value::String(word) => word,
        other => other.to_string(),
    }
}

fn access(mode: AccessModeName) -> AccessMode {
    match mode {
        AccessModeName::ReadWrite => AccessMode::ReadWrite,
        AccessModeName::ReadOnly => AccessMode::ReadOnly,
    }
}

fn secret(named: Named) -> SecretKey {
    SecretKey {
        name: named.name,
        key: named.key,
    }
}

/// The certificates in a file.
fn certificates(path: &Path) -> Result<ByteString> {
    let read = std::fs::read(path).map_err(|source| Error::Read {
        what: "certificates",
        path: path.to_owned(),
        source,
    })?;
    match read.windows(10).any(|bytes| bytes == b"-----BEGIN") {
        true => Ok(ByteString(read)),
        false => Err(Error::Usage {
            what: format!("{} holds no certificates", path.display()),
            hint: Some("give a PEM file".to_owned()),
        }),
    }
}
