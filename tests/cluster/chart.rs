//! The Helm chart: it makes what `ark install` makes, object by object, and Helm can install, renew and remove it.
//!
//! `src/install` is the one source: the objects that the chart puts its values into are written from it (`ARK_WRITE_CHART=1`), and what the
//! templates render is compared with it here. Definitions, alerts and dashboard are links to the files that they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ark::api::{AccessMode, Backup, BackupPhase, BackupStorageLocation, LocationPhase, Provider};
use ark::install::{Claim, Options, Place, Profile, objects};
use ark_testkit::Api;
use serde_json::{Value, json};

use crate::served::{NAMESPACE, QUICK, Served};

const CHART: &str = "deploy/chart/ark";
const PAGE: &str = "docs/src/chart.md";
const BEGIN: &str = "<!-- The table is made from values.schema.json by `ARK_WRITE_CHART=1 cargo nextest run --workspace --test cluster -E 'test(chart::)'`. -->\n";
const END: &str = "<!-- The end of the table. -->\n";
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn is_writing() -> bool {
    std::env::var_os("ARK_WRITE_CHART").is_some()
}

/// `helm` with a home of its own: stdout, or what it complains about.
fn helm(arguments: &[&str], kubeconfig: Option<&Path>) -> Result<String, String> {
    let program = ark_testkit::binaries_folder().unwrap().join("helm");
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(&program);
    command.args(arguments).env_clear().env("HOME", home.path());
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let ran = command.output();
    let ran = ran.unwrap_or_else(|error| {
        panic!(
            "{}: {error}; tests/cluster/build.sh builds it",
            program.display()
        )
    });
    match ran.status.success() {
        true => Ok(String::from_utf8(ran.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&ran.stderr).into_owned()),
    }
}

fn values_file(folder: &Path, values: &Value) -> String {
    let file = folder.join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    file.display().to_string()
}

/// What the chart makes of these values.
fn render(values: &Value, namespace: &str) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let values = values_file(folder.path(), values);
    let chart = root(CHART).display().to_string();
    let line = [
        "template", "any-name", &chart, "-n", namespace, "-f", &values,
    ];
    let text = helm(&line, None)?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let objects = documents.map(|document| serde::Deserialize::deserialize(document).unwrap());
    Ok(objects.filter(|object: &Value| !object.is_null()).collect())
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut named = BTreeMap::new();
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = format!(
            "{} {}",
            text(&object["kind"]),
            text(&object["metadata"]["name"])
        );
        assert!(named.insert(name.clone(), object).is_none(), "{name} twice");
    }
    named
}

/// What `ark install` applies, but for what Helm has ways of its own for: the namespace, and with which options it was installed.
fn installed(options: &Options, place: Option<&Place>) -> Vec<Value> {
    let mut objects = objects(options);
    objects.retain(|object| object["kind"] != "Namespace");
    for object in &mut objects {
        if object["kind"] == "Deployment" {
            let metadata = object["metadata"].as_object_mut().unwrap();
            let annotations = metadata.remove("annotations").unwrap();
            assert_eq!(annotations.as_object().unwrap().len(), 1);
        }
    }
    objects.extend(place.map(|place| place.object(options)));
    objects
}

/// Values, and the options of `ark install` that mean the same.
fn cases() -> Vec<(&'static str, Value, Options, Option<Place>)> {
    let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    let place = Place {
        provider: Provider::Aws,
        bucket: "backups".to_owned(),
        prefix: None,
        config: BTreeMap::new(),
        ca_cert: None,
        credential: false,
        access_mode: AccessMode::ReadWrite,
    };
    vec![
        (
            "nothing but the image",
            json!({ "image": "registry.example/ark:1" }),
            Options::new("heptio-ark", "registry.example/ark:1"),
            None,
        ),
        (
            "the identity of the pod",
            json!({
                "image": "registry.example/ark:1",
                "serviceAccount": { "annotations": { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/ark" } },
                "location": { "provider": "aws", "bucket": "backups" },
            }),
            Options {
                service_account_annotations: map(
                    "eks.amazonaws.com/role-arn",
                    "arn:aws:iam::1:role/ark",
                ),
                ..Options::new("heptio-ark", "registry.example/ark:1")
            },
            Some(place.clone()),
        ),
        (
            "a store of one's own",
            json!({
                "image": "registry.example/ark:1",
                "location": {
                    "provider": "s3", "bucket": "backups", "prefix": "prod", "accessMode": "ReadOnly", "caCert": AUTHORITY,
                    "config": { "region": "us-east-1", "s3Url": "https://minio:9000", "s3ForcePathStyle": "true" },
                    "credential": { "name": "cloud-credentials" },
                },
            }),
            Options::new("heptio-ark", "registry.example/ark:1"),
            Some(Place {
                provider: Provider::S3,
                prefix: Some("prod".to_owned()),
                config: BTreeMap::from(
                    [
                        ("region", "us-east-1"),
                        ("s3Url", "https://minio:9000"),
                        ("s3ForcePathStyle", "true"),
                    ]
                    .map(|(key, value)| (key.to_owned(), value.to_owned())),
                ),
                ca_cert: Some(AUTHORITY.as_bytes().to_vec()),
                credential: true,
                access_mode: AccessMode::ReadOnly,
                ..place.clone()
            }),
        ),
        (
            "everything",
            json!({
                "image": "registry.example/ark:1",
                "imagePullSecrets": ["registry", "other"],
                "replicas": 2,
                "rbac": "backup-only",
                "serverArguments": ["--default-backup-ttl=720h", "--memory=64M"],
                "podAnnotations": { "team": "platform", "prometheus.io/scrape": "false" },
                "podLabels": { "azure.workload.identity/use": "true" },
                "resources": { "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "memory": "2Gi" } },
                "claim": { "name": "backups", "path": "/backups" },
                "location": { "provider": "local", "bucket": "/backups" },
            }),
            Options {
                image_pull_secrets: vec!["registry".to_owned(), "other".to_owned()],
                replicas: 2,
                profile: Profile::BackupOnly,
                server_arguments: vec![
                    "--default-backup-ttl=720h".to_owned(),
                    "--memory=64M".to_owned(),
                ],
                pod_annotations: BTreeMap::from([
                    ("team".to_owned(), "platform".to_owned()),
                    ("prometheus.io/scrape".to_owned(), "false".to_owned()),
                ]),
                pod_labels: map("azure.workload.identity/use", "true"),
                resources: ark::install::options::Resources {
                    cpu_request: "1".to_owned(),
                    memory_request: "1Gi".to_owned(),
                    memory_limit: "2Gi".to_owned(),
                },
                claim: Some(Claim {
                    name: "backups".to_owned(),
                    path: "/backups".to_owned(),
                }),
                ..Options::new("ark-prod", "registry.example/ark:1")
            },
            Some(Place {
                provider: Provider::Local,
                bucket: "/backups".to_owned(),
                ..place
            }),
        ),
    ]
}

#[test]
fn the_chart_makes_what_ark_install_makes() {
    for (case, values, options, place) in cases() {
        let rendered = render(&values, &options.namespace).unwrap();
        let rendered = by_name(rendered);
        let expected = by_name(installed(&options, place.as_ref()));
        let names = |of: &BTreeMap<String, Value>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&rendered), names(&expected), "{case}");
        for (name, expected) in expected {
            let found = &rendered[&name];
            assert!(
                *found == expected,
                "{case}: {name} is\n{found:#}\nand ark install makes\n{expected:#}"
            );
        }
    }
}

#[test]
fn what_the_chart_cannot_honour_is_refused() {
    let chart = root(CHART).display().to_string();
    helm(&["lint", "--strict", &chart], None).unwrap();
    for (values, says) in [
        (json!({}), "which image"),
        (json!({ "image": "i", "rbac": "everything" }), "rbac"),
        (json!({ "image": "i", "replica": 2 }), "replica"),
        (json!({ "image": "i", "replicas": 0 }), "replicas"),
        (
            json!({ "image": "i", "location": { "bucket": "b" } }),
            "who stores",
        ),
        (
            json!({ "image": "i", "claim": { "name": "c" } }),
            "claim.path",
        ),
        (
            json!({ "image": "i", "resources": { "limits": { "cpu": "1" } } }),
            "cpu",
        ),
    ] {
        let refusal = render(&values, "heptio-ark").unwrap_err();
        assert!(refusal.contains(says), "{values}: {refusal}");
    }
}

#[test]
fn what_prometheus_and_grafana_are_given_is_in_the_chart_on_demand() {
    let values = json!({ "image": "i", "monitoring": {
        "serviceMonitor": { "enabled": true, "interval": "1m", "labels": { "release": "prometheus" } },
        "prometheusRule": { "enabled": true, "maxBackupAgeHours": 50 },
        "dashboard": { "enabled": true },
    } });
    let objects = by_name(render(&values, "heptio-ark").unwrap());
    let monitor = &objects["ServiceMonitor ark"];
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["metadata"]["labels"]["component"], "ark");
    let service = &objects["Service ark"];
    let selector = monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap();
    for (key, value) in selector {
        assert_eq!(service["metadata"]["labels"][key], *value);
    }
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(endpoint["port"], service["spec"]["ports"][0]["name"]);
    assert_eq!(endpoint["interval"], "1m");

    let rules = read("deploy/monitoring/rules.yaml");
    assert_eq!(rules.matches("> 26 * 3600").count(), 1);
    let of = |text: &str| serde_yaml_ng::from_str::<Value>(text).unwrap();
    let expected = of(&rules.replace("> 26 * 3600", "> 50 * 3600"));
    assert_eq!(objects["PrometheusRule ark"]["spec"], expected);
    let usual = json!({ "image": "i", "monitoring": { "prometheusRule": { "enabled": true } } });
    let usual = by_name(render(&usual, "heptio-ark").unwrap());
    assert_eq!(usual["PrometheusRule ark"]["spec"], of(&rules));

    let dashboard = &objects["ConfigMap ark-dashboard"];
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["ark.json"].as_str().unwrap();
    assert_eq!(text, read("deploy/monitoring/dashboard.json"));
}

#[test]
fn the_objects_in_the_chart_are_no_older_than_what_they_are_made_from() {
    let options = Options::new("release-namespace", "release-image");
    let objects = by_name(installed(&options, None));
    let about = "# What `ark install` applies; see templates/ark.yaml.";
    let expected = format!("{about}\n{}", serde_yaml_ng::to_string(&objects).unwrap());
    let path = format!("{CHART}/files/objects.yaml");
    if is_writing() {
        std::fs::write(root(&path), expected).unwrap();
        return;
    }
    assert!(
        read(&path) == expected,
        "{path} is old: ARK_WRITE_CHART=1 cargo nextest run --workspace --test cluster -E 'test(chart::)'"
    );
    let chart: Value = serde_yaml_ng::from_str(&read(&format!("{CHART}/Chart.yaml"))).unwrap();
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
    // Links, which Helm follows and packs as files.
    let definitions = read(&format!("{CHART}/crds/crds.yaml"));
    assert!(definitions == read("deploy/crds.yaml"));
}

/// Every value with its type, default and meaning.
fn described(path: &str, schema: &Value, rows: &mut Vec<(String, Value, String)>) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = match path.is_empty() {
            true => name.clone(),
            false => format!("{path}.{name}"),
        };
        if schema["properties"].is_object() {
            described(&path, schema, rows);
        } else if let Some(default) = schema.get("default") {
            let meaning = schema["description"].as_str().unwrap_or_default();
            assert!(!meaning.is_empty(), "{path} is not described");
            rows.push((path, default.clone(), meaning.to_owned()));
        } else {
            assert_eq!(path, "global", "{path} has no default in the schema");
        }
    }
}

#[test]
fn every_value_is_described() {
    let schema: Value =
        serde_json::from_str(&read(&format!("{CHART}/values.schema.json"))).unwrap();
    let values: Value = serde_yaml_ng::from_str(&read(&format!("{CHART}/values.yaml"))).unwrap();
    let mut rows = Vec::new();
    described("", &schema, &mut rows);
    let mut table = String::from("| value | default | what |\n|---|---|---|\n");
    let mut defaults = json!({});
    for (path, default, meaning) in &rows {
        let pointer = format!("/{}", path.replace('.', "/"));
        assert_eq!(values.pointer(&pointer), Some(default), "{path}");
        writeln!(table, "| `{path}` | `{default}` | {meaning} |").unwrap();
        let mut place = &mut defaults;
        for part in path.split('.') {
            place = &mut place[part];
        }
        *place = default.clone();
    }
    assert_eq!(values, defaults, "a value that the schema does not know");
    let page = read(PAGE);
    let (head, rest) = page
        .split_once(BEGIN)
        .expect("the page has a place for the table");
    let (_, tail) = rest.split_once(END).expect("the table ends");
    let expected = format!("{head}{BEGIN}\n{table}\n{END}{tail}");
    if is_writing() {
        std::fs::write(root(PAGE), expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "{PAGE} is old; ARK_WRITE_CHART=1 writes it anew:\n{expected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_renews_and_removes_a_server_that_works() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut served = Served::bare(folder, &QUICK).await;
    let kubeconfig = served.plane.kubeconfig();
    let api = Api::connect(&kubeconfig).await.unwrap();
    let chart = root(CHART).display().to_string();
    let values = tempfile::tempdir().unwrap();
    let helm = |verb: &[&str], values: Option<String>| {
        let mut line = [verb, &["ark", "-n", NAMESPACE]].concat();
        if let Some(values) = &values {
            line.extend([chart.as_str(), "-f", values]);
        }
        helm(&line, Some(&kubeconfig)).unwrap()
    };
    let file = |image: &str, rbac: &str| {
        let values_of = json!({
            "image": image,
            "rbac": rbac,
            "claim": { "name": "backups", "path": served.root() },
            "location": { "provider": "local", "bucket": served.root() },
        });
        values_file(values.path(), &values_of)
    };
    let notes = helm(
        &["install", "--create-namespace"],
        Some(file("i:1", "full")),
    );
    assert!(notes.contains("ark-recovery-default"), "{notes}");
    let binding =
        format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/ark-restore:{NAMESPACE}");
    api.get(&binding).await.unwrap();

    // The server has what the chart's account has.
    let upgrade = file("i:2", "backup-only");
    let account = served.kubeconfig_of(&served.token().await);
    served.ark = served.ark.with("KUBECONFIG", account);
    served.run();
    let available = |location: &BackupStorageLocation| {
        let status = location.status.as_ref();
        status.is_some_and(|status| status.phase == Some(LocationPhase::Available))
    };
    served
        .until::<BackupStorageLocation>("default", "Available", available)
        .await;
    served
        .backup("first", json!({ "includedNamespaces": ["default"] }))
        .await;
    let backup: Backup = served.finished_backup("first").await;
    assert_eq!(backup.status.unwrap().phase, BackupPhase::Completed);

    helm(&["upgrade"], Some(upgrade));
    let deployment = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ark");
    let found = api.get(&deployment).await.unwrap();
    let image = &found["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "i:2");
    assert_eq!(api.get(&binding).await.unwrap_err().code(), Some(404));

    // What Helm keeps, ark does not touch.
    let refused = served.admin().run(&["upgrade", "--image", "i:3"]);
    refused.refuses(1, &["does not say how it was installed"]);

    // With backups there, and whether or not a server runs.
    helm(&["uninstall", "--wait", "--timeout", "60s"], None);
    let gone = [
        deployment,
        format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/ark"),
        format!("/apis/ark.heptio.com/v1/namespaces/{NAMESPACE}/backupstoragelocations/default"),
    ];
    for path in gone {
        let waiting = async {
            while api.get(&path).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .unwrap_or_else(|_| panic!("{path} is still there"));
    }
    // Helm keeps definitions, so that nobody loses objects by the way.
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/backups.ark.heptio.com";
    api.get(crd).await.unwrap();
    let key = format!("/api/v1/namespaces/{NAMESPACE}/secrets/ark-repository-key");
    api.get(&key).await.unwrap();
}
