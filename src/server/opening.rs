//! The repository of a location for an operation: a location that was made a moment ago, or whose storage does not answer
//! just now, is waited for.
//!
//! Who begins something is told soon that its location cannot be used. What was begun and is interrupted waits as long as
//! it takes: the storage of a backup that is half made will come back, or somebody will cancel.

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::repositories::{Opened, RepositoriesError};

/// How long a new operation waits for its location.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(2);

/// Why an operation cannot have the repository of its location.
#[derive(Debug)]
pub struct Refusal(pub String);

/// The repository of a location.
pub async fn open(context: &Context, location: &str, begun: bool) -> Result<Arc<Opened>, Refusal> {
    let mut waited = Duration::ZERO;
    loop {
        let error = match context.repositories.get(location).await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let lasting = matches!(
            error,
            RepositoriesError::NoLocation { .. } | RepositoriesError::Invalid { .. }
        );
        if lasting || (!begun && waited >= PATIENCE) {
            return Err(Refusal(super::told::chain(&error)));
        }
        tracing::info!(location, %error, "waiting for the location");
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}
