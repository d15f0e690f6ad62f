"""Starts a server with a small network, asks it over its socket, and watches what it costs."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time

NETWORK = {
    "vpcs": {"v": {"cidr_blocks": ["10.0.0.0/16"], "ipv6_cidr_blocks": ["2001:db8:7::/56"]}},
    "subnets": {"s": {"vpc": "v", "cidr_block": "10.0.0.0/20", "ipv6_cidr_block": "2001:db8:7::/64"}},
    # a and b are the pair that must not lose a ping; c is the tenant who attacks.
    "instances": {name: {"subnet": "s", "ipv4": [address]} for name, address in
                  (("a", "10.0.0.10"), ("b", "10.0.0.11"), ("c", "10.0.0.12"))},
}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Server:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.socket = os.path.join(folder, "api.sock")
        network = os.path.join(folder, "network.yaml")
        with open(network, "w", encoding="utf-8") as file:
            json.dump(NETWORK, file)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCALVPC_")}
        environment["LOCALVPC_RUN_DIRECTORY"] = os.path.join(folder, "records")
        self.log = open(os.path.join(folder, "server.log"), "ab")
        self.process = subprocess.Popen(
            [binary, "up", network, "--socket", self.socket, "--listen", "127.0.0.1:0", "--allow-exec"],
            stdout=subprocess.PIPE, stderr=self.log, env=environment)
        self.address = None
        for line in self.process.stdout:
            text = line.decode().strip()
            if text.startswith("API at http://"):
                host, port = text.removeprefix("API at http://").rsplit(":", 1)
                self.address = (host.strip("[]"), int(port))
            if text.startswith("Ctrl-C ends it"):
                break
        else:
            raise SystemExit("the server did not start: see " + self.log.name)
        # What it prints later is of no interest, and must not fill the pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    @property
    def pid(self):
        return self.process.pid

    def ask(self, method, path, body=None, timeout=60):
        """Status and JSON of one request."""
        connection = UnixConnection(self.socket, timeout)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            connection.close()

    def must(self, method, path, body=None, timeout=60):
        status, answer = self.ask(method, path, body, timeout)
        if status >= 300:
            raise Finding(f"{method} {path}: {status} {answer}")
        return answer

    def host_pid(self, name):
        return self.must("GET", f"/v1/instances/{name}")["pid"]

    def inside(self, name, *command, **options):
        """A process in a host."""
        return subprocess.Popen(["nsenter", "-t", str(self.host_pid(name)), "-a", *command], **options)

    def raw(self, data, unix=True, timeout=5, close=False):
        """What comes back for some octets, until the server closes or falls silent; empty when it closed at once."""
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        sock.settimeout(timeout)
        try:
            sock.connect(self.socket if unix else self.address)
            sock.sendall(data)
            if close:
                sock.shutdown(socket.SHUT_WR)
            answer = b""
            while len(answer) < 1 << 16:
                part = sock.recv(1 << 14)
                if not part:
                    break
                answer += part
            return answer
        except OSError:
            # Hung up on before it had all, or silent.
            return b""
        finally:
            sock.close()

    def end(self, number=signal.SIGTERM, patience=20):
        """Its exit code, and the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(patience)
        return code, time.monotonic() - began


class Finding(Exception):
    """Something that must not be."""


def costs(pid):
    """Resident MiB, descriptors and threads of a process."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    resident = int(fields["VmRSS"].split()[0]) / 1024
    return {"memory": resident, "descriptors": len(os.listdir(f"/proc/{pid}/fd")), "threads": int(fields["Threads"])}


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


class Watch:
    """Asks for the server's health, and counts the pings of the pair, while other things go on."""

    def __init__(self, server):
        self.server = server
        self.health, self.failures, self.peak = [], [], {}
        self.stop = threading.Event()
        self.pings = server.inside("a", "ping", "-n", "-i", "0.05", "-W", "5", "10.0.0.11",
                                   stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.05):
            began = time.monotonic()
            try:
                status, _ = self.server.ask("GET", "/healthz", timeout=10)
                if status != 200:
                    self.failures.append(f"/healthz: {status}")
            except OSError as error:
                self.failures.append(f"/healthz: {error}")
            self.health.append(time.monotonic() - began)
            for name, value in costs(self.server.pid).items():
                self.peak[name] = max(self.peak.get(name, 0), value)

    def end(self):
        """The figures of the time that was watched."""
        self.stop.set()
        self.thread.join()
        # nsenter is the parent of the ping; SIGINT lets that write its summary.
        subprocess.run(["pkill", "-INT", "-P", str(self.pings.pid)], check=False)
        self.pings.send_signal(signal.SIGINT)
        output, _ = self.pings.communicate(timeout=15)
        times = [float(line.split("time=")[1].split()[0]) for line in output.splitlines() if "time=" in line]
        summary = next((line for line in output.splitlines() if "packets transmitted" in line), "")
        words = summary.replace(",", "").split()
        sent, received = (int(words[0]), int(words[3])) if words else (0, 0)
        # The one that is under way at the end has not come back yet.
        return {"pings": sent, "lost": max(0, sent - received - 1) if sent else -1,
                "pair_p99_ms": percentile(times, 0.99), "health_p99_ms": percentile(self.health, 0.99) * 1000,
                "health": len(self.health), "failures": self.failures, "peak": self.peak}
