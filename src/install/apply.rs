//! Putting objects into the cluster, and waiting until they are what they should be.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::error::{Doing, Error};
use super::{NAME, Options, definitions, labels, location};
use crate::api::location::recovery_secret;
use crate::cluster::{Call, Cluster, Verb};

/// Who sets the fields, as the apiserver's book-keeping has it.
const MANAGER: &str = "ark-install";
const PAUSE: Duration = Duration::from_millis(300);

/// The kinds that an installation consists of: how the path of a collection begins, its plural, whether it is in namespaces.
const KINDS: [(&str, &str, &str, bool); 12] = [
    ("Namespace", "/api/v1", "namespaces", false),
    ("Secret", "/api/v1", "secrets", true),
    ("Service", "/api/v1", "services", true),
    ("ServiceAccount", "/api/v1", "serviceaccounts", true),
    ("Deployment", "/apis/apps/v1", "deployments", true),
    ("Role", "/apis/rbac.authorization.k8s.io/v1", "roles", true),
    (
        "RoleBinding",
        "/apis/rbac.authorization.k8s.io/v1",
        "rolebindings",
        true,
    ),
    (
        "ClusterRole",
        "/apis/rbac.authorization.k8s.io/v1",
        "clusterroles",
        false,
    ),
    (
        "ClusterRoleBinding",
        "/apis/rbac.authorization.k8s.io/v1",
        "clusterrolebindings",
        false,
    ),
    (
        "CustomResourceDefinition",
        "/apis/apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        false,
    ),
    (
        "BackupStorageLocation",
        "/apis/ark.heptio.com/v1",
        "backupstoragelocations",
        true,
    ),
    ("Lease", "/apis/coordination.k8s.io/v1", "leases", true),
];

/// The path of an object in the apiserver.
pub fn path(object: &Value) -> Option<String> {
    let kind = object["kind"].as_str()?;
    let (_, group, plural, namespaced) = KINDS.iter().find(|(known, ..)| *known == kind)?;
    let name = object["metadata"]["name"].as_str()?;
    Some(match namespaced {
        true => {
            let namespace = object["metadata"]["namespace"].as_str()?;
            format!("{group}/namespaces/{namespace}/{plural}/{name}")
        }
        false => format!("{group}/{plural}/{name}"),
    })
}

/// What an object is called in messages.
pub fn called(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// Applies an object, whatever there is.
///
/// # Errors
/// The apiserver's.
pub async fn apply(cluster: &Cluster, object: &Value) -> Result<(), Error> {
    let what = called(object);
    let path = path(object).ok_or_else(|| Error::Shape { what: what.clone() })?;
    let call = Call::new(
        Verb::Patch,
        format!("{path}?fieldManager={MANAGER}&force=true"),
    )
    .with_body("application/apply-patch+yaml", object.to_string());
    cluster
        .call(&call)
        .await
        .doing(format!("apply the {what}"))?;
    Ok(())
}

/// Reads an object, if it is there.
///
/// # Errors
/// The apiserver's.
pub async fn get(cluster: &Cluster, path: &str) -> Result<Option<Value>, Error> {
    match cluster.call(&Call::new(Verb::Get, path)).await {
        Ok(body) => serde_json::from_slice(&body)
            .map(Some)
            .map_err(|_| Error::Shape {
                what: path.to_owned(),
            }),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error).doing(format!("read {path}")),
    }
}

/// Deletes an object, if it is there.
///
/// # Errors
/// The apiserver's.
pub async fn delete(cluster: &Cluster, object: &Value) -> Result<(), Error> {
    let what = called(object);
    let path = path(object).ok_or_else(|| Error::Shape { what: what.clone() })?;
    delete_path(cluster, &path, &what).await
}

pub(super) async fn delete_path(cluster: &Cluster, path: &str, what: &str) -> Result<(), Error> {
    let call = Call::new(Verb::Delete, format!("{path}?propagationPolicy=Background"));
    match cluster.call(&call).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error).doing(format!("delete the {what}")),
    }
}

/// Applies the definitions and waits until the apiserver serves them.
///
/// # Errors
/// [`Error::Late`]; the apiserver's.
pub async fn apply_definitions(cluster: &Cluster, within: Duration) -> Result<(), Error> {
    let definitions = definitions();
    for definition in &definitions {
        apply(cluster, definition).await?;
    }
    for definition in &definitions {
        until(cluster, definition, within, |found| match found {
            Some(found) if condition(found, "Established").0 => Ok(()),
            _ => Err("the apiserver does not serve it yet".to_owned()),
        })
        .await?;
    }
    Ok(())
}

/// Waits until the server runs.
///
/// # Errors
/// [`Error::Late`]; the apiserver's.
pub async fn running(cluster: &Cluster, options: &Options, within: Duration) -> Result<(), Error> {
    let namespace = &options.namespace;
    let deployment =
        json!({ "kind": "Deployment", "metadata": { "name": NAME, "namespace": namespace } });
    let waited = until(cluster, &deployment, within, |found| match found {
        None => Err("it is gone".to_owned()),
        Some(found) => is_running(found),
    })
    .await;
    match waited {
        Err(Error::Late {
            what,
            seconds,
            last,
        }) => {
            let pods = pods(cluster, namespace).await.unwrap_or_default();
            Err(Error::Late {
                what,
                seconds,
                last: match pods.is_empty() {
                    true => last,
                    false => pods,
                },
            })
        }
        waited => waited,
    }
}

fn is_running(deployment: &Value) -> Result<(), String> {
    let count = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let seen = count("observedGeneration");
    if seen < deployment["metadata"]["generation"].as_u64().unwrap_or(0) {
        return Err("no controller has looked at it yet".to_owned());
    }
    let (updated, available, all) = (
        count("updatedReplicas"),
        count("availableReplicas"),
        count("replicas"),
    );
    match updated == wanted && available == wanted && all == wanted {
        true => Ok(()),
        false => Err(format!("{available} of {wanted} pods are available")),
    }
}

/// What keeps the pods from running.
async fn pods(cluster: &Cluster, namespace: &str) -> Result<String, Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=component%3D{NAME}");
    let list = get(cluster, &path).await?.unwrap_or_default();
    let mut reasons = Vec::new();
    for pod in list["items"].as_array().into_iter().flatten() {
        let states = pod["status"]["containerStatuses"].as_array();
        for state in states.into_iter().flatten() {
            let waiting = &state["state"]["waiting"];
            if let Some(reason) = waiting["reason"].as_str() {
                let message = waiting["message"].as_str().unwrap_or_default();
                reasons.push(format!("{reason} {message}").trim().to_owned());
            }
        }
        let (scheduled, why) = condition(pod, "PodScheduled");
        if !scheduled {
            reasons.push(why);
        }
    }
    reasons.retain(|reason| !reason.is_empty());
    Ok(reasons.join("; "))
}

/// Waits until the server has opened the repository of the location.
///
/// # Errors
/// [`Error::Late`]; the apiserver's.
pub async fn available(
    cluster: &Cluster,
    options: &Options,
    within: Duration,
) -> Result<(), Error> {
    let object = of_namespace("BackupStorageLocation", location::DEFAULT, options);
    until(cluster, &object, within, |found| {
        let Some(found) = found else {
            return Err("it is gone".to_owned());
        };
        let (available, message) = condition(found, "Available");
        let message = match message.is_empty() {
            true => "the server has not looked at it yet".to_owned(),
            false => message,
        };
        match available {
            true => Ok(()),
            false => Err(message),
        }
    })
    .await
}

/// Waits until the server has taken the recovery key.
///
/// # Errors
/// [`Error::Late`]; the apiserver's.
pub async fn recovered(
    cluster: &Cluster,
    options: &Options,
    within: Duration,
) -> Result<(), Error> {
    let name = recovery_secret(location::DEFAULT);
    let object = of_namespace("Secret", &name, options);
    until(cluster, &object, within, |found| match found {
        None => Ok(()),
        Some(_) => Err(format!(
            "the server has not added it; the Events of the location {} say why",
            location::DEFAULT
        )),
    })
    .await
}

fn of_namespace(kind: &str, name: &str, options: &Options) -> Value {
    json!({ "kind": kind, "metadata": { "name": name, "namespace": options.namespace, "labels": labels() } })
}

/// Whether a condition is true of what the object is now, and its message.
pub(super) fn condition(object: &Value, kind: &str) -> (bool, String) {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    let Some(found) = found else {
        return (false, String::new());
    };
    let current = match found["observedGeneration"].as_u64() {
        Some(seen) => Some(seen) == object["metadata"]["generation"].as_u64(),
        None => true,
    };
    let message = found["message"].as_str().unwrap_or_default().to_owned();
    (found["status"] == "True" && current, message)
}

/// Waits until an object, which may be absent, is as it should be.
pub(super) async fn until(
    cluster: &Cluster,
    object: &Value,
    within: Duration,
    check: impl Fn(Option<&Value>) -> Result<(), String>,
) -> Result<(), Error> {
    let what = called(object);
    let path = path(object).ok_or_else(|| Error::Shape { what: what.clone() })?;
    let deadline = Instant::now() + within;
    loop {
        let found = get(cluster, &path).await?;
        let Err(last) = check(found.as_ref()) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(Error::Late {
                what: format!("the {what} is not what it should be"),
                seconds: within.as_secs(),
                last,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_runs_when_all_its_pods_are_new_and_available() {
        let deployment = |generation: u64, status: Value| json!({"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status});
        let good = json!({"observedGeneration": 2, "updatedReplicas": 2, "availableReplicas": 2, "replicas": 2});
        assert_eq!(is_running(&deployment(2, good.clone())), Ok(()));
        assert!(is_running(&deployment(3, good.clone())).is_err());
        assert!(is_running(&deployment(2, Value::Null)).is_err());
        for field in ["updatedReplicas", "availableReplicas"] {
            let mut less = good.clone();
            less[field] = json!(1);
            assert!(is_running(&deployment(2, less)).is_err(), "{field}");
        }
        let mut old = good;
        old["replicas"] = json!(3);
        assert!(is_running(&deployment(2, old)).is_err());
    }

    #[test]
    fn a_condition_of_an_older_spec_does_not_count() {
        let object = |seen: Value| {
            json!({"metadata": {"generation": 2}, "status": {"conditions": [
            {"type": "Available", "status": "True", "message": "m", "observedGeneration": seen}]}})
        };
        assert!(condition(&object(json!(2)), "Available").0);
        assert!(condition(&object(Value::Null), "Available").0);
        assert!(!condition(&object(json!(1)), "Available").0);
        assert!(!condition(&object(json!(2)), "Other").0);
    }
}
