#!/usr/bin/env bash
# Stops what up.sh DIR (or `ark-testkit minio DIR`) started, and removes DIR.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
exec cargo run --quiet --manifest-path "$here/../../Cargo.toml" --package ark-testkit -- down "$@"
