#!/usr/bin/env bash
# Installs a cargo subcommand of one version into the cache, when it is not there, and prints its path.
#
#   packaging/tool.sh NAME VERSION [OPTION OF cargo install]...
#
# From source: the binaries of both tools on PyPI are older than the manifests of this workspace and cannot read them.
set -euo pipefail

name=${1:?usage: tool.sh NAME VERSION [OPTION]...}
version=${2:?usage: tool.sh NAME VERSION [OPTION]...}
shift 2
cache=${TAKT_CACHE:-$HOME/.cache/takt}/$name-$version
tool=$cache/bin/$name

if [ ! -x "$tool" ]; then
    echo "installing $name $version into $cache" >&2
    # It runs for seconds, so it is built fast and not to be fast; but for its compressors, which are in C.
    export CFLAGS=-O2
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
    export CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_PANIC=abort
    cargo install --locked --quiet --root "$cache" --version "$version" "$@" "$name" >&2
fi
printf '%s\n' "$tool"
