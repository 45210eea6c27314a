//! Pauses that grow with each failure: what fails again and again is not asked of a bucket every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);

/// Failures in a row, by what failed. Clones share them.
#[derive(Clone, Default)]
pub struct Backoff(Arc<Mutex<HashMap<String, Failures>>>);

struct Failures {
    count: u32,
    until: Instant,
}

impl Backoff {
    /// It failed again: how long to wait.
    pub fn failed(&self, what: &str) -> Duration {
        let mut failures = self.failures();
        let known = failures.entry(what.to_owned()).or_insert(Failures {
            count: 0,
            until: Instant::now(),
        });
        let pause = pause(known.count);
        known.count = known.count.saturating_add(1);
        known.until = Instant::now() + pause;
        pause
    }

    /// It went well.
    pub fn succeeded(&self, what: &str) {
        self.failures().remove(what);
    }

    /// Whether its pause is not over.
    pub fn is_waiting(&self, what: &str) -> bool {
        let failures = self.failures();
        failures
            .get(what)
            .is_some_and(|known| Instant::now() < known.until)
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<String, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after so many failures before.
fn pause(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.min(16));
    FIRST.saturating_mul(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_with_success() {
        let backoff = Backoff::default();
        assert!(!backoff.is_waiting("a"));
        assert_eq!(backoff.failed("a"), FIRST);
        assert_eq!(backoff.failed("a"), FIRST * 2);
        assert!(backoff.is_waiting("a") && !backoff.is_waiting("b"));
        backoff.succeeded("a");
        assert!(!backoff.is_waiting("a"));
        assert_eq!(backoff.failed("a"), FIRST);
        assert_eq!(pause(7), LONGEST);
        assert_eq!(pause(u32::MAX), LONGEST);
    }
}
