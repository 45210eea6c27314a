//! Who of the server's own processes is dead: all but the one that holds the Lease.
//!
//! A session in a repository says which process writes it, and a process of another machine is believed to live until it
//! has been silent for half an hour. A server that was killed comes back in another pod, on another node perhaps, and must
//! not wait that long for its own predecessor. It need not: replicas open sessions only while they hold the Lease, so
//! whoever holds it knows that the sessions of all others have nobody behind them. Should that be wrong for a moment (a
//! replica that does not know yet that its Lease is lost), it costs the other one its session and never data: it is fenced.

use std::sync::Arc;

use ark_engine::env::{Env, Host};

/// Tells this replica from the others of the same server.
struct Replica {
    machine: Arc<dyn Host>,
    /// What all replicas of this server have in common.
    server: String,
    identity: String,
}

/// The surroundings of an engine that works for the replica `identity` of the server in that namespace of that cluster.
pub fn of_replica(env: Env, cluster: &str, namespace: &str, identity: &str) -> Env {
    Env {
        host: Arc::new(Replica {
            machine: Arc::clone(&env.host),
            server: format!("server {cluster} {namespace}"),
            identity: identity.to_owned(),
        }),
        ..env
    }
}

impl Host for Replica {
    fn name(&self) -> String {
        self.machine.name()
    }

    fn process(&self) -> String {
        format!("{} {}", self.server, self.identity)
    }

    fn alive(&self, process: &str) -> Option<bool> {
        match process.rsplit_once(' ') {
            Some((server, identity)) if server == self.server => Some(identity == self.identity),
            _ => self.machine.alive(process),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_others_of_the_same_server_are_dead() {
        let system = Env::system(1).unwrap();
        let replica = |namespace: &str, identity: &str| {
            of_replica(system.clone(), "cluster", namespace, identity).host
        };
        let (one, two) = (replica("ark", "pod-a_1"), replica("ark", "pod-b_2"));
        assert_eq!(one.alive(&one.process()), Some(true));
        assert_eq!(two.alive(&one.process()), Some(false));
        // Of another server nobody here knows.
        assert_eq!(two.alive(&replica("other", "pod-a_1").process()), None);
        // Clients on this machine are known as ever.
        assert_eq!(two.alive(&system.host.process()), Some(true));
        assert_eq!(system.host.alive(&one.process()), None);
        assert_eq!(one.name(), system.host.name());
    }
}
