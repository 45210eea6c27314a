//! The kit against the real servers it starts.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::process::Command;
use std::time::{Duration, Instant};

use ark_testkit::{
    Api, Churn, ControlPlane, Dataset, DatasetSpec, Image, Minio, MinioOptions, Node, churn, dump,
    floor, load, post_floor,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_data_set_loads_changes_and_moves_to_another_cluster() {
    let (cluster, other) = tokio::join!(ControlPlane::start_quiet(), ControlPlane::start_quiet());
    let (cluster, other) = (cluster.unwrap(), other.unwrap());
    let api = Api::connect(&cluster.kubeconfig()).await.unwrap();
    let data = Dataset::new(&DatasetSpec {
        objects: 600,
        ..DatasetSpec::default()
    });
    let report = load(&api, &data).await.unwrap();
    assert_eq!((report.created, report.existed), (600, 0));
    let again = load(&api, &data).await.unwrap();
    assert_eq!((again.created, again.existed), (0, 600));

    // A quiet cluster holds nothing that moves by itself.
    assert!(
        api.list(
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
            ""
        )
        .await
        .unwrap()
        .is_empty()
    );

    let read = floor(&api, &[]).await.unwrap();
    assert!(read.objects > 600, "{read:?}");
    let edit = Churn {
        prefix: data.prefix().to_owned(),
        percent: 1.0,
        seed: 1,
        delete: false,
    };
    let changed = churn(&api, &edit).await.unwrap();
    assert_eq!(
        (changed.objects, changed.touched, changed.changed.len()),
        (600, 6, 6)
    );
    let deleted = churn(
        &api,
        &Churn {
            delete: true,
            ..edit
        },
    )
    .await
    .unwrap();
    assert_eq!((deleted.objects, deleted.touched), (600, 6));
    assert_eq!(floor(&api, &[]).await.unwrap().objects, read.objects - 6);

    let mut lines = Vec::new();
    assert_eq!(dump(&api, &[], &mut lines).await.unwrap(), read.objects - 6);
    let posted = post_floor(
        &Api::connect(&other.kubeconfig()).await.unwrap(),
        &String::from_utf8(lines).unwrap(),
    )
    .await
    .unwrap();
    assert!(posted.created >= 594 && posted.refused == 0, "{posted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_see_what_they_may_and_nothing_is_left_behind() {
    let mut cluster = ControlPlane::start().await.unwrap();
    let folder = cluster.folder().to_owned();
    let limited = Api::connect(&cluster.limited_kubeconfig().await.unwrap())
        .await
        .unwrap();
    limited.get("/api/v1/configmaps").await.unwrap();
    limited.get("/apis/apps/v1/deployments").await.unwrap();
    assert_eq!(
        limited.get("/api/v1/secrets").await.unwrap_err().code(),
        Some(403)
    );
    let expired = Api::connect(&cluster.expired_kubeconfig().unwrap())
        .await
        .unwrap();
    assert_eq!(
        expired.get("/api/v1/configmaps").await.unwrap_err().code(),
        Some(401)
    );
    let unreachable = Api::connect(&cluster.unreachable_kubeconfig().unwrap())
        .await
        .unwrap();
    assert_eq!(unreachable.get("/version").await.unwrap_err().code(), None);

    let pid = std::fs::read_to_string(folder.join("kube-controller-manager.pid")).unwrap();
    cluster.stop_controllers();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    cluster.start_controllers().unwrap();
    cluster.stop();
    assert!(!folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_keeps_what_it_is_given() {
    let sum = "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9";
    let sum = format!("x-amz-content-sha256: {sum}");
    for tls in [false, true] {
        let minio = Minio::start_with(MinioOptions {
            tls,
            ..MinioOptions::default()
        })
        .await
        .unwrap();
        minio.create_bucket("backups").unwrap();
        let url = format!("{}/backups/object", minio.endpoint());
        let curl = |arguments: &[&str]| {
            let mut command = Command::new("curl");
            command.args([
                "-sS",
                "-w",
                "%{http_code}",
                "--aws-sigv4",
                "aws:amz:us-east-1:s3",
            ]);
            command.args([
                "--user",
                &format!("{}:{}", minio.access_key(), minio.secret_key()),
            ]);
            if let Some(authority) = minio.ca_file() {
                command.arg("--cacert").arg(authority);
            }
            let output = command.args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let put = [
            "-X",
            "PUT",
            "--data-binary",
            "bytes",
            "-H",
            "Content-Type: text/plain",
            "-H",
            &sum,
        ];
        let once = ["-H", "If-None-Match: *", &url];
        assert_eq!(curl(&[&put[..], &once[..]].concat()), "200");
        assert!(curl(&[&put[..], &once[..]].concat()).ends_with("412"));
        assert_eq!(curl(&[&url]), "bytes200");
    }
}

/// Pods run on a node, with an image of ours; nothing of it is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_pods_and_goes_without_a_trace() {
    let cluster = ControlPlane::start().await.unwrap();
    let image = Image::busybox("localhost/kit:dev", &["sleep", "600"]).unwrap();
    let node = Node::beside(&cluster, vec![image]).await.unwrap();
    let api = Api::connect(&cluster.kubeconfig()).await.unwrap();
    let pods = "/api/v1/namespaces/default/pods";
    let pod = serde_json::json!({ "metadata": { "name": "one" }, "spec": { "containers": [
        { "name": "c", "image": "localhost/kit:dev", "imagePullPolicy": "Never", "volumeMounts": [{ "name": "v", "mountPath": "/data" }] }],
        "volumes": [{ "name": "v", "emptyDir": {} }] } });
    // The controller-manager makes the account that pods run as.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = api.post(pods, &pod).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    loop {
        let pod = api.get(&format!("{pods}/one")).await.unwrap();
        if pod["status"]["containerStatuses"][0]["ready"] == true {
            break;
        }
        assert!(Instant::now() < deadline, "{pod:#}\n{}", node.log_tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ours = cluster.folder().display().to_string();
    let traces = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let processes = Command::new("ps").args(["-eo", "args"]).output().unwrap();
        let processes = String::from_utf8(processes.stdout).unwrap();
        let of = |text: &str| text.lines().filter(|line| line.contains(&ours)).count();
        (of(&mounts), of(&processes))
    };
    assert!(traces().1 > 2, "shim, runtime and kubelet name the folder");
    drop(node);
    // What is left names the folder too: the control plane and its kubeconfig.
    let left = traces();
    assert_eq!(left.0, 0);
    drop(cluster);
    assert_eq!(traces(), (0, 0));
}
