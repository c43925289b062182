#!/usr/bin/env bash
# Writes CHANGELOG.md as Debian's changelog, with everything under the version that is being built.
#
#   packaging/changelog.sh VERSION SECONDS_SINCE_1970
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

version=${1:?usage: changelog.sh VERSION SECONDS}
date=$(date --utc --rfc-email --date="@${2:?usage: changelog.sh VERSION SECONDS}")

printf 'takt (%s) unstable; urgency=medium\n\n' "$version"
# Entries begin with "- " and go on indented; headings and the introduction are left out.
awk '/^- /{ print "  * " substr($0, 3); entry = 1; next }
     entry && /^  /{ print "    " substr($0, 3); next }
     { entry = 0 }' CHANGELOG.md | fold --spaces --width=74 | sed 's/^\([^ ]\)/    \1/; s/ *$//'
printf '\n -- Takt maintainers <maintainers@takt.invalid>  %s\n' "$date"
