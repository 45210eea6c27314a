//! Authenticated encryption of one unit.
//!
//! `salt (24) ‖ ciphertext ‖ tag (16)`. The unit's key is derived from a long-lived key and the salt and used once,
//! with an all-zero nonce; 192 random bits never repeat in practice, so there is no limit on the number of units.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::DecodeError;
use crate::keys::{Binding, Key, derive};

/// Bytes of salt in front of the ciphertext.
pub const SALT: usize = 24;
/// Bytes of the tag behind it.
pub const TAG: usize = 16;
/// What sealing adds to the length of a plaintext.
pub const OVERHEAD: usize = SALT + TAG;

/// The AEAD of a repository, chosen when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cipher {
    /// AES-256-GCM.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

/// Seals `plaintext` under `key`.
///
/// # Errors
/// Only if the plaintext exceeds the AEAD's own limit (64 GiB).
pub fn seal(
    cipher: Cipher,
    key: &Key,
    salt: [u8; SALT],
    binding: &Binding<'_>,
    plaintext: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.extend_from_slice(&salt);
    out.extend_from_slice(plaintext);
    let body = out.get_mut(SALT..).ok_or(DecodeError::Unauthentic)?;
    let tag = unit_key(cipher, key, &salt)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(aad(binding)),
            body,
        )
        .map_err(|_| DecodeError::Unauthentic)?;
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

/// Opens what [`seal`] made with the same key and binding.
///
/// # Errors
/// [`DecodeError::Unauthentic`] for anything else.
pub fn open(
    cipher: Cipher,
    key: &Key,
    binding: &Binding<'_>,
    sealed: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let (salt, body) = sealed
        .split_first_chunk::<SALT>()
        .ok_or(DecodeError::Truncated("a sealed unit"))?;
    if body.len() < TAG {
        return Err(DecodeError::Truncated("a sealed unit"));
    }
    let mut plain = body.to_vec();
    let length = unit_key(cipher, key, salt)?
        .open_in_place(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(aad(binding)),
            &mut plain,
        )
        .map_err(|_| DecodeError::Unauthentic)?
        .len();
    plain.truncate(length);
    Ok(plain)
}

fn unit_key(cipher: Cipher, key: &Key, salt: &[u8; SALT]) -> Result<LessSafeKey, DecodeError> {
    let algorithm = match cipher {
        Cipher::Aes256Gcm => &AES_256_GCM,
        Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    };
    let unit = derive(key, b"ark 0 seal", salt);
    Ok(LessSafeKey::new(
        UnboundKey::new(algorithm, &unit).map_err(|_| DecodeError::Unauthentic)?,
    ))
}

/// `"ark\0seal" ‖ repository id ‖ kind u8 ‖ format version u8 ‖ data key u16 ‖ (length u32 ‖ bytes) of each context part`.
fn aad(binding: &Binding<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(b"ark\0seal");
    out.extend_from_slice(&binding.repository.0);
    out.push(binding.kind.byte());
    out.push(crate::limits::FORMAT_VERSION as u8);
    out.extend_from_slice(&binding.data_key.to_le_bytes());
    for part in binding.context {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}
