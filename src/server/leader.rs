//! Which replica works: a Lease that one holds and renews.
//!
//! What it guarantees:
//!
//! * At most one replica acts at a time, as long as clocks tick at nearly the same speed. No two clocks are compared: a candidate takes
//!   a lease over when it has watched the same record for the lease's whole duration by its own monotonic clock, and a holder counts
//!   from the moment before it sent the renewal that succeeded, and stops at two thirds of the duration.
//! * Every write carries the resourceVersion that the decision was made on, so that of two candidates one loses, and a holder that
//!   overslept never renews over its successor.
//! * A holder that leaves in good order gives the lease back, and the next one starts at once.
//!
//! A ready-made library was looked at: it goes on saying "leader" while the apiserver cannot be reached, and compares wall clocks.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::ObjectMeta;

/// The name of the Lease.
pub const LEASE: &str = "ark-server";

/// What a lease says, as far as a decision needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who holds it; empty means nobody.
    pub holder: String,
    /// How long a holder that says nothing keeps it.
    pub duration: Duration,
    /// What changes with every renewal.
    pub renewed: Option<jiff::Timestamp>,
    /// How often it changed hands.
    pub transitions: i32,
}

/// What a candidate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nobody holds it, or the holder is gone: try to take it.
    Take,
    /// Somebody holds it: look again then.
    Wait(Duration),
}

/// A record and how long it has been watched without a change.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    record: Option<Record>,
    since: Option<Instant>,
}

impl Watched {
    /// Decides what to do about what the lease says now.
    pub fn decide(&mut self, found: &Record, me: &str, retry: Duration, now: Instant) -> Step {
        // Ours: an earlier try of this very process whose answer was lost.
        if found.holder.is_empty() || found.holder == me {
            return Step::Take;
        }
        let since = match (&self.record, self.since) {
            (Some(record), Some(since)) if record == found => since,
            _ => {
                self.record = Some(found.clone());
                self.since = Some(now);
                now
            }
        };
        let left = (since + found.duration).saturating_duration_since(now);
        match left.is_zero() {
            true => Step::Take,
            false => Step::Wait(left.min(retry)),
        }
    }
}

/// Takes part in the election.
pub struct Election {
    leases: Api<Lease>,
    me: String,
    duration: Duration,
}

/// The lease is held.
pub struct Held {
    version: String,
    record: Record,
    /// When this process has to stop unless it has renewed.
    until: Instant,
}

impl Election {
    /// An election among the servers of a namespace.
    pub fn new(client: Client, namespace: &str, me: &str, duration: Duration) -> Election {
        Election {
            leases: Api::namespaced(client, namespace),
            me: me.to_owned(),
            duration,
        }
    }

    /// Waits until this process holds the lease.
    pub async fn win(&self) -> Held {
        let retry = self.duration / 6;
        let mut watched = Watched::default();
        loop {
            let wait = match self.try_once(&mut watched, retry).await {
                Ok(Ok(held)) => {
                    tracing::info!(identity = %self.me, "holds the lease {LEASE}: this replica works now");
                    return held;
                }
                Ok(Err(wait)) => wait,
                Err(error) => {
                    tracing::warn!(%error, "cannot take part in the election; trying again");
                    retry
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn try_once(
        &self,
        watched: &mut Watched,
        retry: Duration,
    ) -> Result<Result<Held, Duration>, kube::Error> {
        let Some(lease) = self.leases.get_opt(LEASE).await? else {
            return Ok(self.write(None, Record::default()).await?.ok_or(retry));
        };
        let record = read(&lease);
        match watched.decide(&record, &self.me, retry, Instant::now()) {
            Step::Wait(wait) => Ok(Err(wait)),
            Step::Take => {
                let version = lease.metadata.resource_version;
                Ok(self.write(version, record).await?.ok_or(retry))
            }
        }
    }

    /// Writes the lease as ours; `None` if somebody was faster.
    async fn write(
        &self,
        version: Option<String>,
        before: Record,
    ) -> Result<Option<Held>, kube::Error> {
        let asked = Instant::now();
        let ours = before.holder == self.me;
        let record = Record {
            holder: self.me.clone(),
            duration: self.duration,
            renewed: Some(jiff::Timestamp::now()),
            transitions: before.transitions + i32::from(!ours && version.is_some()),
        };
        let lease = self.lease(version.clone(), &record);
        let parameters = PostParams::default();
        let written = match version {
            None => self.leases.create(&parameters, &lease).await,
            Some(_) => self.leases.replace(LEASE, &parameters, &lease).await,
        };
        match written {
            Ok(lease) => Ok(Some(Held {
                version: lease.metadata.resource_version.unwrap_or_default(),
                record,
                until: asked + self.duration * 2 / 3,
            })),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lease(&self, version: Option<String>, record: &Record) -> Lease {
        let seconds = i32::try_from(record.duration.as_secs()).unwrap_or(i32::MAX);
        Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: Some(seconds),
                renew_time: record.renewed.map(MicroTime),
                acquire_time: record.renewed.map(MicroTime),
                lease_transitions: Some(record.transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Renews the lease until it is lost or `stop` fires. Returns what is held then; `None`: it is lost.
    pub async fn keep(&self, mut held: Held, stop: &CancellationToken) -> Option<Held> {
        let beat = self.duration / 6;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Some(held),
                () = tokio::time::sleep(beat) => {}
            }
            let renewal = self.write(Some(held.version.clone()), held.record.clone());
            match tokio::time::timeout_at(held.until, renewal).await {
                Ok(Ok(Some(renewed))) => held = renewed,
                // Somebody wrote it: who holds it now says the next look.
                Ok(Ok(None)) => match tokio::time::timeout_at(held.until, self.again()).await {
                    Ok(Some((version, record))) => {
                        held.version = version;
                        held.record = record;
                    }
                    Ok(None) => return None,
                    Err(_) => return None,
                },
                Ok(Err(error)) => {
                    tracing::warn!(%error, "cannot renew the lease {LEASE}");
                    if Instant::now() >= held.until {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// The lease as it is now, if it still is ours.
    async fn again(&self) -> Option<(String, Record)> {
        let lease = self.leases.get_opt(LEASE).await.ok()??;
        let record = read(&lease);
        (record.holder == self.me).then_some((lease.metadata.resource_version?, record))
    }

    /// Gives the lease back. If that fails, it ends by itself.
    pub async fn release(&self, held: Held) {
        let record = Record {
            holder: String::new(),
            duration: Duration::from_secs(1),
            renewed: Some(jiff::Timestamp::now()),
            transitions: held.record.transitions,
        };
        let lease = self.lease(Some(held.version), &record);
        let parameters = PostParams::default();
        let release = self.leases.replace(LEASE, &parameters, &lease);
        match tokio::time::timeout(Duration::from_secs(5), release).await {
            Ok(Ok(_)) => tracing::info!("gave the lease {LEASE} back"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot give the lease {LEASE} back"),
            Err(_) => tracing::warn!("cannot give the lease {LEASE} back: no answer"),
        }
    }
}

fn read(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or(0).max(0);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(u64::from(seconds.unsigned_abs())),
        renewed: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn record(holder: &str, renewed: i64) -> Record {
        Record {
            holder: holder.to_owned(),
            duration: Duration::from_secs(15),
            renewed: Some(jiff::Timestamp::from_second(renewed).unwrap()),
            transitions: 0,
        }
    }

    #[test]
    fn a_lease_is_taken_over_when_it_was_watched_unchanged_for_its_duration() {
        let retry = Duration::from_secs(2);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watched = Watched::default();
        let mut look = |found: &Record, seconds| watched.decide(found, "me", retry, at(seconds));
        // However old the record says it is: only what this process has watched counts.
        assert_eq!(look(&record("other", 0), 0), Step::Wait(retry));
        assert_eq!(
            look(&record("other", 0), 14),
            Step::Wait(Duration::from_secs(1))
        );
        // Renewed: watched from now on.
        assert_eq!(look(&record("other", 14), 14), Step::Wait(retry));
        assert_eq!(
            look(&record("other", 14), 28),
            Step::Wait(Duration::from_secs(1))
        );
        assert_eq!(look(&record("other", 14), 29), Step::Take);
        // Another one was faster.
        assert_eq!(look(&record("third", 29), 30), Step::Wait(retry));
        assert_eq!(look(&record("", 31), 31), Step::Take);
        assert_eq!(look(&record("me", 31), 31), Step::Take);
    }

    #[test]
    fn a_lease_without_a_duration_counts_as_ended() {
        let mut watched = Watched::default();
        let empty = Record {
            holder: "other".to_owned(),
            ..Record::default()
        };
        assert_eq!(
            watched.decide(&empty, "me", Duration::from_secs(2), Instant::now()),
            Step::Take
        );
    }
}
