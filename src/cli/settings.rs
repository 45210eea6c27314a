//! What the arguments and the environment mean together.
//!
//! A flag wins over its variable. Among the ways to unlock a repository only one may be said by flag; if none is, the
//! variables are asked in the order of [`env::ALL`]; if none is set either, a terminal is asked. Nothing is opened or
//! read here: a setting that makes no sense is refused before anything happens.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ark_engine::store::StoreOptions;
use secrecy::SecretString;

use super::args::global::{GlobalArgs, Output, StoreArgs};
use super::config::ClientConfig;
use super::env::{self, Environment, Variable};
use super::size::parse_size;

/// The budget of a pipeline when nothing is said. Named in the help of `--memory`.
pub const DEFAULT_MEMORY: u64 = 64 << 20;

/// The least budget that a pipeline can work with.
pub const LEAST_MEMORY: u64 = 16 << 20;

/// Ark's namespace when nothing is said.
pub use crate::api::DEFAULT_NAMESPACE;

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Two flags that exclude each other.
    #[error("{one} and {other} exclude each other")]
    Conflict {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A variable that is not UTF-8.
    #[error("the variable {name} is not valid UTF-8")]
    NotText {
        /// Its name.
        name: &'static str,
    },
    /// A variable whose value does not parse.
    #[error("the variable {name} cannot be used: {why}")]
    BadVariable {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
    /// `--memory` below the least.
    #[error("a memory budget of {bytes} bytes is too small")]
    LittleMemory {
        /// What was asked for.
        bytes: u64,
    },
}

impl SettingsError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            SettingsError::Conflict { .. } => Some("give only one of them".to_owned()),
            SettingsError::LittleMemory { .. } => {
                Some(format!("give at least {}Mi", LEAST_MEMORY >> 20))
            }
            SettingsError::NotText { .. } | SettingsError::BadVariable { .. } => None,
        }
    }
}

/// Where the key of the repository comes from.
#[derive(Debug, Clone)]
pub enum UnlockSource {
    /// A raw key in a file.
    KeyFile(PathBuf),
    /// The first line of a file.
    PassphraseFile(PathBuf),
    /// The first line that a command prints.
    PassphraseCommand(String),
    /// The passphrase itself.
    Passphrase(SecretString),
    /// Nothing was said: a terminal is asked.
    Ask,
}

/// How the object store is reached.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// URL of an S3-compatible server.
    pub s3_endpoint: Option<String>,
    /// Region of the bucket.
    pub s3_region: Option<String>,
    /// The bucket goes into the path.
    pub s3_path_style: Option<bool>,
    /// Certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// Proxy URL.
    pub proxy: Option<String>,
    /// Storage class of new objects.
    pub storage_class: Option<String>,
    /// KMS key for server-side encryption.
    pub sse_kms_key: Option<String>,
    /// Bytes a second up.
    pub limit_upload: Option<u64>,
    /// Bytes a second down.
    pub limit_download: Option<u64>,
    /// Credentials and settings under the stores' own variables.
    pub env: BTreeMap<String, String>,
}

/// The values of `env` are secret.
impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("s3_endpoint", &self.s3_endpoint)
            .field("s3_region", &self.s3_region)
            .field("s3_path_style", &self.s3_path_style)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

impl StoreSettings {
    /// As the engine takes them. An endpoint written with `http://` is meant so, by flag or by variable: what goes over
    /// the wire is encrypted by ark, and signed by the S3 protocol.
    pub fn options(&self) -> StoreOptions {
        let variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
        let endpoint = self.s3_endpoint.as_ref().or_else(|| {
            let set = variables.iter().filter_map(|name| self.env.get(*name));
            set.into_iter().find(|value| !value.is_empty())
        });
        StoreOptions {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            path_style: self.s3_path_style,
            ca_file: self.ca_file.clone(),
            proxy: self.proxy.clone(),
            storage_class: self.storage_class.clone(),
            sse_kms_key: self.sse_kms_key.clone(),
            allow_http: endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")),
            limit_upload: self.limit_upload,
            limit_download: self.limit_download,
            env: self.env.clone(),
        }
    }
}

/// Which cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubeSettings {
    /// Namespace of ark's own resources.
    pub namespace: String,
    /// Kubeconfig file; `None`: as kubectl finds it.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    pub context: Option<String>,
}

/// Everything resolved.
#[derive(Debug, Clone)]
pub struct Settings {
    /// URL of the repository; `None`: ark's server in the cluster does the work.
    pub repository: Option<String>,
    /// The flags that were given and mean nothing without a repository.
    pub of_repository: Vec<&'static str>,
    /// Where its key comes from.
    pub unlock: UnlockSource,
    /// How its object store is reached.
    pub store: StoreSettings,
    /// Which cluster.
    pub kube: KubeSettings,
    /// Budget of a pipeline in bytes.
    pub memory: u64,
    /// Folder of the cache; `None`: no cache.
    pub cache_dir: Option<PathBuf>,
    /// Folder of the state; `None`: there is no home to keep it in.
    pub state_dir: Option<PathBuf>,
    /// The user's own settings; `None`: there is no home to keep them in.
    pub config_file: Option<PathBuf>,
    /// How results are printed.
    pub output: Output,
    /// No remarks on stderr.
    pub quiet: bool,
    /// What is logged to stderr.
    pub log_filter: String,
}

impl Settings {
    /// Resolves the arguments against the environment, and against the user's own settings where neither says anything.
    pub fn resolve(
        args: GlobalArgs,
        env: &Environment,
        config: &ClientConfig,
    ) -> Result<Settings, SettingsError> {
        // The user's context is one of the user's file: another file may have another cluster under its name.
        let another = args.kube.kubeconfig.is_some() || env.os(env::KUBECONFIG).is_some();
        let (own_file, own_context) = match another {
            true => (None, None),
            false => (config.kubeconfig.clone(), config.kubecontext.clone()),
        };
        let kubeconfig = args.kube.kubeconfig.clone().or(own_file);
        let of_repository = of_repository(&args);
        let unlock = unlock(&args, env)?;
        let memory = number(args.tuning.memory, env, env::MEMORY)?.unwrap_or(DEFAULT_MEMORY);
        if memory < LEAST_MEMORY {
            return Err(SettingsError::LittleMemory { bytes: memory });
        }
        let limit_upload = number(args.tuning.limit_upload, env, env::LIMIT_UPLOAD)?;
        let limit_download = number(args.tuning.limit_download, env, env::LIMIT_DOWNLOAD)?;
        let cache_dir = match args.tuning.no_cache {
            true => None,
            false => args
                .tuning
                .cache_dir
                .or_else(|| path(env, env::CACHE_DIR))
                .or_else(|| in_home(env, env::XDG_CACHE_HOME, ".cache")),
        };
        let log_filter = match (args.output.log_level, args.output.verbose) {
            (Some(level), _) => level,
            (None, 0) => text(None, env, env::LOG_LEVEL)?
                .unwrap_or_else(|| args.output.usual_log.unwrap_or("warn").to_owned()),
            (None, 1) => "warn,ark=info,ark_engine=info".to_owned(),
            (None, 2) => "info,ark=debug,ark_engine=debug".to_owned(),
            (None, _) => "debug,ark=trace,ark_engine=trace".to_owned(),
        };
        Ok(Settings {
            repository: text(args.repository.repo, env, env::REPOSITORY)?,
            of_repository,
            unlock,
            store: StoreSettings {
                limit_upload,
                limit_download,
                ..store(args.store, env)?
            },
            kube: KubeSettings {
                namespace: text(args.kube.namespace, env, env::NAMESPACE)?
                    .or_else(|| config.namespace.clone())
                    .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
                kubeconfig,
                context: args.kube.kubecontext.or(own_context),
            },
            memory,
            cache_dir,
            state_dir: path(env, env::STATE_DIR)
                .or_else(|| in_home(env, env::XDG_STATE_HOME, ".local/state")),
            config_file: config_file(env),
            output: args.output.output.or(config.output()).unwrap_or_default(),
            quiet: args.output.quiet,
            log_filter,
        })
    }
}

/// Where the user's own settings are.
pub fn config_file(env: &Environment) -> Option<PathBuf> {
    Some(in_home(env, env::XDG_CONFIG_HOME, ".config")?.join("config.json"))
}

/// Variables are set once for all that somebody does; a flag is meant.
fn of_repository(args: &GlobalArgs) -> Vec<&'static str> {
    let (repository, store, tuning) = (&args.repository, &args.store, &args.tuning);
    [
        ("--key-file", repository.key_file.is_some()),
        ("--passphrase-file", repository.passphrase_file.is_some()),
        (
            "--passphrase-command",
            repository.passphrase_command.is_some(),
        ),
        ("--s3-endpoint", store.s3_endpoint.is_some()),
        ("--s3-region", store.s3_region.is_some()),
        ("--s3-path-style", store.s3_path_style),
        ("--ca-file", store.ca_file.is_some()),
        ("--proxy", store.proxy.is_some()),
        ("--storage-class", store.storage_class.is_some()),
        ("--sse-kms-key", store.sse_kms_key.is_some()),
        ("--limit-upload", tuning.limit_upload.is_some()),
        ("--limit-download", tuning.limit_download.is_some()),
        ("--memory", tuning.memory.is_some()),
        ("--no-cache", tuning.no_cache),
        ("--cache-dir", tuning.cache_dir.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
    .collect()
}

fn unlock(args: &GlobalArgs, env: &Environment) -> Result<UnlockSource, SettingsError> {
    let args = &args.repository;
    let said: Vec<(&'static str, UnlockSource)> = [
        args.key_file
            .clone()
            .map(|file| ("--key-file", UnlockSource::KeyFile(file))),
        args.passphrase_file
            .clone()
            .map(|file| ("--passphrase-file", UnlockSource::PassphraseFile(file))),
        args.passphrase_command.clone().map(|command| {
            (
                "--passphrase-command",
                UnlockSource::PassphraseCommand(command),
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if let [(one, _), (other, _), ..] = said.as_slice() {
        return Err(SettingsError::Conflict { one, other });
    }
    if let Some((_, source)) = said.into_iter().next() {
        return Ok(source);
    }
    if let Some(file) = path(env, env::KEY_FILE) {
        return Ok(UnlockSource::KeyFile(file));
    }
    if let Some(file) = path(env, env::PASSPHRASE_FILE) {
        return Ok(UnlockSource::PassphraseFile(file));
    }
    if let Some(command) = text(None, env, env::PASSPHRASE_COMMAND)? {
        return Ok(UnlockSource::PassphraseCommand(command));
    }
    Ok(match text(None, env, env::PASSPHRASE)? {
        Some(passphrase) => UnlockSource::Passphrase(SecretString::from(passphrase)),
        None => UnlockSource::Ask,
    })
}

fn store(args: StoreArgs, env: &Environment) -> Result<StoreSettings, SettingsError> {
    let path_style = match args.s3_path_style {
        true => Some(true),
        false => match text(None, env, env::S3_PATH_STYLE)?.as_deref() {
            None => None,
            Some("true" | "1" | "yes") => Some(true),
            Some("false" | "0" | "no") => Some(false),
            Some(other) => {
                return Err(SettingsError::BadVariable {
                    name: env::S3_PATH_STYLE.name,
                    why: format!("{other:?} is neither true nor false"),
                });
            }
        },
    };
    Ok(StoreSettings {
        s3_endpoint: text(args.s3_endpoint, env, env::S3_ENDPOINT)?,
        s3_region: text(args.s3_region, env, env::S3_REGION)?,
        s3_path_style: path_style,
        ca_file: args.ca_file.or_else(|| path(env, env::CA_FILE)),
        proxy: text(args.proxy, env, env::PROXY)?,
        storage_class: text(args.storage_class, env, env::STORAGE_CLASS)?,
        sse_kms_key: text(args.sse_kms_key, env, env::SSE_KMS_KEY)?,
        limit_upload: None,
        limit_download: None,
        env: env.stores().clone(),
    })
}

fn text(
    said: Option<String>,
    env: &Environment,
    variable: Variable,
) -> Result<Option<String>, SettingsError> {
    match said {
        Some(said) => Ok(Some(said)),
        None => env
            .text(variable)
            .map_err(|name| SettingsError::NotText { name }),
    }
}

fn number(
    said: Option<u64>,
    env: &Environment,
    variable: Variable,
) -> Result<Option<u64>, SettingsError> {
    if said.is_some() {
        return Ok(said);
    }
    text(None, env, variable)?
        .map(|value| {
            parse_size(&value).map_err(|error| SettingsError::BadVariable {
                name: variable.name,
                why: error.to_string(),
            })
        })
        .transpose()
}

fn path(env: &Environment, variable: Variable) -> Option<PathBuf> {
    env.os(variable).map(PathBuf::from)
}

/// `$variable/ark`, or `~/default/ark`. The XDG specification says to ignore a relative path.
fn in_home(env: &Environment, variable: Variable, default: &str) -> Option<PathBuf> {
    path(env, variable)
        .filter(|base| base.is_absolute())
        .or_else(|| Some(path(env, env::HOME)?.join(default)))
        .map(|base| base.join("ark"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::cli::args::Cli;
    use clap::Parser;

    fn resolve(line: &str, variables: &[(Variable, &str)]) -> Result<Settings, SettingsError> {
        let line = format!("ark backup get {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        Settings::resolve(
            cli.global,
            &Environment::of(variables),
            &ClientConfig::default(),
        )
    }

    #[test]
    fn flags_win_over_variables() {
        let variables = [
            (env::REPOSITORY, "s3://env/x"),
            (env::KEY_FILE, "env.key"),
            (env::MEMORY, "64Mi"),
            (env::S3_PATH_STYLE, "true"),
        ];
        let settings = resolve(
            "--repo file:///r --passphrase-file p --memory 32Mi",
            &variables,
        )
        .unwrap();
        assert_eq!(settings.repository.as_deref(), Some("file:///r"));
        assert!(matches!(settings.unlock, UnlockSource::PassphraseFile(_)));
        assert_eq!(settings.memory, 32 << 20);
        let settings = resolve("", &variables).unwrap();
        assert_eq!(settings.repository.as_deref(), Some("s3://env/x"));
        assert!(matches!(settings.unlock, UnlockSource::KeyFile(_)));
        assert_eq!(settings.memory, 64 << 20);
        assert_eq!(settings.store.s3_path_style, Some(true));
    }

    #[test]
    fn defaults() {
        let settings = resolve("", &[(env::HOME, "/home/u")]).unwrap();
        assert_eq!(settings.repository, None);
        assert!(matches!(settings.unlock, UnlockSource::Ask));
        assert_eq!(settings.kube.namespace, "heptio-ark");
        assert_eq!(settings.memory, DEFAULT_MEMORY);
        assert_eq!(settings.cache_dir, Some("/home/u/.cache/ark".into()));
        assert_eq!(settings.state_dir, Some("/home/u/.local/state/ark".into()));
        assert_eq!(settings.log_filter, "warn");
        let settings = resolve("--no-cache", &[(env::HOME, "/home/u")]).unwrap();
        assert_eq!(settings.cache_dir, None);
        let xdg = [
            (env::HOME, "/home/u"),
            (env::XDG_CACHE_HOME, "/c"),
            (env::XDG_STATE_HOME, "relative"),
        ];
        let settings = resolve("", &xdg).unwrap();
        assert_eq!(settings.cache_dir, Some("/c/ark".into()));
        assert_eq!(settings.state_dir, Some("/home/u/.local/state/ark".into()));
        assert_eq!(resolve("", &[]).unwrap().cache_dir, None);
    }

    /// Flag, variable, file.
    #[test]
    fn the_users_own_settings_come_last() {
        let mut config = ClientConfig::default();
        for (key, value) in [
            ("namespace", "filed"),
            ("kubeconfig", "/filed"),
            ("kubecontext", "filed"),
            ("output", "yaml"),
        ] {
            config.set(key, Some(value)).unwrap();
        }
        let resolve = |line: &str, variables: &[(Variable, &str)]| {
            let cli = Cli::try_parse_from(format!("ark {line} version").split_whitespace());
            let environment = Environment::of(variables);
            let settings = Settings::resolve(cli.unwrap().global, &environment, &config);
            let settings = settings.unwrap();
            (settings.kube, settings.output)
        };
        let (kube, output) = resolve("", &[]);
        assert_eq!(kube.namespace, "filed");
        assert_eq!(kube.kubeconfig, Some("/filed".into()));
        assert_eq!(kube.context.as_deref(), Some("filed"));
        assert_eq!(output, Output::Yaml);
        let variables = [(env::NAMESPACE, "set"), (env::KUBECONFIG, "/set")];
        let (kube, _) = resolve("", &variables);
        assert_eq!((kube.namespace.as_str(), kube.kubeconfig), ("set", None));
        assert_eq!(kube.context, None, "of another file");
        let (kube, _) = resolve("--kubeconfig /said", &[]);
        assert_eq!(kube.context, None, "of another file");
        let line = "-n said --kubeconfig /said --kubecontext said -o table";
        let (kube, output) = resolve(line, &variables);
        assert_eq!(kube.namespace, "said");
        assert_eq!(kube.kubeconfig, Some("/said".into()));
        assert_eq!(kube.context.as_deref(), Some("said"));
        assert_eq!(output, Output::Table);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, variables, expected) in [
            (
                "--key-file k --passphrase-file p",
                &[][..],
                "--key-file and --passphrase-file exclude each other",
            ),
            ("--memory 1Mi", &[], "too small"),
            ("", &[(env::MEMORY, "lots")], "ARK_MEMORY"),
            ("", &[(env::S3_PATH_STYLE, "maybe")], "ARK_S3_PATH_STYLE"),
        ] {
            let error = resolve(line, variables).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_passphrase_is_not_in_the_debug_output() {
        let settings = resolve("", &[(env::PASSPHRASE, "hunter2")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
