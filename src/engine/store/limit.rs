//! A limit on bytes per second.
//!
//! Who wants to move bytes first reserves the time that they take at the limited rate, after all
//! that was reserved before, and waits for the start of that time. So the sum over all tasks stays
//! at the rate, in order of arrival, whatever the sizes. Idle time is not saved up. Who gives up
//! while he waits gives back what he had reserved: those behind him have taken their turns by then
//! and keep them, those that come later do not wait for bytes that never move.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Limit {
    bytes_per_second: u64,
    free_at: Mutex<Option<Instant>>,
}

/// A turn that was not taken yet.
struct Reserved<'a> {
    limit: &'a Limit,
    takes: Duration,
    taken: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.taken {
            let mut free_at = self.limit.free_at();
            *free_at = free_at.and_then(|at| at.checked_sub(self.takes));
        }
    }
}

impl Limit {
    /// A limit; `None` and 0 mean that there is none.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Option<Limit> {
        bytes_per_second.filter(|rate| *rate > 0).map(|rate| Limit {
            bytes_per_second: rate,
            free_at: Mutex::new(None),
        })
    }

    fn free_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.free_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `bytes` may move.
    pub(super) async fn acquire(&self, bytes: u64) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let start = {
            let mut free_at = self.free_at();
            let now = Instant::now();
            let start = free_at.map_or(now, |at| at.max(now));
            *free_at = Some(start + takes);
            start
        };
        let mut reserved = Reserved {
            limit: self,
            takes,
            taken: false,
        };
        tokio::time::sleep_until(start).await;
        reserved.taken = true;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// How long the next byte has to wait.
    async fn waits(limit: &Limit) -> Duration {
        let before = Instant::now();
        limit.acquire(1).await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_given_up_costs_nobody_anything() {
        let limit = Limit::new(Some(1000)).unwrap();
        limit.acquire(1000).await;
        {
            let mut given_up = std::pin::pin!(limit.acquire(60_000));
            tokio::select! {
                () = &mut given_up => panic!("it waits for the second that was reserved before"),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
        assert_eq!(waits(&limit).await, Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_begun_to_move_stays_reserved() {
        let limit = Limit::new(Some(1000)).unwrap();
        limit.acquire(2000).await;
        assert_eq!(waits(&limit).await, Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_sum_stays_at_the_rate() {
        let limit = Limit::new(Some(1000)).unwrap();
        let before = Instant::now();
        futures::future::join_all((0..10).map(|_| limit.acquire(500))).await;
        assert_eq!(before.elapsed(), Duration::from_millis(4500));
        assert_eq!(waits(&limit).await, Duration::from_millis(500));
    }
}
