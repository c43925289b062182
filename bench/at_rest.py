#!/usr/bin/env python3
"""Finds out what the agent runs at rest, and writes agent/at_rest.ld, by which the linker puts that side by side.

    bench/at_rest.py AGENT PROGRAMS     an agent of the profile `device` with its symbols, and the folder of the others

A page of the program that is touched brings its neighbours into memory, 64 KiB in all: what is run every second must not lie
scattered among what is run once a year. The benchmark of the agent is run with AGENT under callgrind, which counts every
instruction; spans in which hardly any are counted are rest.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "agent" / "at_rest.ld"
RESULTS = ROOT / "bench" / "results" / "agent.json"
# Seconds of a span.
SPAN = 4
# Seconds that the benchmark may take under callgrind, many times what it takes on an idle machine, and a dump of counts.
LIMIT = 1_800
DUMP_LIMIT = 60
# A span with so many times the instructions of the median one is no rest.
BUSY = 4


def main(agent: Path, programs: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="takt-at-rest-") as folder:
        counted = count(agent, programs, Path(folder))
    named = names(agent)
    patterns = sorted({pattern(name) for name in counted & named if name.startswith(("_ZN", "_R"))})
    if not patterns:
        sys.exit(f"at_rest: no function of '{agent}' has been seen at rest: has it symbols?")
    head = "/* Made by `make at-rest`: what the agent runs at rest, side by side. A name that is gone does no harm. */\n"
    lines = "".join(f"    *(.text.{name})\n" for name in patterns)
    SCRIPT.write_text(f"{head}SECTIONS\n{{\n  .text.at_rest :\n  {{\n{lines}  }}\n}}\nINSERT BEFORE .text;\n")
    print(f"{len(patterns)} names of functions in {SCRIPT.relative_to(ROOT)}")


def count(agent: Path, programs: Path, folder: Path) -> set[str]:
    """The functions that AGENT runs at rest, by their symbols."""
    binaries = folder / "programs"
    binaries.mkdir()
    for program in programs.iterdir():
        (binaries / program.name).symlink_to(program.resolve())
    wrapper = binaries / "takt-agent"
    wrapper.unlink(missing_ok=True)
    options = f"--tool=callgrind --demangle=no --callgrind-out-file={folder}/counts.%p --log-file={folder}/log.%p"
    wrapper.write_text(f"#!/bin/sh\nexec valgrind {options} '{agent.resolve()}' \"$@\"\n")
    wrapper.chmod(0o755)
    bench = [ROOT / "target" / "release" / "takt-bench", "agent", "--rounds", "1"]
    kept = RESULTS.read_bytes()
    ends = time.monotonic() + LIMIT
    try:
        with subprocess.Popen(bench, env=os.environ | {"TAKT_BIN_DIR": str(binaries)}) as running:
            try:
                while running.poll() is None and time.monotonic() < ends:
                    time.sleep(SPAN)
                    subprocess.run(["callgrind_control", "-d"], capture_output=True, check=False, timeout=DUMP_LIMIT)
            finally:
                # As from a keyboard, so that it ends its fleet; one that has ended does not hear it.
                running.send_signal(signal.SIGINT)
    finally:
        # Its figures are those of callgrind.
        RESULTS.write_bytes(kept)
    if running.returncode != 0:
        sys.exit("at_rest: the benchmark of the agent has failed under callgrind")
    spans = [read(file) for file in folder.glob("counts.*.*")]
    spans = [(instructions, functions) for instructions, functions in spans if instructions > 0]
    if not spans:
        sys.exit("at_rest: callgrind has counted nothing")
    busy = BUSY * statistics.median(instructions for instructions, _ in spans)
    return set().union(*(functions for instructions, functions in spans if instructions < busy))


def read(file: Path) -> tuple[int, set[str]]:
    """How many instructions a span had, and of which functions."""
    instructions, numbered, functions = 0, {}, set()
    for line in file.read_text(errors="replace").splitlines():
        if line.startswith("summary:"):
            instructions = int(line.split()[1])
        elif found := re.match(r"(c?)fn=\((\d+)\)(?: (\S+))?", line):
            called, number, name = found.groups()
            if name:
                # A function that is called from itself is counted apart.
                numbered[number] = name.split("'")[0]
            if not called:
                functions.add(numbered.get(number, ""))
    return instructions, functions


def names(agent: Path) -> set[str]:
    """The functions of a program."""
    symbols = subprocess.run(["nm", "--defined-only", agent], capture_output=True, text=True, check=True).stdout
    return {line.split()[2] for line in symbols.splitlines() if line.split()[1] in "tTwW"}


def pattern(name: str) -> str:
    """A symbol without what another compiler or another version of a crate would change."""
    if name.startswith("_ZN"):
        return re.sub(r"17h[0-9a-f]{16}E.*$", "17h*", name)
    return re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", re.sub(r"\.\d+$", "", name)) + "*"


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
