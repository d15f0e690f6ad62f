"""What a tenant can send: run inside a host, `python3 floods.py KIND SECONDS`. Prints how many frames it sent."""

import os
import random
import socket
import struct
import sys
import time

CHANCE = random.Random(7)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def own_mac():
    with open("/sys/class/net/eth0/address", encoding="ascii") as file:
        return mac(file.read().strip())


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1])) + (data[-1] << 8 if len(data) % 2 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(protocol, source, target, payload, flags=0, ttl=64):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), CHANCE.getrandbits(16), flags, ttl, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def any_address():
    return f"10.0.{CHANCE.randrange(16)}.{CHANCE.randrange(256)}"


def arp(own):
    sender = CHANCE.choice([own, os.urandom(6)])
    return b"\xff" * 6 + own + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, CHANCE.choice([1, 2])) + sender \
        + socket.inet_aton(any_address()) + b"\0" * 6 + socket.inet_aton(any_address())


def neighbor(own):
    target = socket.inet_pton(socket.AF_INET6, f"2001:db8:7::{CHANCE.getrandbits(16):x}")
    body = struct.pack("!BBHI", CHANCE.choice([133, 134, 135, 136, 137]), 0, 0, 0) + target + b"\x01\x01" + own
    source = socket.inet_pton(socket.AF_INET6, f"fe80::{CHANCE.getrandbits(16):x}")
    group = b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + target[-3:]
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + group
    return b"\x33\x33" + group[-4:] + own + b"\x86\xdd" + head + body


def forged(own):
    packet = ipv4(17, any_address(), "10.0.0.11", struct.pack("!HHHH", 9, 9, 108, 0) + b"x" * 100)
    return os.urandom(6) + CHANCE.choice([own, os.urandom(6)]) + b"\x08\x00" + packet


def noise(own):
    return os.urandom(6) + own + os.urandom(CHANCE.randrange(2, 1500))


def fragments(own):
    packet = ipv4(17, "10.0.0.12", any_address(), os.urandom(64), flags=0x2000 | CHANCE.randrange(0x1FFF))
    return ROUTER + own + b"\x08\x00" + packet


def services(own):
    target, port = CHANCE.choice([("169.254.169.254", 80), ("169.254.169.253", 53), ("169.254.169.123", 123),
                                  ("255.255.255.255", 67), ("10.0.0.2", 53)])
    if port == 80:
        payload = struct.pack("!HHIIBBHHH", CHANCE.getrandbits(16), 80, CHANCE.getrandbits(32), 0, 0x50, 2, 8192, 0, 0)
        packet = ipv4(6, "10.0.0.12", target, payload)
    else:
        data = os.urandom(CHANCE.randrange(12, 400))
        packet = ipv4(17, "10.0.0.12", target, struct.pack("!HHHH", CHANCE.getrandbits(16), port, 8 + len(data), 0) + data)
    return (b"\xff" * 6 if port == 67 else ROUTER) + own + b"\x08\x00" + packet


def victim(own):
    packet = ipv4(17, "10.0.0.12", "10.0.0.11", struct.pack("!HHHH", 9, 9, 1208, 0) + b"x" * 1200)
    return VICTIM + own + b"\x08\x00" + packet


KINDS = {"arp": arp, "neighbor": neighbor, "forged": forged, "noise": noise, "fragments": fragments, "services": services,
         "victim": victim}
ROUTER = VICTIM = b"\xff" * 6


def learn():
    """The MACs of the router and of the victim, as the kernel resolves them."""
    global ROUTER, VICTIM
    for address in ("10.0.0.1", "10.0.0.11"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (address, 9))
    time.sleep(0.3)
    with open("/proc/net/arp", encoding="ascii") as file:
        table = {line.split()[0]: line.split()[3] for line in file.readlines()[1:]}
    ROUTER, VICTIM = mac(table["10.0.0.1"]), mac(table["10.0.0.11"])


def main():
    kind, seconds = sys.argv[1], float(sys.argv[2])
    learn()
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind(("eth0", 0))
    own, sent, end = own_mac(), 0, time.monotonic() + seconds
    frames = [KINDS[kind](own) for _ in range(500)]
    while time.monotonic() < end:
        for frame in frames:
            try:
                sock.send(frame)
                sent += 1
            except OSError:
                # A queue that is full takes no more for a while.
                time.sleep(0.0005)
    print(sent)


main()
