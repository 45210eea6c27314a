//! Hooks in pods of a real node: what is run where and when, what becomes of those that hang, fail or cannot be run, and that what was
//! frozen is thawed, also by the next process after one that was killed.
//!
//! The pods write into a folder of this machine, which is the journal that is looked at.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ark::api::{Backup, BackupPhase, BackupStatus, Restore, RestorePhase, RestoreStatus};
use ark_testkit::{Api, BUSYBOX, Node};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::served::Served;

const PATIENCE: Duration = Duration::from_secs(120);
const PODS: &str = "/api/v1/namespaces/shop/pods";

/// A cluster with a node, a server, and pods that write a journal.
pub struct World {
    pub served: Served,
    pub api: Api,
    journal: TempDir,
    _node: Node,
}

impl World {
    pub async fn new() -> World {
        let served = Served::start(&[]).await;
        let node = Node::beside(&served.plane, Vec::new()).await.unwrap();
        let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
        served.namespace("shop").await;
        World {
            served,
            api,
            journal: tempfile::tempdir().unwrap(),
            _node: node,
        }
    }

    /// A pod with the containers `main` and `side`, which sleep.
    pub fn pod(&self, name: &str, annotations: Value) -> Value {
        let container = |name: &str| {
            json!({
                "name": name, "image": BUSYBOX, "imagePullPolicy": "Never",
                "command": ["sleep", "2147483647"],
                "env": [{ "name": "WHERE", "value": name }],
                "volumeMounts": [{ "name": "journal", "mountPath": "/journal" }],
            })
        };
        json!({
            "metadata": { "name": name, "labels": { "app": name }, "annotations": annotations },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [container("main"), container("side")],
                "volumes": [{ "name": "journal", "hostPath": { "path": self.journal.path(), "type": "Directory" } }],
            },
        })
    }

    pub async fn make(&self, pod: &Value) {
        self.api.post(PODS, pod).await.unwrap();
    }

    pub async fn running(&self, pods: &[&str]) {
        for pod in pods {
            let path = format!("{PODS}/{pod}");
            self.until(&path, |pod| {
                let containers = pod["status"]["containerStatuses"].as_array();
                containers.is_some_and(|all| all.iter().all(|one| one["started"] == true))
            })
            .await;
        }
    }

    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = match self.api.get(path).await {
                Ok(found) => found,
                Err(error) if error.code() == Some(404) => Value::Null,
                Err(error) => panic!("{path}: {error}"),
            };
            if wanted(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "{path}: {found:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.journal.path().join(name)
    }

    /// The lines that commands wrote.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until commands wrote this.
    pub async fn written(&self, name: &str, lines: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines(name) != lines {
            assert!(
                Instant::now() < deadline,
                "{name}: {:?} and not {lines:?}",
                self.lines(name)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Lets commands go on that wait for it.
    pub fn go(&self, name: &str) {
        std::fs::write(self.file(name), "").unwrap();
    }

    async fn backup(&mut self, name: &str, resources: Value) -> BackupStatus {
        self.begin(name, resources).await;
        let backup = self.served.finished_backup(name).await;
        backup.status.unwrap()
    }

    async fn begin(&self, name: &str, resources: Value) -> Backup {
        let spec = json!({ "includedNamespaces": ["shop"], "hooks": { "resources": resources } });
        self.served.backup(name, spec).await
    }

    async fn config_map(&self, name: &str) {
        let map = json!({ "metadata": { "name": name } });
        self.api
            .post("/api/v1/namespaces/shop/configmaps", &map)
            .await
            .unwrap();
    }

    async fn log(&self, backup: &str) -> String {
        let direct = self.served.direct().await;
        direct.run(&["backup", "logs", backup]).done().stdout
    }
}

pub fn shell(text: &str) -> Value {
    json!(["/bin/sh", "-c", text])
}

/// A command that writes a line and waits until it may go on.
pub fn writes_and_waits(line: &str, journal: &str, go: &str) -> Value {
    shell(&format!(
        "echo {line} >> /journal/{journal}; until [ -e /journal/{go} ]; do sleep 0.1; done"
    ))
}

/// A hook of the spec for the pod of that name.
fn rule(pod: &str, pre: &[Value], post: &[Value]) -> Value {
    let exec =
        |all: &[Value]| -> Vec<Value> { all.iter().map(|exec| json!({ "exec": exec })).collect() };
    json!({
        "name": format!("{pod}-hooks"),
        "labelSelector": { "matchLabels": { "app": pod } },
        "pre": exec(pre),
        "post": exec(post),
    })
}

fn counts(status: &BackupStatus) -> (u64, u64) {
    let hooks = status.hook_status.unwrap_or_default();
    (hooks.hooks_attempted, hooks.hooks_failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_frozen_and_thawed_around_a_backup() {
    let mut world = World::new().await;
    // Both of Velero's and ark's spelling, the oldest, and a container that is not the first one.
    let db = world.pod(
        "db",
        json!({
            "hook.backup.ark.heptio.com/command": shell("echo frozen $WHERE >> /journal/db").to_string(),
            "hook.backup.ark.heptio.com/container": "side",
            "post.hook.backup.velero.io/command": shell("echo thawed $WHERE >> /journal/db").to_string(),
        }),
    );
    world.make(&db).await;
    let web = world.pod("web", json!({}));
    world.make(&web).await;
    for name in ["hangs", "fails", "relaxed", "nowhere", "nothing"] {
        let pod = world.pod(name, json!({}));
        world.make(&pod).await;
    }
    let mut pending = world.pod(
        "pending",
        json!({ "pre.hook.backup.ark.heptio.com/command": "true" }),
    );
    pending["spec"]["nodeSelector"] = json!({ "no": "such" });
    world.make(&pending).await;
    let all = [
        "db", "web", "hangs", "fails", "relaxed", "nowhere", "nothing",
    ];
    world.running(&all).await;

    everything_is_read_between_pre_and_post(&mut world).await;
    what_goes_wrong_is_told(&mut world).await;
    what_is_canceled_is_thawed(&mut world).await;
    what_a_killed_server_froze_is_thawed(&mut world).await;
    without_a_server(&mut world).await;
    what_makes_no_sense_is_refused(&mut world).await;
    around_the_whole(&mut world).await;
    restored_pods_are_prepared(&mut world).await;
    world.served.stop();
}

async fn everything_is_read_between_pre_and_post(world: &mut World) {
    let pre = json!({ "command": writes_and_waits("pre-$WHERE", "web", "go-1"), "timeout": "2m" });
    let second =
        json!({ "command": shell("echo second >> /journal/web; echo said; echo loud >&2") });
    let post = json!({ "command": writes_and_waits("post-$WHERE", "web", "go-2"), "timeout": "2m", "container": "side" });
    let backup = world
        .begin("ordered", json!([rule("web", &[pre, second], &[post])]))
        .await;
    world.written("web", &["pre-main"]).await;
    world.config_map("made-before").await;
    world.go("go-1");
    world
        .written("web", &["pre-main", "second", "post-side"])
        .await;
    world.config_map("made-after").await;
    let due: Backup = world.served.api().get(&backup.name_any()).await.unwrap();
    assert_eq!(due.status.unwrap().post_hooks_due, ["shop/db", "shop/web"]);
    world.go("go-2");
    let status = world
        .served
        .finished_backup("ordered")
        .await
        .status
        .unwrap();
    assert_eq!(status.phase, BackupPhase::Completed, "{status:#?}");
    assert_eq!(counts(&status), (5, 0));
    assert_eq!((status.errors, status.warnings), (0, 1));
    assert!(status.post_hooks_due.is_empty());
    world.written("db", &["frozen side", "thawed main"]).await;
    let direct = world.served.direct().await;
    let maps = direct
        .run(&["backup", "ls", "ordered", "configmaps"])
        .done()
        .stdout;
    assert!(
        maps.contains("made-before") && !maps.contains("made-after"),
        "{maps}"
    );
    let log = world.log("ordered").await;
    for line in [
        "pod shop/db, container side: pre hook (annotation hook.backup.ark.heptio.com/command) done in",
        "pod shop/web, container main: stdout: said",
        "pod shop/web, container main: stderr: loud",
        "pod shop/pending is Pending: its hooks are not run",
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
}

async fn what_goes_wrong_is_told(world: &mut World) {
    let thaw = |pod: &str| json!({ "command": shell(&format!("echo thawed >> /journal/{pod}")) });
    let hangs = json!({ "command": shell("echo here; exec sleep 600"), "timeout": "2s" });
    let fails = json!({ "command": shell("echo no >&2; exit 3") });
    let never = json!({ "command": shell("echo never >> /journal/fails") });
    let relaxed = json!({ "command": ["false"], "onError": "Continue" });
    let after = json!({ "command": shell("echo after >> /journal/relaxed") });
    let first = json!({ "command": shell("echo frozen >> /journal/nowhere") });
    let nowhere = json!({ "command": ["true"], "container": "elsewhere" });
    let nothing = json!({ "command": ["/bin/no-such-program"] });
    let status = world
        .backup(
            "wrong",
            json!([
                rule("hangs", &[hangs], &[thaw("hangs")]),
                rule("fails", &[fails, never], &[thaw("fails")]),
                rule("relaxed", &[relaxed, after], &[]),
                rule("nowhere", &[first], &[nowhere]),
                rule("nothing", &[nothing], &[]),
            ]),
        )
        .await;
    assert_eq!(status.phase, BackupPhase::PartiallyFailed, "{status:#?}");
    assert_eq!((status.errors, status.warnings), (4, 2), "{status:#?}");
    // Those of db, too.
    assert_eq!(counts(&status), (10, 5));
    let expect = [
        ("hangs", vec!["thawed"]),
        ("fails", vec!["thawed"]),
        ("relaxed", vec!["after"]),
        // Nobody freezes what cannot be thawed.
        ("nowhere", vec![]),
    ];
    for (pod, lines) in expect {
        assert_eq!(world.lines(pod), lines, "{pod}");
    }
    let log = world.log("wrong").await;
    for line in [
        "error   pod shop/hangs, container main: pre hook (hook hangs-hooks of the spec) failed after 2.",
        "it had not ended after 2s",
        "pod shop/hangs, container main: stdout: here",
        "exit code 3",
        "pod shop/fails, container main: stderr: no",
        "warning pod shop/relaxed, container main: pre hook (hook relaxed-hooks of the spec) failed",
        "there is no container \"elsewhere\"; there are main, side",
        "it could not be started",
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    let backup: Backup = world.served.api().get("wrong").await.unwrap();
    let events = world.served.events(&backup).await;
    assert!(events.contains(&"HookFailed".to_owned()), "{events:?}");
}

async fn what_is_canceled_is_thawed(world: &mut World) {
    for file in ["web", "db"] {
        let _ = std::fs::remove_file(world.file(file));
    }
    let pre = json!({ "command": writes_and_waits("frozen", "web", "go-3"), "timeout": "2m" });
    let post = json!({ "command": shell("echo thawed >> /journal/web") });
    world
        .begin("canceled", json!([rule("web", &[pre], &[post])]))
        .await;
    world.written("web", &["frozen"]).await;
    world.written("db", &["frozen side"]).await;
    let cancel = Patch::Merge(json!({ "spec": { "cancel": true } }));
    let backups: kube::Api<Backup> = world.served.api();
    let usual = PatchParams::default();
    backups.patch("canceled", &usual, &cancel).await.unwrap();
    // A command that is under way is waited for: a freeze after the thaw would stay.
    world.go("go-3");
    let status = world
        .served
        .finished_backup("canceled")
        .await
        .status
        .unwrap();
    assert_eq!(status.phase, BackupPhase::Canceled, "{status:#?}");
    assert_eq!(counts(&status), (4, 0));
    assert_eq!(world.lines("web"), ["frozen", "thawed"]);
    assert_eq!(world.lines("db"), ["frozen side", "thawed main"]);
}

async fn what_a_killed_server_froze_is_thawed(world: &mut World) {
    for name in ["killed", "killed-and-canceled"] {
        for file in ["web", "db"] {
            let _ = std::fs::remove_file(world.file(file));
        }
        let go = format!("go-{name}");
        let pre = json!({ "command": writes_and_waits("frozen", "web", &go), "timeout": "2m" });
        let post = json!({ "command": shell("echo thawed >> /journal/web") });
        world
            .begin(name, json!([rule("web", &[pre], &[post])]))
            .await;
        world.written("web", &["frozen"]).await;
        world.written("db", &["frozen side"]).await;
        world.served.kill();
        world.go(&go);
        if name != "killed" {
            let cancel = Patch::Merge(json!({ "spec": { "cancel": true } }));
            let backups: kube::Api<Backup> = world.served.api();
            let usual = PatchParams::default();
            backups.patch(name, &usual, &cancel).await.unwrap();
        }
        assert_eq!(world.lines("db"), ["frozen side"]);
        world.served.run();
        let status = world.served.finished_backup(name).await.status.unwrap();
        let (phase, hooks, lines, side): (_, _, &[&str], &[&str]) = match name {
            "killed" => (
                BackupPhase::Completed,
                (6, 0),
                &["frozen", "thawed", "frozen", "thawed"],
                &["frozen side", "thawed main", "frozen side", "thawed main"],
            ),
            _ => (
                BackupPhase::Canceled,
                (2, 0),
                &["frozen", "thawed"],
                &["frozen side", "thawed main"],
            ),
        };
        assert_eq!(status.phase, phase, "{status:#?}");
        assert_eq!(counts(&status), hooks);
        assert!(status.post_hooks_due.is_empty());
        assert_eq!(world.lines("web"), lines);
        assert_eq!(world.lines("db"), side);
    }
}

async fn without_a_server(world: &mut World) {
    std::fs::remove_file(world.file("db")).unwrap();
    let direct = world.served.direct().await;
    let direct = direct.with("KUBECONFIG", world.served.plane.kubeconfig());
    let create = ["backup", "create", "direct", "--include-namespaces", "shop"];
    let plan = direct.run(&[&create[..], &["--dry-run"]].concat()).done();
    let said = "pre hook in pod shop/db, container side: /bin/sh -c echo frozen $WHERE";
    assert!(plan.stdout.contains(said), "{}", plan.stdout);
    direct.run(&[&create[..], &["--no-hooks"]].concat()).done();
    assert!(world.lines("db").is_empty());
    let create = [
        "backup",
        "create",
        "direct-2",
        "--include-namespaces",
        "shop",
    ];
    direct.run(&create).done();
    assert_eq!(world.lines("db"), ["frozen side", "thawed main"]);
    let log = world.log("direct-2").await;
    assert!(
        log.contains("post hook (annotation post.hook.backup.velero.io/command) done"),
        "{log}"
    );
    let described = direct
        .run(&["backup", "describe", "direct-2"])
        .done()
        .stdout;
    assert!(described.contains("2 run, 0 failed"), "{described}");
}

async fn what_makes_no_sense_is_refused(world: &mut World) {
    let mut deployments = rule("web", &[json!({ "command": ["true"] })], &[]);
    deployments["includedResources"] = json!(["deployments"]);
    let status = world.backup_refused("no-pods", json!([deployments])).await;
    let errors = status.validation_errors.join("\n");
    assert!(
        errors.contains("hooks: hook web-hooks is for no pods"),
        "{errors}"
    );
}

/// A webhook that notes what it is told and answers with this status.
struct Webhook {
    url: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Webhook {
    async fn answering(status: &'static str) -> Webhook {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let text = loop {
                    let mut buffer = [0; 4096];
                    let read = stream.read(&mut buffer).await.unwrap();
                    request.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let length = text.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        let is = name.eq_ignore_ascii_case("content-length");
                        is.then(|| value.parse::<usize>().unwrap())
                    });
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                    if read == 0 || body.is_some_and(|body| body >= length.unwrap_or(0)) {
                        break text;
                    }
                };
                notes.lock().unwrap().push(text);
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsorry"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Webhook { url, told }
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

impl World {
    /// A Job that writes into the journal.
    fn job(&self, command: Value) -> Value {
        let mounts = json!([{ "name": "journal", "mountPath": "/journal" }]);
        let container = json!({
            "name": "work", "image": BUSYBOX, "imagePullPolicy": "Never",
            "command": command, "volumeMounts": mounts,
        });
        let volume = json!({ "name": "journal", "hostPath": { "path": self.journal.path(), "type": "Directory" } });
        json!({ "template": { "spec": { "template": { "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [container], "volumes": [volume],
        } } } } })
    }

    async fn jobs(&self) -> usize {
        let jobs = self
            .api
            .get("/apis/batch/v1/namespaces/heptio-ark/jobs")
            .await;
        let pods = self.api.get("/api/v1/namespaces/heptio-ark/pods").await;
        [jobs, pods]
            .into_iter()
            .map(|list| list.unwrap()["items"].as_array().unwrap().len())
            .sum()
    }

    /// Jobs go, and their pods with them.
    async fn no_jobs(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.jobs().await > 0 {
            assert!(Instant::now() < deadline, "the Jobs are still there");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn around(&self, name: &str, before: Value, after: Value) {
        let hooks = json!({ "before": before, "after": after });
        let spec = json!({ "includedNamespaces": ["shop"], "hooks": hooks });
        self.served.backup(name, spec).await;
    }
}

/// Before and after: a command in a pod of a Deployment, a Job, a webhook; a failure before ends it, and those after are run all the same.
async fn around_the_whole(world: &mut World) {
    let mut template = world.pod("worker", json!({}));
    template["spec"]["terminationGracePeriodSeconds"] = json!(0);
    template["metadata"].as_object_mut().unwrap().remove("name");
    let deployment = json!({
        "metadata": { "name": "worker" },
        "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "worker" } }, "template": template },
    });
    let deployments = "/apis/apps/v1/namespaces/shop/deployments";
    world.api.post(deployments, &deployment).await.unwrap();
    let path = format!("{deployments}/worker");
    world
        .until(&path, |found| found["status"]["availableReplicas"] == 1)
        .await;

    let good = Webhook::answering("200 OK").await;
    let bad = Webhook::answering("503 Service Unavailable").await;
    let write = |text: &str| shell(&format!("echo {text} >> /journal/around"));
    let exec = |text: &str| {
        json!({ "name": "worker", "exec": {
            "namespace": "shop", "kind": "Deployment", "name": "worker", "container": "side", "command": write(text) } })
    };
    let job = json!({ "name": "job", "job": world.job(shell("echo job-$ARK_HOOK-$ARK_PHASE >> /journal/around; echo worked")) });
    let http = json!({ "name": "told", "http": {
        "url": good.url, "headers": { "X-Token": "secret-$(ARK_NAME)" } } });
    world
        .around(
            "around",
            json!([exec("before-$(ARK_NAME)"), job]),
            json!([http, exec("after-$(ARK_PHASE)"), job]),
        )
        .await;
    let status = world.served.finished_backup("around").await.status.unwrap();
    assert_eq!(status.phase, BackupPhase::Completed, "{status:#?}");
    // Those of db, too.
    assert_eq!(counts(&status), (7, 0));
    assert_eq!(status.after_hooks_due, None);
    assert_eq!(
        world.lines("around"),
        [
            "before-around",
            "job-before-InProgress",
            "after-Completed",
            "job-after-Completed"
        ]
    );
    let told = good.told();
    let [request] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert!(request.starts_with("POST /hook"), "{request}");
    assert!(request.contains("secret-around"), "{request}");
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["kind"], &body["phase"], &body["hook"]),
        (&json!("Backup"), &json!("Completed"), &json!("after"))
    );
    let log = world.log("around").await;
    assert!(log.contains("before hook job: stdout: worked"), "{log}");
    world.no_jobs().await;

    std::fs::remove_file(world.file("around")).unwrap();
    let fails = json!({ "name": "fails", "job": world.job(shell("echo no luck; exit 5")) });
    world
        .around(
            "stopped",
            json!([fails, exec("never")]),
            json!([exec("after-$(ARK_PHASE)")]),
        )
        .await;
    let status = world
        .served
        .finished_backup("stopped")
        .await
        .status
        .unwrap();
    assert_eq!(status.phase, BackupPhase::Failed, "{status:#?}");
    let reason = status.failure_reason.clone().unwrap();
    assert!(
        reason.contains("before hook fails failed: Job heptio-ark/ark-before-0-"),
        "{reason}"
    );
    assert_eq!(counts(&status), (2, 1));
    assert_eq!(world.lines("around"), ["after-Failed"]);

    std::fs::remove_file(world.file("around")).unwrap();
    let ignored = json!({ "name": "ignored", "onError": "Continue", "http": { "url": bad.url } });
    let nobody = json!({ "name": "nobody", "onError": "Continue", "exec": {
        "namespace": "shop", "kind": "StatefulSet", "name": "nobody", "command": ["true"] } });
    let expected = json!({ "name": "expected", "http": { "url": bad.url, "method": "PUT", "body": "it is $(ARK_PHASE)", "expectedStatus": [503] } });
    let hangs = json!({ "name": "hangs", "timeout": "2s", "onError": "Continue", "job": world.job(shell("exec sleep 600")) });
    let refused = json!({ "name": "refused", "http": { "url": bad.url } });
    world
        .around(
            "partly",
            json!([ignored, nobody, expected, hangs]),
            json!([refused, exec("after-$(ARK_PHASE)")]),
        )
        .await;
    let status = world.served.finished_backup("partly").await.status.unwrap();
    assert_eq!(status.phase, BackupPhase::PartiallyFailed, "{status:#?}");
    let reason = status.failure_reason.clone().unwrap();
    assert!(
        reason.contains("after hook refused failed after") && reason.contains("503"),
        "{reason}"
    );
    assert_eq!(counts(&status), (8, 4));
    assert_eq!(world.lines("around"), ["after-Completed"]);
    assert!(bad.told()[1].ends_with("it is InProgress"));
    let log = world.log("partly").await;
    for line in [
        "before hook ignored: answer: sorry",
        "there is no StatefulSet shop/nobody",
        "it had not ended after 2s",
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }

    killed_while_a_job_runs(world).await;

    let restore = json!({
        "backupName": "around", "includedResources": ["configmaps"],
        "hooks": { "before": [exec("restore-$(ARK_PHASE)")], "after": [exec("restored-$(ARK_PHASE)"), http] },
    });
    std::fs::remove_file(world.file("around")).unwrap();
    world.served.restore("around", restore).await;
    let status = world
        .served
        .finished_restore("around")
        .await
        .status
        .unwrap();
    assert_eq!(status.phase, RestorePhase::Completed, "{status:#?}");
    assert_eq!(
        world.lines("around"),
        ["restore-InProgress", "restored-Completed"]
    );
    assert_eq!(status.hook_status.unwrap().hooks_attempted, 3);
    assert!(good.told()[0].contains("\"kind\":\"Restore\""));
    let wrong = json!({ "backupName": "around", "hooks": { "before": [
        { "name": "odd", "exec": { "namespace": "shop", "kind": "Pod", "name": "none", "command": ["true"] } } ] } });
    world.served.restore("never", wrong).await;
    let status = world.served.finished_restore("never").await.status.unwrap();
    assert_eq!(status.phase, RestorePhase::Failed, "{status:#?}");
    assert!(
        status
            .failure_reason
            .unwrap()
            .contains("there is no Pod shop/none")
    );

    let none = json!([{ "name": "file", "http": { "url": "file:///etc/passwd" } }]);
    world.around("no-address", none, json!([])).await;
    let refused = |backup: &Backup| backup.phase() == BackupPhase::FailedValidation;
    let backup = world.served.until("no-address", "refused", refused).await;
    let errors = backup.status.unwrap().validation_errors.join("\n");
    assert!(errors.contains("hooks: hook file: "), "{errors}");
    world.api.delete(&path).await.unwrap();
}

/// The Job is made once, and what is to be done afterwards is done by the next process.
async fn killed_while_a_job_runs(world: &mut World) {
    std::fs::remove_file(world.file("around")).unwrap();
    let job =
        json!({ "name": "job", "job": world.job(writes_and_waits("job", "around", "go-job")) });
    let after = json!({ "name": "after", "exec": {
        "namespace": "shop", "kind": "Pod", "name": "web", "command": shell("echo after-'$(ARK_PHASE)' >> /journal/around") } });
    world
        .around("killed-in-a-job", json!([job]), json!([after]))
        .await;
    world.written("around", &["job"]).await;
    world.served.kill();
    world.go("go-job");
    world.served.run();
    let status = world
        .served
        .finished_backup("killed-in-a-job")
        .await
        .status
        .unwrap();
    assert_eq!(status.phase, BackupPhase::Completed, "{status:#?}");
    assert_eq!(world.lines("around"), ["job", "after-Completed"]);

    // Nobody waits for a Job any more, and it goes.
    let sleeps = json!({ "name": "sleeps", "job": world.job(shell("echo sleeps >> /journal/around; exec sleep 600")) });
    world
        .around("killed-and-unwanted", json!([sleeps]), json!([after]))
        .await;
    world
        .written("around", &["job", "after-Completed", "sleeps"])
        .await;
    world.served.kill();
    let cancel = Patch::Merge(json!({ "spec": { "cancel": true } }));
    let backups: kube::Api<Backup> = world.served.api();
    let usual = PatchParams::default();
    backups
        .patch("killed-and-unwanted", &usual, &cancel)
        .await
        .unwrap();
    world.served.run();
    let backup = world.served.finished_backup("killed-and-unwanted").await;
    let status = backup.status.unwrap();
    assert_eq!(status.phase, BackupPhase::Canceled, "{status:#?}");
    assert_eq!(
        world.lines("around"),
        ["job", "after-Completed", "sleeps", "after-Canceled"]
    );
    world.no_jobs().await;
}

/// Init containers by spec and by annotation, commands when the container runs and when it is ready, and pods that never get so far.
async fn restored_pods_are_prepared(world: &mut World) {
    let _ = std::fs::remove_file(world.file("db"));
    let annotated = world.pod(
        "annotated",
        json!({
            "init.hook.restore.velero.io/container-image": BUSYBOX,
            "init.hook.restore.velero.io/command": shell("true").to_string(),
            "init.hook.restore.velero.io/timeout": "2m",
            "post.hook.restore.ark.heptio.com/command": shell("echo restored $WHERE >> /journal/annotated").to_string(),
            "post.hook.restore.ark.heptio.com/container": "side",
        }),
    );
    world.make(&annotated).await;
    let mut odd = world.pod(
        "odd",
        json!({ "init.hook.restore.velero.io/command": "no image" }),
    );
    odd["spec"]["nodeSelector"] = json!({ "no": "such" });
    world.make(&odd).await;
    world.running(&["annotated"]).await;
    let status = world.backup("for-restore", json!([])).await;
    assert_eq!(status.phase, BackupPhase::Completed, "{status:#?}");
    crate::operations::delete_namespace(&world.served, "shop").await;

    let init = json!({
        "name": "prepare", "image": BUSYBOX, "imagePullPolicy": "Never",
        "command": shell("echo prepared >> /journal/web"),
        "volumeMounts": [{ "name": "journal", "mountPath": "/journal" }],
    });
    let _ = std::fs::remove_file(world.file("web"));
    let run = |text: &str| json!({ "exec": { "command": shell(text) } });
    let mut ready = run("echo ready >> /journal/web");
    ready["exec"]["waitForReady"] = json!(true);
    let mut slow = run("exec sleep 600");
    slow["exec"]["execTimeout"] = json!("1s");
    slow["exec"]["onError"] = json!("Continue");
    let mut pending = run("true");
    pending["exec"]["waitTimeout"] = json!("3s");
    let mut fails = run("exit 4");
    fails["exec"]["onError"] = json!("Fail");
    let rule = |pod: &str, hooks: &[Value]| {
        json!({
            "name": format!("{pod}-hooks"), "labelSelector": { "matchLabels": { "app": pod } },
            "includedNamespaces": ["shop"], "postHooks": hooks,
        })
    };
    let began = Instant::now();
    let resources = json!([
        rule(
            "web",
            &[
                json!({ "init": { "initContainers": [init], "timeout": "2m" } }),
                run("echo running >> /journal/web"),
                ready
            ]
        ),
        rule("pending", &[pending]),
        rule("hangs", &[slow, run("echo after >> /journal/hangs")]),
        rule("fails", &[fails, run("echo never >> /journal/fails")]),
    ]);
    // In another namespace: the hooks' namespaces are those of the backup.
    let spec = json!({
        "backupName": "for-restore",
        "namespaceMapping": { "shop": "shop-2" },
        "hooks": { "resources": resources },
    });
    world.served.restore("prepared", spec).await;
    let restore = world.served.finished_restore("prepared").await;
    let status: RestoreStatus = restore.status.clone().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(100),
        "one holds up the others"
    );
    let direct = world.served.direct().await;
    let log = direct.run(&["restore", "logs", "prepared"]).done().stdout;
    assert_eq!(
        status.phase,
        RestorePhase::PartiallyFailed,
        "{status:#?}\n{log}"
    );
    for line in [
        "pod shop-2/web: init containers prepare have ended well",
        "pod shop-2/annotated: init containers ark-init-hook have ended well",
        "pod shop-2/annotated, container side: restore hook (annotation post.hook.restore.ark.heptio.com/command) done",
        "warning: pod shop-2/pending, container main: restore hook (hook pending-hooks of the spec) failed: it was not so far 3s after",
        "warning: pod shop-2/hangs, container main: restore hook (hook hangs-hooks of the spec) failed after 1.",
        "error: pod shop-2/fails, container main: restore hook (hook fails-hooks of the spec) failed",
        "exit code 4",
        "error: pods shop/odd: it is not created: annotation init.hook.restore.velero.io/command has no",
    ] {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    assert_eq!((status.errors, status.warnings), (2, 2), "{log}");
    let hooks = status.hook_status.unwrap();
    assert_eq!((hooks.hooks_attempted, hooks.hooks_failed), (9, 3), "{log}");
    assert_eq!(world.lines("web"), ["prepared", "running", "ready"]);
    assert_eq!(world.lines("annotated"), ["restored side"]);
    assert_eq!(
        world.lines("hangs").last().map(String::as_str),
        Some("after")
    );
    assert!(!world.lines("fails").contains(&"never".to_owned()));
    let web = world
        .api
        .get("/api/v1/namespaces/shop-2/pods/web")
        .await
        .unwrap();
    assert_eq!(web["spec"]["initContainers"][0]["name"], "prepare");
    let events = world.served.events(&restore).await;
    assert!(events.contains(&"HookFailed".to_owned()), "{events:?}");
    // What was run is not run again by a restore that goes on.
    again_is_not_twice(world).await;
    let wrong = json!({ "backupName": "for-restore", "hooks": { "resources": [
        { "name": "x", "postHooks": [{ "init": { "initContainers": [{ "name": "x" }] } }] } ] } });
    world.served.restore("wrong", wrong).await;
    let refused = |restore: &Restore| restore.phase() == RestorePhase::FailedValidation;
    let restore = world.served.until("wrong", "refused", refused).await;
    let errors = restore.status.unwrap().validation_errors.join("\n");
    assert!(errors.contains("x has no image"), "{errors}");
}

async fn again_is_not_twice(world: &mut World) {
    world.served.kill();
    let status = json!({ "status": { "phase": "InProgress", "completionTimestamp": null } });
    let restores: kube::Api<Restore> = world.served.api();
    let usual = PatchParams::default();
    restores
        .patch_status("prepared", &usual, &Patch::Merge(status))
        .await
        .unwrap();
    world.served.run();
    world.served.finished_restore("prepared").await;
    assert_eq!(world.lines("web"), ["prepared", "running", "ready"]);
    assert_eq!(world.lines("annotated"), ["restored side"]);
}

impl World {
    async fn backup_refused(&mut self, name: &str, resources: Value) -> BackupStatus {
        self.begin(name, resources).await;
        let refused = |backup: &Backup| backup.phase() == BackupPhase::FailedValidation;
        let backup = self.served.until(name, "refused", refused).await;
        backup.status.unwrap()
    }
}
