//! Locations: is each one what it says, and does it work?
//!
//! A check opens the repository, or makes one in an empty place that may be written to, and reads its head. What lies there and is not
//! ark's is refused and left alone. The outcome is the status: `Available` or `Unavailable` with the reason and the next step; and the
//! condition `RecoveryMissing` as long as the key in the Secret is the only one. A recovery key that was handed over is added first. Checks come at the location's own pace, and at once when
//! its spec changes; a failed one changes nothing but the status.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use super::patch_status;
use crate::api::{BackupStorageLocation, Condition, LocationPhase, Time};
use crate::server::context::Context;
use crate::server::key;
use crate::server::metrics::of_location;
use crate::server::recovery;
use crate::server::repositories::RepositoriesError;
use crate::server::told::{chain, told};

/// The condition that says whether a location can be used.
pub const AVAILABLE: &str = "Available";
/// The condition that says that nobody could open the repository if the Secret were lost.
pub const RECOVERY_MISSING: &str = "RecoveryMissing";

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It can be used.
    Good {
        /// Settings that have no effect.
        notes: Vec<String>,
        /// Whether the key in the Secret is the only one; unknown if the slots cannot be listed.
        only_key: Option<bool>,
        /// The Secret of the key.
        secret: String,
    },
    /// It cannot be used.
    Bad {
        /// In one word.
        reason: &'static str,
        /// What happened, and what to do.
        message: String,
    },
}

/// What a finding changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The fields of the status to write.
    pub status: Value,
    /// What to tell, when something has changed: whether it is good, the reason, and the note.
    pub event: Option<(bool, &'static str, String)>,
}

/// How long until a location is to be checked; `None`: now.
pub fn wait(
    location: &BackupStorageLocation,
    default: Duration,
    now: Timestamp,
) -> Option<Duration> {
    let status = location.status.as_ref()?;
    let checked = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == AVAILABLE)?;
    if checked.observed_generation != location.metadata.generation {
        return None;
    }
    let last = status.last_validation_time.as_ref()?.0;
    super::remaining(last, location.spec.validation_frequency, default, now)
}

/// Judges a finding against what was known.
pub fn judge(location: &BackupStorageLocation, finding: &Finding, now: Timestamp) -> Verdict {
    let before = location.status.clone().unwrap_or_default();
    let generation = location.metadata.generation;
    let condition = |type_: &str, status: &str, reason: &str, message: String| {
        let since = before
            .conditions
            .iter()
            .find(|known| known.type_ == type_ && known.status == status)
            .map_or(Time(now), |known| known.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: since,
        }
    };
    let mut conditions = Vec::new();
    let (phase, message, event) = match finding {
        Finding::Good {
            notes,
            only_key,
            secret,
        } => {
            conditions.push(condition(AVAILABLE, "True", "Available", notes.join("; ")));
            let (status, reason, message) = match only_key {
                Some(true) => (
                    "True",
                    "OneKey",
                    format!(
                        "only the key in the Secret {secret} opens the repository: run ark repo keys recovery and keep what it prints \
                         away from this cluster"
                    ),
                ),
                Some(false) => ("False", "SeveralKeys", String::new()),
                None => (
                    "Unknown",
                    "KeysNotListed",
                    "the key slots cannot be listed with these credentials".to_owned(),
                ),
            };
            conditions.push(condition(RECOVERY_MISSING, status, reason, message));
            let event = (before.phase != Some(LocationPhase::Available)).then(|| {
                (
                    true,
                    "LocationAvailable",
                    "the repository can be used".to_owned(),
                )
            });
            (LocationPhase::Available, None, event)
        }
        Finding::Bad { reason, message } => {
            conditions.push(condition(AVAILABLE, "False", reason, message.clone()));
            // What was known of the keys stays known.
            conditions.extend(
                before
                    .conditions
                    .iter()
                    .filter(|known| known.type_ == RECOVERY_MISSING)
                    .cloned(),
            );
            let told = before.phase == Some(LocationPhase::Unavailable)
                && before.message.as_ref() == Some(message);
            let event = (!told).then(|| (false, "LocationUnavailable", message.clone()));
            (LocationPhase::Unavailable, Some(message.clone()), event)
        }
    };
    Verdict {
        status: json!({
            "phase": phase,
            "message": message,
            "lastValidationTime": Time(now),
            "conditions": conditions,
        }),
        event,
    }
}

/// Runs until `context.stop` fires.
pub async fn run(context: Context) {
    super::watch(context, "location", reconcile).await;
}

async fn reconcile(
    location: Arc<BackupStorageLocation>,
    context: Arc<Context>,
) -> Result<Action, kube::Error> {
    let name = location.name_any();
    let settings = &context.settings;
    let label = of_location(&name);
    let gauge = context
        .metrics
        .location_available
        .get_or_create_owned(&label);
    let known = location.status.as_ref().and_then(|status| status.phase);
    gauge.set(i64::from(known == Some(LocationPhase::Available)));
    show_recovery(&location, &context);
    if let Some(wait) = wait(&location, settings.validation_frequency, context.now()) {
        return Ok(Action::requeue(wait));
    }
    let finding = tokio::select! {
        finding = check(&location, &context) => finding,
        () = context.stop.cancelled() => return Ok(Action::await_change()),
    };
    let good = matches!(finding, Finding::Good { .. });
    gauge.set(i64::from(good));
    let verdict = judge(&location, &finding, context.now());
    let api = context.api::<BackupStorageLocation>();
    let written = patch_status(&api, &name, &verdict.status).await?;
    show_recovery(&written, &context);
    if let Some((good, reason, note)) = &verdict.event {
        tracing::info!(location = name, reason, "{note}");
        context.events.tell(&*location, *good, reason, note).await;
    }
    let pace = super::pace(
        location.spec.validation_frequency,
        settings.validation_frequency,
    );
    Ok(Action::requeue(pace))
}

/// What its condition says, also if another process wrote it.
fn show_recovery(location: &BackupStorageLocation, context: &Context) {
    let label = of_location(&location.name_any());
    let gauge = &context.metrics.recovery_missing;
    let status = location.status.as_ref();
    let conditions = status.map(|status| status.conditions.as_slice());
    let mut conditions = conditions.unwrap_or_default().iter();
    match conditions.find(|condition| condition.type_ == RECOVERY_MISSING) {
        Some(condition) if condition.status == "Unknown" => {
            gauge.remove(&label);
        }
        None => {}
        Some(condition) => {
            let missing = i64::from(condition.status == "True");
            gauge.get_or_create_owned(&label).set(missing);
        }
    }
}

async fn check(location: &BackupStorageLocation, context: &Context) -> Finding {
    let opened = match context.repositories.establish(location).await {
        Ok(opened) => opened,
        Err(error) => {
            return Finding::Bad {
                reason: reason(&error),
                message: chain(&error),
            };
        }
    };
    // An open repository says nothing of the bucket of today, and what was put back while it is open is an older one all the same.
    if let Err(error) = opened.repository.head().await {
        let message = told(&error);
        let error = RepositoriesError::Engine {
            location: opened.name.clone(),
            source: Box::new(error),
        };
        return Finding::Bad {
            reason: reason(&error),
            message,
        };
    }
    if let Err(error) = context.repositories.confirm(&opened).await {
        return Finding::Bad {
            reason: reason(&error),
            message: chain(&error),
        };
    }
    recovery::take(location, &opened, context).await;
    let keys = opened.repository.keys().await;
    Finding::Good {
        notes: opened.notes.clone(),
        only_key: keys.ok().map(|keys| keys.len() < 2),
        secret: key::reference(location.spec.repository_key.as_ref()).name,
    }
}

fn reason(error: &RepositoriesError) -> &'static str {
    match error {
        RepositoriesError::NoLocation { .. } | RepositoriesError::Invalid { .. } => "Invalid",
        RepositoriesError::NoCredential { .. } => "CredentialMissing",
        RepositoriesError::Key { .. } => "KeyMissing",
        RepositoriesError::Cluster { .. } | RepositoriesError::File { .. } => "ServerTrouble",
        RepositoriesError::Twin { .. } => "SameRepository",
        RepositoriesError::RolledBack { .. } => "RolledBack",
        RepositoriesError::Replaced { .. } => "RepositoryReplaced",
        RepositoriesError::Engine { source, .. } => match **source {
            ark_engine::Error::Foreign { .. } => "ForeignObjects",
            ark_engine::Error::WrongKey { .. } => "WrongKey",
            ark_engine::Error::RolledBack { .. } => "RolledBack",
            _ => "RepositoryUnusable",
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::api::GoDuration;
    use jiff::SignedDuration;

    fn now() -> Timestamp {
        "2026-11-22T03:00:00Z".parse().unwrap()
    }

    fn location(status: Option<&Verdict>) -> BackupStorageLocation {
        serde_json::from_value(json!({
            "apiVersion": "ark.heptio.com/v1",
            "kind": "BackupStorageLocation",
            "metadata": {"name": "default", "generation": 3},
            "spec": {"provider": "local", "objectStorage": {"bucket": "/b"}},
            "status": status.map(|verdict| verdict.status.clone()),
        }))
        .unwrap()
    }

    fn good(only_key: Option<bool>) -> Finding {
        Finding::Good {
            notes: vec!["spec.config.publicUrl has no effect".to_owned()],
            only_key,
            secret: "s".to_owned(),
        }
    }

    fn bad() -> Finding {
        Finding::Bad {
            reason: "WrongKey",
            message: "the key does not open it".to_owned(),
        }
    }

    #[test]
    fn what_is_found_is_what_the_status_says_and_changes_are_told_once() {
        let first = judge(&location(None), &good(Some(true)), now());
        let status = location(Some(&first)).status.unwrap();
        assert_eq!(status.phase, Some(LocationPhase::Available));
        assert_eq!(
            status.conditions[0].message,
            "spec.config.publicUrl has no effect"
        );
        assert_eq!(status.conditions[1].type_, RECOVERY_MISSING);
        assert_eq!(status.conditions[1].status, "True");
        assert_eq!(first.event.as_ref().unwrap().1, "LocationAvailable");

        let later = now() + SignedDuration::from_mins(1);
        let again = judge(&location(Some(&first)), &good(Some(false)), later);
        assert_eq!(again.event, None);
        let status = location(Some(&again)).status.unwrap();
        assert_eq!(status.conditions[0].last_transition_time, Time(now()));
        assert_eq!(status.conditions[1].status, "False");
        assert_eq!(status.conditions[1].last_transition_time, Time(later));

        let broken = judge(&location(Some(&again)), &bad(), later);
        assert_eq!(broken.event.as_ref().unwrap().1, "LocationUnavailable");
        let status = location(Some(&broken)).status.unwrap();
        assert_eq!(status.phase, Some(LocationPhase::Unavailable));
        assert_eq!(status.message.as_deref(), Some("the key does not open it"));
        assert_eq!(status.conditions.len(), 2);
        assert_eq!(judge(&location(Some(&broken)), &bad(), later).event, None);
        let mended = judge(&location(Some(&broken)), &good(None), later);
        assert_eq!(mended.status["message"], Value::Null);
        assert_eq!(mended.event.unwrap().1, "LocationAvailable");
    }

    #[test]
    fn checks_come_at_their_pace_and_at_once_after_a_change() {
        let minute = Duration::from_secs(60);
        assert_eq!(wait(&location(None), minute, now()), None);
        let checked = judge(&location(None), &good(None), now());
        let mut location = location(Some(&checked));
        let at = |seconds| now() + SignedDuration::from_secs(seconds);
        assert_eq!(wait(&location, minute, at(0)), Some(minute));
        assert_eq!(
            wait(&location, minute, at(59)),
            Some(Duration::from_secs(1))
        );
        assert_eq!(wait(&location, minute, at(60)), None);
        location.spec.validation_frequency = Some(GoDuration(SignedDuration::from_secs(10)));
        assert_eq!(wait(&location, minute, at(9)), Some(Duration::from_secs(1)));
        location.metadata.generation = Some(4);
        assert_eq!(wait(&location, minute, at(0)), None);
    }
}
