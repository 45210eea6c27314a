//! Every environment variable that ark reads, each a documented constant.
//!
//! The process's environment is read here and nowhere else; the rest of the program gets an [`Environment`] value, so
//! that a test can give its own. A flag always wins over its variable. An empty variable counts as unset.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// An environment variable and its line of documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it sets.
    pub help: &'static str,
}

macro_rules! variables {
    ($($constant:ident $name:literal $help:literal;)*) => {
        $(#[doc = concat!("`", $name, "`: ", $help)]
        pub const $constant: Variable = Variable { name: $name, help: $help };)*
        /// Every variable, in the order of the documentation.
        pub const ALL: &[Variable] = &[$($constant),*];
    };
}

variables! {
    REPOSITORY "ARK_REPOSITORY" "URL of the repository (--repo)";
    KEY_FILE "ARK_KEY_FILE" "file that holds the repository's raw key (--key-file)";
    PASSPHRASE_FILE "ARK_PASSPHRASE_FILE" "file whose first line is the passphrase (--passphrase-file)";
    PASSPHRASE_COMMAND "ARK_PASSPHRASE_COMMAND" "command that prints the passphrase (--passphrase-command)";
    PASSPHRASE "ARK_PASSPHRASE" "the passphrase itself; prefer a file or a command";
    S3_ENDPOINT "ARK_S3_ENDPOINT" "URL of an S3-compatible server (--s3-endpoint)";
    S3_REGION "ARK_S3_REGION" "region of the S3 bucket (--s3-region)";
    S3_PATH_STYLE "ARK_S3_PATH_STYLE" "true: the bucket goes into the path (--s3-path-style)";
    CA_FILE "ARK_CA_FILE" "PEM certificates to trust for the object store (--ca-file)";
    PROXY "ARK_PROXY" "proxy URL for the object store (--proxy)";
    STORAGE_CLASS "ARK_STORAGE_CLASS" "storage class of new objects (--storage-class)";
    SSE_KMS_KEY "ARK_SSE_KMS_KEY" "KMS key that S3 encrypts new objects with (--sse-kms-key)";
    NAMESPACE "ARK_NAMESPACE" "namespace of ark's own resources (--namespace)";
    LIMIT_UPLOAD "ARK_LIMIT_UPLOAD" "most bytes to send in a second (--limit-upload)";
    LIMIT_DOWNLOAD "ARK_LIMIT_DOWNLOAD" "most bytes to receive in a second (--limit-download)";
    MEMORY "ARK_MEMORY" "memory budget of a backup or restore (--memory)";
    CACHE_DIR "ARK_CACHE_DIR" "folder of the local cache (--cache-dir)";
    STATE_DIR "ARK_STATE_DIR" "folder where ark remembers the newest state seen of each repository";
    LOG_LEVEL "ARK_LOG_LEVEL" "error, warn, info, debug, trace, or a filter like ark_engine=debug (--log-level)";
    KUBECONFIG "KUBECONFIG" "kubeconfig files, as kubectl reads them (--kubeconfig)";
    XDG_CACHE_HOME "XDG_CACHE_HOME" "the cache is its folder `ark` (default ~/.cache)";
    XDG_CONFIG_HOME "XDG_CONFIG_HOME" "the settings of `ark client config` are in its folder `ark` (default ~/.config)";
    XDG_STATE_HOME "XDG_STATE_HOME" "the state is its folder `ark` (default ~/.local/state)";
    HOME "HOME" "the user's home";
}

/// Prefixes of the variables that go to the object store: credentials and settings, as its own tools read them.
pub const STORES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// A copy of the environment.
#[derive(Clone, Default)]
pub struct Environment {
    own: BTreeMap<String, OsString>,
    stores: BTreeMap<String, String>,
}

/// The values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.own.keys())
            .entries(self.stores.keys())
            .finish()
    }
}

impl Environment {
    /// The variables of [`ALL`] that this process was started with, and those of the object stores.
    pub fn of_process() -> Environment {
        Environment {
            own: ALL
                .iter()
                .filter_map(|variable| {
                    Some((variable.name.to_owned(), std::env::var_os(variable.name)?))
                })
                .collect(),
            stores: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .filter(|(name, _)| STORES.iter().any(|prefix| name.starts_with(prefix)))
                .collect(),
        }
    }

    /// An environment of exactly these variables.
    pub fn of(variables: &[(Variable, &str)]) -> Environment {
        Environment {
            own: variables
                .iter()
                .map(|(variable, value)| (variable.name.to_owned(), OsString::from(value)))
                .collect(),
            stores: BTreeMap::new(),
        }
    }

    /// The variables of the object stores.
    pub fn stores(&self) -> &BTreeMap<String, String> {
        &self.stores
    }

    /// The value, if the variable is set and not empty.
    pub fn os(&self, variable: Variable) -> Option<OsString> {
        self.own
            .get(variable.name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    /// The value as text; `Err` holds the variable's name when it is not UTF-8.
    pub fn text(&self, variable: Variable) -> Result<Option<String>, &'static str> {
        self.os(variable)
            .map(|value| value.into_string().map_err(|_| variable.name))
            .transpose()
    }
}

/// The list of variables for help texts and manual pages.
pub fn help() -> String {
    let mut text = String::from("Environment (flags win):\n");
    for variable in ALL {
        text.push_str(&format!("  {}\n      {}\n", variable.name, variable.help));
    }
    let stores: Vec<String> = STORES.iter().map(|prefix| format!("{prefix}*")).collect();
    text.push_str(&format!(
        "  {}\n      credentials of the object store, as its own tools read them",
        stores.join(", ")
    ));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_are_distinct_and_empty_is_unset() {
        let names: std::collections::BTreeSet<_> =
            ALL.iter().map(|variable| variable.name).collect();
        assert_eq!(names.len(), ALL.len());
        let env = Environment::of(&[(REPOSITORY, ""), (KEY_FILE, "k")]);
        assert_eq!(env.text(REPOSITORY), Ok(None));
        assert_eq!(env.text(KEY_FILE), Ok(Some("k".to_owned())));
        assert_eq!(env.os(PROXY), None);
    }
}
