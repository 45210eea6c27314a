//! The printable form of a raw key: 32 bytes and a 3-byte checksum in Crockford's base 32, eight groups of seven.
//! Reading ignores case, spaces and hyphens and takes O for 0, I and L for 1.

use crate::DecodeError;
use crate::keys::Key;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// What a recovery key starts with.
pub const PREFIX: &str = "ARK0";

fn checksum(key: &Key) -> [u8; 3] {
    let hash = blake3::hash(&[b"ark 0 recovery key".as_slice(), key].concat());
    let bytes = hash.as_bytes();
    [bytes[0], bytes[1], bytes[2]]
}

/// The text to print and keep in a safe place.
pub fn encode(key: &Key) -> String {
    let mut bits = 0u32;
    let mut count = 0;
    let mut digits = Vec::with_capacity(56);
    for byte in key.iter().copied().chain(checksum(key)) {
        bits = (bits << 8) | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            digits.push(ALPHABET[(bits >> count) as usize & 31]);
        }
    }
    let mut text = PREFIX.to_owned();
    for group in digits.chunks(7) {
        text.push('-');
        text.extend(group.iter().map(|&d| char::from(d)));
    }
    text
}

/// Reads what [`encode`] printed, as a person typed it.
pub fn decode(text: &str) -> Result<Key, DecodeError> {
    let typed: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .collect();
    let typed = typed
        .to_uppercase()
        .replace('O', "0")
        .replace(['I', 'L'], "1");
    let digits = typed
        .strip_prefix(PREFIX)
        .ok_or(DecodeError::Magic("a recovery key"))?;
    if digits.len() != 56 {
        return Err(DecodeError::Invalid(
            "a recovery key has eight groups of seven characters after ARK0",
        ));
    }
    let mut bits = 0u32;
    let mut count = 0;
    let mut bytes = Vec::with_capacity(35);
    for c in digits.bytes() {
        let value = ALPHABET
            .iter()
            .position(|&a| a == c)
            .ok_or(DecodeError::Invalid(
                "a recovery key has digits and letters only",
            ))?;
        bits = (bits << 5) | value as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    let (key, sum) = bytes
        .split_first_chunk::<32>()
        .ok_or(DecodeError::Truncated("the recovery key"))?;
    if sum != checksum(key) {
        return Err(DecodeError::Invalid(
            "the recovery key has a typing error: its checksum is wrong",
        ));
    }
    Ok(*key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_typing_and_catches_errors() {
        let key = std::array::from_fn(|i| (i * 7) as u8);
        let text = encode(&key);
        assert_eq!(decode(&text), Ok(key));
        assert_eq!(
            decode(&text.to_lowercase().replace('-', "  ").replace('0', "o")),
            Ok(key)
        );
        let wrong = text.replacen('Z', "Y", 1).replacen('E', "F", 1);
        assert_ne!(wrong, text);
        assert!(decode(&wrong).is_err());
    }
}
