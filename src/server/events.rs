//! Kubernetes Events: what `kubectl describe` shows of what the server did.
//!
//! An Event is a remark. One that cannot be written is logged and holds nothing up.

use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};

/// The most bytes of a note that the apiserver takes.
const NOTE: usize = 1000;

/// Writes Events. Clones share it.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Events that this replica reports.
    pub fn new(client: Client, instance: &str) -> Events {
        let reporter = Reporter {
            controller: "ark-server".to_owned(),
            instance: Some(instance.to_owned()),
        };
        Events(Recorder::new(client, reporter))
    }

    /// Something went as it should.
    pub async fn normal<K: Resource<DynamicType = ()>>(&self, of: &K, reason: &str, note: &str) {
        self.publish(of, EventType::Normal, reason, note).await;
    }

    /// Somebody should look at it.
    pub async fn warning<K: Resource<DynamicType = ()>>(&self, of: &K, reason: &str, note: &str) {
        self.publish(of, EventType::Warning, reason, note).await;
    }

    /// How something went.
    pub async fn tell<K: Resource<DynamicType = ()>>(
        &self,
        of: &K,
        well: bool,
        reason: &str,
        note: &str,
    ) {
        let type_ = match well {
            true => EventType::Normal,
            false => EventType::Warning,
        };
        self.publish(of, type_, reason, note).await;
    }

    async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        of: &K,
        type_: EventType,
        reason: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(clip(note)),
            action: reason.to_owned(),
            secondary: None,
        };
        let object = of.object_ref(&());
        if let Err(error) = self.0.publish(&event, &object).await {
            tracing::warn!(%error, reason, "cannot write an Event");
        }
    }
}

fn clip(note: &str) -> String {
    if note.len() <= NOTE {
        return note.to_owned();
    }
    let mut end = NOTE;
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_as_long_as_the_apiserver_takes() {
        assert_eq!(clip("short"), "short");
        let long = clip(&"ä".repeat(2000));
        assert!(long.len() <= 1024 && long.ends_with('…'), "{}", long.len());
    }
}
