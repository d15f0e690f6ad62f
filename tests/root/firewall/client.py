# Two exchanges of each protocol with the server at argv[1]; between them it waits for the file argv[2] + ".go". The answers
# that came are written to argv[2] + ".first" and argv[2] + ".second". argv[3] is the number of a protocol without ports.
import os
import pathlib
import socket
import struct
import sys
import threading
import time

server, files, number = sys.argv[1:]
family = socket.AF_INET6 if ":" in server else socket.AF_INET
TIMEOUT = 0.8


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Stream:
    def exchange(self, text):
        if not hasattr(self, "socket"):
            self.socket = socket.socket(family, socket.SOCK_STREAM)
            self.socket.settimeout(TIMEOUT)
            self.socket.connect((server, 80))
        self.socket.sendall(text)
        return self.socket.recv(100) == text


class Datagrams:
    def __init__(self, kind, protocol, port):
        self.socket = socket.socket(family, kind, protocol)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect((server, port))

    def exchange(self, text):
        self.socket.send(text)
        return self.socket.recv(2000).endswith(text)


class Echo(Datagrams):
    def __init__(self):
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        super().__init__(socket.SOCK_RAW, protocol, 0)

    def exchange(self, text):
        kind, answer = (128, 129) if family == socket.AF_INET6 else (8, 0)
        message = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, 1) + text
        # The kernel fills in the checksum of ICMPv6.
        message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        self.socket.send(message)
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            data = self.socket.recv(2000)
            if family == socket.AF_INET:
                data = data[(data[0] & 15) * 4 :]
            if data[0] == answer and data.endswith(text):
                return True
        return False


def attempt(client, text):
    try:
        return client.exchange(text)
    except OSError:
        return False


clients = {
    "tcp": Stream(),
    "udp": Datagrams(socket.SOCK_DGRAM, 0, 5300),
    "icmp": Echo(),
    "other": Datagrams(socket.SOCK_RAW, int(number), 0),
}


def round(name, text):
    answered = {}

    def one(protocol):
        answered[protocol] = attempt(clients[protocol], text)

    threads = [threading.Thread(target=one, args=(protocol,)) for protocol in clients]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    words = " ".join(protocol for protocol in clients if answered[protocol])
    # Renamed, so that the file is whole as soon as it is there.
    pathlib.Path(files + ".part").write_text(words + ".")
    os.rename(files + ".part", files + name)


round(".first", b"first1")
while not os.path.exists(files + ".go"):
    time.sleep(0.01)
round(".second", b"second")
