# Echoes TCP at port 80, UDP at port 5300 and the protocols 200 to 209, in both families. The kernel echoes ICMP.
import pathlib
import socket
import threading


def tcp(family):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", 80))
    listener.listen(64)

    def serve(connection):
        while data := connection.recv(100):
            connection.sendall(data)

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def datagrams(family, kind, protocol, port):
    echo = socket.socket(family, kind, protocol)
    if port:
        if family == socket.AF_INET6:
            echo.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        echo.bind(("", port))
    while True:
        data, sender = echo.recvfrom(2000)
        if kind == socket.SOCK_RAW and family == socket.AF_INET:
            data = data[(data[0] & 15) * 4 :]
        try:
            echo.sendto(data, sender if port else (sender[0], 0))
        except OSError:
            pass  # not let out


for family in socket.AF_INET, socket.AF_INET6:
    threading.Thread(target=tcp, args=(family,)).start()
    threading.Thread(target=datagrams, args=(family, socket.SOCK_DGRAM, 0, 5300)).start()
    for protocol in range(200, 210):
        threading.Thread(target=datagrams, args=(family, socket.SOCK_RAW, protocol, 0)).start()
pathlib.Path("/run/ready").touch()
