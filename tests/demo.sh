#!/usr/bin/env bash
# The demo: builds ark, and the servers of a throwaway control plane the first time; then backs up, breaks, restores and prunes.
# DEMO_KUBECONFIG=FILE uses that cluster instead, after a question that DEMO_CONFIRM=yes answers.
set -euo pipefail
[ -z "${DEMO_KUBECONFIG:-}" ] || DEMO_KUBECONFIG=$(realpath -- "$DEMO_KUBECONFIG")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ark-target}
servers=
# In a process group of their own, so that Ctrl-C here ends the compilers too.
trap '[ -z "$servers" ] || kill -- "-$servers" 2>/dev/null || true' EXIT
if [ -z "${DEMO_KUBECONFIG:-}" ]; then
  # Both at once: while one downloads, the other compiles.
  set -m
  tests/cluster/build.sh kubernetes etcd-kwok </dev/null &
  servers=$!
  set +m
fi
# Without optimisation it is built soonest, by far, and the demo itself takes a few seconds more.
cargo build --locked --bin ark --example demo
if [ -n "$servers" ]; then wait "$servers"; servers=; fi
exec "$CARGO_TARGET_DIR/debug/examples/demo" "$CARGO_TARGET_DIR/debug/ark"
