#!/usr/bin/env bash
# Builds programs and packages twice, each time from nothing, and compares their digests (`make reproducible`, some twenty minutes).
#
# Both are built from a copy of the last commit in the same folder: names of source files are in programs, in their messages of panics.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
commit=$(git rev-parse HEAD)
for round in 1 2; do
    rm -rf "$work/source"
    git clone --quiet --no-hardlinks . "$work/source"
    (cd "$work/source" && git checkout --quiet "$commit" && make packages >"$work/log-$round" 2>&1) || {
        tail -n 30 "$work/log-$round" >&2
        printf 'reproduce: round %s failed\n' "$round" >&2
        exit 1
    }
    (cd "$work/source/target/packages" && sha256sum ./*.deb ./*.rpm) >"$work/digests-$round"
done
cat "$work/digests-2"
diff "$work/digests-1" "$work/digests-2" || { printf 'reproduce: the packages differ\n' >&2; exit 1; }
printf 'reproduce: %s packages of commit %s, built twice, are the same byte for byte\n' "$(wc -l <"$work/digests-2")" "$commit"
