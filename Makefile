# Targets that people and scripts rely on. Everything installs what it needs and says so.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

JOBS ?= 2
# Most tests wait for something most of the time; those that compute count twice (.config/nextest.toml).
THREADS ?= $(shell echo $$((2 * $$(nproc))))
BINARIES := -p takt-agent -p takt-launcher -p takt-coordinator -p takt-ctl
# What the tests of the packages install first, and what they upgrade to: packed fast, not tightly.
TRIED := target/packages/tried
PACK_TRIED = packaging/build.sh --fast --out $(TRIED)/this && \
	packaging/build.sh --fast --out $(TRIED)/next --version 99.0.0~test1
DENY_VERSION := 0.20.2

# Of the crash matrix: what was tried in this run, and how many cut points that must be.
TRIED_POINTS := target/crash-matrix
POINTS_MIN := 800

.PHONY: help demo test crash-matrix check bench bench-swap bench-handover bench-preserve bench-journal bench-agent soak \
	docs packages packages-test install install-demo install-packages build device

help: ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

install: ## Install what is missing from Debian's packages.
	@tests/env/install.sh

install-demo: ## The part of it that the demo needs.
	@tests/env/install.sh demo

install-packages: ## What building and trying packages needs.
	@tests/env/install.sh packages

build: ## Build the release binaries into target/release.
	cargo build --release --locked -j $(JOBS) $(BINARIES)

# It takes longer than all the rest, for agents of two thirds of the size and a faster coordinator; `build` puts the others back.
device: build ## The programs as they go to users, in place of those in target/release.
	cargo build --profile device --locked -j $(JOBS) -p takt-agent -p takt-launcher
	cargo build --profile server --locked -j $(JOBS) -p takt-coordinator -p takt-ctl
	ln -f target/device/takt-agent target/device/takt-launcher target/server/takt-coordinator target/server/takt target/release/

# Built in two thirds of the time, and fast enough to be tried.
demo test crash-matrix soak: export CARGO_PROFILE_RELEASE_OPT_LEVEL = 1

demo: install-demo build ## The whole path once: three devices, a good release, a bad one, and the way back.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-demo
	tests/env/with-engine.sh target/release/takt-demo

# Fleets of the tests are made of the release programs: those of a debug build take a third of the machine for themselves.
OPTIMISED := TAKT_BIN_DIR='$(CURDIR)/target/release'

# The guest is built beside the programs: half of the time it waits for Debian's packages.
BUILD_TRIED = tests/guest/build.sh >/dev/null & guest=$$!; \
	cargo build --locked -j $(JOBS) --workspace --all-targets && wait $$guest && $(PACK_TRIED)

test: install build ## Every test, the Docker, CRIU, broker, package and guest ones included.
	$(BUILD_TRIED)
	rm -rf $(TRIED_POINTS)
	$(OPTIMISED) tests/env/with-engine.sh cargo nextest run --locked --build-jobs $(JOBS) -j $(THREADS) --workspace --no-fail-fast
	target/debug/takt-crash-matrix docs/crash-matrix.md $(POINTS_MIN)

crash-matrix: install build ## Agents killed at every point, and what they stand on failing; writes docs/crash-matrix.md.
	cargo build --locked -j $(JOBS) --workspace --all-targets
	rm -rf $(TRIED_POINTS)
	$(OPTIMISED) tests/env/with-engine.sh cargo nextest run --locked --build-jobs $(JOBS) -j $(THREADS) --no-fail-fast -p takt-tests -E 'binary(crash_matrix)'
	target/debug/takt-crash-matrix docs/crash-matrix.md $(POINTS_MIN)

check: install ## Formatting, clippy, licences and bans, documentation.
	cargo fmt --all --check
	cargo clippy --locked -j $(JOBS) --workspace --all-targets -- -D warnings
	tests/env/deny.sh $(DENY_VERSION)
	RUSTDOCFLAGS='-D warnings' cargo doc --locked -j $(JOBS) --workspace --no-deps

packages: install-packages device ## The .deb and .rpm of agent, coordinator and CLI, into target/packages (VERSION=0.1.1~test1).
	cargo build --locked -j $(JOBS) -p takt-paperwork
	packaging/build.sh $(if $(VERSION),--version '$(VERSION)')

packages-test: install device ## Packages installed, started, upgraded, removed and purged on machines with a real systemd.
	cargo build --locked -j $(JOBS) -p takt-paperwork
	$(PACK_TRIED)
	cargo nextest run --locked -j $(JOBS) -p takt-package-tests --no-fail-fast

bench: bench-swap bench-handover bench-preserve bench-journal bench-agent ## All benchmarks; tables on the screen, results in bench/results.

bench-swap: install device ## Downtime of container swaps beside `docker rm -f && docker run`.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench
	tests/env/with-engine.sh target/release/takt-bench swap

# An engine that publishes ports changes the firewall: it has a network namespace of its own.
bench-handover: install device ## Connections that fail while releases take over under load (SWAPS=100).
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench
	unshare --net sh -c 'ip link set lo up && TAKT_ENGINE_NETWORK=bridge exec tests/env/with-engine.sh \
		target/release/takt-bench handover $(if $(SWAPS),--swaps $(SWAPS))'

bench-preserve: install device ## Downtime of rollbacks that keep the memory, beside checkpoints by hand.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench
	tests/env/with-engine.sh target/release/takt-bench preserve

bench-journal: install device ## Durable commits of the agent's journal, beside appends with fsync.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench
	tests/env/with-engine.sh target/release/takt-bench journal

bench-agent: install device ## Size and idle memory of the agent.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench
	tests/env/with-engine.sh target/release/takt-bench agent

soak: install build ## The long versions: 2,000 power cuts and 2,000 kills of the store, 200 power cuts of the guest, 5,000 points of the crash matrix.
	TAKT_SOAK=1 cargo nextest run --locked --profile soak -j $(JOBS) -p takt-store-proof
	$(BUILD_TRIED)
	$(OPTIMISED) TAKT_SOAK=1 tests/env/with-engine.sh cargo nextest run --locked --profile soak -j $(JOBS) -p takt-tests --test guest_upgrades --test crash_matrix

docs: ## The documentation of all crates.
	cargo doc --locked -j $(JOBS) --workspace --no-deps
