# What there is to do here; `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
FUZZ_SECONDS ?= 60
# One of fuzz/fuzz_targets, or several.
FUZZ_TARGETS ?= decide dhcp dns ntp http tcp
FUZZ_TARGET ?= x86_64-unknown-linux-gnu
# How they are built; it has to end in fuzz/target/FUZZ_TARGET/release.
FUZZ_BUILD ?= --release
SCENARIO ?= scenarios/aws-ipv6-mapping.yaml
REPEAT ?= 20
PREFIX ?= /usr/local
# The scenarios that tests/root/failover.rs names.
FAILOVER ?= $(shell sed -n 's/^        "\(.*\)\.yaml", .*/\1/p' tests/root/failover.rs)

# What the demo and the tests run: command:package.
TOOLS = cc:build-essential ip:iproute2 ping:iputils-ping arping:iputils-arping ndisc6:ndisc6 rdisc6:ndisc6 \
        tcpdump:tcpdump sysctl:procps

# What the scenarios run besides: clients of DHCP, of the instance metadata and of the other services, and what fails over.
CLIENTS = dhclient:isc-dhcp-client dhcpcd:dhcpcd-base busybox:busybox-static dhcp6c:wide-dhcpv6-client \
          /lib/systemd/systemd-networkd:systemd python3:python3 cloud-init:cloud-init ec2-metadata:amazon-ec2-utils \
          dig:bind9-dnsutils ntpdate:ntpsec-ntpdate keepalived:keepalived curl:curl jq:jq qemu-system-x86_64:qemu-system-x86 aws:awscli

# Tests that compare figures (Cargo.toml). Without any optimization a check of a frame takes several times as long, and a copy
# does not; so the crate itself is optimized a little for them. What it stands on is the other tests' own, and built already.
FIGURES = --test figures
OPTIMIZED = $(foreach setting,opt-level=1 debug-assertions=false overflow-checks=false,--config profile.dev.package.localvpc.$(setting))
# A test that needs root is ignored by `cargo test`. What one of them starts and kills is no test.
AS_ROOT = --include-ignored --skip not_a_test
TEST_FIGURES = $(CARGO) test --locked --features bench-tools $(OPTIMIZED) $(FIGURES)

.PHONY: help demo install test attack repeat test-tools clients-at-rest python-venv chronyd lint fuzz fuzz-build loom clean tools root

-include benches/bench.mk

## this list
help:
	@awk '/^## /{text=substr($$0,4)} /^[a-z-]+:([^=]|$$)/{if(text){sub(":.*","");printf "  make %-14s %s\n",$$0,text;text=""}} !/^## /{if($$0!~/^[a-z-]+:/)text=""}' $(MAKEFILE_LIST)

# Network namespaces and TAP devices take root.
root:
	@if [ "$$(id -u)" != 0 ]; then \
	  echo "This makes network namespaces and TAP devices and needs root: run it as root, or with sudo -E env PATH=\"\$$PATH\" make ..." >&2; \
	  echo "What needs no root: cargo test" >&2; exit 1; fi

# Another program may be installing packages: wait for its lock.
APT_WAITS := -o DPkg::Lock::Timeout=600

# Installs the commands that are missing.
tools: root
	@missing=$$(for pair in $(TOOLS); do command -v "$${pair%%:*}" >/dev/null || echo "$${pair##*:}"; done | sort -u); \
	if [ -n "$$missing" ]; then \
	  echo "installing" $$missing; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get $(APT_WAITS) update -q >/dev/null; \
	  apt-get $(APT_WAITS) install -q -y --no-install-recommends $$missing >/dev/null; fi
	@[ -c /dev/net/tun ] || { echo "There is no /dev/net/tun: load the kernel module with 'modprobe tun'" >&2; exit 1; }

# None of the clients is to do anything outside of the scenarios: dhcp6c gets no interface, and cloud-init is switched off
# before it arrives (cloud-init's own documentation, "How to disable cloud-init").
test-tools: TOOLS += $(CLIENTS)
test-tools: root clients-at-rest tools chronyd python-venv

# What tests/root/description.rs installs its tools into.
python-venv: tools
	@python3 -c 'import ensurepip' 2>/dev/null || \
	  DEBIAN_FRONTEND=noninteractive apt-get $(APT_WAITS) install -q -y --no-install-recommends python3-venv >/dev/null

# chronyd is taken out of its package: installed, the package would take over the clock of this machine.
chronyd:
	@command -v chronyd >/dev/null || { \
	  echo "installing chronyd alone"; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; cd "$$folder"; chmod 755 .; \
	  apt-get $(APT_WAITS) install -q -y --no-install-recommends libcap2 libedit2 libseccomp2 >/dev/null 2>&1; \
	  apt-get download -qq chrony 2>/dev/null; dpkg-deb -x chrony_*.deb .; install usr/sbin/chronyd /usr/local/sbin/; }

clients-at-rest:
	@command -v dhcp6c >/dev/null || ! command -v debconf-set-selections >/dev/null || \
	  echo wide-dhcpv6-client wide-dhcpv6-client/interfaces string | debconf-set-selections
	@command -v cloud-init >/dev/null || { mkdir -p /etc/cloud; touch /etc/cloud/cloud-init.disabled; }

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
	$(CARGO) test --locked --features planted-panics --test root -- $(AS_ROOT)
	$(CARGO) test --locked --features planted-panics --doc
	$(TEST_FIGURES) -- $(AS_ROOT) --test-threads 1

## the fail-over scenarios, REPEAT (20) times each: every run has to come to the same verdict
repeat: test-tools
	$(CARGO) build --release --locked --bin localvpc
	@failed=; for scenario in $(FAILOVER); do \
	  $${CARGO_TARGET_DIR:-target}/release/localvpc run --repeat $(REPEAT) scenarios/$$scenario.yaml || failed="$$failed $$scenario"; \
	done; [ -z "$$failed" ] || { echo "not the same verdict in $(REPEAT) runs:$$failed" >&2; exit 1; }

# The short form takes less than two minutes; ATTACK=--long an hour. ATTACK_BINARY takes one that is built already.
ATTACK ?=
ATTACK_BINARY ?=
## hostile requests, files, connections, tenants and ends, beside a pair that must not lose a ping (ATTACK=--long: an hour of it)
attack: test-tools
	@if [ -z "$(ATTACK_BINARY)" ]; then $(CARGO) build --release --locked --bin localvpc; fi
	python3 tests/attack/attack.py $(or $(ATTACK_BINARY),$${CARGO_TARGET_DIR:-target}/release/localvpc) $(ATTACK)

## formatting, lints, the core alone, dependencies, documentation, spelling: no warning passes
lint:
	$(CARGO) fmt --check
	rustfmt --check --edition 2024 fuzz/*.rs fuzz/fuzz_targets/*.rs loom/table.rs
	$(CARGO) clippy --locked --all-targets --features bench-tools,planted-panics $(FIGURES) -- -D warnings
	$(CARGO) check --locked --lib --no-default-features
	$(CARGO) deny --log-level warn check bans licenses sources
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	@if command -v typos >/dev/null; then typos; else echo "spelling is not checked: pip install typos"; fi

# The flags of cargo-fuzz without a sanitizer, which the stable compiler takes; `cargo fuzz run decide` works as well.
FUZZ_FLAGS = --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares

fuzz-build:
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --locked --manifest-path fuzz/Cargo.toml $(FUZZ_BUILD) --target $(FUZZ_TARGET) --target-dir fuzz/target

## arbitrary bytes to the decision and to every codec of the services, for FUZZ_SECONDS (60) divided among FUZZ_TARGETS (all)
fuzz: fuzz-build
	@count=$$(wc -w <<<"$(FUZZ_TARGETS)"); each=$$(($(FUZZ_SECONDS) / count)); \
	for target in $(FUZZ_TARGETS); do \
	  mkdir -p fuzz/corpus/$$target fuzz/artifacts/$$target; \
	  echo "fuzz: $$target, $$((each > 0 ? each : 1)) s"; \
	  fuzz/target/$(FUZZ_TARGET)/release/$$target -max_total_time=$$((each > 0 ? each : 1)) -max_len=4096 -print_final_stats=1 \
	    -rss_limit_mb=512 -timeout=10 -artifact_prefix=fuzz/artifacts/$$target/ \
	    fuzz/corpus/$$target $$(ls -d fuzz/seeds/$$target 2>/dev/null); \
	done

## every order in which a writer of the mapping table and a reader can take turns
loom:
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 $(CARGO) test --locked --manifest-path loom/Cargo.toml --release --target-dir loom/target

## everything that was built
clean:
	$(CARGO) clean
	rm -rf loom/target fuzz/target fuzz/corpus fuzz/artifacts
