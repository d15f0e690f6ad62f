#!/usr/bin/env python3
"""Computes the outage of a stream of ICMP echo requests from a pcapng capture, with nothing but the capture.

Usage: outage_from_capture.py CAPTURE CLIENT TARGET TIMEOUT_MS

Prints JSON: requests sent and lost, and each window of outage from the first request that was lost to the first one after
it that was answered in time, in nanoseconds since the first request.
"""

import ipaddress
import json
import struct
import sys


def packets(data):
    """Time in nanoseconds and octets of every packet of a little-endian section whose clocks tick in nanoseconds."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if kind == 6:
            _, high, low, captured, _ = struct.unpack_from("<IIIII", data, at + 8)
            yield high << 32 | low, data[at + 28 : at + 28 + captured]
        at += length


def echo(frame):
    """Addresses, whether it is a request, and what names the request; None for anything else."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 1:
        return None
    header = (frame[14] & 15) * 4
    message = frame[14 + header :]
    if message[0] not in (0, 8):
        return None
    source, target = (ipaddress.ip_address(frame[start : start + 4]) for start in (26, 30))
    # Identifier, sequence number and the payload, which has the whole number.
    return source, target, message[0] == 8, message[4:24]


def main():
    path, client, target, timeout = sys.argv[1:]
    client, target = ipaddress.ip_address(client), ipaddress.ip_address(target)
    with open(path, "rb") as file:
        data = file.read()
    sent, answered = {}, {}
    for at, frame in packets(data):
        found = echo(frame)
        if found is None:
            continue
        source, destination, request, name = found
        if request and (source, destination) == (client, target):
            sent.setdefault(name, at)
        elif not request and (source, destination) == (target, client):
            answered.setdefault(name, at)
    start = min(sent.values(), default=0)
    windows, lost, first = [], 0, None
    for name, at in sorted(sent.items(), key=lambda item: item[1]):
        in_time = name in answered and answered[name] - at <= int(timeout) * 1_000_000
        if not in_time:
            lost += 1
            first = at if first is None else first
        elif first is not None:
            windows.append({"from": first - start, "to": at - start})
            first = None
    if first is not None:
        windows.append({"from": first - start, "to": None})
    print(json.dumps({"sent": len(sent), "lost": lost, "windows": windows}))


main()
