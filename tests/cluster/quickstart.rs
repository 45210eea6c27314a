//! The quickstart as its reader runs it: the installed Deployment in a pod of a real node, MinIO over TLS with an authority of its own, an
//! application that serves, is lost, and serves again. No process stands in for anything.
//!
//! The overlay ([`overlay`]) is what a node on one machine's loopback needs, and nothing else: the pod shares the host's network, on which
//! apiserver and MinIO are, and is told the apiserver's address, which no Service network leads to here.

use std::process::Command;
use std::time::{Duration, Instant};

use ark_testkit::{Api, Ark, BUSYBOX, ControlPlane, Image, Minio, MinioOptions, Node};
use serde_json::{Value, json};

use crate::examples::{documents, paths};
use crate::place::ark;

const PATIENCE: Duration = Duration::from_secs(120);
const IMAGE: &str = "localhost/ark:dev";
const ARK: &str = "/apis/apps/v1/namespaces/heptio-ark/deployments/ark";
const NGINX: &str = "/apis/apps/v1/namespaces/nginx-example/deployments/nginx-deployment";

/// Waits until what lies at the path is as wanted; `Null` stands for nothing.
async fn until(api: &Api, node: &Node, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = match api.get(path).await {
            Ok(found) => found,
            Err(error) if error.code() == Some(404) => Value::Null,
            Err(error) => panic!("{path}: {error}"),
        };
        if wanted(&found) {
            return found;
        }
        if Instant::now() > deadline {
            let pods = api.get("/api/v1/namespaces/heptio-ark/pods").await.unwrap();
            panic!("{path}: {found:#}\n{pods:#}\n{}", node.log_tail());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// All pods of the Deployment are of its last version, and ready.
fn running(deployment: &Value) -> bool {
    let status = &deployment["status"];
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && ["replicas", "updatedReplicas", "availableReplicas"]
            .iter()
            .all(|count| status[count] == 1)
}

fn overlay(plane: &ControlPlane) -> Value {
    let kubeconfig = std::fs::read(plane.kubeconfig()).unwrap();
    let kubeconfig: Value = serde_json::from_slice(&kubeconfig).unwrap();
    let server = kubeconfig["clusters"][0]["cluster"]["server"]
        .as_str()
        .unwrap();
    let (_, port) = server.rsplit_once(':').unwrap();
    let env = json!([
        { "name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1" },
        { "name": "KUBERNETES_SERVICE_PORT", "value": port },
    ]);
    let pod = json!({ "hostNetwork": true, "containers": [{ "name": "ark", "env": env }] });
    json!({ "spec": { "template": { "spec": pod } } })
}

/// The application of the examples, with busybox in the place of nginx.
fn example() -> Vec<Value> {
    let mut objects = documents("docs/examples/nginx-app/base.yaml");
    let deployment = objects
        .iter_mut()
        .find(|object| object["kind"] == "Deployment");
    let pod = &mut deployment.unwrap()["spec"]["template"]["spec"];
    pod["volumes"] = json!([{ "name": "www", "emptyDir": {} }]);
    let container = &mut pod["containers"][0];
    container["image"] = json!(BUSYBOX);
    container["imagePullPolicy"] = json!("Never");
    let serve = "echo welcome > /www/index.html && exec httpd -f -p 8080 -h /www";
    container["command"] = json!(["sh", "-c", serve]);
    container["volumeMounts"] = json!([{ "name": "www", "mountPath": "/www" }]);
    objects
}

/// What a reader of the example's page gets.
async fn served(api: &Api, node: &Node) -> String {
    until(api, node, NGINX, running).await;
    let pods = api
        .get("/api/v1/namespaces/nginx-example/pods?labelSelector=app%3Dnginx")
        .await
        .unwrap();
    let address = pods["items"][0]["status"]["podIP"].as_str().unwrap();
    let curl = Command::new("curl")
        .args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            &format!("http://{address}:8080/"),
        ])
        .output()
        .unwrap();
    String::from_utf8(curl.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_comes_back_through_a_server_in_a_pod() {
    let tls = MinioOptions {
        tls: true,
        ..MinioOptions::default()
    };
    let (plane, minio) = tokio::join!(ControlPlane::start(), Minio::start_with(tls));
    let (plane, minio) = (plane.unwrap(), minio.unwrap());
    minio.create_bucket("backups").unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ark"));
    let image = Image::of_program(IMAGE, program).unwrap();
    let node = Node::beside(&plane, vec![image]).await.unwrap();
    let api = Api::connect(&plane.kubeconfig()).await.unwrap();
    let ark = ark().with("KUBECONFIG", plane.kubeconfig());

    let credential = format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        minio.access_key(),
        minio.secret_key()
    );
    std::fs::write(ark.home().join("credentials"), credential).unwrap();
    let config = format!(
        "region=us-east-1,s3ForcePathStyle=true,s3Url={}",
        minio.endpoint()
    );
    let authority = minio.ca_file().unwrap().display().to_string();
    let install = [
        "install",
        "--provider",
        "s3",
        "--bucket",
        "backups",
        "--image",
        IMAGE,
        "--secret-file",
        "credentials",
        "--backup-location-config",
        &config,
        "--cacert",
        &authority,
    ];
    ark.run(&[&install[..], &["--recovery-key-out", "recovery-key"]].concat())
        .done();
    api.patch(ARK, &overlay_of(&api, &plane).await)
        .await
        .unwrap();
    // Again: what somebody else has set stays, and what is there is waited for.
    ark.run(&[&install[..], &["--no-recovery", "--wait"]].concat())
        .done();
    let deployment = until(&api, &node, ARK, running).await;
    assert_eq!(deployment["spec"]["template"]["spec"]["hostNetwork"], true);
    let recovery = "/api/v1/namespaces/heptio-ark/secrets/ark-recovery-default";
    until(&api, &node, recovery, Value::is_null).await;

    for object in example() {
        api.post(&paths(&object).0, &object).await.unwrap();
    }
    assert_eq!(served(&api, &node).await, "welcome\n");

    let objects = "/apis/ark.heptio.com/v1/namespaces/heptio-ark";
    let ended = |object: &Value| !object["status"]["completionTimestamp"].is_null();
    let create = [
        "backup",
        "create",
        "nginx-backup",
        "--selector",
        "app=nginx",
        "--wait",
    ];
    ark.run(&create).done();
    let backup = until(
        &api,
        &node,
        &format!("{objects}/backups/nginx-backup"),
        ended,
    )
    .await;
    assert_eq!(backup["status"]["phase"], "Completed", "{backup:#}");
    // Through the apiserver, the Service and the pod: this process has no credentials for MinIO.
    let listed = ark.run(&["backup", "ls", "nginx-backup", "-o", "name"]);
    let listed = listed.done().stdout;
    assert!(
        listed.contains("deployments.apps/nginx-example/nginx-deployment\n"),
        "{listed}"
    );

    api.delete("/api/v1/namespaces/nginx-example")
        .await
        .unwrap();
    until(
        &api,
        &node,
        "/api/v1/namespaces/nginx-example",
        Value::is_null,
    )
    .await;

    let ran = ark
        .run(&["restore", "create", "nginx-backup", "--wait"])
        .done();
    assert!(ran.stdout.contains("0 warnings, 0 errors"), "{ran}");
    assert_eq!(served(&api, &node).await, "welcome\n");
    let row = &rows(&ark)[1];
    assert!(row[0].starts_with("nginx-backup-2"), "{row:?}");
    assert_eq!(row[1..5], ["nginx-backup", "Completed", "0", "0"]);
    assert_eq!(row.last().unwrap(), "<none>");

    with_warnings_and_errors(&api, &node, &ark).await;
}

/// The table of `ark restore get`, by its words.
fn rows(ark: &Ark) -> Vec<Vec<String>> {
    let ran = ark.run(&["restore", "get"]).done();
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = ran.stdout.lines().map(words).collect();
    let columns = [
        "NAME", "BACKUP", "STATUS", "WARNINGS", "ERRORS", "CREATED", "SELECTOR",
    ];
    assert_eq!(rows[0], columns, "{ran}");
    rows
}

/// Into a namespace that has another Service of that name, and lets in no Deployment.
async fn with_warnings_and_errors(api: &Api, node: &Node, ark: &Ark) {
    let namespace = "/api/v1/namespaces/full";
    let named = |name: &str| json!({ "name": name });
    api.post("/api/v1/namespaces", &json!({ "metadata": named("full") }))
        .await
        .unwrap();
    let service = json!({ "metadata": named("my-nginx"), "spec": { "ports": [{ "port": 81 }] } });
    api.post(&format!("{namespace}/services"), &service)
        .await
        .unwrap();
    let quota =
        json!({ "metadata": named("none"), "spec": { "hard": { "count/deployments.apps": "0" } } });
    api.post(&format!("{namespace}/resourcequotas"), &quota)
        .await
        .unwrap();
    let counted = |quota: &Value| quota["status"]["hard"]["count/deployments.apps"] == "0";
    until(
        api,
        node,
        &format!("{namespace}/resourcequotas/none"),
        counted,
    )
    .await;

    let line = [
        "restore",
        "create",
        "refused",
        "--from-backup",
        "nginx-backup",
        "--namespace-mappings",
        "nginx-example:full",
        "--wait",
    ];
    ark.run(&line).exits(3);
    let rows = rows(ark);
    let row = rows.iter().find(|row| row[0] == "refused").unwrap();
    assert_eq!(row[1..3], ["nginx-backup", "PartiallyFailed"]);
    assert_ne!((row[3].as_str(), row[4].as_str()), ("0", "0"), "{row:?}");
    let ran = ark.run(&["restore", "get", "refused", "-o", "yaml"]).done();
    let restore: Value = serde_yaml_ng::from_str(&ran.stdout).unwrap();
    assert_eq!(restore["kind"], "Restore", "{ran}");
    assert_eq!(
        restore["spec"]["namespaceMapping"],
        json!({ "nginx-example": "full" })
    );
    let status = &restore["status"];
    assert_eq!(status["phase"], "PartiallyFailed", "{ran}");
    for (count, shown) in [("warnings", &row[3]), ("errors", &row[4])] {
        assert_eq!(status[count].to_string(), *shown, "{ran}");
        assert!(status[count].as_u64() > Some(0), "no {count}: {ran}");
    }
}

/// The Deployment's container with the overlay over it: a merge patch replaces lists as a whole.
async fn overlay_of(api: &Api, plane: &ControlPlane) -> Value {
    let mut overlay = overlay(plane);
    let there = api.get(ARK).await.unwrap();
    let mut container = there["spec"]["template"]["spec"]["containers"][0].clone();
    let pod = &mut overlay["spec"]["template"]["spec"];
    container["env"] = pod["containers"][0]["env"].clone();
    pod["containers"] = json!([container]);
    overlay
}
