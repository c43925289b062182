#!/bin/sh
# Runs a script of Python with peers of ours that tests are compared with, in pinned versions.
#
#   tests/env/python.sh SCRIPT [ARGUMENT...]     beside SCRIPT.py lies SCRIPT.requirements.txt
#
# The first run makes a virtual environment in ${TAKT_CACHE:-$HOME/.cache/takt}; later runs use it as it is.
set -eu

script=$1
shift
name=$(basename "$script" .py)
wanted="${script%.py}.requirements.txt"
cache=${TAKT_CACHE:-$HOME/.cache/takt}
place="$cache/$name"

fail() {
    echo "$name could not run: $1" >&2
    exit 3
}

command -v python3 >/dev/null || fail "there is no python3 (Debian: apt-get install python3 python3-venv)"
mkdir -p "$cache"

# Two test runs at once must not build the same folder.
exec 9>"$cache/$name.lock"
flock 9
if ! cmp -s "$wanted" "$place/installed.txt"; then
    rm -rf "$place"
    python3 -m venv "$place" >&2 || fail "python3 -m venv failed (Debian: apt-get install python3-venv)"
    "$place/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" >&2 ||
        fail "pip could not install what $wanted asks for"
    cp "$wanted" "$place/installed.txt"
fi
flock -u 9

exec "$place/bin/python" "$script" "$@"
