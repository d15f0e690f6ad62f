"""Replays scripts of requests: calls in the order in which a client makes them, with the parameters that it sends, and the fields of
each answer that it reads.

    python3 replay.py URL SCRIPT...

A script is a JSON list of steps. A step has a call (`ec2:DescribeVpcs`), its parameters (`$name` is a value that was saved),
and what the client does with the answer:

    read    paths (JMESPath) that have to be there and not null
    expect  paths and their values
    save    names and the paths of their values
    error   the code that the client matches on
    until   a path and a value: the call is repeated until it has it, as a waiter does
    repeat  the call is made so many times, and each answer has to be good

Prints a line for each script; ends with "ok".
"""

import json
import sys
import time

import boto3
import jmespath
from botocore.config import Config
from botocore.exceptions import ClientError

URL = sys.argv[1]
CONFIG = Config(retries={"total_max_attempts": 1})
CLIENTS = {
    service: boto3.client(service, endpoint_url=URL, region_name="us-east-1", aws_access_key_id="test",
                          aws_secret_access_key="test", config=CONFIG)
    for service in ("ec2", "sts")
}
PATIENCE = 30


def filled(value, saved):
    if isinstance(value, dict):
        return {key: filled(inner, saved) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, saved) for inner in value]
    if isinstance(value, str) and value.startswith("$"):
        return saved[value[1:]]
    return value


def called(name, parameters):
    service, action = name.split(":")
    client = CLIENTS[service]
    methods = client.meta.method_to_api_mapping
    method = next(method for method, api in methods.items() if api == action)
    return getattr(client, method)(**parameters)


def step(number, wanted, saved):
    place = f"step {number}, {wanted['call']}"
    parameters = filled(wanted.get("with", {}), saved)
    began = time.monotonic()
    for _ in range(wanted.get("repeat", 1)):
        while True:
            try:
                answer = called(wanted["call"], parameters)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                message = error.response["Error"]["Message"]
                if code == wanted.get("error"):
                    if wanted.get("message", "") not in message:
                        raise AssertionError(f"{place}: the message is {message!r}") from error
                    return
                raise AssertionError(f"{place}: {code}: {message}") from error
            if "until" not in wanted:
                break
            path, value = wanted["until"]
            if jmespath.search(path, answer) == filled(value, saved):
                break
            if time.monotonic() - began > PATIENCE:
                raise AssertionError(f"{place}: {path} is {jmespath.search(path, answer)!r}, not {value!r}")
            time.sleep(0.2)
        if "error" in wanted:
            raise AssertionError(f"{place}: it is not refused with {wanted['error']}")
        for path in wanted.get("read", []):
            if jmespath.search(path, answer) is None:
                raise AssertionError(f"{place}: the answer has no {path}: {json.dumps(answer, default=str)[:2000]}")
        for path, value in wanted.get("expect", {}).items():
            if (found := jmespath.search(path, answer)) != filled(value, saved):
                raise AssertionError(f"{place}: {path} is {found!r}, not {filled(value, saved)!r}")
        for name, path in wanted.get("save", {}).items():
            saved[name] = jmespath.search(path, answer)
            if saved[name] is None:
                raise AssertionError(f"{place}: there is no {path} to save")


for script in sys.argv[2:]:
    with open(script, encoding="utf-8") as file:
        steps = json.load(file)
    saved = {}
    for number, wanted in enumerate(steps, 1):
        step(number, wanted, saved)
    print(script.rsplit("/", 1)[-1], len(steps), "calls")
print("ok")
