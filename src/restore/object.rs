//! What a restore calls things by: objects and uids.
//!
//! These are small values without I/O. A [`Key`] is what the backup's map is ordered by; a [`Uid`] is sixteen bytes, so
//! that the table of old and new uids of a whole cluster stays small.

use std::fmt;

use serde::Serialize;

use crate::cluster::GroupResource;

/// One object of a backup or of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Key {
    /// Its resource, as `deployments.apps`.
    #[serde(serialize_with = "as_text")]
    pub resource: GroupResource,
    /// Its namespace; none at cluster scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Key {
    /// An object of a namespace, or of the cluster.
    pub fn new(resource: GroupResource, namespace: Option<&str>, name: &str) -> Key {
        Key {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// `namespace/name`, or the name alone at cluster scope.
    pub fn path(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.resource)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// Writes a value as its text.
pub(super) fn as_text<T: fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The uid of an object as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uid(u128);

impl Uid {
    /// Reads 32 hex digits, with or without dashes. Anything else is not a uid that an apiserver gives.
    pub fn parse(text: &str) -> Option<Uid> {
        let mut value = 0u128;
        let mut digits = 0;
        for byte in text.bytes().filter(|byte| *byte != b'-') {
            value = (value << 4) | u128::from(char::from(byte).to_digit(16)?);
            digits += 1;
            if digits > 32 {
                return None;
            }
        }
        (digits == 32).then_some(Uid(value))
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            (v >> 96) as u32,
            (v >> 80) as u16,
            (v >> 64) as u16,
            (v >> 48) as u16,
            v & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_keep_their_text() {
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(
            Uid::parse(text).map(|uid| uid.to_string()).as_deref(),
            Some(text)
        );
        assert_eq!(
            Uid::parse(text),
            Uid::parse("0123456789abcdef0123456789abcdef")
        );
        assert_eq!(Uid::parse(""), None);
        assert_eq!(Uid::parse("0123"), None);
        assert_eq!(Uid::parse("g1234567-89ab-cdef-0123-456789abcdef"), None);
        assert_eq!(Uid::parse(&"0".repeat(33)), None);
    }
}
