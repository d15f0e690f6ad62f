"""Drives every implemented EC2 action with botocore's own serializer and holds each answer to the service model.

    python3 ec2.py URL ACTION...

An answer has to be understood by botocore's parser, and its raw XML may hold no element that the model lacks: the parser drops
those silently. All waiters and paginators of the implemented actions run. Each failure is a line; the last line counts.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

URL, ACTIONS = sys.argv[1], sys.argv[2:]
CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
failures, called = [], set()


def fail(text):
    failures.append(text)
    print("FAIL", text)


def local(tag):
    return tag.rsplit("}", 1)[-1]


def walk(place, element, shape):
    """Holds an element to its shape: names, lists, enums and types."""
    if shape.type_name == "structure":
        members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
        for child in element:
            name = local(child.tag)
            if name not in members:
                fail(f"{place}: the model has no {name}")
            else:
                walk(f"{place}.{name}", child, members[name])
    elif shape.type_name == "list":
        wanted = shape.member.serialization.get("name", "item")
        for child in element:
            if local(child.tag) != wanted:
                fail(f"{place}: a list of {wanted} holds {local(child.tag)}")
            walk(place, child, shape.member)
    else:
        text = element.text or ""
        if len(element):
            fail(f"{place}: is a {shape.type_name} and has elements")
        elif shape.type_name == "boolean" and text not in ("true", "false"):
            fail(f"{place}: '{text}' is no boolean")
        elif shape.type_name in ("integer", "long") and not text.lstrip("-").isdigit():
            fail(f"{place}: '{text}' is no number")
        elif place.endswith("internetGatewaySet.attachmentSet.state") and text == "available":
            # What EC2 answers for an attached gateway, and what clients wait for; the model's enum lacks it.
            pass
        elif place.endswith(".interfaceType") and text == "nat_gateway":
            # What EC2 answers (VPC guide, "NAT gateway basics"); the model's enum writes it `natGateway`.
            pass
        elif place.endswith(("vpcEndpointSet.state", "vpcEndpoint.state")) and text == "available":
            # What EC2 answers, and what Terraform waits for; the model's enum writes it `Available`.
            pass
        elif getattr(shape, "enum", None) and text not in shape.enum:
            fail(f"{place}: '{text}' is none of {shape.enum[:5]}…")


def watch(client):
    """Walks every answer of a client."""

    def received(operation_model, response_dict, **_):
        operation_name = operation_model.name
        called.add(operation_name)
        root = ET.fromstring(response_dict["body"])
        if response_dict["status_code"] >= 300:
            names = [local(child.tag) for child in root]
            if operation_name not in ("AssumeRole", "GetCallerIdentity") and names != ["Errors", "RequestID"]:
                fail(f"{operation_name}: an error holds {names}")
            return
        shape = client.meta.service_model.operation_model(operation_name).output_shape
        if local(root.tag) != f"{operation_name}Response":
            fail(f"{operation_name}: the root is {local(root.tag)}")
        for child in list(root):
            name = local(child.tag)
            if name in ("requestId", "ResponseMetadata") or (name == "return" and (shape is None or "Return" not in shape.members)):
                root.remove(child)
            elif name == f"{operation_name}Result":
                walk(operation_name, child, shape)
                root.remove(child)
        if shape is None:
            if len(root):
                fail(f"{operation_name}: no output, but {[local(child.tag) for child in root]}")
        else:
            walk(operation_name, root, shape)

    client.meta.events.register("before-parse.*.*", received)
    return client


session = boto3.session.Session(**CREDENTIALS)
config = Config(retries={"total_max_attempts": 1})
ec2 = watch(session.client("ec2", endpoint_url=URL, config=config))
sts = watch(session.client("sts", endpoint_url=URL, config=config))


def code(call, **arguments):
    """The error code of a call that has to be refused."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def expect(what, found, wanted):
    if found != wanted:
        fail(f"{what}: {found!r} instead of {wanted!r}")


def tags(kind, **values):
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in values.items()]}]


def network():
    """A VPC with two subnets, made as Terraform makes it."""
    expect("account", sts.get_caller_identity()["Account"], "123456789012")
    sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/ha", RoleSessionName="test")
    ec2.describe_account_attributes()
    ec2.describe_regions()
    zones = [zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True, TagSpecifications=tags("vpc", Name="main"))["Vpc"]
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc["VpcId"]])
    ec2.get_waiter("vpc_exists").wait(VpcIds=[vpc["VpcId"]])
    for attribute in ("enableDnsSupport", "enableDnsHostnames", "enableNetworkAddressUsageMetrics"):
        ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=attribute)
    subnets = []
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    for number, zone in enumerate(zones[:2]):
        ipv6 = block.replace("::/56", f"::/64") if number == 0 else None
        more = {"Ipv6CidrBlock": ipv6} if ipv6 else {}
        made = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=zone, **more)
        subnets.append(made["Subnet"]["SubnetId"])
    ec2.get_waiter("subnet_available").wait(SubnetIds=subnets)
    more = ec2.associate_vpc_cidr_block(VpcId=vpc["VpcId"], CidrBlock="10.9.0.0/16")["CidrBlockAssociation"]["AssociationId"]
    ec2.disassociate_vpc_cidr_block(AssociationId=more)
    ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], EnableDnsHostnames={"Value": True})
    shown = ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsHostnames")
    expect("names of public addresses", shown["EnableDnsHostnames"]["Value"], True)
    ec2.modify_subnet_attribute(SubnetId=subnets[0], MapPublicIpOnLaunch={"Value": True})
    expect("public addresses", ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["MapPublicIpOnLaunch"], True)
    ec2.modify_subnet_attribute(SubnetId=subnets[0], MapPublicIpOnLaunch={"Value": False})
    ec2.modify_subnet_attribute(SubnetId=subnets[0], EnableDns64={"Value": True})
    assert ec2.describe_subnets(SubnetIds=[subnets[0]])["Subnets"][0]["EnableDns64"] is True
    ec2.modify_subnet_attribute(SubnetId=subnets[0], EnableDns64={"Value": False})
    more = ec2.associate_subnet_cidr_block(SubnetId=subnets[1], Ipv6CidrBlock=block.replace("::/56", ":7::/64") if "::/56" in block and block.count(":") < 5 else block.replace("00::/56", "07::/64"))
    ec2.disassociate_subnet_cidr_block(AssociationId=more["Ipv6CidrBlockAssociation"]["AssociationId"])
    expect("free addresses", ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["AvailableIpAddressCount"], 251)
    for name, value in (("cidr-block", "10.0.1.0/24"), ("cidr", "10.0.1.0/24"), ("vpc-id", vpc["VpcId"]), ("state", "available")):
        found = ec2.describe_subnets(Filters=[{"Name": name, "Values": [value]}, {"Name": "subnet-id", "Values": [subnets[1]]}])
        expect(f"subnet by {name}", [subnet["SubnetId"] for subnet in found["Subnets"]], [subnets[1]])
    return vpc["VpcId"], subnets


def interfaces(subnets):
    """Interfaces as the VPC CNI makes them, and addresses that move."""
    made = [
        ec2.create_network_interface(SubnetId=subnets[0], Description=f"eni {n}", Ipv6AddressCount=1, TagSpecifications=tags("network-interface", node="n"))
        for n in range(7)
    ]
    ids = [one["NetworkInterface"]["NetworkInterfaceId"] for one in made]
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=ids)
    pages = list(ec2.get_paginator("describe_network_interfaces").paginate(PaginationConfig={"PageSize": 5}))
    expect("pages of interfaces", [len(page["NetworkInterfaces"]) for page in pages], [5, 2])
    a, b = ids[:2]
    ec2.assign_private_ip_addresses(NetworkInterfaceId=a, PrivateIpAddresses=["10.0.0.50"])
    refused = code(ec2.assign_private_ip_addresses, NetworkInterfaceId=b, PrivateIpAddresses=["10.0.0.50"])
    expect("a move without leave", refused, "InvalidParameterValue")
    moved = ec2.assign_private_ip_addresses(NetworkInterfaceId=b, PrivateIpAddresses=["10.0.0.50"], AllowReassignment=True)
    expect("moved", moved["AssignedPrivateIpAddresses"], [{"PrivateIpAddress": "10.0.0.50"}])
    expect("by count", len(ec2.assign_private_ip_addresses(NetworkInterfaceId=a, SecondaryPrivateIpAddressCount=3)["AssignedPrivateIpAddresses"]), 3)
    expect("prefixes", len(ec2.assign_private_ip_addresses(NetworkInterfaceId=a, Ipv4PrefixCount=1)["AssignedIpv4Prefixes"]), 1)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=b, PrivateIpAddresses=["10.0.0.50"])
    six = ec2.assign_ipv6_addresses(NetworkInterfaceId=a, Ipv6AddressCount=1)["AssignedIpv6Addresses"]
    expect("unassigned", ec2.unassign_ipv6_addresses(NetworkInterfaceId=a, Ipv6Addresses=six)["UnassignedIpv6Addresses"], six)
    expect("IPv6 prefixes", len(ec2.assign_ipv6_addresses(NetworkInterfaceId=a, Ipv6PrefixCount=1)["AssignedIpv6Prefixes"]), 1)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=a, SourceDestCheck={"Value": False})
    ec2.modify_network_interface_attribute(NetworkInterfaceId=a, Description={"Value": "moved"})
    read = ec2.describe_network_interfaces(NetworkInterfaceIds=[a])["NetworkInterfaces"][0]
    expect("attributes", (read["SourceDestCheck"], read["Description"]), (False, "moved"))
    ec2.reset_network_interface_attribute(NetworkInterfaceId=a, SourceDestCheck="true")
    expect("a check again", ec2.describe_network_interfaces(NetworkInterfaceIds=[a])["NetworkInterfaces"][0]["SourceDestCheck"], True)
    # Sent by the SDK by itself: one token, one interface.
    token = {"SubnetId": subnets[0], "ClientToken": "once"}
    once = [ec2.create_network_interface(**token)["NetworkInterface"]["NetworkInterfaceId"] for _ in range(2)]
    expect("a client token", once[0], once[1])
    expect("another subnet", code(ec2.create_network_interface, SubnetId=subnets[1], ClientToken="once"), "IdempotentParameterMismatch")
    return ids + once[:1]


def routes(vpc, subnets, interface):
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tags("route-table", Name="app"))["RouteTable"]["RouteTableId"]
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])["AssociationId"]
    expect("no route", code(ec2.replace_route, RouteTableId=table, DestinationCidrBlock="192.168.0.9/32", NetworkInterfaceId=interface), "InvalidParameterValue")
    expect("created", ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.0.9/32", NetworkInterfaceId=interface)["Return"], True)
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="192.168.0.9/32", NetworkInterfaceId=interface)
    ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="2001:db8:9::/48", NetworkInterfaceId=interface)
    ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnets[0]]}])
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="192.168.0.9/32")
    other = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    association = ec2.replace_route_table_association(AssociationId=association, RouteTableId=other)["NewAssociationId"]
    ec2.disassociate_route_table(AssociationId=association)
    for one in (table, other):
        ec2.delete_route_table(RouteTableId=one)


def options(vpc):
    configuration = [{"Key": "domain-name-servers", "Values": ["10.0.0.5"]}, {"Key": "domain-name", "Values": ["example.com"]}]
    made = ec2.create_dhcp_options(DhcpConfigurations=configuration, TagSpecifications=tags("dhcp-options", Name="own"))
    name = made["DhcpOptions"]["DhcpOptionsId"]
    ec2.associate_dhcp_options(DhcpOptionsId=name, VpcId=vpc)
    ec2.describe_dhcp_options(DhcpOptionsIds=[name])
    expect("in use", code(ec2.delete_dhcp_options, DhcpOptionsId=name), "DependencyViolation")
    ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
    ec2.delete_dhcp_options(DhcpOptionsId=name)


def launch_templates(subnet, group):
    """A launch template with parameters of every form, and an instance that is launched with it."""
    data = {
        "ImageId": "ami-0123456789abcdef0", "InstanceType": "t3.micro", "UserData": "IyEvYmluL3No", "MetadataOptions": {"HttpTokens": "required"},
        "TagSpecifications": tags("instance", Name="templated"),
        "NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group], "PrivateIpAddresses": [{"Primary": True, "PrivateIpAddress": "10.0.0.77"}]}],
    }
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data, TagSpecifications=tags("launch-template", Name="web"))["LaunchTemplate"]
    name = made["LaunchTemplateId"]
    expect("as put in", ec2.describe_launch_template_versions(LaunchTemplateId=name)["LaunchTemplateVersions"][0]["LaunchTemplateData"], data)
    more = {
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}], "SecurityGroupIds": [group],
        "Placement": {"AvailabilityZone": "us-east-1a"}, "LicenseSpecifications": [{"LicenseConfigurationArn": "arn:x"}],
        "InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": "1"}}, "IamInstanceProfile": {"Name": "failover"}}
    version = ec2.create_launch_template_version(LaunchTemplateName="web", LaunchTemplateData=more)["LaunchTemplateVersion"]
    expect("of other forms", (version["VersionNumber"], version["LaunchTemplateData"]), (2, more))
    list(ec2.get_paginator("describe_launch_templates").paginate(LaunchTemplateNames=["web"]))
    list(ec2.get_paginator("describe_launch_template_versions").paginate(LaunchTemplateId=name))
    run = ec2.run_instances(MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": "web", "Version": "1"})["Instances"][0]
    expect("launched", (run["PrivateIpAddress"], run["SecurityGroups"][0]["GroupId"]), ("10.0.0.77", group))
    ec2.get_console_output(InstanceId=run["InstanceId"])
    ec2.get_waiter("instance_running").wait(InstanceIds=[run["InstanceId"]], WaiterConfig=FAST)
    ec2.terminate_instances(InstanceIds=[run["InstanceId"]])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[run["InstanceId"]], WaiterConfig=FAST)
    ec2.modify_launch_template(LaunchTemplateId=name, DefaultVersion="2")
    ec2.delete_launch_template_versions(LaunchTemplateId=name, Versions=["1"])
    ec2.delete_launch_template(LaunchTemplateId=name)


def reservations(subnet):
    made = ec2.create_subnet_cidr_reservation(
        SubnetId=subnet, Cidr="10.0.0.128/28", ReservationType="prefix", Description="pods", TagSpecifications=tags("subnet-cidr-reservation", Name="r"))
    name = made["SubnetCidrReservation"]["SubnetCidrReservationId"]
    expect("reserved", len(ec2.get_subnet_cidr_reservations(SubnetId=subnet)["SubnetIpv4CidrReservations"]), 1)
    ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=name)


def keys():
    """Key pairs, whose private halves OpenSSH reads."""
    for kind in ("rsa", "ed25519"):
        made = ec2.create_key_pair(KeyName=kind, KeyType=kind, TagSpecifications=tags("key-pair", Name=kind))
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(made["KeyMaterial"])
            file.flush()
            read = subprocess.run(["ssh-keygen", "-y", "-f", file.name], capture_output=True, text=True, check=True).stdout.split()
            digest = subprocess.run(["ssh-keygen", "-l", "-f", file.name], capture_output=True, text=True, check=True).stdout.split()[1]
        public = ec2.describe_key_pairs(KeyNames=[kind], IncludePublicKey=True)["KeyPairs"][0]["PublicKey"]
        expect("public key", public.split(), read[:2] + [kind])
        if kind == "ed25519":
            expect("fingerprint", "SHA256:" + made["KeyFingerprint"].rstrip("="), digest)
        ec2.delete_key_pair(KeyPairId=made["KeyPairId"])
    ec2.import_key_pair(KeyName="imported", PublicKeyMaterial=" ".join(read[:2]).encode())
    ec2.get_waiter("key_pair_exists").wait(KeyNames=["imported"], WaiterConfig=FAST)


def instances(subnets, interface):
    """Instances as a fencing agent, Terraform and fck-nat handle them; the waiters see every state."""
    ec2.describe_images(Owners=["amazon"])
    keys()
    ec2.describe_volumes()
    types = ec2.describe_instance_types(InstanceTypes=["t3.micro", "m5.large"])["InstanceTypes"]
    limits = {one["InstanceType"]: one["NetworkInfo"]["MaximumNetworkInterfaces"] for one in types}
    expect("interfaces of types", limits, {"t3.micro": 2, "m5.large": 3})
    list(ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 20}))
    ec2.describe_instance_type_offerings(LocationType="availability-zone")
    launch = {
        "ImageId": "ami-0123456789abcdef0", "MinCount": 2, "MaxCount": 2, "SubnetId": subnets[0], "InstanceType": "t3.micro",
        "UserData": "#!/bin/sh", "KeyName": "imported", "CreditSpecification": {"CpuCredits": "unlimited"},
        # Terraform says these of every instance.
        "HibernationOptions": {"Configured": False}, "EnclaveOptions": {"Enabled": False}, "Placement": {"AvailabilityZone": "", "Tenancy": ""}, "MetadataOptions": {"HttpTokens": "required"},
        "TagSpecifications": tags("instance", Name="node") + tags("network-interface", node="n"),
    }
    run = ec2.run_instances(**launch)
    ids = [one["InstanceId"] for one in run["Instances"]]
    ec2.get_waiter("instance_exists").wait(InstanceIds=ids)
    ec2.get_waiter("instance_running").wait(InstanceIds=ids, WaiterConfig=FAST)
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=ids, WaiterConfig=FAST)
    ec2.get_waiter("system_status_ok").wait(InstanceIds=ids, WaiterConfig=FAST)
    seen = ec2.describe_instances(Filters=[{"Name": "reservation-id", "Values": [run["ReservationId"]]}])["Reservations"]
    expect("one reservation", [len(one["Instances"]) for one in seen], [2])
    expect("user data", ec2.describe_instance_attribute(InstanceId=ids[0], Attribute="userData")["UserData"]["Value"], "IyEvYmluL3No")
    for attribute in ("instanceType", "disableApiTermination", "disableApiStop", "instanceInitiatedShutdownBehavior", "sourceDestCheck",
                      "groupSet", "ebsOptimized", "enaSupport", "kernel", "ramdisk", "rootDeviceName", "blockDeviceMapping"):
        ec2.describe_instance_attribute(InstanceId=ids[0], Attribute=attribute)
    ec2.describe_instance_credit_specifications(InstanceIds=ids)
    ec2.modify_instance_attribute(InstanceId=ids[0], SourceDestCheck={"Value": False})
    ec2.modify_instance_metadata_options(InstanceId=ids[0], HttpTokens="optional")
    attached = ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=ids[0], DeviceIndex=1)["AttachmentId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Attachment={"AttachmentId": attached, "DeleteOnTermination": False})
    read = ec2.describe_network_interface_attribute(NetworkInterfaceId=interface, Attribute="attachment")["Attachment"]
    expect("attachment", (read["InstanceId"], read["Status"], read["DeviceIndex"]), (ids[0], "attached", 1))
    expect("two interfaces", code(ec2.modify_instance_attribute, InstanceId=ids[0], SourceDestCheck={"Value": True}), "InvalidInstanceID")
    ec2.detach_network_interface(AttachmentId=attached)
    # As fence_aws does it.
    off = ec2.stop_instances(InstanceIds=ids[:1], Force=True, SkipOsShutdown=True)["StoppingInstances"]
    expect("off", off[0]["CurrentState"], {"Code": 64, "Name": "stopping"})
    ec2.get_waiter("instance_stopped").wait(InstanceIds=ids[:1], WaiterConfig=FAST)
    ec2.modify_instance_attribute(InstanceId=ids[0], InstanceType={"Value": "m5.large"})
    ec2.start_instances(InstanceIds=ids[:1])
    ec2.get_waiter("instance_running").wait(InstanceIds=ids[:1], WaiterConfig=FAST)
    ec2.reboot_instances(InstanceIds=ids)
    ec2.terminate_instances(InstanceIds=ids)
    ec2.get_waiter("instance_terminated").wait(InstanceIds=ids, WaiterConfig=FAST)
    expect("their interfaces", ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": ids}])["NetworkInterfaces"], [])


def default_vpc():
    """The default VPC as boto3's users expect it: a launch without a subnet, groups by name."""
    vpc = ec2.create_default_vpc()["Vpc"]
    expect("the default VPC", (vpc["CidrBlock"], vpc["IsDefault"]), ("172.31.0.0/16", True))
    found = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    expect("default subnets", len(found), len(ec2.describe_availability_zones()["AvailabilityZones"]))
    ec2.delete_subnet(SubnetId=found[0]["SubnetId"])
    made = ec2.create_default_subnet(AvailabilityZone=found[0]["AvailabilityZone"])["Subnet"]
    expect("its block again", (made["CidrBlock"], made["MapPublicIpOnLaunch"]), (found[0]["CidrBlock"], True))
    expect("a group by its name", [one["VpcId"] for one in ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]], [vpc["VpcId"]])


FAST = {"Delay": 1, "MaxAttempts": 60}


def groups(vpc, interface):
    """Security groups and their rules, as Ansible and the cloud provider of Kubernetes handle them."""
    made = ec2.create_security_group(GroupName="web", Description="web servers", VpcId=vpc, TagSpecifications=tags("security-group", Name="web"))
    web, app = made["GroupId"], ec2.create_security_group(GroupName="app", Description="app", VpcId=vpc)["GroupId"]
    ec2.get_waiter("security_group_exists").wait(GroupIds=[web, app])
    expect("a name twice", code(ec2.create_security_group, GroupName="web", Description="x", VpcId=vpc), "InvalidGroup.Duplicate")
    http = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}]}
    vrrp = {"IpProtocol": "112", "UserIdGroupPairs": [{"GroupId": web}]}
    ping = {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "Ipv6Ranges": [], "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
    rules = ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=[http, vrrp, ping])["SecurityGroupRules"]
    expect("protocols", [rule["IpProtocol"] for rule in rules], ["tcp", "112", "icmp"])
    expect("a rule twice", code(ec2.authorize_security_group_ingress, GroupId=web, IpPermissions=[http]), "InvalidPermission.Duplicate")
    out = {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": [{"CidrIp": "10.0.0.2/32"}]}
    ec2.authorize_security_group_egress(GroupId=web, IpPermissions=[out])
    ec2.update_security_group_rule_descriptions_ingress(GroupId=web, IpPermissions=[http])
    ec2.update_security_group_rule_descriptions_egress(GroupId=web, IpPermissions=[out])
    first = rules[0]["SecurityGroupRuleId"]
    changed = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": "0.0.0.0/0"}
    ec2.modify_security_group_rules(GroupId=web, SecurityGroupRules=[{"SecurityGroupRuleId": first, "SecurityGroupRule": changed}])
    read = ec2.describe_security_group_rules(SecurityGroupRuleIds=[first])["SecurityGroupRules"][0]
    expect("a changed rule", (read["FromPort"], read["IsEgress"]), (443, False))
    list(ec2.get_paginator("describe_security_group_rules").paginate(PaginationConfig={"PageSize": 5}))
    list(ec2.get_paginator("describe_security_groups").paginate(PaginationConfig={"PageSize": 5}))
    found = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["web"]}, {"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    expect("a group by its name", [group["GroupId"] for group in found], [web])
    expect("its protocols", sorted(one["IpProtocol"] for one in found[0]["IpPermissions"]), ["112", "icmp", "tcp"])
    expect("stale rules", ec2.describe_stale_security_groups(VpcId=vpc)["StaleSecurityGroupSet"], [])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[web, app])
    expect("in use", code(ec2.delete_security_group, GroupId=web), "DependencyViolation")
    default = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"][0]["GroupId"]
    expect("the default group", code(ec2.delete_security_group, GroupId=default), "CannotDelete")
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[default])
    ec2.revoke_security_group_ingress(GroupId=web, SecurityGroupRuleIds=[first])
    expect("revoked", code(ec2.revoke_security_group_ingress, GroupId=web, IpPermissions=[http]), "InvalidPermission.NotFound")
    ec2.revoke_security_group_egress(GroupId=web, IpPermissions=[out])
    for one in (web, app):
        ec2.delete_security_group(GroupId=one)
    expect("an unknown group", code(ec2.describe_security_groups, GroupIds=[web]), "InvalidGroup.NotFound")


def network_acls(vpc, subnets):
    acl = ec2.create_network_acl(VpcId=vpc, TagSpecifications=tags("network-acl", Name="edge"))["NetworkAcl"]
    name = acl["NetworkAclId"]
    expect("a new ACL", [entry["RuleNumber"] for entry in acl["Entries"] if not entry["Egress"] and "CidrBlock" in entry], [32767])
    entry = {"NetworkAclId": name, "RuleNumber": 100, "Protocol": "6", "RuleAction": "allow", "Egress": False, "CidrBlock": "0.0.0.0/0", "PortRange": {"From": 80, "To": 80}}
    ec2.create_network_acl_entry(**entry)
    expect("a number twice", code(ec2.create_network_acl_entry, **entry), "NetworkAclEntryAlreadyExists")
    ec2.replace_network_acl_entry(**{**entry, "RuleAction": "deny"})
    read = ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnets[0]]}])["NetworkAcls"][0]
    association = next(one["NetworkAclAssociationId"] for one in read["Associations"] if one["SubnetId"] == subnets[0])
    other = ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=name)["NewAssociationId"]
    expect("associated", code(ec2.delete_network_acl, NetworkAclId=name), "DependencyViolation")
    ec2.replace_network_acl_association(AssociationId=other, NetworkAclId=read["NetworkAclId"])
    ec2.delete_network_acl_entry(NetworkAclId=name, RuleNumber=100, Egress=False)
    expect("no entry", code(ec2.delete_network_acl_entry, NetworkAclId=name, RuleNumber=100, Egress=False), "InvalidNetworkAclEntry.NotFound")
    list(ec2.get_paginator("describe_network_acls").paginate(PaginationConfig={"PageSize": 5}))
    ec2.delete_network_acl(NetworkAclId=name)


def prefix_lists():
    made = ec2.create_managed_prefix_list(PrefixListName="offices", AddressFamily="IPv4", MaxEntries=5, Entries=[{"Cidr": "198.51.100.0/24"}])["PrefixList"]
    name = made["PrefixListId"]
    ec2.modify_managed_prefix_list(PrefixListId=name, CurrentVersion=1, AddEntries=[{"Cidr": "192.0.2.0/24"}])
    expect("an old version", code(ec2.modify_managed_prefix_list, PrefixListId=name, CurrentVersion=1, AddEntries=[{"Cidr": "203.0.113.0/24"}]), "PrefixListVersionMismatch")
    expect("entries", len(ec2.get_managed_prefix_list_entries(PrefixListId=name)["Entries"]), 2)
    ec2.restore_managed_prefix_list_version(PrefixListId=name, PreviousVersion=1, CurrentVersion=2)
    ec2.get_managed_prefix_list_associations(PrefixListId=name)
    for action in ("describe_managed_prefix_lists",):
        list(ec2.get_paginator(action).paginate(PaginationConfig={"PageSize": 5}))
    ec2.delete_managed_prefix_list(PrefixListId=name)


def edge(vpc, interface):
    """An Internet gateway and Elastic IP addresses, as Terraform and the awseip agent handle them."""
    gateway = ec2.create_internet_gateway(TagSpecifications=tags("internet-gateway", Name="edge"))["InternetGateway"]["InternetGatewayId"]
    ec2.get_waiter("internet_gateway_exists").wait(InternetGatewayIds=[gateway])
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    read = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])["InternetGateways"][0]
    expect("attached", read["Attachments"], [{"State": "available", "VpcId": vpc}])
    list(ec2.get_paginator("describe_internet_gateways").paginate(PaginationConfig={"PageSize": 5}))
    allocated = ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip", Name="public"))
    associated = ec2.associate_address(AllocationId=allocated["AllocationId"], NetworkInterfaceId=interface)["AssociationId"]
    ec2.describe_addresses(Filters=[{"Name": "public-ip", "Values": [allocated["PublicIp"]]}, {"Name": "domain", "Values": ["vpc"]}])
    ec2.describe_addresses_attribute(AllocationIds=[allocated["AllocationId"]], Attribute="domain-name")
    read = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
    expect("of the interface", read["Association"]["PublicIp"], allocated["PublicIp"])
    expect("in use", code(ec2.release_address, AllocationId=allocated["AllocationId"]), "InvalidIPAddress.InUse")
    ec2.disassociate_address(AssociationId=associated)
    # Terraform names the group of the address.
    ec2.release_address(AllocationId=allocated["AllocationId"], NetworkBorderGroup="us-east-1")
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


def tracking(interface):
    """Times for idle connections."""
    times = {"TcpEstablishedTimeout": 350, "UdpTimeout": 45}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, ConnectionTrackingSpecification=times)
    read = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
    expect("times", read["ConnectionTrackingConfiguration"], times)
    expect("too long", code(ec2.modify_network_interface_attribute, NetworkInterfaceId=interface,
                            ConnectionTrackingSpecification={"UdpTimeout": 61}), "InvalidParameterValue")


def flow_logs(vpc, interface):
    """Flow logs, as Terraform makes and reads them."""
    fields = "${version} ${vpc-id} ${srcaddr} ${dstaddr} ${action}"
    made = ec2.create_flow_logs(ResourceIds=[vpc, "vpc-0123456789abcdef0"], ResourceType="VPC", TrafficType="ALL",
                                LogGroupName="flows", DeliverLogsPermissionArn="arn:aws:iam::123456789012:role/flows",
                                LogFormat=fields, MaxAggregationInterval=60, ClientToken="flows-1",
                                TagSpecifications=tags("vpc-flow-log", Name="flows"))
    expect("created", len(made["FlowLogIds"]), 1)
    expect("for one resource of two", made["Unsuccessful"][0]["Error"]["Code"], "InvalidVpcID.NotFound")
    read = ec2.describe_flow_logs(FlowLogIds=made["FlowLogIds"])["FlowLogs"][0]
    for name, value in {"ResourceId": vpc, "TrafficType": "ALL", "LogGroupName": "flows", "LogFormat": fields,
                        "FlowLogStatus": "ACTIVE", "DeliverLogsStatus": "SUCCESS", "MaxAggregationInterval": 60,
                        "LogDestinationType": "cloud-watch-logs",
                        "DeliverLogsPermissionArn": "arn:aws:iam::123456789012:role/flows"}.items():
        expect(f"{name} of the flow log", read[name], value)
    to_s3 = ec2.create_flow_logs(ResourceIds=[interface], ResourceType="NetworkInterface", TrafficType="REJECT",
                                 LogDestinationType="s3", LogDestination="arn:aws:s3:::bucket/prefix/")["FlowLogIds"]
    found = ec2.describe_flow_logs(Filters=[{"Name": "log-destination-type", "Values": ["s3"]}])["FlowLogs"]
    expect("by destination", [log["FlowLogId"] for log in found], to_s3)
    expect("default format", found[0]["LogFormat"].split()[:3], ["${version}", "${account-id}", "${interface-id}"])
    list(ec2.get_paginator("describe_flow_logs").paginate(PaginationConfig={"PageSize": 5}))
    expect("field", code(ec2.create_flow_logs, ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL",
                         LogGroupName="x", LogFormat="${nonsense}"), "InvalidParameter")
    gone = ec2.delete_flow_logs(FlowLogIds=made["FlowLogIds"] + to_s3 + ["fl-0123456789abcdef0"])["Unsuccessful"]
    expect("deleted but for", [(one["ResourceId"], one["Error"]["Code"]) for one in gone],
           [("fl-0123456789abcdef0", "InvalidFlowLogId.NotFound")])


def nat_gateways(vpc, subnet):
    """NAT gateways, as Terraform and Ansible handle them; the waiters see every state."""
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    addresses = [ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(2)]
    request = dict(SubnetId=subnet, AllocationId=addresses[0], ClientToken="once", TagSpecifications=tags("natgateway", Name="egress"))
    made = ec2.create_nat_gateway(**request)["NatGateway"]
    name = made["NatGatewayId"]
    expect("a new NAT gateway", (made["State"], made["ConnectivityType"], made["NatGatewayAddresses"][0]["IsPrimary"]), ("pending", "public", True))
    expect("the token again", ec2.create_nat_gateway(**request)["NatGateway"]["NatGatewayId"], name)
    expect("the token with other tags", code(ec2.create_nat_gateway, **{**request, "TagSpecifications": tags("natgateway", Name="other")}), "IdempotentParameterMismatch")
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[name], WaiterConfig=FAST)
    own = ec2.describe_network_interfaces(NetworkInterfaceIds=[made["NatGatewayAddresses"][0]["NetworkInterfaceId"]])["NetworkInterfaces"][0]
    expect("its interface", (own["InterfaceType"], own["RequesterManaged"], own["Description"]), ("nat_gateway", True, f"Interface for NAT Gateway {name}"))
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=name)
    expect("no such gateway", code(ec2.replace_route, RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId="nat-0123456789abcdef0"), "InvalidNatGatewayID.NotFound")
    second = ec2.associate_nat_gateway_address(NatGatewayId=name, AllocationIds=addresses[1:])["NatGatewayAddresses"][1]
    drained = ec2.disassociate_nat_gateway_address(NatGatewayId=name, AssociationIds=[second["AssociationId"]], MaxDrainDurationSeconds=1)
    expect("it drains", drained["NatGatewayAddresses"][1]["Status"], "disassociating")
    failed = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=addresses[0])["NatGateway"]
    expect("it fails later", (failed["State"], failed["FailureCode"]), ("failed", "Resource.AlreadyAssociated"))
    private = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[private], WaiterConfig=FAST)
    given = ec2.assign_private_nat_gateway_address(NatGatewayId=private, PrivateIpAddressCount=1)["NatGatewayAddresses"][1]
    ec2.unassign_private_nat_gateway_address(NatGatewayId=private, PrivateIpAddresses=[given["PrivateIp"]], MaxDrainDurationSeconds=1)
    # The parameter is `Filter` here, and `Filters` elsewhere.
    found = ec2.describe_nat_gateways(Filter=[{"Name": "state", "Values": ["available"]}, {"Name": "vpc-id", "Values": [vpc]}])["NatGateways"]
    expect("available", sorted(one["NatGatewayId"] for one in found), sorted([name, private]))
    list(ec2.get_paginator("describe_nat_gateways").paginate(PaginationConfig={"PageSize": 5}))
    for one in (name, private):
        ec2.delete_nat_gateway(NatGatewayId=one)
    ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[name, private], WaiterConfig=FAST)
    read = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    expect("a black hole", [one["State"] for one in read if one.get("NatGatewayId") == name], ["blackhole"])
    ec2.delete_route_table(RouteTableId=table)
    for one in addresses:
        ec2.release_address(AllocationId=one)
    expect("unknown", code(ec2.describe_nat_gateways, NatGatewayIds=["nat-0123456789abcdef0"]), "NatGatewayNotFound")
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


def links(vpc):
    """Egress-only internet gateways and peering connections, as Terraform and Ansible handle them."""
    made = ec2.create_egress_only_internet_gateway(VpcId=vpc, TagSpecifications=tags("egress-only-internet-gateway", Name="six"))["EgressOnlyInternetGateway"]
    name = made["EgressOnlyInternetGatewayId"]
    expect("attached", made["Attachments"], [{"State": "attached", "VpcId": vpc}])
    list(ec2.get_paginator("describe_egress_only_internet_gateways").paginate(PaginationConfig={"PageSize": 5}))
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", EgressOnlyInternetGatewayId=name)
    other = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    asked = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=other, TagSpecifications=tags("vpc-peering-connection", Name="partner"))["VpcPeeringConnection"]
    peering = asked["VpcPeeringConnectionId"]
    expect("it is asked for", (asked["Status"]["Code"], asked["AccepterVpcInfo"]["CidrBlock"]), ("initiating-request", "10.77.0.0/16"))
    ec2.get_waiter("vpc_peering_connection_exists").wait(VpcPeeringConnectionIds=[peering])
    expect("accepted", ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering)["VpcPeeringConnection"]["Status"]["Code"], "active")
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.77.0.0/16", VpcPeeringConnectionId=peering)
    read = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
    expect("their routes", sorted(one["State"] for one in read if "EgressOnlyInternetGatewayId" in one or "VpcPeeringConnectionId" in one), ["active", "active"])
    options = ec2.modify_vpc_peering_connection_options(VpcPeeringConnectionId=peering, AccepterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": True})
    expect("options", options["AccepterPeeringConnectionOptions"], {"AllowDnsResolutionFromRemoteVpc": True})
    found = ec2.describe_vpc_peering_connections(Filters=[{"Name": "requester-vpc-info.vpc-id", "Values": [vpc]}, {"Name": "status-code", "Values": ["active"]}])["VpcPeeringConnections"]
    expect("by filters", [one["VpcPeeringConnectionId"] for one in found], [peering])
    expect("twice", code(ec2.create_vpc_peering_connection, VpcId=other, PeerVpcId=vpc), "VpcPeeringConnectionAlreadyExists")
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=peering)
    ec2.get_waiter("vpc_peering_connection_deleted").wait(VpcPeeringConnectionIds=[peering])
    again = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=other)["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    expect("refused", ec2.reject_vpc_peering_connection(VpcPeeringConnectionId=again)["Return"], True)
    twin = ec2.create_vpc(CidrBlock="10.77.0.0/17")["Vpc"]["VpcId"]
    expect("overlapping", ec2.create_vpc_peering_connection(VpcId=other, PeerVpcId=twin)["VpcPeeringConnection"]["Status"]["Code"], "failed")
    ec2.delete_route_table(RouteTableId=table)
    ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=name)
    for one in (other, twin):
        ec2.delete_vpc(VpcId=one)


def gateway_tables(vpc):
    """A route table of an internet gateway, as Terraform's `aws_route_table_association` with `gateway_id` makes it."""
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    made = ec2.associate_route_table(RouteTableId=table, GatewayId=gateway)
    expect("associated", made["AssociationState"]["State"], "associated")
    found = ec2.describe_route_tables(Filters=[{"Name": "association.gateway-id", "Values": [gateway]}])["RouteTables"]
    expect("by its gateway", [(one["RouteTableId"], one["Associations"][0]["GatewayId"]) for one in found], [(table, gateway)])
    expect("outwards", code(ec2.create_route, RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway), "InvalidParameterValue")
    other = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    now = ec2.replace_route_table_association(AssociationId=made["AssociationId"], RouteTableId=other)["NewAssociationId"]
    expect("in use", code(ec2.delete_route_table, RouteTableId=other), "DependencyViolation")
    ec2.disassociate_route_table(AssociationId=now)
    for one in (table, other):
        ec2.delete_route_table(RouteTableId=one)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


def endpoints(vpc):
    """Gateway endpoints, as Terraform makes, reads and deletes them."""
    service = "com.amazonaws.us-east-1.s3"
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    offered = ec2.describe_vpc_endpoint_services(Filters=[{"Name": "service-type", "Values": ["Gateway"]}])
    expect("two services", sorted(offered["ServiceNames"]), ["com.amazonaws.us-east-1.dynamodb", service])
    expect("of type Gateway", offered["ServiceDetails"][0]["ServiceType"], [{"ServiceType": "Gateway"}])
    made = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=service, RouteTableIds=[table], TagSpecifications=tags("vpc-endpoint", Name="s3"))["VpcEndpoint"]
    name = made["VpcEndpointId"]
    expect("made", (made["VpcEndpointType"], made["State"], made["RouteTableIds"]), ("Gateway", "available", [table]))
    lists = ec2.describe_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": [service]}])["PrefixLists"]
    expect("addresses", [one["Cidrs"] for one in lists], [["198.51.100.240/29"]])
    managed = ec2.describe_managed_prefix_lists(Filters=[{"Name": "owner-id", "Values": ["AWS"]}])["PrefixLists"]
    expect("of AWS", sorted(one["PrefixListName"] for one in managed), ["com.amazonaws.us-east-1.dynamodb", service])
    wanted = lists[0]["PrefixListId"]

    def routed():
        read = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"]
        return [(one["GatewayId"], one["State"]) for one in read if one.get("DestinationPrefixListId") == wanted]

    expect("routed", routed(), [(name, "active")])
    found = ec2.describe_route_tables(Filters=[{"Name": "route.destination-prefix-list-id", "Values": [wanted]}])["RouteTables"]
    expect("by its route", [one["RouteTableId"] for one in found], [table])
    expect("twice", code(ec2.create_vpc_endpoint, VpcId=vpc, ServiceName=service, RouteTableIds=[table]), "RouteAlreadyExists")
    policy = '{"Version":"2012-10-17","Statement":[]}'
    expect("changed", ec2.modify_vpc_endpoint(VpcEndpointId=name, RemoveRouteTableIds=[table], PolicyDocument=policy)["Return"], True)
    read = ec2.describe_vpc_endpoints(VpcEndpointIds=[name])["VpcEndpoints"][0]
    expect("as changed", (read["RouteTableIds"], read["PolicyDocument"], routed()), ([], policy, []))
    list(ec2.get_paginator("describe_vpc_endpoints").paginate(PaginationConfig={"PageSize": 5}))
    list(ec2.get_paginator("describe_vpc_endpoint_services").paginate(PaginationConfig={"PageSize": 5}))
    list(ec2.get_paginator("describe_prefix_lists").paginate(PaginationConfig={"PageSize": 5}))
    expect("other types", code(ec2.create_vpc_endpoint, VpcId=vpc, ServiceName=service, VpcEndpointType="Interface"), "UnsupportedOperation")
    expect("other services", code(ec2.create_vpc_endpoint, VpcId=vpc, ServiceName="com.amazonaws.us-east-1.sqs"), "InvalidServiceName")
    expect("deleted", ec2.delete_vpc_endpoints(VpcEndpointIds=[name])["Unsuccessful"], [])
    again = ec2.delete_vpc_endpoints(VpcEndpointIds=[name])["Unsuccessful"]
    expect("gone", [one["Error"]["Code"] for one in again], ["InvalidVpcEndpointId.NotFound"])
    ec2.delete_route_table(RouteTableId=table)


def block_public_access(vpc):
    expect("nothing", ec2.describe_vpc_block_public_access_options()["VpcBlockPublicAccessOptions"]["InternetGatewayBlockMode"], "off")
    now = ec2.modify_vpc_block_public_access_options(InternetGatewayBlockMode="block-ingress")["VpcBlockPublicAccessOptions"]
    expect("blocked", (now["State"], now["InternetGatewayBlockMode"]), ("update-complete", "block-ingress"))
    made = ec2.create_vpc_block_public_access_exclusion(VpcId=vpc, InternetGatewayExclusionMode="allow-egress")["VpcBlockPublicAccessExclusion"]
    name = made["ExclusionId"]
    ec2.modify_vpc_block_public_access_exclusion(ExclusionId=name, InternetGatewayExclusionMode="allow-bidirectional")
    read = ec2.describe_vpc_block_public_access_exclusions(ExclusionIds=[name])["VpcBlockPublicAccessExclusions"][0]
    expect("excluded", (read["InternetGatewayExclusionMode"], read["ResourceArn"].endswith(vpc)), ("allow-bidirectional", True))
    expect("gone", ec2.delete_vpc_block_public_access_exclusion(ExclusionId=name)["VpcBlockPublicAccessExclusion"]["State"], "delete-complete")
    ec2.modify_vpc_block_public_access_options(InternetGatewayBlockMode="off")


def refusals(vpc):
    missing = {
        "describe_vpcs": ("VpcIds", "vpc-0123456789abcdef0", "InvalidVpcID.NotFound"),
        "describe_subnets": ("SubnetIds", "subnet-0123456789abcdef0", "InvalidSubnetID.NotFound"),
        "describe_network_interfaces": ("NetworkInterfaceIds", "eni-0123456789abcdef0", "InvalidNetworkInterfaceID.NotFound"),
        "describe_route_tables": ("RouteTableIds", "rtb-0123456789abcdef0", "InvalidRouteTableID.NotFound"),
        "describe_instances": ("InstanceIds", "i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
    }
    for name, (parameter, value, wanted) in missing.items():
        expect(name, code(getattr(ec2, name), **{parameter: [value]}), wanted)
    expect("an unknown filter", code(ec2.describe_vpcs, Filters=[{"Name": "colour", "Values": ["red"]}]), "InvalidParameterValue")
    expect("not implemented", code(ec2.describe_transit_gateways), "InvalidAction")
    expect("without effect", code(ec2.create_vpc, CidrBlock="10.7.0.0/16", Ipv4IpamPoolId="ipam-pool-1"), "UnsupportedOperation")
    expect("a dry run", code(ec2.create_vpc, CidrBlock="10.7.0.0/16", DryRun=True), "DryRunOperation")
    expect("dependents", code(ec2.delete_vpc, VpcId=vpc), "DependencyViolation")


def main():
    vpc, subnets = network()
    ids = interfaces(subnets)
    routes(vpc, subnets, ids[0])
    options(vpc)
    default_vpc()
    reservations(subnets[0])
    group = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]["GroupId"]
    launch_templates(subnets[0], group)
    instances(subnets, ids[0])
    groups(vpc, ids[0])
    network_acls(vpc, subnets)
    prefix_lists()
    edge(vpc, ids[0])
    flow_logs(vpc, ids[0])
    nat_gateways(vpc, subnets[0])
    links(vpc)
    gateway_tables(vpc)
    endpoints(vpc)
    block_public_access(vpc)
    tracking(ids[0])
    refusals(vpc)
    ec2.create_tags(Resources=[vpc, subnets[0], ids[0]], Tags=[{"Key": "env", "Value": "test"}])
    expect("tags", len(ec2.describe_tags(Filters=[{"Name": "key", "Values": ["env"]}])["Tags"]), 3)
    ec2.delete_tags(Resources=[vpc, subnets[0], ids[0]], Tags=[{"Key": "env"}])
    for name in ("describe_vpcs", "describe_subnets", "describe_route_tables", "describe_dhcp_options", "describe_instances", "describe_tags"):
        list(ec2.get_paginator(name).paginate(PaginationConfig={"PageSize": 5}))
    for one in ids:
        ec2.delete_network_interface(NetworkInterfaceId=one)
    for one in subnets:
        ec2.delete_subnet(SubnetId=one)
    ec2.delete_vpc(VpcId=vpc)
    expect("gone", code(ec2.describe_vpcs, VpcIds=[vpc]), "InvalidVpcID.NotFound")
    for action in ACTIONS:
        if action not in called:
            fail(f"{action} is implemented and was not called")
    print(f"{len(called)} actions called, {len(failures)} failures")
    sys.exit(bool(failures))


main()
