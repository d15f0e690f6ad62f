"""Measures the switch against the reference copiers and its peers, interleaved and pinned, and prints how it stands to
the targets. Needs root, two CPUs, iproute2 and iperf3; openvswitch-switch, openvswitch-switch-dpdk and vde2 where those
peers are wanted."""

import argparse
import os
import platform
import signal
import sys

import report
import work
import world


def main():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--binaries", default="target/release", help="where reference-copier and bench-tools are")
    parser.add_argument("--out", default="bench-out", help="where results.json, results.txt and results.svg go")
    parser.add_argument("--quick", action="store_true", help="fewer workloads and repetitions: under three minutes")
    parser.add_argument("--repetitions", type=int, help="5, or 3 with --quick")
    parser.add_argument("--seconds", type=float, help="of each run: 2, or 1 with --quick or --before")
    parser.add_argument("--worlds", help=f"comma-separated: {', '.join(world.NAMES)}")
    parser.add_argument("--world", action="append", default=[], metavar="NAME=PATH",
                        help="another build of the switch as one more world; PATH is its bench-tools")
    parser.add_argument("--before", metavar="PATH",
                        help="compare with an earlier build, PATH being its bench-tools: the worlds are localvpc, before, and "
                             "again, which is localvpc once more and shows how far two runs of one build lie apart")
    parser.add_argument("--firewall", action="store_true",
                        help="what security groups and gateways cost, against a bridge with nftables and Open vSwitch with ct()")
    parser.add_argument("--only", help="run workloads whose name contains this")
    parser.add_argument("--criterion", default="target/criterion", help="where the benchmark of the decision has its results")
    parser.add_argument("--markdown", metavar="FILE",
                        help="put the tables into this file, between its lines <!-- bench --> and <!-- /bench -->, or those "
                             "with 'before' for a comparison with an earlier build")
    parser.add_argument("--from", dest="earlier", metavar="JSON", help="measure nothing: take the results of an earlier run")
    parser.add_argument("--mappings", type=int, default=1_000_000, help="of other interfaces in the switch's tables")
    arguments = parser.parse_args()

    if arguments.earlier:
        results = report.load_json(arguments.earlier)
        print(report.table(results))
        if arguments.markdown:
            report.save_markdown(arguments.markdown, results)
        return

    if os.geteuid() != 0:
        sys.exit("bench: it makes network namespaces and needs root")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench: client and switch are pinned to CPUs of their own, which needs two")
    builds = [build(text) for text in arguments.world]
    quick = arguments.quick or arguments.before is not None
    wanted = ("plain", "vnet", "coalesce", "localvpc") if quick else world.EVERY
    if arguments.before is not None:
        wanted = ("localvpc",)
        builds += [(report.BEFORE, arguments.before), (report.AGAIN, f"{arguments.binaries}/bench-tools")]
    if arguments.firewall:
        wanted = ("vnet", "localvpc", *world.EDGES, *world.FIREWALLS)
    if arguments.worlds:
        wanted = arguments.worlds.split(",")
    repetitions = arguments.repetitions or (3 if arguments.quick else 5)
    seconds = arguments.seconds or (1 if quick else 2)
    worlds, left_out = world.worlds(arguments.binaries, wanted, builds, arguments.mappings)
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"the machine is busy (load {busy:.1f}): ratios of rates and round trips are noise, CPU per frame less so")
    job = work.Work(arguments.binaries, seconds)
    every = work.firewall(job) if arguments.firewall else work.workloads(job, quick)
    jobs = [one for one in every if not arguments.only or arguments.only in one[0]]

    terminal = sys.stderr.isatty()

    def say(line, keep=False):
        if terminal and not keep:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif keep:
            print(f"\n{line}" if terminal else line, file=sys.stderr)

    # However the run is ended, what it made is taken away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    world.sweep()
    up = []
    try:
        for one in worlds:
            up.append(one)
            say(f"{one.name} comes up")
            try:
                one.up()
            except (RuntimeError, OSError) as error:
                if not one.optional:
                    raise
                take_away(up.pop(), say)
                left_out.append(f"{one.name}: {error}")
        for line in left_out:
            print(f"left out: {line}")
        figures, failed = work.measure(up, jobs, repetitions, say)
    finally:
        for one in reversed(up):
            take_away(one, say)
        say("")

    os.makedirs(arguments.out, exist_ok=True)
    machine = {"kernel": platform.release(), "cpu": cpu_model(), "cpus": os.cpu_count(), "repetitions": repetitions,
               "seconds": seconds, "mappings": arguments.mappings, "load_before": busy, "left_out": left_out}
    results = {"machine": machine, "figures": figures, "decision": report.decision(arguments.criterion)}
    if arguments.firewall:
        results["kind"] = report.FIREWALL
    text = report.table(results)
    print(text)
    with open(f"{arguments.out}/results.txt", "w") as file:
        file.write(text)
    report.save_json(f"{arguments.out}/results.json", results)
    report.save_svg(f"{arguments.out}/results.svg", results)
    if arguments.markdown:
        report.save_markdown(arguments.markdown, results)
    print(f"written: {arguments.out}/results.txt, results.json, results.svg")
    # A slow figure is a figure. A peer may fail; what is ours and never has one is a benchmark that does not work.
    broken = [f"{name} in {where}" for where, name in failed if where in ("plain", "vnet", "coalesce", report.OURS, *world.EDGES)]
    if broken:
        sys.exit(f"bench: no figure at all for: {'; '.join(broken)}")


def build(text):
    name, separator, path = text.partition("=")
    if not separator or not name.isalnum() or name in world.NAMES:
        sys.exit(f"bench: --world takes NAME=PATH with a name of its own, not '{text}'")
    return name, path


def take_away(one, say):
    """One world that cannot be taken away keeps no other."""
    try:
        one.down()
    except (RuntimeError, OSError) as error:
        say(f"{one.name}: {error}", keep=True)


def cpu_model():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
