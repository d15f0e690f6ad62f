# Benchmarks between network namespaces; `benches/harness` has the method. They need root.

BENCH_PEERS = openvswitch-switch vde2
# Open vSwitch's build with DPDK is not everywhere; without it, or without huge pages, the run goes on without that peer.
BENCH_TSO = openvswitch-switch-dpdk
BENCH_TARGET = $(or $(CARGO_TARGET_DIR),target)
# What builds reference-copier and bench-tools, and where they then are.
BENCH_BUILD ?= $(CARGO) build --release --locked --features bench-tools --bin reference-copier --bin bench-tools
BENCH_BINARIES ?= $(BENCH_TARGET)/release
# results.txt, results.json and results.svg go here.
BENCH_OUT ?= bench-out
# Further arguments, as in `make bench BENCH_ARGS="--markdown docs/performance.md"`.
BENCH_ARGS ?=
BENCH_RUN = python3 benches/harness --binaries $(BENCH_BINARIES) --criterion $(BENCH_TARGET)/criterion --out $(BENCH_OUT) $(BENCH_ARGS)
BENCH_SUDO = $(if $(filter 0,$(shell id -u)),,sudo)
BENCH_INSTALL = $(BENCH_SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends

.PHONY: bench bench-quick bench-firewall bench-before bench-scale bench-decision bench-tools bench-needs bench-peers

bench-tools:
	$(BENCH_BUILD)

bench-needs:
	@for tool in iperf3 ip ping python3 taskset sysctl; do command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$${missing:-}" ]; then \
	  $(BENCH_SUDO) apt-get update -q >/dev/null; \
	  $(BENCH_INSTALL) iperf3 iproute2 iputils-ping python3 util-linux procps >/dev/null; fi

# The benchmark runs the peers' daemons itself, beside any that their packages start.
bench-peers:
	@if ! command -v ovs-vsctl >/dev/null || ! command -v vde_switch >/dev/null || [ ! -d /usr/lib/$(BENCH_TSO) ]; then \
	  $(BENCH_SUDO) apt-get update -q >/dev/null; \
	  $(BENCH_INSTALL) $(BENCH_PEERS) >/dev/null; \
	  $(BENCH_INSTALL) $(BENCH_TSO) >/dev/null || echo "there is no package $(BENCH_TSO) here"; fi

## the switch against reference copiers and peers, some 20 minutes
bench: bench-tools bench-needs bench-peers
	$(CARGO) bench --locked --bench decision -- 'decision_1M/ipv[46]_(same_subnet|routed)/.*batch32'
	$(BENCH_SUDO) $(BENCH_RUN)

## the same without peers, under 3 minutes
bench-quick: bench-tools bench-needs
	$(BENCH_SUDO) $(BENCH_RUN) --quick

## what the firewall and the gateways cost, against a bridge with nftables and Open vSwitch with ct(), under 5 minutes
bench-firewall: bench-tools bench-needs bench-peers
	@command -v nft >/dev/null || $(BENCH_INSTALL) nftables >/dev/null
	$(BENCH_SUDO) $(BENCH_RUN) --firewall

## this build against an earlier one, under 3 minutes: BEFORE is the earlier one's bench-tools
bench-before: bench-tools bench-needs
	$(BENCH_SUDO) $(BENCH_RUN) --before $(BEFORE)

## how fast many hosts, subnets and interfaces come and go, how fast mappings move, what a flood costs others
bench-scale:
	$(CARGO) test --release --locked $(FIGURES) -- $(AS_ROOT) --nocapture --test-threads 1

## what one decision costs in memory, with up to ten million mappings
bench-decision:
	$(CARGO) bench --locked --bench decision
