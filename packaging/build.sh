#!/usr/bin/env bash
# Packs programs as .deb and .rpm: those in target/shipped or another folder, into target/packages or another folder.
#
#   packaging/build.sh [--version VERSION] [--programs FOLDER] [--out FOLDER] [--fast]
#
# VERSION is the packages' version, the workspace's when it is left out. `~` sorts before everything (0.1.1~test1 is older
# than 0.1.1), in both formats. --fast packs less tightly. The programs and takt-paperwork must have been built; `make packages` does all.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

readonly CARGO_DEB_VERSION=3.8.0
readonly CARGO_GENERATE_RPM_VERSION=0.21.1
readonly CRATES=(agent coordinator ctl)
readonly PAPERWORK=target/debug/takt-paperwork
readonly STAGE=target/packages/stage

die() { printf 'packages: %s\n' "$*" >&2; exit 1; }

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
out=target/packages programs=target/shipped
deb_options=() rpm_options=()
while [ $# -gt 0 ]; do
    case "$1" in
        --version) version=${2:?--version needs a VERSION}; shift 2 ;;
        --programs) programs=${2:?--programs needs a FOLDER}; shift 2 ;;
        --out) out=${2:?--out needs a FOLDER}; shift 2 ;;
        --fast) deb_options+=(--fast) rpm_options+=(--payload-compress gzip); shift ;;
        *) die "unknown option '$1'" ;;
    esac
done
# What both formats take as a version; a hyphen would begin a revision.
[[ $version =~ ^[0-9][0-9A-Za-z.~+]*$ ]] || die "'$version' is no version: 0.1.1 or 0.1.1~test1 expected"

programs=("$programs"/{takt,takt-agent,takt-coordinator,takt-launcher})
for program in "${programs[@]}" "$PAPERWORK"; do
    [ -x "$program" ] || die "$program is missing: 'make packages' builds it"
done
latch=$(agent/latch/build.sh)
# Without a compressor of its own it calls xz.
deb=$(packaging/tool.sh cargo-deb "$CARGO_DEB_VERSION" --no-default-features)
rpm=$(packaging/tool.sh cargo-generate-rpm "$CARGO_GENERATE_RPM_VERSION")

# The same sources give the same packages: every date in them is that of the last commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

rm -rf "$STAGE"
mkdir -p "$STAGE" "$out"
"$PAPERWORK" "$STAGE"
mkdir "$STAGE/bin"
printf '%s\n' "$version" >"$STAGE/version"
for program in "${programs[@]}" "$latch"; do
    # Which compiler made it is of no use on a device; which version it was packed as makes every one another program.
    strip --remove-section=.comment -o "$STAGE/bin/${program##*/}" "$program"
    objcopy --add-section ".takt.version=$STAGE/version" "$STAGE/bin/${program##*/}"
done
packaging/changelog.sh "$version" "$SOURCE_DATE_EPOCH" >"$STAGE/changelog"
# cargo-deb compresses pages and changelog itself, cargo-generate-rpm does not.
mkdir "$STAGE/man-gz"
for page in "$STAGE"/man/*; do
    gzip --best --no-name <"$page" >"$STAGE/man-gz/${page##*/}.gz"
done
gzip --best --no-name "$STAGE"/third-party/*.txt "$STAGE"/sbom/*.json

architecture=$(dpkg --print-architecture)
pack() { # pack CRATE
    local name=takt-$1
    "$deb" --quiet --no-build --no-strip -p "$name" --deb-version "$version" "${deb_options[@]}" \
        --output "$out/${name}_${version}_$architecture.deb" >/dev/null
    "$rpm" -p "$1" --set-metadata "version = \"$version\"" "${rpm_options[@]}" \
        --output "$out/$name-$version-1.$(uname -m).rpm"
}

# Beside each other: most of it is one compressor on one core.
packing=()
for crate in "${CRATES[@]}"; do
    pack "$crate" &
    packing+=($!)
done
for one in "${packing[@]}"; do
    wait "$one" || die "a package could not be made: see above"
done
ls -l "$out"/*"$version"*
