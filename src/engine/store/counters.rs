//! Requests and bytes, counted where they leave the process.
//!
//! A count goes up before its request is sent, so that failed requests are counted too: they cost
//! money and time like the others. A listing counts one request for each page of 1,000 keys. What
//! the transport repeats by itself after a lost connection is not seen here.

use std::fmt;
use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// How many keys the stores return in one page of a listing.
pub(super) const PAGE: u64 = 1000;

/// Requests sent to a store, by kind, and the bytes that went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// Reads of an object or of a part of it.
    pub get: u64,
    /// Questions for an object's size and time only.
    pub head: u64,
    /// Uploads.
    pub put: u64,
    /// Pages of listings.
    pub list: u64,
    /// Deletions.
    pub delete: u64,
    /// Bytes received as contents of objects.
    pub bytes_read: u64,
    /// Bytes sent as contents of objects.
    pub bytes_written: u64,
}

impl RequestCounts {
    /// All requests together.
    pub fn requests(&self) -> u64 {
        self.get + self.head + self.put + self.list + self.delete
    }
}

impl Sub for RequestCounts {
    type Output = RequestCounts;

    /// What was added since `earlier`.
    fn sub(self, earlier: RequestCounts) -> RequestCounts {
        RequestCounts {
            get: self.get.saturating_sub(earlier.get),
            head: self.head.saturating_sub(earlier.head),
            put: self.put.saturating_sub(earlier.put),
            list: self.list.saturating_sub(earlier.list),
            delete: self.delete.saturating_sub(earlier.delete),
            bytes_read: self.bytes_read.saturating_sub(earlier.bytes_read),
            bytes_written: self.bytes_written.saturating_sub(earlier.bytes_written),
        }
    }
}

impl fmt::Display for RequestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} get, {} head, {} put, {} list, {} delete; {} bytes read, {} bytes written",
            self.get,
            self.head,
            self.put,
            self.list,
            self.delete,
            self.bytes_read,
            self.bytes_written
        )
    }
}

/// The counters of one store, shared by its clones.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) get: AtomicU64,
    pub(super) head: AtomicU64,
    pub(super) put: AtomicU64,
    pub(super) list: AtomicU64,
    pub(super) delete: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    pub(super) bytes_written: AtomicU64,
}

/// Adds `n` to a counter.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn read(&self) -> RequestCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            get: of(&self.get),
            head: of(&self.head),
            put: of(&self.put),
            list: of(&self.list),
            delete: of(&self.delete),
            bytes_read: of(&self.bytes_read),
            bytes_written: of(&self.bytes_written),
        }
    }
}
