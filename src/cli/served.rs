//! The way through ark's server: its objects, read and written with the user's own kubeconfig.
//!
//! Nothing but ark's kinds and the servers' Lease is touched, so a role on those is all that a user needs. An apiserver
//! that does not know ark's kinds, and a namespace where no server works, are told apart from an object that is not there.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::{Error, Result};
use crate::api::names::check_name;
use crate::cluster::{self, Call, Cluster, Patience, Verb};
use crate::server::leader::LEASE;

/// Objects asked for at once.
const PAGE: usize = 500;

/// How long a server that was just replaced may take to come back.
const HANDOVER: Duration = Duration::from_secs(20);

/// A kind of ark's.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Serialize
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Serialize
{
}

/// An object, and what the apiserver sent.
#[derive(Debug, Clone)]
pub struct Found<K> {
    /// The object.
    pub object: K,
    /// All of it but for the fields that tell who wrote what.
    pub value: Value,
}

/// Ark's objects in a namespace of a cluster.
pub struct Served {
    cluster: Cluster,
    namespace: String,
}

/// Why nobody can be asked.
pub fn unasked(source: cluster::Error) -> Error {
    Error::Unasked { source }
}

impl Served {
    /// Ark's objects in that namespace.
    pub fn new(cluster: Cluster, namespace: &str) -> Served {
        Served {
            cluster,
            namespace: namespace.to_owned(),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The namespace of ark's objects.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The object of that name, or the error that there is none.
    pub async fn get<K: Kind>(&self, name: &str) -> Result<Found<K>> {
        self.find(name).await?.ok_or_else(|| self.none::<K>(name))
    }

    /// The object of that name, if there is one.
    pub async fn find<K: Kind>(&self, name: &str) -> Result<Option<Found<K>>> {
        self.look(name, Patience::SHORT).await
    }

    /// As [`Served::find`]; an apiserver that restarts is waited for.
    pub async fn find_again<K: Kind>(&self, name: &str) -> Result<Option<Found<K>>> {
        self.look(name, Patience::LONG).await
    }

    async fn look<K: Kind>(&self, name: &str, patience: Patience) -> Result<Option<Found<K>>> {
        // What is no name names nothing, and must not lead to another path.
        if check_name("", name).is_err() {
            return Ok(None);
        }
        let call = Call {
            patience,
            ..Call::new(Verb::Get, self.path::<K>(Some(name)))
        };
        match self.cluster.call(&call).await {
            Ok(body) => self.read(&call, &body).map(Some),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.refused::<K>(error, "read")),
        }
    }

    /// All objects of the kind.
    pub async fn list<K: Kind>(&self) -> Result<Vec<Found<K>>> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut path = format!("{}?limit={PAGE}", self.path::<K>(None));
            if let Some(token) = &next {
                let token: String =
                    url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
                path.push_str(&format!("&continue={token}"));
            }
            let call = Call {
                patience: Patience::SHORT,
                ..Call::new(Verb::List, path)
            };
            let body = self.cluster.call(&call).await;
            let body = body.map_err(|error| self.refused::<K>(error, "list"))?;
            let mut page: Value = parse(&call, &body)?;
            next = page["metadata"]["continue"]
                .as_str()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            let items = match page["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            for mut item in items {
                // Items of a list do not say what they are.
                item["apiVersion"] = json!(K::api_version(&()));
                item["kind"] = json!(K::kind(&()));
                found.push(self.found(&call, item)?);
            }
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// Makes the object. It is tried once: an answer that was lost must not turn into "exists already".
    pub async fn create<K: Kind>(&self, object: &K) -> Result<Found<K>> {
        let mut value = json!(object);
        if let Some(map) = value.as_object_mut() {
            map.remove("status");
        }
        let call = Call {
            patience: Patience {
                attempts: 1,
                ..Patience::SHORT
            },
            ..Call::new(Verb::Create, self.path::<K>(None))
        };
        let call = call.with_body("application/json", value.to_string());
        match self.cluster.call(&call).await {
            Ok(body) => self.read(&call, &body),
            Err(error) if error.is_already_exists() => Err(Error::Exists {
                kind: K::kind(&()).into_owned(),
                name: object.meta().name.clone().unwrap_or_default(),
                namespace: self.namespace.clone(),
            }),
            Err(error) => Err(self.refused::<K>(error, "create")),
        }
    }

    /// Changes the object of that name by a merge patch.
    pub async fn merge<K: Kind>(&self, name: &str, patch: &Value) -> Result<Found<K>> {
        let call = Call {
            patience: Patience::SHORT,
            ..Call::new(Verb::Patch, self.path::<K>(Some(name)))
        };
        let call = call.with_body("application/merge-patch+json", patch.to_string());
        match self.cluster.call(&call).await {
            Ok(body) => self.read(&call, &body),
            Err(error) if is_absent(&error) => Err(self.none::<K>(name)),
            Err(error) => Err(self.refused::<K>(error, "change")),
        }
    }

    /// Deletes the object of that name. One that is gone already is as good.
    pub async fn delete<K: Kind>(&self, name: &str) -> Result<()> {
        let call = Call {
            patience: Patience::SHORT,
            ..Call::new(Verb::Delete, self.path::<K>(Some(name)))
        };
        match self.cluster.call(&call).await {
            Ok(_) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(self.refused::<K>(error, "delete")),
        }
    }

    /// Fails if nobody works on what would be made.
    pub async fn require_server(&self) -> Result<()> {
        let mut pulse = Pulse::default();
        let since = Instant::now();
        loop {
            match pulse.beat(self).await? {
                Beat::Unknown | Beat::Alive => return Ok(()),
                Beat::Still if since.elapsed() < HANDOVER => {}
                Beat::Still | Beat::Never => {
                    return Err(Error::NoServer {
                        namespace: self.namespace.clone(),
                    });
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// The error that there is no such object.
    pub fn none<K: Kind>(&self, name: &str) -> Error {
        Error::NoNamed {
            kind: K::kind(&()).into_owned(),
            name: name.to_owned(),
            namespace: self.namespace.clone(),
        }
    }

    fn path<K: Kind>(&self, name: Option<&str>) -> String {
        let path = K::url_path(&(), Some(&self.namespace));
        match name {
            Some(name) => format!("{path}/{name}"),
            None => path,
        }
    }

    fn read<K: Kind>(&self, call: &Call, body: &[u8]) -> Result<Found<K>> {
        self.found(call, parse(call, body)?)
    }

    fn found<K: Kind>(&self, call: &Call, mut value: Value) -> Result<Found<K>> {
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let object = K::deserialize(&value).map_err(|source| unreadable(call, source))?;
        Ok(Found { object, value })
    }

    fn refused<K: Kind>(&self, error: cluster::Error, what: &str) -> Error {
        let kind = K::kind(&()).into_owned();
        match &error {
            cluster::Error::Api(api) if api.code == 404 && is_absent(&error) => Error::NoServer {
                namespace: self.namespace.clone(),
            },
            cluster::Error::Api(api) if api.code == 404 => Error::NoDefinitions {
                server: self.cluster.server().to_owned(),
                kind: K::plural(&()).into_owned(),
            },
            cluster::Error::Api(_) => Error::Cluster {
                doing: format!("cannot {what} a {kind}"),
                source: error,
            },
            _ => unasked(error),
        }
    }
}

/// Whether the apiserver knows the kind, and has no such object (or namespace).
fn is_absent(error: &cluster::Error) -> bool {
    error.api().is_some_and(|api| {
        api.code == 404
            && api.reason == "NotFound"
            && !api
                .message
                .contains("could not find the requested resource")
    })
}

fn parse(call: &Call, body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).map_err(|source| unreadable(call, source))
}

fn unreadable(call: &Call, source: serde_json::Error) -> Error {
    Error::Cluster {
        doing: "cannot read ark's objects".to_owned(),
        source: cluster::Error::Decode {
            path: call.path.clone(),
            source,
        },
    }
}

/// Whether a server works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// One does.
    Alive,
    /// One did, and has said nothing for longer than it may.
    Still,
    /// None ever did.
    Never,
    /// The user may not look.
    Unknown,
}

/// Watches the servers' Lease. It is alive if it was renewed lately, or changes while it is watched: the clocks of two
/// machines need not agree.
#[derive(Debug, Default)]
pub struct Pulse(Option<Seen>);

#[derive(Debug)]
struct Seen {
    renewed: Option<Timestamp>,
    since: Instant,
    changed: bool,
}

impl Pulse {
    /// Looks at the Lease.
    pub async fn beat(&mut self, served: &Served) -> Result<Beat> {
        let lease = match served.find::<Lease>(LEASE).await {
            Ok(Some(lease)) => lease.object.spec.unwrap_or_default(),
            Ok(None) => return Ok(Beat::Never),
            Err(Error::Cluster { source, .. }) if source.is_forbidden() => {
                return Ok(Beat::Unknown);
            }
            Err(error) => return Err(error),
        };
        let seconds = lease.lease_duration_seconds.unwrap_or(15).unsigned_abs();
        let held = lease.holder_identity.is_some_and(|name| !name.is_empty());
        Ok(self.judge(
            held,
            lease.renew_time.map(|time| time.0),
            Duration::from_secs(seconds.into()),
            Timestamp::now(),
            Instant::now(),
        ))
    }

    fn judge(
        &mut self,
        held: bool,
        renewed: Option<Timestamp>,
        duration: Duration,
        now: Timestamp,
        at: Instant,
    ) -> Beat {
        let patience = duration.saturating_mul(2);
        let seen = self.0.get_or_insert(Seen {
            renewed,
            since: at,
            changed: false,
        });
        if seen.renewed != renewed {
            *seen = Seen {
                renewed,
                since: at,
                changed: true,
            };
        }
        let near = renewed.is_some_and(|time| now.duration_since(time).unsigned_abs() <= patience);
        let moves = seen.changed && at.duration_since(seen.since) <= patience;
        match held && (near || moves) {
            true => Beat::Alive,
            false => Beat::Still,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lease_that_moves_is_alive_whatever_the_clocks_say() {
        let lease = Duration::from_secs(15);
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let ago = |seconds: i64| Some(now - jiff::SignedDuration::from_secs(seconds));
        let at = Instant::now();
        let mut pulse = Pulse::default();
        assert_eq!(pulse.judge(true, ago(10), lease, now, at), Beat::Alive);
        assert_eq!(pulse.judge(false, ago(10), lease, now, at), Beat::Still);
        // Its clock is an hour off.
        let mut pulse = Pulse::default();
        assert_eq!(pulse.judge(true, ago(3600), lease, now, at), Beat::Still);
        let later = at + Duration::from_secs(5);
        assert_eq!(pulse.judge(true, ago(3600), lease, now, later), Beat::Still);
        assert_eq!(pulse.judge(true, ago(3595), lease, now, later), Beat::Alive);
        let soon = later + Duration::from_secs(30);
        assert_eq!(pulse.judge(true, ago(3595), lease, now, soon), Beat::Alive);
        let late = later + Duration::from_secs(31);
        assert_eq!(pulse.judge(true, ago(3595), lease, now, late), Beat::Still);
    }
}
