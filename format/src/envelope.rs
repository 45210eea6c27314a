//! The sealed envelope of small documents.
//!
//! `"ARK0" ‖ kind u8 ‖ encoding u8 ‖ schema u16 ‖ sealed`. The eight clear bytes and the object's full key are bound
//! into the seal, so that every byte is authenticated and no document can stand in for another. The document is
//! bincode 2 (standard configuration); the encoding byte makes that replaceable.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::compression::{compress, decompress};
use crate::keys::{Binding, Key};
use crate::limits::DOCUMENT_MAX;
use crate::seal::{Cipher, SALT, open, seal};
use crate::{DecodeError, RepositoryId};

const MAGIC: &[u8; 4] = b"ARK0";
const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
const HEADER: usize = 8;
/// Documents up to this length are not worth compressing.
const COMPRESS_OVER: usize = 512;

/// What a sealed unit is. The byte is part of every authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `keys/<slot>`.
    Slot = 1,
    /// `keys/data/<n>`.
    DataKey = 2,
    /// `epochs/<n>`.
    EpochStub = 3,
    /// `index/epoch-<n>-<nonce>`.
    EpochBody = 4,
    /// `sessions/<e>-<sid>`.
    Session = 5,
    /// `sessions/<e>-<sid>.hb<k>`.
    Heartbeat = 6,
    /// `manifests/<e>-<sid>`, a commit.
    Manifest = 7,
    /// `manifests/<e>-<sid>`, a fence.
    Fence = 8,
    /// `forgotten/<sid>`.
    Tombstone = 9,
    /// `forgotten/<sid>.undo`.
    Undo = 10,
    /// A block of `index/<sid>-<k>`.
    Segment = 11,
    /// The trailer of a pack.
    Trailer = 12,
    /// A frame of data chunks.
    DataFrame = 13,
    /// A frame of tree nodes.
    TreeFrame = 14,
    /// `restores/<id>-<k>`.
    Restore = 15,
    /// `verify/<id>`.
    Verify = 16,
    /// `names/<hash>/<n>`.
    Claim = 17,
    /// `reserve`.
    Reserve = 18,
}

impl Kind {
    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        self as u8
    }
}

/// What is needed to seal and open the documents of one repository.
#[derive(Clone, Copy)]
pub struct Sealer<'a> {
    /// The repository's cipher.
    pub cipher: Cipher,
    /// The repository.
    pub repository: RepositoryId,
    /// The key: `index` for control documents, `data` for data keys.
    pub key: &'a Key,
}

impl Sealer<'_> {
    /// Encodes and seals `document` as the object `object_key`; compressed where that helps.
    pub fn encode<T: Serialize>(
        &self,
        kind: Kind,
        object_key: &str,
        salt: [u8; SALT],
        document: &T,
    ) -> Result<Vec<u8>, DecodeError> {
        let plain = to_bytes(document)?;
        check_length(plain.len())?;
        let compressed = if plain.len() > COMPRESS_OVER {
            compress(&plain, 9)?
        } else {
            None
        };
        let (encoding, body) = match compressed {
            Some(body) => (
                ZSTD,
                [&(plain.len() as u32).to_le_bytes(), body.as_slice()].concat(),
            ),
            None => (PLAIN, plain),
        };
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[kind.byte(), encoding, 0, 0]);
        let header = out.clone();
        let context = [object_key.as_bytes(), header.as_slice()];
        let binding = Binding {
            repository: self.repository,
            kind,
            data_key: 0,
            context: &context,
        };
        out.extend_from_slice(&seal(self.cipher, self.key, salt, &binding, &body)?);
        Ok(out)
    }

    /// Opens and decodes the document in the object `object_key`, which must be of `kind`.
    pub fn decode<T: DeserializeOwned>(
        &self,
        kind: Kind,
        object_key: &str,
        bytes: &[u8],
    ) -> Result<T, DecodeError> {
        let (header, sealed) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(DecodeError::Truncated("the header"))?;
        if kind_of(bytes)? != kind.byte() {
            return Err(DecodeError::Unknown {
                what: "kind",
                found: header[4].into(),
            });
        }
        let schema = u16::from_le_bytes([header[6], header[7]]);
        if schema != 0 {
            return Err(DecodeError::Unknown {
                what: "schema",
                found: schema.into(),
            });
        }
        let context = [object_key.as_bytes(), header.as_slice()];
        let binding = Binding {
            repository: self.repository,
            kind,
            data_key: 0,
            context: &context,
        };
        let body = open(self.cipher, self.key, &binding, sealed)?;
        match header[5] {
            PLAIN => from_bytes(&body),
            ZSTD => {
                let (length, packed) = body
                    .split_first_chunk::<4>()
                    .ok_or(DecodeError::Truncated("a length"))?;
                let length = u32::from_le_bytes(*length) as usize;
                check_length(length)?;
                from_bytes(&decompress(packed, length)?)
            }
            other => Err(DecodeError::Unknown {
                what: "encoding",
                found: other.into(),
            }),
        }
    }
}

/// The kind byte of an envelope, unauthenticated: tells a commit from a fence before opening it.
pub fn kind_of(bytes: &[u8]) -> Result<u8, DecodeError> {
    let header = bytes
        .first_chunk::<HEADER>()
        .ok_or(DecodeError::Truncated("the header"))?;
    if &header[..4] != MAGIC {
        return Err(DecodeError::Magic("an ark document"));
    }
    Ok(header[4])
}

/// bincode 2, standard configuration.
pub fn to_bytes<T: Serialize>(document: &T) -> Result<Vec<u8>, DecodeError> {
    bincode::serde::encode_to_vec(document, bincode::config::standard())
        .map_err(|e| DecodeError::Document(e.to_string()))
}

/// The inverse of [`to_bytes`]; all of `bytes` must be used.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    check_length(bytes.len())?;
    // bincode counts the bytes of what it decodes (8 for a u64 that stands in one byte), and allocates a string before
    // it looks whether its bytes are there: the limit must be at least 8 times the input, and not much more.
    let (document, used) = match bytes.len() {
        ..=0x1_0000 => limited::<T, 0x8_0000>(bytes),
        0x1_0001..=0x8_0000 => limited::<T, 0x40_0000>(bytes),
        0x8_0001..=0x40_0000 => limited::<T, 0x200_0000>(bytes),
        0x40_0001..=0x200_0000 => limited::<T, 0x1000_0000>(bytes),
        _ => limited::<T, { 8 * DOCUMENT_MAX }>(bytes),
    }?;
    if used != bytes.len() {
        return Err(DecodeError::Trailing(bytes.len() - used));
    }
    Ok(document)
}

fn limited<T: DeserializeOwned, const LIMIT: usize>(
    bytes: &[u8],
) -> Result<(T, usize), DecodeError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    bincode::serde::decode_from_slice(bytes, config)
        .map_err(|e| DecodeError::Document(e.to_string()))
}

fn check_length(length: usize) -> Result<(), DecodeError> {
    if length > DOCUMENT_MAX {
        return Err(DecodeError::Limit {
            what: "document length",
            found: length as u64,
            limit: DOCUMENT_MAX as u64,
        });
    }
    Ok(())
}
