//! Reading what a repository holds of backups and restores: one stream of pieces for whoever asks, and wherever he is.
//!
//! What it guarantees:
//!
//! * A verb prints pieces, and does not know where they come from: a task beside it reads them from the repository, or the server does and
//!   the apiserver brings them ([`wire`]). So both ways say the same.
//! * Memory is bounded, whatever the size of the backup: a reader is at most [`AHEAD`] pieces ahead of who takes them, and holds a batch of
//!   objects of a few MiB. Who stops taking stops the reader.
//! * A stream that was read to its end is whole: its last piece says so. One that breaks is an error, never a shorter answer.

mod contents;
pub mod difference;
mod error;
mod manifest;
pub mod objects;
mod restore;
mod two;
pub mod wire;

use ark_engine::{BackupRow, Repository};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use contents::count;
pub use difference::Difference;
pub use error::{Failure, ReadError, Result, is_damage};
pub use manifest::{Content, Record, content};
use objects::BackedUpResource;
pub use restore::{Outcome, find as find_restore, restores};

/// How many pieces may wait to be taken.
const AHEAD: usize = 16;

/// What is asked.
#[derive(Debug, Clone)]
pub enum Question {
    /// The log of a backup.
    Log(Box<BackupRow>),
    /// What the repository knows of it, and how many objects of each resource it has.
    Details(Box<BackupRow>),
    /// Its objects, or their names.
    Objects {
        /// The backup.
        row: Box<BackupRow>,
        /// Which of its objects.
        wanted: Wanted,
    },
    /// What differs between two of them.
    Difference {
        /// The older one.
        before: Box<BackupRow>,
        /// The newer one.
        after: Box<BackupRow>,
        /// With the objects.
        with_objects: bool,
    },
    /// The log of the restore with this id.
    RestoreLog(String),
    /// What became of its objects.
    RestoreResults(String),
}

/// Which objects of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only of this resource.
    pub resource: Option<String>,
    /// Only the one of this name, `[NAMESPACE/]NAME`.
    pub object: Option<String>,
    /// Only those whose `[NAMESPACE/]NAME` starts so.
    pub prefix: Option<String>,
    /// The objects themselves, not only their names.
    pub contents: bool,
}

/// A piece of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Head {
    /// The body is text: a part of a log.
    Log,
    /// What the repository knows of the backup.
    Record(Box<Record>),
    /// A resource and how many objects of it there are.
    Counted {
        /// The resource.
        resource: BackedUpResource,
        /// Its objects.
        objects: u64,
    },
    /// What follows is of this resource.
    Resource(BackedUpResource),
    /// An object; the body is the object, if that was asked for.
    Object {
        /// Its namespace; empty at cluster scope.
        namespace: String,
        /// Its name.
        name: String,
        /// How many bytes it has.
        bytes: u64,
    },
    /// What is compared.
    #[serde(rename_all = "camelCase")]
    Compared {
        /// The two are of one cluster.
        same_cluster: bool,
    },
    /// An object that differs.
    Difference(Box<Difference>),
    /// What is on record of a restore; the body is its report, as JSON.
    Restore(Box<Outcome>),
    /// What went wrong. Nothing follows.
    Failed(Failure),
    /// That was all.
    End,
}

/// A piece of an answer, with the bytes that belong to it.
#[derive(Debug, Clone)]
pub struct Piece {
    /// What it is.
    pub head: Head,
    /// Its bytes; most have none.
    pub body: Bytes,
}

/// Where pieces go.
#[derive(Debug, Clone)]
pub struct Out(mpsc::Sender<Result<Piece>>);

impl Out {
    /// Hands a piece over; waits while the taker is behind.
    ///
    /// # Errors
    /// [`ReadError::Untaken`], if nobody takes any more.
    pub async fn put(&self, head: Head) -> Result<()> {
        self.with(head, Bytes::new()).await
    }

    /// As [`Out::put`], with bytes.
    ///
    /// # Errors
    /// As [`Out::put`].
    pub async fn with(&self, head: Head, body: Bytes) -> Result<()> {
        let sent = self.0.send(Ok(Piece { head, body })).await;
        sent.map_err(|_| ReadError::Untaken)
    }
}

/// The pieces of an answer.
#[derive(Debug)]
pub struct Pieces {
    taken: mpsc::Receiver<Result<Piece>>,
    ended: bool,
}

impl Pieces {
    /// The next piece; `None` after the last one.
    ///
    /// # Errors
    /// What the repository, or the way to it, says. A stream that ends without saying so is broken.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        if self.ended {
            return Ok(None);
        }
        match self.taken.recv().await {
            Some(Ok(Piece {
                head: Head::End, ..
            })) => {
                self.ended = true;
                Ok(None)
            }
            Some(Ok(Piece {
                head: Head::Failed(failure),
                ..
            })) => {
                self.ended = true;
                Err(failure.into())
            }
            Some(Ok(piece)) => Ok(Some(piece)),
            Some(Err(error)) => {
                self.ended = true;
                Err(error)
            }
            None => Err(ReadError::Broken {
                why: "it ends in the middle".to_owned(),
            }),
        }
    }
}

/// A reader that `fill` feeds.
pub fn pieces<F>(fill: impl FnOnce(Out) -> F) -> Pieces
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (give, taken) = mpsc::channel(AHEAD);
    let out = Out(give);
    let filling = fill(out.clone());
    tokio::spawn(async move {
        let last = match filling.await {
            Ok(()) => Ok(Piece {
                head: Head::End,
                body: Bytes::new(),
            }),
            Err(error) => Err(error),
        };
        // Nobody may be there any more.
        let _ = out.0.send(last).await;
    });
    Pieces {
        taken,
        ended: false,
    }
}

/// Answers a question about a repository.
pub fn ask(repository: Repository, question: Question) -> Pieces {
    pieces(|out| async move {
        match question {
            Question::Log(row) => manifest::log(&repository, &row, &out).await,
            Question::Details(row) => contents::details(&repository, &row, &out).await,
            Question::Objects { row, wanted } => {
                contents::objects(&repository, &row, &wanted, &out).await
            }
            Question::Difference {
                before,
                after,
                with_objects,
            } => two::compare(&repository, &before, &after, with_objects, &out).await,
            Question::RestoreLog(id) => restore::log(&repository, &id, &out).await,
            Question::RestoreResults(id) => restore::results(&repository, &id, &out).await,
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_stream_that_is_cut_is_no_shorter_answer() {
        let (give, taken) = mpsc::channel(2);
        let out = Out(give);
        out.put(Head::Log).await.unwrap();
        drop(out);
        let mut pieces = Pieces {
            taken,
            ended: false,
        };
        assert!(pieces.next().await.unwrap().is_some());
        let error = pieces.next().await.unwrap_err();
        assert!(matches!(error, ReadError::Broken { .. }), "{error}");
    }

    #[tokio::test]
    async fn who_stops_taking_stops_the_reader() {
        let (told, stopped) = tokio::sync::oneshot::channel();
        let mut endless = pieces(|out| async move {
            let error = loop {
                if let Err(error) = out.put(Head::Log).await {
                    break error;
                }
            };
            let _ = told.send(matches!(error, ReadError::Untaken));
            Err(error)
        });
        assert!(endless.next().await.unwrap().is_some());
        drop(endless);
        assert!(stopped.await.unwrap());
    }
}
