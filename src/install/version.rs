//! Which of two versions of ark is the newer one.

use semver::Version;
use serde_json::Value;

use super::{Error, VERSION};

/// The version of this program.
pub const OWN: &str = env!("CARGO_PKG_VERSION");

/// The version of ark that made a Deployment.
pub fn of(deployment: &Value) -> Option<&str> {
    deployment["metadata"]["labels"][VERSION].as_str()
}

/// Refuses to put an older ark in the place of a newer one: it may not know fields and repositories that the newer one has written.
///
/// # Errors
/// [`Error::Downgrade`].
pub fn check(installed: Option<&str>, own: &str) -> Result<(), Error> {
    let older = match (installed.map(Version::parse), Version::parse(own)) {
        (Some(Ok(installed)), Ok(own)) => own < installed,
        // What is there is not known to be newer.
        _ => false,
    };
    match older {
        true => Err(Error::Downgrade {
            installed: installed.unwrap_or_default().to_owned(),
            own: own.to_owned(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_ark_never_replaces_a_newer_one() {
        for (installed, own, allowed) in [
            (Some("0.1.0"), "0.1.0", true),
            (Some("0.1.0"), "0.1.1", true),
            (Some("0.9.0"), "0.10.0", true),
            (Some("1.0.0-rc.1"), "1.0.0", true),
            (Some("1.0.0"), "1.0.0-rc.1", false),
            (Some("0.10.0"), "0.9.0", false),
            (None, "0.1.0", true),
            (Some("dev"), "0.1.0", true),
        ] {
            let said = check(installed, own);
            assert_eq!(said.is_ok(), allowed, "{installed:?} {own}");
        }
        assert_eq!(check(None, OWN).is_ok(), Version::parse(OWN).is_ok());
    }
}
