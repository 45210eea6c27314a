//! What a restore does where the cluster is not as the backup expects it: driven as a library, so that the backup can hold
//! what no apiserver would give today.

use std::collections::BTreeMap;
use std::time::Duration;

use ark::api::{Captured, ResourceEntry, Restore, RestoreSpec};
use ark::cluster::{Cluster, ClusterOptions, GroupResource};
use ark::restore::source::{Loaded, ObjectSource, SourceError, SourceKey, Wanted};
use ark::restore::{Key, Options, Quiet, RestoreReport, restore};
use ark_testkit::{Api, ControlPlane};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::{Value, json};

/// A backup in memory.
#[derive(Default)]
struct Objects(BTreeMap<GroupResource, Listed>);

type Listed = (ResourceEntry, Vec<(Key, Bytes)>);

impl Objects {
    fn add(&mut self, api_version: &str, kind: &str, plural: &str, object: Value) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = GroupResource::new(group, plural);
        let namespace = object["metadata"]["namespace"].as_str();
        let name = object["metadata"]["name"].as_str().unwrap();
        let key = Key::new(resource.clone(), namespace, name);
        let entry = ResourceEntry {
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced: namespace.is_some(),
            captured: Captured::Yes,
            reason: None,
        };
        let (_, objects) = self.0.entry(resource).or_insert((entry, Vec::new()));
        objects.push((key, Bytes::from(object.to_string())));
    }

    /// What the apiserver lists under a path.
    async fn take(&mut self, api: &Api, api_version: &str, kind: &str, plural: &str, path: &str) {
        for object in api.list(path, "").await.unwrap() {
            self.add(
                api_version,
                kind,
                plural,
                serde_json::from_str(object.get()).unwrap(),
            );
        }
    }
}

impl ObjectSource for Objects {
    fn keys(&self) -> BoxStream<'_, Result<SourceKey, SourceError>> {
        let all = self.0.iter().flat_map(|(name, (entry, objects))| {
            std::iter::once(SourceKey::Resource(name.clone(), entry.clone())).chain(
                objects
                    .iter()
                    .map(|(key, _)| SourceKey::Object(key.clone())),
            )
        });
        stream::iter(all.map(Ok)).boxed()
    }

    fn objects<'a>(
        &'a self,
        resource: &'a GroupResource,
        wanted: Wanted<'a>,
    ) -> BoxStream<'a, Result<Vec<Loaded>, SourceError>> {
        let objects = self.0.get(resource).map(|(_, objects)| objects.as_slice());
        let all: Vec<Loaded> = objects
            .unwrap_or_default()
            .iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, bytes)| Loaded {
                key: key.clone(),
                bytes: Ok(bytes.clone()),
            })
            .collect();
        stream::iter(all).chunks(100).map(Ok).boxed()
    }
}

async fn connect(plane: &ControlPlane) -> (Cluster, Api) {
    let options = ClusterOptions {
        kubeconfig: Some(plane.kubeconfig()),
        context: None,
    };
    let cluster = Cluster::connect(&options).await.unwrap();
    (cluster, Api::connect(&plane.kubeconfig()).await.unwrap())
}

fn wanted(name: &str) -> Restore {
    let spec = RestoreSpec {
        backup_name: "nightly".to_owned(),
        ..RestoreSpec::default()
    };
    Restore::named("heptio-ark", name, spec)
}

fn problems(report: &RestoreReport) -> Vec<String> {
    let mut problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    problems.sort();
    problems
}

fn object(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}})
}

/// A namespace that is being deleted and waits for a finalizer.
async fn dying(api: &Api, name: &str) {
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": name}}))
        .await
        .unwrap();
    let holder = json!({"metadata": {"name": "holder", "finalizers": ["example.com/hold"]}});
    api.post(&format!("/api/v1/namespaces/{name}/configmaps"), &holder)
        .await
        .unwrap();
    api.delete(&format!("/api/v1/namespaces/{name}"))
        .await
        .unwrap();
}

async fn release(api: &Api, name: &str) {
    let path = format!("/api/v1/namespaces/{name}/configmaps/holder");
    api.patch(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_cannot_take_is_said_and_the_rest_is_restored() {
    let plane = ControlPlane::start().await.unwrap();
    let (cluster, api) = connect(&plane).await;
    let mut backup = Objects::default();
    for name in ["freed", "stuck"] {
        dying(&api, name).await;
        backup.add(
            "v1",
            "Namespace",
            "namespaces",
            json!({"metadata": {"name": name, "labels": {"was": "here"}}}),
        );
        backup.add("v1", "ConfigMap", "configmaps", object(name, "one"));
    }
    // Not in the backup: it is made without labels. Its pod waits for the account that a controller makes.
    let mut pod = object("blank", "lone");
    pod["spec"] = json!({"containers": [{"name": "c", "image": "example.com/c"}]});
    backup.add("v1", "Pod", "pods", pod);
    let mut future = object("freed", "future");
    future["hologram"] = json!(true);
    backup.add("v1", "ConfigMap", "configmaps", future);
    // A version that is gone, once with fields that the new one has and once not.
    let mut budget = object("freed", "old");
    budget["spec"] = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}});
    backup.add(
        "policy/v1beta7",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        budget,
    );
    let mut budget = object("freed", "older");
    budget["spec"] = json!({"maxGone": 1});
    backup.add(
        "policy/v1beta7",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        budget,
    );
    backup.add(
        "nobody.example.com/v1",
        "Thing",
        "things",
        object("freed", "x"),
    );

    let options = Options {
        namespace_patience: Duration::from_secs(12),
        ..Options::default()
    };
    let freeing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        release(&api, "freed").await;
    };
    let wanted = wanted("odd");
    let (report, ()) = futures::join!(
        restore(&cluster, &backup, &wanted, &options, &Quiet),
        freeing
    );
    let report = report.unwrap();
    assert_eq!(
        problems(&report),
        [
            "error: configmaps stuck/one: configmaps \"one\" is forbidden: unable to create new content in namespace stuck \
             because it is being terminated",
            "error: namespaces stuck: one of that name is being deleted and was still there after 12 s",
            "error: poddisruptionbudgets.policy freed/older: PodDisruptionBudget in version \"v1\" cannot be handled as a \
             PodDisruptionBudget: strict decoding error: unknown field \"spec.maxGone\"",
            "error: things.nobody.example.com freed/x: the cluster does not serve things.nobody.example.com; restore its \
             CustomResourceDefinition too, or install what serves it",
            "warning: configmaps freed/future: the cluster does not know some fields and left them out: unknown field \
             \"hologram\"",
            "warning: poddisruptionbudgets.policy: the cluster does not serve v1beta7; its objects are created as policy/v1",
        ]
    );
    let counts = report.counts;
    assert_eq!((counts.created, counts.skipped, counts.failed), (5, 0, 4));
    let namespace = api.get("/api/v1/namespaces/freed").await.unwrap();
    assert_eq!(namespace["metadata"]["labels"]["was"], "here");
    release(&api, "stuck").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_find_their_owners_and_a_restore_goes_on_where_it_stopped() {
    let plane = ControlPlane::start().await.unwrap();
    let (cluster, api) = connect(&plane).await;
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}}))
        .await
        .unwrap();
    let core = "/api/v1/namespaces/shop";
    let labels = json!({"app": "web"});
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example.com/c"}]}}}});
    let apps = "/apis/apps/v1/namespaces/shop";
    api.post(&format!("{apps}/deployments"), &deployment)
        .await
        .unwrap();
    // Owned by nothing that controllers adopt.
    let parent = api
        .post(
            &format!("{core}/configmaps"),
            &json!({"metadata": {"name": "parent"}}),
        )
        .await
        .unwrap();
    let child = json!({"metadata": {"name": "child", "ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": parent["metadata"]["uid"]}]}});
    api.post(&format!("{core}/secrets"), &child).await.unwrap();
    let mut applied = child.clone();
    applied["apiVersion"] = json!("v1");
    applied["kind"] = json!("Secret");
    applied["metadata"]["name"] = json!("applied");
    api.send(
        http::Method::PATCH,
        &format!("{core}/secrets/applied?fieldManager=somebody"),
        "application/apply-patch+yaml",
        "application/json",
        applied.to_string().into(),
    )
    .await
    .unwrap();
    let pods = format!("{core}/pods");
    while api.list(&pods, "").await.unwrap().len() < 3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut backup = Objects::default();
    backup
        .take(
            &api,
            "v1",
            "ConfigMap",
            "configmaps",
            &format!("{core}/configmaps"),
        )
        .await;
    backup.take(&api, "v1", "Pod", "pods", &pods).await;
    backup
        .take(&api, "v1", "Secret", "secrets", &format!("{core}/secrets"))
        .await;
    backup
        .take(
            &api,
            "apps/v1",
            "Deployment",
            "deployments",
            &format!("{apps}/deployments"),
        )
        .await;
    backup
        .take(
            &api,
            "apps/v1",
            "ReplicaSet",
            "replicasets",
            &format!("{apps}/replicasets"),
        )
        .await;
    api.delete("/api/v1/namespaces/shop").await.unwrap();

    while api.get("/api/v1/namespaces/shop").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let report = restore(
        &cluster,
        &backup,
        &wanted("shop"),
        &Options::default(),
        &Quiet,
    )
    .await
    .unwrap();
    assert_eq!(problems(&report), Vec::<String>::new());
    assert_eq!(report.counts.created, 8, "{report:?}");
    assert_eq!((report.relinked, report.owners_dropped), (6, 0));
    let owner = async |path: String| {
        let object = api.get(&path).await.unwrap();
        let owner = &object["metadata"]["ownerReferences"][0];
        (owner["name"].clone(), owner["uid"].clone())
    };
    let parent = api.get(&format!("{core}/configmaps/parent")).await.unwrap();
    let linked = (json!("parent"), parent["metadata"]["uid"].clone());
    for name in ["child", "applied"] {
        assert_eq!(owner(format!("{core}/secrets/{name}")).await, linked);
    }
    let managers = async |name: &str| {
        let object = api.get(&format!("{core}/secrets/{name}")).await.unwrap();
        object["metadata"]["managedFields"].clone()
    };
    assert_eq!(managers("child").await, Value::Null);
    let applied = managers("applied").await;
    assert_eq!(
        (&applied[0]["manager"], &applied[0]["operation"]),
        (&json!("somebody"), &json!("Apply")),
        "{applied}"
    );
    // Long enough for the garbage collector to take what has no owner, and for controllers to make what they miss.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let names = |backup: &Objects, plural: &str| -> Vec<String> {
        let name = backup
            .0
            .keys()
            .find(|name| name.resource == plural)
            .unwrap();
        backup.0[name]
            .1
            .iter()
            .map(|(key, _)| key.name.clone())
            .collect()
    };
    let mut live = Objects::default();
    live.take(&api, "v1", "Pod", "pods", &pods).await;
    assert_eq!(
        names(&live, "pods"),
        names(&backup, "pods"),
        "the controller adopted the pods"
    );
    for name in names(&backup, "pods") {
        assert_eq!(
            owner(format!("{pods}/{name}")).await.0.as_str(),
            Some(names(&backup, "replicasets")[0].as_str())
        );
    }

    // All of it again, as after an interruption: nothing is created twice, nothing is read object by object.
    let options = Options {
        resume: true,
        ..Options::default()
    };
    let again = restore(&cluster, &backup, &wanted("shop"), &options, &Quiet)
        .await
        .unwrap();
    assert_eq!((again.counts.created, again.resumed), (8, 8));
    assert_eq!(
        (again.requests.create, again.requests.get, again.relinked),
        (1, 0, 0),
        "only the namespace is tried"
    );
    // As after an interruption between an object and its owner.
    let child = format!("{core}/secrets/child");
    api.patch(&child, &json!({"metadata": {"ownerReferences": null}}))
        .await
        .unwrap();
    let again = restore(&cluster, &backup, &wanted("shop"), &options, &Quiet)
        .await
        .unwrap();
    assert_eq!((again.resumed, again.relinked), (8, 1));
    assert_eq!(owner(child).await, linked);
    // Under another name it is another restore, which finds everything as it should be.
    let other = restore(
        &cluster,
        &backup,
        &wanted("other"),
        &Options::default(),
        &Quiet,
    )
    .await
    .unwrap();
    assert_eq!(
        (other.counts.created, other.counts.unchanged, other.warnings),
        (0, 8, 0),
        "{other:?}"
    );
}
