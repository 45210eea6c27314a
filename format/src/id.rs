//! The identifiers of chunks, sessions, packs and repositories.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DecodeError;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = DecodeError;
            fn from_str(text: &str) -> Result<Self, DecodeError> {
                let mut bytes = [0; 16];
                if text.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut bytes).is_err() {
                    return Err(DecodeError::Invalid("an id is 32 lower-case hexadecimal digits"));
                }
                Ok($name(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    Ok($name(<[u8; 16]>::deserialize(d)?))
                }
            }
        }
    };
}

hex_id! {
    /// Names a chunk: the first 16 bytes of BLAKE3 of its plaintext, keyed with a secret of the repository.
    ChunkId
}
hex_id! {
    /// Names a session, and the backup that it commits: 48 bits of Unix time in ms (big-endian), then 80 random bits.
    SessionId
}
hex_id! {
    /// Names a repository: 16 random bytes.
    RepositoryId
}

impl SessionId {
    /// Builds an id that sorts by time.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        id[6..].copy_from_slice(&random);
        SessionId(id)
    }

    /// The creation time inside the id, Unix ms.
    pub fn unix_ms(&self) -> u64 {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&self.0[..6]);
        u64::from_be_bytes(ms)
    }
}

/// Whether a pack holds data frames or tree nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackClass {
    /// Chunks of data.
    Data,
    /// Tree nodes.
    Meta,
}

impl PackClass {
    /// The byte in headers and tables.
    pub fn byte(self) -> u8 {
        match self {
            PackClass::Data => 1,
            PackClass::Meta => 2,
        }
    }

    /// The inverse of [`PackClass::byte`].
    pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(PackClass::Data),
            2 => Ok(PackClass::Meta),
            _ => Err(DecodeError::Unknown {
                what: "pack class",
                found: byte.into(),
            }),
        }
    }
}

/// Names a pack. Never a content hash: a name is used once, so that a late delete can hit nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackName {
    /// The session that uploaded it.
    pub session: SessionId,
    /// Its number within the session.
    pub sequence: u32,
    /// Data or tree nodes.
    pub class: PackClass,
}

impl fmt::Display for PackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::layout::pack(self))
    }
}
