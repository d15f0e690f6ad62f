"""Calls a throttled EC2 endpoint beyond its limits, without retries and with each of botocore's retry modes.

    python3 ec2_throttled.py URL

Prints a line for each way: how many requests were throttled, and how often a call was retried. Ends with "ok".
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

URL = sys.argv[1]
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
# A mutating action whose bucket takes 50 requests and gains 5 a second (EC2 developer guide, "Request throttling").
UNKNOWN = "eipassoc-0123456789abcdef0"


def client(**retries):
    return boto3.client("ec2", endpoint_url=URL, config=Config(retries=retries), **CREDENTIALS)


def call(ec2):
    """The code, the HTTP status and the retries of one call."""
    try:
        ec2.disassociate_address(AssociationId=UNKNOWN)
    except ClientError as error:
        answer = error.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["ResponseMetadata"]["RetryAttempts"]
    raise AssertionError("the association exists")


impatient = client(total_max_attempts=1)
answers = [call(impatient) for _ in range(90)]
throttled = [status for code, status, _ in answers if code == "RequestLimitExceeded"]
print("without retries:", len(throttled), "of 90 throttled")
assert answers[:50] == [("InvalidAssociationID.NotFound", 400, 0)] * 50, answers[:50]
assert throttled and set(throttled) == {503}, throttled
# Another action has a bucket of its own.
impatient.describe_vpcs()

for mode, attempts in (("legacy", 10), ("standard", 10), ("adaptive", 10)):
    patient = client(mode=mode, total_max_attempts=attempts)
    while call(impatient)[0] != "RequestLimitExceeded":
        pass
    answers = [call(patient) for _ in range(3)]
    retried = sum(retries for _, _, retries in answers)
    print(f"{mode}:", retried, "retries for 3 calls")
    assert {code for code, _, _ in answers} == {"InvalidAssociationID.NotFound"}, answers
    assert retried > 0, mode
print("ok")
