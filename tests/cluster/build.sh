#!/usr/bin/env bash
# Builds the real servers that the tests run against from their public Go modules, once, into a cache folder.
#   build.sh [FOLDER OF tools/]...   (default: kubernetes etcd-kwok minio)
# Needs Go. About ten minutes on two cores the first time, downloads included; nothing at all afterwards: a stamp named
# after the contents of go.mod and go.sum says that a tool is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${ARK_TEST_BIN:-${XDG_CACHE_HOME:-$HOME/.cache}/ark-test/bin}
mkdir -p "$out"
# One build at a time: two checkouts may share the cache.
exec 9>"$out/.lock"
flock 9
[ $# -gt 0 ] || set -- kubernetes etcd-kwok minio
for tool in "$@"; do
  modules="$here/tools/$tool"
  stamp="$out/.$tool-$(cat "$modules/go.mod" "$modules/go.sum" | sha256sum | cut -c1-16)"
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
  (cd "$modules" && go build -mod=mod -trimpath -ldflags "$ld" -o "$out/" tool)
  # `go build tool` names etcd's program after its folder.
  [ "$tool" = etcd-kwok ] && mv "$out/server" "$out/etcd"
  touch "$stamp"
  echo "built $tool in $((SECONDS - began)) s" >&2
done
