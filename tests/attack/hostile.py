"""Requests and files that were not written by a friend: the same ones for the same seed."""

import http.client
import json
import random

from server import Finding

EDGES = [0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**40, -(2**63), 1e308, 0.1, True, None, "", " ", "\0", "a" * 5000, "é" * 300,
         "../../etc/passwd", "/dev/zero", "/proc/1/ns/net", "-1s", "18446744073709551615s", "1e999s", "0s", "10.0.0.0/33",
         "::/0", "0.0.0.0", "255.255.255.255/0", "ff02::1", "eni-00000000000000000", "{{ a.ipv4 }}", [], {}, [[[[]]]],
         {"a": {"a": {"a": {}}}}, ["x"] * 500]


def operations(server):
    document = server.must("GET", "/v1/openapi.json")
    # The body of these is a file, which has its turn below; the rest of the streams is read by others.
    # A fault acts on purpose, on the pair as well.
    skipped = ("/v1/events", "/v1/captures", "exec", "/v1/runs", "/v1/faults")
    return [(method.upper(), path, operation) for path, item in document["paths"].items()
            for method, operation in item.items()
            if method in ("get", "post", "put", "patch", "delete") and not any(part in path for part in skipped)]


def fields(document, schema, depth=0):
    if "$ref" in schema:
        return fields(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], depth)
    return list(schema.get("properties", {})) if depth < 3 else []


def request(server, chance, document, known):
    """One request of a shape that the API knows with values that it does not."""
    method, path, operation = chance.choice(known)
    while "{" in path:
        head, rest = path.split("{", 1)
        _, tail = rest.split("}", 1)
        # What has the pair's names is asked about, and not changed: a detach would be obeyed.
        known_names = ["a", "b", "s", "v", "10.0.0.10"] if method == "GET" else []
        value = str(chance.choice([*known_names, *EDGES[:12], "%00", "%2e%2e", "x" * 300]))
        path = head + "".join(c if c.isascii() and (c.isalnum() or c in "-._~%") else "%41" for c in value) + tail
    if chance.random() < 0.3:
        path += "?" + chance.choice(["limit=-1", "limit=99999999999999999999", "cursor=%ff", "a=b&a=b", "=", "after=-1",
                                     "subnet=" + "x" * 4000, "filter=" + "%20" * 900])
    body = None
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        names = fields(document, next(iter(content.values())).get("schema", {})) or ["name"]
        body = {name: chance.choice(EDGES) for name in names if chance.random() < 0.6}
        if chance.random() < 0.1:
            body = chance.choice(EDGES)
    return method, path, body


MALFORMED = [
    b"", b"\r\n\r\n", b"\0" * 2000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
    b"GET /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    b"GET http://user@localhost/v1/vpcs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/vpcs HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /v1/" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5_000 + b"\r\n",
    b"POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    b"POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00{",
    b"POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40000\r\n\r\n"
    + b"[" * 40_000,
    b"POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 268435456\r\n\r\n",
    b"DELETE /v1/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


def requests(server, count, seed):
    """Sends them; none may be answered by a failure of the server."""
    chance = random.Random(seed)
    known, document = operations(server), server.must("GET", "/v1/openapi.json")
    seen = {}
    for number in range(count):
        if number % 5 == 4:
            data = chance.choice(MALFORMED)
            answer = server.raw(data, unix=number % 2 == 0, timeout=3, close=True)
            status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
            what = repr(data[:80])
        else:
            method, path, body = request(server, chance, document, known)
            # The pair has to go on: what is asked for with success is put back by names that nothing else has.
            if method in ("DELETE", "PUT") and any(f"/{name}" in path for name in ("a", "b", "s", "v")):
                continue
            try:
                status, _ = server.ask(method, path, body)
            except json.JSONDecodeError:
                status = 200
            except (ConnectionError, http.client.HTTPException):
                # It may hang up on what is too large to be read.
                status = 0
            what = f"{method} {path[:200]} {json.dumps(body)[:300]}"
        if status >= 500 and status not in (501, 503):
            raise Finding(f"request {number} of seed {seed}: {status} for {what}")
        seen[status] = seen.get(status, 0) + 1
    if seen.get(0, 0) > count // 4:
        raise Finding(f"the server hung up on {seen[0]} of {count} requests")
    return seen


def mutate(chance, text):
    """A file with a few changes that a tool or an enemy would make."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        edge = chance.choice(EDGES)
        piece = chance.choice([json.dumps(edge), str(edge), "&a [*a,*a]", "<<: *x", "? ", "- - - -", "!!binary x", "\t", "{" * 200,
                               "[" * 200, ": ", "#", "|2", "'", '"', "%YAML 9", "---", "\u2028", "on:", "\x7f", "a" * 2000])
        cut = at + chance.choice([0, 0, 1, 5, 40])
        text = text[:at] + piece + text[cut:]
    return text


def send(server, path, body):
    head = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    answer = server.raw(head.encode() + body, timeout=20)
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


def files(server, count, seed, scenario, topology):
    """Sends them as plans and as scenarios."""
    chance = random.Random(seed)
    seen = {}
    for path, text in (("/v1/topology/plan", topology), ("/v1/scenarios", scenario)):
        status = send(server, path, text.encode())
        if status not in (200, 201):
            raise Finding(f"{path}: the file as it was written: {status}")
    for number in range(count):
        path, text = chance.choice([("/v1/topology/plan", topology), ("/v1/scenarios", scenario)])
        body = mutate(chance, text).encode("utf-8", "surrogatepass")
        status = send(server, path, body)
        if status >= 500 or status == 0:
            raise Finding(f"file {number} of seed {seed}: {status} for {path}: {body[:400]!r}")
        seen[status] = seen.get(status, 0) + 1
    return seen
