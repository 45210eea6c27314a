//! `ark.json`: the settings of a repository, readable without a key, authenticated with one.
//!
//! The object is exactly `{"settings":` ‖ JSON ‖ `,"mac":"` ‖ 64 hexadecimal digits ‖ `"}` ‖ newline. The MAC is over the
//! JSON's bytes as they stand, so nothing has to be canonical and no byte is free.

use serde::{Deserialize, Serialize};

use crate::keys::Key;
use crate::limits::FORMAT_VERSION;
use crate::seal::Cipher;
use crate::sign::PublicKey;
use crate::{DecodeError, RepositoryId};

const OPEN: &[u8] = b"{\"settings\":";
const MAC: &[u8] = b",\"mac\":\"";
const CLOSE: &[u8] = b"\"}\n";

/// Features that a client must know to do something; an unknown one means: refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Needed to read.
    pub read: Vec<String>,
    /// Needed to write backups.
    pub write: Vec<String>,
    /// Needed to prune.
    pub prune: Vec<String>,
}

/// Chunk sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkSizes {
    /// Smallest, but for the last of a file.
    pub min: u32,
    /// Expected.
    pub avg: u32,
    /// Largest.
    pub max: u32,
}

/// The settings of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Always "ark repository".
    pub magic: String,
    /// The repository's id.
    pub id: RepositoryId,
    /// Version of the format.
    pub version: u16,
    /// Mandatory features.
    pub features: Features,
    /// The AEAD.
    pub cipher: Cipher,
    /// Always "blake3-128".
    pub ids: String,
    /// Sizes of content-defined chunks.
    pub chunks: ChunkSizes,
    /// The public key that epochs and tombstones are signed with, 64 hexadecimal digits.
    pub public_key: String,
}

impl Settings {
    /// The public key's bytes.
    pub fn public_key(&self) -> Result<PublicKey, DecodeError> {
        let mut key = [0; 32];
        hex::decode_to_slice(&self.public_key, &mut key)
            .map_err(|_| DecodeError::Invalid("its public key is not 64 hexadecimal digits"))?;
        Ok(key)
    }
}

/// The value of `magic`.
pub const SETTINGS_MAGIC: &str = "ark repository";

/// `ark.json` as read: settings not yet authenticated.
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    raw: Vec<u8>,
    mac: [u8; 32],
}

impl Config {
    /// Encodes and authenticates `settings`.
    pub fn encode(settings: &Settings, mac_key: &Key) -> Result<Vec<u8>, DecodeError> {
        let raw = serde_json::to_vec(settings).map_err(|e| DecodeError::Document(e.to_string()))?;
        let mac = blake3::keyed_hash(mac_key, &raw);
        Ok([OPEN, &raw, MAC, mac.to_hex().as_bytes(), CLOSE].concat())
    }

    /// Parses the object; refuses versions that this code does not know.
    pub fn decode(bytes: &[u8]) -> Result<Config, DecodeError> {
        let inner = bytes
            .strip_prefix(OPEN)
            .and_then(|b| b.strip_suffix(CLOSE))
            .ok_or(DecodeError::Magic("the settings of an ark repository"))?;
        let (rest, digits) = inner
            .split_last_chunk::<64>()
            .ok_or(DecodeError::Truncated("the MAC"))?;
        let raw = rest
            .strip_suffix(MAC)
            .ok_or(DecodeError::Invalid("it has no MAC"))?;
        let mut mac = [0; 32];
        if digits.iter().any(u8::is_ascii_uppercase)
            || hex::decode_to_slice(digits, &mut mac).is_err()
        {
            return Err(DecodeError::Invalid("its MAC is not 64 hexadecimal digits"));
        }
        let probe: serde_json::Value =
            serde_json::from_slice(raw).map_err(|e| DecodeError::Document(e.to_string()))?;
        if probe.get("magic").and_then(|m| m.as_str()) != Some(SETTINGS_MAGIC) {
            return Err(DecodeError::Magic("the settings of an ark repository"));
        }
        let version = probe
            .get("version")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(u64::MAX);
        if version != u64::from(FORMAT_VERSION) {
            return Err(DecodeError::Unknown {
                what: "format version",
                found: version,
            });
        }
        let settings: Settings =
            serde_json::from_slice(raw).map_err(|e| DecodeError::Document(e.to_string()))?;
        if settings.ids != "blake3-128" {
            return Err(DecodeError::Invalid(
                "it names an algorithm for ids that this version of ark does not know",
            ));
        }
        Ok(Config {
            settings,
            raw: raw.to_vec(),
            mac,
        })
    }

    /// The settings before authentication: enough to try key slots.
    pub fn unauthenticated(&self) -> &Settings {
        &self.settings
    }

    /// The settings, once the MAC is right.
    pub fn authenticate(self, mac_key: &Key) -> Result<Settings, DecodeError> {
        // blake3::Hash compares in constant time.
        if blake3::keyed_hash(mac_key, &self.raw) != self.mac {
            return Err(DecodeError::Unauthentic);
        }
        Ok(self.settings)
    }
}
