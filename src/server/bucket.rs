//! From a BackupStorageLocation and the bytes of its credential Secret to what the engine's store takes.
//!
//! The decision is pure: it reads no file, no Secret and no environment, and sends nothing. What it guarantees:
//!
//! * Every key of `config` acts, is reported as a note, or makes the location invalid. None is silently ignored.
//! * A location with a credential gets that credential and nothing of the server's own surroundings. Only a location without
//!   one gets the identity that the cloud gives the pod, and of the environment only the variables that name it.
//! * Errors name the location's field, and never repeat a credential.

use std::collections::BTreeMap;

use ark_engine::store::StoreOptions;
use thiserror::Error;

mod aws;
mod azure;
mod gcp;

/// What a location says, apart from secrets.
#[derive(Debug, Clone, Default)]
pub struct Place<'a> {
    /// `aws`, `s3`, `gcp`, `azure` or `local`; Velero's prefix `velero.io/` is accepted.
    pub provider: &'a str,
    /// The bucket or container; for `local` a folder.
    pub bucket: &'a str,
    /// The path in the bucket.
    pub prefix: Option<&'a str>,
    /// PEM certificates to trust for this location.
    pub ca_cert: Option<&'a [u8]>,
    /// The provider's settings.
    pub config: BTreeMap<String, String>,
}

/// Where a location's repository is, and how it is reached.
#[derive(Clone)]
pub struct Bucket {
    /// The address for [`ark_engine::store::Store::open`].
    pub url: String,
    /// The settings, credentials included. `ca_file` is not set: that is up to who writes [`Bucket::ca`] into a file.
    pub options: StoreOptions,
    /// PEM certificates to trust.
    pub ca: Option<Vec<u8>>,
    /// What was accepted and has no effect, with the reason.
    pub notes: Vec<String>,
}

/// The credentials stay out of logs.
impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("url", &self.url)
            .field("endpoint", &self.options.endpoint)
            .field("region", &self.options.region)
            .field("variables", &self.options.env.keys().collect::<Vec<_>>())
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// Why a location cannot be used as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BucketError {
    /// No such provider.
    #[error(
        "spec.provider {provider:?} is not known: ark has aws, s3, gcp, azure and local built in"
    )]
    Provider {
        /// What stands there.
        provider: String,
    },
    /// A field that is missing or makes no sense.
    #[error("{field} {problem}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The credential Secret does not hold what the provider needs.
    #[error("the credential of the location {problem}")]
    Credential {
        /// What is wrong with it, and what to do. Holds nothing of its value.
        problem: String,
    },
}

impl BucketError {
    fn field(field: impl Into<String>, problem: impl Into<String>) -> BucketError {
        BucketError::Field {
            field: field.into(),
            problem: problem.into(),
        }
    }

    fn config(key: &str, problem: impl Into<String>) -> BucketError {
        BucketError::field(format!("spec.config.{key}"), problem)
    }

    fn credential(problem: impl Into<String>) -> BucketError {
        BucketError::Credential {
            problem: problem.into(),
        }
    }
}

/// What a location means. `credential` are the bytes that `spec.credential` refers to; `environment` is the server's,
/// of which only the variables that name the pod's cloud identity are used, and only without a credential.
///
/// # Errors
/// [`BucketError`], with the field.
pub fn bucket(
    place: &Place<'_>,
    credential: Option<&[u8]>,
    environment: &BTreeMap<String, String>,
) -> Result<Bucket, BucketError> {
    let provider = place
        .provider
        .strip_prefix("velero.io/")
        .unwrap_or(place.provider);
    let credential = credential.map(text).transpose()?;
    let mut config = Config::new(&place.config);
    let mut options = StoreOptions::default();
    let scheme = match provider {
        "aws" | "s3" => {
            aws::settle(provider, &mut config, credential, environment, &mut options)?;
            "s3"
        }
        "gcp" => {
            gcp::settle(&mut config, credential, environment, &mut options)?;
            "gs"
        }
        "azure" => {
            azure::settle(&mut config, credential, environment, &mut options)?;
            "az"
        }
        "local" => {
            if credential.is_some() {
                return Err(BucketError::field(
                    "spec.credential",
                    "means nothing for the provider local; remove it",
                ));
            }
            "file"
        }
        other => {
            return Err(BucketError::Provider {
                provider: other.to_owned(),
            });
        }
    };
    let notes = config.finish(provider)?;
    let ca = place
        .ca_cert
        .filter(|pem| !pem.is_empty())
        .map(<[u8]>::to_vec);
    if scheme == "file" && ca.is_some() {
        return Err(BucketError::field(
            "spec.objectStorage.caCert",
            "means nothing for the provider local; remove it",
        ));
    }
    Ok(Bucket {
        url: address(scheme, place)?,
        options,
        ca,
        notes,
    })
}

fn address(scheme: &str, place: &Place<'_>) -> Result<String, BucketError> {
    let field = "spec.objectStorage.bucket";
    let prefix = place.prefix.unwrap_or("").trim_matches('/');
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    let strange = |text: &str| text.chars().any(|c| c.is_control() || "?#@\\".contains(c));
    if strange(prefix) || (!prefix.is_empty() && prefix.split('/').any(bad)) {
        return Err(BucketError::field(
            "spec.objectStorage.prefix",
            format!("{prefix:?} is not a path of plain names"),
        ));
    }
    let bucket = match scheme {
        "file" => {
            let folder = place.bucket.trim_end_matches('/');
            let plain = folder
                .strip_prefix('/')
                .is_some_and(|rest| !strange(rest) && !rest.split('/').any(bad));
            if !plain {
                return Err(BucketError::field(
                    field,
                    format!(
                        "{:?} is not a folder: for the provider local it is the absolute path where a volume is mounted",
                        place.bucket
                    ),
                ));
            }
            folder
        }
        _ => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if place.bucket.is_empty() || !place.bucket.chars().all(allowed) {
                return Err(BucketError::field(
                    field,
                    format!("{:?} is not the name of a bucket", place.bucket),
                ));
            }
            place.bucket
        }
    };
    Ok(match prefix {
        "" => format!("{scheme}://{bucket}"),
        prefix => format!("{scheme}://{bucket}/{prefix}"),
    })
}

fn text(bytes: &[u8]) -> Result<&str, BucketError> {
    std::str::from_utf8(bytes).map_err(|_| BucketError::credential("is not text"))
}

/// The keys of `config` that nobody has looked at yet.
struct Config {
    left: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Config {
    fn new(config: &BTreeMap<String, String>) -> Config {
        Config {
            left: config.clone(),
            notes: Vec::new(),
        }
    }

    /// The value; an empty one counts as absent, as with Velero.
    fn take(&mut self, key: &str) -> Option<String> {
        self.left.remove(key).filter(|value| !value.is_empty())
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, BucketError> {
        self.take(key)
            .map(|value| match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "t" => Ok(true),
                "false" | "0" | "f" => Ok(false),
                _ => Err(BucketError::config(
                    key,
                    format!("is {value:?}, neither true nor false"),
                )),
            })
            .transpose()
    }

    /// A key that means nothing here, and whose absence changes nothing.
    fn note(&mut self, key: &str, why: &str) {
        if self.left.remove(key).is_some() {
            self.notes
                .push(format!("spec.config.{key} has no effect: {why}"));
        }
    }

    /// A key that would change what is stored or who may read it, and that ark cannot honour.
    fn refuse(&mut self, key: &str, why: &str) -> Result<(), BucketError> {
        match self.take(key) {
            Some(_) => Err(BucketError::config(key, why)),
            None => Ok(()),
        }
    }

    /// As [`Config::refuse`], where `false` asks for what ark does anyway.
    fn refuse_true(&mut self, key: &str, why: &str) -> Result<(), BucketError> {
        match self.flag(key)? {
            Some(true) => Err(BucketError::config(key, why)),
            _ => Ok(()),
        }
    }

    fn finish(self, provider: &str) -> Result<Vec<String>, BucketError> {
        match self.left.keys().next() {
            Some(key) => Err(BucketError::config(
                key,
                format!("is not a setting of the provider {provider}"),
            )),
            None => Ok(self.notes),
        }
    }
}

/// Copies the variables of these names, where they are set.
fn identity(
    names: &[&str],
    environment: &BTreeMap<String, String>,
    options: &mut StoreOptions,
) -> bool {
    let mut any = false;
    for name in names {
        if let Some(value) = environment.get(*name).filter(|value| !value.is_empty()) {
            options.env.insert((*name).to_owned(), value.clone());
            any = true;
        }
    }
    any
}

/// The endpoint, and whether it is one without TLS. That the address says so is permission enough.
fn endpoint(key: &str, url: String, options: &mut StoreOptions) -> Result<(), BucketError> {
    let parsed = url::Url::parse(&url)
        .ok()
        .filter(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host());
    let Some(parsed) = parsed else {
        return Err(BucketError::config(
            key,
            "is not an address that starts with https:// or http://",
        ));
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(BucketError::config(
            key,
            "holds credentials; put them into the Secret of spec.credential",
        ));
    }
    options.allow_http = parsed.scheme() == "http";
    options.endpoint = Some(url);
    Ok(())
}

#[cfg(test)]
mod tests;
