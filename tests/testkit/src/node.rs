//! A real node beside a control plane: scheduler, kubelet, containerd and runc. Pods run on it, and are reached by exec.
//!
//! It needs root, and Debian's runc, containernetworking-plugins, iptables and busybox-static. The runtime lives in process and mount
//! namespaces of its own: when its first process ends, containers, shims and mounts are gone with it, whatever became of the test. Pods
//! are in a network of their own, which reaches nothing of this machine's loopback; a pod that has to needs the host's network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::api::Api;
use crate::control_plane::ControlPlane;
use crate::image::Image;
use crate::process::Server;
use crate::{binaries, ports};

const READY_WITHIN: Duration = Duration::from_secs(120);
/// How the kubelet is called: the apiserver reaches it by this name.
const NAME: &str = "localhost";
/// The image of busybox that every node has.
pub const BUSYBOX: &str = "localhost/busybox:dev";
const PAUSE: &str = "localhost/pause:dev";

/// A running node. Dropping it ends its processes, pods included.
#[derive(Debug)]
pub struct Node {
    // The runtime first: what runs in it ends before the scheduler does.
    runtime: Server,
    scheduler: Server,
    folder: PathBuf,
    bridge: String,
}

impl Node {
    /// Starts a node with these images, besides busybox, and waits until pods can run on it.
    pub async fn beside(plane: &ControlPlane, images: Vec<Image>) -> anyhow::Result<Node> {
        let folder = plane.folder().join("node");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let port = ports::free()?;
        let bridge = format!("ark{port}");
        let names = write(&folder, plane, port, &bridge, images)?;
        let mut scheduler = Command::new(binaries::path("kube-scheduler")?);
        scheduler
            .arg(format!("--kubeconfig={}", plane.kubeconfig().display()))
            .args(["--leader-elect=false", "--secure-port=0"]);
        let scheduler = Server::start(&folder, "kube-scheduler", scheduler, false)?;
        let mut runtime = Command::new("unshare");
        runtime
            .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
            .args(["sh", "-eu", "node.sh"])
            .args(names)
            .env("BIN", binaries::folder()?)
            .env("KUBECONFIG_FILE", plane.kubeconfig());
        let runtime = Server::start(&folder, "node", runtime, false)?;
        let mut node = Node {
            runtime,
            scheduler,
            folder,
            bridge,
        };
        node.wait_ready(plane).await?;
        Ok(node)
    }

    async fn wait_ready(&mut self, plane: &ControlPlane) -> anyhow::Result<()> {
        let api = Api::connect(&plane.kubeconfig()).await?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            self.runtime.check()?;
            self.scheduler.check()?;
            let path = format!("/api/v1/nodes/{NAME}");
            let node = api.get(&path).await.unwrap_or_default();
            let conditions = node["status"]["conditions"].as_array();
            let ready = conditions
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            // A new node carries a taint until the controller-manager has seen that it is ready.
            if ready && node["spec"]["taints"].is_null() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the node is not ready after {READY_WITHIN:?}:\n{}",
                    self.runtime.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What kubelet and containerd have logged last.
    pub fn log_tail(&self) -> String {
        self.runtime.log_tail()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What outlives the namespaces: a network device, and empty control groups. Both only take room, so that a failure is nobody's trouble.
        let tasks = self
            .folder
            .join("state/io.containerd.runtime.v2.task/k8s.io");
        let containers: Vec<String> = fs::read_dir(tasks)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        self.runtime.kill();
        let _ = Command::new("/bin/busybox")
            .args(["ip", "link", "delete", &self.bridge])
            .output();
        remove_groups(Path::new("/sys/fs/cgroup"), &containers, 4);
    }
}

fn remove_groups(folder: &Path, names: &[String], depth: usize) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if names.contains(&name) {
            let _ = fs::remove_dir(entry.path());
        } else if depth > 0 {
            remove_groups(&entry.path(), names, depth - 1);
        }
    }
}

/// Writes what the node is made of. Returns the archives to import.
fn write(
    folder: &Path,
    plane: &ControlPlane,
    port: u16,
    bridge: &str,
    images: Vec<Image>,
) -> anyhow::Result<Vec<String>> {
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    fs::create_dir_all(folder.join("cni")).context("creating the folder for networks")?;
    let mut all = vec![
        Image::busybox(PAUSE, &["sleep", "2147483647"])?,
        Image::busybox(BUSYBOX, &["sh"])?,
    ];
    all.extend(images);
    let mut archives = Vec::new();
    for (number, image) in all.into_iter().enumerate() {
        let archive = format!("image-{number}.tar");
        image.write(&folder.join(&archive))?;
        archives.push(archive);
    }
    let at = folder.display();
    put("cni/10-bridge.conflist", network(bridge, port))?;
    // restrict_oom_score_adj: root in a container has no CAP_SYS_RESOURCE, without which no pod's sandbox starts.
    put(
        "containerd.toml",
        format!(
            r#"version = 3
root = "{at}/root"
state = "{at}/state"
[grpc]
  address = "{at}/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{at}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"#
        ),
    )?;
    put(
        "kubelet.yaml",
        format!(
            r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: {port}
readOnlyPort: 0
healthzPort: 0
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
containerRuntimeEndpoint: unix://{at}/containerd.sock
podLogsDir: {at}/pods
volumePluginDir: {at}/plugins
resolvConf: ""
evictionHard: {{"nodefs.available": "1%", "imagefs.available": "1%"}}
nodeStatusUpdateFrequency: 2s
syncFrequency: 2s
"#
        ),
    )?;
    put("node.sh", script(plane))?;
    Ok(archives)
}

fn network(bridge: &str, port: u16) -> String {
    // Two nodes on one machine have networks of their own.
    let (high, low) = (64 + port % 64, port / 64 % 256);
    format!(
        r#"{{"cniVersion":"1.0.0","name":"{bridge}","plugins":[{{"type":"bridge","bridge":"{bridge}","isGateway":true,"ipMasq":false,
"ipam":{{"type":"host-local","ranges":[[{{"subnet":"10.{high}.{low}.0/24"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}},{{"type":"loopback"}}]}}"#
    )
}

/// The first process of the namespaces. What runtimes keep outside their folders is kept in memory here, and goes with it.
fn script(plane: &ControlPlane) -> String {
    let folder = plane.folder().display().to_string();
    format!(
        r#"# Written by ark-testkit for {folder}
export PATH="$BIN:/usr/sbin:/sbin:$PATH"
for d in /run/netns /run/containerd /var/lib/cni /var/log/containers; do
  mkdir -p "$d"
  mount -t tmpfs tmpfs "$d"
done
containerd -c containerd.toml &
tries=0
until ctr -a "$PWD/containerd.sock" -n k8s.io images ls >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || {{ echo "containerd did not come up"; exit 1; }}
  sleep 0.1
done
for archive in "$@"; do
  ctr -a "$PWD/containerd.sock" -n k8s.io images import "$archive"
  rm "$archive"
done
exec kubelet --kubeconfig="$KUBECONFIG_FILE" --config=kubelet.yaml --hostname-override={NAME} --root-dir="$PWD/kubelet" --cert-dir="$PWD/pki"
"#
    )
}
