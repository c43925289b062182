#!/usr/bin/env bash
# Brings a Debian 12 machine to the state that the demo and the tests need, and says what it changes and why.
#
#   tests/env/install.sh          all that `make test` needs
#   tests/env/install.sh demo     only what `make demo` needs
#   tests/env/install.sh packages only what building and trying packages needs
#
# Asks nothing. Does nothing, at once, when everything is there. docs/machine.md has the reasons in full.
set -euo pipefail

readonly CRIU_VERSION=4.1.1
# What `criu --version` says with our patch in it.
readonly CRIU_VERSION_PATCHED=$CRIU_VERSION.1
readonly CRIU_PATCH=criu-sockopts-6.16.patch
readonly CRIU_BINARY=/usr/local/sbin/criu
readonly CRIU_SETTINGS=/etc/criu/runc.conf
readonly CACHE=${TAKT_CACHE:-/var/cache/takt}
readonly SCRIPT=$(readlink -f "$0")
# Where sbin is missing from the path (a plain user's shell), installed things would look absent.
export PATH="/usr/local/sbin:$PATH:/usr/sbin:/sbin"
export DEBIAN_FRONTEND=noninteractive

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: %s\n' "$*" >&2; exit 1; }

have_command() { command -v "$1" >/dev/null 2>&1; }
have_package() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# What is missing, as parallel lists; filled by `want`.
missing=()
reasons=()
want() { # want PACKAGE REASON CHECK...: notes the package unless CHECK succeeds
    local package=$1 reason=$2
    shift 2
    "$@" || { missing+=("$package"); reasons+=("$reason"); }
}

list_missing_for_demo() {
    # A dockerd of another origin (docker-ce) is left alone: docker.io would remove it.
    want docker.io 'the container engine (a docker client alone is not enough)' have_command dockerd
    want iptables 'the engine refuses to start without it' have_command iptables
    want nftables 'moves published ports between containers' have_command nft
    want iproute2 'network namespaces and addresses' have_command ip
    want ca-certificates 'trust roots for curl' have_package ca-certificates
    want curl 'the scripts speak HTTP with it' have_command curl
}

list_missing_for_tests() {
    list_missing_for_demo
    list_missing_for_packages
    want fuse3 'the lossy disk that cuts power under the store' have_command fusermount3
    want busybox-static 'a tiny second workload with a shell' have_package busybox-static
    want python3-venv 'the peers in Python that check our signatures run in an environment of their own' have_package python3-venv
    want mosquitto-clients 'a foreign MQTT client' have_command mosquitto_pub
    want faketime 'gives one process another wall clock' test -e /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1
    want rpm 'RPM packages are built, installed and taken back in a folder of their own' have_command rpmbuild
    want strace 'lets single calls to the system fail, as a broken or full disk does' have_command strace
    want dbus-daemon 'a bus of its own for RAUC' have_command dbus-daemon
    want systemd 'tells which units are enabled' have_command systemctl
    want g++ 'builds libFuzzer' have_command g++
    want binutils 'links the module files that live patches are read from, with a build id' have_command ld
    list_missing_for_guest
}

have_qemu() { have_command qemu-system-x86_64 && have_command qemu-img; }

list_missing_for_guest() {
    want qemu-system-x86 'the machine of the guest' have_command qemu-system-x86_64
    # In one go with the machine, see match_qemu.
    want qemu-utils 'disks of guests' have_qemu
    want socat 'leads ports of the guest to ports of this machine' have_command socat
    want linux-headers-cloud-amd64 "builds live patches for the guest's kernel, and says which kernel that is" have_package linux-headers-cloud-amd64
    want rauc 'makes and signs bundles, and writes system images into slots' have_command rauc
    want squashfs-tools 'RAUC packs bundles with it' have_command mksquashfs
    want grub-common "makes the guest's boot loader, and reads and writes GRUB's environment" have_command grub-mkimage
    want grub-pc-bin "the guest's boot loader itself" have_package grub-pc-bin
    want fdisk "partitions the guest's disk" have_command sfdisk
    want e2fsprogs "makes the guest's file systems" have_command mke2fs
    want kmod "says which drivers the guest's first process needs" have_command modprobe
    want cpio "packs the guest's first process" have_command cpio
    want openssl "makes the guest's keys" have_command openssl
    local tool
    for tool in gcc make; do want "$tool" 'builds live patches' have_command "$tool"; done
}

list_missing_for_packages() {
    want dpkg-dev 'finds out which libraries a .deb depends on' have_command dpkg-shlibdeps
    want xz-utils 'compresses .debs' have_command xz
    want binutils 'strips what a device has no use for' have_command strip
    want rpm 'finds out which libraries an .rpm depends on, and looks into it' have_command rpm
    want lintian 'judges the .debs' have_command lintian
    want rpmlint 'judges the .rpms' have_command rpmlint
    want systemd 'rates how exposed the units are, and knows their words' have_command systemd-analyze
    want man-db 'reads the pages of the manual' have_command man
    want groff 'warns of mistakes in the pages of the manual' have_package groff
    want mmdebstrap 'makes the machines that packages are tried on, and the guest' have_command mmdebstrap
    want iproute2 'network namespaces and addresses' have_command ip
}

# protobuf-compiler only recommends libprotobuf-dev, but CRIU's build reads its descriptor.proto.
readonly CRIU_BUILD_PACKAGES=(gcc make patch xz-utils pkgconf libbsd-dev libcap-dev libgnutls28-dev libnet1-dev
    libnftables-dev libnl-3-dev libprotobuf-c-dev libprotobuf-dev protobuf-c-compiler protobuf-compiler uuid-dev)

list_missing_for_criu_build() {
    local package
    for package in "${CRIU_BUILD_PACKAGES[@]}"; do
        want "$package" "builds CRIU $CRIU_VERSION" have_package "$package"
    done
}

install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    local index
    say "installs ${#missing[@]} Debian packages:"
    for index in "${!missing[@]}"; do
        say "  ${missing[$index]}: ${reasons[$index]}"
    done
    quietly apt-get update
    match_qemu
    quietly apt-get install --yes --no-install-recommends --allow-downgrades -o Dpkg::Options::=--force-confold \
        "${missing[@]}"
    missing=()
    reasons=()
}

# QEMU's machine and its tools are of one source: tools of another version, from backports say, cannot stand beside it.
match_qemu() {
    local index version
    have_package qemu-utils || return 0
    version=$(apt-cache policy qemu-system-x86 | awk '$1 == "Candidate:" { print $2 }')
    for index in "${!missing[@]}"; do
        [ "${missing[$index]}" = qemu-utils ] || continue
        say "  brings qemu-utils $(dpkg-query -W -f='${Version}' qemu-utils) to the machine's version, $version"
        missing[$index]=qemu-utils=$version
    done
}

# Runs a command; shows what it said only when it failed.
quietly() {
    local said
    said=$(mktemp)
    if ! "$@" >"$said" 2>&1; then
        tail -n 40 "$said" >&2
        rm -f "$said"
        die "failed: $*"
    fi
    rm -f "$said"
}

criu_works() {
    [ "$("$CRIU_BINARY" --version 2>/dev/null | sed -n 's/^Version: //p')" = "$CRIU_VERSION_PATCHED" ] &&
        "$CRIU_BINARY" check >/dev/null 2>&1
}

# The address this machine already takes Debian from, so that mirrors and proxies keep working.
debian_mirror() {
    apt-get indextargets --format '$(LABEL) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
        awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }'
}

# Debian 13's sources, with lists and settings of their own: what apt installs on this machine does not change.
fetch_criu_source() { # fetch_criu_source FOLDER
    local folder=$1 mirror tarball="criu_$CRIU_VERSION.orig.tar.xz"
    [ ! -f "$folder/$tarball" ] || return 0
    mirror=$(debian_mirror)
    if [ -z "$mirror" ]; then
        quietly apt-get update
        mirror=$(debian_mirror)
    fi
    [ -n "$mirror" ] || die "no Debian main archive among this machine's apt sources: cannot fetch the source of CRIU"
    mkdir -p "$folder/apt/lists/partial"
    printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$mirror" \
        >"$folder/apt/sources.list"
    local apart=(-o "Dir::Etc::sourcelist=$folder/apt/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State::lists=$folder/apt/lists" -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache=
        -o APT::Sandbox::User=root)
    quietly apt-get "${apart[@]}" update
    (cd "$folder" && quietly apt-get "${apart[@]}" source --download-only --tar-only criu)
    rm -rf "$folder/apt"
    [ -f "$folder/$tarball" ] || die "Debian 13's source of criu is no longer $CRIU_VERSION: found $(cd "$folder" && echo criu_*)"
}

build_criu() {
    say "builds CRIU $CRIU_VERSION from Debian 13's source (Debian 12's 3.17 fails on newer kernels), about a minute"
    local folder=$CACHE/criu-$CRIU_VERSION_PATCHED
    mkdir -p "$folder"
    fetch_criu_source "$folder"
    [ -d "$folder/source" ] || {
        rm -rf "$folder/source.new"
        mkdir "$folder/source.new"
        tar -xf "$folder/criu_$CRIU_VERSION.orig.tar.xz" -C "$folder/source.new" --strip-components=1
        quietly patch --directory="$folder/source.new" --strip=1 --input="$(dirname "$SCRIPT")/$CRIU_PATCH"
        mv "$folder/source.new" "$folder/source"
    }
    quietly make -C "$folder/source" "-j$(nproc)" criu
    install -D -m 0755 "$folder/source/criu/criu" "$CRIU_BINARY"
    "$CRIU_BINARY" check || die "$CRIU_BINARY check: this kernel cannot checkpoint; see the lines above"
    say "installed $CRIU_BINARY"
}

# Without these a dump fails while clients are connected. Clients of a workload reconnect, so
# connections come back closed: a restored workload does not talk into the void.
criu_settings() { printf '%s\n' '# Written by takt: checkpoints of containers with connected clients.' tcp-close skip-in-flight; }

write_criu_settings() {
    if [ -e "$CRIU_SETTINGS" ]; then
        grep -q '^skip-in-flight' "$CRIU_SETTINGS" && grep -Eq '^tcp-(close|established)' "$CRIU_SETTINGS" ||
            die "$CRIU_SETTINGS exists without 'skip-in-flight' and 'tcp-close': add both lines"
        return 0
    fi
    say "writes $CRIU_SETTINGS: checkpoints with connected clients"
    mkdir -p "$(dirname "$CRIU_SETTINGS")"
    criu_settings >"$CRIU_SETTINGS"
}

main() {
    case "${1:-test}" in
        demo) list_missing_for_demo ;;
        test) list_missing_for_tests ;;
        packages) list_missing_for_packages ;;
        *) die "unknown set '$1': demo, test or packages" ;;
    esac
    if [ "$(id -u)" -ne 0 ]; then
        have_command sudo || die 'run it as root: containers, checkpoints and packages need that'
        exec sudo -n --preserve-env=TAKT_CACHE "$SCRIPT" "$@"
    fi
    if ! have_command apt-get && [ ${#missing[@]} -gt 0 ]; then
        die "this machine has no apt-get; install these yourself: ${missing[*]}"
    fi
    install_missing
    # Building packages needs no CRIU.
    [ "${1:-test}" != packages ] || return 0
    if ! criu_works; then
        list_missing_for_criu_build
        install_missing
        build_criu
    fi
    write_criu_settings
}

main "$@"
