#!/usr/bin/env bash
# Runs a command with one private Docker engine, whose socket it finds in TAKT_TEST_DOCKER_SOCK, the demo's
# workload, whose binary it finds in TAKT_DEMO_COUNTER, and the agent's latch, whose program it finds in TAKT_LATCH.
# The engine ends with the command, however that ends.
#
#   tests/env/with-engine.sh cargo nextest run
#
# An engine that TAKT_TEST_DOCKER_SOCK already names is used as it is.
set -euo pipefail

readonly HERE=$(dirname "$(readlink -f "$0")")
[ $# -gt 0 ] || { echo 'usage: with-engine.sh COMMAND...' >&2; exit 2; }

if [ -z "${TAKT_DEMO_COUNTER:-}" ]; then
    TAKT_DEMO_COUNTER=$("$HERE/build-workload.sh")
    export TAKT_DEMO_COUNTER
fi
if [ -z "${TAKT_LATCH:-}" ]; then
    TAKT_LATCH=$("$HERE/../../agent/latch/build.sh")
    export TAKT_LATCH
fi
if [ -z "${TAKT_TEST_DOCKER_SOCK:-}" ]; then
    engine=$(mktemp -d "${TMPDIR:-/tmp}/takt-engine.XXXXXX")
    # Runs on every end of this script; the owner's guard covers a SIGKILL.
    trap '"$HERE/dockerd.sh" remove "$engine"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    TAKT_TEST_DOCKER_SOCK=$("$HERE/dockerd.sh" start "$engine" $$)
    export TAKT_TEST_DOCKER_SOCK
fi
# In the background, so that a signal is handled at once and not only after the command's end; it keeps
# this script's input. SIGTERM also stands for Ctrl-C, which shells let background commands ignore.
"$@" <&0 &
command=$!
pass_on() { # pass_on EXIT_CODE
    kill -TERM "$command" 2>/dev/null || true
    wait "$command" || true
    exit "$1"
}
trap 'pass_on 129' HUP
trap 'pass_on 130' INT
trap 'pass_on 143' TERM
wait "$command"
