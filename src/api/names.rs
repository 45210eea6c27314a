//! Names of backups and restores.
//!
//! A name must be one that the apiserver would accept for the object of the same name, so that a backup made directly
//! can be shown by a server later: a DNS-1123 subdomain. Checking it first also keeps control characters and path
//! separators out of everything that prints or stores names.

use thiserror::Error;

/// The longest name that Kubernetes accepts.
pub const MAX_NAME: usize = 253;
/// The longest name of a namespace.
pub const MAX_LABEL: usize = 63;

/// Why a name is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing is there.
    #[error("the name of the {what} is empty")]
    Empty {
        /// What is named.
        what: &'static str,
    },
    /// It is too long.
    #[error("the name of the {what} has {len} characters; at most {max} are allowed")]
    TooLong {
        /// What is named.
        what: &'static str,
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
    /// A character that no name holds.
    #[error("{name:?} is not a name for a {what}: {character:?} is not allowed")]
    Character {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
        /// The first character that does not belong there.
        character: char,
    },
    /// It starts, or goes on after a dot, or ends with something else than a letter or digit.
    #[error(
        "{name:?} is not a name for a {what}: each part must start and end with a letter or a digit"
    )]
    Edge {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
}

impl NameError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "use lower-case letters, digits, '-' and '.', starting and ending with a letter or a digit"
    }
}

/// Checks the name of an object: a DNS-1123 subdomain.
pub fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    check(what, name, MAX_NAME, true)
}

/// Checks the name of a namespace: a DNS-1123 label.
pub fn check_namespace(name: &str) -> Result<(), NameError> {
    check("namespace", name, MAX_LABEL, false)
}

fn check(what: &'static str, name: &str, max: usize, dots: bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && c == '.');
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character {
            what,
            name: name.to_owned(),
            character,
        });
    }
    if name.len() > max {
        return Err(NameError::TooLong {
            what,
            len: name.len(),
            max,
        });
    }
    let edge = |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-');
    if name.split('.').any(edge) {
        return Err(NameError::Edge {
            what,
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_takes_are_taken() {
        for name in [
            "a",
            "nightly",
            "a-b.c-1",
            "0",
            "2026-11-21",
            &"x".repeat(253),
        ] {
            assert_eq!(check_name("backup", name), Ok(()), "{name}");
        }
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let says = |name: &str| {
            check_name("backup", name)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert_eq!(says(""), "the name of the backup is empty");
        assert!(says("Nightly").contains("'N' is not allowed"));
        assert!(says("a/b").contains("'/' is not allowed"));
        assert!(says("a\u{1b}[31m").contains("'\\u{1b}'"));
        assert!(says("-a").contains("start and end"));
        assert!(says("a..b").contains("start and end"));
        assert!(says("a.-b").contains("start and end"));
        assert!(says(&"x".repeat(254)).contains("254 characters"));
        assert!(check_namespace("a.b").is_err());
        assert!(check_namespace(&"x".repeat(64)).is_err());
    }
}
