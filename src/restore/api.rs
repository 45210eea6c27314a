//! The requests that a restore makes, with the waits that creating objects needs.
//!
//! [`Cluster::call`] retries what passes by itself. What is retried here is what a restore brings about: a quota that
//! two pods raise at once, a namespace whose account is not there yet, a definition whose handlers come up a moment
//! after it is established.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;

use super::object::Uid;
use super::target::Target;
use crate::cluster::{Call, Cluster, Error, ObjectMetaView, Patience, Verb, describe, kinds};

/// Only the metadata of an answer is of interest.
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// Who writes the fields of restored objects.
pub const FIELD_MANAGER: &str = "ark";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// How long a refusal that the restore itself brings about is waited out.
const SETTLE: Duration = Duration::from_secs(15);

/// Whether the apiserver only says what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does it.
    Real,
    /// It says what it would do.
    DryRun,
}

impl Mode {
    fn query(self) -> &'static str {
        match self {
            Mode::Real => "",
            Mode::DryRun => "&dryRun=All",
        }
    }
}

/// The answer to a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It is there now.
    Yes {
        /// Its uid.
        uid: Option<Uid>,
        /// What the target's version of the API does not know and left out.
        dropped: Option<String>,
    },
    /// One of that name was there.
    Exists,
}

/// The requests of a restore.
#[derive(Clone, Copy)]
pub struct Requests<'a> {
    /// Where they go.
    pub cluster: &'a Cluster,
    /// Whether they act.
    pub mode: Mode,
}

impl Requests<'_> {
    /// Creates an object.
    ///
    /// Fields that the target does not know are an error at first, so that none is lost unseen; then, if the target serves
    /// the version that was backed up, they are left out and named.
    pub async fn create(
        &self,
        target: &Target,
        namespace: Option<&str>,
        body: Bytes,
    ) -> Result<Created, Error> {
        let began = Instant::now();
        let mut validation = "Strict";
        let mut dropped = None;
        let mut pause = Duration::from_millis(50);
        loop {
            let path = format!(
                "{}?fieldManager={FIELD_MANAGER}&fieldValidation={validation}{}",
                target.resource.collection_path(namespace),
                self.mode.query()
            );
            let call = Call {
                accept: METADATA,
                patience: Patience {
                    attempts: 6,
                    ..Patience::LONG
                },
                ..Call::new(Verb::Create, path).with_body("application/json", body.clone())
            };
            let error = match self.cluster.call(&call).await {
                Ok(answer) => {
                    return Ok(Created::Yes {
                        uid: uid(&answer),
                        dropped,
                    });
                }
                Err(error) => error,
            };
            if error.is_already_exists() {
                return Ok(Created::Exists);
            }
            if validation == "Strict"
                && target.same_version
                && let Some(unknown) = unknown_fields(&error)
            {
                validation = "Ignore";
                dropped = Some(unknown);
                continue;
            }
            if is_address_taken(&error) {
                // The apiserver says so before it looks at the name.
                let name = serde_json::from_slice::<Value>(&body).ok();
                let name = name
                    .as_ref()
                    .and_then(|object| object["metadata"]["name"].as_str());
                if let Some(name) = name
                    && self.get(target, namespace, name).await?.is_some()
                {
                    return Ok(Created::Exists);
                }
                return Err(error);
            }
            if !settles(&error, target) || self.mode == Mode::DryRun || began.elapsed() > SETTLE {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Reads an object; none if it is not there.
    pub async fn get(
        &self,
        target: &Target,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, Error> {
        match self.cluster.get(&target.resource, namespace, name).await {
            Ok(body) => {
                let path = target.resource.object_path(namespace, name);
                serde_json::from_slice(&body)
                    .map(Some)
                    .map_err(|source| Error::Decode { path, source })
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies a merge patch to an object, or to its status. Returns the object.
    pub async fn patch(
        &self,
        target: &Target,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<Bytes, Error> {
        let mut path = target.resource.object_path(namespace, name);
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path.push_str(&format!(
            "?fieldManager={FIELD_MANAGER}{}",
            self.mode.query()
        ));
        // A value always becomes text.
        let body = serde_json::to_vec(patch).unwrap_or_default();
        let accept = match self.mode {
            Mode::Real => METADATA,
            Mode::DryRun => "application/json",
        };
        let mut attempts = 0;
        loop {
            let call = Call {
                accept,
                ..Call::new(Verb::Patch, path.clone()).with_body(MERGE_PATCH, body.clone())
            };
            match self.cluster.call(&call).await {
                Err(error) if error.is_conflict() && attempts < 5 && !names_a_uid(patch) => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_millis(50 << attempts)).await;
                }
                answer => return answer,
            }
        }
    }

    /// Waits until an object is gone, or another one of its name is there. False if that took too long.
    pub async fn wait_until_gone(
        &self,
        target: &Target,
        namespace: Option<&str>,
        live: &Value,
        patience: Duration,
    ) -> Result<bool, Error> {
        let began = Instant::now();
        let name = live["metadata"]["name"].as_str().unwrap_or_default();
        let mut pause = Duration::from_millis(100);
        while began.elapsed() < patience {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            match self.get(target, namespace, name).await? {
                Some(now) if now["metadata"]["uid"] == live["metadata"]["uid"] => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }
}

/// The uid in an answer.
pub fn uid(answer: &[u8]) -> Option<Uid> {
    let text = std::str::from_utf8(answer).ok()?;
    Uid::parse(&ObjectMetaView::parse(text).ok()?.uid)
}

/// The uid of an object.
pub fn uid_of(object: &Value) -> Option<Uid> {
    Uid::parse(object["metadata"]["uid"].as_str()?)
}

/// What went wrong, for people: the apiserver's own words where it answered.
pub fn reason(error: &Error) -> String {
    if let Some(api) = error.api() {
        return match api.message.trim() {
            "" => format!("the apiserver answered HTTP {}", api.code),
            message => message.to_owned(),
        };
    }
    describe(error)
}

fn names_a_uid(patch: &Value) -> bool {
    patch["metadata"]["uid"].is_string()
}

fn unknown_fields(error: &Error) -> Option<String> {
    let api = error.api().filter(|api| api.code == 400)?;
    let (_, fields) = api.message.split_once("strict decoding error: ")?;
    Some(fields.to_owned())
}

/// Whether an address or a port that the object asks for belongs to another one.
pub fn is_address_taken(error: &Error) -> bool {
    error.api().is_some_and(|api| {
        api.code == 422
            && (api.message.contains("provided port is already allocated")
                || api.message.contains("provided IP is already allocated"))
    })
}

/// Whether the refusal goes away when the rest of the restore, or a controller, has caught up.
fn settles(error: &Error, target: &Target) -> bool {
    let Some(api) = error.api() else {
        return false;
    };
    match api.code {
        // A quota counts under optimistic locking.
        409 => api.reason == "Conflict",
        403 => api.message.contains("error looking up service account"),
        // A new definition is established a moment before its paths answer. A missing namespace is named.
        404 => {
            !kinds::is_builtin_group(target.resource.group())
                && !api.message.contains("namespaces \"")
        }
        _ => false,
    }
}
