#!/usr/bin/env python3
"""A CI job: plays a scenario several times on a server that runs already, and fails unless every run passes.

usage: ci_job.py SCENARIO FOLDER [REPEAT]

LOCALVPC_SOCKET is the server's unix socket. The server was started with --allow-exec. Needs nothing but Python 3.
"""

import http.client
import json
import os
import pathlib
import socket
import sys


class Api(http.client.HTTPConnection):
    """HTTP over the server's unix socket."""

    def __init__(self):
        super().__init__("localhost")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["LOCALVPC_SOCKET"])


def call(method, path, body=None):
    api = Api()
    headers = {"Content-Type": "application/json"} if body is not None else {}
    api.request(method, "/v1" + path, json.dumps(body) if body is not None else None, headers)
    answer = api.getresponse()
    if answer.status >= 400:
        # A refusal is a problem document. That of a file has every mistake, with its line.
        problem = json.load(answer)
        told = [f"{method} {path}: {answer.status} {problem['detail']}"]
        for mistake in problem.get("mistakes", []):
            told.append(f"line {mistake['line']}, column {mistake['column']}: {mistake['message']}; {mistake.get('help', '')}")
        sys.exit("\n".join(told))
    return answer


def main():
    scenario, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    repeat = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    folder.mkdir(parents=True, exist_ok=True)
    run = json.load(call("POST", "/runs", {"text": scenario.read_text(), "repeat": repeat}))["id"]

    # Server-sent events, a line at a time, until the run has ended.
    for line in call("GET", f"/runs/{run}/events"):
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event["event"] == "step_finished" and event["step"]["outcome"] != "passed":
                print(event["step"]["number"], event["step"]["outcome"], event["step"]["did"])

    # For people, for the CI system (JUnit XML), and for scripts; then what crossed the switch, and each instance's interface.
    for name in ["report.html", "report.xml", "report.json"]:
        (folder / name).write_bytes(call("GET", f"/runs/{run}/{name}").read())
    (folder / "run.pcapng").write_bytes(call("GET", f"/runs/{run}/capture").read())
    (folder / "captures").mkdir(exist_ok=True)
    for capture in json.load(call("GET", f"/runs/{run}/captures"))["captures"]:
        name = capture["instance"]
        (folder / "captures" / f"{name}.pcapng").write_bytes(call("GET", f"/runs/{run}/captures/{name}").read())

    report = json.loads((folder / "report.json").read_text())
    for outage in report.get("repetition", {}).get("outages", []):
        low, middle, high = (outage[name] / 1e6 for name in ("min", "p50", "max"))
        print(f"{outage['probe']}: {low:.0f} to {high:.0f} ms without an answer, half of the runs up to {middle:.0f} ms")
    sys.exit(report["outcome"] != "passed")


if __name__ == "__main__":
    main()
