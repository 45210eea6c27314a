//! A Job: a pod for work before or after an operation.
//!
//! It is made once, under a name that only this hook of this operation has; its last lines are kept; and [`delete`] takes it away with
//! its pods, however it ended, also if it was not waited for to its end: nobody else would.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::operation::{Ended, Subject, check_template, failed};
use super::output::Output;
use super::workload::list;
use crate::api::OperationJob;
use crate::cluster::{Call, Cluster, Error, Verb, describe};

/// How often it is looked at.
const ROUND: Duration = Duration::from_millis(500);
/// How long it stays when nobody deletes it: long enough for a server that was away.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// So much of its log is kept.
const LINES: u32 = 40;

/// Makes the Job of that name and waits for it.
pub async fn run(
    cluster: &Cluster,
    hook: &OperationJob,
    name: &str,
    limit: Duration,
    subject: &Subject,
    stop: &CancellationToken,
) -> Ended {
    let namespace = hook.namespace.as_deref().unwrap_or(&subject.namespace);
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let wanted = match job(&hook.template, name, limit, subject) {
        Ok(wanted) => wanted,
        Err(why) => return failed(why),
    };
    let create = Call::new(Verb::Create, format!("{jobs}?fieldValidation=Strict"))
        .with_body("application/json", wanted.to_string());
    match cluster.call(&create).await {
        Ok(_) => {}
        // An interrupted run has made it.
        Err(error) if error.is_already_exists() => {}
        Err(error) => return failed(refused(&error, namespace)),
    }
    let path = format!("{jobs}/{name}");
    let ended = wait(cluster, &path, limit, stop).await;
    let printed = printed(cluster, namespace, name).await;
    match ended {
        Ok(()) => Ok(printed),
        Err(why) => Err((printed, format!("Job {namespace}/{name}: {why}"))),
    }
}

/// Deletes the Job of that name, if it is there, and its pods.
pub async fn delete(cluster: &Cluster, hook: &OperationJob, name: &str, subject: &Subject) {
    let namespace = hook.namespace.as_deref().unwrap_or(&subject.namespace);
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
    let delete = Call::new(Verb::Delete, format!("{path}?propagationPolicy=Background"));
    match cluster.call(&delete).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() || error.is_forbidden() => {}
        Err(error) => {
            tracing::warn!(
                job = path,
                error = describe(&error),
                "a Job cannot be deleted"
            );
        }
    }
}

fn refused(error: &Error, namespace: &str) -> String {
    match error.is_forbidden() {
        true => format!(
            "ark may not make Jobs in the namespace {namespace}: its account needs the verbs create, get and delete on jobs there ({})",
            describe(error)
        ),
        false => format!("the Job cannot be made: {}", describe(error)),
    }
}

/// The Job of a template. Its shape is checked first: what follows takes objects for granted.
fn job(template: &Value, name: &str, limit: Duration, subject: &Subject) -> Result<Value, String> {
    check_template(template)?;
    let mut job = template.clone();
    job["apiVersion"] = json!("batch/v1");
    job["kind"] = json!("Job");
    job["metadata"]["name"] = json!(name);
    job["metadata"]["labels"]["component"] = json!("ark");
    let spec = &mut job["spec"];
    // Whatever becomes of ark: it does not run for ever.
    if spec["activeDeadlineSeconds"].is_null() {
        spec["activeDeadlineSeconds"] = json!(limit.as_secs().max(1));
    }
    // And if nobody deletes it, the cluster does.
    if spec["ttlSecondsAfterFinished"].is_null() {
        spec["ttlSecondsAfterFinished"] = json!(KEPT.as_secs());
    }
    if spec["backoffLimit"].is_null() {
        spec["backoffLimit"] = json!(0);
    }
    let pod = &mut spec["template"]["spec"];
    if pod["restartPolicy"].is_null() {
        pod["restartPolicy"] = json!("Never");
    }
    for containers in ["initContainers", "containers"] {
        for container in pod[containers].as_array_mut().into_iter().flatten() {
            let told = subject.variables();
            let told = told
                .iter()
                .map(|(name, value)| json!({ "name": name, "value": value }));
            // First, so that its own may refer to them.
            let mut all: Vec<Value> = told.collect();
            if let Value::Array(own) = container["env"].take() {
                all.extend(own);
            }
            container["env"] = Value::Array(all);
        }
    }
    // Fields that were only asked for are not there.
    if let Some(pod) = pod.as_object_mut() {
        pod.retain(|_, value| !value.is_null());
    }
    Ok(job)
}

async fn wait(
    cluster: &Cluster,
    path: &str,
    limit: Duration,
    stop: &CancellationToken,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let body = cluster.call(&Call::new(Verb::Get, path)).await;
        let body = body.map_err(|error| describe(&error))?;
        let job: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        if let Some(ended) = judged(&job) {
            return ended;
        }
        if began.elapsed() >= limit {
            return Err(format!("it had not ended after {limit:?}"));
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = stop.cancelled() => return Err("the operation was cancelled".to_owned()),
        }
    }
}

/// How it ended, if it has.
fn judged(job: &Value) -> Option<Result<(), String>> {
    let conditions = job["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition["status"] == "True")
        .find_map(|condition| match condition["type"].as_str() {
            Some("Complete") => Some(Ok(())),
            Some("Failed") => {
                let word = |field: &str| condition[field].as_str().unwrap_or_default();
                Some(Err(format!("{}: {}", word("reason"), word("message"))))
            }
            _ => None,
        })
}

/// The last lines of its newest pod.
async fn printed(cluster: &Cluster, namespace: &str, name: &str) -> Vec<String> {
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let of = format!("{pods}?labelSelector=batch.kubernetes.io%2Fjob-name%3D{name}");
    let mut found = match list(cluster, &of).await {
        Ok(found) => found,
        Err(error) => return vec![format!("its pods cannot be read: {error}")],
    };
    let created = |pod: &Value| pod["metadata"]["creationTimestamp"].to_string();
    found.sort_by_key(created);
    let Some(pod) = found.last() else {
        return Vec::new();
    };
    let container = pod["spec"]["containers"][0]["name"].as_str();
    let path = format!(
        "{pods}/{}/log?tailLines={LINES}&container={}",
        pod["metadata"]["name"].as_str().unwrap_or_default(),
        container.unwrap_or_default()
    );
    match cluster.call(&Call::new(Verb::Get, path)).await {
        Ok(text) => {
            let output = Output::default();
            output.stdout(&text);
            output.lines()
        }
        Err(error) => vec![format!("its log cannot be read: {}", describe(&error))],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::operation::When;
    use super::*;

    #[test]
    fn a_job_ends_and_is_told_what_it_is_for() {
        let subject = Subject {
            kind: "Backup",
            namespace: "heptio-ark".to_owned(),
            name: "b".to_owned(),
            uid: "u".to_owned(),
            hook: When::After,
            phase: "Completed".to_owned(),
            failure_reason: None,
            errors: 0,
            warnings: 0,
        };
        let template = json!({
            "metadata": { "labels": { "own": "x" } },
            "spec": { "template": { "spec": { "containers": [{ "name": "c", "env": [{ "name": "OWN", "value": "$(ARK_PHASE)" }] }] } } },
        });
        let job = job(
            &template,
            "ark-after-0-u",
            Duration::from_secs(60),
            &subject,
        )
        .unwrap();
        let senseless = |template: Value| {
            super::job(&template, "n", Duration::from_secs(60), &subject).unwrap_err()
        };
        let with = |pod: Value| json!({ "spec": { "template": { "spec": pod } } });
        for template in [
            json!("x"),
            json!([]),
            json!({}),
            json!({ "metadata": "x", "spec": template["spec"] }),
            json!({ "metadata": { "labels": "x" }, "spec": template["spec"] }),
            json!({ "spec": [] }),
            json!({ "spec": { "template": { "spec": "x" } } }),
            with(json!({ "containers": ["x"] })),
            with(json!({ "containers": "x" })),
            with(json!({ "containers": [{ "name": "c" }], "initContainers": ["x"] })),
            with(json!({ "containers": [{ "name": "c", "env": "x" }] })),
        ] {
            let why = senseless(template);
            assert!(why.starts_with("the Job's template "), "{why}");
        }
        assert_eq!(
            job["metadata"],
            json!({ "name": "ark-after-0-u", "labels": { "own": "x", "component": "ark" } })
        );
        assert_eq!(job["spec"]["activeDeadlineSeconds"], 60);
        assert_eq!(job["spec"]["backoffLimit"], 0);
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert!(pod.get("initContainers").is_none());
        let env = pod["containers"][0]["env"].as_array().unwrap();
        assert_eq!(env.last().unwrap()["name"], "OWN");
        assert!(env.contains(&json!({ "name": "ARK_PHASE", "value": "Completed" })));
        assert_eq!(
            subject.fill("it is $(ARK_PHASE), $(HOME)"),
            "it is Completed, $(HOME)"
        );
    }

    #[test]
    fn how_a_job_ended_is_read() {
        let with = |kind: &str, status: &str| {
            judged(&json!({ "status": { "conditions": [
                { "type": kind, "status": status, "reason": "BackoffLimitExceeded", "message": "no" } ] } }))
        };
        assert_eq!(with("Complete", "True"), Some(Ok(())));
        assert_eq!(
            with("Failed", "True"),
            Some(Err("BackoffLimitExceeded: no".to_owned()))
        );
        assert_eq!(with("Failed", "False"), None);
        assert_eq!(with("SuccessCriteriaMet", "True"), None);
    }
}
