#!/usr/bin/env bash
# Runs every fuzz target for some seconds: no input may make a decoder panic, hang, or take memory out of proportion.
#   fuzz.sh [SECONDS A TARGET]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
seconds=${1:-20}
# Instrumentation needs unstable flags: a nightly compiler, or a stable one told to accept them.
if ! rustc --version | grep -q nightly; then export RUSTC_BOOTSTRAP=1; fi
# A target folder of its own: the flags differ, and the two would rebuild each other's crates.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ark-target}/fuzz
targets=$(cargo fuzz list)
[ -n "$targets" ] || { echo "no fuzz targets in $PWD" >&2; exit 1; }
cargo fuzz build
for target in $targets; do
  echo "fuzz: $target, $seconds s"
  corpus=corpus/$target
  mkdir -p "$corpus"
  seeds=(); [ -d "seeds/$target" ] && seeds=("seeds/$target")
  log=$(mktemp)
  if ! cargo fuzz run "$target" "$corpus" "${seeds[@]}" -- -max_total_time="$seconds" -max_len=65536 -timeout=10 \
    -rss_limit_mb=2048 -malloc_limit_mb=256 -print_final_stats=1 >"$log" 2>&1; then
    tail -60 "$log"
    echo "fuzz: $target failed; the input is in fuzz/artifacts/$target" >&2
    exit 1
  fi
  grep -E "stat::(number_of_executed_units|peak_rss_mb)" "$log" || true
  rm -f "$log"
done
