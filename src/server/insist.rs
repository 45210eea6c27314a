//! Requests about ark's own objects that an operation depends on: tried again until the apiserver answers them.
//!
//! What an operation ends with is known to this process only until it is written. An apiserver that is away for a while
//! must not turn a backup that was made into one that looks unfinished. An object that is not there any more is the one
//! reason to give up: somebody deleted it, and then nobody asks.

use std::future::Future;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Sends a request until it succeeds; `None` if the object is gone or the apiserver refuses what is asked.
pub async fn insist<T, F>(what: &str, mut request: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut pause = FIRST;
    loop {
        match request().await {
            Ok(value) => return Some(value),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::info!(what, "the object was deleted");
                return None;
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                tracing::error!(what, status = %status.message, "the apiserver refuses it");
                return None;
            }
            Err(error) => {
                tracing::warn!(what, %error, ?pause, "the apiserver does not answer as it should; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}
