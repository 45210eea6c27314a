#!/usr/bin/env bash
# Starts a real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager.
#   up.sh DIR [--quiet]     then: export KUBECONFIG=DIR/kubeconfig      stop: down.sh DIR
# --quiet leaves the controller-manager out, so that nothing in the cluster moves by itself.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$here/build.sh" kubernetes etcd-kwok
exec cargo run --quiet --manifest-path "$here/../../Cargo.toml" --package ark-testkit -- up --background "$@"
