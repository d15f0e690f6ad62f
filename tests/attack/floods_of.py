"""Lets a host flood its network; what it sends stands in floods.py, which runs inside."""

import os
import subprocess

from server import Finding

KINDS = ("arp", "neighbor", "forged", "noise", "fragments", "services", "victim")


def run(server, host, kind, seconds):
    """How many frames it sent."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floods.py")
    # By a descriptor: the host does not see every directory of the machine.
    with open(path, "rb") as program:
        flood = server.inside(host, "python3", "-", kind, str(seconds), stdin=program, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        output, error = flood.communicate(timeout=seconds + 30)
    if flood.returncode != 0:
        raise Finding(f"the flood {kind} does not run: {error.strip()[-300:]}")
    return int(output)
