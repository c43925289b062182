#!/bin/sh
# Cargo calls this in the place of rustc for the crates of this workspace (RUSTC_WORKSPACE_WRAPPER): it lets the compiler count which
# edges a run takes and what it compares, as libFuzzer wants it. What others wrote is built as ever, and so is what runs while
# building; what of theirs is generic becomes code of ours, and is counted with it.
case " $* " in
    *" --crate-name build_script_"* | *" --crate-type proc-macro "*) exec "$@" ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
