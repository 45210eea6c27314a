//! Entries of the map on their way from the tasks that list to the one that writes the map.
//!
//! Keys stand one behind the other in one buffer: an entry costs its key, its value and four bytes. A batch is sent when it
//! has grown to [`BATCH_BYTES`], and a queue holds [`QUEUE_BATCHES`] of them, so that what waits is bounded in bytes.

use ark_engine::Value;

/// About how many bytes a batch holds.
pub const BATCH_BYTES: usize = 64 << 10;
/// How many batches wait in the queue of one listing: 512 KiB, about 4,000 objects.
pub const QUEUE_BATCHES: usize = 8;

/// Entries of one resource, in the order they were listed.
#[derive(Debug, Default)]
pub struct Batch {
    keys: Vec<u8>,
    entries: Vec<(u32, Value)>,
    bytes: usize,
}

impl Batch {
    /// Appends an entry whose key is these parts, one behind the other.
    pub fn push(&mut self, key: &[&[u8]], value: Value) {
        let before = self.keys.len();
        for part in key {
            self.keys.extend_from_slice(part);
        }
        self.bytes += self.keys.len() - before + weight(&value);
        // A batch is sent long before its keys fill 4 GiB.
        self.entries
            .push((u32::try_from(self.keys.len()).unwrap_or(u32::MAX), value));
    }

    /// Gives back what it has reserved and not used: it may wait for long.
    pub fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Whether it is time to send it.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        let mut start = 0usize;
        self.entries.iter().map(move |(end, value)| {
            let key = &self.keys[start..*end as usize];
            start = *end as usize;
            (key, value)
        })
    }

    /// Whether its keys ascend strictly, from behind that one.
    pub fn ascends_from(&self, last: &[u8]) -> bool {
        let mut last = last;
        self.iter().all(|(key, _)| {
            let above = key > last;
            last = key;
            above
        })
    }

    /// The last key.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.iter().last().map(|(key, _)| key)
    }
}

fn weight(value: &Value) -> usize {
    let own = size_of::<(u32, Value)>();
    match value {
        Value::Inline(bytes) => own + bytes.len(),
        Value::List { chunks } => own + chunks.len() * 24,
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_come_back_and_order_is_seen() {
        let mut batch = Batch::default();
        assert!(batch.is_empty() && batch.last_key().is_none());
        batch.push(&[b"p\0", b"a"], Value::Inline(vec![1]));
        batch.push(&[b"p\0", b"b"], Value::Inline(vec![2]));
        let keys: Vec<&[u8]> = batch.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [b"p\0a", b"p\0b"]);
        assert_eq!(batch.last_key().unwrap(), b"p\0b");
        assert!(batch.ascends_from(b"p\0") && !batch.ascends_from(b"p\0a"));
        batch.push(&[b"p\0b"], Value::Inline(vec![]));
        assert!(!batch.ascends_from(b""), "the same key twice is no ascent");
    }
}
