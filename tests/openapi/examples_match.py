"""Checks each example of the description against the schema beside it. Prints what does not match.

usage: examples_match.py OPENAPI
"""

import json
import sys

import jsonschema_rs



def each(example):
    """The values of an example: the schema of a stream is that of the data of one event."""
    if isinstance(example, str) and example.startswith("id: "):
        return [json.loads(line[6:]) for line in example.splitlines() if line.startswith("data: ")]
    return [example]


api = json.load(open(sys.argv[1]))
checked = 0
for path, item in api["paths"].items():
    for method, operation in item.items():
        media = [("request", operation.get("requestBody", {}))]
        media += [(status, answer) for status, answer in operation["responses"].items()]
        described = [(place, content) for place, part in media for content in part.get("content", {}).values()]
        described += [(parameter["name"], parameter) for parameter in operation.get("parameters", [])]
        for place, content in described:
            if "example" not in content:
                continue
            checked += 1
            schema = {**content["schema"], "components": api["components"]}
            validator = jsonschema_rs.Draft202012Validator(schema)
            for example in each(content["example"]):
                for error in validator.iter_errors(example):
                    print(f"{method.upper()} {path} {place}: {error.message} at {error.instance_path}")
print(f"{checked} examples")
