# Benchmarks between network namespaces; `benches/harness` has the method. They need root.

BENCH_PEERS = openvswitch-switch vde2
BENCH_TARGET = $(or $(CARGO_TARGET_DIR),target)
# results.txt, results.json and results.svg go here.
BENCH_OUT ?= bench-out
# Further arguments, as in `make bench BENCH_ARGS="--markdown docs/performance.md"`.
BENCH_ARGS ?=
BENCH_RUN = python3 benches/harness --binaries $(BENCH_TARGET)/release --out $(BENCH_OUT) $(BENCH_ARGS)
BENCH_SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: bench bench-quick bench-scale bench-decision bench-tools bench-needs bench-peers

bench-tools:
	cargo build --release --locked --features bench-tools --bin reference-copier --bin bench-tools

bench-needs:
	@command -v iperf3 >/dev/null && command -v ip >/dev/null || \
	  $(BENCH_SUDO) apt-get install -q -y --no-install-recommends iperf3 iproute2 iputils-ping

# The benchmark runs the peers' daemons itself, beside any that their packages start.
bench-peers:
	@command -v ovs-vsctl >/dev/null && command -v vde_switch >/dev/null || \
	  $(BENCH_SUDO) apt-get install -q -y --no-install-recommends $(BENCH_PEERS)

## the switch against reference copiers and peers, some 20 minutes
bench: bench-tools bench-needs bench-peers
	$(BENCH_SUDO) $(BENCH_RUN)

## the same without peers, under 3 minutes
bench-quick: bench-tools bench-needs
	$(BENCH_SUDO) $(BENCH_RUN) --quick

## how fast many hosts, subnets and interfaces come and go, how fast mappings move, what a flood costs others
bench-scale:
	cargo test --release --locked --test scale --test edits_under_traffic --test move_latency --test fairness -- \
	  --nocapture --test-threads 1

## what one decision costs in memory, with up to ten million mappings
bench-decision:
	cargo bench --locked --bench decision
