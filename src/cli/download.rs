//! Reading what a repository holds without reaching it: the server reads, and the apiserver brings it here.
//!
//! Why so: who uses ark through its server has neither the repository's key nor credentials for the bucket, and often no way there at all,
//! so that no link to the bucket would help him; and what an object may hold is far less than a backup. What he has is the apiserver.

use std::time::Duration;

use ark_engine::Env;
use kube::ResourceExt;
use tokio::time::Instant;

use super::error::{Error, Result};
use super::served::Served;
use crate::api::download::DownloadRequestSpec;
use crate::api::{DownloadPhase, DownloadRequest, DownloadTarget, ObjectMeta};
use crate::cluster::{self, Call, Patience, Verb};
use crate::server::download::{TOKEN, hash, is_fetched_at};
use crate::server::reading::{Pieces, wire};

/// The first pause between two looks; each further one is longer.
const FIRST: Duration = Duration::from_millis(30);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);
/// How long the server may take to look at a request.
const PATIENCE: Duration = Duration::from_secs(60);
/// A pod of the server that ends is not asked again.
const RETRIES: Patience = Patience {
    attempts: 4,
    first: Duration::from_millis(300),
    longest: Duration::from_secs(2),
};

/// Asks the server for a part of a backup or restore.
pub async fn fetch(served: &Served, target: DownloadTarget, env: &Env) -> Result<Pieces> {
    served.require_server().await?;
    let token: [u8; 32] = env.bytes();
    let made: [u8; 6] = env.bytes();
    let short: String = target.name.chars().take(200).collect();
    let request = DownloadRequest {
        metadata: ObjectMeta {
            name: Some(format!("{short}-{}", hex::encode(made))),
            namespace: Some(served.namespace().to_owned()),
            ..ObjectMeta::default()
        },
        spec: DownloadRequestSpec {
            target,
            token_hash: hash(&token),
        },
        status: None,
    };
    let name = request.name_any();
    served.create(&request).await?;
    let opened = open(served, &name, &token).await;
    // It was taken, or is of no use. The server deletes it too.
    let _ = served.delete::<DownloadRequest>(&name).await;
    opened
}

async fn open(served: &Served, name: &str, token: &[u8; 32]) -> Result<Pieces> {
    let path = ready(served, name).await?;
    let call = Call {
        patience: RETRIES,
        accept: "application/octet-stream",
        ..Call::new(Verb::Get, path)
    };
    let stream = served
        .cluster()
        .stream(&call, (TOKEN, &hex::encode(token)))
        .await
        .map_err(unfetched)?;
    Ok(wire::decode(Box::pin(stream)))
}

/// Waits until the server has looked at the request, and says where the data is.
async fn ready(served: &Served, name: &str) -> Result<String> {
    let refused = |why: String| Error::Refused {
        what: "cannot read it through the server".to_owned(),
        why: vec![why],
    };
    let began = Instant::now();
    let mut pause = FIRST;
    loop {
        let found = served.get::<DownloadRequest>(name).await?.object;
        let status = found.status.unwrap_or_default();
        match status.phase {
            DownloadPhase::New if began.elapsed() > PATIENCE => {
                return Err(refused(
                    "the server has not looked at the DownloadRequest in a minute".to_owned(),
                ));
            }
            DownloadPhase::New => {}
            DownloadPhase::Ready => {
                let path = status.path.unwrap_or_default();
                return match is_fetched_at(&path, served.namespace(), name) {
                    true => Ok(path),
                    false => Err(refused(format!("the path {path:?} is not the server's"))),
                };
            }
            DownloadPhase::Refused => return Err(refused(status.message.unwrap_or_default())),
            DownloadPhase::Taken => return Err(refused("somebody has taken it".to_owned())),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// What the apiserver says is about the way, what the server says about the data.
fn unfetched(source: cluster::Error) -> Error {
    match source.api() {
        Some(api) if api.reason.starts_with("Ark") => Error::Refused {
            what: "cannot read it through the server".to_owned(),
            why: vec![api.message.clone()],
        },
        _ => Error::Unfetched { source },
    }
}
