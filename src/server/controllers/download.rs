//! DownloadRequests: looked at once, told where the data is, and deleted a while later. The data goes another way ([`crate::server::download`]).

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use serde_json::json;

use super::{delete_present, patch_own_status};
use crate::api::{DownloadPhase, DownloadRequest, DownloadRequestStatus, Time};
use crate::server::context::Context;
use crate::server::download::{self, GOOD_FOR, KEPT};

/// What is to be done for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look whether it can be read.
    Look,
    /// Nothing for so long.
    Wait(Duration),
    /// Delete it.
    Delete,
}

/// Decides.
pub fn decide(request: &DownloadRequest, now: Timestamp) -> Action {
    let made = request.creation_timestamp().map_or(now, |made| made.0);
    let kept = SignedDuration::try_from(KEPT).unwrap_or(SignedDuration::MAX);
    let left = kept.saturating_sub(now.duration_since(made)).min(kept);
    let left = match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => left,
        _ => return Action::Delete,
    };
    match request.status.as_ref().map(|status| status.phase) {
        None | Some(DownloadPhase::New) => Action::Look,
        Some(_) => Action::Wait(left),
    }
}

/// Answers until the server stops.
pub async fn run(context: Context) {
    super::watch(context, "download", reconcile).await;
}

async fn reconcile(
    request: Arc<DownloadRequest>,
    context: Arc<Context>,
) -> Result<Requeue, kube::Error> {
    if request.metadata.deletion_timestamp.is_some() {
        return Ok(Requeue::await_change());
    }
    let api = context.api::<DownloadRequest>();
    let name = request.name_any();
    match decide(&request, context.now()) {
        Action::Wait(left) => return Ok(Requeue::requeue(left)),
        Action::Delete => delete_present(&api, &name).await?,
        Action::Look => {
            let status = match download::look(&request.spec.target, &context).await? {
                Err(why) => DownloadRequestStatus {
                    phase: DownloadPhase::Refused,
                    message: Some(why),
                    ..DownloadRequestStatus::default()
                },
                Ok(_) => DownloadRequestStatus {
                    phase: DownloadPhase::Ready,
                    path: Some(download::path(
                        &context.namespace,
                        &context.settings.download_service,
                        &name,
                    )),
                    expiration: context.now().checked_add(GOOD_FOR).ok().map(Time),
                    message: None,
                },
            };
            let uid = request.uid().unwrap_or_default();
            patch_own_status(&api, &name, &uid, &json!(status)).await?;
        }
    }
    Ok(Requeue::requeue(KEPT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::download::DownloadRequestSpec;
    use crate::api::{DownloadKind, DownloadTarget};

    #[test]
    fn a_request_is_looked_at_once_and_deleted_after_ten_minutes() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let spec = DownloadRequestSpec {
            target: DownloadTarget::new(DownloadKind::BackupLog, "b"),
            token_hash: String::new(),
        };
        let mut request = DownloadRequest::new("d", spec);
        request.metadata.creation_timestamp = Some(Time(at("2026-03-01T00:00:00Z")));
        assert_eq!(decide(&request, at("2026-03-01T00:00:01Z")), Action::Look);
        assert_eq!(decide(&request, at("2026-03-01T00:10:00Z")), Action::Delete);
        for phase in [
            DownloadPhase::Ready,
            DownloadPhase::Refused,
            DownloadPhase::Taken,
        ] {
            request.status = Some(DownloadRequestStatus {
                phase,
                ..DownloadRequestStatus::default()
            });
            let minute = decide(&request, at("2026-03-01T00:09:00Z"));
            assert_eq!(minute, Action::Wait(Duration::from_secs(60)));
            assert_eq!(decide(&request, at("2026-03-01T00:11:00Z")), Action::Delete);
            // A clock that was put back delays it by no more than that.
            assert_eq!(
                decide(&request, at("2026-02-01T00:00:00Z")),
                Action::Wait(KEPT)
            );
        }
    }
}
