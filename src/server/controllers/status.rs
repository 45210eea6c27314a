//! ServerStatusRequests: answered once with the version of the server, and deleted a while later.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::controller::Action as Requeue;
use serde_json::json;

use super::{delete_present, patch_status};
use crate::api::{ServerStatusRequest, ServerStatusRequestPhase, ServerStatusRequestStatus, Time};
use crate::server::context::Context;

/// How long an answer can be read.
const KEPT: SignedDuration = SignedDuration::from_mins(1);

/// What is to be done for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Answer it.
    Answer,
    /// Nothing for so long.
    Wait(Duration),
    /// Delete it.
    Delete,
}

/// Decides.
pub fn decide(request: &ServerStatusRequest, now: Timestamp) -> Action {
    let status = request.status.clone().unwrap_or_default();
    let answered = match (status.phase, status.processed_timestamp) {
        (ServerStatusRequestPhase::Processed, Some(time)) => time.0,
        _ => return Action::Answer,
    };
    let left = KEPT.saturating_sub(now.duration_since(answered)).min(KEPT);
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => Action::Wait(left),
        _ => Action::Delete,
    }
}

/// Answers until the server stops.
pub async fn run(context: Context) {
    super::watch(context, "server status", reconcile).await;
}

async fn reconcile(
    request: Arc<ServerStatusRequest>,
    context: Arc<Context>,
) -> Result<Requeue, kube::Error> {
    let api = context.api::<ServerStatusRequest>();
    let name = request.name_any();
    match decide(&request, context.now()) {
        Action::Wait(left) => return Ok(Requeue::requeue(left)),
        Action::Answer => {
            let status = ServerStatusRequestStatus {
                phase: ServerStatusRequestPhase::Processed,
                server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                processed_timestamp: Some(Time(context.now())),
            };
            patch_status(&api, &name, &json!(status)).await?;
        }
        Action::Delete => delete_present(&api, &name).await?,
    }
    Ok(Requeue::await_change())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::ServerStatusRequestSpec;

    #[test]
    fn a_request_is_answered_kept_and_deleted() {
        let mut request = ServerStatusRequest::new("r", ServerStatusRequestSpec::default());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-03-01T00:00:10Z");
        assert_eq!(decide(&request, now), Action::Answer);
        request.status = Some(ServerStatusRequestStatus {
            phase: ServerStatusRequestPhase::Processed,
            server_version: None,
            processed_timestamp: Some(Time(at("2026-03-01T00:00:00Z"))),
        });
        assert_eq!(decide(&request, now), Action::Wait(Duration::from_secs(50)));
        assert_eq!(decide(&request, at("2026-03-01T00:01:00Z")), Action::Delete);
        // A clock that was put back delays it by no more than that.
        let early = decide(&request, at("2026-02-01T00:00:00Z"));
        assert_eq!(early, Action::Wait(Duration::from_secs(60)));
    }
}
