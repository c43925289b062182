#!/usr/bin/env bash
# Builds the demo's workload as one static binary, so that an image needs nothing beside it, and prints its path.
# The target is named, although it is the host's, to keep it apart from the workspace's dynamic builds.
set -euo pipefail

readonly ROOT=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
readonly CARGO=${CARGO:-cargo}
target=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-$ROOT/target}
"$CARGO" rustc --manifest-path "$ROOT/Cargo.toml" --quiet --release --package takt-workload --bin takt-demo-counter \
    --target "$target" --target-dir "$folder" -- -C target-feature=+crt-static >&2
printf '%s\n' "$(readlink -f "$folder")/$target/release/takt-demo-counter"
