//! Reading backups and restores through the server: the same output as with the repository at hand, and nothing for who may not.
//!
//! The server is a process beside the cluster. The apiserver passes requests on to pods alone, so a Pod and a Service stand for it, with this
//! machine's address; the quickstart's test does the same with a real pod.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use ark::api::download::{DownloadRequestSpec, DownloadRequestStatus};
use ark::api::{
    BackupStorageLocation, DownloadKind, DownloadPhase, DownloadRequest, DownloadTarget, Time,
};
use ark::server::download::TOKEN;
use ark_testkit::{Api, Ark, Ran};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::debug::unpacked;
use crate::operations::fill;
use crate::served::{NAMESPACE, Served};

const CORE: &str = "/api/v1/namespaces/heptio-ark";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// An address of this machine that an apiserver passes requests on to: not its loopback.
fn address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent by that: it asks which way something would go.
    socket
        .connect("192.0.2.1:9")
        .expect("this machine has no network");
    let address = socket.local_addr().unwrap().ip();
    assert!(!address.is_loopback(), "this machine has only a loopback");
    address
}

/// A place to listen at.
fn place() -> String {
    let listener = TcpListener::bind((address(), 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A cluster with a server at that place, and nothing that leads to it.
async fn start(place: &str) -> Served {
    let mut served = Served::start(&["--download-address", place]).await;
    let location = |location: &BackupStorageLocation| location.status.is_some();
    served.until("default", "checked", location).await;
    served
}

/// A Pod that stands for the process there, and a Service over it.
async fn expose(served: &Served, place: &str) {
    let (address, _) = place.rsplit_once(':').unwrap();
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    let pod = json!({
        "metadata": { "name": "ark", "labels": { "component": "ark" } },
        "spec": { "containers": [{ "name": "ark", "image": "none" }], "automountServiceAccountToken": false },
    });
    let deadline = Instant::now() + PATIENCE;
    // The namespace's account is made by a controller.
    while let Err(error) = api.post(&format!("{CORE}/pods"), &pod).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = json!({ "status": {
        "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    }});
    api.patch(&format!("{CORE}/pods/ark/status"), &status)
        .await
        .unwrap();
    let service = json!({
        "metadata": { "name": "ark" },
        "spec": { "ports": [{ "name": "downloads", "port": 443 }] },
    });
    api.post(&format!("{CORE}/services"), &service)
        .await
        .unwrap();
    let mut endpoints = endpoints(place);
    endpoints["metadata"] = json!({ "name": "ark" });
    api.post(&format!("{CORE}/endpoints"), &endpoints)
        .await
        .unwrap();
}

/// What controllers write where there is a node: the Service leads to that place, which is a pod's.
fn endpoints(place: &str) -> Value {
    let (address, port) = place.rsplit_once(':').unwrap();
    let pod = json!({ "kind": "Pod", "name": "ark", "namespace": NAMESPACE });
    json!({ "subsets": [{
        "addresses": [{ "ip": address, "targetRef": pod }],
        "ports": [{ "name": "downloads", "port": port.parse::<u16>().unwrap() }],
    }]})
}

async fn requests(served: &Served) -> Vec<DownloadRequest> {
    let api = served.api::<DownloadRequest>();
    api.list(&ListParams::default()).await.unwrap().items
}

/// Both modes run the same line; both answers, which have the same exit code.
fn both(ark: &Ark, direct: &Ark, line: &[&str]) -> (Ran, Ran) {
    let (served, direct) = (ark.run(line), direct.run(line));
    assert_eq!(served.code, direct.code, "{line:?}\n{served}\n{direct}");
    served
        .clone()
        .says(&["through the server, namespace heptio-ark"]);
    (served, direct)
}

fn same(ark: &Ark, direct: &Ark, line: &[&str]) -> Ran {
    let (served, direct) = both(ark, direct, line);
    assert_eq!(served.stdout, direct.stdout, "{line:?}\n{served}\n{direct}");
    served
}

/// The lines of a description, but for those that are about where it was read.
fn described(ran: &Ran) -> Vec<&str> {
    let differs = |line: &&str| {
        [
            "Location:",
            "Labels:",
            "Annotations:",
            "Created:",
            "Started:",
            "Finished:",
            "ID:",
        ]
        .iter()
        .any(|field| line.starts_with(field))
    };
    ran.stdout.lines().filter(|line| !differs(line)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_holds_is_read_through_the_server() {
    let place = place();
    let mut served = start(&place).await;
    fill(&served, "app", 5).await;
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    let secret = json!({ "metadata": { "name": "keys" }, "stringData": { "password": "hunter2" } });
    api.post("/api/v1/namespaces/app/secrets", &secret)
        .await
        .unwrap();
    let ark = served.ark.clone();
    let create = |name: &str| {
        let line = ["backup", "create", name, "--include-namespaces", "app"];
        ark.run(&[&line[..], &["--wait"]].concat()).done();
    };
    create("one");
    let change =
        json!({ "stringData": { "password": "hunter3" }, "metadata": { "labels": { "a": "b" } } });
    api.patch("/api/v1/namespaces/app/secrets/keys", &change)
        .await
        .unwrap();
    let extra = json!({ "metadata": { "name": "extra" }, "data": { "big": "x".repeat(500_000) } });
    api.post("/api/v1/namespaces/app/configmaps", &extra)
        .await
        .unwrap();
    create("two");

    // Nothing leads to the server yet: that is said, and what to do.
    let ran = ark.run(&["backup", "logs", "one"]).exits(1);
    ran.says(&[
        "the apiserver cannot fetch it from ark's server",
        "hint: the server has to run in a pod behind its Service",
        "--repo",
    ]);
    expose(&served, &place).await;
    let direct = served.direct().await;
    let same = |line: &[&str]| same(&ark, &direct, line);
    let log = same(&["backup", "logs", "one"]).done();
    assert!(log.stdout.contains("configmaps"), "{log}");
    same(&["logs", "backup", "two"]).done();
    for form in ["table", "wide", "json", "name"] {
        let ran = same(&["backup", "ls", "one", "-o", form]).done();
        assert!(ran.stdout.contains("keys"), "{ran}");
    }
    let ran = same(&[
        "backup", "ls", "two", "cm", "--prefix", "app/ex", "-o", "name",
    ])
    .done();
    assert_eq!(ran.stdout, "configmaps/app/extra\n");
    let ran = same(&["backup", "cat", "one", "secret", "app/keys"]).done();
    assert!(ran.stdout.contains("password: aHVudGVyMg=="), "{ran}");
    for line in [
        &["backup", "cat", "two", "cm"][..],
        &["backup", "cat", "two", "-o", "json"],
        &["backup", "cat", "two", "-o", "name"],
        &["backup", "diff", "one", "two"],
        &["backup", "diff", "two", "one", "-p"],
        &[
            "backup",
            "diff",
            "one",
            "two",
            "-o",
            "json",
            "--patch",
            "--show-secrets",
        ],
    ] {
        let ran = same(line).done();
        assert!(ran.stdout.contains("extra"), "{ran}");
    }
    let ran = same(&["backup", "diff", "one", "two", "-p"]).done();
    assert!(!ran.stdout.contains("aHVudGVy"), "{ran}");
    ran.says(&["1 added, 0 removed, 1 changed"]);
    // A cluster that went on.
    api.delete("/api/v1/namespaces/app/configmaps/extra")
        .await
        .unwrap();
    let ran = same(&["backup", "diff", "two", "--live", "-o", "name"]).done();
    assert!(ran.stdout.contains("configmaps/app/extra"), "{ran}");
    for (line, code, words) in [
        (
            &["backup", "ls", "one", "gizmos"][..],
            1,
            "has no resource \"gizmos\"",
        ),
        (
            &["backup", "cat", "one", "cm", "app/none"],
            1,
            "has no configmaps \"app/none\"",
        ),
    ] {
        let ran = same(line).exits(code);
        ran.says(&[words]);
    }
    let line = ["backup", "describe", "two", "--details"];
    let (through, at_hand) = both(&ark, &direct, &line);
    assert_eq!(described(&through), described(&at_hand));
    assert!(through.done().stdout.contains("CAPTURED"));
    let json = [&line[..], &["-o", "json"]].concat();
    let (through, at_hand) = both(&ark, &direct, &json);
    assert_eq!(through.json()["resources"], at_hand.json()["resources"]);

    what_it_costs(&ark, &api).await;
    as_files(&ark, &direct);
    the_users_own_settings(&ark);
    restores(&ark, &direct);
    what_cannot_be_read_is_told(&ark);
    // Who asked has taken everything away.
    assert_eq!(requests(&served).await, []);
    another_replica_gives_it_too(&mut served).await;
    served.stop();
}

/// Writes that one download takes: the request, its two statuses, its end.
async fn what_it_costs(ark: &Ark, api: &Api) {
    let before = written(api).await;
    ark.run(&["backup", "cat", "two", "-o", "json"]).done();
    let mut after = written(api).await;
    for (verb, count) in &mut after {
        *count -= before.get(verb).copied().unwrap_or(0);
    }
    let expected = [("DELETE", 1), ("PATCH", 2), ("POST", 1)];
    let expected = expected.map(|(verb, count)| (verb.to_owned(), count));
    assert_eq!(after, BTreeMap::from(expected));
}

/// How often the apiserver was asked to write a DownloadRequest, by verb.
async fn written(api: &Api) -> BTreeMap<String, u64> {
    let metrics = api.get_text("/metrics").await.unwrap();
    let mut counts = BTreeMap::new();
    for line in metrics.lines() {
        let label = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0)
        };
        if line.starts_with("apiserver_request_total{")
            && label("resource") == Some("downloadrequests")
            && let Some(verb @ ("POST" | "PUT" | "PATCH" | "APPLY" | "DELETE")) = label("verb")
        {
            let (_, count) = line.rsplit_once(' ').unwrap();
            *counts.entry(verb.to_owned()).or_insert(0) += count.parse::<u64>().unwrap();
        }
    }
    counts
}

fn as_files(ark: &Ark, direct: &Ark) {
    let line = ["backup", "download", "one", "--file"];
    let ran = ark.run(&[&line[..], &["served.tar.gz"]].concat()).done();
    let (count, _) = ran.stdout.split_once(" objects of one in ").unwrap();
    let at_hand = [&line[..], &["direct.tar.gz"]].concat();
    direct.run(&at_hand).done();
    let files = unpacked(&ark.home().join("served.tar.gz"));
    assert_eq!(files, unpacked(&ark.home().join("direct.tar.gz")));
    assert_eq!(files.len().to_string(), count);
    let keys = &files["resources/secrets/namespaces/app/keys.json"];
    let keys: Value = serde_json::from_slice(keys).unwrap();
    assert_eq!(
        (&keys["kind"], &keys["apiVersion"]),
        (&json!("Secret"), &json!("v1"))
    );
    assert!(
        files.contains_key("resources/namespaces/cluster/app.json"),
        "{:?}",
        files.keys()
    );
    // What is there stays, and what breaks leaves nothing.
    let ran = ark.run(&[&line[..], &["served.tar.gz"]].concat());
    ran.exits(1).says(&["cannot write served.tar.gz"]);
    ark.run(&["backup", "download", "one"]).done();
    assert!(ark.home().join("one-data.tar.gz").exists());
}

fn the_users_own_settings(ark: &Ark) {
    let config = |line: &[&str]| ark.run(&[&["client", "config"], line].concat());
    config(&["set", "namespace=elsewhere", "output=name"]).done();
    let shown = config(&["get"]).done().stdout;
    assert_eq!(
        shown,
        "namespace: elsewhere\nkubeconfig: <NOT SET>\nkubecontext: <NOT SET>\noutput: name\n"
    );
    let ran = ark.run(&["backup", "get"]).done();
    ran.says(&["namespace elsewhere", "no backups found"]);
    let ran = ark.run(&["backup", "get", "one", "-n", NAMESPACE]).done();
    assert_eq!(ran.stdout, "backup.ark.heptio.com/one\n");
    let named = ark.with("ARK_NAMESPACE", NAMESPACE);
    let ran = named.run(&["backup", "get", "one", "-o", "json"]).done();
    assert_eq!(ran.json()["kind"], "Backup");
    config(&["set", "colour=red"]).refuses(2, &["there is no setting \"colour\"", "namespace"]);
    let file = ark.home().join(".config/ark/config.json");
    std::fs::write(&file, "{\"colour\": 1}").unwrap();
    let ran = ark.run(&["backup", "get"]);
    ran.refuses(2, &["the settings in", "do not parse", "colour"]);
    ark.run(&["version"]).done();
    std::fs::remove_file(&file).unwrap();
    config(&["set", "output=json"]).done();
    config(&["unset", "output"]).done();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}\n");
}

fn restores(ark: &Ark, direct: &Ark) {
    let line = [
        "restore",
        "create",
        "back",
        "--from-backup",
        "two",
        "--wait",
    ];
    ark.run(&line).done();
    let log = same(ark, direct, &["restore", "logs", "back"]).done();
    assert!(!log.stdout.is_empty(), "{log}");
    let line = ["restore", "describe", "back", "--details"];
    let (through, at_hand) = both(ark, direct, &line);
    assert_eq!(described(&through), described(&at_hand));
    assert!(through.stdout.contains("UNCHANGED"), "{through}");
    let json = [&line[..], &["-o", "json"]].concat();
    let (through, at_hand) = both(ark, direct, &json);
    assert_eq!(through.json()["report"], at_hand.json()["report"]);
}

fn what_cannot_be_read_is_told(ark: &Ark) {
    let ran = ark.run(&["backup", "logs", "nothing"]);
    ran.refuses(1, &["there is no Backup \"nothing\""]);
    let line = [
        "backup",
        "create",
        "odd",
        "--include-resources",
        "gizmos",
        "--wait",
    ];
    ark.run(&line).exits(2);
    let ran = ark.run(&["backup", "logs", "odd"]).exits(1);
    ran.says(&["the backup odd is FailedValidation: nothing of it is in a repository"]);
    let ran = ark.run(&["restore", "logs", "nothing"]);
    ran.refuses(1, &["there is no Restore \"nothing\""]);
}

/// The Service leads to a replica that waits for the lease.
async fn another_replica_gives_it_too(served: &mut Served) {
    let place = place();
    let line = [
        "server",
        "--metrics-address",
        "127.0.0.1:0",
        "--download-address",
        &place,
    ];
    let other = served.ark.start(&line);
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    api.patch(&format!("{CORE}/endpoints/ark"), &endpoints(&place))
        .await
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(&place).is_err() {
        assert!(
            Instant::now() < deadline,
            "the second replica does not listen"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ran = served
        .ark
        .run(&["backup", "cat", "one", "secret", "app/keys"])
        .done();
    assert!(ran.stdout.contains("aHVudGVyMg=="), "{ran}");
    other.interrupt();
    let ran = other.wait().done();
    ran.clone().says(&["gave the BackupContents of one"]);
    assert!(!ran.stderr.contains("this replica works now"), "{ran}");
}

/// A request of one's own making, with this token.
async fn ask(served: &mut Served, name: &str, token: [u8; 32]) -> DownloadRequest {
    let spec = DownloadRequestSpec {
        target: DownloadTarget::new(DownloadKind::BackupLog, "one"),
        token_hash: blake3_of(&token),
    };
    let api = served.api::<DownloadRequest>();
    let request = DownloadRequest::new(name, spec);
    api.create(&PostParams::default(), &request).await.unwrap();
    served
        .until(name, "looked at", |request: &DownloadRequest| {
            let status = request.status.as_ref();
            status.is_some_and(|status| status.phase != DownloadPhase::New)
        })
        .await
}

fn blake3_of(token: &[u8]) -> String {
    ark::server::download::hash(token)
}

/// What the apiserver answers to a request with this token.
async fn get(served: &Served, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = http::Request::builder().uri(path);
    if let Some(token) = token {
        request = request.header(TOKEN, token);
    }
    let request = request.body(kube::client::Body::from(Vec::new())).unwrap();
    let answer = served.client.send(request).await.unwrap();
    let code = answer.status().as_u16();
    let body = answer.into_body().collect_bytes().await.unwrap();
    (code, String::from_utf8_lossy(&body).into_owned())
}

fn hex(token: [u8; 32]) -> String {
    token.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_once_for_what_it_was_made_and_not_for_long() {
    let place = place();
    let mut served = start(&place).await;
    fill(&served, "app", 1).await;
    expose(&served, &place).await;
    let line = [
        "backup",
        "create",
        "one",
        "--include-namespaces",
        "app",
        "--wait",
    ];
    served.ark.run(&line).done();
    let token = [7; 32];
    let request = ask(&mut served, "first", token).await;
    let status = request.status.clone().unwrap();
    assert_eq!(status.phase, DownloadPhase::Ready);
    let path = status.path.clone().unwrap();
    assert!(!json!(request).to_string().contains(&hex(token)));
    // Forged, of another request, malformed, none at all.
    ask(&mut served, "second", [8; 32]).await;
    let wrong = [
        Some(hex([9; 32])),
        Some(hex([8; 32])),
        Some("7".to_owned()),
        None,
    ];
    for wrong in wrong {
        let (code, body) = get(&served, &path, wrong.as_deref()).await;
        assert_eq!(code, 403, "{body}");
        assert!(body.contains("make a new DownloadRequest"), "{body}");
    }
    for path in [
        path.replace("first", "third"),
        path.replace("first", "..%2f..%2fsecrets"),
    ] {
        let (code, body) = get(&served, &path, Some(&hex(token))).await;
        assert!(matches!(code, 403 | 404), "{code} {body}");
    }
    // None of that has used it up. Of several at once one gets it.
    let good = hex(token);
    let tries = (0..4).map(|_| get(&served, &path, Some(&good)));
    let answers = futures::future::join_all(tries).await;
    let given: Vec<&(u16, String)> = answers.iter().filter(|(code, _)| *code == 200).collect();
    assert_eq!(given.len(), 1, "{answers:?}");
    assert!(given[0].1.contains("\"ark\":1"), "{answers:?}");
    let (code, _) = get(&served, &path, Some(&good)).await;
    assert_eq!(code, 403, "it was used");
    let api = served.api::<DownloadRequest>();
    let taken = api.get("first").await.unwrap().status.unwrap();
    assert_eq!((taken.phase, taken.path), (DownloadPhase::Taken, None));

    // Late.
    let status = DownloadRequestStatus {
        expiration: Some(Time("2026-01-01T00:00:00Z".parse().unwrap())),
        ..DownloadRequestStatus {
            phase: DownloadPhase::Ready,
            ..DownloadRequestStatus::default()
        }
    };
    let late = Patch::Merge(json!({ "status": status }));
    api.patch_status("second", &PatchParams::default(), &late)
        .await
        .unwrap();
    let path = path.replace("first", "second");
    let (code, _) = get(&served, &path, Some(&hex([8; 32]))).await;
    assert_eq!(code, 403, "its time is over");
    // Gone.
    api.delete("second", &DeleteParams::default())
        .await
        .unwrap();
    let (code, _) = get(&served, &path, Some(&hex([8; 32]))).await;
    assert_eq!(code, 403);
    fields_that_mean_nothing_are_refused(&mut served).await;
    who_may_not_reads_nothing(&mut served).await;

    served.kill_and_read(|said| {
        assert!(said.contains("a token was refused"), "{said}");
        for token in [hex([7; 32]), hex([8; 32]), hex([9; 32])] {
            assert!(!said.contains(&token), "a token is in the log");
        }
    });
}

async fn fields_that_mean_nothing_are_refused(served: &mut Served) {
    let api = served.api::<DownloadRequest>();
    let spec = DownloadRequestSpec {
        target: DownloadTarget {
            resource: Some("pods".to_owned()),
            ..DownloadTarget::new(DownloadKind::BackupLog, "one")
        },
        token_hash: blake3_of(&[1; 32]),
    };
    let request = DownloadRequest::new("odd", spec.clone());
    api.create(&PostParams::default(), &request).await.unwrap();
    let refused = served
        .until("odd", "refused", |request: &DownloadRequest| {
            let status = request.status.as_ref();
            status.is_some_and(|status| status.phase == DownloadPhase::Refused)
        })
        .await;
    let why = refused.status.unwrap().message.unwrap();
    assert!(
        why.contains("resource means nothing for BackupLog"),
        "{why}"
    );
    // No hash, no request; and what is asked for stays what it is.
    let mut bad = DownloadRequest::new("bad", spec);
    bad.spec.token_hash = "7".repeat(63);
    let error = api.create(&PostParams::default(), &bad).await.unwrap_err();
    assert!(error.to_string().contains("spec.tokenHash"), "{error}");
    let other = Patch::Merge(json!({ "spec": { "tokenHash": "7".repeat(64) } }));
    let error = api
        .patch("odd", &PatchParams::default(), &other)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot be changed"), "{error}");
}

/// Users whose roles lack one thing each.
async fn who_may_not_reads_nothing(served: &mut Served) {
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    let look = json!({ "apiGroups": ["ark.heptio.com"], "resources": ["backups", "restores"], "verbs": ["get", "list"] });
    let ask = json!({ "apiGroups": ["ark.heptio.com"], "resources": ["downloadrequests"], "verbs": ["create", "get", "delete"] });
    let fetch = json!({ "apiGroups": [""], "resources": ["services/proxy"], "resourceNames": ["https:ark:downloads"], "verbs": ["get"] });
    for (name, rules, code, words) in [
        (
            "looker",
            json!([look]),
            6,
            &["cannot create a DownloadRequest", "forbidden"][..],
        ),
        (
            "asker",
            json!([look, ask]),
            6,
            &[
                "services/proxy",
                "hint: ask for a role with `get` on services/proxy of https:ark:downloads",
            ],
        ),
        (
            "reader",
            json!([look, ask, fetch]),
            0,
            &["through the server"],
        ),
    ] {
        let ark = user(served, &api, name, rules).await;
        let ran = ark.run(&["backup", "logs", "one"]).exits(code);
        ran.clone().says(words);
        assert_eq!(ran.stdout.is_empty(), code != 0, "{ran}");
    }
    // Nothing of it is left to be taken.
    let left = requests(served).await;
    let mut names: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
    names.sort();
    assert_eq!(names, ["first", "odd"]);
}

/// `ark` of a user with this Role in ark's namespace.
async fn user(served: &Served, api: &Api, name: &str, rules: Value) -> Ark {
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/heptio-ark";
    let named = json!({ "name": name });
    let account = json!({ "metadata": named });
    api.post(&format!("{CORE}/serviceaccounts"), &account)
        .await
        .unwrap();
    let role = json!({ "metadata": named, "rules": rules });
    api.post(&format!("{rbac}/roles"), &role).await.unwrap();
    let binding = json!({
        "metadata": named,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": NAMESPACE }],
    });
    api.post(&format!("{rbac}/rolebindings"), &binding)
        .await
        .unwrap();
    let kubeconfig = served.kubeconfig_of(&served.token_of(name).await);
    let copy = kubeconfig.with_file_name(format!("kubeconfig-{name}"));
    std::fs::rename(&kubeconfig, &copy).unwrap();
    served.ark.with("KUBECONFIG", copy)
}
