//! Key files: 32 raw bytes, 64 hexadecimal digits, or a recovery key (`format/SPEC.md` §6.2).

use ark_format::keys::Key;
use ark_format::recovery;

/// Reads a key file.
///
/// # Errors
/// Why it is none, in words that tell nothing of what it holds.
pub fn parse(bytes: &[u8]) -> Result<Key, String> {
    if let Ok(raw) = <&Key>::try_from(bytes) {
        return Ok(*raw);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| format!("it is {} bytes of binary data", bytes.len()))?
        .trim();
    if text.starts_with(recovery::PREFIX) {
        return recovery::decode(text).map_err(|e| e.to_string());
    }
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key)
        .map_err(|_| format!("it is {} characters of other text", text.len()))?;
    Ok(key)
}
