//! An answer as bytes: a greeting, and for each piece a line of JSON and the bytes that it announces.
//!
//! The greeting names the version of this form. An object is never encoded again on its way, so what a reader gets is what the apiserver once
//! gave, byte by byte. Who decodes holds one piece at a time, and refuses what is too long before he holds it.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};

use super::error::{Failure, ReadError, Result};
use super::{Head, Out, Pieces, pieces};

/// The version of this form.
const VERSION: u32 = 1;
/// The longest line. What it announces has a limit of its own.
const LINE: usize = 64 << 20;
/// The most bytes that a line may announce: far more than an apiserver takes.
const BODY: u64 = 256 << 20;
/// Small pieces are sent together, up to about so many bytes.
const TOGETHER: usize = 32 << 10;

#[derive(Serialize, Deserialize)]
struct Greeting {
    ark: u32,
}

#[derive(Serialize, Deserialize)]
struct Line<H> {
    piece: H,
    #[serde(default, skip_serializing_if = "is_none")]
    bytes: u64,
}

fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

fn put<H: Serialize>(head: H, body: &Bytes, buffer: &mut BytesMut) -> Result<()> {
    let line = Line {
        piece: head,
        bytes: body.len() as u64,
    };
    let text = serde_json::to_vec(&line).map_err(broken)?;
    buffer.extend_from_slice(&text);
    buffer.extend_from_slice(b"\n");
    buffer.extend_from_slice(body);
    Ok(())
}

fn broken(why: impl ToString) -> ReadError {
    ReadError::Broken {
        why: why.to_string(),
    }
}

/// The bytes of an answer. An error becomes the last piece.
pub fn encode(answer: Pieces) -> impl Stream<Item = Bytes> + Send {
    let mut greeting = BytesMut::new();
    let greet = serde_json::to_vec(&Greeting { ark: VERSION }).unwrap_or_default();
    greeting.extend_from_slice(&greet);
    greeting.extend_from_slice(b"\n");
    futures::stream::unfold(Some((answer, greeting)), |state| async move {
        let (mut answer, mut buffer) = state?;
        loop {
            let last = match answer.next().await {
                Ok(Some(piece)) => match put(&piece.head, &piece.body, &mut buffer) {
                    Ok(()) => None,
                    Err(error) => Some(Head::Failed(Failure::from(&error))),
                },
                Ok(None) => Some(Head::End),
                Err(error) => Some(Head::Failed(Failure::from(&error))),
            };
            if let Some(last) = last {
                // What does not encode cannot be told; the reader sees that the end is missing.
                let _ = put(&last, &Bytes::new(), &mut buffer);
                return Some((buffer.freeze(), None));
            }
            if buffer.len() >= TOGETHER {
                let full = buffer.split().freeze();
                return Some((full, Some((answer, buffer))));
            }
        }
    })
}

/// The pieces of an answer that arrives as bytes.
pub fn decode<S, E>(bytes: S) -> Pieces
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::fmt::Display + Send + 'static,
{
    pieces(|out| async move {
        let mut incoming = Incoming {
            bytes,
            buffer: BytesMut::new(),
        };
        incoming.greeted().await?;
        incoming.pass(&out).await
    })
}

struct Incoming<S> {
    bytes: S,
    buffer: BytesMut,
}

impl<S, E> Incoming<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    async fn greeted(&mut self) -> Result<()> {
        let line = self.line().await?.ok_or_else(|| broken("it is empty"))?;
        let greeting: Greeting =
            serde_json::from_slice(&line).map_err(|_| broken("it does not come from ark"))?;
        match greeting.ark {
            VERSION => Ok(()),
            other => Err(broken(format!(
                "it has the form {other}, this ark reads {VERSION}: use the server's version of ark"
            ))),
        }
    }

    async fn pass(&mut self, out: &Out) -> Result<()> {
        while let Some(line) = self.line().await? {
            let line: Line<Head> = serde_json::from_slice(&line).map_err(broken)?;
            match line.piece {
                Head::End => return Ok(()),
                Head::Failed(failure) => return Err(failure.into()),
                _ => {}
            }
            let body = self.body(line.bytes).await?;
            out.with(line.piece, body).await?;
        }
        Err(broken("it ends in the middle"))
    }

    /// The next line; `None` at the end.
    async fn line(&mut self) -> Result<Option<Bytes>> {
        let mut searched = 0;
        loop {
            let end = self.buffer[searched..].iter().position(|b| *b == b'\n');
            if let Some(end) = end {
                let mut line = self.buffer.split_to(searched + end + 1);
                line.truncate(searched + end);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if searched > LINE {
                return Err(broken("a line of it is too long"));
            }
            if !self.more().await? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(broken("it ends in the middle")),
                };
            }
        }
    }

    async fn body(&mut self, bytes: u64) -> Result<Bytes> {
        let length = usize::try_from(bytes)
            .ok()
            .filter(|_| bytes <= BODY)
            .ok_or_else(|| broken("a part of it is too long"))?;
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(broken("it ends in the middle"));
            }
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn more(&mut self) -> Result<bool> {
        match self.bytes.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(true)
            }
            Some(Err(error)) => Err(broken(error)),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer() -> Pieces {
        pieces(|out| async move {
            for (name, body) in [("a", &b"{\n}"[..]), ("b", b""), ("c", b"\n\n\xff")] {
                let head = Head::Object {
                    namespace: "n".to_owned(),
                    name: name.to_owned(),
                    bytes: 3,
                };
                out.with(head, Bytes::copy_from_slice(body)).await?;
            }
            Ok(())
        })
    }

    async fn bytes(answer: Pieces) -> Vec<u8> {
        let parts: Vec<Bytes> = encode(answer).collect().await;
        parts.concat()
    }

    /// Whatever the size of the parts in which they arrive.
    fn arriving(bytes: &[u8], parts: usize) -> Pieces {
        let parts: Vec<Result<Bytes, String>> = bytes
            .chunks(parts)
            .map(|part| Ok(Bytes::copy_from_slice(part)))
            .collect();
        decode(futures::stream::iter(parts))
    }

    async fn all(mut pieces: Pieces) -> Result<Vec<(String, Bytes)>> {
        let mut found = Vec::new();
        while let Some(piece) = pieces.next().await? {
            if let Head::Object { name, .. } = piece.head {
                found.push((name, piece.body));
            }
        }
        Ok(found)
    }

    #[tokio::test]
    async fn what_was_sent_arrives_byte_by_byte() {
        let sent = bytes(answer()).await;
        let expected = all(answer()).await.unwrap();
        assert_eq!(expected.len(), 3);
        for parts in [1, 7, 1000] {
            let found = all(arriving(&sent, parts)).await.unwrap();
            assert_eq!(found, expected, "{parts}");
        }
    }

    #[tokio::test]
    async fn a_cut_anywhere_is_seen() {
        let sent = bytes(answer()).await;
        for length in 0..sent.len() {
            let cut = all(arriving(&sent[..length], 16)).await;
            assert!(matches!(cut, Err(ReadError::Broken { .. })), "{length}");
        }
    }

    #[tokio::test]
    async fn a_failure_arrives_as_what_it_is() {
        let failing = pieces(|out| async move {
            out.put(Head::Log).await?;
            Err(ReadError::NoResource {
                backup: "b".to_owned(),
                resource: "r".to_owned(),
            })
        });
        let error = all(arriving(&bytes(failing).await, 5)).await.unwrap_err();
        assert_eq!(error.to_string(), "the backup b has no resource \"r\"");
        assert!(matches!(error, ReadError::NoResource { .. }));
    }

    #[tokio::test]
    async fn what_is_not_this_form_is_refused() {
        for (bytes, expected) in [
            (&b"{\"ark\":2}\n"[..], "the form 2"),
            (b"<html>\n", "does not come from ark"),
            (
                b"{\"ark\":1}\n{\"piece\":\"log\",\"bytes\":999999999999}\n",
                "too long",
            ),
            (
                b"{\"ark\":1}\n{\"piece\":{\"unheard\":1}}\n",
                "unknown variant",
            ),
        ] {
            let error = all(arriving(bytes, 64)).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
