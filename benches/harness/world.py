"""The worlds that are compared: two network namespaces, and what joins them.

Every world has its own pair of namespaces and stays up for the whole run, so that a workload can go from one to the
next within a second. Idle switches cost nothing. What a world made, it takes away."""

import os
import shutil
import subprocess
import tempfile
import time

HOSTS = ("10.9.0.10", "10.9.0.11")
CLIENT_CPU, SWITCH_CPU = "0", "1"


def run(*command, check=True):
    result = subprocess.run(command, capture_output=True, text=True)
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


class World:
    """Two hosts and what is between them."""

    #: Sends frames above 1500 bytes.
    jumbo = True

    def __init__(self, name):
        self.name = name
        self.namespaces = (f"lvbench-{name}-a", f"lvbench-{name}-b")
        self.processes = []
        self.macs = None

    def inside(self, host, *command):
        """A command in a host's namespace, on the CPU of its side."""
        cpu = CLIENT_CPU if host == 0 else SWITCH_CPU
        return ["taskset", "-c", cpu, "ip", "netns", "exec", self.namespaces[host], *command]

    def start(self, *command, ready=None, env=None):
        """Starts a part of the switch on its CPU, and waits for its line `ready`."""
        process = subprocess.Popen(
            ["taskset", "-c", SWITCH_CPU, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, **(env or {})})
        self.processes.append(process)
        line = ""
        while ready and not line.startswith(ready):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} ended before it was ready")
        return line.strip()

    def up(self):
        for namespace in self.namespaces:
            run("ip", "netns", "add", namespace)
            # A quiet world: nothing but what is measured.
            run("ip", "netns", "exec", namespace, "sysctl", "-qw",
                "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        self.join()
        for host, namespace in enumerate(self.namespaces):
            if self.macs:
                run("ip", "-n", namespace, "link", "set", "eth0", "address", self.macs[host])
            run("ip", "-n", namespace, "address", "add", f"{HOSTS[host]}/24", "dev", "eth0")
            run("ip", "-n", namespace, "link", "set", "eth0", "up")
        for _ in range(20):
            if "1 received" in run(*self.inside(0, "ping", "-c1", "-W1", HOSTS[1]), check=False):
                return
            time.sleep(0.2)
        raise RuntimeError(f"{self.name}: the hosts do not reach each other")

    def join(self):
        raise NotImplementedError

    def set_mtu(self, mtu):
        for namespace in self.namespaces:
            run("ip", "-n", namespace, "link", "set", "eth0", "mtu", str(mtu))

    def move(self, *devices):
        """Moves devices of this namespace into the hosts, as their eth0."""
        for namespace, device in zip(self.namespaces, devices):
            run("ip", "link", "set", device, "netns", namespace, "name", "eth0")

    def cpu_seconds(self):
        """CPU time of the switch: to the nanosecond from schedstat, the receiving host's stack included, which runs
        within the switch's writes."""
        total = 0
        for process in self.processes:
            tasks = f"/proc/{process.pid}/task"
            try:
                for task in os.listdir(tasks):
                    with open(f"{tasks}/{task}/schedstat") as file:
                        total += int(file.read().split()[0])
            except FileNotFoundError:
                pass
        return total / 1e9

    def down(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        self.part()
        for namespace in self.namespaces:
            run("ip", "netns", "delete", namespace, check=False)

    def part(self):
        """Takes away what is left outside of the namespaces."""


class Copier(World):
    """The reference copier: no lookup, no checks."""

    def __init__(self, name, binaries):
        super().__init__(name)
        self.binary = f"{binaries}/reference-copier"

    def join(self):
        self.start(self.binary, self.name, *self.namespaces, ready="ready")


class Switch(World):
    """The project's own switch, with every check on and a million mappings of others beside the two that matter."""

    def __init__(self, name, binaries, mappings):
        super().__init__(name)
        self.binary, self.mappings = f"{binaries}/bench-tools", mappings

    def join(self):
        line = self.start(self.binary, "switch", *self.namespaces, str(self.mappings), ready="ready")
        self.macs = line.split()[1:]


class Bridge(World):
    """The kernel's bridge between two veth pairs. Its work is done on the senders' time and shows in no process."""

    def join(self):
        run("ip", "link", "add", "lvbr", "type", "bridge")
        for side, namespace in zip("ab", self.namespaces):
            run("ip", "link", "add", f"lvbr-{side}", "mtu", "9001", "type", "veth",
                "peer", "name", "eth0", "mtu", "9001", "netns", namespace)
            run("ip", "link", "set", f"lvbr-{side}", "master", "lvbr", "up")
        run("ip", "link", "set", "lvbr", "mtu", "9001", "up")

    def part(self):
        for device in ("lvbr-a", "lvbr-b", "lvbr"):
            run("ip", "link", "delete", device, check=False)


class OpenVSwitch(World):
    """Open vSwitch's userspace data path on TAPs, as Debian ships it."""

    jumbo = False

    def join(self):
        self.directory = tempfile.mkdtemp(prefix="lvbench-ovs-")
        directory = self.directory
        env = {key: directory for key in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")}
        run("ovsdb-tool", "create", f"{directory}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        self.start("ovsdb-server", f"{directory}/conf.db", f"--remote=punix:{directory}/db.sock",
                   "-vconsole:off", f"--unixctl={directory}/db.ctl", env=env)
        wait_for(f"{directory}/db.sock")
        database = f"unix:{directory}/db.sock"
        control = ("ovs-vsctl", f"--db={database}", "--timeout=10")
        run(*control, "--no-wait", "init")
        self.start(ovs_daemon(), database, "-vconsole:off", f"--unixctl={directory}/vs.ctl", env=env)
        run(*control, "add-br", "lvovs", "--", "set", "bridge", "lvovs", "datapath_type=netdev",
            "other-config:disable-in-band=true")
        for side in "ab":
            port = f"lvovs-{side}"
            run(*control, "add-port", "lvovs", port, "--", "set", "interface", port, "type=internal")
        self.move("lvovs-a", "lvovs-b")

    def part(self):
        run("ip", "link", "delete", "lvovs", check=False)
        run("ip", "link", "delete", "ovs-netdev", check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


class Vde(World):
    """vde_switch with two TAPs."""

    jumbo = False

    def join(self):
        self.directory = tempfile.mkdtemp(prefix="lvbench-vde-")
        self.start("vde_switch", "-s", f"{self.directory}/ctl", "-t", "lvvde-a", "-t", "lvvde-b")
        for side in "ab":
            wait_for(f"/sys/class/net/lvvde-{side}")
        self.move("lvvde-a", "lvvde-b")

    def part(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def ovs_daemon():
    return shutil.which("ovs-vswitchd") or "/usr/lib/openvswitch-switch/ovs-vswitchd"


def wait_for(path, seconds=10):
    end = time.time() + seconds
    while not os.path.exists(path):
        if time.time() > end:
            raise RuntimeError(f"{path} did not appear")
        time.sleep(0.05)


def worlds(binaries, wanted, mappings):
    """The worlds that can be had here; what is left out, and why, is said."""
    made, left_out = [], []
    for name in wanted:
        if name in ("plain", "vnet", "coalesce"):
            made.append(Copier(name, binaries))
        elif name == "localvpc":
            made.append(Switch(name, binaries, mappings))
        elif name == "bridge":
            made.append(Bridge(name))
        elif name == "ovs":
            if shutil.which("ovs-vsctl") and os.path.exists(ovs_daemon()):
                made.append(OpenVSwitch(name))
            else:
                left_out.append("ovs: the package openvswitch-switch is not installed")
        elif name == "vde":
            if shutil.which("vde_switch"):
                made.append(Vde(name))
            else:
                left_out.append("vde: the package vde2 is not installed")
        else:
            raise SystemExit(f"there is no world '{name}'")
    return made, left_out
