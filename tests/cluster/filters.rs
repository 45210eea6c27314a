//! What is chosen to be backed up and restored, said on the command line.

use std::collections::BTreeSet;

use ark_testkit::{Api, ControlPlane};
use serde_json::{Value, json};

use crate::place::Place;

#[tokio::test(flavor = "multi_thread")]
async fn filters_mappings_and_policies_mean_what_they_say() {
    let plane = ControlPlane::start().await.unwrap();
    let api = Api::connect(&plane.kubeconfig()).await.unwrap();
    fill(&api).await;
    let place = Place::folder(&plane.kubeconfig());
    backups(&place).await;
    restores(&place, &api).await;
}

async fn fill(api: &Api) {
    for namespace in ["shop-a", "shop-b", "other"] {
        let object = json!({"metadata": {"name": namespace}});
        api.post("/api/v1/namespaces", &object).await.unwrap();
        for app in ["web", "db"] {
            let core = format!("/api/v1/namespaces/{namespace}");
            let labels = json!({"app": app});
            let settings = json!({"metadata": {"name": format!("{app}-settings"), "labels": labels}, "data": {"of": app}});
            api.post(&format!("{core}/configmaps"), &settings)
                .await
                .unwrap();
            let secret = json!({"metadata": {"name": format!("{app}-secret"), "labels": labels}, "stringData": {"of": app}});
            api.post(&format!("{core}/secrets"), &secret).await.unwrap();
            let account = json!({"metadata": {"name": app, "labels": labels}});
            api.post(&format!("{core}/serviceaccounts"), &account)
                .await
                .unwrap();
            let deployment = json!({"metadata": {"name": app, "labels": labels}, "spec": {"replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"serviceAccountName": app,
                    "containers": [{"name": app, "image": "example.com/app"}]}}}});
            api.post(
                &format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
                &deployment,
            )
            .await
            .unwrap();
        }
        let hidden = json!({"metadata": {"name": "hidden", "labels": {"velero.io/exclude-from-backup": "true"}}});
        api.post(
            &format!("/api/v1/namespaces/{namespace}/configmaps"),
            &hidden,
        )
        .await
        .unwrap();
    }
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "web-reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    api.post(&format!("{rbac}/clusterroles"), &role)
        .await
        .unwrap();
    let binding = json!({"metadata": {"name": "web-reads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "web-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "web", "namespace": "shop-a"}]});
    api.post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .unwrap();
}

/// The names in a backup of what `arguments` choose. What namespaces have by themselves is left out.
fn chosen(place: &Place, name: &str, arguments: &[&str]) -> BTreeSet<String> {
    let create = [&["backup", "create", name], arguments].concat();
    place.ark.run(&create).done();
    let list = place.ark.run(&["backup", "ls", name, "-o", "name"]).done();
    let own = |line: &&str| !line.ends_with("/default") && !line.ends_with("/kube-root-ca.crt");
    list.stdout.lines().filter(own).map(str::to_owned).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn backups(place: &Place) {
    let shops = chosen(
        place,
        "shops",
        &[
            "--include-namespaces",
            "shop-*",
            "--exclude-namespaces",
            "shop-b",
        ],
    );
    for name in [
        "namespaces/shop-a",
        "configmaps/shop-a/web-settings",
        "secrets/shop-a/db-secret",
        "deployments.apps/shop-a/web",
        "serviceaccounts/shop-a/web",
        // Related to the service account.
        "clusterroles.rbac.authorization.k8s.io/web-reader",
        "clusterrolebindings.rbac.authorization.k8s.io/web-reads",
    ] {
        assert!(shops.contains(name), "{name} is missing: {shops:#?}");
    }
    assert!(!shops.contains("configmaps/shop-a/hidden"), "{shops:#?}");
    let foreign = shops.iter().find(|name| {
        name.contains("shop-b") || name.contains("other") || name.contains("cluster-admin")
    });
    assert_eq!(foreign, None);

    // Short name, kind, plural with group.
    let kinds = chosen(
        place,
        "kinds",
        &[
            "--include-namespaces",
            "shop-a",
            "--include-resources",
            "cm,Secret,deployments.apps",
        ],
    );
    let expected = [
        "namespaces/shop-a",
        "configmaps/shop-a/db-settings",
        "configmaps/shop-a/web-settings",
        "secrets/shop-a/db-secret",
        "secrets/shop-a/web-secret",
        "deployments.apps/shop-a/db",
        "deployments.apps/shop-a/web",
    ];
    assert_eq!(kinds, set(&expected));

    let without = chosen(
        place,
        "without",
        &[
            "--include-namespaces",
            "shop-a",
            "--exclude-resources",
            "secrets,deploy,sa,cm",
            "--include-cluster-resources=false",
        ],
    );
    assert_eq!(without.iter().find(|name| !name.contains("shop-a")), None);
    assert!(
        without
            .iter()
            .all(|name| !name.starts_with("secrets/") && !name.starts_with("deployments")),
        "{without:#?}"
    );

    let labelled = chosen(
        place,
        "labelled",
        &[
            "--include-resources",
            "configmaps",
            "-l",
            "app in (web), !missing",
        ],
    );
    let expected = [
        "configmaps/other/web-settings",
        "configmaps/shop-a/web-settings",
        "configmaps/shop-b/web-settings",
    ];
    let maps: BTreeSet<String> = labelled
        .into_iter()
        .filter(|name| name.starts_with("configmaps/"))
        .collect();
    assert_eq!(maps, set(&expected));

    let either = chosen(
        place,
        "either",
        &[
            "--include-namespaces",
            "shop-b",
            "--include-resources",
            "secrets",
            "--or-selector",
            "app=web or app=db",
        ],
    );
    assert_eq!(
        either,
        set(&[
            "namespaces/shop-b",
            "secrets/shop-b/db-secret",
            "secrets/shop-b/web-secret"
        ])
    );

    let cluster = chosen(
        place,
        "cluster",
        &[
            "--include-namespaces",
            "shop-b",
            "--include-cluster-resources",
            "--include-resources",
            "secrets,clusterroles",
        ],
    );
    assert!(
        cluster.contains("clusterroles.rbac.authorization.k8s.io/cluster-admin"),
        "{cluster:#?}"
    );

    let keys = place.keys().await;
    let plan = place
        .ark
        .run(&[
            "backup",
            "create",
            "not-made",
            "--dry-run",
            "--include-namespaces",
            "shop-a",
        ])
        .done();
    assert!(plan.stdout.contains("configmaps"), "{plan}");
    assert_eq!(place.keys().await, keys);
    assert!(!place.backups().contains(&"not-made".to_owned()));
    place.assert_sound();
}

/// How many objects a restore did what with.
fn counts(place: &Place, name: &str, backup: &str, arguments: &[&str]) -> Value {
    let create = [
        &[
            "restore",
            "create",
            name,
            "--from-backup",
            backup,
            "-o",
            "json",
        ],
        arguments,
    ]
    .concat();
    let report = place.ark.run(&create).done().json();
    report["report"]["counts"].clone()
}

async fn restores(place: &Place, api: &Api) {
    let mapped = counts(
        place,
        "mapped",
        "shops",
        &[
            "--namespace-mappings",
            "shop-a:shop-c",
            "--exclude-resources",
            "secrets",
        ],
    );
    assert_eq!(mapped["failed"], 0, "{mapped}");
    let copy = "/api/v1/namespaces/shop-c";
    let settings = api
        .get(&format!("{copy}/configmaps/web-settings"))
        .await
        .unwrap();
    assert_eq!(settings["data"], json!({"of": "web"}));
    api.get("/apis/apps/v1/namespaces/shop-c/deployments/web")
        .await
        .unwrap();
    let error = api
        .get(&format!("{copy}/secrets/web-secret"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(404));

    // Once more: there is nothing left to do.
    let again = counts(
        place,
        "again",
        "shops",
        &[
            "--namespace-mappings",
            "shop-a:shop-c",
            "--exclude-resources",
            "secrets",
        ],
    );
    for nothing in ["created", "updated", "failed"] {
        assert_eq!(again[nothing], 0, "{again}");
    }

    // One is changed, one is deleted.
    let path = format!("{copy}/configmaps/web-settings");
    api.patch(&path, &json!({"data": {"of": "somebody else"}}))
        .await
        .unwrap();
    api.delete(&format!("{copy}/configmaps/db-settings"))
        .await
        .unwrap();
    let only = [
        "--namespace-mappings",
        "shop-a:shop-c",
        "--include-resources",
        "cm",
    ];
    let dry = [
        &[
            "restore",
            "create",
            "dry",
            "--from-backup",
            "shops",
            "--dry-run",
            "--existing-resource-policy",
            "update",
        ][..],
        &only,
    ]
    .concat();
    let dry = place.ark.run(&dry).done();
    assert!(
        dry.stdout.contains("somebody else") && dry.stdout.contains("nothing was changed"),
        "{dry}"
    );
    let kept = counts(place, "kept", "shops", &only);
    assert_eq!(
        (&kept["created"], &kept["updated"]),
        (&json!(1), &json!(0)),
        "{kept}"
    );
    assert_eq!(api.get(&path).await.unwrap()["data"]["of"], "somebody else");
    let updated = counts(
        place,
        "updated",
        "shops",
        &[&only[..], &["--existing-resource-policy", "update"]].concat(),
    );
    assert_eq!(
        (&updated["created"], &updated["updated"]),
        (&json!(0), &json!(1)),
        "{updated}"
    );
    assert_eq!(api.get(&path).await.unwrap()["data"]["of"], "web");

    // Nothing of it touched the namespace that was backed up.
    let original = api
        .get("/api/v1/namespaces/shop-a/configmaps/web-settings")
        .await
        .unwrap();
    assert_eq!(original["metadata"]["labels"], json!({"app": "web"}));
}
