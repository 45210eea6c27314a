//! A limit on bytes per second.
//!
//! Who wants to move bytes first reserves the time that they take at the limited rate, after all
//! that was reserved before, and waits for the start of that time. So the sum over all tasks stays
//! at the rate, in order of arrival, whatever the sizes. Idle time is not saved up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Limit {
    bytes_per_second: u64,
    free_at: Mutex<Option<Instant>>,
}

impl Limit {
    /// A limit; `None` and 0 mean that there is none.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Option<Limit> {
        bytes_per_second.filter(|rate| *rate > 0).map(|rate| Limit {
            bytes_per_second: rate,
            free_at: Mutex::new(None),
        })
    }

    /// Waits until `bytes` may move.
    pub(super) async fn acquire(&self, bytes: u64) {
        let start = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = free_at.map_or(now, |at| at.max(now));
            let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *free_at = Some(start + takes);
            start
        };
        tokio::time::sleep_until(start).await;
    }
}
