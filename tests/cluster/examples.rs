//! The files of `docs/examples`: a real apiserver takes each of them without a warning, the strictest of its own rules lets their pods in,
//! and all of it goes again within a minute, with a backup there and no server. What they say of ark itself is what `ark install` applies.

use std::path::Path;
use std::time::{Duration, Instant};

use ark::install::{Options, objects, yaml};
use ark_testkit::{Api, ApiError, ControlPlane};
use serde::Deserialize;
use serde_json::{Value, json};

const PREREQUISITES: &str = "docs/examples/00-prereqs.yaml";
const DEPLOYMENT: &str = "docs/examples/10-deployment.yaml";
/// There is none that is published.
const IMAGE: &str = "registry.example/ark:0.1.0";

/// The documents of a file of the project.
pub fn documents(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    documents
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where the objects of a kind are made, and where this one is.
pub fn paths(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let group = match version.contains('/') {
        true => format!("/apis/{version}"),
        false => format!("/api/{version}"),
    };
    let namespace = &object["metadata"]["namespace"];
    let place = match namespace.as_str() {
        Some(namespace) => format!("{group}/namespaces/{namespace}"),
        None => group,
    };
    let collection = format!("{place}/{}s", kind.to_lowercase());
    let name = text(&object["metadata"]["name"]);
    let one = format!("{collection}/{name}");
    (collection, one)
}

#[test]
fn what_the_examples_say_of_ark_is_what_ark_install_applies() {
    let mut all = objects(&Options::new("heptio-ark", IMAGE));
    let is_work =
        |object: &Value| ["Service", "Deployment"].contains(&object["kind"].as_str().unwrap());
    let work: Vec<Value> = all.extract_if(.., |object| is_work(object)).collect();
    let made = "What `ark install` applies; made by ARK_WRITE_EXAMPLES=1 cargo nextest run --workspace --test cluster -E 'test(examples::)'.";
    for (path, objects, about) in [
        (PREREQUISITES, all, "deploy/crds.yaml comes first."),
        (
            DEPLOYMENT,
            work,
            "Name an image of yours: there is none that is published.",
        ),
    ] {
        let expected = format!("# {made}\n# {about}\n{}", yaml(&objects).unwrap());
        if std::env::var_os("ARK_WRITE_EXAMPLES").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), expected).unwrap();
            continue;
        }
        assert!(
            read(path) == expected,
            "{path} is old: ARK_WRITE_EXAMPLES=1 cargo nextest run --workspace --test cluster -E 'test(examples::)'"
        );
    }
}

/// Makes it, and refuses what the apiserver would only warn of.
async fn make(api: &Api, object: &Value) {
    let (collection, _) = paths(object);
    let path = format!("{collection}?fieldValidation=Strict");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match api.post(&path, object).await {
            Ok(_) => return,
            // A definition that was made just now is served a moment later.
            Err(error) if error.code() == Some(404) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{path}: {error}\n{object:#}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_taken_and_go_again() {
    let plane = ControlPlane::start().await.unwrap();
    let api = Api::connect(&plane.kubeconfig()).await.unwrap();
    let mut all = Vec::new();
    for file in [
        "deploy/crds.yaml",
        PREREQUISITES,
        "docs/examples/minio/00-minio.yaml",
        "docs/examples/minio/10-location.yaml",
        DEPLOYMENT,
        "docs/examples/nginx-app/base.yaml",
    ] {
        all.extend(documents(file));
    }
    for object in &all {
        make(&api, object).await;
    }
    // A backup that no server will ever finish, and one that has ended.
    for (name, phase) in [("waiting", "InProgress"), ("ended", "Completed")] {
        let backup = json!({
            "apiVersion": "ark.heptio.com/v1", "kind": "Backup",
            "metadata": { "name": name, "namespace": "heptio-ark" }, "spec": {},
        });
        make(&api, &backup).await;
        let (_, path) = paths(&backup);
        let status = json!({ "status": { "phase": phase } });
        api.patch(&format!("{path}/status"), &status).await.unwrap();
    }

    let mut pods = 0;
    for object in all.iter().filter(|object| object["kind"] == "Deployment") {
        let namespace = object["metadata"]["namespace"].as_str().unwrap();
        let rule = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
        api.patch(&format!("/api/v1/namespaces/{namespace}"), &rule)
            .await
            .unwrap();
        let spec = &object["spec"]["template"]["spec"];
        let mut pod = json!({ "metadata": { "name": "candidate" }, "spec": spec });
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        api.post(&path, &pod).await.unwrap();
        // The rule does refuse.
        pod["spec"]["securityContext"] = Value::Null;
        pod["spec"]["containers"][0]["securityContext"] = Value::Null;
        assert_eq!(api.post(&path, &pod).await.unwrap_err().code(), Some(403));
        pods += 1;
    }
    assert_eq!(pods, 3);

    // As `kubectl delete -f` does: everything at once, in no order that ark knows of.
    let began = Instant::now();
    for object in &all {
        api.delete(&paths(object).1).await.unwrap();
    }
    let there = async |object: &Value| match api.get(&paths(object).1).await {
        Ok(_) => true,
        Err(error) if ApiError::code(&error) == Some(404) => false,
        Err(error) => panic!("{error}"),
    };
    for object in &all {
        while there(object).await {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{object:#} is still there"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
