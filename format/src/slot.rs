//! `keys/<slot>`: the key set, wrapped with a raw key or a passphrase.
//!
//! `"ARK0" ‖ kind u8 = 1 ‖ method u8 ‖ schema u16 ‖ memory KiB u32 ‖ passes u32 ‖ lanes u32 ‖ zero u32 ‖ KDF salt (32) ‖
//! sealed ‖ MAC (32)`. The 56 clear bytes and the object's key are bound into the seal. The MAC is keyed from the index key
//! and covers everything before it, so that whoever opened the repository by one slot can authenticate all the others.

use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::envelope::{Kind, from_bytes, to_bytes};
use crate::keys::{Binding, Key, KeySet, derive};
use crate::seal::{Cipher, SALT, open, seal};
use crate::{DecodeError, RepositoryId};

const HEADER: usize = 56;
const MAC: usize = 32;

/// How the wrapping key comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// From 32 random bytes: BLAKE3 derivation with the slot's salt.
    RawKey,
    /// From a passphrase: Argon2id, version 0x13, 32 bytes of output.
    Passphrase {
        /// Memory in KiB.
        memory: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// The strongest Argon2id parameters that a reader accepts: a hostile slot must not exhaust it.
pub const ARGON2_MEMORY_MAX: u32 = 2 << 20;

/// What a slot unlocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Full,
    /// Backup and restore; cannot delete (no signing key).
    Backup,
}

/// The wrapped document.
#[derive(Clone, Serialize, Deserialize)]
pub struct SlotDocument {
    /// The role.
    pub role: Role,
    /// Unix ms.
    pub created: i64,
    /// "raw key", "passphrase" or "recovery key": what `keys list` shows.
    pub label: String,
    /// The keys.
    pub keys: KeySet,
}

/// A slot's clear header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotHeader {
    /// How to get the wrapping key.
    pub method: Method,
    /// The KDF's salt.
    pub kdf_salt: [u8; 32],
}

impl SlotHeader {
    fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(b"ARK0");
        out[4] = Kind::Slot.byte();
        match self.method {
            Method::RawKey => out[5] = 1,
            Method::Passphrase {
                memory,
                passes,
                lanes,
            } => {
                out[5] = 2;
                out[8..12].copy_from_slice(&memory.to_le_bytes());
                out[12..16].copy_from_slice(&passes.to_le_bytes());
                out[16..20].copy_from_slice(&lanes.to_le_bytes());
            }
        }
        out[24..].copy_from_slice(&self.kdf_salt);
        out
    }

    /// Parses the header of a slot object.
    pub fn decode(bytes: &[u8]) -> Result<SlotHeader, DecodeError> {
        let mut c = Cursor::new(bytes);
        if c.take(4, "the magic")? != b"ARK0" || c.u8("the kind")? != Kind::Slot.byte() {
            return Err(DecodeError::Magic("a key slot"));
        }
        let method = c.u8("the method")?;
        let schema = c.u16("the schema")?;
        if schema != 0 {
            return Err(DecodeError::Unknown {
                what: "schema",
                found: schema.into(),
            });
        }
        let (memory, passes, lanes) = (c.u32("memory")?, c.u32("passes")?, c.u32("lanes")?);
        if c.u32("a reserved field")? != 0 {
            return Err(DecodeError::Invalid("a reserved field is not zero"));
        }
        let kdf_salt = c.array("the salt")?;
        let method = match method {
            1 if (memory, passes, lanes) == (0, 0, 0) => Method::RawKey,
            1 => return Err(DecodeError::Invalid("a raw key slot has KDF parameters")),
            2 => {
                let sane = (8..=ARGON2_MEMORY_MAX).contains(&memory)
                    && (1..=64).contains(&passes)
                    && (1..=64).contains(&lanes)
                    && memory >= 8 * lanes;
                if !sane {
                    return Err(DecodeError::Invalid(
                        "its Argon2id parameters are out of bounds",
                    ));
                }
                Method::Passphrase {
                    memory,
                    passes,
                    lanes,
                }
            }
            other => {
                return Err(DecodeError::Unknown {
                    what: "slot method",
                    found: other.into(),
                });
            }
        };
        Ok(SlotHeader { method, kdf_salt })
    }
}

/// The wrapping key of a raw key slot.
pub fn raw_wrapping_key(raw: &Key, kdf_salt: &[u8; 32]) -> Key {
    derive(raw, b"ark 0 raw key slot", kdf_salt)
}

/// Wraps `document` with `wrapping`.
pub fn wrap(
    cipher: Cipher,
    repository: RepositoryId,
    object_key: &str,
    header: &SlotHeader,
    wrapping: &Key,
    salt: [u8; SALT],
    document: &SlotDocument,
) -> Result<Vec<u8>, DecodeError> {
    let clear = header.encode();
    let context = [object_key.as_bytes(), clear.as_slice()];
    let binding = Binding {
        repository,
        kind: Kind::Slot,
        data_key: 0,
        context: &context,
    };
    let mut out = clear.to_vec();
    out.extend_from_slice(&seal(
        cipher,
        wrapping,
        salt,
        &binding,
        &to_bytes(document)?,
    )?);
    let mac = mac(&document.keys, object_key, &out);
    out.extend_from_slice(mac.as_bytes());
    Ok(out)
}

/// The MAC of a slot object over its key and the bytes before the MAC.
fn mac(keys: &KeySet, object_key: &str, before: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&derive(&keys.index, b"ark 0 slot mac", &[]));
    hasher.update(&(object_key.len() as u32).to_le_bytes());
    hasher.update(object_key.as_bytes());
    hasher.update(before);
    hasher.finalize()
}

/// Checks every byte of a slot object with the keys of the repository, without the secret that the slot is for.
pub fn authenticate(
    keys: &KeySet,
    object_key: &str,
    bytes: &[u8],
) -> Result<SlotHeader, DecodeError> {
    let header = SlotHeader::decode(bytes)?;
    let (before, found) = bytes
        .split_last_chunk::<MAC>()
        .ok_or(DecodeError::Truncated("the MAC"))?;
    // blake3::Hash compares in constant time.
    if before.len() < HEADER || mac(keys, object_key, before) != *found {
        return Err(DecodeError::Unauthentic);
    }
    Ok(header)
}

/// Unwraps a slot; [`DecodeError::Unauthentic`] means a wrong key or passphrase, or changed bytes.
pub fn unwrap(
    cipher: Cipher,
    repository: RepositoryId,
    object_key: &str,
    wrapping: &Key,
    bytes: &[u8],
) -> Result<SlotDocument, DecodeError> {
    let (clear, rest) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or(DecodeError::Truncated("the header"))?;
    let (sealed, _) = rest
        .split_last_chunk::<MAC>()
        .ok_or(DecodeError::Truncated("the MAC"))?;
    let context = [object_key.as_bytes(), clear.as_slice()];
    let binding = Binding {
        repository,
        kind: Kind::Slot,
        data_key: 0,
        context: &context,
    };
    let document: SlotDocument = from_bytes(&open(cipher, wrapping, &binding, sealed)?)?;
    authenticate(&document.keys, object_key, bytes)?;
    Ok(document)
}
