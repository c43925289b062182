#!/usr/bin/env bash
# A private Docker engine for the tests and the demo, apart from any engine of this machine:
# own data, own containerd, own socket; no bridge and no firewall rules (containers use the host's network).
# With TAKT_ENGINE_NETWORK=bridge it has both, as Docker has by itself: only in a network namespace of its own.
#
#   dockerd.sh start DIR [OWNER]   starts one in DIR and prints its socket; with OWNER (a process id)
#                                  the engine is removed when that process is gone, however it ended
#   dockerd.sh stop DIR            stops it, its containers too; its data stays
#   dockerd.sh crash DIR           kills it (SIGKILL): nothing is stopped, its shims stay; `start` starts it again
#   dockerd.sh remove DIR          stops it and deletes what it kept in DIR
#   dockerd.sh ensure DIR [OWNER]  prints the socket of this machine's engine if that can checkpoint, else starts one
set -euo pipefail

readonly START_SECS_MAX=30
readonly STOP_SECS_MAX=20
readonly CONTAINER_STOP_SECS=2
readonly OWNER_POLL_SECS=1
# A Unix socket's path has room for 107 bytes; containerd's own is the longest below DIR.
readonly SOCKET_PATH_MAX=107
readonly LONGEST_SOCKET=exec/containerd/containerd-debug.sock
readonly SCRIPT=$(readlink -f "$0")
export PATH="/usr/local/sbin:$PATH:/usr/sbin:/sbin"

die() { printf 'dockerd.sh: %s\n' "$*" >&2; exit 1; }

socket_of() { printf '%s/docker.sock' "$1"; }
answers() { [ "$(curl -sS -m 2 --unix-socket "$1" http://engine/_ping 2>/dev/null)" = OK ]; }

# True while the process exists and is no zombie (a zombie nobody reaps would be waited for in vain).
alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null && [ "$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null)" != Z ]; }

# Empty for a process that has gone meanwhile.
command_line() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true; }

# The pid in a file, if that process is (still) what the file's owner started: its command line names DIR.
pid_in() { # pid_in FILE DIR
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    if alive "$pid" && command_line "$pid" | grep -qF -- "$2/"; then
        printf '%s' "$pid"
    fi
}

wait_gone() { # wait_gone PID SECONDS
    local deadline=$((SECONDS + $2))
    while alive "$1"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# True in a network namespace that a test has made: it leads nowhere, and is not that of the first process. The latter
# cannot be read on every machine, so it alone proves nothing.
apart() {
    local routes
    routes=$(ip route show default && ip -6 route show default) && [ -z "$routes" ] &&
        [ "$(readlink /proc/self/ns/net)" != "$(readlink /proc/1/ns/net)" ]
}

start() { # start DIR [OWNER]
    local dir=$1 owner=${2:-} socket pid deadline namespace
    [ "$(id -u)" -eq 0 ] || die 'the engine needs root'
    command -v dockerd >/dev/null || die 'dockerd is missing: run tests/env/install.sh'
    [ $((${#dir} + 1 + ${#LONGEST_SOCKET})) -le $SOCKET_PATH_MAX ] || die "$dir: path too long for a socket in it"
    local network=(--bridge=none --iptables=false --ip-forward=false)
    case "${TAKT_ENGINE_NETWORK:-host}" in
        host) ;;
        bridge)
            apart || die "TAKT_ENGINE_NETWORK=bridge would change this machine's firewall: start it in a network namespace"
            network=(--iptables=true --ip-forward=true)
            ;;
        *) die "TAKT_ENGINE_NETWORK is '$TAKT_ENGINE_NETWORK': host or bridge" ;;
    esac
    mkdir -p "$dir"
    socket=$(socket_of "$dir")
    if [ -z "$(pid_in "$dir/dockerd.pid" "$dir")" ]; then
        rm -f "$dir/dockerd.pid" "$socket"
        # An engine that was killed takes its containerd along, which may stay as a zombie: dockerd would wait for it.
        [ -n "$(pid_in "$dir/exec/containerd/containerd.pid" "$dir")" ] || rm -f "$dir/exec/containerd/containerd.pid"
        # The namespace keeps engines apart that meet in one containerd; checkpoints live in it by digest. One that is
        # started again over its data finds its containers there.
        namespace=takt-$(printf '%s' "$dir" | cksum | cut -d ' ' -f 1)
        setsid dockerd --experimental --data-root "$dir/data" --exec-root "$dir/exec" --host "unix://$socket" \
            --pidfile "$dir/dockerd.pid" --containerd-namespace "$namespace" --containerd-plugins-namespace "$namespace-plugins" \
            "${network[@]}" --userland-proxy=false \
            --shutdown-timeout $CONTAINER_STOP_SECS </dev/null >>"$dir/dockerd.log" 2>&1 &
        pid=$!
    else
        pid=$(pid_in "$dir/dockerd.pid" "$dir")
    fi
    deadline=$((SECONDS + START_SECS_MAX))
    until answers "$socket"; do
        if ! alive "$pid" || [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 15 "$dir/dockerd.log" >&2
            stop "$dir"
            die "no engine in $dir after at most $START_SECS_MAX s; its last words are above"
        fi
        sleep 0.02
    done
    if [ -n "$owner" ]; then
        setsid "$SCRIPT" guard "$dir" "$owner" </dev/null >/dev/null 2>&1 &
    fi
    printf '%s\n' "$socket"
}

guard() { # guard DIR OWNER: removes the engine when its owner is gone
    while alive "$2" && [ -n "$(pid_in "$1/dockerd.pid" "$1")" ]; do
        sleep $OWNER_POLL_SECS
    done
    alive "$2" || remove "$1"
}

# Shims of this engine that outlived it (it was killed), and the containers below them.
orphans() { # orphans DIR
    local process
    for process in /proc/[0-9]*; do
        command_line "${process#/proc/}" | grep -qF -- "-address $1/exec/" || continue
        cat "$process"/task/*/children 2>/dev/null
        printf '%s ' "${process#/proc/}"
    done
}

stop() { # stop DIR
    local dir=$1 pid orphan mount
    pid=$(pid_in "$dir/dockerd.pid" "$dir")
    if [ -n "$pid" ]; then
        kill -TERM "$pid"
        wait_gone "$pid" $STOP_SECS_MAX || kill -KILL "$pid" 2>/dev/null || true
    fi
    pid=$(pid_in "$dir/exec/containerd/containerd.pid" "$dir")
    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null || true
        wait_gone "$pid" $STOP_SECS_MAX || kill -KILL "$pid" 2>/dev/null || true
    fi
    for orphan in $(orphans "$dir"); do
        kill -KILL "$orphan" 2>/dev/null || true
    done
    # Deepest first: an overlay sits on what is mounted above it.
    awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
        umount -l -- "$(printf '%b' "$mount")" || true
    done
    rm -f "$dir/dockerd.pid" "$(socket_of "$dir")"
}

crash() { # crash DIR
    local pid
    pid=$(pid_in "$1/dockerd.pid" "$1")
    [ -n "$pid" ] || die "no engine runs in $1"
    kill -KILL "$pid"
    wait_gone "$pid" $STOP_SECS_MAX
}

remove() { # remove DIR
    stop "$1"
    rm -rf "$1/data" "$1/exec" "$1/dockerd.log"
    rmdir "$1" 2>/dev/null || true
}

# Checkpoints need an experimental engine; from 28 on restoring is broken (moby#50750).
can_checkpoint() { # can_checkpoint SOCKET
    local version experimental
    version=$(curl -sS -m 5 --unix-socket "$1" http://engine/version 2>/dev/null) || return 1
    experimental=$(grep -o '"Experimental":true' <<<"$version") || return 1
    version=$(grep -o '"Version":"[0-9]*' <<<"$version" | head -n 1 | tr -dc 0-9)
    [ -n "$experimental" ] && [ -n "$version" ] && [ "$version" -lt 28 ]
}

ensure() { # ensure DIR [OWNER]
    local socket=/var/run/docker.sock
    case "${DOCKER_HOST:-}" in unix://*) socket=${DOCKER_HOST#unix://} ;; esac
    if [ -S "$socket" ] && can_checkpoint "$socket"; then
        printf '%s\n' "$socket"
    else
        start "$@"
    fi
}

[ $# -ge 2 ] || die 'usage: dockerd.sh start|stop|crash|remove|ensure DIR [OWNER]'
verb=$1
dir=$(readlink -m "$2")
shift 2
case "$verb" in
    start | stop | crash | remove | ensure | guard) "$verb" "$dir" "$@" ;;
    *) die "unknown verb '$verb': start, stop, crash, remove or ensure" ;;
esac
