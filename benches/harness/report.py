"""What came out: a table with the targets beside each figure, JSON, and a plot.

A machine's speed moves by a factor between minutes, so a ratio is taken within one repetition, and of these the median.
Ratios within 25 % of each other are no finding."""

import json
import statistics
from xml.sax.saxutils import escape

#: metric, words, more is better, [(reference, target ratio)]. A reference `a|b` is the better one of the two.
TARGETS = [
    ("tcp1_1500_gbps", "TCP 1500, 1 stream, Gb/s", True, [("vnet", 0.95), ("ovs", 10.0)]),
    ("tcp4_1500_gbps", "TCP 1500, 4 streams, Gb/s", True, [("vnet", 0.95)]),
    ("tcp1_9001_gbps", "TCP 9001, 1 stream, Gb/s", True, [("vnet", 0.95)]),
    ("tcp4_9001_gbps", "TCP 9001, 4 streams, Gb/s", True, [("vnet", 0.95)]),
    ("tcp1_1500_s_per_gb", "TCP 1500, switch CPU s/GB", False, [("vnet", 1.05)]),
    ("udp1_kpps", "UDP 64 B, one flow, k/s", True, [("coalesce", 0.95), ("ovs", 2.0), ("vde", 2.5)]),
    ("udp1_ns", "the same, CPU ns per frame", False, [("coalesce", 1.10)]),
    ("udpn_kpps", "UDP 64 B, other flow each, k/s", True, [("plain|vnet", 0.9), ("ovs", 1.3)]),
    ("udpn_ns", "the same, CPU ns per frame", False, [("plain|vnet", 1.10)]),
    ("steady_ns", "at 150 k/s, CPU ns per frame", False, [("coalesce", 1.10), ("ovs", 0.4)]),
    ("steady_loss", "at 150 k/s, loss", False, []),
    ("echo_p50_us", "ping flood p50, us", False, [("coalesce", 1.05), ("vde", 1.0)]),
    ("echo_p99_us", "ping flood p99, us", False, []),
    ("request_kps", "request/response, k/s", True, [("coalesce", 0.95), ("vde", 1.0)]),
]
OURS = "localvpc"


def better(values, more):
    known = [value for value in values if value is not None]
    return (max(known) if more else min(known)) if known else None


def ratios(figures, metric, reference, more):
    """Ours to the reference, repetition by repetition."""
    series = [figures.get(name, {}).get(metric, []) for name in reference.split("|")]
    out = []
    for index, own in enumerate(figures.get(OURS, {}).get(metric, [])):
        other = better([one[index] for one in series if index < len(one)], more)
        if own is not None and other:
            out.append(own / other)
    return out


def verdicts(figures):
    """[{metric, reference, target, ratio, lowest, highest, met}]"""
    out = []
    for metric, words, more, references in TARGETS:
        for reference, target in references:
            found = ratios(figures, metric, reference, more)
            if not found:
                continue
            ratio = statistics.median(found)
            out.append({
                "metric": metric, "words": words, "reference": reference, "more_is_better": more, "target": target,
                "ratio": ratio, "lowest": min(found), "highest": max(found),
                "met": ratio >= target if more else ratio <= target,
            })
    return out


def number(value):
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures, names):
    rows = [["median of the repetitions", *names]]
    for metric, words, _, _ in TARGETS:
        known = {name: [v for v in figures[name].get(metric, []) if v is not None] for name in names}
        if any(known.values()):
            rows.append([words] + [number(statistics.median(known[name]) if known[name] else None) for name in names])
    rows.append([])
    rows.append(["ratio within a repetition", "to", "median", "lowest", "highest", "target", ""])
    for one in verdicts(figures):
        sign = ">=" if one["more_is_better"] else "<="
        rows.append([one["words"], one["reference"], f"{one['ratio']:.2f}", f"{one['lowest']:.2f}", f"{one['highest']:.2f}",
                     f"{sign} {one['target']:.2f}", "met" if one["met"] else "MISSED"])
    lines = []
    for block in split(rows):
        widths = [max(len(row[column]) for row in block if column < len(row)) for column in range(max(map(len, block)))]
        for row in block:
            cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    return "\n".join(lines)


def split(rows):
    block = []
    for row in rows + [[]]:
        if row:
            block.append(row)
        elif block:
            yield block
            block = []


def save_json(path, machine, figures):
    with open(path, "w") as file:
        json.dump({"machine": machine, "figures": figures, "targets": verdicts(figures)}, file, indent=1)
        file.write("\n")


def load_json(path):
    with open(path) as file:
        results = json.load(file)
    return results["machine"], results["figures"]


def markdown(machine, figures):
    """The two tables with what they were measured on."""
    names = list(figures)
    lines = [
        f"Linux {machine['kernel']}, {machine['cpus']} CPUs ({machine['cpu']}); {machine['repetitions']} repetitions of "
        f"{machine['seconds']:g} s; {machine['mappings']} mappings of others in the switch's tables; load before the run "
        f"{machine['load_before']:.1f}.",
        "",
        "| median of the repetitions | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for metric, words, _, _ in TARGETS:
        known = {name: [v for v in figures[name].get(metric, []) if v is not None] for name in names}
        if any(known.values()):
            cells = [number(statistics.median(known[name]) if known[name] else None) for name in names]
            lines.append(f"| {words} | " + " | ".join(cells) + " |")
    lines += ["", "| ratio within a repetition | to | median | lowest to highest | target | |", "|---|---|---:|---|---|---|"]
    for one in verdicts(figures):
        sign = "≥" if one["more_is_better"] else "≤"
        lines.append(f"| {one['words']} | {one['reference']} | {one['ratio']:.2f} | {one['lowest']:.2f} to {one['highest']:.2f} "
                     f"| {sign} {one['target']:g} | {'met' if one['met'] else '**missed**'} |")
    return "\n".join(lines) + "\n"


def save_markdown(path, machine, figures):
    """Replaces what stands between the two marks; everything else in the file stays."""
    begin, end = "<!-- bench -->", "<!-- /bench -->"
    with open(path) as file:
        text = file.read()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise SystemExit(f"{path}: it must have one line {begin} and after it one line {end}")
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    with open(path, "w") as file:
        file.write(f"{head}{begin}\n{markdown(machine, figures)}{end}{tail}")


def save_svg(path, figures):
    """One bar a target: the median ratio, its range as a line, the target as a mark. Longer is better in every row."""
    rows = verdicts(figures)
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
        parts.append(f'<text x="{left + width + 8}" y="{y + 12}">{row["ratio"]:.2f} (target {row["target"]:g})</text>')
    mark = left + width / 2
    parts.append(f'<line x1="{mark}" x2="{mark}" y1="28" y2="{height - 8}" stroke="#444" stroke-dasharray="4 3"/></svg>')
    with open(path, "w") as file:
        file.write("\n".join(parts) + "\n")
