//! Services: addresses and ports that the cluster gave are given anew; those that somebody chose are kept.

use serde_json::Value;

use super::{annotation, at, map_mut, text};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Clears the cluster's own choices.
pub(super) fn step(object: &mut Value, preserve_node_ports: bool) {
    if text(object, &["spec", "type"]) == Some("ExternalName") {
        return;
    }
    if text(object, &["spec", "clusterIP"]) != Some("None")
        && let Some(spec) = map_mut(object, &["spec"])
    {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    if preserve_node_ports {
        return;
    }
    let chosen = Chosen::find(object);
    let Some(spec) = map_mut(object, &["spec"]) else {
        return;
    };
    if !chosen.health_check {
        spec.remove("healthCheckNodePort");
    }
    let Some(Value::Array(ports)) = spec.get_mut("ports") else {
        return;
    };
    for port in ports {
        if !chosen.holds(port)
            && let Some(port) = port.as_object_mut()
        {
            port.remove("nodePort");
        }
    }
}

/// Gives up node ports that are taken in this cluster. True if there were any.
pub fn release_node_ports(object: &mut Value) -> bool {
    let Some(spec) = map_mut(object, &["spec"]) else {
        return false;
    };
    let mut any = spec.remove("healthCheckNodePort").is_some();
    if let Some(Value::Array(ports)) = spec.get_mut("ports") {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            any |= port.remove("nodePort").is_some();
        }
    }
    any
}

/// The node ports that somebody wrote down.
#[derive(Default)]
struct Chosen {
    /// Port number and protocol.
    ports: Vec<(u64, String)>,
    health_check: bool,
}

impl Chosen {
    /// What `kubectl apply` was given, and what any manager of fields set. The apiserver's own allocation is no field of
    /// anybody's.
    fn find(object: &Value) -> Chosen {
        let mut chosen = Chosen::default();
        let applied = annotation(object, LAST_APPLIED)
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(applied) = applied {
            chosen.health_check |= is_set(at(&applied, &["spec", "healthCheckNodePort"]));
            let ports = at(&applied, &["spec", "ports"]).and_then(Value::as_array);
            for port in ports.into_iter().flatten() {
                if is_set(port.get("nodePort")) {
                    chosen.ports.extend(identity(port));
                }
            }
        }
        let managers = at(object, &["metadata", "managedFields"]).and_then(Value::as_array);
        for manager in managers.into_iter().flatten() {
            let Some(spec) = at(manager, &["fieldsV1", "f:spec"]) else {
                continue;
            };
            chosen.health_check |= spec.get("f:healthCheckNodePort").is_some();
            let ports = spec.get("f:ports").and_then(Value::as_object);
            for (item, fields) in ports.into_iter().flatten() {
                if fields.get("f:nodePort").is_none() {
                    continue;
                }
                let item = item
                    .strip_prefix("k:")
                    .and_then(|json| serde_json::from_str(json).ok());
                chosen.ports.extend(item.as_ref().and_then(identity));
            }
        }
        chosen
    }

    fn holds(&self, port: &Value) -> bool {
        identity(port).is_some_and(|identity| self.ports.contains(&identity))
    }
}

fn is_set(port: Option<&Value>) -> bool {
    port.and_then(Value::as_u64).is_some_and(|port| port != 0)
}

/// What tells the ports of a Service apart.
fn identity(port: &Value) -> Option<(u64, String)> {
    let number = port.get("port")?.as_u64()?;
    let protocol = port
        .get("protocol")
        .and_then(Value::as_str)
        .unwrap_or("TCP");
    Some((number, protocol.to_owned()))
}
