//! The reserve of a local repository: what a prune may delete on a full disk to have room for its work.

use serde::{Deserialize, Serialize};

/// Bytes of it.
const RESERVE_BYTES: usize = 8 << 20;

/// Incompressible filling, so that a compressing file system reserves the space too.
#[derive(Serialize, Deserialize)]
pub(crate) struct ReserveDocument {
    #[serde(deserialize_with = "at_once")]
    pub filling: Vec<u8>,
}

/// The same bytes as a sequence of numbers, read without a step for each of millions.
fn at_once<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;

    impl serde::de::Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    deserializer.deserialize_byte_buf(Bytes)
}

/// The filling, different for each reserve.
pub(crate) fn noise(salt: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; RESERVE_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt);
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use ark_format::envelope::{from_bytes, to_bytes};

    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for length in [0, 250, 251, 70_000] {
            let filling = vec![7; length];
            let bytes = to_bytes(&ReserveDocument { filling }).unwrap_or_default();
            let read: Result<ReserveDocument, _> = from_bytes(&bytes);
            assert!(read.is_ok_and(|r| r.filling == vec![7; length]), "{length}");
            let short: Result<ReserveDocument, _> = from_bytes(&bytes[..bytes.len() - 1]);
            assert!(short.is_err(), "{length}");
        }
    }
}
