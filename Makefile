# Targets that people and scripts rely on. Everything installs what it needs and says so.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

JOBS ?= 2
# Most tests wait for something most of the time; those that compute count three times (.config/nextest.toml).
THREADS ?= $(shell echo $$((3 * $$(nproc))))
BINARIES := takt-agent takt-launcher takt-coordinator takt
# The programs as they go to users, and as tests try them.
SHIPPED := target/shipped
TRIED := target/tried
# What the tests of the packages install first, the same once more, and what they upgrade to: packed fast, not tightly.
PACK = packaging/build.sh --fast --programs $(1) --out target/packages/tried/this && \
	packaging/build.sh --fast --programs $(1) --out target/packages/tried/again && \
	packaging/build.sh --fast --programs $(1) --out target/packages/tried/next --version 99.0.0~test1
DENY_VERSION := 0.20.2

# Of the crash matrix: what was tried in this run, and how many cut points that must be.
TRIED_POINTS := target/crash-matrix
POINTS_MIN := 1000

# Of the attack matrix: the same, and how many variants each attack must have.
TRIED_ATTACKS := target/attack-matrix
ATTACKS_MIN := 900
VARIANTS_MIN := 50

# Seconds that the fuzzer has for each target; two are at work at a time.
FUZZ_SECS ?= 600

.PHONY: help demo test fuzz crash-matrix attack-matrix check bench bench-swap bench-handover bench-preserve bench-journal bench-agent at-rest bench-planner \
	bench-trust bench-fleet soak docs packages reproducible packages-test install install-demo install-packages build device tried

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

install: ## Install what is missing from Debian's packages.
	@tests/env/install.sh

install-demo: ## The part of it that the demo needs.
	@tests/env/install.sh demo

install-packages: ## What building and trying packages needs.
	@tests/env/install.sh packages

build: ## Build the release programs into target/release.
	cargo build --release --locked -j $(JOBS) -p takt-agent -p takt-launcher -p takt-coordinator -p takt-ctl

# It takes longer than all the rest, for agents of two thirds of the size and a faster coordinator.
device: ## The programs as they go to users, into target/shipped.
	cargo build --profile device --locked -j $(JOBS) -p takt-agent -p takt-launcher
	cargo build --profile server --locked -j $(JOBS) -p takt-coordinator -p takt-ctl
	mkdir -p $(SHIPPED)
	ln -f target/device/takt-agent target/device/takt-launcher target/server/takt-coordinator target/server/takt $(SHIPPED)/

# Tests build the agent a second time, with failpoints, into the folder of these: they are kept beside it.
tried:
	cargo build --locked -j $(JOBS) --workspace --bins
	mkdir -p $(TRIED)
	ln -f $(addprefix target/debug/,$(BINARIES)) $(TRIED)/

demo: install-demo tried ## The whole path once: three devices, a good release, a bad one, and the way back.
	TAKT_BIN_DIR='$(CURDIR)/$(TRIED)' tests/env/with-engine.sh target/debug/takt-demo

TRY := TAKT_BIN_DIR='$(CURDIR)/$(TRIED)' tests/env/with-engine.sh cargo nextest run --locked
# The guest is built beside the programs: half of the time it waits for Debian's packages.
BUILD_TESTS = tests/guest/build.sh >/dev/null & guest=$$!; \
	cargo build --locked -j $(JOBS) --workspace --all-targets && wait $$guest && $(call PACK,$(TRIED))

test: install tried ## Every test, the Docker, CRIU, broker, package and guest ones included.
	$(BUILD_TESTS)
	rm -rf $(TRIED_POINTS) $(TRIED_ATTACKS)
	$(TRY) --build-jobs $(JOBS) -j $(THREADS) --workspace --no-fail-fast
	target/debug/takt-crash-matrix docs/crash-matrix.md $(POINTS_MIN)
	target/debug/takt-attack-matrix docs/attack-matrix.md $(ATTACKS_MIN) $(VARIANTS_MIN)

fuzz: install ## libFuzzer at every door by which bytes of strangers come in (FUZZ_SECS=600 for each, TARGETS='topics trust').
	JOBS=$(JOBS) fuzz/build.sh
	JOBS=$(JOBS) fuzz/run.sh $(FUZZ_SECS) $(TARGETS)

crash-matrix: install tried ## Agents killed at every point, and what they stand on failing; writes docs/crash-matrix.md.
	cargo build --locked -j $(JOBS) --workspace --all-targets
	rm -rf $(TRIED_POINTS)
	$(TRY) --build-jobs $(JOBS) -j $(THREADS) --no-fail-fast --workspace -E '(package(takt-tests) & binary(crash_matrix)) | (package(takt-kinds) & test(/kills::/))'
	target/debug/takt-crash-matrix docs/crash-matrix.md $(POINTS_MIN)

attack-matrix: install tried ## Hostile members, stolen keys and a hostile network against real agents and a coordinator; writes docs/attack-matrix.md.
	cargo build --locked -j $(JOBS) --workspace --all-targets
	rm -rf $(TRIED_ATTACKS)
	$(TRY) --build-jobs $(JOBS) -j $(THREADS) --no-fail-fast --workspace -E 'package(takt-tests) & binary(attack_matrix)'
	target/debug/takt-attack-matrix docs/attack-matrix.md $(ATTACKS_MIN) $(VARIANTS_MIN)

check: install ## Formatting, clippy, licences and bans, documentation.
	cargo fmt --all --check
	cargo clippy --locked -j $(JOBS) --workspace --all-targets -- -D warnings
	tests/env/deny.sh $(DENY_VERSION)
	RUSTDOCFLAGS='-D warnings' cargo doc --locked -j $(JOBS) --workspace --no-deps

packages: install-packages device ## The .deb and .rpm of agent, coordinator and CLI, into target/packages (VERSION=0.1.1~test1).
	cargo build --locked -j $(JOBS) -p takt-paperwork
	packaging/build.sh --programs $(SHIPPED) $(if $(VERSION),--version '$(VERSION)')

reproducible: install-packages ## Build programs and packages twice from nothing and compare their digests (some twenty minutes).
	packaging/reproduce.sh

packages-test: install device ## Packages installed, started, upgraded, removed and purged on machines with a real systemd.
	cargo build --locked -j $(JOBS) -p takt-paperwork
	$(call PACK,$(SHIPPED))
	cargo nextest run --locked -j $(JOBS) -p takt-package-tests --no-fail-fast

BENCH := TAKT_BIN_DIR='$(CURDIR)/$(SHIPPED)' tests/env/with-engine.sh target/release/takt-bench
BUILD_BENCH := cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench

bench: bench-swap bench-handover bench-preserve bench-journal bench-agent bench-planner bench-trust bench-fleet ## All benchmarks; tables on the screen, results in bench/results.

bench-swap: install device ## Downtime of container swaps beside `docker rm -f && docker run`.
	$(BUILD_BENCH)
	$(BENCH) swap

# An engine that publishes ports changes the firewall: it has a network namespace of its own.
bench-handover: install device ## Connections that fail while releases take over under load (SWAPS=100).
	$(BUILD_BENCH)
	unshare --net sh -c 'ip link set lo up && TAKT_ENGINE_NETWORK=bridge exec "$$@"' sh \
		env $(BENCH) handover $(if $(SWAPS),--swaps $(SWAPS))

bench-preserve: install device ## Downtime of rollbacks that keep the memory, beside checkpoints by hand.
	$(BUILD_BENCH)
	$(BENCH) preserve

bench-journal: install device ## Durable commits of the agent's journal, beside appends with fsync.
	$(BUILD_BENCH)
	$(BENCH) journal

bench-agent: install device ## Size and idle memory of the agent.
	$(BUILD_BENCH)
	$(BENCH) agent

# Where the agent has changed much; without it the agent works as well, and has some more memory at rest.
at-rest: install device ## Find anew what the agent runs at rest, into agent/at_rest.ld (about five minutes).
	dpkg -s valgrind >/dev/null 2>&1 || apt-get install --yes --no-install-recommends valgrind
	$(BUILD_BENCH)
	cargo rustc --profile device --locked -j $(JOBS) -p takt-agent --bin takt-agent -- -C strip=none
	tests/env/with-engine.sh bench/at_rest.py target/device/takt-agent $(SHIPPED)

# No engine and no devices: the planner alone.
bench-planner: install ## Similarities, chains, forecasts and schedules, beside NetworkX, scikit-learn and the paper's algorithm.
	$(BUILD_BENCH)
	target/release/takt-bench planner

# What is signed and verified, without a network between.
bench-trust: install device ## Orders signed, verified and refused, and reports verified, beside bare Ed25519.
	cargo build --profile server --locked -j $(JOBS) -p takt-fleet --example trust
	TAKT_BIN_DIR='$(CURDIR)/$(SHIPPED)' target/server/examples/trust

# Simulated and virtual fleets: no engine and no devices either.
bench-fleet: install device ## Devices that a bad release harms, beside other strategies (SEEDS=200), 10,000 virtual devices, and serve_min in 10,000 random runs.
	$(BUILD_BENCH)
	cargo build --profile server --locked -j $(JOBS) -p takt-fleet --example bench
	target/release/takt-bench fleet $(if $(SEEDS),--seeds $(SEEDS))
	TAKT_BIN_DIR='$(CURDIR)/$(SHIPPED)' target/server/examples/bench
	PROPTEST_CASES=10000 cargo test --release --locked -j $(JOBS) -p takt-coordinator-core --test promises as_many_serve

soak: install tried ## The long versions: 2,000 power cuts and 2,000 kills of the store, 200 power cuts of the guest, 5,000 points of the crash matrix, a million replayed orders.
	TAKT_SOAK=1 cargo nextest run --locked --profile soak -j $(JOBS) -p takt-store-proof
	$(BUILD_TESTS)
	TAKT_SOAK=1 $(TRY) --profile soak -j $(JOBS) --workspace -E 'package(takt-tests) & (binary(guest_upgrades) | binary(crash_matrix) | (binary(attack_matrix) & test(/^replays::/)))'

docs: ## The documentation of all crates.
	cargo doc --locked -j $(JOBS) --workspace --no-deps
