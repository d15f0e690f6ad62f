//! Shows the default VPC and EC2's own words through the EC2 API.

use super::tests::{Endpoint, text};

#[test]
fn a_launch_without_a_subnet_takes_place_in_the_default_vpc() {
    let ec2 = Endpoint::new();
    let launch = "ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1&InstanceType=t3.micro";
    assert_eq!(ec2.refusal("RunInstances", launch).0, "MissingInput");
    let vpc = ec2.get("CreateDefaultVpc", "", "vpc.vpcId");
    assert_eq!(ec2.refusal("CreateDefaultVpc", "").0, "DefaultVpcAlreadyExists");
    let listed = "Filter.1.Name=is-default&Filter.1.Value.1=true";
    assert_eq!(ec2.get("DescribeVpcs", listed, "vpcSet.0.vpcId"), vpc);
    let account = ec2.get(
        "DescribeAccountAttributes",
        "AttributeName.1=default-vpc",
        "accountAttributeSet.0.attributeValueSet.0.attributeValue",
    );
    assert_eq!(account, vpc);
    let zone = "Placement.AvailabilityZone=us-east-1c&SecurityGroup.1=default";
    let answer = ec2.call("RunInstances", &format!("{launch}&{zone}")).unwrap();
    let of = |element: &str| text(&answer, &format!("instancesSet.0.{element}")).unwrap();
    assert_eq!(
        (of("vpcId"), of("placement.availabilityZone")),
        (vpc, "us-east-1c".to_owned())
    );
    assert!(of("privateIpAddress").starts_with("172.31."));
    let subnet = "AvailabilityZone=us-east-1c";
    let again = ec2.refusal("CreateDefaultSubnet", subnet).0;
    assert_eq!(again, "DefaultSubnetAlreadyExistsInAvailabilityZone");
}

#[test]
fn a_security_group_of_the_default_vpc_is_known_by_its_name() {
    let ec2 = Endpoint::new();
    let group = "GroupName=web&GroupDescription=web";
    assert_eq!(ec2.refusal("CreateSecurityGroup", group).0, "VPCIdNotSpecified");
    let vpc = ec2.get("CreateDefaultVpc", "", "vpc.vpcId");
    let id = ec2.get("CreateSecurityGroup", group, "groupId");
    ec2.call(
        "AuthorizeSecurityGroupIngress",
        &format!("GroupName=web&IpPermissions.1.IpProtocol=-1&IpPermissions.1.Groups.1.GroupName=web&IpPermissions.1.Groups.1.VpcId={vpc}"),
    )
    .unwrap();
    let named = "GroupName.1=web";
    let peer = "securityGroupInfo.0.ipPermissions.0.groups.0.groupId";
    assert_eq!(ec2.get("DescribeSecurityGroups", named, peer), id);
    let (code, message) = ec2.refusal("DescribeSecurityGroups", "GroupName.1=db");
    assert_eq!(code, "InvalidGroup.NotFound");
    assert_eq!(
        message,
        format!("The security group 'db' does not exist in default VPC '{vpc}'")
    );
    let empty = ec2.refusal("CreateSecurityGroup", "GroupName=x&GroupDescription=").0;
    assert_eq!(empty, "MissingParameter");
}

#[test]
fn refusals_have_ec2_s_words() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    for (action, form, code, message) in [
        (
            "DescribeVpcs",
            "VpcId.1=aws_vpc.main.id".to_owned(),
            "InvalidVpcID.NotFound",
            "The vpc ID 'aws_vpc.main.id' does not exist".to_owned(),
        ),
        (
            "DescribeSubnets",
            "SubnetId.1=example".to_owned(),
            "InvalidSubnetID.NotFound",
            "The subnet ID 'example' does not exist".to_owned(),
        ),
        (
            "CreateSubnet",
            format!("VpcId={vpc}&CidrBlock=192.168.0.0/24"),
            "InvalidSubnet.Range",
            "The CIDR '192.168.0.0/24' is invalid.".to_owned(),
        ),
        (
            "CreateSubnet",
            format!("VpcId={vpc}&CidrBlock=10.0.1.0/25"),
            "InvalidSubnet.Conflict",
            "The CIDR '10.0.1.0/25' conflicts with another subnet".to_owned(),
        ),
        (
            "DeleteVpc",
            format!("VpcId={vpc}"),
            "DependencyViolation",
            format!("The vpc '{vpc}' has dependencies and cannot be deleted."),
        ),
    ] {
        let refused = ec2.refusal(action, &form);
        assert_eq!((refused.0.as_str(), refused.1), (code, message), "{action} {form}");
    }
    let zone = ec2
        .refusal(
            "CreateSubnet",
            &format!("VpcId={vpc}&CidrBlock=10.0.9.0/24&AvailabilityZone=here"),
        )
        .0;
    assert_eq!(zone, "InvalidParameterValue");
    let made = format!("VpcId={vpc}&CidrBlock=10.0.9.0/24&AvailabilityZoneId=use1-az2");
    assert_eq!(ec2.get("CreateSubnet", &made, "subnet.availabilityZone"), "us-east-1b");
}

#[test]
fn refusals_name_what_ec2_names() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    let group = ec2.get(
        "CreateSecurityGroup",
        &format!("GroupName=web&GroupDescription=x&VpcId={vpc}"),
        "groupId",
    );
    for (action, form, code) in [
        (
            "DescribeSecurityGroups",
            "GroupId.1=foo".to_owned(),
            "InvalidGroupId.Malformed",
        ),
        (
            "DescribeSecurityGroupRules",
            "Filter.1.Name=group-id&Filter.1.Value.1=foo".to_owned(),
            "InvalidGroupId.Malformed",
        ),
        (
            "AuthorizeSecurityGroupIngress",
            format!("GroupId={group}&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80"),
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(ec2.refusal(action, &form).0, code, "{action} {form}");
    }
    let authorize = format!("GroupId={group}&IpProtocol=tcp&FromPort=80&ToPort=80&CidrIp=10.0.0.0%2F8");
    let rule = ec2.get(
        "AuthorizeSecurityGroupIngress",
        &authorize,
        "securityGroupRuleSet.0.securityGroupRuleId",
    );
    for (form, refusal) in [
        (
            "FromPort=1&SecurityGroupRule.1.SecurityGroupRule.ToPort=2\
             &SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=10.0.0.0%2F8",
            (
                "InvalidParameterValue",
                "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly.",
            ),
        ),
        (
            "IpProtocol=udp&SecurityGroupRule.1.SecurityGroupRule.ToPort=2\
             &SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=10.0.0.0%2F8",
            (
                "InvalidParameterValue",
                "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
            ),
        ),
        (
            "IpProtocol=-1",
            (
                "MissingParameter",
                "The request must contain exactly one of: cidrIp, cidrIpv6, prefixListId, or referencedGroupId",
            ),
        ),
        (
            "IpProtocol=-1&SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=10.0.0.0%2F8\
             &SecurityGroupRule.1.SecurityGroupRule.CidrIpv6=2001:db8::%2F32",
            (
                "InvalidParameterCombination",
                "Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be specified",
            ),
        ),
    ] {
        let form = format!(
            "GroupId={group}&SecurityGroupRule.1.SecurityGroupRuleId={rule}&SecurityGroupRule.1.SecurityGroupRule.{form}"
        );
        let refused = ec2.refusal("ModifySecurityGroupRules", &form);
        assert_eq!((refused.0.as_str(), refused.1.as_str()), refusal, "{form}");
    }
    let (first, second) = ("i-00000000000000001", "i-00000000000000002");
    let unknown = ec2.refusal(
        "DescribeInstances",
        &format!("InstanceId.1={first}&InstanceId.2={second}"),
    );
    assert_eq!(
        unknown,
        (
            "InvalidInstanceID.NotFound".to_owned(),
            format!("The instance IDs '{first}, {second}' do not exist")
        )
    );
}

#[test]
fn a_dhcp_option_set_is_tagged_and_found_by_its_tag() {
    let ec2 = Endpoint::new();
    let form = "DhcpConfiguration.1.Key=domain-name&DhcpConfiguration.1.Value.1=example.com";
    let set = ec2.get("CreateDhcpOptions", form, "dhcpOptions.dhcpOptionsId");
    ec2.call(
        "CreateTags",
        &format!("ResourceId.1={set}&Tag.1.Key=team&Tag.1.Value=net"),
    )
    .unwrap();
    for filter in ["tag:team", "tag-value"] {
        let form = format!("Filter.1.Name={filter}&Filter.1.Value.1=net");
        assert_eq!(
            ec2.get("DescribeDhcpOptions", &form, "dhcpOptionsSet.0.dhcpOptionsId"),
            set
        );
    }
    let (code, _) = ec2.refusal("DeleteDhcpOptions", "DhcpOptionsId=foo");
    assert_eq!(code, "InvalidDhcpOptionsId.Malformed");
}

#[test]
fn a_launch_says_whether_its_only_interface_has_a_public_address() {
    let ec2 = Endpoint::new();
    let (_, private) = ec2.network();
    ec2.call("CreateDefaultVpc", "").unwrap();
    let listed = "Filter.1.Name=default-for-az&Filter.1.Value.1=true";
    let public = ec2.get("DescribeSubnets", listed, "subnetSet.0.subnetId");
    let interface = |subnet: &str, number: u8, more: &str| {
        let at = format!("NetworkInterface.{number}");
        format!(
            "&{at}.DeviceIndex={}&{at}.SubnetId={subnet}{}",
            number - 1,
            more.replace('@', &at)
        )
    };
    let launch = "ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1";
    for (subnet, more, has) in [
        (&public, "", true),
        (&public, "&@.AssociatePublicIpAddress=false", false),
        (&public, "&@.AssociatePublicIpAddress=true", true),
        (&private, "", false),
    ] {
        let form = format!("{launch}{}", interface(subnet, 1, more));
        let instance = ec2.get("RunInstances", &form, "instancesSet.0.instanceId");
        let seen = ec2
            .call("DescribeInstances", &format!("InstanceId.1={instance}"))
            .unwrap();
        let address = text(&seen, "reservationSet.0.instancesSet.0.ipAddress");
        assert_eq!(address.is_some(), has, "{form}");
    }
    let two = interface(&public, 1, "&@.AssociatePublicIpAddress=true") + &interface(&public, 2, "");
    let (code, _) = ec2.refusal("RunInstances", &format!("{launch}{two}"));
    assert_eq!(code, "InvalidParameterCombination");
}

#[test]
fn network_acl_entries_are_allowed_in_capital_letters() {
    let ec2 = Endpoint::new();
    let (vpc, _) = ec2.network();
    let acl = ec2.get("CreateNetworkAcl", &format!("VpcId={vpc}"), "networkAcl.networkAclId");
    let entry = "RuleNumber=110&Protocol=-1&Egress=false&CidrBlock=0.0.0.0/0";
    ec2.call(
        "CreateNetworkAclEntry",
        &format!("NetworkAclId={acl}&{entry}&RuleAction=ALLOW"),
    )
    .unwrap();
    let found = format!("NetworkAclId.1={acl}&Filter.1.Name=entry.rule-action&Filter.1.Value.1=allow");
    assert_eq!(
        ec2.get("DescribeNetworkAcls", &found, "networkAclSet.0.networkAclId"),
        acl
    );
}

#[test]
fn a_reset_interface_is_checked_again() {
    let ec2 = Endpoint::new();
    let (_, subnet) = ec2.network();
    let interface = ec2.interface(&subnet);
    let named = format!("NetworkInterfaceId={interface}");
    ec2.call(
        "ModifyNetworkInterfaceAttribute",
        &format!("{named}&SourceDestCheck.Value=false"),
    )
    .unwrap();
    let seen = || ec2.get("DescribeNetworkInterfaces", "", "networkInterfaceSet.0.sourceDestCheck");
    assert_eq!(seen(), "false");
    assert_eq!(
        ec2.refusal("ResetNetworkInterfaceAttribute", &named).0,
        "MissingParameter"
    );
    ec2.call(
        "ResetNetworkInterfaceAttribute",
        &format!("{named}&SourceDestCheck=true"),
    )
    .unwrap();
    assert_eq!(seen(), "true");
}
