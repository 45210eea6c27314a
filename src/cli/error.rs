//! What ends a verb without a result, and what the user can do about it.
//!
//! The one place that maps errors of the layers below to exit codes. Every error prints as `ark: what: why: why`, one
//! line, followed by a `hint:` line where the next step is known. Each level of the chain says its own part and does not
//! repeat the level below.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use super::config::ConfigError;
use super::exit::Exit;
use super::interrupt::Interrupted;
use super::prompt::PromptError;
use super::settings::SettingsError;
use crate::api::names::NameError;
use crate::cluster::SelectorError;
use crate::server::reading::{ReadError, is_damage};

/// The result of a verb's steps.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings make no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The user's own settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No repository is named.
    #[error("no repository is named")]
    NoRepository,
    /// No repository is named, and the cluster cannot be asked for a server.
    #[error("no repository is named, and the cluster cannot be asked for ark's server")]
    Unasked {
        /// Why.
        #[source]
        source: crate::cluster::Error,
    },
    /// The cluster does not know ark's kinds.
    #[error("no repository is named, and the cluster at {server} does not know ark's {kind}")]
    NoDefinitions {
        /// The apiserver.
        server: String,
        /// The kind that was asked for.
        kind: String,
    },
    /// Nobody works on ark's objects.
    #[error("no repository is named, and no server of ark answers in the namespace {namespace}")]
    NoServer {
        /// The namespace.
        namespace: String,
    },
    /// An object of ark's that is not there.
    #[error("there is no {kind} {name:?} in the namespace {namespace}")]
    NoNamed {
        /// Its kind.
        kind: String,
        /// What was asked for.
        name: String,
        /// Where.
        namespace: String,
    },
    /// An object of that name is there.
    #[error("a {kind} {name:?} exists already in the namespace {namespace}")]
    Exists {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Where.
        namespace: String,
    },
    /// The server did not do it.
    #[error("{what}: {}", why.join("; "))]
    Refused {
        /// What was asked for.
        what: String,
        /// What the server says.
        why: Vec<String>,
    },
    /// Nothing says how to open the repository, and nobody can be asked.
    #[error("nothing says which key opens the repository {url}")]
    NoKey {
        /// The repository.
        url: String,
    },
    /// A file cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    Read {
        /// What it holds.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The passphrase command cannot be run.
    #[error("cannot run the passphrase command {command:?}")]
    PassphraseCommand {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The passphrase command did not succeed.
    #[error("the passphrase command {command:?} ended with {status}")]
    PassphraseStatus {
        /// The command.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A source of a passphrase gave nothing, or something that is not text.
    #[error("the passphrase from {origin} {problem}")]
    BadPassphrase {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The terminal gave no answer.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// Something that cannot be taken back was not confirmed, and nobody can be asked.
    #[error("cannot {what} without a confirmation, and there is no terminal to ask on")]
    Unconfirmed {
        /// What would have been done.
        what: String,
    },
    /// The user said no.
    #[error("nothing was done")]
    Declined,
    /// A name that is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A selector that does not parse.
    #[error("the selector {text:?} does not parse")]
    Selector {
        /// The selector.
        text: String,
        /// Why.
        #[source]
        source: SelectorError,
    },
    /// Arguments that clap accepts and that make no sense together.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// No backup of that name or id.
    #[error("there is no backup {name:?} in the repository")]
    NoBackup {
        /// What was asked for.
        name: String,
        /// Whether one of that name is deleted but not pruned.
        deleted: bool,
    },
    /// Several clusters have a backup of that name.
    #[error("{name:?} names a backup of each of the clusters {}", clusters.join(", "))]
    SeveralBackups {
        /// The name.
        name: String,
        /// The clusters.
        clusters: Vec<String>,
    },
    /// The repository holds backups of several clusters and none is chosen.
    #[error("the repository holds backups of several clusters: {}", clusters.join(", "))]
    SeveralClusters {
        /// The clusters.
        clusters: Vec<String>,
    },
    /// No cluster of that name or id has a backup.
    #[error("the repository holds no backups of a cluster {name:?}")]
    NoCluster {
        /// What was asked for.
        name: String,
    },
    /// No restore of that name.
    #[error("there is no restore {name:?} in the repository")]
    NoRestore {
        /// What was asked for.
        name: String,
    },
    /// The backup holds no API objects at all.
    #[error("the backup {backup} holds no objects")]
    NoObjects {
        /// The backup.
        backup: String,
    },
    /// The backup has no such resource.
    #[error("the backup {backup} has no resource {resource:?}")]
    NoResource {
        /// The backup.
        backup: String,
        /// What was asked for.
        resource: String,
    },
    /// The backup has no such object.
    #[error("the backup {backup} has no {resource} {object:?}")]
    NoObject {
        /// The backup.
        backup: String,
        /// The resource.
        resource: String,
        /// What was asked for.
        object: String,
    },
    /// The document of a backup or restore is not what ark writes.
    #[error("the document of {of} cannot be read")]
    Document {
        /// Of what.
        of: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The repository failed.
    #[error("{doing}")]
    Engine {
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: ark_engine::Error,
    },
    /// The server could not read what was asked for.
    #[error("{message}")]
    Told {
        /// What it says.
        message: String,
        /// Whether the repository is damaged.
        damage: bool,
    },
    /// There is no way to the server's data.
    #[error("the apiserver cannot fetch it from ark's server")]
    Unfetched {
        /// Why.
        #[source]
        source: crate::cluster::Error,
    },
    /// The cluster failed.
    #[error("{doing}")]
    Cluster {
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: crate::cluster::Error,
    },
    /// The backup cannot be made.
    #[error("cannot back up the cluster")]
    Capture(#[from] crate::capture::Error),
    /// The backup cannot be restored.
    #[error("cannot restore the backup")]
    Restore(#[from] crate::restore::RestoreError),
    /// Ark cannot be installed, renewed or removed.
    #[error(transparent)]
    Install(Box<crate::install::Error>),
    /// The server ended.
    #[error("the server ended")]
    Server {
        /// Why.
        #[source]
        source: Box<crate::server::ServerError>,
    },
    /// The result cannot be printed.
    #[error("cannot print the result")]
    Output(#[from] io::Error),
    /// The process cannot be set up.
    #[error("cannot set up {what}")]
    Setup {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Ctrl-C or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl From<Interrupted> for Error {
    fn from(_: Interrupted) -> Error {
        Error::Interrupted
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        match error {
            ReadError::NoObjects { backup } => Error::NoObjects { backup },
            ReadError::NoResource { backup, resource } => Error::NoResource { backup, resource },
            ReadError::NoObject {
                backup,
                resource,
                object,
            } => Error::NoObject {
                backup,
                resource,
                object,
            },
            ReadError::Document { of, source } => Error::Document { of, source },
            ReadError::Engine { doing, source } => Error::Engine { doing, source },
            ReadError::Told { message, damage } => Error::Told { message, damage },
            ReadError::Broken { .. } | ReadError::Untaken => Error::Told {
                message: error.to_string(),
                damage: false,
            },
        }
    }
}

/// Names what was being done when a layer below failed.
pub trait Doing<T> {
    /// `doing` completes the sentence "cannot …" only if it says so itself: it is printed as it is.
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for std::result::Result<T, ark_engine::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Engine {
            doing: doing.into(),
            source,
        })
    }
}

impl<T> Doing<T> for std::result::Result<T, crate::cluster::Error> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Cluster {
            doing: doing.into(),
            source,
        })
    }
}

impl Error {
    /// A flag or verb that acts on a repository was given, and no repository.
    pub fn only_direct(flag: &str) -> Error {
        Error::Usage {
            what: format!("{flag} needs the repository itself; ark's server does not do it"),
            hint: Some(format!(
                "give --repo URL or set ARK_REPOSITORY, or leave {flag} out"
            )),
        }
    }

    /// A flag or verb that a server acts on was given together with a repository.
    pub fn only_served(flag: &str) -> Error {
        Error::Usage {
            what: format!("{flag} needs ark's server; a repository is named, so it is not asked"),
            hint: Some("leave out --repo and ARK_REPOSITORY to ask it".to_owned()),
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Settings(_)
            | Error::Config(_)
            | Error::NoRepository
            | Error::Unconfirmed { .. }
            | Error::Name(_)
            | Error::Selector { .. }
            | Error::SeveralBackups { .. }
            | Error::SeveralClusters { .. }
            | Error::Usage { .. } => Exit::Usage,
            Error::NoKey { .. }
            | Error::Read { .. }
            | Error::PassphraseCommand { .. }
            | Error::PassphraseStatus { .. }
            | Error::BadPassphrase { .. }
            | Error::Prompt(_) => Exit::Locked,
            Error::Engine { source, .. } => engine_exit(source),
            Error::Cluster { source, .. }
            | Error::Unasked { source }
            | Error::Unfetched { source } => cluster_exit(source),
            Error::Told { damage: true, .. } => Exit::Damage,
            Error::Capture(error) => capture_exit(error),
            Error::Restore(error) => restore_exit(error),
            Error::Document { .. } => Exit::Damage,
            Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Error::Interrupted => Exit::Interrupted,
            Error::Install(error) => match &**error {
                crate::install::Error::Cluster { source, .. } => cluster_exit(source),
                _ => Exit::Failure,
            },
            Error::Write { .. }
            | Error::Server { .. }
            | Error::Declined
            | Error::NoDefinitions { .. }
            | Error::NoServer { .. }
            | Error::NoNamed { .. }
            | Error::Exists { .. }
            | Error::Refused { .. }
            | Error::Told { .. }
            | Error::NoBackup { .. }
            | Error::NoCluster { .. }
            | Error::NoRestore { .. }
            | Error::NoObjects { .. }
            | Error::NoResource { .. }
            | Error::NoObject { .. }
            | Error::Output(_)
            | Error::Setup { .. } => Exit::Failure,
        }
    }

    /// What to do next, where that is known.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Error::Settings(error) => return error.hint().into_iter().collect(),
            Error::Config(error) => return error.hint().into_iter().collect(),
            Error::Engine { source, .. } => return source.hint().into_iter().collect(),
            Error::Cluster { source, .. } => return source.hint().into_iter().collect(),
            Error::Unasked { source } => {
                return source
                    .hint()
                    .into_iter()
                    .chain([OR_DIRECT.to_owned()])
                    .collect();
            }
            Error::NoDefinitions { .. } => {
                return vec![INSTALL.to_owned(), OR_DIRECT.to_owned()];
            }
            Error::NoServer { .. } => {
                return vec![
                    "start it (`ark server`), or name its namespace with -n".to_owned(),
                    OR_DIRECT.to_owned(),
                ];
            }
            Error::Unfetched { source } => return unfetched_hints(source),
            Error::NoNamed { kind, .. } => {
                let noun = match kind.as_str() {
                    "BackupStorageLocation" => "backup-location".to_owned(),
                    kind => kind.to_lowercase(),
                };
                return vec![format!("`ark {noun} get` lists what is there")];
            }
            Error::Capture(error) => return capture_hints(error),
            Error::Restore(error) => return error.hint().into_iter().collect(),
            Error::Install(error) => return error.hint().into_iter().collect(),
            Error::Server { source } => {
                return source.hint().map(str::to_owned).into_iter().collect();
            }
            Error::Selector { source, .. } => source.hint(),
            Error::Name(error) => error.hint(),
            Error::Usage { hint, .. } => return hint.clone().into_iter().collect(),
            Error::Exists { .. } => "choose another name, or delete that one first",
            Error::NoRepository => {
                "this needs the repository itself: give --repo URL or set ARK_REPOSITORY, for example --repo file:///backups or s3://bucket/prefix"
            }
            Error::NoKey { .. } => {
                "give --key-file, --passphrase-file or --passphrase-command, or set ARK_PASSPHRASE; on a terminal ark asks"
            }
            Error::Unconfirmed { .. } => "give --confirm",
            Error::NoBackup { deleted: true, .. } => {
                "it is deleted; `ark backup undelete` takes that back as long as it is not pruned"
            }
            Error::NoBackup { .. } => "`ark backup get` lists the backups",
            Error::NoCluster { .. } => "`ark backup get -o wide` shows the clusters",
            Error::NoRestore { .. } => "`ark restore get` lists the restores",
            Error::NoResource { .. } => "`ark backup describe --details` lists its resources",
            Error::NoObject { .. } => {
                "`ark backup ls` lists its objects; those in a namespace are named NAMESPACE/NAME"
            }
            Error::SeveralBackups { .. } | Error::SeveralClusters { .. } => {
                "choose one with --cluster, or name backups by id (`ark backup get -o wide`)"
            }
            Error::Document { .. } => {
                "it may have been written by a newer ark; `ark verify` checks the repository"
            }
            Error::Prompt(PromptError::NoTerminal) => {
                "give --key-file, --passphrase-file or --passphrase-command"
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }

    /// What happened and why, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut last = text.clone();
        let mut source = self.source();
        while let Some(error) = source {
            let message = error.to_string();
            // Libraries below ours repeat their cause; what was said is not said again.
            if !last.ends_with(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            last = message;
            source = error.source();
        }
        super::printer::safe_text(text.trim_end())
    }

    /// The lines for stderr.
    pub fn report(&self) -> String {
        let mut text = format!("ark: {}", self.chain());
        for hint in self.hints() {
            text.push_str("\nhint: ");
            text.push_str(&super::printer::safe_text(&hint));
        }
        text
    }
}

const INSTALL: &str = "install ark's server in it (`ark install`)";
const OR_DIRECT: &str =
    "or give --repo URL (ARK_REPOSITORY) to work on a repository without a server";

fn unfetched_hints(source: &crate::cluster::Error) -> Vec<String> {
    let first = match source.is_forbidden() {
        true => {
            "ask for a role with `get` on services/proxy of https:ark:downloads in ark's namespace"
        }
        false => {
            "the server has to run in a pod behind its Service, as `ark install` puts it there"
        }
    };
    vec![first.to_owned(), OR_DIRECT.to_owned()]
}

fn engine_exit(error: &ark_engine::Error) -> Exit {
    use ark_engine::Error as E;
    match error {
        error if is_damage(error) => Exit::Damage,
        E::NotARepository { .. }
        | E::TooNew { .. }
        | E::WrongKey { .. }
        | E::WrongPassphrase { .. }
        | E::NoSlot { .. }
        | E::NotAKey(_) => Exit::Locked,
        _ => Exit::Failure,
    }
}

fn cluster_exit(error: &crate::cluster::Error) -> Exit {
    use crate::cluster::Error as E;
    match error {
        E::Kubeconfig { .. }
        | E::NoContext { .. }
        | E::Client { .. }
        | E::Credentials { .. }
        | E::Unreachable { .. } => Exit::Cluster,
        E::Api(api) if matches!(api.code, 401 | 403) => Exit::Cluster,
        _ => Exit::Failure,
    }
}

fn capture_exit(error: &crate::capture::Error) -> Exit {
    use crate::capture::Error as E;
    match error {
        E::Request(_) => Exit::Usage,
        E::Cluster(error) => cluster_exit(error),
        E::Engine(error) => engine_exit(error),
        _ => Exit::Failure,
    }
}

fn capture_hints(error: &crate::capture::Error) -> Vec<String> {
    use crate::capture::Error as E;
    match error {
        E::Request(errors) => errors.hints(),
        E::Cluster(error) => error.hint().into_iter().collect(),
        E::Engine(error) => error.hint().into_iter().collect(),
        _ => Vec::new(),
    }
}

fn restore_exit(error: &crate::restore::RestoreError) -> Exit {
    use crate::restore::RestoreError as E;
    match error {
        E::Filter { .. } => Exit::Usage,
        E::Cluster { source } => cluster_exit(source),
        E::Source { .. } => Exit::Damage,
        E::NoObjects { .. } => Exit::Failure,
    }
}
