# The developer's tasks; `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# The tasks, in Rust; `cargo xtask --help` lists them and the variables that they read.
XTASK = $(CARGO) run --quiet --locked --manifest-path xtask/Cargo.toml --target-dir xtask/target --
SCENARIO ?= scenarios/aws-ipv6-mapping.yaml
PREFIX ?= /usr/local
# Given on the command line, as in `make fuzz FUZZ_SECONDS=600`, they reach the tasks.
export FUZZ_SECONDS FUZZ_TARGETS FUZZ_TARGET FUZZ_BUILD REPEAT

# Tests that compare figures (Cargo.toml): `cargo xtask figures` runs them with some optimization.
FIGURES = --test figures
# A test that needs root is ignored by `cargo test`. `not_a_test` marks what a test starts and kills.
AS_ROOT = --include-ignored --skip not_a_test --skip agents_apart
# They wait for hosts most of the time: two for each CPU.
ROOT_THREADS ?= $$((2 * $$(nproc)))
TEST_FIGURES = $(XTASK) figures

.PHONY: help demo install test crash agents attack repeat test-tools lint regenerate fuzz fuzz-build loom clean compiler tools root

-include benches/bench.mk

## this list
help:
	@awk '/^## /{text=substr($$0,4)} /^[a-z-]+:([^=]|$$)/{if(text){sub(":.*","");printf "  make %-14s %s\n",$$0,text;text=""}} !/^## /{if($$0!~/^[a-z-]+:/)text=""}' $(MAKEFILE_LIST)

# Network namespaces and TAP devices take root.
root:
	@if [ "$$(id -u)" != 0 ]; then \
	  echo "This makes network namespaces and TAP devices and needs root: run it as root, or with sudo -E env PATH=\"\$$PATH\" make ..." >&2; \
	  echo "Without root: cargo test" >&2; exit 1; fi

# The tasks are compiled, so a linker comes first.
compiler: root
	@command -v cc >/dev/null || { echo "installing build-essential"; \
	  xtask/apt-get update -q && xtask/apt-get install -q -y --no-install-recommends build-essential; }

# Installs the programs of the demo that are missing.
tools: compiler
	@$(XTASK) tools

# Installs the programs of all tests that are missing.
test-tools: compiler
	@$(XTASK) tools tests

## install what is missing, build, and watch real hosts live through an EC2 instance's neighbor discovery
demo: tools
	@echo "building localvpc for the demo, not optimized: 2 to 3 minutes on two cores the first time (make install optimizes)"
	@began=$$SECONDS; $(CARGO) build --profile demo --locked --bin localvpc; echo "built in $$((SECONDS - began)) s; now playing $(SCENARIO)"
	@$${CARGO_TARGET_DIR:-target}/demo/localvpc run $(SCENARIO)

## the optimized build, some 8 minutes on two cores, into PREFIX/bin (/usr/local)
install:
	$(CARGO) build --release --locked --bin localvpc
	install -D $${CARGO_TARGET_DIR:-target}/release/localvpc $(DESTDIR)$(PREFIX)/bin/localvpc

## every test: unit, property, golden bytes, API, and scenarios with real hosts and tools
test: test-tools
	$(CARGO) test --locked --features planted-panics --all-targets
	$(CARGO) test --locked --features planted-panics --test root -- $(AS_ROOT) --test-threads $(ROOT_THREADS)
	$(CARGO) test --locked --features planted-panics --test panics -- $(AS_ROOT)
	$(CARGO) test --locked --features planted-panics --doc
	$(TEST_FIGURES) -- $(AS_ROOT) --test-threads 1

## a network by Terraform's AWS provider at the EC2 API: apply, plan again without a change, destroy (needs terraform)
terraform:
	$(CARGO) build --locked
	tests/clients/terraform/run.sh $${CARGO_TARGET_DIR:-target}/debug/localvpc

## the failover scenarios, REPEAT (20) times each: every run must come to the same verdict
repeat: test-tools
	@$(XTASK) repeat

## a Pacemaker cluster, Ansible and the Node SDK against the EC2 API: what takes more than CI has time for
agents: test-tools
	$(XTASK) tools agents
	$(CARGO) test --locked --features planted-panics --test root -- --include-ignored agents_apart

CRASHES ?= 1000
## kill a server CRASHES (1000) times under edits by REST and EC2: no acknowledged edit may be lost
crash: root
	LOCALVPC_CRASHES=$(CRASHES) $(CARGO) test --locked --test root -- --include-ignored --nocapture no_acknowledged_edit_is_lost

# The short form takes less than two minutes; ATTACK=--long an hour, ATTACK="--long --seconds 600" ten minutes.
# ATTACK_BINARY takes one that is built already.
ATTACK ?=
ATTACK_BINARY ?=
## hostile requests, files, connections, tenants and ends, while a pair must not lose a ping (ATTACK=--long: an hour of it)
attack: test-tools
	@if [ -z "$(ATTACK_BINARY)" ]; then $(CARGO) build --release --locked --bin localvpc; fi
	python3 tests/attack/attack.py $(or $(ATTACK_BINARY),$${CARGO_TARGET_DIR:-target}/release/localvpc) $(ATTACK)

## formatting, lints, the core alone, dependencies, documentation, spelling: no warning passes
lint:
	$(CARGO) fmt --check
	rustfmt --check --edition 2024 fuzz/*.rs fuzz/fuzz_targets/*.rs loom/*.rs xtask/src/main.rs
	$(CARGO) clippy --locked --all-targets --features bench-tools,planted-panics $(FIGURES) -- -D warnings
	$(CARGO) check --locked --lib --no-default-features
	$(CARGO) clippy --quiet --locked --manifest-path xtask/Cargo.toml --target-dir xtask/target --all-targets -- -D warnings
	$(CARGO) deny --log-level warn check bans licenses sources
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	@if command -v typos >/dev/null; then typos; else echo "spelling is not checked: pip install typos"; fi

## write the files anew that are generated from the code: OpenAPI, schemas, EC2 coverage
regenerate:
	@$(XTASK) regenerate

fuzz-build:
	@$(XTASK) fuzz build

## arbitrary bytes to the decision and to every codec of the services, for FUZZ_SECONDS (60) divided among FUZZ_TARGETS (all)
fuzz:
	@$(XTASK) fuzz

## every order in which a writer of the mapping table and a reader can take turns
loom:
	@$(XTASK) loom

## everything that was built
clean:
	$(CARGO) clean
	rm -rf xtask/target loom/target fuzz/target fuzz/corpus fuzz/artifacts
