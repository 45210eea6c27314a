//! The repository of a location for an operation: a location that was made a moment ago, or whose storage does not answer
//! just now, is waited for.
//!
//! What passes by itself is no outcome. Who begins something is told after some minutes that its location does not answer. What was begun
//! and is interrupted waits as long as it takes: the storage of a backup that is half made will come back, or somebody will cancel.

use std::sync::Arc;
use std::time::Duration;

use ark_engine::store::StoreError;
use kube::Resource;

use super::context::Context;
use super::repositories::{Opened, RepositoriesError};

/// How long a new operation waits for its location.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_secs(2);
/// After so long it is told that an operation waits.
const TOLD: Duration = Duration::from_secs(10);

/// Why an operation cannot have the repository of its location.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What was asked for makes no sense.
    Invalid(String),
    /// It did not come to pass in time.
    Failed(String),
}

/// How long to go on trying.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    begun: bool,
    waited: Duration,
}

impl Patience {
    /// With what was begun there is no end to it.
    pub fn new(begun: bool) -> Patience {
        Patience {
            begun,
            waited: Duration::ZERO,
        }
    }

    /// Waits for the next try; false if it is time to give up.
    pub async fn wait(&mut self) -> bool {
        if !self.is_left() {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
        self.waited += PAUSE;
        true
    }

    fn is_left(&self) -> bool {
        self.begun || self.waited < PATIENCE
    }

    /// What to do about a location that cannot be used: `None`, wait.
    fn judge(&self, error: &RepositoriesError) -> Option<Refusal> {
        let why = || super::told::chain(error);
        let senseless = matches!(
            error,
            RepositoriesError::NoLocation { .. }
                | RepositoriesError::Invalid { .. }
                | RepositoriesError::Twin { .. }
        );
        match senseless {
            true if !self.begun => Some(Refusal::Invalid(why())),
            // It was there: somebody may be making it anew.
            true if self.waited >= PATIENCE => Some(Refusal::Failed(why())),
            true => None,
            false if self.is_left() => None,
            false => Some(Refusal::Failed(why())),
        }
    }
}

/// Whether an error of a repository may be gone at the next try.
pub fn passes(error: &ark_engine::Error) -> bool {
    match error {
        ark_engine::Error::Store(error) => !matches!(
            error,
            StoreError::BadUrl { .. }
                | StoreError::Unsupported { .. }
                | StoreError::NoCreateIfAbsent { .. }
                | StoreError::Truncated { .. }
                | StoreError::TooLarge { .. }
        ),
        _ => false,
    }
}

/// The repository of a location, for an operation on the object `of`.
pub async fn open<K: Resource<DynamicType = ()>>(
    context: &Context,
    location: &str,
    begun: bool,
    of: &K,
) -> Result<Arc<Opened>, Refusal> {
    let mut patience = Patience::new(begun);
    let mut told = false;
    loop {
        let error = match context.repositories.get(location).await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if let Some(refusal) = patience.judge(&error) {
            return Err(refusal);
        }
        if !told && patience.waited >= TOLD {
            told = true;
            let note = super::told::chain(&error);
            tracing::info!(location, note, "waiting for the location");
            context
                .events
                .warning(of, "WaitingForLocation", &note)
                .await;
        }
        patience.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begun: bool, waited: Duration) -> Patience {
        Patience { begun, waited }
    }

    #[test]
    fn what_passes_is_waited_for_and_what_makes_no_sense_is_refused() {
        let away = || RepositoriesError::Engine {
            location: "default".to_owned(),
            source: Box::new(ark_engine::Error::Stopped),
        };
        let missing = || RepositoriesError::NoLocation {
            name: "default".to_owned(),
            namespace: "heptio-ark".to_owned(),
        };
        let day = Duration::from_secs(86_400);
        for (begun, waited, error, expected) in [
            (false, Duration::ZERO, away(), "wait"),
            // A short outage at night.
            (false, Duration::from_secs(300), away(), "wait"),
            (false, day, away(), "failed"),
            (true, day, away(), "wait"),
            (false, Duration::ZERO, missing(), "invalid"),
            (true, Duration::ZERO, missing(), "wait"),
            (true, day, missing(), "failed"),
        ] {
            let judged = match after(begun, waited).judge(&error) {
                None => "wait",
                Some(Refusal::Invalid(_)) => "invalid",
                Some(Refusal::Failed(_)) => "failed",
            };
            assert_eq!(judged, expected, "{begun} {waited:?} {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_repository_does_not_pass() {
        assert!(!passes(&ark_engine::Error::Role { what: "delete" }));
        assert!(!passes(&ark_engine::Error::Store(StoreError::BadUrl {
            url: "x".to_owned(),
            reason: "y".to_owned(),
        })));
        assert!(passes(&ark_engine::Error::Store(
            StoreError::NoSuchLocation {
                url: "file:///x".to_owned(),
                what: "no such folder".to_owned(),
            }
        )));
    }
}
