//! `ark install`, `ark upgrade` and `ark uninstall` on a real apiserver, and a server that has what the installed account has, not more.

use std::time::Duration;

use ark::api::{Backup, BackupPhase, BackupStorageLocation, Restore, RestorePhase};
use ark_testkit::{Api, ApiError};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::served::{NAMESPACE, Served};

/// What `kubectl delete -f` may take while backups exist and no server runs.
const MINUTE: Duration = Duration::from_secs(60);

/// An application, and its backup.
async fn backed_up(served: &mut Served) -> Backup {
    served.namespace("shop").await;
    let cart = json!({ "metadata": { "name": "cart", "namespace": "shop" }, "data": { "a": "b" } });
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    api.post("/api/v1/namespaces/shop/configmaps", &cart)
        .await
        .unwrap();
    served
        .backup("first", json!({ "includedNamespaces": ["shop"] }))
        .await;
    served.finished_backup("first").await
}

async fn restored(served: &mut Served) -> Restore {
    let shops: kube::Api<ConfigMap> = kube::Api::namespaced(served.client.clone(), "shop");
    shops
        .delete("cart", &DeleteParams::default())
        .await
        .unwrap();
    served
        .restore("back", json!({ "backupName": "first" }))
        .await;
    served.finished_restore("back").await
}

fn errors(restore: &Restore) -> u64 {
    restore.status.as_ref().unwrap().errors
}

/// The location when the server has looked at it, with the status of its condition RecoveryMissing.
async fn looked_at(served: &mut Served, missing: &str) {
    let wanted = |location: &BackupStorageLocation| {
        let status = location.status.as_ref();
        let conditions = status.map(|status| status.conditions.as_slice());
        let mut conditions = conditions.unwrap_or_default().iter();
        conditions.any(|c| c.type_ == "RecoveryMissing" && c.status == missing)
    };
    served
        .until::<BackupStorageLocation>("default", missing, wanted)
        .await;
}

/// Waits until none of the paths leads to anything.
async fn gone(api: &Api, paths: &[String]) {
    let waiting = async {
        loop {
            let mut left = Vec::new();
            for path in paths {
                match api.get_text(path).await {
                    Err(error) if error.code() == Some(404) => {}
                    _ => left.push(path.clone()),
                }
            }
            if left.is_empty() {
                return;
            }
            eprintln!("still there: {left:?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(MINUTE, waiting).await.unwrap();
}

fn paths(objects: &[Value]) -> Vec<String> {
    let path = |object| ark::install::apply::path(object).unwrap();
    objects.iter().map(path).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_server_does_its_work_and_goes_without_a_trace() {
    let mut served = Served::installed(
        &["--recovery-key-out", "recovery-key"],
        &["--store-validation-frequency", "2s"],
    )
    .await;
    // The recovery key has got its slot, and its Secret is gone.
    looked_at(&mut served, "False").await;
    let secrets: kube::Api<Secret> = served.api();
    assert!(
        secrets
            .get_opt("ark-recovery-default")
            .await
            .unwrap()
            .is_none()
    );
    let repository = format!("file://{}", served.root().display());
    let ark = served.ark.clone();
    let open = |arguments: &[&str]| {
        let key = ["--repo", repository.as_str(), "--key-file", "recovery-key"];
        ark.run(&[&key, arguments].concat()).done()
    };
    let keys = open(&["repo", "keys", "list", "-o", "json"]).json();
    assert_eq!(keys["items"].as_array().unwrap().len(), 2, "{keys:#}");

    let backup = backed_up(&mut served).await;
    assert_eq!(backup.status.unwrap().phase, BackupPhase::Completed);
    let restore = restored(&mut served).await;
    assert_eq!(errors(&restore), 0, "{restore:#?}");
    assert_eq!(restore.status.unwrap().phase, RestorePhase::Completed);

    // Again is once.
    let deployments: kube::Api<Deployment> = served.api();
    let before = deployments.get("ark").await.unwrap().metadata.generation;
    served.install(&["--no-recovery"]).done();
    let after = deployments.get("ark").await.unwrap().metadata.generation;
    assert_eq!(before, after);

    upgraded(&served, &deployments).await;
    restricted(&served, &deployments).await;

    // Nobody may have to start a server only to get rid of it.
    served.kill();
    let dry = served.install(&["--no-recovery", "--dry-run", "-o", "json"]);
    let installed = dry.done().json();
    let uninstall = served.admin().run(&["uninstall"]);
    uninstall.refuses(2, &["without a confirmation"]);
    // As `kubectl delete -f` does: everything at once, in no order that ark knows of.
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    let paths = paths(installed["items"].as_array().unwrap());
    for path in &paths {
        match api.delete(path).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(404) => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    gone(&api, &paths).await;
    let again = served.admin().run(&["uninstall", "--confirm"]);
    again.refuses(1, &["there is no ark"]);
    let rows = open(&["backup", "get", "-o", "json"]).json();
    assert_eq!(rows["items"][0]["metadata"]["name"], "first");
}

/// The pod is one that the strictest of Kubernetes' own rules lets in.
async fn restricted(served: &Served, deployments: &kube::Api<Deployment>) {
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    let namespace = format!("/api/v1/namespaces/{NAMESPACE}");
    let rule = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let rule = json!({ "metadata": { "labels": rule } });
    api.patch(&namespace, &rule).await.unwrap();
    let template = deployments.get("ark").await.unwrap().spec.unwrap().template;
    let mut pod = json!({ "metadata": { "name": "candidate" }, "spec": template.spec });
    let pods = format!("{namespace}/pods?dryRun=All");
    api.post(&pods, &pod).await.unwrap();
    // The rule does refuse.
    pod["spec"]["hostNetwork"] = json!(true);
    assert_eq!(api.post(&pods, &pod).await.unwrap_err().code(), Some(403));
}

/// A downgrade is refused; an upgrade keeps what the installation was made with.
async fn upgraded(served: &Served, deployments: &kube::Api<Deployment>) {
    let label = async |version: &str| {
        let label = json!({ "metadata": { "labels": { "app.kubernetes.io/version": version } } });
        let patch = Patch::Merge(label);
        let usual = PatchParams::default();
        deployments.patch("ark", &usual, &patch).await.unwrap();
    };
    label("99.0.0").await;
    let image = ["upgrade", "--image", "registry.example/ark:2"];
    for refused in [
        served.admin().run(&image),
        served.install(&["--no-recovery"]),
    ] {
        refused.refuses(1, &["ark 99.0.0 is installed"]);
    }
    label("0.0.1").await;
    served.admin().run(&image).done();
    let deployment = deployments.get("ark").await.unwrap();
    assert_eq!(
        deployment.labels()["app.kubernetes.io/version"],
        env!("CARGO_PKG_VERSION")
    );
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(
        pod.containers[0].image.as_deref(),
        Some("registry.example/ark:2")
    );
    let claim = pod
        .volumes
        .unwrap()
        .into_iter()
        .find_map(|v| v.persistent_volume_claim);
    assert_eq!(claim.unwrap().claim_name, "backups");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_only_back_up_writes_nothing_else() {
    let mut served = Served::installed(&["--no-recovery", "--rbac", "backup-only"], &[]).await;
    looked_at(&mut served, "True").await;
    let backup = backed_up(&mut served).await;
    let status = backup.status.unwrap();
    assert_eq!(status.phase, BackupPhase::Completed);
    assert_eq!((status.errors, status.warnings), (0, 0));
    let restore = restored(&mut served).await;
    assert!(errors(&restore) > 0, "{restore:#?}");
    let shops: kube::Api<ConfigMap> = kube::Api::namespaced(served.client.clone(), "shop");
    assert!(shops.get_opt("cart").await.unwrap().is_none());

    forbidden(&served).await;
    hooks_say_what_is_missing(&mut served).await;

    // What another choice had granted goes with it.
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    let binding =
        format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/ark-restore:{NAMESPACE}");
    served.install(&["--no-recovery"]).done();
    api.get_text(&binding).await.unwrap();
    let dry = served.install(&["--no-recovery", "--dry-run", "-o", "json"]);
    let everything = dry.done().json();
    served
        .install(&["--no-recovery", "--rbac", "backup-only"])
        .done();
    gone(&api, &[binding]).await;

    // The only key is not lost by the way.
    served.kill();
    let uninstall = ["uninstall", "--confirm", "--keys-out", "."];
    served
        .admin()
        .run(&uninstall[..2])
        .refuses(1, &["the only key"]);
    let ours = std::fs::read(served.ark.home().join("kept")).is_err();
    assert!(ours, "nothing is written by a refusal");

    // As `kubectl delete -f` does: everything at once, in no order that ark knows of.
    let paths = paths(everything["items"].as_array().unwrap());
    for path in &paths {
        match api.delete(path).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(404) => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    gone(&api, &paths).await;
}

/// A pod asks for a hook, and the account may run nothing in it.
async fn hooks_say_what_is_missing(served: &mut Served) {
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    let account = "/api/v1/namespaces/shop/serviceaccounts/default";
    let there = async {
        while api.get_text(account).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(MINUTE, there).await.unwrap();
    let command = json!({ "pre.hook.backup.velero.io/command": "/bin/freeze" });
    let pod = json!({
        "metadata": { "name": "db", "annotations": command },
        "spec": { "containers": [{ "name": "db", "image": "registry.example/db:1" }] },
    });
    let pods = "/api/v1/namespaces/shop/pods";
    api.post(pods, &pod).await.unwrap();
    // There is no node to say so.
    let running = json!({ "status": { "phase": "Running" } });
    api.patch(&format!("{pods}/db/status"), &running)
        .await
        .unwrap();
    served
        .backup("hooked", json!({ "includedNamespaces": ["shop"] }))
        .await;
    let status = served.finished_backup("hooked").await.status.unwrap();
    assert_eq!(status.phase, BackupPhase::PartiallyFailed, "{status:#?}");
    let hooks = status.hook_status.unwrap();
    assert_eq!((hooks.hooks_attempted, hooks.hooks_failed), (1, 1));
    let direct = served.direct().await;
    let log = direct.run(&["backup", "logs", "hooked"]).done().stdout;
    assert!(log.contains("get and create on pods/exec"), "{log}");
}

/// What the installed account may not do, and the little that it may.
async fn forbidden(served: &Served) {
    let kubeconfig = served.kubeconfig_of(&served.token().await);
    let api = Api::connect(&kubeconfig).await.unwrap();
    let code = |said: Result<(), ApiError>| said.err().and_then(|error| error.code());
    let object = |name: &str| json!({ "metadata": { "name": name } });
    for collection in [
        "/api/v1/namespaces",
        "/api/v1/namespaces/shop/configmaps",
        "/api/v1/namespaces/shop/secrets",
        "/api/v1/namespaces/heptio-ark/configmaps",
        "/api/v1/namespaces/heptio-ark/serviceaccounts",
    ] {
        let said = api.post(collection, &object("mine")).await.map(|_| ());
        assert_eq!(code(said), Some(403), "{collection}");
    }
    for path in [
        "/api/v1/namespaces/heptio-ark/secrets/ark-repository-key",
        "/api/v1/namespaces/shop",
        "/apis/apps/v1/namespaces/heptio-ark/deployments/ark",
    ] {
        let said = api.delete(path).await.map(|_| ());
        assert_eq!(code(said), Some(403), "{path}");
    }
    let may = async |verb: &str, group: &str, resource: &str, sub: &str, namespace: &str| {
        let review = json!({ "spec": { "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": sub, "namespace": namespace } } });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let said = api.post(path, &review).await.unwrap();
        said["status"]["allowed"] == true
    };
    for (verb, group, resource, sub, namespace, allowed) in [
        ("list", "", "secrets", "", "", true),
        ("list", "any.example", "things", "", "", true),
        ("create", "ark.heptio.com", "backups", "", NAMESPACE, true),
        ("create", "ark.heptio.com", "backups", "", "shop", false),
        ("get", "", "pods", "exec", "shop", false),
        ("create", "", "pods", "exec", "shop", false),
        ("get", "", "nodes", "proxy", "", false),
        ("create", "", "serviceaccounts", "token", "shop", false),
        (
            "escalate",
            "rbac.authorization.k8s.io",
            "clusterroles",
            "",
            "",
            false,
        ),
        ("impersonate", "", "users", "", "", false),
    ] {
        let said = may(verb, group, resource, sub, namespace).await;
        assert_eq!(
            said, allowed,
            "{verb} {group}/{resource}/{sub} in {namespace:?}"
        );
    }
}
