//! Tests the actions on CIDR blocks and attributes of VPCs and subnets.

use super::*;

#[test]
fn blocks_are_added_to_a_vpc_and_taken_away_by_their_association() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    let add = |block: &str| format!("VpcId={vpc}&CidrBlock={block}");
    let place = "cidrBlockAssociation.associationId";
    let first = ec2.get("AssociateVpcCidrBlock", &add("10.1.0.0/16"), place);
    let second = ec2.get("AssociateVpcCidrBlock", &add("10.2.0.0/16"), place);
    let six = format!("VpcId={vpc}&AmazonProvidedIpv6CidrBlock=true");
    let six = ec2.get("AssociateVpcCidrBlock", &six, "ipv6CidrBlockAssociation.associationId");
    for gone in [&first, &six] {
        ec2.call("DisassociateVpcCidrBlock", &format!("AssociationId={gone}"))
            .unwrap();
        assert_eq!(
            ec2.refusal("DisassociateVpcCidrBlock", &format!("AssociationId={gone}"))
                .0,
            "InvalidVpcCidrBlockAssociationID.NotFound"
        );
    }
    // The others keep their identifiers.
    let listed = ec2.call("DescribeVpcs", "").unwrap();
    let of = |at: usize| text(&listed, &format!("vpcSet.0.cidrBlockAssociationSet.{at}.associationId")).unwrap();
    assert_eq!(of(1), second);
    assert_eq!(
        ec2.refusal("DisassociateVpcCidrBlock", &format!("AssociationId={}", of(0)))
            .0,
        "OperationNotPermitted"
    );
}

#[test]
fn attributes_of_vpcs_and_subnets_are_set_and_described_one_at_a_time() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let attribute = |name: &str, element: &str| {
        let form = format!("VpcId={vpc}&Attribute={name}");
        ec2.get("DescribeVpcAttribute", &form, &format!("{element}.value"))
    };
    // "DNS attributes for your VPC": names of public addresses are off, but in a default VPC.
    for (name, by_default) in [
        ("enableDnsSupport", "true"),
        ("enableDnsHostnames", "false"),
        ("enableNetworkAddressUsageMetrics", "false"),
    ] {
        assert_eq!(attribute(name, name), by_default, "{name}");
        let parameter = format!("E{}", &name[1..]);
        for value in ["true", "false", by_default] {
            let form = format!("VpcId={vpc}&{parameter}.Value={value}");
            ec2.call("ModifyVpcAttribute", &form).unwrap();
            assert_eq!(attribute(name, name), value, "{name}");
        }
    }
    let two = format!("VpcId={vpc}&EnableDnsSupport.Value=true&EnableDnsHostnames.Value=true");
    assert_eq!(ec2.refusal("ModifyVpcAttribute", &two).0, "InvalidParameterCombination");
    assert_eq!(
        ec2.refusal("ModifyVpcAttribute", &format!("VpcId={vpc}")).0,
        "InvalidParameterCombination"
    );

    let shown = |element: &str| ec2.get("DescribeSubnets", "", &format!("subnetSet.0.{element}"));
    for value in ["true", "false"] {
        let form = format!("SubnetId={subnet}&MapPublicIpOnLaunch.Value={value}");
        ec2.call("ModifySubnetAttribute", &form).unwrap();
        assert_eq!(shown("mapPublicIpOnLaunch"), value);
    }
    let ipv6 = format!("SubnetId={subnet}&AssignIpv6AddressOnCreation.Value=true");
    assert_eq!(ec2.refusal("ModifySubnetAttribute", &ipv6).0, "InvalidParameterValue");
    for value in ["true", "false"] {
        let form = format!("SubnetId={subnet}&EnableDns64.Value={value}");
        ec2.call("ModifySubnetAttribute", &form).unwrap();
        assert_eq!(shown("enableDns64"), value);
    }
    let other = format!("SubnetId={subnet}&EnableResourceNameDnsARecordOnLaunch.Value=true");
    assert_eq!(ec2.refusal("ModifySubnetAttribute", &other).0, "UnsupportedOperation");
}

#[test]
fn a_subnet_gets_an_ipv6_block_and_gives_it_back_when_no_interface_needs_it() {
    let ec2 = Endpoint::new();
    let (vpc, subnet) = ec2.network();
    let block = ec2.get(
        "AssociateVpcCidrBlock",
        &format!("VpcId={vpc}&AmazonProvidedIpv6CidrBlock=true"),
        "ipv6CidrBlockAssociation.ipv6CidrBlock",
    );
    let block = block.replace("/56", "/64");
    let outside = format!("SubnetId={subnet}&Ipv6CidrBlock=2001:db8:ffff::/64");
    assert_eq!(
        ec2.refusal("AssociateSubnetCidrBlock", &outside).0,
        "InvalidSubnet.Range"
    );
    let form = format!("SubnetId={subnet}&Ipv6CidrBlock={block}");
    let association = ec2.get(
        "AssociateSubnetCidrBlock",
        &form,
        "ipv6CidrBlockAssociation.associationId",
    );
    assert_eq!(
        ec2.get(
            "DescribeSubnets",
            "",
            "subnetSet.0.ipv6CidrBlockAssociationSet.0.associationId"
        ),
        association
    );
    let again = format!("SubnetId={subnet}&Ipv6CidrBlock={}", block.replace("::/64", ":1::/64"));
    assert_eq!(
        ec2.refusal("AssociateSubnetCidrBlock", &again).0,
        "InvalidSubnet.Conflict"
    );

    // From here on an interface gets an address without asking, unless it asks for something else.
    let form = format!("SubnetId={subnet}&AssignIpv6AddressOnCreation.Value=true");
    ec2.call("ModifySubnetAttribute", &form).unwrap();
    let made = ec2
        .call("CreateNetworkInterface", &format!("SubnetId={subnet}"))
        .unwrap();
    let interface = text(&made, "networkInterface.networkInterfaceId").unwrap();
    assert!(
        text(&made, "networkInterface.ipv6AddressesSet.0.ipv6Address").is_some(),
        "{made:?}"
    );
    let none = format!("SubnetId={subnet}&Ipv6AddressCount=0");
    let made = ec2.call("CreateNetworkInterface", &none).unwrap();
    assert!(text(&made, "networkInterface.ipv6AddressesSet.0.ipv6Address").is_none());

    let form = format!("AssociationId={association}");
    assert_eq!(
        ec2.refusal("DisassociateSubnetCidrBlock", &form).0,
        "DependencyViolation"
    );
    let address = ec2.get(
        "DescribeNetworkInterfaces",
        &format!("NetworkInterfaceId.1={interface}"),
        "networkInterfaceSet.0.ipv6AddressesSet.0.ipv6Address",
    );
    let take = format!("NetworkInterfaceId={interface}&Ipv6Addresses.1={address}");
    ec2.call("UnassignIpv6Addresses", &take).unwrap();
    let state = "ipv6CidrBlockAssociation.ipv6CidrBlockState.state";
    assert_eq!(ec2.get("DisassociateSubnetCidrBlock", &form, state), "disassociating");
    assert_eq!(
        ec2.refusal("DisassociateSubnetCidrBlock", &form).0,
        "InvalidSubnetCidrBlockAssociationID.NotFound"
    );
    assert_eq!(
        ec2.get("DescribeSubnets", "", "subnetSet.0.assignIpv6AddressOnCreation"),
        "false"
    );
}
