"""Makes a network by EC2, writes its lists as the AWS command line prints them, or compares two networks by their lists.

    python3 ec2_import.py make URL
    python3 ec2_import.py dump URL FOLDER
    python3 ec2_import.py compare URL URL

A comparison leaves out what is drawn anew: identifiers of associations, attachments, reservations and rules, and times. Names of
public addresses depend on an attribute of the VPC, which is in none of the lists.
"""

import json
import pathlib
import sys

import boto3
from botocore.config import Config

CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
LISTS = {
    "Vpcs": "describe_vpcs",
    "Subnets": "describe_subnets",
    "RouteTables": "describe_route_tables",
    "Reservations": "describe_instances",
    "NetworkInterfaces": "describe_network_interfaces",
    "SecurityGroups": "describe_security_groups",
    "NetworkAcls": "describe_network_acls",
    "InternetGateways": "describe_internet_gateways",
    "Addresses": "describe_addresses",
    "PrefixLists": "describe_managed_prefix_lists",
    "DhcpOptions": "describe_dhcp_options",
}
ANEW = {
    "AssociationId", "AttachmentId", "ReservationId", "AttachTime", "LaunchTime", "ClientToken", "NetworkAclAssociationId",
    "PublicDnsName", "RouteTableAssociationId", "UsageOperationUpdateTime", "AmiLaunchIndex", "ImageId", "Version", "StateTransitionReason",
}


def client(url):
    return boto3.client("ec2", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **CREDENTIALS)


def lists(ec2):
    for key, action in LISTS.items():
        yield key, getattr(ec2, action)()[key]


def named(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}, {"Key": "stage", "Value": "test"}]}]


def make(ec2):
    options = ec2.create_dhcp_options(
        DhcpConfigurations=[{"Key": "domain-name", "Values": ["example.internal"]}, {"Key": "ntp-servers", "Values": ["10.0.0.9"]}],
        TagSpecifications=named("dhcp-options", "office"),
    )["DhcpOptions"]["DhcpOptionsId"]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True, TagSpecifications=named("vpc", "prod"))["Vpc"]["VpcId"]
    ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.1.0.0/16")
    ec2.associate_dhcp_options(VpcId=vpc, DhcpOptionsId=options)
    block = ec2.describe_vpcs()["Vpcs"][0]["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    front = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", Ipv6CidrBlock=block.replace("/56", "/64"), AvailabilityZone="us-east-1b", TagSpecifications=named("subnet", "front"))["Subnet"]["SubnetId"]
    back = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.2.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway(TagSpecifications=named("internet-gateway", "door"))["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    offices = ec2.create_managed_prefix_list(PrefixListName="offices", MaxEntries=3, AddressFamily="IPv4", Entries=[{"Cidr": "203.0.113.0/28"}])["PrefixList"]["PrefixListId"]
    web = ec2.create_security_group(GroupName="web", Description="servers", VpcId=vpc, TagSpecifications=named("security-group", "web"))["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=[
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
        {"IpProtocol": "112", "UserIdGroupPairs": [{"GroupId": web}]},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
        {"IpProtocol": "udp", "FromPort": 53, "ToPort": 54, "PrefixListIds": [{"PrefixListId": offices}]},
    ])
    acl = ec2.create_network_acl(VpcId=vpc, TagSpecifications=named("network-acl", "edge"))["NetworkAcl"]["NetworkAclId"]
    ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Protocol="6", RuleAction="allow", Egress=False, CidrBlock="0.0.0.0/0", PortRange={"From": 1024, "To": 65535})
    ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=110, Protocol="1", RuleAction="deny", Egress=True, CidrBlock="10.0.0.0/8", IcmpTypeCode={"Type": 8, "Code": -1})
    given = [one for one in ec2.describe_network_acls()["NetworkAcls"] if one["IsDefault"]][0]["Associations"]
    own = [one["NetworkAclAssociationId"] for one in given if one["SubnetId"] == back]
    ec2.replace_network_acl_association(AssociationId=own[0], NetworkAclId=acl)
    one = ec2.run_instances(
        ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1, InstanceType="m5.large", TagSpecifications=named("instance", "one"),
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": front, "Groups": [web], "PrivateIpAddresses": [
            {"PrivateIpAddress": "10.0.1.10", "Primary": True}, {"PrivateIpAddress": "10.0.1.50", "Primary": False}], "Ipv6AddressCount": 1}],
    )["Instances"][0]
    ec2.get_waiter("instance_running").wait(InstanceIds=[one["InstanceId"]], WaiterConfig={"Delay": 1})
    primary = one["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=primary, SourceDestCheck={"Value": False})
    spare = ec2.create_network_interface(SubnetId=back, Description="spare", Ipv4PrefixCount=1, TagSpecifications=named("network-interface", "spare"))["NetworkInterface"]["NetworkInterfaceId"]
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=named("route-table", "back"))["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=back)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.0.2.1/32", NetworkInterfaceId=spare)
    main = [one["RouteTableId"] for one in ec2.describe_route_tables()["RouteTables"] if any(a["Main"] for a in one["Associations"])]
    ec2.create_route(RouteTableId=main[0], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=named("elastic-ip", "service"))["AllocationId"]
    ec2.associate_address(AllocationId=address, NetworkInterfaceId=primary, PrivateIpAddress="10.0.1.50")


def normal(value):
    """Without what is drawn anew; lists in one order, because theirs says nothing."""
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items() if key not in ANEW}
    if isinstance(value, list):
        return sorted((normal(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True, default=str))
    return value


def differences(place, left, right):
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from differences(f"{place}.{key}", left.get(key), right.get(key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, pair in enumerate(zip(left, right)):
            yield from differences(f"{place}.{number}", *pair)
    elif left != right:
        yield f"{place}: {left!r} and {right!r}"


what, url = sys.argv[1:3]
if what == "make":
    make(client(url))
elif what == "dump":
    for key, found in lists(client(url)):
        pathlib.Path(sys.argv[3], f"{key}.json").write_text(json.dumps({key: found}, default=str))
    for one in client(url).describe_managed_prefix_lists()["PrefixLists"]:
        entries = client(url).get_managed_prefix_list_entries(PrefixListId=one["PrefixListId"])["Entries"]
        pathlib.Path(sys.argv[3], f"{one['PrefixListId']}.json").write_text(json.dumps({"Entries": entries}))
else:
    others = dict(lists(client(sys.argv[3])))
    found = [line for key, left in lists(client(url)) for line in differences(key, normal(left), normal(others[key]))]
    print("\n".join(found) or "equal")
    sys.exit(bool(found))
