#!/usr/bin/env bash
# Builds the latch as one static binary, so that it runs in any image, and prints its path.
# The target is named, although it is the host's, to keep it apart from the workspace's dynamic builds.
set -euo pipefail

readonly ROOT=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
readonly CARGO=${CARGO:-cargo}
target=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-$ROOT/target}
"$CARGO" rustc --manifest-path "$ROOT/Cargo.toml" --quiet --release --package takt-latch --bin takt-latch \
    --target "$target" --target-dir "$folder" -- -C target-feature=+crt-static -C opt-level=s >&2
printf '%s\n' "$(readlink -f "$folder")/$target/release/takt-latch"
