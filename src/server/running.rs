//! Operations under way in this process: each object is worked on once at a time, and can be told to stop.
//!
//! An object that is on record as begun and is not in here was begun by a process that ended. That is how an interrupted
//! operation is recognised, and it needs no clock.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Operations under way. Clones share them.
#[derive(Clone, Default)]
pub struct Running {
    /// By the uid of the object: what stops it.
    tokens: Arc<Mutex<HashMap<String, CancellationToken>>>,
    tasks: TaskTracker,
}

impl Running {
    /// Whether an operation on the object is under way.
    pub fn has(&self, uid: &str) -> bool {
        self.tokens().contains_key(uid)
    }

    /// Starts an operation on an object that none is under way on.
    pub fn start<F>(&self, uid: &str, operation: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = CancellationToken::new();
        {
            let mut tokens = self.tokens();
            if tokens.contains_key(uid) {
                return;
            }
            tokens.insert(uid.to_owned(), token.clone());
        }
        let done = Done {
            running: self.clone(),
            uid: uid.to_owned(),
        };
        let operation = operation(token);
        self.tasks.spawn(async move {
            // Also if it panics: then it is begun again.
            let _done = done;
            operation.await;
        });
    }

    /// Tells the operation on the object to stop.
    pub fn cancel(&self, uid: &str) {
        if let Some(token) = self.tokens().get(uid) {
            token.cancel();
        }
    }

    /// Waits until nothing is under way.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Done {
    running: Running,
    uid: String,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.running.tokens().remove(&self.uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_is_worked_on_once_at_a_time() {
        let running = Running::default();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..2 {
            let sender = sender.clone();
            running.start("a", move |token| async move {
                token.cancelled().await;
                let _ = sender.send(number);
            });
        }
        assert!(running.has("a") && !running.has("b"));
        running.cancel("b");
        running.cancel("a");
        running.ended().await;
        assert!(!running.has("a"));
        drop(sender);
        assert_eq!(receiver.recv().await, Some(0));
        assert_eq!(receiver.recv().await, None);
    }

    #[tokio::test]
    async fn one_that_panics_is_not_under_way() {
        let running = Running::default();
        running.start("a", |_| async { panic!("as it should") });
        running.ended().await;
        assert!(!running.has("a"));
    }
}
