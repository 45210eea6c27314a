//! Ed25519 signatures of epochs and tombstones: what may lead to deletion is signed with a key that the backup role
//! does not hold.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::envelope::Kind;
use crate::keys::Key;
use crate::{DecodeError, RepositoryId};

/// An Ed25519 public key, as in `ark.json`.
pub type PublicKey = [u8; 32];

/// A document with the signature over it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// The encoded document.
    pub payload: Vec<u8>,
    /// 64 bytes.
    pub signature: Vec<u8>,
}

/// The public key of a seed.
pub fn public_key(seed: &Key) -> Result<PublicKey, DecodeError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| DecodeError::Signature)?;
    pair.public_key()
        .as_ref()
        .try_into()
        .map_err(|_| DecodeError::Signature)
}

/// Signs `payload` as the content of object `key`.
pub fn sign(
    seed: &Key,
    repository: RepositoryId,
    kind: Kind,
    key: &str,
    payload: Vec<u8>,
) -> Result<Signed, DecodeError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| DecodeError::Signature)?;
    let signature = pair
        .sign(&message(repository, kind, key, &payload))
        .as_ref()
        .to_vec();
    Ok(Signed { payload, signature })
}

/// Checks the signature and returns the payload.
pub fn verify(
    public: &PublicKey,
    repository: RepositoryId,
    kind: Kind,
    key: &str,
    signed: Signed,
) -> Result<Vec<u8>, DecodeError> {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(
            &message(repository, kind, key, &signed.payload),
            &signed.signature,
        )
        .map_err(|_| DecodeError::Signature)?;
    Ok(signed.payload)
}

fn message(repository: RepositoryId, kind: Kind, key: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = b"ark\0sign".to_vec();
    out.extend_from_slice(&repository.0);
    out.push(kind.byte());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(payload);
    out
}
