//! The user's own file of settings: what is used where no flag and no variable says otherwise.
//!
//! A key that this ark does not know is an error and not passed over: a setting that somebody believes to be in force must be.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::args::global::Output;
use crate::api::names::check_name;

/// What the file may say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// The namespace of ark's own objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubecontext: Option<String>,
    /// How results are printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The keys, in order.
pub const KEYS: [&str; 4] = ["namespace", "kubeconfig", "kubecontext", "output"];

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the settings in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the settings in {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what ark writes.
    #[error("the settings in {} do not parse", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such key.
    #[error("there is no setting {key:?}")]
    Key {
        /// What was given.
        key: String,
    },
    /// A value that makes no sense.
    #[error("{value:?} cannot be the setting {key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// There is no home.
    #[error("there is no place for settings")]
    Homeless,
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Key { .. } => Some(format!("the settings are {}", KEYS.join(", "))),
            ConfigError::Parse { path, .. } => Some(format!(
                "mend it, or remove {} and set anew what you need",
                path.display()
            )),
            ConfigError::Homeless => Some("set HOME or XDG_CONFIG_HOME".to_owned()),
            ConfigError::Read { .. } | ConfigError::Write { .. } | ConfigError::Value { .. } => {
                None
            }
        }
    }
}

impl ClientConfig {
    /// What the file says; nothing, if it is not there.
    ///
    /// # Errors
    /// If it is there and cannot be used.
    pub fn read(path: Option<&Path>) -> Result<ClientConfig, ConfigError> {
        let Some(path) = path else {
            return Ok(ClientConfig::default());
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(ClientConfig::default());
            }
            Err(source) => {
                let path = path.to_owned();
                return Err(ConfigError::Read { path, source });
            }
        };
        let config: ClientConfig =
            serde_json::from_slice(&text).map_err(|source| ConfigError::Parse {
                path: path.to_owned(),
                source,
            })?;
        for key in KEYS {
            if let Some(value) = config.get(key) {
                check(key, &value)?;
            }
        }
        Ok(config)
    }

    /// Writes it, in the place of what is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: Option<&Path>) -> Result<(), ConfigError> {
        let path = path.ok_or(ConfigError::Homeless)?;
        let failed = |source| ConfigError::Write {
            path: path.to_owned(),
            source,
        };
        let mut text =
            serde_json::to_string_pretty(self).map_err(|error| failed(io::Error::other(error)))?;
        text.push('\n');
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written.map_err(failed)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<String> {
        match key {
            "namespace" => self.namespace.clone(),
            "kubeconfig" => self
                .kubeconfig
                .as_ref()
                .map(|path| path.display().to_string()),
            "kubecontext" => self.kubecontext.clone(),
            "output" => self.output.clone(),
            _ => None,
        }
    }

    /// Sets a key, or removes it.
    ///
    /// # Errors
    /// If there is no such key, or the value makes no sense.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), ConfigError> {
        let key = known(key)?;
        if let Some(value) = value {
            check(key, value)?;
        }
        let value = value.map(str::to_owned);
        match key {
            "namespace" => self.namespace = value,
            "kubeconfig" => self.kubeconfig = value.map(PathBuf::from),
            "kubecontext" => self.kubecontext = value,
            _ => self.output = value,
        }
        Ok(())
    }

    /// How results are printed.
    pub fn output(&self) -> Option<Output> {
        let text = self.output.as_deref()?;
        Output::from_str(text, false).ok()
    }
}

/// The key as it is known.
///
/// # Errors
/// If it is not.
pub fn known(key: &str) -> Result<&'static str, ConfigError> {
    let found = KEYS.into_iter().find(|known| *known == key);
    found.ok_or_else(|| ConfigError::Key {
        key: key.to_owned(),
    })
}

fn check(key: &'static str, value: &str) -> Result<(), ConfigError> {
    let wrong = |why: String| {
        Err(ConfigError::Value {
            key,
            value: value.to_owned(),
            why,
        })
    };
    match key {
        _ if value.is_empty() => {
            wrong("it is empty; `ark client config unset` removes it".to_owned())
        }
        "namespace" => match check_name("the namespace", value) {
            Ok(()) => Ok(()),
            Err(error) => wrong(error.to_string()),
        },
        "kubeconfig" if !Path::new(value).is_absolute() => {
            wrong("it is not an absolute path".to_owned())
        }
        "output" => match Output::from_str(value, false) {
            Ok(_) => Ok(()),
            Err(_) => wrong("it is one of table, wide, json, yaml, name".to_owned()),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_set_is_read_and_what_makes_no_sense_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ark/config.json");
        let file = Some(path.as_path());
        assert_eq!(ClientConfig::read(file).unwrap(), ClientConfig::default());
        let mut config = ClientConfig::default();
        config.set("namespace", Some("velero")).unwrap();
        config.set("output", Some("json")).unwrap();
        config.write(file).unwrap();
        let read = ClientConfig::read(file).unwrap();
        assert_eq!(read, config);
        assert_eq!(read.output(), Some(Output::Json));
        config.set("output", None).unwrap();
        config.write(file).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\n  \"namespace\": \"velero\"\n}\n");
        for (key, value) in [
            ("namespace", "No Name"),
            ("namespace", ""),
            ("kubeconfig", "relative"),
            ("output", "xml"),
            ("features", "EnableCSI"),
        ] {
            assert!(config.set(key, Some(value)).is_err(), "{key}={value}");
        }
        for text in ["{", "{\"unheard\": 1}", "{\"output\": \"xml\"}"] {
            fs::write(&path, text).unwrap();
            assert!(ClientConfig::read(file).is_err(), "{text}");
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
