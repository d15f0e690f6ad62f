"""Measures the switch against the reference copiers and its peers, interleaved and pinned, and prints how it stands to
the targets. Needs root, two CPUs, iproute2 and iperf3; openvswitch-switch and vde2 where those peers are wanted."""

import argparse
import os
import platform
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
    parser.add_argument("--seconds", type=float, help="of each run: 3, or 1 with --quick")
    parser.add_argument("--worlds", help="comma-separated: plain, vnet, coalesce, localvpc, bridge, ovs, vde")
    parser.add_argument("--only", help="run workloads whose name contains this")
    parser.add_argument("--markdown", metavar="FILE",
                        help="put the tables into this file, between its lines <!-- bench --> and <!-- /bench -->")
    parser.add_argument("--from", dest="earlier", metavar="JSON", help="measure nothing: take the results of an earlier run")
    parser.add_argument("--mappings", type=int, default=1_000_000, help="of other interfaces in the switch's tables")
    arguments = parser.parse_args()

    if arguments.earlier:
        machine, figures = report.load_json(arguments.earlier)
        print(report.table(figures, list(figures)))
        if arguments.markdown:
            report.save_markdown(arguments.markdown, machine, figures)
        return

    if os.geteuid() != 0:
        sys.exit("bench: it makes network namespaces and needs root")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("bench: client and switch are pinned to CPUs of their own, which needs two")
    quick = arguments.quick
    repetitions = arguments.repetitions or (3 if quick else 5)
    seconds = arguments.seconds or (1 if quick else 3)
    wanted = arguments.worlds or ("plain,vnet,coalesce,localvpc" if quick else "plain,vnet,coalesce,localvpc,bridge,ovs,vde")
    worlds, left_out = world.worlds(arguments.binaries, wanted.split(","), arguments.mappings)
    for line in left_out:
        print(f"left out: {line}")
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"the machine is busy (load {busy:.1f}): ratios of rates and round trips are noise, CPU per frame less so")
    job = work.Work(arguments.binaries, seconds)
    jobs = [one for one in work.workloads(job, quick) if not arguments.only or arguments.only in one[0]]

    terminal = sys.stderr.isatty()

    def say(line, keep=False):
        if terminal and not keep:
            print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
        elif keep:
            print(f"\n{line}" if terminal else line, file=sys.stderr)

    up = []
    try:
        for one in worlds:
            up.append(one)
            one.up()
        figures = work.measure(worlds, jobs, repetitions, say)
    finally:
        for one in reversed(up):
            one.down()
        say("")

    os.makedirs(arguments.out, exist_ok=True)
    machine = {"kernel": platform.release(), "cpu": cpu_model(), "cpus": os.cpu_count(), "repetitions": repetitions,
               "seconds": seconds, "mappings": arguments.mappings,
               "load_before": busy}
    text = report.table(figures, [one.name for one in worlds])
    text += "\nclient on CPU 0; switch and server on CPU 1. Absolute figures are this machine's; compare ratios.\n"
    print(text)
    with open(f"{arguments.out}/results.txt", "w") as file:
        file.write(text)
    report.save_json(f"{arguments.out}/results.json", machine, figures)
    report.save_svg(f"{arguments.out}/results.svg", figures)
    if arguments.markdown:
        report.save_markdown(arguments.markdown, machine, figures)
    print(f"written: {arguments.out}/results.txt, results.json, results.svg")


def cpu_model():
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
