#!/usr/bin/env bash
# Lets libFuzzer at the targets, each for so many seconds and two at a time, and says how many inputs each was given.
#
#   fuzz/run.sh SECONDS [TARGET...]      all targets, or those that are named
#   fuzz/run.sh --minimise [TARGET...]   the corpus, as small as it can be without losing an edge
#
# A run begins with the seeds (tests/fuzz-targets/src/seeds.rs), the corpus, and what earlier runs found new, which stays in
# target/fuzz/<target>; the corpus is read and not changed. A find
# is kept in fuzz/finds/<target>, where `cargo nextest run -p takt-fuzz-targets` tries it again for ever; its path is the last that
# is said of it. docs/fuzzing.md has the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

# An input that takes longer hangs; a process that grows beyond this grows without bound.
readonly TIMEOUT_SECS=10
readonly RSS_MIB_MAX=1024
# Documents have at most 64 KiB, and what is small is mutated fast; longer inputs are cut off.
readonly LENGTH_MAX=4096
# Of what a target has in the corpus.
readonly CORPUS_BYTES_MAX=200000
readonly PROGRAMS=${TAKT_FUZZ_PROGRAMS:-target/debug}

say() { printf 'fuzz: %s\n' "$*"; }
all_targets() { local file; for file in fuzz/targets/*.rs; do file=${file##*/}; printf '%s\n' "${file%.rs}"; done; }

length_max() { case $1 in images) echo 16384 ;; *) echo "$LENGTH_MAX" ;; esac; }

run() { # run SECONDS TARGET
    local secs=$1 target=$2 log=target/fuzz/$2.log
    mkdir -p "target/fuzz/$target" "fuzz/finds/$target" "fuzz/corpus/$target"
    local options=(-max_total_time="$secs" -timeout="$TIMEOUT_SECS" -rss_limit_mb="$RSS_MIB_MAX" -print_final_stats=1
        -max_len="$(length_max "$target")" -artifact_prefix="fuzz/finds/$target/")
    # The fuzzer ends by itself; who does not, even so, is ended.
    if TAKT_FUZZ_SEEDS=target/fuzz/$target timeout --kill-after=10 $((secs + 120)) "$PROGRAMS/fuzz-$target" "${options[@]}" \
        "target/fuzz/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
        local runs speed peak
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        speed=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
        peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
        say "$(printf '%-10s %12s executions in %s s (%s/s), peak %s MiB' "$target" "$runs" "$secs" "$speed" "$peak")"
        rmdir --ignore-fail-on-non-empty "fuzz/finds/$target"
        return 0
    fi
    grep -v '^#' "$log" | tail -n 60 >&2
    say "$target: $(sed -n 's/^.*Test unit written to //p' "$log" | tail -n 1) breaks it, see $log" >&2
    return 1
}

minimise() { # minimise TARGET
    local target=$1 least
    mkdir -p "target/fuzz/$target" "fuzz/corpus/$target"
    least=$(mktemp -d)
    "$PROGRAMS/fuzz-$target" -merge=1 -timeout="$TIMEOUT_SECS" -max_len="$(length_max "$target")" "$least" \
        "fuzz/corpus/$target" "target/fuzz/$target" 2>"target/fuzz/$target.log"
    rm -rf "fuzz/corpus/$target"
    mkdir -p "fuzz/corpus/$target"
    # The smallest first, as many as there is room for.
    local sum=0 size file
    while read -r size file; do
        sum=$((sum + size))
        [ "$sum" -le "$CORPUS_BYTES_MAX" ] || break
        mv "$least/$file" "fuzz/corpus/$target/"
    done < <(find "$least" -type f -printf '%s %f\n' | sort -n -k1,1 -k2,2)
    rm -rf "$least"
    say "$target: $(find "fuzz/corpus/$target" -type f | wc -l) inputs, $(du -sb "fuzz/corpus/$target" | cut -f1) bytes"
}

case ${1:?usage: run.sh SECONDS|--minimise [TARGET...]} in
    --minimise)
        shift
        for target in ${*:-$(all_targets)}; do minimise "$target"; done
        ;;
    *)
        secs=$1
        shift
        export -f run say length_max
        export TIMEOUT_SECS RSS_MIB_MAX LENGTH_MAX PROGRAMS
        printf '%s\n' ${*:-$(all_targets)} | xargs -P "${JOBS:-2}" -I '{}' bash -euo pipefail -c "run $secs {}"
        ;;
esac
