#!/usr/bin/env bash
# Builds the real servers that the tests run against, helm and promtool, from their public Go modules, once, into a cache folder;
# Azurite comes as the npm packages that its lock file names.
#   build.sh [FOLDER OF tools/]...   (default: kubernetes etcd-kwok minio fake-gcs azurite containerd helm promtool)
# Needs Go, and npm with Node 20 or newer. About eighteen minutes on two cores the first time, downloads included; nothing at all
# afterwards: a stamp named after the contents of the files that pin versions says that a tool is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${ARK_TEST_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/ark-test/bin}
mkdir -p "$out"
# One build at a time: two checkouts may share the cache.
exec 9>"$out/.lock"
flock 9
pins() {
  local file
  for file in go.mod go.sum package.json package-lock.json; do
    [ ! -e "$1/$file" ] || cat "$1/$file"
  done
}
[ $# -gt 0 ] || set -- kubernetes etcd-kwok minio fake-gcs azurite containerd helm promtool
for tool in "$@"; do
  modules="$here/tools/$tool"
  stamp="$out/.$tool-$(pins "$modules" | sha256sum | cut -c1-16)"
  [ -e "$stamp" ] && continue
  ld="-s -w"
  if [ "$tool" = kubernetes ]; then
    # kube-apiserver reports v0.0.0-master unless its version is stamped, and clients then misjudge the skew.
    v=$(sed -n 's/^.*k8s.io\/kubernetes v\([0-9.]*\).*$/\1/p' "$modules/go.mod" | head -1)
    stamped=k8s.io/component-base/version
    ld="$ld -X $stamped.gitVersion=v$v -X $stamped.gitMajor=${v%%.*} -X $stamped.gitMinor=$(echo "$v" | cut -d. -f2)"
  fi
  echo "building $tool (first time only; takes minutes)" >&2
  began=$SECONDS
  if [ -e "$modules/package-lock.json" ]; then
    mkdir -p "$out/$tool"
    cp "$modules/package.json" "$modules/package-lock.json" "$out/$tool/"
    # No scripts and nothing optional: it runs from plain files.
    (cd "$out/$tool" && npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    touch "$stamp"
    echo "installed $tool in $((SECONDS - began)) s" >&2
    continue
  fi
  flags=()
  # Its snapshotter for btrfs needs C headers, and no test needs it.
  [ "$tool" = containerd ] && flags=(-tags no_btrfs)
  # Rules are checked without the clients of every cloud.
  [ "$tool" = promtool ] && flags=(-tags remove_all_sd)
  (cd "$modules" && go build -mod=mod -trimpath "${flags[@]}" -ldflags "$ld" -o "$out/" tool)
  # `go build tool` names etcd's program after its folder.
  [ "$tool" = etcd-kwok ] && mv "$out/server" "$out/etcd"
  touch "$stamp"
  echo "built $tool in $((SECONDS - began)) s" >&2
done
