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
    assert_same(&before, &snapshot(api, data.prefix()).await);
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
