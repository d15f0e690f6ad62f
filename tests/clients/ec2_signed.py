"""Calls an endpoint that verifies signatures, as botocore signs them: with the right key and with wrong ones.

    python3 ec2_signed.py URL ACCESS_KEY SECRET_KEY

Ends with "ok".
"""

import datetime
import sys
import urllib.error
import urllib.request

import boto3
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

URL, KEY, SECRET = sys.argv[1:4]
UNKNOWN_KEY = ("AuthFailure", 401)
WRONG_SECRET = ("SignatureDoesNotMatch", 403)


def client(service="ec2", key=KEY, secret=SECRET, token=None, region="us-east-1"):
    return boto3.client(service, endpoint_url=URL, region_name=region, aws_access_key_id=key, aws_secret_access_key=secret,
                        aws_session_token=token, config=Config(retries={"total_max_attempts": 1}))


def refusal(call, **parameters):
    try:
        call(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return None


def opened(request):
    try:
        return urllib.request.urlopen(request).status, ""
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, text.partition("<Code>")[2].partition("</Code>")[0]


ec2, sts = client(), client("sts")
vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16", TagSpecifications=[
    {"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "a b+c/ä=&"}]}])["Vpc"]["VpcId"]
assert [vpc] == [found["VpcId"] for found in ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]]
assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:root"

# Wrong keys, for both services.
assert refusal(client(secret="wrong").describe_vpcs) == WRONG_SECRET
assert refusal(client(key="AKIAUNKNOWN").describe_vpcs) == UNKNOWN_KEY
assert refusal(client(token="made up").describe_vpcs) == UNKNOWN_KEY
assert refusal(client("sts", secret="wrong").get_caller_identity) == WRONG_SECRET
assert refusal(client("sts", key="AKIAUNKNOWN").get_caller_identity) == ("InvalidClientTokenId", 403)
assert refusal(client(region="eu-west-1").describe_vpcs) == UNKNOWN_KEY
assert refusal(client(secret="wrong").delete_vpc, VpcId=vpc) == WRONG_SECRET
assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"], "a request that is refused changes nothing"

# A role's temporary credentials: all three parts belong together.
given = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/ops", RoleSessionName="me")["Credentials"]
three = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
assert client("sts", *three).get_caller_identity()["Arn"] == "arn:aws:sts::123456789012:assumed-role/ops/me"
assert client("ec2", *three).describe_vpcs(VpcIds=[vpc])["Vpcs"]
other = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/ops", RoleSessionName="me")["Credentials"]
assert refusal(client("ec2", three[0], three[1], other["SessionToken"]).describe_vpcs) == UNKNOWN_KEY
assert refusal(client("ec2", three[0], other["SecretAccessKey"], three[2]).describe_vpcs) == WRONG_SECRET
assert refusal(client("ec2", three[0], three[1]).describe_vpcs) == UNKNOWN_KEY

# No signature, one in the query string, one of another time, one whose body was changed.
read = "Action=DescribeVpcs&Version=2016-11-15"
assert opened(f"{URL}/?{read}") == (403, "MissingAuthenticationToken")
presigned = AWSRequest("GET", f"{URL}/?{read}")
botocore.auth.SigV4QueryAuth(Credentials(KEY, SECRET), "ec2", "us-east-1", expires=60).add_auth(presigned)
assert opened(presigned.url) == (200, ""), presigned.url
assert opened(presigned.url.replace("DescribeVpcs", "DescribeSubnets")) == (403, "SignatureDoesNotMatch")


def posted(body=read, sent=None, minutes=0):
    request = AWSRequest("POST", f"{URL}/", data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    if minutes:
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        botocore.auth.get_current_datetime = lambda *_, **__: now
    auth = botocore.auth.SigV4Auth(Credentials(KEY, SECRET), "ec2", "us-east-1")
    original = getattr(botocore.auth, "get_current_datetime", None)
    auth.add_auth(request)
    botocore.auth.get_current_datetime = ORIGINAL or original
    headers = dict(request.headers.items())
    return opened(urllib.request.Request(f"{URL}/", data=(sent or body).encode(), headers=headers))


ORIGINAL = botocore.auth.get_current_datetime
assert posted() == (200, "")
assert posted(sent="Action=DescribeSubnets&Version=2016-11-15") == (403, "SignatureDoesNotMatch")
assert posted(minutes=10) == (200, "")
for minutes in (-20, 20):
    assert posted(minutes=minutes) == (400, "RequestExpired"), minutes
print("ok")
