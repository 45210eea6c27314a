//! The life of a repository, told twice: in a folder and in a bucket.

use std::collections::BTreeSet;
use std::time::Duration;

use ark_testkit::{Api, Churn, ControlPlane, Dataset, DatasetSpec, churn, load, unload};
use serde_json::json;

use crate::place::Place;
use crate::snapshot::{assert_same, snapshot};

/// What a backup may write when nothing but the control plane's own objects has changed.
const UNCHANGED_BYTES: u64 = 24 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn backups_come_back_from_a_folder_and_from_a_bucket() {
    let plane = ControlPlane::start().await.unwrap();
    let api = Api::connect(&plane.kubeconfig()).await.unwrap();
    let data = Dataset::new(&DatasetSpec {
        objects: 200,
        ..DatasetSpec::default()
    });
    load(&api, &data).await.unwrap();
    let folder = Place::folder(&plane.kubeconfig());
    let bucket = Place::minio(&plane.kubeconfig()).await;
    live(&folder, &api, &data, 1).await;
    live(&bucket, &api, &data, 2).await;
}

/// What of the data set the comparison with the cluster calls changed.
fn changed_since(place: &Place, prefix: &str) -> Vec<String> {
    let diff = place
        .ark
        .run(&["backup", "diff", "changed", "--live", "-o", "json"]);
    let report = diff.done().json();
    let text = |one: &serde_json::Value, field: &str| one[field].as_str().unwrap_or("").to_owned();
    let differences = report["differences"].as_array().unwrap().iter();
    differences
        .filter(|one| one["change"] == "changed")
        .map(|one| {
            [
                text(one, "resource"),
                text(one, "namespace"),
                text(one, "name"),
            ]
        })
        .filter(|[_, namespace, name]| namespace.starts_with(prefix) || name.starts_with(prefix))
        .map(|[resource, namespace, name]| format!("{resource} {namespace}/{name}"))
        .collect()
}

async fn live(place: &Place, api: &Api, data: &Dataset, seed: u64) {
    let first = place.backup("first");
    assert_eq!(first["status"]["phase"], "Completed", "{first:#}");
    let again = place.backup("again");
    let added = again["repository"]["addedBytes"].as_u64().unwrap();
    assert!(added <= UNCHANGED_BYTES, "{again:#}");

    let change = Churn {
        prefix: data.prefix().to_owned(),
        percent: 5.0,
        seed,
        delete: false,
    };
    let changed = churn(api, &change).await.unwrap();
    let gone = Churn {
        delete: true,
        seed: seed + 10,
        ..change
    };
    churn(api, &gone).await.unwrap();
    let rotated = place.ark.run(&["repo", "keys", "rotate", "-o", "json"]);
    assert_eq!(rotated.done().json()["number"], 2);
    let third = place.backup("changed");
    let added = third["repository"]["addedBytes"].as_u64().unwrap();
    let all = first["repository"]["addedBytes"].as_u64().unwrap();
    assert!(added > 0 && added < all / 2, "{third:#}");
    let diff = place
        .ark
        .run(&["backup", "diff", "again", "changed"])
        .done();
    for path in &changed.paths {
        let name = path.rsplit('/').next().unwrap();
        assert!(diff.stdout.contains(name), "{name} has changed: {diff}");
    }

    let before = snapshot(api, data.prefix()).await;
    assert!(before.len() > 150, "{}", before.len());
    unload(api, data.prefix(), Duration::from_secs(120))
        .await
        .unwrap();
    let restored = place.ark.run(&[
        "restore",
        "create",
        "back",
        "--from-backup",
        "changed",
        "-o",
        "json",
    ]);
    let report = restored.done().json();
    assert_eq!(report["status"]["phase"], "Completed", "{report:#}");
    assert_eq!(report["report"]["counts"]["failed"], 0);
    let requests = &report["run"]["storeRequests"];
    assert!(requests["get"].as_u64() > Some(0), "{requests:#}");
    assert!(requests["bytesRead"].as_u64() > Some(0), "{requests:#}");
    assert_same(&before, &snapshot(api, data.prefix()).await);
    let prefix = data.prefix();
    assert_eq!(changed_since(place, prefix), Vec::<String>::new());
    let map = api
        .list("/api/v1/configmaps", "")
        .await
        .unwrap()
        .into_iter()
        .map(|raw| serde_json::from_str::<serde_json::Value>(raw.get()).unwrap())
        .map(|map| map["metadata"].clone())
        .find(|map| {
            map["namespace"]
                .as_str()
                .unwrap()
                .starts_with(data.prefix())
        })
        .unwrap();
    let [namespace, name] = ["namespace", "name"].map(|field| map[field].as_str().unwrap());
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
    for (data, expected) in [
        (
            json!({"key-of-the-test": "1"}),
            vec![format!("configmaps {namespace}/{name}")],
        ),
        // As it was, but for what counts its changes.
        (json!({"key-of-the-test": null}), Vec::new()),
    ] {
        api.patch(&path, &json!({"data": data})).await.unwrap();
        assert_eq!(changed_since(place, prefix), expected);
    }
    let described = place.ark.run(&["restore", "describe", "back"]).done();
    assert!(described.stdout.contains("Completed"), "{described}");

    place.assert_sound();
    place.ark.run(&["verify"]).done();
    let content = place.content("changed");
    place
        .ark
        .run(&["backup", "delete", "first", "again", "--confirm"])
        .done();
    assert_eq!(place.backups(), ["changed"]);
    let pruned = place
        .ark
        .run(&["prune", "--now", "-o", "json"])
        .done()
        .json();
    assert_eq!(pruned["waiting_for"], json!([]), "{pruned:#}");
    let removed: BTreeSet<&str> = pruned["backups_removed"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|n| n.as_str())
        .collect();
    assert_eq!(removed, BTreeSet::from(["again", "first"]));
    place.assert_no_garbage().await;
    assert_eq!(place.content("changed"), content);

    place
        .ark
        .run(&["backup", "delete", "changed", "--confirm"])
        .done();
    place.ark.run(&["prune", "--now"]).done();
    place.assert_no_garbage().await;
    let packs = place
        .keys()
        .await
        .into_iter()
        .filter(|key| key.starts_with("packs/"));
    assert_eq!(packs.collect::<Vec<_>>(), Vec::<String>::new());
    // Empty is not used up.
    place.backup("first");
    place.assert_sound();
}
