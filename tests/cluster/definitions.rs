//! The custom resources on a real apiserver: what it takes, refuses, fills in and shows.

use std::time::Duration;

use ark::api::{self, definitions};
use ark::server::controllers::{patch_own, patch_own_status};
use ark_testkit::ControlPlane;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::{Value, json};

/// A client of that control plane.
pub async fn client(plane: &ControlPlane) -> Client {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// Applies all definitions and waits until the apiserver serves them.
pub async fn apply_definitions(client: &Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let applying = PatchParams::apply("ark-tests").force();
    for definition in definitions() {
        crds.patch(
            &definition.name_any(),
            &applying,
            &Patch::Apply(&definition),
        )
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", definition.name_any()));
    }
    for definition in definitions() {
        let name = definition.name_any();
        let established = kube::runtime::wait::await_condition(
            crds.clone(),
            &name,
            kube::runtime::conditions::is_crd_established(),
        );
        tokio::time::timeout(Duration::from_secs(30), established)
            .await
            .unwrap_or_else(|_| panic!("{name} is not established"))
            .unwrap();
    }
}

/// A request as it is, and the answer: status, warnings and body.
async fn send(client: &Client, method: &str, path: &str, accept: &str, body: &Value) -> Answer {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("Accept", accept)
        .header(
            "Content-Type",
            match method {
                "PATCH" => "application/merge-patch+json",
                _ => "application/json",
            },
        )
        .body(kube::client::Body::from(match body {
            Value::Null => Vec::new(),
            body => serde_json::to_vec(body).unwrap(),
        }))
        .unwrap();
    let answer = client.send(request).await.unwrap();
    let (head, body) = answer.into_parts();
    Answer {
        code: head.status.as_u16(),
        warnings: head
            .headers
            .get_all("warning")
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect(),
        body: serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap(),
    }
}

struct Answer {
    code: u16,
    warnings: Vec<String>,
    body: Value,
}

const NAMESPACE: &str = "default";

fn collection(plural: &str) -> String {
    format!("/apis/{}/namespaces/{NAMESPACE}/{plural}", api::API_VERSION)
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": api::API_VERSION,
        "kind": kind,
        "metadata": { "name": name },
    });
    if !spec.is_null() {
        object["spec"] = spec.clone();
    }
    object
}

async fn create(client: &Client, kind: &str, plural: &str, name: &str, spec: &Value) -> Answer {
    let path = format!("{}?fieldValidation=Warn", collection(plural));
    send(
        client,
        "POST",
        &path,
        "application/json",
        &object(kind, name, spec),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apiserver_serves_and_guards_them() {
    let plane = ControlPlane::start_quiet().await.unwrap();
    let client = client(&plane).await;
    apply_definitions(&client).await;
    wrong_values_are_refused(&client).await;
    a_later_object_of_a_name_is_not_written_to(&client).await;
    defaults_are_set(&client).await;
    a_spec_stays_as_it_was_made(&client).await;
    unknown_fields_are_warned_of(&client).await;
    tables_show_what_users_know(&client).await;
}

async fn wrong_values_are_refused(client: &Client) {
    let selector = json!({ "matchLabels": { "a": "b" } });
    let location = |change: Value| {
        let mut spec = json!({ "provider": "aws", "objectStorage": { "bucket": "b" } });
        spec.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        spec
    };
    for (kind, plural, spec, expected) in [
        (
            "Backup",
            "backups",
            json!({ "labelSelector": selector, "orLabelSelectors": [selector] }),
            "labelSelector and orLabelSelectors exclude each other",
        ),
        ("Backup", "backups", json!({ "ttl": "soon" }), "spec.ttl"),
        ("Backup", "backups", json!({ "ttl": "-1h" }), "spec.ttl"),
        // What the types do not read must not come in: one such object would stop all of its kind.
        (
            "Backup",
            "backups",
            json!({ "ttl": "99999999999999999999h" }),
            "spec.ttl",
        ),
        (
            "Schedule",
            "schedules",
            json!({ "schedule": "@daily", "retention": { "keepLast": 5_000_000_000_u64 } }),
            "spec.retention.keepLast",
        ),
        (
            "BackupStorageLocation",
            "backupstoragelocations",
            json!({
                "provider": "local", "objectStorage": { "bucket": "/b" },
                "backupSyncPeriod": "99999999999999999999h",
            }),
            "spec.backupSyncPeriod",
        ),
        (
            "Backup",
            "backups",
            json!({ "includedNamespaces": "all" }),
            "spec.includedNamespaces",
        ),
        (
            "Backup",
            "backups",
            json!({ "storageLocation": "" }),
            "spec.storageLocation",
        ),
        (
            "Restore",
            "restores",
            json!({}),
            "give either backupName or scheduleName",
        ),
        (
            "Restore",
            "restores",
            json!({ "backupName": "a", "scheduleName": "b" }),
            "give either backupName or scheduleName",
        ),
        (
            "Restore",
            "restores",
            json!({ "backupName": "a", "existingResourcePolicy": "replace" }),
            "Unsupported value: \"replace\"",
        ),
        (
            "Schedule",
            "schedules",
            json!({}),
            "spec.schedule: Required value",
        ),
        (
            "Schedule",
            "schedules",
            json!({ "schedule": "" }),
            "spec.schedule",
        ),
        (
            "Schedule",
            "schedules",
            json!({ "schedule": "@daily", "template": { "cancel": true } }),
            "pause the schedule with paused",
        ),
        (
            "Schedule",
            "schedules",
            json!({ "schedule": "@daily", "retention": {} }),
            "give at least one keep rule",
        ),
        (
            "Schedule",
            "schedules",
            json!({ "schedule": "@daily", "retention": { "keepLast": 0 } }),
            "spec.retention.keepLast",
        ),
        (
            "BackupStorageLocation",
            "backupstoragelocations",
            json!({ "provider": "aws" }),
            "spec.objectStorage: Required value",
        ),
        (
            "BackupStorageLocation",
            "backupstoragelocations",
            location(json!({ "provider": "floppy" })),
            "Unsupported value: \"floppy\"",
        ),
        (
            "BackupStorageLocation",
            "backupstoragelocations",
            location(json!({ "provider": "local" })),
            "absolute path of a directory",
        ),
        (
            "BackupStorageLocation",
            "backupstoragelocations",
            location(json!({ "accessMode": "WriteOnly" })),
            "Unsupported value: \"WriteOnly\"",
        ),
        (
            "BackupStorageLocation",
            "backupstoragelocations",
            location(json!({ "repositoryKey": { "name": "n" } })),
            "spec.repositoryKey.key: Required value",
        ),
        (
            "DeleteBackupRequest",
            "deletebackuprequests",
            json!({}),
            "spec.backupName: Required",
        ),
    ] {
        let answer = create(client, kind, plural, "wrong", &spec).await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert_eq!(answer.code, 422, "{kind} {spec}: {:#}", answer.body);
        assert!(message.contains(expected), "{kind} {spec}: {message}");
    }
}

async fn defaults_are_set(client: &Client) {
    let made = create(client, "Backup", "backups", "plain", &Value::Null).await;
    assert_eq!(
        (made.code, &made.body["spec"]),
        (201, &json!({})),
        "{:#}",
        made.body
    );
    let made = create(
        client,
        "BackupStorageLocation",
        "backupstoragelocations",
        "default",
        &json!({ "provider": "aws", "objectStorage": { "bucket": "b" } }),
    )
    .await;
    assert_eq!(made.code, 201, "{:#}", made.body);
    assert_eq!(made.body["spec"]["accessMode"], "ReadWrite");
    assert_eq!(made.body["spec"]["default"], false);
    let made = create(
        client,
        "Schedule",
        "schedules",
        "daily",
        &json!({ "schedule": "@daily" }),
    )
    .await;
    assert_eq!(
        made.body["spec"],
        json!({ "schedule": "@daily", "paused": false, "template": {} })
    );
    let made = create(
        client,
        "ServerStatusRequest",
        "serverstatusrequests",
        "r",
        &Value::Null,
    )
    .await;
    assert_eq!(made.code, 201, "{:#}", made.body);
}

async fn a_spec_stays_as_it_was_made(client: &Client) {
    let spec = json!({ "ttl": "720h", "includedNamespaces": ["a"], "storageLocation": "one" });
    let made = create(client, "Backup", "backups", "fixed", &spec).await;
    assert_eq!(made.code, 201, "{:#}", made.body);
    let path = format!("{}/fixed", collection("backups"));
    let patch = async |spec: Value| {
        send(
            client,
            "PATCH",
            &path,
            "application/json",
            &json!({ "spec": spec }),
        )
        .await
    };
    for (change, field) in [
        (
            json!({ "includedNamespaces": ["a", "b"] }),
            "includedNamespaces",
        ),
        (json!({ "includedNamespaces": null }), "includedNamespaces"),
        (json!({ "excludedNamespaces": ["b"] }), "excludedNamespaces"),
        (
            json!({ "labelSelector": { "matchLabels": { "a": "b" } } }),
            "labelSelector",
        ),
        (json!({ "storageLocation": "other" }), "storageLocation"),
        (json!({ "ttl": "1h" }), "ttl"),
    ] {
        let answer = patch(change.clone()).await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert_eq!(answer.code, 422, "{change}");
        let expected = format!("{field} cannot be changed: make another object");
        assert!(message.contains(&expected), "{change}: {message}");
    }
    let answer = patch(json!({ "cancel": true })).await;
    assert_eq!(answer.code, 200, "{:#}", answer.body);
    // The server fills in which location is the default one.
    let path = format!("{}/plain", collection("backups"));
    let filled = json!({ "spec": { "storageLocation": "default" } });
    let answer = send(client, "PATCH", &path, "application/json", &filled).await;
    assert_eq!(answer.code, 200, "{:#}", answer.body);
}

/// The work for an object that was deleted may not know so yet.
async fn a_later_object_of_a_name_is_not_written_to(client: &Client) {
    let backups: Api<api::Backup> = Api::namespaced(client.clone(), NAMESPACE);
    let backup = api::Backup::new("again", api::BackupSpec::default());
    let make = async || {
        backups
            .create(&PostParams::default(), &backup)
            .await
            .unwrap()
    };
    let before = make().await.metadata.uid.unwrap();
    let parameters = kube::api::DeleteParams::default();
    backups.delete("again", &parameters).await.unwrap();
    let status = json!({ "phase": "Completed" });
    let gone = patch_own_status(&backups, "again", &before, &status).await;
    assert!(gone.unwrap().is_none());
    let after = make().await.metadata.uid.unwrap();
    let another = patch_own_status(&backups, "again", &before, &status).await;
    assert!(another.unwrap().is_none());
    let metadata = json!({ "metadata": { "labels": { "a": "b" } } });
    let another = patch_own(&backups, "again", &before, &metadata).await;
    assert!(another.unwrap().is_none());
    let now = backups.get("again").await.unwrap();
    assert_eq!(now.phase(), api::BackupPhase::New);
    assert!(!now.labels().contains_key("a"), "{now:?}");
    let own = patch_own_status(&backups, "again", &after, &status).await;
    assert_eq!(own.unwrap().unwrap().phase(), api::BackupPhase::Completed);
}

async fn unknown_fields_are_warned_of(client: &Client) {
    let spec = json!({ "includedNamespace": ["a"] });
    let made = create(client, "Backup", "backups", "typo", &spec).await;
    assert_eq!(made.code, 201);
    assert!(
        made.warnings
            .iter()
            .any(|text| text.contains("unknown field \\\"spec.includedNamespace\\\"")),
        "{:?}",
        made.warnings
    );
    assert_eq!(made.body["spec"], json!({}));
}

async fn tables_show_what_users_know(client: &Client) {
    let backups: Api<api::Backup> = Api::namespaced(client.clone(), NAMESPACE);
    let spec = api::BackupSpec {
        storage_location: Some("default".to_owned()),
        ..api::BackupSpec::default()
    };
    let backup = api::Backup::new("shown", spec);
    backups
        .create(&PostParams::default(), &backup)
        .await
        .unwrap();
    let status = api::BackupStatus {
        phase: api::BackupPhase::PartiallyFailed,
        expiration: Some(api::Time("2027-01-01T00:00:00Z".parse().unwrap())),
        warnings: 1,
        errors: 2,
        ..api::BackupStatus::default()
    };
    let patch = Patch::Merge(json!({ "status": status }));
    backups
        .patch_status("shown", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let table = async |plural: &str, name: &str| {
        let answer = send(
            client,
            "GET",
            &format!("{}/{name}", collection(plural)),
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            &Value::Null,
        )
        .await;
        let columns: Vec<String> = answer.body["columnDefinitions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|column| column["priority"] == 0)
            .map(|column| column["name"].as_str().unwrap().to_uppercase())
            .collect();
        (columns.join(" "), answer.body["rows"][0]["cells"].clone())
    };
    let (columns, cells) = table("backups", "shown").await;
    assert_eq!(
        columns,
        "NAME STATUS ERRORS WARNINGS CREATED EXPIRES STORAGE LOCATION"
    );
    assert_eq!(cells[0], "shown");
    assert_eq!(cells[1], "PartiallyFailed");
    assert_eq!((&cells[2], &cells[3]), (&json!(2), &json!(1)));
    assert_eq!(
        (&cells[5], &cells[6]),
        (&json!("2027-01-01T00:00:00Z"), &json!("default"))
    );
    let restore = json!({ "backupName": "shown" });
    let made = create(client, "Restore", "restores", "shown", &restore).await;
    assert_eq!(made.code, 201, "{:#}", made.body);
    for (plural, name, expected) in [
        (
            "restores",
            "shown",
            "NAME BACKUP STATUS WARNINGS ERRORS CREATED",
        ),
        (
            "schedules",
            "daily",
            "NAME STATUS SCHEDULE LASTBACKUP PAUSED AGE",
        ),
        (
            "backupstoragelocations",
            "default",
            "NAME PHASE LAST VALIDATED ACCESS DEFAULT AGE",
        ),
    ] {
        assert_eq!(table(plural, name).await.0, expected);
    }
}
