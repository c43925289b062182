#!/usr/bin/env bash
# Makes the root file system of the machines that packages are tried on, once, and prints where it is: Debian's essential
# packages, systemd to be started as its first process, and rpm.
set -euo pipefail

readonly RELEASE=bookworm
readonly PACKAGES=systemd-sysv,dbus,passwd,rpm
readonly CACHE=${TAKT_CACHE:-/var/cache/takt}
# A change of this file makes another root.
readonly ROOT=$CACHE/package-root-$RELEASE-$(sha256sum "$(readlink -f "$0")" | cut -c 1-12).tar

die() { printf 'package root: %s\n' "$*" >&2; exit 1; }

# The address this machine already takes Debian from, so that mirrors and proxies keep working.
mirror() {
    apt-get indextargets --format '$(LABEL) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
        awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }'
}

make_root() {
    command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: tests/env/install.sh packages installs it"
    local mirror
    mirror=$(mirror)
    [ -n "$mirror" ] || die "no Debian main archive among this machine's apt sources"
    echo "makes $ROOT from Debian's packages" >&2
    # What dpkg does not sync is lost in a power cut, and then there is no archive either.
    mmdebstrap --quiet --variant=essential --include="$PACKAGES" --dpkgopt=force-unsafe-io \
        "$RELEASE" "$ROOT.new.tar" "$mirror" >&2
    mv "$ROOT.new.tar" "$ROOT"
}

if [ ! -f "$ROOT" ]; then
    mkdir -p "$CACHE"
    # One of the tests that begin together makes it, the others wait.
    exec 9>"$ROOT.lock"
    flock 9
    [ -f "$ROOT" ] || make_root
    rm -f "$ROOT.lock"
    exec 9>&-
fi
printf '%s\n' "$ROOT"
