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

if [ ! -f "$ROOT" ]; then
    command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: tests/env/install.sh packages installs it"
    mirror=$(mirror)
    [ -n "$mirror" ] || die "no Debian main archive among this machine's apt sources"
    mkdir -p "$CACHE"
    echo "makes $ROOT from Debian's packages" >&2
    mmdebstrap --quiet --variant=essential --include="$PACKAGES" "$RELEASE" "$ROOT.new.tar" "$mirror" >&2
    mv "$ROOT.new.tar" "$ROOT"
fi
printf '%s\n' "$ROOT"
