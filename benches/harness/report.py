"""What came out: a table with the targets beside each figure, JSON, and a plot.

A machine's speed moves by a factor between minutes, so a ratio is taken within one repetition, and of these the median.
Ratios within 25 % of each other are no finding."""

import json
import os
import statistics
from xml.sax.saxutils import escape

#: metric, words, more is better, [(reference, target ratio)]. A reference `a|b` is the better one of the two.
TARGETS = [
    ("tcp1_1500_gbps", "TCP 1500, 1 stream, Gb/s", True, [("vnet", 0.95), ("ovs", 10.0), ("ovs-tso", 1.4)]),
    ("tcp4_1500_gbps", "TCP 1500, 4 streams, Gb/s", True, [("vnet", 0.95)]),
    ("tcp1_9001_gbps", "TCP 9001, 1 stream, Gb/s", True, [("vnet", 0.95)]),
    ("tcp4_9001_gbps", "TCP 9001, 4 streams, Gb/s", True, [("vnet", 0.95)]),
    ("tcp1_1500_s_per_gb", "TCP 1500, switch CPU s/GB", False, [("vnet", 1.05), ("ovs-tso", 0.65)]),
    ("udp1_kpps", "UDP 64 B, one flow, k/s", True, [("coalesce", 0.95), ("ovs", 2.0), ("vde", 2.5)]),
    ("udp1_ns", "the same, CPU ns per frame", False, [("coalesce", 1.10)]),
    ("udpn_kpps", "UDP 64 B, other flow each, k/s", True, [("plain|vnet|uring", 0.9), ("ovs", 1.3)]),
    ("udpn_ns", "the same, CPU ns per frame", False, [("plain|vnet|uring", 1.10)]),
    ("steady_ns", "at 150 k/s, CPU ns per frame", False, [("coalesce", 1.10), ("ovs", 0.4)]),
    ("steady_loss", "at 150 k/s, loss", False, []),
    ("echo_p50_us", "ping flood p50, us", False, [("coalesce", 1.05), ("vde", 1.0)]),
    ("echo_p99_us", "ping flood p99, us", False, []),
    ("request_kps", "request/response, k/s", True, [("coalesce", 0.95), ("vde", 1.0)]),
]
OURS = "localvpc"

#: The kind of a run that compares firewalls and gateways.
FIREWALL = "firewall"
#: For such a run: metric, words, more is better, [(which of ours, reference, target ratio)].
FIREWALL_TARGETS = [
    ("tcp1_1500_gbps", "TCP 1500, 1 stream, Gb/s", True,
     [("groups", "vnet", 0.95), ("elastic-ip", "vnet", 0.9), ("nat", "vnet", 0.9), ("groups", "ovs-ct", None)]),
    ("tcp1_1500_busy_s_per_gb", "the same, CPU s/GB of the machine", False,
     [("groups", "bridge-ct", 1.0), ("groups", "ovs-ct", 1.0)]),
    ("udp1_kpps", "UDP 64 B, one flow, k/s", True,
     [("groups", "localvpc", None), ("elastic-ip", "localvpc", None), ("nat", "localvpc", None), ("groups", "ovs-ct", None)]),
    ("udp1_per_busy_s", "the same, k per CPU second of the machine", True,
     [("groups", "bridge-ct", 1.0), ("groups", "ovs-ct", 1.0)]),
    ("udp1_ns", "the same, CPU ns of the switch per frame", False, [("groups", "localvpc", None), ("groups", "ovs-ct", None)]),
    ("udpn_kpps", "UDP 64 B, other flow each, k/s", True,
     [("groups", "localvpc", None), ("nat", "localvpc", None), ("groups", "ovs-ct", None)]),
    ("udpn_per_busy_s", "the same, k per CPU second of the machine", True,
     [("groups", "bridge-ct", 1.0), ("groups", "ovs-ct", 1.0)]),
    ("request_kps", "request/response, k/s", True, [("groups", "localvpc", None), ("nat", "localvpc", None)]),
]
#: The same build once more, whose distance from ours is noise.
AGAIN = "again"
#: An earlier build.
BEFORE = "before"
#: What is not compared with an earlier build: a few frames are lost or late by chance.
BY_CHANCE = ("steady_loss", "echo_p99_us")

#: What one decision may cost in memory, in ns, with a million mappings: (how destinations are chosen, words, target).
DECISION = [("hot", "64 in use", 25.0), ("uniform", "all in use", 40.0)]
#: The kinds of frame that it is asked of, as the benchmark names them.
DECISION_KINDS = ["ipv4_same_subnet", "ipv6_same_subnet", "ipv4_routed", "ipv6_routed"]


def better(values, more):
    known = [value for value in values if value is not None]
    return (max(known) if more else min(known)) if known else None


def ratios(figures, metric, reference, more, ours=OURS):
    """Ours to the reference, repetition by repetition."""
    series = [figures.get(name, {}).get(metric, []) for name in reference.split("|")]
    out = []
    for index, own in enumerate(figures.get(ours, {}).get(metric, [])):
        other = better([one[index] for one in series if index < len(one)], more)
        if own is not None and other:
            out.append(own / other)
    return out


def judged(metric, words, more, reference, target, found):
    row = {"metric": metric, "words": words, "reference": reference, "more_is_better": more, "target": target}
    if found:
        ratio = statistics.median(found)
        met = None if target is None else ratio >= target if more else ratio <= target
        row.update({"ratio": ratio, "lowest": min(found), "highest": max(found), "met": met})
    return row


def verdicts(figures):
    """[{metric, words, reference, target, more_is_better}], and {ratio, lowest, highest, met} where it was measured."""
    others = [name for name in figures if name not in known_worlds()]
    # Against other builds alone the targets are not what is asked.
    compared = set(figures) - {OURS} - set(others)
    out = []
    for metric, words, more, references in TARGETS:
        for reference, target in references if compared or not others else []:
            out.append(judged(metric, words, more, reference, target, ratios(figures, metric, reference, more)))
        if metric in BY_CHANCE:
            continue
        # No loss beyond noise: beyond what two runs of one build differ by in the same minutes.
        noise = ratios(figures, metric, AGAIN, more)
        for reference in sorted(others):
            target = None
            if noise and reference != AGAIN:
                target = min(1.0, *noise) if more else max(1.0, *noise)
            found = ratios(figures, metric, reference, more)
            if found:
                out.append(judged(metric, words, more, reference, target, found))
    return out


def firewall_verdicts(figures):
    """The same for a run that compares firewalls and gateways."""
    out = []
    for metric, words, more, compared in FIREWALL_TARGETS:
        for ours, reference, target in compared:
            found = ratios(figures, metric, reference, more, ours)
            out.append(judged(metric, f"{ours}: {words}", more, reference, target, found))
    return out


def judgement(results):
    """What a run comes to, by its kind."""
    return (firewall_verdicts if results.get("kind") == FIREWALL else verdicts)(results["figures"])


def known_worlds():
    return {name for _, _, _, references in TARGETS for names, _ in references for name in names.split("|")} | {OURS, "bridge"}


def decision(criterion):
    """{kind: {"hot" or "uniform": ns a frame}} of the last run of the benchmark of the decision, as far as there is one."""
    out = {}
    for kind in DECISION_KINDS:
        for spread, _, _ in DECISION:
            directory = f"{criterion}/decision_1M/{kind}/{spread}_batch32/new"
            if not os.path.exists(f"{directory}/estimates.json"):
                continue
            with open(f"{directory}/estimates.json") as file:
                batch = json.load(file)["median"]["point_estimate"]
            with open(f"{directory}/benchmark.json") as file:
                out.setdefault(kind, {})[spread] = batch / json.load(file)["throughput"]["Elements"]
    return out


def number(value):
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def verdict(row):
    return "not measured" if "ratio" not in row else "" if row["met"] is None else "met" if row["met"] else "MISSED"


def blocks(results):
    """The tables, as lists of rows of text; the first row of each is its head."""
    figures, cost = results["figures"], results.get("decision", {})
    names = list(figures)
    medians = [["median of the repetitions", *names]]
    rows = FIREWALL_TARGETS if results.get("kind") == FIREWALL else TARGETS
    for metric, words, _, _ in rows:
        known = {name: [v for v in figures[name].get(metric, []) if v is not None] for name in names}
        if any(known.values()):
            medians.append([words] + [number(statistics.median(known[name]) if known[name] else None) for name in names])
    compared = [["ratio within a repetition", "to", "median", "lowest", "highest", "target", ""]]
    for one in judgement(results):
        sign = ">=" if one["more_is_better"] else "<="
        spread = [f"{one[key]:.2f}" if key in one else "-" for key in ("ratio", "lowest", "highest")]
        target = "" if one["target"] is None else f"{sign} {one['target']:.2f}"
        compared.append([one["words"], one["reference"], *spread, target, verdict(one)])
    deciding = [["one decision in memory, a million mappings", "ns", "target", ""]]
    for spread, words, target in DECISION:
        for kind in DECISION_KINDS:
            ns = cost.get(kind, {}).get(spread)
            met = "not measured" if ns is None else "met" if ns <= target else "MISSED"
            deciding.append([f"{kind.replace('_', ' ')}, {words}", number(ns), f"<= {target:.0f}", met])
    return [medians, compared] if BEFORE in figures or results.get("kind") == FIREWALL else [medians, compared, deciding]


def table(results):
    lines = []
    for block in blocks(results):
        widths = [max(len(row[column]) for row in block if column < len(row)) for column in range(max(map(len, block)))]
        for row in block:
            cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    lines += [f"left out: {line}" for line in results["machine"].get("left_out", [])]
    lines.append(conditions(results["machine"]))
    lines.append("Client on CPU 0; switch and server on CPU 1. Absolute figures are this machine's; compare ratios.")
    return "\n".join(lines) + "\n"


def conditions(machine):
    return (f"Linux {machine['kernel']}, {machine['cpus']} CPUs ({machine['cpu']}); {machine['repetitions']} repetitions of "
            f"{machine['seconds']:g} s; {machine['mappings']} mappings of others in the switch's tables; load before the run "
            f"{machine['load_before']:.1f}.")


def save_json(path, results):
    with open(path, "w") as file:
        json.dump({**results, "targets": judgement(results)}, file, indent=1)
        file.write("\n")


def load_json(path):
    with open(path) as file:
        return json.load(file)


def markdown(results):
    """The tables with what they were measured on."""
    lines = [conditions(results["machine"])]
    for head, *rows in blocks(results):
        lines += ["", "| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
        # A bar within a cell would begin another one.
        rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        lines += ["| " + " | ".join(row).replace("MISSED", "**missed**") + " |" for row in rows]
    left_out = results["machine"].get("left_out", [])
    if left_out:
        lines += ["", *(f"Left out: {line}." for line in left_out)]
    return "\n".join(lines) + "\n"


def save_markdown(path, results):
    """Replaces what stands between the two marks of this kind of run; everything else in the file stays."""
    mark = results.get("kind") or (BEFORE if BEFORE in results["figures"] else "bench")
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    with open(path) as file:
        text = file.read()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise SystemExit(f"{path}: it must have one line {begin} and after it one line {end}")
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    with open(path, "w") as file:
        file.write(f"{head}{begin}\n{markdown(results)}{end}{tail}")


def save_svg(path, results):
    """One bar a target: the median ratio, its range as a line, the target as a mark. Longer is better in every row."""
    rows = [row for row in judgement(results) if row.get("met") is not None]
    left, width, step = 330, 420, 24
    height = 50 + step * len(rows)
    # Where less is better the inverse is drawn, so that every bar that passes its mark is good.
    def length(ratio, row):
        ratio = ratio if row["more_is_better"] else 1 / ratio
        target = row["target"] if row["more_is_better"] else 1 / row["target"]
        return min(ratio / target, 2.0) * width / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="{left}" y="20" fill="#444">'
        'ratio to the reference, drawn against its target (line); beyond the line is met</text>',
    ]
    for index, row in enumerate(rows):
        y = 36 + index * step
        color = "#2a7f62" if row["met"] else "#b5482f"
        ends = sorted((length(row["lowest"], row), length(row["highest"], row)))
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(row["words"])} / {escape(row["reference"])}</text>')
        parts.append(f'<rect x="{left}" y="{y}" width="{length(row["ratio"], row):.1f}" height="16" fill="{color}"/>')
        parts.append(f'<line x1="{left + ends[0]:.1f}" x2="{left + ends[1]:.1f}" y1="{y + 8}" y2="{y + 8}" stroke="black"/>')
        parts.append(f'<text x="{left + width + 8}" y="{y + 12}">{row["ratio"]:.2f} (target {row["target"]:.3g})</text>')
    mark = left + width / 2
    parts.append(f'<line x1="{mark}" x2="{mark}" y1="28" y2="{height - 8}" stroke="#444" stroke-dasharray="4 3"/></svg>')
    with open(path, "w") as file:
        file.write("\n".join(parts) + "\n")
