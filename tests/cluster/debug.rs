//! `ark debug`: what helps is in the bundle, and nothing secret, wherever it was planted.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use ark::api::BackupStorageLocation;
use ark_testkit::{Api, BUSYBOX, Node};
use serde_json::{Value, json};

use crate::operations::fill;
use crate::served::Served;

const CORE: &str = "/api/v1/namespaces/heptio-ark";
const PATIENCE: Duration = Duration::from_secs(120);

/// The files of a tar.gz by name.
pub fn unpacked(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let gz = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(gz).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(found.insert(name.clone(), bytes).is_none(), "{name} twice");
    }
    found
}

/// A pod that is called a server: it has died once, and it says, has and serves secrets.
fn pod() -> Value {
    let life = r#"
        if [ ! -e /kept/died ]; then
            touch /kept/died
            echo "first life; password=planted1"
            exit 1
        fi
        echo "second life"
        echo "GET https://joe:planted2@minio/bucket"
        echo "Authorization: Bearer planted3planted3"
        echo '{"level":"INFO","token":"planted4"}'
        mkdir -p /kept/www
        echo 'ark_leader{url="http://joe:planted5@x"} 1' > /kept/www/metrics
        exec httpd -f -p 8085 -h /kept/www
    "#;
    json!({
        "metadata": {
            "name": "ark-0",
            "labels": { "component": "ark" },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{\"x\":\"planted6\"}" },
        },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "ark", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", life],
                "env": [{ "name": "ANYTHING", "value": "planted7" }, { "name": "AWS_REGION", "value": "eu-north-1" }],
                "ports": [{ "name": "metrics", "containerPort": 8085 }],
                "readinessProbe": { "httpGet": { "path": "/metrics", "port": 8085 }, "periodSeconds": 1 },
                "volumeMounts": [{ "name": "kept", "mountPath": "/kept" }],
            }],
            "volumes": [{ "name": "kept", "emptyDir": {} }],
        },
    })
}

async fn ready(api: &Api, node: &Node) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pod = api.get(&format!("{CORE}/pods/ark-0")).await.unwrap();
        let status = &pod["status"]["containerStatuses"][0];
        if status["ready"] == true && status["restartCount"].as_u64() > Some(0) {
            return;
        }
        assert!(Instant::now() < deadline, "{pod:#}\n{}", node.log_tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_has_what_helps_and_no_secret() {
    let mut served = Served::start(&[]).await;
    let location = |location: &BackupStorageLocation| location.status.is_some();
    served.until("default", "checked", location).await;
    fill(&served, "app", 1).await;
    let node = Node::beside(&served.plane, Vec::new()).await.unwrap();
    let api = Api::connect(&served.plane.kubeconfig()).await.unwrap();
    api.post(&format!("{CORE}/pods"), &pod()).await.unwrap();
    let secret = json!({
        "metadata": { "name": "cloud-credentials", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"stringData\":{\"cloud\":\"planted8\"}}",
        }},
        "stringData": { "cloud": "planted9" },
    });
    api.post(&format!("{CORE}/secrets"), &secret).await.unwrap();
    let event = json!({
        "metadata": { "name": "odd" }, "reason": "Odd", "message": "refused: token=planted10",
        "involvedObject": { "kind": "Pod", "namespace": "heptio-ark", "name": "ark-0" },
    });
    api.post(&format!("{CORE}/events"), &event).await.unwrap();
    let hook = json!({ "exec": { "command": ["mysqldump", "-pplanted11"] } });
    let spec = json!({
        "includedNamespaces": ["app"],
        "hooks": { "resources": [{ "name": "db", "pre": [hook] }] },
    });
    served.backup("one", spec).await;
    served.finished_backup("one").await;
    ready(&api, &node).await;

    let ark = served.ark.clone();
    let line = ["debug", "--file", "bundle.tar.gz", "--backup", "one"];
    let ran = ark.run(&line).done();
    assert_eq!(ran.stdout, "bundle.tar.gz\n");
    // Nothing leads to the server, so its log of the backup cannot be had.
    ran.says(&["1 things could not be had; errors.txt in it says which and why"]);
    let path = ark.home().join("bundle.tar.gz");
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let files = unpacked(&path);
    // The same text, in base64 as Secrets have it, three ways.
    let forms = ["planted", "cGxhbnRlZ", "BsYW50ZW", "wbGFudGVk"];
    for (name, bytes) in &files {
        let text = String::from_utf8_lossy(bytes);
        for form in forms {
            assert!(!text.contains(form), "{name} has a secret: {text}");
        }
    }
    let text = |end: &str| {
        let found = files.iter().find(|(name, _)| name.ends_with(end));
        let (_, bytes) = found.unwrap_or_else(|| panic!("{end}: {:?}", files.keys()));
        String::from_utf8_lossy(bytes).into_owned()
    };
    for (file, expected) in [
        ("/versions.json", "\"server\": \"0.1.0\""),
        ("/versions.json", "\"gitVersion\""),
        // The name of a hook stays, its command does not.
        ("/objects/backups.json", "\"db\""),
        ("/objects/backups.json", "\"Completed\""),
        ("/objects/backupstoragelocations.json", "RecoveryMissing"),
        ("/objects/backuprepositories.json", "\"repositoryId\""),
        ("/objects/downloadrequests.json", "\"items\""),
        ("/objects/secrets.json", "cloud-credentials"),
        ("/objects/events.json", "refused: token=<removed>"),
        ("/objects/leases.json", "holderIdentity"),
        ("/pods/ark-0/ark.log", "second life"),
        ("/pods/ark-0/ark.log", "https://<removed>@minio/bucket"),
        ("/pods/ark-0/ark.previous.log", "first life"),
        ("/pods/ark-0/metrics.txt", "ark_leader"),
        ("/pods/ark-0/pod.json", "eu-north-1"),
        ("/pods/ark-0/pod.json", "\"restartCount\": 1"),
        ("/errors.txt", "backups/one.log: "),
    ] {
        assert!(text(file).contains(expected), "{file}: {}", text(file));
    }
    let ran = ark.run(&line);
    ran.exits(1).says(&["cannot write bundle.tar.gz"]);
    let ran = served.direct().await.run(&["debug"]);
    ran.refuses(2, &["debug needs ark's server"]);
    served.stop();
}
