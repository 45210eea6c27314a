//! What can go wrong with a repository, by what the user can do about it.

use ark_format::DecodeError;

use crate::store::StoreError;

/// An error of the engine. `Display` says what happened to what; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The local copy of the index failed.
    #[error("the local copy of the index, in the cache folder, cannot be read")]
    IndexCopy(#[source] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object's bytes are not what they must be.
    #[error("{object} is damaged")]
    Damaged {
        /// The object's key.
        object: String,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// A document that only the full role can sign carries another signature: whoever wrote it holds the other keys.
    #[error(
        "{object} was not written by a client of the full role: it opens, but its signature is not valid"
    )]
    Forged {
        /// The object's key.
        object: String,
    },
    /// An object that must exist does not.
    #[error("{object} is missing from the repository")]
    Missing {
        /// The object's key, or what was looked for.
        object: String,
    },
    /// A chunk is in no pack that the index knows.
    #[error("chunk {id} is not in the index")]
    ChunkUnknown {
        /// The chunk.
        id: String,
    },
    /// There is no `ark.json`.
    #[error("{url} is not an ark repository")]
    NotARepository {
        /// Where.
        url: String,
    },
    /// `repo init` on an existing repository.
    #[error("{url} is an ark repository already")]
    AlreadyARepository {
        /// Where.
        url: String,
    },
    /// `repo init` where other objects are.
    #[error("{url} is not empty: it holds {example}")]
    Foreign {
        /// Where.
        url: String,
        /// One of the objects.
        example: String,
        /// Whether it looks like a Velero location.
        velero: bool,
    },
    /// A version or a mandatory feature that this build does not know.
    #[error("the repository {url} needs {what}, which this version of ark does not know")]
    TooNew {
        /// Where.
        url: String,
        /// What is unknown.
        what: String,
    },
    /// No key slot opens with the key.
    #[error("the key does not open the repository {url}")]
    WrongKey {
        /// Where.
        url: String,
    },
    /// No key slot opens with the passphrase.
    #[error("the passphrase does not open the repository {url}")]
    WrongPassphrase {
        /// Where.
        url: String,
    },
    /// The repository has no slot of the kind that was offered.
    #[error("the repository {url} has no key slot for a {kind}")]
    NoSlot {
        /// Where.
        url: String,
        /// "raw key" or "passphrase".
        kind: &'static str,
    },
    /// The text or file is not a key.
    #[error("this is not a key: {0}")]
    NotAKey(String),
    /// The role of the slot lacks the signing key.
    #[error("this key may write and read backups, but not {what}")]
    Role {
        /// What was tried.
        what: &'static str,
    },
    /// The only slot of the full role cannot be removed.
    #[error("key slot {id} is the last one of the full role")]
    LastSlot {
        /// The slot.
        id: String,
    },
    /// The last number of a data key is taken.
    #[error("the repository {url} has used all 65,535 numbers of data keys")]
    NoDataKeyLeft {
        /// Where.
        url: String,
    },
    /// There is no such key slot.
    #[error("there is no key slot {id}")]
    NoSuchSlot {
        /// What was given.
        id: String,
    },
    /// A backup of this name exists in the cluster.
    #[error("a backup named {name} exists already for this cluster")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A backup of this name is being written.
    #[error("a backup named {name} is being written by {host}")]
    NameBusy {
        /// The name.
        name: String,
        /// Where.
        host: String,
    },
    /// No backup with this id or name.
    #[error("there is no backup {name}")]
    NoSuchBackup {
        /// What was given.
        name: String,
    },
    /// No restore with this id or name.
    #[error("there is no restore {name}")]
    NoSuchRestore {
        /// What was given.
        name: String,
    },
    /// Another prune declared this session dead before it could commit.
    #[error("the session {session} was declared dead by a prune before it could commit")]
    Fenced {
        /// The session.
        session: String,
    },
    /// A backup was committed, and deleted and pruned before its process had looked again.
    #[error("the backup was committed as {session}, and has been deleted and pruned since")]
    DeletedMeanwhile {
        /// Its session.
        session: String,
    },
    /// The commit of a session does not count, and nothing tells why.
    #[error(
        "the backup of session {session} is not there: either a prune declared the session dead before it could commit, or it \
         was committed, and has been deleted and pruned since"
    )]
    FencedOrDeleted {
        /// The session.
        session: String,
    },
    /// A backup was committed, the bucket was put back to an older state while it was written, and not all that it needs is
    /// known to be there.
    #[error(
        "the backup is committed as {session}, but the repository was put back to an older state while it was written, and \
         not all that it needs is sure to be there"
    )]
    Unconfirmed {
        /// Its session.
        session: String,
    },
    /// The repository is older than what this client has seen.
    #[error(
        "the repository is at epoch {found}, but this client has seen epoch {seen}: it was rolled back"
    )]
    RolledBack {
        /// What is there.
        found: u64,
        /// What was there.
        seen: u64,
    },
    /// Keys of a map were not pushed in order.
    #[error("keys must ascend, but {key:?} does not")]
    KeyOrder {
        /// The key, lossily.
        key: String,
    },
    /// A key or value exceeds the format's limits.
    #[error("{what} is {length} bytes long; the limit is {limit}")]
    TooLong {
        /// What.
        what: &'static str,
        /// Its length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// Encoding failed (a bug, or an input over the limits).
    #[error("cannot encode {object}")]
    Encode {
        /// The object's key.
        object: String,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// Part of the backup failed earlier, so it must not be committed.
    #[error("the backup cannot be committed: {0}")]
    Poisoned(String),
    /// The process is stopping.
    #[error("stopped before the work was done")]
    Stopped,
    /// Damage hides what is needed, so everything is kept.
    #[error("nothing is pruned while {object} is damaged: {problem}")]
    PruneBlocked {
        /// The object's key.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A repair cannot go on beside another process.
    #[error("nothing can be repaired beside {by}")]
    RepairBusy {
        /// Which process.
        by: String,
    },
    /// Something could not be read, for a reason that also hit others.
    #[error("{0}")]
    Unreadable(String),
    /// Threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// The key derivation failed.
    #[error("cannot derive a key from the passphrase: {0}")]
    Kdf(String),
}

impl Error {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Error::Store(e) => return e.hint(),
            Error::Damaged { .. } | Error::Missing { .. } | Error::ChunkUnknown { .. } => {
                "run `ark verify` to see what is affected, then `ark repair`: after it a new backup writes again what is lost"
            }
            Error::Forged { .. } => {
                "it has no effect; find out who holds both a key of the backup role and credentials that may write there"
            }
            Error::PruneBlocked { .. } => {
                "everything is kept; put the object back from a copy of the repository if there is one, or run `ark repair`"
            }
            Error::NotARepository { .. } => {
                "check the URL, or make a repository there with `ark repo init`"
            }
            Error::AlreadyARepository { .. } => "nothing was changed; use it with --repo as it is",
            Error::Foreign {
                velero: true, url, ..
            } => {
                return Some(format!(
                    "this looks like a Velero location, which a foreign folder would make Unavailable; use {}/ark",
                    url.trim_end_matches('/')
                ));
            }
            Error::Foreign { url, .. } => {
                return Some(format!(
                    "use an empty prefix, such as {}/ark",
                    url.trim_end_matches('/')
                ));
            }
            Error::TooNew { .. } => "upgrade ark; nothing was changed",
            Error::WrongKey { .. } => {
                "check --key-file (ARK_KEY_FILE), or use another slot: a passphrase or the recovery key"
            }
            Error::WrongPassphrase { .. } => {
                "check the passphrase, or use another slot: a key file or the recovery key"
            }
            Error::NoSlot { .. } => "open it with another kind of key: --key-file or a passphrase",
            Error::NotAKey(_) => {
                "a key file holds 32 bytes, 64 hexadecimal digits, or a recovery key (ARK0-…)"
            }
            Error::Role { .. } => "use a key of the full role",
            Error::LastSlot { .. } => {
                "add another slot of the full role first: `ark repo keys add`"
            }
            Error::NoDataKeyLeft { .. } => {
                "everything works as before with the newest one; for another, copy what you need into a new repository"
            }
            Error::NoSuchSlot { .. } => "`ark repo keys list` shows the slots",
            Error::NameTaken { .. } => {
                "choose another name, or delete that backup first: `ark backup delete`"
            }
            Error::NameBusy { .. } => "wait for it, or choose another name",
            Error::NoSuchBackup { .. } => "`ark backup get` lists the backups",
            Error::NoSuchRestore { .. } => "`ark restore get` lists the restores",
            Error::RepairBusy { .. } => {
                "wait until it has ended; a process that died counts as ended 30 minutes after its last sign of life"
            }
            Error::Fenced { .. } => "run the backup again: nothing committed was lost",
            Error::DeletedMeanwhile { .. } => {
                "this process was asleep meanwhile; run the backup again if it is wanted after all"
            }
            Error::FencedOrDeleted { .. } => {
                "this process was asleep meanwhile; run the backup again unless it was deleted on purpose"
            }
            Error::Unconfirmed { .. } => {
                "find out who restored an older copy of the bucket; then delete that backup and make another one, or see with \
                 `ark verify` what it lacks"
            }
            Error::RolledBack { .. } => {
                "find out who restored an older copy of the bucket; if that was meant, remove ark's state directory"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Attaches the object's name to a decoding error.
pub(crate) trait DamagedAt<T> {
    /// The object is damaged.
    fn at(self, object: &str) -> Result<T, Error>;
    /// The object cannot be encoded.
    fn making(self, object: &str) -> Result<T, Error>;
}

impl<T> DamagedAt<T> for Result<T, DecodeError> {
    fn at(self, object: &str) -> Result<T, Error> {
        self.map_err(|source| Error::Damaged {
            object: object.to_owned(),
            source,
        })
    }

    fn making(self, object: &str) -> Result<T, Error> {
        self.map_err(|source| Error::Encode {
            object: object.to_owned(),
            source,
        })
    }
}
