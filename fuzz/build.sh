#!/usr/bin/env bash
# Builds libFuzzer's programs into target/debug/fuzz-*. Crates of others are those that all tests use: features are chosen as for the
# whole workspace, and only what `profile.toml` names is built in another way.
set -euo pipefail
cd "$(dirname "$0")/.."

bins=()
for target in fuzz/targets/*.rs; do
    target=${target##*/}
    bins+=(--bin "fuzz-${target%.rs}")
done
# The compiler has no switch for a crate alone, so instrumented ones have names of their own: the wrapper is part of them.
RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/instrument.sh \
    cargo build --config fuzz/profile.toml --locked -j "${JOBS:-2}" --workspace --features takt-fuzz/engine "${bins[@]}"
