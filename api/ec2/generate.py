#!/usr/bin/env python3
"""Writes names, types and enums of the EC2 and STS actions that this project knows, from botocore's service models.

    pip install botocore==1.44.8
    python3 api/ec2/generate.py

`inputs.json` is read by the server: every parameter that AWS knows, so that one that is not implemented is refused by name.
`outputs.json` is read by the tests: every element that an answer may hold, and every value that an enum allows.
Both hold names and types only, none of the models' texts; the names of filters are taken out of the texts.
"""

import json
import pathlib
import re

import botocore.session

HERE = pathlib.Path(__file__).parent

ACTIONS = {
    "ec2": """
        AcceptVpcPeeringConnection AllocateAddress AssignIpv6Addresses AssignPrivateIpAddresses
        AssignPrivateNatGatewayAddress AssociateAddress AssociateNatGatewayAddress
        AssociateDhcpOptions AssociateRouteTable AssociateSubnetCidrBlock AssociateVpcCidrBlock AttachInternetGateway
        AttachNetworkInterface AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress CreateDefaultSubnet CreateDefaultVpc CreateDhcpOptions
        CreateEgressOnlyInternetGateway CreateFlowLogs CreateInternetGateway CreateManagedPrefixList CreateNatGateway
        CreateNetworkAcl CreateNetworkAclEntry CreateNetworkInterface CreateRoute CreateRouteTable CreateSecurityGroup
        CreateSubnet CreateTags CreateVpc CreateVpcBlockPublicAccessExclusion CreateVpcEndpoint CreateVpcPeeringConnection DeleteDhcpOptions DeleteKeyPair CreateKeyPair ImportKeyPair
        CreateLaunchTemplate CreateLaunchTemplateVersion DeleteLaunchTemplate DeleteLaunchTemplateVersions
        DescribeLaunchTemplates DescribeLaunchTemplateVersions GetConsoleOutput ModifyLaunchTemplate
        CreateSubnetCidrReservation DeleteSubnetCidrReservation GetSubnetCidrReservations
        DeleteEgressOnlyInternetGateway
        DeleteFlowLogs DeleteInternetGateway DeleteManagedPrefixList DeleteNatGateway DeleteNetworkAcl
        DeleteNetworkAclEntry DeleteNetworkInterface DeleteRoute DeleteRouteTable DeleteSecurityGroup DeleteSubnet
        DeleteTags DeleteVpc DeleteVpcBlockPublicAccessExclusion DeleteVpcEndpoints DeleteVpcPeeringConnection DescribeAccountAttributes DescribeAddresses
        DescribeAddressesAttribute DescribeAvailabilityZones DescribeDhcpOptions DescribeEgressOnlyInternetGateways
        DescribeFlowLogs DescribeImages DescribeInstanceAttribute DescribeInstanceCreditSpecifications
        DescribeInstanceStatus DescribeInstanceTypeOfferings DescribeInstanceTypes DescribeInstances
        DescribeInternetGateways DescribeKeyPairs DescribeManagedPrefixLists DescribeNatGateways DescribeNetworkAcls
        DescribeNetworkInterfaceAttribute DescribeNetworkInterfaces DescribePrefixLists DescribeRegions
        DescribeRouteTables DescribeSecurityGroupRules DescribeSecurityGroups DescribeStaleSecurityGroups DescribeSubnets DescribeTags
        DescribeVolumes DescribeVpcAttribute DescribeVpcBlockPublicAccessExclusions DescribeVpcBlockPublicAccessOptions
        DescribeVpcEndpoints DescribeVpcEndpointServices DescribeVpcPeeringConnections DescribeVpcs DetachInternetGateway
        DetachNetworkInterface
        DisassociateAddress DisassociateNatGatewayAddress DisassociateRouteTable DisassociateSubnetCidrBlock DisassociateVpcCidrBlock
        GetManagedPrefixListAssociations GetManagedPrefixListEntries ModifyInstanceAttribute
        ModifyInstanceMetadataOptions ModifyManagedPrefixList ModifyNetworkInterfaceAttribute
        ModifySecurityGroupRules ModifySubnetAttribute ModifyVpcAttribute ModifyVpcBlockPublicAccessExclusion
        ModifyVpcBlockPublicAccessOptions ModifyVpcEndpoint ModifyVpcPeeringConnectionOptions RebootInstances RejectVpcPeeringConnection
        ReleaseAddress ReplaceNetworkAclAssociation ReplaceNetworkAclEntry ReplaceRoute
        ReplaceRouteTableAssociation ResetNetworkInterfaceAttribute RestoreManagedPrefixListVersion RevokeSecurityGroupEgress
        RevokeSecurityGroupIngress RunInstances StartInstances
        StopInstances TerminateInstances UnassignIpv6Addresses UnassignPrivateIpAddresses
        UnassignPrivateNatGatewayAddress
        UpdateSecurityGroupRuleDescriptionsEgress UpdateSecurityGroupRuleDescriptionsIngress
    """.split(),
    "sts": "AssumeRole GetCallerIdentity".split(),
}

SCALARS = {"string", "boolean", "integer", "long", "double", "float", "timestamp", "blob", "character"}


def input_name(protocol, name, shape):
    """The name of a parameter on the wire: botocore's `QuerySerializer` and `EC2Serializer`."""
    if protocol == "query":
        return shape.serialization.get("name", name)
    given = shape.serialization.get("queryName")
    if given:
        return given
    given = shape.serialization.get("name", name)
    return given[0].upper() + given[1:]


def input_of(protocol, shape, inside=()):
    """A parameter's type: a word, a list of one type, or an object of parameters."""
    if shape.name in inside:
        raise SystemExit(f"{shape.name} contains itself")
    inside = (*inside, shape.name)
    if shape.type_name == "structure":
        return {input_name(protocol, name, member): input_of(protocol, member, inside) for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [input_of(protocol, shape.member, inside)]
    if shape.type_name not in SCALARS:
        raise SystemExit(f"{shape.name} is a {shape.type_name}")
    return {"long": "integer", "float": "double", "character": "string"}.get(shape.type_name, shape.type_name)


def output_of(shape, shapes):
    """The name of an output shape; what it consists of goes to `shapes`."""
    if shape.type_name == "structure":
        if shape.name not in shapes:
            shapes[shape.name] = {}
            shapes[shape.name].update(
                {member.serialization.get("name", name): output_of(member, shapes) for name, member in shape.members.items()}
            )
        return shape.name
    if shape.type_name == "list":
        return [shape.member.serialization.get("name", "item"), output_of(shape.member, shapes)]
    if getattr(shape, "enum", None):
        return "enum:" + "|".join(shape.enum)
    return {"long": "integer", "float": "double", "character": "string"}.get(shape.type_name, shape.type_name)


def filters(shape):
    """The filters that the text of a `Filters` member lists, in order."""
    text = shape.documentation if shape is not None else ""
    found = re.findall(r"<li>\s*<p>\s*<code>([^<]+)</code>\s*(?:-|:|–)", text)
    found += re.findall(r"<li>\s*<p>\s*<code>(tag:)&lt;key&gt;</code>", text)
    # The texts write the filter by a tag's value as `tag`, `tag:<key>` and `tag:key`.
    return list(dict.fromkeys("tag:" if name == "tag" or name.startswith("tag:") else name for name in found))


def main():
    inputs, outputs, shapes = {}, {}, {}
    loader = botocore.session.get_session()
    for service, names in ACTIONS.items():
        model = loader.get_service_model(service)
        for name in names:
            operation = model.operation_model(name)
            protocol = "ec2" if service == "ec2" else "query"
            given = operation.input_shape
            members = given.members if given is not None else {}
            described = members.get("Filters") or members.get("Filter")
            inputs[name] = {
                "service": service,
                "parameters": input_of(protocol, given) if given is not None else {},
                "required": sorted(input_name(protocol, name, members[name]) for name in (given.required_members if given is not None else [])),
            }
            if described is not None:
                inputs[name]["filters"] = filters(described)
            if operation.output_shape is not None:
                outputs[name] = output_of(operation.output_shape, shapes)
    dump = lambda value: json.dumps(value, indent=1, sort_keys=False) + "\n"
    (HERE / "inputs.json").write_text(dump(inputs))
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in sorted(shapes.items()))
    actions = ",\n".join(f"  {json.dumps(name)}: {json.dumps(shape)}" for name, shape in outputs.items())
    (HERE / "outputs.json").write_text('{\n "actions": {\n' + actions + '\n },\n "shapes": {\n' + lines + "\n }\n}\n")


main()
