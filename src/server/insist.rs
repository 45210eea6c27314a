//! Writes to ark's own objects that must not get lost: tried again until the apiserver takes them.
//!
//! What an operation ends with is known to this process only until it is written. An apiserver that is away for a while
//! must not turn a backup that was made into one that looks unfinished. An object that is not there any more is the one
//! reason to give up: somebody deleted it, and then nobody asks.

use std::future::Future;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Runs `write` until it succeeds; `None` if the object is gone or the apiserver refuses the value itself.
pub async fn insist<T, F>(what: &str, mut write: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut pause = FIRST;
    loop {
        match write().await {
            Ok(value) => return Some(value),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::info!(what, "not written: the object was deleted");
                return None;
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                tracing::error!(what, status = %status.message, "not written: the apiserver refuses it");
                return None;
            }
            Err(error) => {
                tracing::warn!(what, %error, ?pause, "cannot write; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}
