"""The worlds that are compared: two network namespaces, and what joins them.

Every world has its own pair of namespaces and stays up for the whole run, so that a workload can go from one to the
next within a second. Idle switches cost nothing. What a world made, it takes away; what a run that was killed left, the
next one does."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

HOSTS = ("10.9.0.10", "10.9.0.11")
CLIENT_CPU, SWITCH_CPU = "0", "1"
#: Before the number of the process that made a namespace.
PREFIX = "lvbench"


def run(*command, check=True):
    result = subprocess.run(command, capture_output=True, text=True)
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def die_with_parent():
    """Whatever ends the benchmark ends what it started, SIGKILL too (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def sweep():
    """Takes away the namespaces of runs that were killed; their processes are gone with them."""
    for line in run("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0] if line.split() else ""
        maker = name.split("-")[1] if name.startswith(f"{PREFIX}-") else ""
        if maker.isdigit() and not os.path.exists(f"/proc/{maker}"):
            run("ip", "netns", "delete", name, check=False)


class World:
    """Two hosts and what is between them."""

    #: Sends frames above 1500 bytes.
    jumbo = True
    #: Left out, with the reason, where it cannot be had.
    optional = False
    #: The addresses of the two, with the length of what each takes for its own network.
    hosts = HOSTS
    length = 24
    #: The router of each, where they are not in one network.
    routers = (None, None)

    def __init__(self, name):
        self.name = name
        stem = f"{PREFIX}-{os.getpid()}-{name}"
        self.namespaces = (f"{stem}-a", f"{stem}-b")
        #: Where a switch that makes devices by name makes them, so that no name meets another of the machine.
        self.middle = f"{stem}-m"
        self.processes = []
        self.macs = None
        self.directory = None

    def inside(self, host, *command):
        """A command in a host's namespace, on the CPU of its side."""
        cpu = CLIENT_CPU if host == 0 else SWITCH_CPU
        return ["taskset", "-c", cpu, "ip", "netns", "exec", self.namespaces[host], *command]

    def start(self, *command, ready=None, env=None):
        """Starts a part of the switch on its CPU, and waits for its line `ready`."""
        process = subprocess.Popen(
            ["taskset", "-c", SWITCH_CPU, *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE if ready else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, **(env or {})}, preexec_fn=die_with_parent)
        self.processes.append(process)
        line = ""
        while ready and not line.startswith(ready):
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command[0]} ended before it was ready")
        return line.strip()

    def start_in_middle(self, *command, env=None):
        """The same in the namespace between the hosts. `ip` becomes the command, so its process is the switch's."""
        self.start("ip", "netns", "exec", self.middle, *command, env=env)

    def up(self):
        for namespace in (*self.namespaces, self.middle):
            run("ip", "netns", "add", namespace)
            # A quiet world: nothing but what is measured.
            run("ip", "netns", "exec", namespace, "sysctl", "-qw",
                "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        self.join()
        for host, namespace in enumerate(self.namespaces):
            if self.macs:
                run("ip", "-n", namespace, "link", "set", "eth0", "address", self.macs[host])
            run("ip", "-n", namespace, "address", "add", f"{self.hosts[host]}/{self.length}", "dev", "eth0")
            run("ip", "-n", namespace, "link", "set", "eth0", "mtu", "1500", "up")
            if self.routers[host]:
                run("ip", "-n", namespace, "route", "add", "default", "via", self.routers[host])
        for _ in range(20):
            if "1 received" in run(*self.inside(0, "ping", "-c1", "-W1", self.hosts[1]), check=False):
                return
            time.sleep(0.2)
        raise RuntimeError("the hosts do not reach each other")

    def join(self):
        raise NotImplementedError

    def set_mtu(self, mtu):
        for namespace in self.namespaces:
            run("ip", "-n", namespace, "link", "set", "eth0", "mtu", str(mtu))

    def move(self, *devices):
        """Moves devices of the namespace in the middle into the hosts, as their eth0."""
        for namespace, device in zip(self.namespaces, devices):
            run("ip", "-n", self.middle, "link", "set", device, "netns", namespace, "name", "eth0")

    def wait_in_middle(self, device, seconds=10):
        until(lambda: run("ip", "-n", self.middle, "link", "show", device, check=False), f"device {device}", seconds)

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

    def busy_seconds(self):
        """CPU time of the whole machine, idle time left out: what the kernel does for a switch shows nowhere else (proc(5),
        /proc/stat)."""
        with open("/proc/stat") as file:
            spent = [int(field) for field in file.readline().split()[1:]]
        user, nice, system, _idle, _wait, interrupts, soft, stolen = spent[:8]
        return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")

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
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        for namespace in (*self.namespaces, self.middle):
            run("ip", "netns", "delete", namespace, check=False)

    def part(self):
        """Takes away what is left outside of the namespaces."""


class Copier(World):
    """The reference copier: no lookup, no checks."""

    def __init__(self, name, binaries):
        super().__init__(name)
        self.binary = f"{binaries}/reference-copier"
        # A container may forbid io_uring.
        self.optional = name in ("uring", "merged")

    def join(self):
        self.start(self.binary, self.name, *self.namespaces, ready="ready")


class Switch(World):
    """The project's own switch, with every check on and a million mappings of others beside the two that matter."""

    def __init__(self, name, binary, mappings, *further):
        super().__init__(name)
        self.binary, self.arguments = binary, (str(mappings), *further)

    def join(self):
        line = self.start(self.binary, "switch", *self.namespaces, *self.arguments, ready="ready")
        self.macs = line.split()[1:]


class Edge(World):
    """The project's switch between two hosts of a security group, or a host and one beyond the internet gateway, which the first
    reaches by its Elastic IP address or by a NAT gateway."""

    #: The internet gateway passes 1500 octets.
    jumbo = False

    def __init__(self, name, binary):
        super().__init__(name)
        self.binary = binary
        if name != "groups":
            self.hosts, self.routers = (HOSTS[0], "198.51.100.11"), ("10.9.0.1", "198.51.100.1")

    def join(self):
        line = self.start(self.binary, "edge", self.name, *self.namespaces, ready="ready")
        self.macs = line.split()[1:]


class Bridge(World):
    """The kernel's bridge between two veth pairs. Its work is done on the senders' time and shows in no process."""

    optional = True

    def join(self):
        middle = ("ip", "-n", self.middle, "link")
        run(*middle, "add", "name", "lan", "type", "bridge")
        for side, namespace in zip("ab", self.namespaces):
            run(*middle, "add", "name", f"lan-{side}", "mtu", "9001", "type", "veth",
                "peer", "name", "eth0", "mtu", "9001", "netns", namespace)
            run(*middle, "set", f"lan-{side}", "master", "lan", "up")
        run(*middle, "set", "lan", "mtu", "9001", "up")


class FilteredBridge(Bridge):
    """The kernel's bridge whose IPv4 packets go through nftables with connection tracking, as br_netfilter hands them over."""

    RULES = """table ip filter {
        chain forward {
            type filter hook forward priority 0; policy drop;
            ct state established,related accept
            ct state new ip saddr 10.9.0.0/24 accept
        }
    }"""

    def join(self):
        super().join()
        run("ip", "netns", "exec", self.middle, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
        run("ip", "netns", "exec", self.middle, "nft", self.RULES)

    def up(self):
        super().up()
        tracked = run("ip", "netns", "exec", self.middle, "cat", "/proc/sys/net/netfilter/nf_conntrack_count")
        if int(tracked) == 0:
            raise RuntimeError("packets do not pass the rules")


class OpenVSwitch(World):
    """Open vSwitch's userspace data path on TAPs, as Debian ships it."""

    jumbo = False
    optional = True
    package = "openvswitch-switch"
    daemon = "/usr/lib/openvswitch-switch/ovs-vswitchd"
    settings = ()

    def join(self):
        self.directory = directory = tempfile.mkdtemp(prefix=f"{PREFIX}-{self.name}-")
        env = {key: directory for key in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")}
        run("ovsdb-tool", "create", f"{directory}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
        self.start("ovsdb-server", f"{directory}/conf.db", f"--remote=punix:{directory}/db.sock",
                   "-vconsole:off", f"--unixctl={directory}/db.ctl", env=env)
        until(lambda: os.path.exists(f"{directory}/db.sock"), f"{directory}/db.sock")
        database = f"unix:{directory}/db.sock"
        control = ("ovs-vsctl", f"--db={database}", "--timeout=20")
        run(*control, "--no-wait", "init")
        if self.settings:
            run(*control, "--no-wait", "set", "Open_vSwitch", ".", *self.settings)
        self.start_in_middle(self.daemon, database, "-vconsole:off", "-vfile:info", f"--log-file={directory}/switch.log",
                             f"--unixctl={directory}/vs.ctl", env=env)
        run(*control, "add-br", "br", "--", "set", "bridge", "br", "datapath_type=netdev",
            "other-config:disable-in-band=true")
        for side in "ab":
            run(*control, "add-port", "br", f"br-{side}", "--", "set", "interface", f"br-{side}", "type=internal")
            self.wait_in_middle(f"br-{side}")
        self.move("br-a", "br-b")
        self.check(control)

    def check(self, control):
        """Raises where the switch runs otherwise than it is to."""


class OpenVSwitchTracking(OpenVSwitch):
    """The same with rules that track connections in the userspace data path."""

    FLOWS = ("priority=30,arp,actions=normal",
             "priority=20,ip,ct_state=-trk,actions=ct(table=0)",
             "priority=10,ip,ct_state=+trk+new,nw_src=10.9.0.0/24,actions=ct(commit),normal",
             "priority=10,ip,ct_state=+trk+est,actions=normal",
             "priority=10,ip,ct_state=+trk+rel,actions=normal",
             "priority=0,actions=drop")

    def check(self, control):
        bridge = f"unix:{self.directory}/br.mgmt"
        run("ovs-ofctl", "--timeout=20", "del-flows", bridge)
        for flow in self.FLOWS:
            run("ovs-ofctl", "--timeout=20", "add-flow", bridge, flow)


class OpenVSwitchTso(OpenVSwitch):
    """Open vSwitch's build with DPDK and `userspace-tso-enable`, on TAPs all the same: what passes 64 KiB at a time as we do.
    DPDK wants huge pages, if only for a network without a single DPDK port."""

    package = "openvswitch-switch-dpdk"
    daemon = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
    settings = ("other_config:dpdk-init=true", "other_config:userspace-tso-enable=true",
                "other_config:dpdk-lcore-mask=0x2", 'other_config:dpdk-extra="--no-pci --in-memory -m 256"')
    #: Of 2 MiB each: DPDK's 256 MiB and some room.
    PAGES = 160
    KNOB = "/proc/sys/vm/nr_hugepages"

    def join(self):
        self.pages_before = None
        free = memory("HugePages_Free")
        if memory("Hugepagesize") != 2048:
            raise RuntimeError("huge pages of this machine are not of 2 MiB")
        if free < self.PAGES:
            with open(self.KNOB) as file:
                self.pages_before = int(file.read())
            self.reserve(self.pages_before + self.PAGES - free)
            if memory("HugePages_Free") < self.PAGES:
                raise RuntimeError(f"the kernel has no {self.PAGES} huge pages (vm.nr_hugepages)")
        super().join()

    def check(self, control):
        if run(*control, "get", "Open_vSwitch", ".", "dpdk_initialized").strip() != "true":
            raise RuntimeError("DPDK did not start")

    def reserve(self, pages):
        with open(self.KNOB, "w") as file:
            file.write(str(pages))

    def part(self):
        if getattr(self, "pages_before", None) is not None:
            self.reserve(self.pages_before)


class Vde(World):
    """vde_switch with two TAPs."""

    jumbo = False
    optional = True

    def join(self):
        self.directory = tempfile.mkdtemp(prefix=f"{PREFIX}-vde-")
        self.start_in_middle("vde_switch", "-s", f"{self.directory}/ctl", "-t", "vde-a", "-t", "vde-b")
        for side in "ab":
            self.wait_in_middle(f"vde-{side}")
        self.move("vde-a", "vde-b")


def until(holds, what, seconds=10):
    end = time.time() + seconds
    while not holds():
        if time.time() > end:
            raise RuntimeError(f"{what} did not appear")
        time.sleep(0.05)


def memory(key):
    """A number of /proc/meminfo."""
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    return 0


#: Those that a full run compares.
EVERY = ("plain", "vnet", "uring", "coalesce", "localvpc", "bridge", "ovs", "ovs-tso", "vde")

#: Those that only who names them gets: what was tried. The copier that both merges and writes by io_uring, the switch that does
#: without io_uring, and the one that looks for frames for 20 us before it sleeps.
TRIED = ("merged", "calls", "spin")

#: The project's switch with its firewall and its gateways.
EDGES = ("groups", "elastic-ip", "nat")

#: What a user would take for the firewall instead.
FIREWALLS = ("bridge-ct", "ovs-ct")

NAMES = EVERY + TRIED + EDGES + FIREWALLS


def worlds(binaries, wanted, builds, mappings):
    """The worlds that can be had here, `builds` being further builds of the switch by name; what is left out, and why, is
    said."""
    made, left_out = [], []
    for name in wanted:
        if name in ("plain", "vnet", "uring", "coalesce", "merged"):
            made.append(Copier(name, binaries))
        elif name == "localvpc":
            made.append(Switch(name, f"{binaries}/bench-tools", mappings))
        elif name == "spin":
            made.append(Switch(name, f"{binaries}/bench-tools", mappings, "20"))
        elif name == "calls":
            made.append(Switch(name, f"{binaries}/bench-tools", mappings, "0", "calls"))
        elif name == "bridge":
            made.append(Bridge(name))
        elif name in EDGES:
            made.append(Edge(name, f"{binaries}/bench-tools"))
        elif name == "bridge-ct":
            if shutil.which("nft"):
                made.append(FilteredBridge(name))
            else:
                left_out.append("bridge-ct: the package nftables is not installed")
        elif name in ("ovs", "ovs-tso", "ovs-ct"):
            kind = {"ovs": OpenVSwitch, "ovs-tso": OpenVSwitchTso, "ovs-ct": OpenVSwitchTracking}[name]
            if shutil.which("ovs-vsctl") and os.path.exists(kind.daemon):
                made.append(kind(name))
            else:
                left_out.append(f"{name}: the package {kind.package} is not installed")
        elif name == "vde":
            if shutil.which("vde_switch"):
                made.append(Vde(name))
            else:
                left_out.append("vde: the package vde2 is not installed")
        else:
            raise SystemExit(f"bench: there is no world '{name}'; there are {', '.join(NAMES)}")
    made += [Switch(name, path, mappings) for name, path in builds]
    for one in made:
        binary = getattr(one, "binary", None)
        if binary and not os.access(binary, os.X_OK):
            raise SystemExit(f"bench: there is no program {binary}: build it with cargo build --features bench-tools")
    return made, left_out
