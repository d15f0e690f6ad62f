"""The workloads. Each runs in one world and returns its figures: {metric: number}."""

import json
import math
import subprocess
import time

from world import die_with_parent, run

PORT = 5201
#: Frames per second of the workload that shows the cost of a frame below saturation.
STEADY = 150_000
#: Distinct flows where every frame is of another flow than the one before.
MANY_FLOWS = 1024


class Work:
    """The tools and how long to work."""

    def __init__(self, binaries, seconds):
        self.tools = f"{binaries}/bench-tools"
        self.seconds = seconds

    def serve(self, world, *command, ready):
        """Starts the receiving side and waits until it is."""
        process = subprocess.Popen(world.inside(1, *command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   preexec_fn=die_with_parent)
        line = ""
        while ready not in line:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} ended before it was ready")
        return process

    def tcp(self, world, mtu, streams):
        world.set_mtu(mtu)
        server = self.serve(world, "iperf3", "-s", "-1", "-p", str(PORT), "--forceflush", ready="listening")
        try:
            before, busy_before = world.cpu_seconds(), world.busy_seconds()
            # In whole seconds: of a part of one it makes 0, which is for ever.
            seconds = str(math.ceil(self.seconds))
            out = run(*world.inside(0, "iperf3", "-c", world.hosts[1], "-p", str(PORT), "-t", seconds, "-P", str(streams),
                                    "-C", "cubic", "--connect-timeout", "3000", "-J"), check=False)
            cpu = world.cpu_seconds() - before if world.processes else None
            busy = world.busy_seconds() - busy_before
        finally:
            stop(server)
            world.set_mtu(1500)
        result = json.loads(out)
        if "error" in result:
            raise RuntimeError(result["error"])
        received = result["end"]["sum_received"]
        gigabytes = received["bytes"] / 1e9
        name = f"tcp{streams}_{mtu}"
        return {
            f"{name}_gbps": received["bits_per_second"] / 1e9,
            f"{name}_s_per_gb": cpu / gigabytes if cpu and gigabytes else None,
            f"{name}_busy_s_per_gb": busy / gigabytes if gigabytes else None,
        }

    def udp(self, world, name, flows, rate):
        at = f"{world.hosts[1]}:{PORT}"
        receiver = self.serve(world, self.tools, "udp-receive", at, str(self.seconds + 0.6), ready="ready")
        try:
            before, busy_before = world.cpu_seconds(), world.busy_seconds()
            sent = json.loads(run(*world.inside(0, self.tools, "udp-send", world.hosts[0], at, str(self.seconds), str(rate), str(flows))))
            out, _ = receiver.communicate(timeout=self.seconds + 10)
            cpu = world.cpu_seconds() - before if world.processes else None
            busy = world.busy_seconds() - busy_before
        finally:
            stop(receiver)
        received = json.loads(out.strip().splitlines()[-1])
        frames = received["received"]
        if not frames or not received["seconds"]:
            raise RuntimeError("next to nothing arrived")
        return {
            f"{name}_kpps": frames / received["seconds"] / 1e3,
            f"{name}_ns": cpu / frames * 1e9 if cpu else None,
            f"{name}_per_busy_s": frames / busy / 1e3 if busy else None,
            f"{name}_loss": 1 - frames / sent["sent"],
        }

    def echo(self, world):
        out = json.loads(run(*world.inside(0, self.tools, "echo", world.hosts[1], str(self.seconds))))
        return {"echo_p50_us": out["p50_us"], "echo_p99_us": out["p99_us"]}

    def request(self, world):
        at = f"{world.hosts[1]}:{PORT}"
        server = self.serve(world, self.tools, "respond", at, ready="ready")
        try:
            out = json.loads(run(*world.inside(0, self.tools, "request", at, str(self.seconds))))
        finally:
            stop(server)
        return {"request_kps": out["transactions"] / out["seconds"] / 1e3}


def stop(process):
    """Ends the receiving side, if it has not ended by itself."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def firewall(work):
    """Those that show what a firewall and a gateway cost."""
    return [one for one in workloads(work, True) if one[0] not in ("udp 64 B at 150 k/s", "ping flood")]


def workloads(work, quick):
    """(name, needs jumbo frames, function of a world), in the order in which they run."""
    every = [
        ("tcp, 1 stream, MTU 1500", False, lambda world: work.tcp(world, 1500, 1)),
        ("tcp, 4 streams, MTU 1500", False, lambda world: work.tcp(world, 1500, 4)),
        ("tcp, 1 stream, MTU 9001", True, lambda world: work.tcp(world, 9001, 1)),
        ("tcp, 4 streams, MTU 9001", True, lambda world: work.tcp(world, 9001, 4)),
        ("udp 64 B, one flow", False, lambda world: work.udp(world, "udp1", 1, 0)),
        ("udp 64 B, every frame another flow", False, lambda world: work.udp(world, "udpn", MANY_FLOWS, 0)),
        ("udp 64 B at 150 k/s", False, lambda world: work.udp(world, "steady", 1, STEADY)),
        ("ping flood", False, work.echo),
        ("request/response", False, work.request),
    ]
    return [one for one in every if not (quick and ("4 streams" in one[0] or "9001" in one[0]))]


def measure(worlds, work_list, repetitions, say):
    """Every workload in every world in turn, again and again: {world: {metric: [one figure a repetition]}}, and the pairs of
    world and workload that never had a figure."""
    figures = {world.name: {} for world in worlds}
    failed = {(world.name, name) for name, jumbo, _ in work_list for world in worlds if world.jumbo or not jumbo}
    for repetition in range(repetitions):
        for name, jumbo, workload in work_list:
            # In another order each time, so that no world always follows the same one.
            turn = repetition % len(worlds)
            for world in worlds[turn:] + worlds[:turn]:
                if jumbo and not world.jumbo:
                    continue
                say(f"{repetition + 1}/{repetitions}  {name}  {world.name}")
                try:
                    result = workload(world)
                    failed.discard((world.name, name))
                except (RuntimeError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
                    say(f"  {world.name}: {error}", keep=True)
                    result = {}
                for metric, value in result.items():
                    series = figures[world.name].setdefault(metric, [None] * repetitions)
                    series[repetition] = value
                time.sleep(0.05)
    return figures, sorted(failed)
