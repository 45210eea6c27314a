//! The way of the data out of the server: one path, over TLS, for who has a token.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::target::{self, TargetError};
use super::{AT_ONCE, TOKEN, TlsListener};
use crate::api::names::check_name;
use crate::api::{BackupStorageLocation, DownloadPhase, DownloadRequest};
use crate::server::context::Context;
use crate::server::listing::list;
use crate::server::reading::{self, wire};
use crate::server::told::chain;

#[derive(Clone)]
struct Serving {
    context: Context,
    room: Arc<Semaphore>,
}

/// Serves until `stop` fires, and what is under way then to its end.
///
/// # Errors
/// If the socket fails.
pub async fn serve(
    listener: TlsListener,
    context: Context,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/downloads/{name}", get(download))
        .with_state(Serving {
            context,
            room: Arc::new(Semaphore::new(AT_ONCE)),
        });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

/// What a client is told, in the form of the apiserver's own refusals. By its reason he sees that it is not one of those.
struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            reason,
            message: message.into(),
        }
    }

    /// One answer for all that is not known here: it says nothing about what there is.
    fn unknown() -> Refusal {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "ArkForbidden",
            "there is no such download, its time is over, it was fetched already, or the token is another one: make a new DownloadRequest",
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": self.reason,
            "message": self.message,
            "code": self.code.as_u16(),
        });
        let kind = [(header::CONTENT_TYPE, "application/json")];
        (self.code, kind, status.to_string()).into_response()
    }
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Refusal {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            "ArkFailed",
            format!(
                "the server cannot read the DownloadRequest: {}",
                chain(&error)
            ),
        )
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Refusal {
        let (code, reason) = match error {
            TargetError::Refused(_) => (StatusCode::NOT_FOUND, "ArkNotFound"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "ArkUnreadable"),
        };
        Refusal::new(code, reason, chain(&error))
    }
}

/// Whether the token opens the request now.
pub(super) fn opens(request: &DownloadRequest, token: &[u8], now: Timestamp) -> bool {
    let Ok(expected) = blake3::Hash::from_hex(&request.spec.token_hash) else {
        return false;
    };
    // Hashes are compared in constant time.
    let is_known = blake3::hash(token) == expected;
    let status = request.status.clone().unwrap_or_default();
    let is_good = status.phase == DownloadPhase::Ready
        && status.expiration.is_some_and(|until| now < until.0)
        && request.metadata.deletion_timestamp.is_none();
    is_known && is_good
}

async fn download(
    State(serving): State<Serving>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let context = &serving.context;
    let token = headers
        .get(TOKEN)
        .and_then(|value| hex_of(value.as_bytes()));
    let token = token.ok_or_else(Refusal::unknown)?;
    if check_name("", &name).is_err() {
        return Err(Refusal::unknown());
    }
    let permit = Arc::clone(&serving.room).try_acquire_owned();
    let permit = permit.map_err(|_| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ArkBusy",
            "the server is busy with other downloads",
        )
    })?;
    let requests = context.api::<DownloadRequest>();
    let request = requests.get_opt(&name).await?;
    let request = request.ok_or_else(Refusal::unknown)?;
    if !opens(&request, &token, context.now()) {
        tracing::warn!(download = name, "a token was refused");
        return Err(Refusal::unknown());
    }
    take(&request, &name, context).await?;
    // A replica that does not work otherwise would hold repositories of locations that are no more against their successors.
    let locations = list::<BackupStorageLocation>(context, &ListParams::default()).await?;
    let names: Vec<String> = locations.names().collect();
    context.repositories.retain(&names);
    let target = &request.spec.target;
    let found = target::look(target, context).await?;
    let found = found.map_err(TargetError::Refused)?;
    let (opened, question) = target::question(&found, target, context).await?;
    let sent = Sent {
        download: name,
        what: format!("{:?} of {}", target.kind, target.name),
        bytes: AtomicU64::new(0),
        _permit: permit,
    };
    let answer = reading::ask(opened.repository.clone(), question);
    let stream = wire::encode(answer).map(move |bytes| {
        sent.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok::<_, Infallible>(bytes)
    });
    let kind = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((kind, Body::from_stream(stream)).into_response())
}

/// Makes the request taken, if it still is as it was read: of two that try only one succeeds.
async fn take(request: &DownloadRequest, name: &str, context: &Context) -> Result<(), Refusal> {
    let patch = json!({
        "metadata": { "resourceVersion": request.metadata.resource_version },
        "status": { "phase": DownloadPhase::Taken, "path": null },
    });
    let requests = context.api::<DownloadRequest>();
    let taken = requests
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match taken {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {
            Err(Refusal::unknown())
        }
        Err(error) => Err(error.into()),
    }
}

/// A download under way; it says in the log what became of it.
struct Sent {
    download: String,
    what: String,
    bytes: AtomicU64,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Sent {
    fn drop(&mut self) {
        tracing::info!(
            download = self.download,
            bytes = self.bytes.load(Ordering::Relaxed),
            "gave the {}",
            self.what
        );
    }
}

fn hex_of(text: &[u8]) -> Option<Vec<u8>> {
    hex::decode(text).ok().filter(|token| token.len() == 32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::download::{DownloadRequestSpec, DownloadRequestStatus};
    use crate::api::{DownloadKind, DownloadTarget, Time};

    #[test]
    fn a_token_opens_what_is_ready_and_in_time() {
        let token = [7; 32];
        let now: Timestamp = "2026-11-22T01:00:00Z".parse().unwrap();
        let until = |seconds: i64| Some(Time(now + jiff::SignedDuration::from_secs(seconds)));
        let request = |phase, expiration| {
            let spec = DownloadRequestSpec {
                target: DownloadTarget::new(DownloadKind::BackupLog, "b"),
                token_hash: blake3::hash(&token).to_hex().to_string(),
            };
            let mut request = DownloadRequest::new("d", spec);
            request.status = Some(DownloadRequestStatus {
                phase,
                expiration,
                ..DownloadRequestStatus::default()
            });
            request
        };
        let ready = request(DownloadPhase::Ready, until(1));
        assert!(opens(&ready, &token, now));
        assert!(!opens(&ready, &[8; 32], now), "another token");
        assert!(!opens(&ready, b"", now), "none");
        assert!(
            !opens(&request(DownloadPhase::Ready, until(0)), &token, now),
            "too late"
        );
        assert!(!opens(&request(DownloadPhase::Ready, None), &token, now));
        for phase in [
            DownloadPhase::New,
            DownloadPhase::Taken,
            DownloadPhase::Refused,
        ] {
            assert!(!opens(&request(phase, until(1)), &token, now), "{phase:?}");
        }
        let mut leaving = ready.clone();
        leaving.metadata.deletion_timestamp = until(0);
        assert!(!opens(&leaving, &token, now), "deleted");
        let mut odd = ready;
        odd.spec.token_hash = "no hash".to_owned();
        assert!(!opens(&odd, &token, now));
    }
}
