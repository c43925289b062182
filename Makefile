# Targets that people and scripts rely on. Everything installs what it needs and says so.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

JOBS ?= 2
BINARIES := -p takt-agent -p takt-launcher -p takt-coordinator -p takt-ctl
# What the tests of the packages install first, and what they upgrade to: packed fast, not tightly.
TRIED := target/packages/tried
PACK_TRIED = packaging/build.sh --fast --out $(TRIED)/this && \
	packaging/build.sh --fast --out $(TRIED)/next --version 99.0.0~test1
DENY_VERSION := 0.20.2

# Of the crash matrix: what was tried in this run, and how many cut points that must be.
TRIED_POINTS := target/crash-matrix
POINTS_MIN := 500

.PHONY: help demo test crash-matrix check bench bench-swap bench-agent soak docs packages packages-test install install-demo \
	install-packages build device

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

# It takes as long as all the rest, for the same program with two thirds of the size; `build` puts the others back.
device: build ## The agent as it goes to devices, small, in place of that in target/release.
	cargo build --profile device --locked -j $(JOBS) -p takt-agent -p takt-launcher
	ln -f target/device/takt-agent target/device/takt-launcher target/release/

demo: install-demo build ## The whole path once: three devices, a good release, a bad one, and the way back.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-demo
	tests/env/with-engine.sh target/release/takt-demo

# The guest is built beside the programs: half of the time it waits for Debian's packages.
BUILD_TRIED = tests/guest/build.sh >/dev/null & guest=$$!; \
	cargo build --locked -j $(JOBS) --workspace --all-targets && wait $$guest && $(PACK_TRIED)

test: install build ## Every test, the Docker, CRIU, broker, package and guest ones included.
	$(BUILD_TRIED)
	rm -rf $(TRIED_POINTS)
	tests/env/with-engine.sh cargo nextest run --locked -j $(JOBS) --workspace --no-fail-fast
	target/debug/takt-crash-matrix docs/crash-matrix.md $(POINTS_MIN)

crash-matrix: install ## Agents killed at every point, and what they stand on failing; writes docs/crash-matrix.md.
	cargo build --locked -j $(JOBS) --workspace --all-targets
	rm -rf $(TRIED_POINTS)
	tests/env/with-engine.sh cargo nextest run --locked -j $(JOBS) --no-fail-fast -p takt-tests -E 'binary(crash_matrix)'
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

bench: bench-swap bench-agent ## All benchmarks; tables on the screen, results in bench/results.

bench-swap: install device ## Downtime of container swaps beside `docker rm -f && docker run`.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench
	tests/env/with-engine.sh target/release/takt-bench swap

bench-agent: install device ## Size and idle memory of the agent.
	cargo build --release --locked -j $(JOBS) -p takt-tests --bin takt-bench
	tests/env/with-engine.sh target/release/takt-bench agent

soak: install build ## The long versions: 2,000 power cuts and 2,000 kills of the store, 200 power cuts of the guest.
	TAKT_SOAK=1 cargo nextest run --locked --profile soak -j $(JOBS) -p takt-store-proof
	$(BUILD_TRIED)
	TAKT_SOAK=1 tests/env/with-engine.sh cargo nextest run --locked --profile soak -j $(JOBS) -p takt-tests --test guest_upgrades

docs: ## The documentation of all crates.
	cargo doc --locked -j $(JOBS) --workspace --no-deps
